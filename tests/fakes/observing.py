"""What stands in for self-observation where it is not what is tested, and for the ledger where it is."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from agents.records import Json
from runtime.config.observe import ObserveSettings
from runtime.topology.claims import Claims
from runtime.topology.outcomes import Outcomes, joined
from runtime.topology.records import UnknownProposal
from runtime.topology.situation import Check


class FakeObserving:
    """``ObservingPort``; ``asked`` counts how often a model was to be asked."""

    def __init__(self) -> None:
        self.asked = 0

    def renew(self, settings: ObserveSettings) -> None:
        self.settings = settings

    async def analysis(self) -> dict[str, Json]:
        return {"efficiency": {"score": 68.0}, "simulated": True}

    async def analyse(self) -> dict[str, Json]:
        self.asked += 1
        return await self.analysis()

    async def simulated(self, proposal_id: str) -> dict[str, Json]:
        if proposal_id != "prop_1":
            raise UnknownProposal("there is no such proposal", param="id")
        return {"id": "prop_1", "effects": {}}


class MemoryReads:
    """The observer's ledger: ``write`` appends outcomes, ``said`` are the answers of nodes, ``read`` counts outcomes that were
    read."""

    def __init__(self) -> None:
        self.pieces: list[Outcomes] = []
        self.said: dict[str, list[tuple[str, str]]] = {}
        self.found: list[Check] = []
        self.claimed: dict[str, Claims] = {}
        self.read = 0
        self.locales: Mapping[str, str] = {}
        self.kept = ""
        self.trouble: Exception | None = None

    def write(self, outcomes: Outcomes) -> None:
        self.pieces = [joined([*self.pieces, outcomes])]

    async def claims(self, since: float) -> Mapping[str, Claims]:
        return self.claimed

    async def first(self, *, since: float, most: int = 0) -> int:
        return 0

    async def after(self, key: int, *, locale_of: Mapping[str, str], limit: int = 2_000) -> tuple[list[int], Outcomes]:
        self.locales = locale_of
        every = joined(self.pieces) if self.pieces else joined([])
        found = every.part(slice(key, key + limit))
        self.read += len(found)
        return list(range(key + 1, key + 1 + len(found))), found

    async def checks(self, after: int) -> list[Check]:
        return self.found

    async def answers(self, node: str, after: int) -> list[tuple[str, str]]:
        return self.said.get(node, [])

    async def memory(self) -> str:
        return self.kept

    async def remember(self, text: str) -> None:
        if self.trouble is not None:
            raise self.trouble
        self.kept = text


def judged(outcomes: Outcomes, score: float) -> Outcomes:
    """The same outcomes with another score each."""
    part = outcomes.part(slice(None))
    part.score[:] = np.full(len(part), score)
    return part
