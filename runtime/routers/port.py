"""What the operator's surface sees of generated routers; ``front.py`` is it. Imports the words of JSON alone."""

from __future__ import annotations

from typing import Protocol

from agents.records import Json


class RoutersPort(Protocol):
    """All of it JSON-able. Raises RegistryError, LedgerError where these cannot be read or written."""

    async def all(self) -> dict[str, Json]:
        """Routers with their lineage and conduct, attempts, prompts."""
        ...

    async def one(self, version: str) -> dict[str, Json] | None:
        """A router with its steps and code; None: there is none."""
        ...

    async def evolve(self) -> dict[str, Json]:
        """One attempt at a better router, now."""
        ...

    async def adopt(self, version: str) -> dict[str, Json] | None:
        """Put one that won into force; None: none of this version waits. Raises ExperimentBusy."""
        ...

    async def decline(self, version: str, why: str) -> dict[str, Json] | None:
        """Put one that won away; None: none of this version waits."""
        ...

    async def back(self) -> dict[str, Json] | None:
        """The router before the one in force, or the learner alone; None: there is none in force."""
        ...
