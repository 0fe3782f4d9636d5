"""The words and the error tree of the registry. Everything in registry/ speaks in these. Imports nothing of the project.

The error tree (``RegistryError`` is the root)::

    RegistryError
    ├── EmbeddingUnavailable      there is no model to embed with, and ``fix`` says what to do
    ├── EmbeddingBusy             too many texts wait; try again after ``retry_after_s``
    ├── RegistryUnavailable       the tables or the ledger cannot be used now (disk, object store, still opening)
    ├── RegistryTooNew            a table was written by a newer version of Morphogen
    ├── RegistryDamaged           a table, or one row of it, cannot be read
    │   └── HashMismatch          a content is not what was published
    ├── InvalidArtifact           what was handed in cannot be kept; ``field`` says which part
    ├── UnknownArtifact           no such artifact, version or snapshot
    ├── Conflict                  somebody else was faster, or the name is taken
    ├── NotAllowed                the rules forbid this move (states, stars, reviews)
    ├── CheckFailed               the sandbox check did not pass; nothing was published
    └── LineageCycle              a version would be its own ancestor
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


class RegistryUnavailable(RegistryError):
    """Not now; nothing was lost. The message says why."""

    retry_after_s = 5.0


class RegistryTooNew(RegistryError):
    """``table`` has schema version ``found``; this program understands up to ``known``. Nothing was changed."""

    def __init__(self, table: str, found: int, known: int) -> None:
        super().__init__(table, found, known)
        self.table = table
        self.found = found
        self.known = known

    def __str__(self) -> str:
        return (
            f"table {self.table} has schema version {self.found} and this Morphogen understands up to {self.known}: "
            "install the newer Morphogen again, or point registry.uri at another place"
        )


class RegistryDamaged(RegistryError):
    """``table`` cannot be read."""

    def __init__(self, table: str, reason: str) -> None:
        super().__init__(table, reason)
        self.table = table
        self.reason = reason

    def __str__(self) -> str:
        return f"table {self.table} is damaged: {self.reason}"


class HashMismatch(RegistryDamaged):
    """The content of a version is not the one whose hash was kept."""


class InvalidArtifact(RegistryError):
    """``field`` cannot be kept as it is."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field, reason)
        self.field = field
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}"


class UnknownArtifact(RegistryError):
    pass


class Conflict(RegistryError):
    pass


class NotAllowed(RegistryError):
    pass


class CheckFailed(RegistryError):
    pass


class LineageCycle(RegistryError):
    pass
