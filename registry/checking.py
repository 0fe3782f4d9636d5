"""The port through which code is tried before it is published.

Declared here, implemented by ``sandbox.runner.Sandbox``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from sandbox.records import Case, CaseReport


class Checker(Protocol):
    """Runs code that nobody trusts."""

    async def check(self, code: str, cases: Sequence[Case]) -> Sequence[CaseReport]:
        """One report a case, in their order."""
        ...
