"""What stands in for the controller where it is not what is tested: a book without pages, and the port that surfaces see."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from agents.records import Json, NodeId
from runtime.config.settings import ClusterSettings, Settings
from runtime.controlling.book import Case, Entry, Keep, Kept
from runtime.controlling.by_hand import payload_by_hand
from runtime.controlling.controller import Controller
from runtime.topology.records import Metric, NotNow, OverCap, Scope, UnknownProposal
from runtime.topology.shape import Member, Topology
from runtime.topology.wire import encode
from tests.fakes.cluster import ScriptedCluster, node

DIGEST = "a" * 64


class EmptyBook:
    """``Book`` that forgets."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    async def load(self) -> Kept:
        return Kept(topology=Topology())

    async def write(self, *entries: Entry) -> bool:
        self.entries += entries
        return True

    async def trim(self, keep: Keep) -> int:
        return 0

    async def oldest(self) -> int:
        return 0

    async def spent_usd(self, *, since: float) -> float:
        return 0.0

    async def at(self, revision: int) -> Topology | None:
        return None

    async def revisions(self, *, limit: int, before: int | None = None) -> list[dict[str, Json]]:
        return []

    async def cases(self, *, status: str | None, limit: int, before: float | None = None) -> list[Case]:
        return []

    async def case(self, proposal_id: str) -> Case | None:
        return None

    async def moves(self, proposal_id: str) -> list[dict[str, Json]]:
        return []

    async def of_node(self, node: str, *, limit: int) -> list[dict[str, Json]]:
        return []


class NoSamples:
    """Nothing was measured."""

    async def of(
        self, metric: Metric, scope: Scope, *, after: int, limit: int, since: float, until: float = math.inf
    ) -> tuple[Sequence[float], int]:
        return (), after


def idle_controller(settings: Settings) -> Controller:
    """One without nodes; it keeps nothing."""
    return Controller(book=EmptyBook(), cluster=ScriptedCluster(), samples=NoSamples(), settings=settings)


class FakeTopology:
    """``TopologyPort`` over one node and one proposal, ``prop_1`` with the hash DIGEST; ``said`` is what operators said."""

    def __init__(self) -> None:
        spec = node("generalist").spec
        self.topology = Topology(revision=3, members={spec.node_id: Member(spec=spec)})
        self.said: list[tuple[str, ...]] = []
        self.full = False

    async def shape(self, revision: int | None = None) -> dict[str, Json]:
        if revision is not None and revision > self.topology.revision:
            raise UnknownProposal(f"there is no revision {revision}", param="revision")
        return {"revision": revision or self.topology.revision, "nodes": []}

    async def history(self, *, limit: int, before: int | None) -> list[dict[str, Json]]:
        return [{"revision": number} for number in (3, 2, 1) if before is None or number < before][:limit]

    async def diff(self, one: int, other: int) -> dict[str, Json]:
        return {"from": one, "to": other, "steps": []}

    async def explain(self, node: str) -> dict[str, Json]:
        if NodeId(node) not in self.topology.members:
            raise UnknownProposal(f"there is and was no node {node!r}", param="node")
        return {"node": {"id": node}, "born_of": None, "changes": []}

    async def proposals(self, *, status: str | None, limit: int, before: float | None) -> list[dict[str, Json]]:
        return [{"id": "prop_1", "status": "proposed"}] if status in (None, "proposed") else []

    async def proposal(self, proposal_id: str) -> dict[str, Json]:
        if proposal_id != "prop_1":
            raise UnknownProposal("there is no such proposal", param="id")
        return {"id": "prop_1", "hash": DIGEST}

    async def propose(self, given: Mapping[str, Json], reason: str, *, who: str) -> dict[str, Json]:
        if self.full:
            raise OverCap("100 proposals are open", cap="topology.max_open_proposals")
        payload = payload_by_hand(given, self.topology, ClusterSettings(), backends={"plain"}, new_id=lambda: "node-2")
        return self._heard("propose", "prop_2", reason, who) | {"payload": encode(payload)}

    def _heard(self, *words: str) -> dict[str, Any]:
        self.said.append(words)
        return {"id": words[1], "status": "proposed"}

    async def approve(self, proposal_id: str, digest: str, comment: str, *, who: str) -> dict[str, Json]:
        await self.proposal(proposal_id)
        if digest != DIGEST or any(words[0] == "approve" for words in self.said):
            raise NotNow("it was decided")
        return self._heard("approve", proposal_id, comment, who)

    async def reject(self, proposal_id: str, reason: str, *, who: str) -> dict[str, Json]:
        await self.proposal(proposal_id)
        return self._heard("reject", proposal_id, reason, who)

    async def snooze(self, proposal_id: str, for_s: float, *, who: str) -> dict[str, Json]:
        await self.proposal(proposal_id)
        return self._heard("snooze", proposal_id, str(for_s), who)

    async def undo(self, proposal_id: str, reason: str, *, who: str) -> dict[str, Json]:
        await self.proposal(proposal_id)
        return self._heard("undo", proposal_id, reason, who)

    async def settle(self, proposal_id: str, reason: str, *, who: str) -> dict[str, Json]:
        await self.proposal(proposal_id)
        return self._heard("settle", proposal_id, reason, who)

    async def restore(self, revision: int, reason: str, *, who: str) -> dict[str, Json]:
        await self.shape(revision)
        return self._heard("restore", str(revision), reason, who)
