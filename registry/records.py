"""The words and the error tree of the registry. Everything in registry/ speaks in these. Imports nothing of the project.

The error tree (``RegistryError`` is the root)::

    RegistryError
    ├── EmbeddingUnavailable      there is no model to embed with, and ``fix`` says what to do
    └── EmbeddingBusy             too many texts wait; try again after ``retry_after_s``
"""

from __future__ import annotations


class RegistryError(Exception):
    """Something of the registry failed."""


class EmbeddingUnavailable(RegistryError):
    """Texts cannot be embedded; ``fix`` is what an operator can do about it."""

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__(message, fix)
        self.message = message
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.message}; {self.fix}" if self.fix else self.message


class EmbeddingBusy(RegistryError):
    """So many texts wait to be embedded that more are refused."""

    def __init__(self, waiting: int, retry_after_s: float = 1.0) -> None:
        super().__init__(waiting, retry_after_s)
        self.waiting = waiting
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return f"{self.waiting} texts wait to be embedded already"
