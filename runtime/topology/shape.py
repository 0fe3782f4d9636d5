"""The shape of the network as data: which nodes, router and pools should be there, and the steps from one shape to the next.

Everything in runtime/topology/ and runtime/controlling/ speaks in these records. Frozen data without behaviour but what follows
from it. Imports the agents' words and nothing else of runtime/.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, NewType

from agents.records import NodeId, NodeSpec

ProposalId = NewType("ProposalId", str)
PatternId = NewType("PatternId", str)

NodeLife = Literal["live", "parked"]

WARM_NODES: Final = "nodes"
"""The pool of blank actors; every other pool's name begins with what it is of (``committee:<pattern>``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A node that should be there. ``line`` are its ancestors, the oldest first (its depth is their number); ``patterns`` is what
    it is meant for; ``born_of`` the proposal that it came from (None: it was there at the beginning). ``also`` are names of nodes
    that it took the place of: requests for those are its own while no such node lives."""

    spec: NodeSpec
    life: NodeLife = "live"
    line: tuple[NodeId, ...] = ()
    patterns: tuple[PatternId, ...] = ()
    also: tuple[str, ...] = ()
    born_at: float = 0.0
    born_of: ProposalId | None = None

    @property
    def node_id(self) -> NodeId:
        return self.spec.node_id

    @property
    def parent(self) -> NodeId | None:
        return self.line[-1] if self.line else None

    @property
    def depth(self) -> int:
        return len(self.line)


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """The desired shape at one revision. ``members`` by id; ``router`` is the version of the adopted generated router (None: the
    bandit alone); ``tuned`` are settings of routing (``name=value``) and ``pools`` name -> size where they differ from the
    configuration. ``at`` is Unix time in seconds."""

    revision: int = 0
    at: float = 0.0
    members: Mapping[NodeId, Member] = field(default_factory=dict)
    router: str | None = None
    tuned: tuple[str, ...] = ()
    pools: Mapping[str, int] = field(default_factory=dict)

    @property
    def live(self) -> tuple[Member, ...]:
        return tuple(member for member in self.members.values() if member.life == "live")


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberStep:
    """One node goes from ``before`` to ``after``; None: it is not there. What has to be done to the live nodes follows from both
    (plan.py). Doing it twice is doing it once."""

    node_id: NodeId
    before: Member | None
    after: Member | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterStep:
    """The adopted router's version."""

    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneStep:
    """The settings of routing that are laid over the configuration's."""

    before: tuple[str, ...]
    after: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolStep:
    """The size of the pool ``name``; None: what the configuration says."""

    name: str
    before: int | None
    after: int | None


Step = MemberStep | RouterStep | TuneStep | PoolStep


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a proposal comes to over the topology of ``base_revision``: ``apply`` in order; ``undo`` takes it back, the last step
    first; ``finish`` is done after KEPT alone and cannot be undone (what was parked is deleted)."""

    base_revision: int
    apply: tuple[Step, ...]
    undo: tuple[Step, ...]
    finish: tuple[Step, ...] = ()
