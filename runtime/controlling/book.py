"""What of a change must survive a kill, as a port: the controller writes here before and after everything it does.

Implemented by runtime/ledger/topology.py; what is awaited is durable on return. Raises LedgerError where it cannot be written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from agents.records import Json, NodeId
from runtime.topology.records import HoldBack, Proposal
from runtime.topology.shape import Plan, ProposalId, Step, Topology

Phase = Literal["apply", "undo", "finish"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A proposal with its plan. ``measured`` is what verification found last, as JSON."""

    proposal: Proposal
    plan: Plan
    measured: Json = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """A new proposal, taken up by ``who``."""

    case: Case
    who: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """``case.proposal`` takes the place of ``was``, if that is still how it stands. ``who`` decided, and ``why``."""

    was: Proposal
    case: Case
    who: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A step is about to be done (again)."""

    proposal_id: ProposalId
    phase: Phase
    ordinal: int
    at: float
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A step was done."""

    proposal_id: ProposalId
    phase: Phase
    ordinal: int
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Revised:
    """The shape at ``revision`` and the steps that led there from the one before."""

    revision: int
    at: float
    who: str
    reason: str
    steps: tuple[Step, ...]
    proposal_id: ProposalId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A rejection that the rules heed."""

    hold: HoldBack


Entry = Added | Moved | Begun | Done | Revised | Held


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What was found at a start. ``cases`` are the proposals that are not over, the oldest first; ``done`` the steps of each
    phase that were finished; ``descendants`` how many each node ever had; ``births`` the times of the newest births; ``digest``
    is the last revision's."""

    topology: Topology
    cases: Sequence[Case] = ()
    done: Mapping[tuple[ProposalId, Phase], frozenset[int]] = field(default_factory=dict)
    holds: Sequence[HoldBack] = ()
    descendants: Mapping[NodeId, int] = field(default_factory=dict)
    births: Sequence[float] = ()
    digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """What of the past is kept: so many ``revisions`` and ``proposals``, and those since Unix time ``since``. ``day``: what was
    carried out since then is counted by the caps, and stays."""

    revisions: int
    proposals: int
    since: float
    day: float


class Book(Protocol):
    """See the module."""

    async def load(self) -> Kept: ...

    async def write(self, *entries: Entry) -> bool:
        """All of them or none, in one transaction. False, and nothing written, where a Moved is not how it stands any more."""
        ...

    async def trim(self, keep: Keep) -> int:
        """Forget what is long over; how many revisions and proposals went. May be cut off at any moment."""
        ...

    async def oldest(self) -> int:
        """The oldest revision whose shape is known."""
        ...

    async def spent_usd(self, *, since: float) -> float:
        """What the changes cost that were carried out at Unix time ``since`` or later."""
        ...

    async def at(self, revision: int) -> Topology | None:
        """The shape at a past revision; None where there is none such, or it is forgotten."""
        ...

    async def revisions(self, *, limit: int, before: int | None = None) -> list[dict[str, Json]]:
        """The newest first: revision, at, who, proposal_id, reason, steps (as JSON), digest."""
        ...

    async def cases(self, *, status: str | None, limit: int, before: float | None = None) -> list[Case]:
        """Proposals, the newest first."""
        ...

    async def case(self, proposal_id: str) -> Case | None: ...

    async def moves(self, proposal_id: str) -> list[dict[str, Json]]:
        """What became of a proposal, in order: at, who, was, became, digest, why."""
        ...

    async def of_node(self, node: str, *, limit: int) -> list[dict[str, Json]]:
        """The revisions that touched a node (by id or name), the newest first."""
        ...
