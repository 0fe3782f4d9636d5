"""What the rules decide on, and what they remember from one window to the next.

Filled by runtime/observer.py, read by propose.py and its rules. Frozen data and what follows from it. Imports this room's
records.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from agents.records import NodeId, NodeSpec
from runtime.cluster import WarmUse
from runtime.routing.distill import Finding
from runtime.topology.claims import Claims
from runtime.topology.compare import Against, against_others
from runtime.topology.observe import Row, Window
from runtime.topology.records import Draft, Evidence, Metric, Prediction, Scope
from runtime.topology.shape import Member, Topology

BUILT_IN_ROLES: Final = frozenset({"reviewer", "advisor"})
"""Nodes of the registry's own chores: they wake and rest by themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """When the rules speak. Shares and scores are 0 to 1; windows are counted; utility is quality - ``usd_weight`` x USD -
    ``second_weight`` x seconds of a request, as the router weighs them."""

    least_seen: int = 10
    """SPAWN: the pattern was seen so often."""
    least_gain: float = 0.02
    """SPAWN, SPLIT: utility of one request that a change must promise."""
    headroom: float = 0.25
    """Part of what a pattern lacks to perfect that a specialist is expected to bring, as far as former ones kept their promises
    (outlook.believed)."""
    unused_share: float = 0.01
    """PRUNE: less of the traffic than this (with many nodes: than a quarter of an even part)."""
    least_requests: int = 300
    """PRUNE: a window has so many outcomes before a small share says anything."""
    equal_within: float = 0.02
    """Qualities that differ by less are the same."""
    slower: float = 1.5
    """PRUNE: so many times the latency of others on the same patterns."""
    cheaper: float = 0.9
    """PRUNE: another does the same for this part of the cost."""
    alike: float = 0.9
    """MERGE: likeness from which two nodes are duplicates."""
    failing: float = 0.5
    """RECOVER: surely fewer than this of its requests are answered."""
    caught: float = 0.02
    """REWIRE: a check that surely finds less than this adds nothing."""
    prune_after: int = 3
    merge_after: int = 2
    park_after: int = 2
    spawn_after: int = 1
    forget_after: int = 12
    """PRUNE: windows that a parked node was not asked for."""
    grace: int = 3
    """Windows in which a node that was born, woken or changed is left in peace."""
    cooldown: int = 6
    """Windows after a proposal before the same subject is spoken of again."""
    cooldown_s: float = 600.0
    """The same in seconds; the longer one counts."""
    flood: float = 0.2
    """A window in which so many of the requests found a new pattern spawns nothing."""
    most_births: int = 3
    most_drafts: int = 12
    """In one window."""
    usd_weight: float = 2.0
    second_weight: float = 0.002
    max_depth: int = 3
    watch_s: float = math.inf
    """SPAWN, SPLIT: how long a change is watched at the most before it is decided on …"""
    watch_least: int = 20
    """… and how many requests (for quality: scored ones) of its pattern must be expected in that time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A pattern as the clustering knows it. ``count`` is over its life; ``trend`` its share now over its share before; ``was``:
    patterns that turned out to be this one."""

    pattern_id: str
    name: str
    count: int
    trend: float = 1.0
    was: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A part of a node's strategy: how often it ran, and how often it ``found`` something, or the answer would have been another
    one without it; and what it took (``seconds`` each, 0 where that is not known). ``kind``: ``validation`` and ``self_healing``
    are checks around the whole; ``stage:NAME`` and ``gate:NAME`` of a pipeline, ``aspect:NAME`` of a parallel strategy,
    ``member:NUMBER`` of a consensus."""

    node: str
    kind: str
    runs: int
    found: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Quiet:
    """A subject that is not spoken of before window ``until``, nor within seconds of ``at`` (Unix)."""

    until: int
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """``streaks``: for how many windows a rule has wanted a key. ``known``: since which window a node is live or
    parked, and which of them.
    ``good``: the spec of each node when it last did well. ``idle``: windows that a parked node was not asked for."""

    window: int = 0
    streaks: Mapping[str, int] = field(default_factory=dict)
    quiet: Mapping[str, Quiet] = field(default_factory=dict)
    known: Mapping[NodeId, tuple[int, str]] = field(default_factory=dict)
    good: Mapping[NodeId, NodeSpec] = field(default_factory=dict)
    idle: Mapping[NodeId, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Situation:
    """One window with all that the rules may know. ``findings``: what routing/distill.py says adds nothing. ``likeness``: how
    alike pairs of nodes (names, sorted) answer, 0 to 1, where it was measured. ``now`` is Unix seconds and may jump.
    ``input_usd``: what a backend takes for one prompt token. ``warm``: what was asked of the pool of blank nodes, where there
    is one. ``claims``: of specialists by name, what they took and what went on without them."""

    window: Window
    topology: Topology
    patterns: Mapping[str, Seen] = field(default_factory=dict)
    checks: Sequence[Check] = ()
    findings: Sequence[Finding] = ()
    likeness: Mapping[tuple[str, str], float] = field(default_factory=dict)
    memory: Memory = Memory()
    rules: Rules = Rules()
    now: float = 0.0
    simulated: bool = False
    input_usd: Mapping[str, float] = field(default_factory=dict)
    warm: WarmUse | None = None
    claims: Mapping[str, Claims] = field(default_factory=dict)

    @cached_property
    def by_name(self) -> Mapping[str, Member]:
        """Outcomes name nodes by their names."""
        return {member.spec.name: member for member in self.topology.members.values()}

    @cached_property
    def live(self) -> tuple[Member, ...]:
        return self.topology.live

    @cached_property
    def generalists(self) -> int:
        return sum(member.spec.role == "generalist" for member in self.live)

    @cached_property
    def compared(self) -> Sequence[Against | None]:
        """Each node of the window's table against those who do the same work."""
        rules, window = self.rules, self.window
        return against_others(
            window.by_node, len(window.nodes.names), usd_weight=rules.usd_weight, second_weight=rules.second_weight
        )

    @cached_property
    def _now(self) -> Mapping[str, str]:
        return {old: seen.pattern_id for seen in self.patterns.values() for old in seen.was}

    def patterns_of(self, member: Member) -> tuple[str, ...]:
        """What a node is meant for, by what these patterns are called now."""
        return tuple(dict.fromkeys(self._now.get(each, each) for each in member.patterns))

    @cached_property
    def served(self) -> Mapping[str, Member]:
        """Who is meant for a pattern, live or parked."""
        found: dict[str, Member] = {}
        for member in self.topology.members.values():
            for pattern in self.patterns_of(member):
                if pattern not in found or member.life == "live":
                    found[pattern] = member
        return found

    @property
    def flooded(self) -> bool:
        """New patterns come faster than any of them could be worth a node."""
        return self.window.new_patterns > max(5.0, self.rules.flood * self.window.requests)

    def settled(self, member: Member) -> bool:
        """It has been what it is for some windows, or was there before the first one; and it was not born just now."""
        if member.born_at and 0.0 <= self.now - member.born_at < self.rules.cooldown_s:
            return False
        if not self.memory.window:
            return True
        first, life = self.memory.known.get(member.node_id, (self.window.number, member.life))
        return life == member.life and self.window.number - first >= self.rules.grace

    def removable(self, member: Member) -> bool:
        """Neither the last generalist nor a node of the registry's own chores, nor new."""
        last = member.spec.role == "generalist" and member.life == "live" and self.generalists <= 1
        return not last and member.spec.role not in BUILT_IN_ROLES and self.settled(member)

    def evidence(self, row: Row, measure: str, *, scope: Scope, note: str = "") -> Evidence:
        """One measure of a row as evidence that can be measured again."""
        window = self.window
        return Evidence(
            metric=measure,
            value=float(getattr(row, measure)),
            units=_UNITS.get(measure, "share"),
            count=row.count,
            since=window.since,
            until=window.until,
            scope=scope,
            source=f"window {window.number}",
            note=note,
        )


_UNITS: Final = {"count": "requests", "judged": "answers", "faults": "requests", "cost_usd": "USD", "latency_p50_s": "s"} | {
    "latency_p95_s": "s",
    "quality": "score",
    "quality_low": "score",
    "quality_high": "score",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a rule wants now. It becomes a proposal once it was wanted for ``after`` windows; one that is only ``held`` keeps its
    streak and does not lengthen it (hysteresis). ``gain`` orders wishes: utility over the window's traffic."""

    draft: Draft
    after: int = 1
    held: bool = False
    gain: float = 0.0


def predicted(
    metric: Metric, baseline: float, expected: float, *, scope: Scope, slack: float = 0.1, bound: float = 1.0
) -> Prediction:
    """A prediction that holds while at least half of the change came, or nothing got worse by more than ``slack`` of the
    baseline."""
    change = abs(expected - baseline)
    return Prediction(
        metric=metric,
        baseline=baseline,
        expected=expected,
        margin=max(change / 2, slack * abs(baseline), 1e-9),
        bound=max(bound, baseline, expected),
        scope=scope,
    )
