"""What may be proposed: one record a kind of change.

Imports shape.py and the agents' words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from agents.records import NodeId, NodeSpec
from runtime.topology.shape import PatternId

MAX_CHILDREN: Final = 8
MAX_MERGED: Final = 8
MAX_PATTERNS: Final = 64


class Kind(StrEnum):
    """What a proposal changes."""

    SPAWN = "spawn"
    SPLIT = "split"
    PRUNE = "prune"
    MERGE = "merge"
    PARK = "park"
    WAKE = "wake"
    RECOVER = "recover"
    REWIRE = "rewire"
    ADOPT_ROUTER = "adopt_router"
    TUNE = "tune"
    POOL = "pool"
    RESTORE = "restore"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spawn:
    """A new node with ``spec`` under ``parent`` (None: at the root) for ``patterns``. Its id and name must be unused."""

    spec: NodeSpec
    parent: NodeId | None = None
    patterns: tuple[PatternId, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """``node`` stays and gets ``children`` (their parent is ``node``, whatever they say)."""

    node: NodeId
    children: tuple[Spawn, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prune:
    """``node`` is drained and parked, and deleted when the change is kept."""

    node: NodeId


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """``gone`` are parked (deleted when kept) and ``into`` takes over their patterns, with ``spec`` where one is given (whose id
    and name are those of ``into``)."""

    into: NodeId
    gone: tuple[NodeId, ...]
    spec: NodeSpec | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Park:
    node: NodeId


@dataclass(frozen=True, slots=True, kw_only=True)
class Wake:
    node: NodeId


@dataclass(frozen=True, slots=True, kw_only=True)
class Recover:
    """``spec`` (role recovery, from the last good state) takes over the patterns of ``node``, which is parked."""

    node: NodeId
    spec: NodeSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewire:
    """The node of ``spec.node_id`` works by ``spec`` from now on (another strategy, prompt, backends); its id and name stay."""

    spec: NodeSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class AdoptRouter:
    """Route by this version of a registry's artifact; None goes back to the bandit alone."""

    version: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tune:
    """Route by these settings (``name=value``) instead of the configuration's; none: by the configuration alone."""

    settings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Keep ``size`` of the pool ``name`` ready (WARM_NODES, or ``committee:<pattern>``); None: what the configuration says."""

    name: str
    size: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Restore:
    """The shape as it was at ``revision``. Nodes that came later are parked, and deleted when the change is kept."""

    revision: int


Payload = Spawn | Split | Prune | Merge | Park | Wake | Recover | Rewire | AdoptRouter | Tune | Pool | Restore

KIND_OF: Final[Mapping[type[Payload], Kind]] = {
    Spawn: Kind.SPAWN,
    Split: Kind.SPLIT,
    Prune: Kind.PRUNE,
    Merge: Kind.MERGE,
    Park: Kind.PARK,
    Wake: Kind.WAKE,
    Recover: Kind.RECOVER,
    Rewire: Kind.REWIRE,
    AdoptRouter: Kind.ADOPT_ROUTER,
    Tune: Kind.TUNE,
    Pool: Kind.POOL,
    Restore: Kind.RESTORE,
}


def subject_of(payload: Payload) -> str:
    """A new node is known by its first pattern, or else its name; other changes by the node, the router, routing or the pool."""
    match payload:
        case Spawn(spec=spec, patterns=patterns):
            return patterns[0] if patterns else spec.name
        case Split(node=node) | Prune(node=node) | Park(node=node) | Wake(node=node) | Recover(node=node):
            return node
        case Merge(into=into):
            return into
        case Rewire(spec=spec):
            return spec.node_id
        case AdoptRouter():
            return "router"
        case Tune():
            return "routing"
        case Pool(name=name):
            return name
        case Restore(revision=revision):
            return f"revision {revision}"
