"""What the surfaces see of self-observation; front.py is it. Imports the words of JSON alone."""

from __future__ import annotations

from typing import Protocol

from agents.records import Json


class ObservingPort(Protocol):
    """All of it JSON-able. Raises LedgerError where the ledger cannot be read."""

    async def analysis(self) -> dict[str, Json]:
        """The network's analysis of itself: the newest look, or one that is made now where the newest is old."""
        ...

    async def analyse(self) -> dict[str, Json]:
        """Look now and ask a model as well. What it recommends goes the way of every proposal."""
        ...

    async def simulated(self, proposal_id: str) -> dict[str, Json]:
        """What a proposal would have done to the logged traffic. Raises UnknownProposal."""
        ...
