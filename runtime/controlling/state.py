"""What the controller has in memory of the shape and of what is open: a copy of the ledger, exchanged after each write.

Owned by controller.py. No I/O.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from agents.records import NodeId
from runtime.controlling.book import Case, Done, Kept, Phase, Revised
from runtime.topology.moves import OVER, UNDER_WAY
from runtime.topology.records import HoldBack, Status
from runtime.topology.shape import ProposalId, Step, Topology
from runtime.topology.steps import after_all, births, place_of

MAX_BIRTHS = 1000


class State:
    """``cases`` are the proposals that are not over; ``done`` are the finished steps of those under way; ``waits`` says why an
    approved one is not carried out yet."""

    def __init__(self, kept: Kept) -> None:
        self.topology: Topology = kept.topology
        self.cases: dict[ProposalId, Case] = {case.proposal.proposal_id: case for case in kept.cases}
        self.done: dict[tuple[ProposalId, Phase], set[int]] = {key: set(value) for key, value in kept.done.items()}
        self.holds: dict[str, HoldBack] = {hold.key: hold for hold in kept.holds}
        self.descendants: dict[NodeId, int] = dict(kept.descendants)
        self.births: deque[float] = deque(kept.births, maxlen=MAX_BIRTHS)
        self.waits: dict[ProposalId, str] = {}

    def of(self, *statuses: Status) -> list[Case]:
        """Those that stand so, the oldest first."""
        return [case for case in self.cases.values() if case.proposal.status in statuses]

    def put(self, case: Case) -> None:
        """A case as it stands now; one that is over is forgotten here."""
        name, status = case.proposal.proposal_id, case.proposal.status
        if status is not Status.APPROVED:
            self.waits.pop(name, None)
        if status in OVER:
            self.cases.pop(name, None)
            for key in [key for key in self.done if key[0] == name]:
                del self.done[key]
        else:
            self.cases[name] = case

    def finished(self, done: Done) -> None:
        """A step has its second row. Of what is over nothing is remembered."""
        if done.proposal_id not in self.cases:
            return
        self.done.setdefault((done.proposal_id, done.phase), set()).add(done.ordinal)

    def lay(self, entry: Revised) -> None:
        """The shape is that of ``entry`` now."""
        for member in births(entry.steps):
            self.births.append(member.born_at)
            for ancestor in member.line:
                self.descendants[ancestor] = self.descendants.get(ancestor, 0) + 1
        self.topology = _at(after_all(self.topology, entry.steps), entry)

    def open_keys(self) -> frozenset[str]:
        return frozenset(case.proposal.key for case in self.cases.values())

    def held_back(self, now: float) -> frozenset[str]:
        return frozenset(key for key, hold in self.holds.items() if hold.until > now)

    def forget(self, before: float) -> None:
        """Rejections that held back until Unix time ``before`` at the latest."""
        self.holds = {key: hold for key, hold in self.holds.items() if hold.until >= before}

    def in_use(self, *, but: ProposalId) -> frozenset[str]:
        """Places that a change which is under way depends on, other than ``but``."""
        others = [case for case in self.of(*UNDER_WAY) if case.proposal.proposal_id != but]
        return frozenset(place_of(step) for case in others for step in (*case.plan.apply, *case.plan.finish))


def revised(
    topology: Topology, steps: tuple[Step, ...], *, at: float, who: str, reason: str, proposal_id: ProposalId | None = None
) -> tuple[Topology, Revised]:
    """The shape after ``steps``, and the entry that says so. Raises Stale."""
    number = topology.revision + 1
    entry = Revised(revision=number, at=at, who=who, reason=reason, steps=steps, proposal_id=proposal_id)
    return _at(after_all(topology, steps), entry), entry


def _at(topology: Topology, entry: Revised) -> Topology:
    return replace(topology, revision=entry.revision, at=entry.at)
