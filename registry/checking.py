"""The port through which code is tried before it is published.

Declared here, implemented by the sandbox's client. Imports nothing of the project.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol


class Tried(Protocol):
    """What came of one case."""

    @property
    def name(self) -> str: ...

    @property
    def passed(self) -> bool: ...


class Checker(Protocol):
    """Runs code that nobody trusts."""

    async def check(self, code: str, cases: Sequence[Any]) -> Sequence[Tried]:
        """One report a case, in their order. ``cases`` are ``sandbox.records.Case``."""
        ...
