"""What the surfaces see of the controller; ``front.py`` is it. Imports the words of JSON alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from agents.records import Json


class TopologyPort(Protocol):
    """All of it JSON-able. Raises TopologyError (which says what is wrong), and LedgerError where the ledger cannot be read or
    written. ``who`` is the operator's key."""

    async def shape(self, revision: int | None = None) -> dict[str, Json]:
        """The desired shape, now or at a past revision, with how each node stands."""
        ...

    async def history(self, *, limit: int, before: int | None) -> list[dict[str, Json]]:
        """Revisions, the newest first."""
        ...

    async def diff(self, one: int, other: int) -> dict[str, Json]:
        """The steps from one revision to another."""
        ...

    async def explain(self, node: str) -> dict[str, Json]:
        """Why a node (by id or name) is there: the proposal that it came from, and what became of it since."""
        ...

    async def proposals(self, *, status: str | None, limit: int, before: float | None) -> list[dict[str, Json]]:
        """The newest first."""
        ...

    async def proposal(self, proposal_id: str) -> dict[str, Json]:
        """One, with its evidence, steps, what was measured, and who decided what."""
        ...

    async def propose(self, given: Mapping[str, Json], reason: str, *, who: str) -> dict[str, Json]:
        """An operator's wish (by_hand.py)."""
        ...

    async def approve(self, proposal_id: str, digest: str, comment: str, *, who: str) -> dict[str, Json]: ...

    async def reject(self, proposal_id: str, reason: str, *, who: str) -> dict[str, Json]: ...

    async def snooze(self, proposal_id: str, for_s: float, *, who: str) -> dict[str, Json]: ...

    async def undo(self, proposal_id: str, reason: str, *, who: str) -> dict[str, Json]: ...

    async def settle(self, proposal_id: str, reason: str, *, who: str) -> dict[str, Json]: ...

    async def restore(self, revision: int, reason: str, *, who: str) -> dict[str, Json]:
        """Go back to the shape of a past revision; whoever asks for it approves it."""
        ...
