"""What a proposed change would have done to logged traffic. Pure; numpy.

Called before an operator decides. Each request that the change touches is taken to have come out as the requests of the same
pattern did that were given to whoever would have had it: a direct estimate, by pattern. Where one of several could have had it,
the choice is made on one half of the log and judged on the other, and the other way round, so that luck is not taken for skill.
The limits that this has are told with every result.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from runtime.topology.observe import Z
from runtime.topology.outcomes import Codes, Flags, Floats, Outcomes
from runtime.topology.payloads import AdoptRouter, Merge, Park, Payload, Pool, Prune, Recover, Rewire, Spawn, Split, Tune, Wake
from runtime.topology.shape import Topology
from runtime.topology.situation import Rules

LEAST: Final = 5
"""Requests of a pattern that whoever takes over has had in each half of the log."""
METRICS: Final = ("quality", "failure", "latency_s", "cost_usd")


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """The mean of one metric over the covered requests, as it was and as it would have been; ``low`` and ``high`` hold the change
    with 95 %. ``requests`` say something of it."""

    now: float
    then: float
    low: float
    high: float
    requests: int

    @property
    def change(self) -> float:
        return self.then - self.now


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """``affected`` of the ``requests`` in the log would have gone another way; ``covered`` of them can be said something of.
    ``limits`` are what the numbers do not say, in sentences."""

    requests: int
    affected: int
    covered: int
    effects: Mapping[str, Effect]
    limits: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    """Which requests are touched, who could have had them instead, told apart by ``groups`` codes; and what that leaves out."""

    affected: Flags
    others: Flags
    groups: Codes
    limits: tuple[str, ...] = ()


def simulate(payload: Payload, outcomes: Outcomes, topology: Topology, rules: Rules | None = None) -> Simulated:
    """The change on ``outcomes`` over the shape as it is. A change that the log can say nothing of has no effects and says
    why."""
    weights = rules or Rules()
    way = _way(payload, outcomes, topology)
    n, affected = len(outcomes), int(way.affected.sum())
    limits = list(way.limits)
    if not affected:
        return Simulated(
            requests=n, affected=0, covered=0, effects={}, limits=(*limits, "the log has no request that it touches")
        )
    now, then, spread, covered = _estimated(outcomes, way, weights)
    if covered < affected:
        left = affected - covered
        limits.append(f"of {left} of {affected} requests nothing can be said: nobody else had enough of their pattern")
    if covered:
        limits.append("it is assumed that requests of one pattern are alike, whoever they were given to")
        effects = {name: effect for name in METRICS if (effect := _effect(now[name], then[name], spread[name])) is not None}
    else:
        effects = {}
    if covered and "quality" not in effects:
        limits.append("too few of the answers were judged to say anything of quality")
    return Simulated(requests=n, affected=affected, covered=covered, effects=effects, limits=tuple(limits))


def _way(payload: Payload, outcomes: Outcomes, topology: Topology) -> _Way:
    nothing = np.zeros(len(outcomes), dtype=np.bool_)
    node, arms = outcomes.codes["node"], _ways_of(outcomes)

    def named(*ids: str) -> list[str]:
        return [topology.members[each].spec.name for each in topology.members if each in ids]

    match payload:
        case Prune(node=node_id) | Park(node=node_id) | Recover(node=node_id):
            mine = outcomes.of("node", named(node_id))
            limits = (
                ("a recovery node is new: others on the same patterns stand in for it",) if isinstance(payload, Recover) else ()
            )
            return _Way(affected=mine, others=~mine & (node >= 0), groups=node, limits=limits)
        case Merge(into=into, gone=gone):
            return _Way(
                affected=outcomes.of("node", named(*gone)), others=outcomes.of("node", named(into)), groups=np.zeros_like(node)
            )
        case Spawn(patterns=patterns):
            return _newcomer(outcomes, patterns, arms)
        case Split(children=children):
            return _newcomer(outcomes, tuple(pattern for child in children for pattern in child.patterns), arms)
        case Wake(node=node_id):
            patterns = next((member.patterns for member in topology.members.values() if member.node_id == node_id), ())
            touched, its = outcomes.of("pattern", patterns), outcomes.of("node", named(node_id))
            return _Way(affected=touched & ~its, others=its, groups=np.zeros_like(node), limits=("waking takes a moment itself",))
        case Rewire(spec=spec):
            mine = outcomes.of("node", [spec.name])
            kept = outcomes.of("backend", spec.backends) if spec.backends else np.ones(len(outcomes), dtype=np.bool_)
            limit = "another strategy or prompt of the node itself has left nothing in the log; only backends can be compared"
            return _Way(affected=mine & ~kept, others=mine & kept, groups=arms, limits=(limit,))
        case Pool():
            return _Way(
                affected=nothing,
                others=nothing,
                groups=arms,
                limits=("a pool changes how long it takes to begin, not who answers",),
            )
        case AdoptRouter():
            return _Way(affected=nothing, others=nothing, groups=arms, limits=("a router is replayed on the log of decisions",))
        case Tune():
            limit = "settings are scored on the log of decisions before they are tried"
            return _Way(affected=nothing, others=nothing, groups=arms, limits=(limit,))
    return _Way(affected=nothing, others=nothing, groups=arms, limits=("several changes at once cannot be told apart",))


def _newcomer(outcomes: Outcomes, patterns: tuple[str, ...], arms: Codes) -> _Way:
    """Somebody who was not there: the best of the arms that were stands in."""
    touched = outcomes.of("pattern", patterns)
    limit = "its own prompt and routine have left nothing in the log: the best of the ways that were there stands in for it"
    return _Way(affected=touched, others=touched & (arms >= 0), groups=arms, limits=(limit,))


def _ways_of(outcomes: Outcomes) -> Codes:
    """Strategy x backend of each outcome as one code; -1 where one is not known."""
    strategy, backend = outcomes.codes["strategy"], outcomes.codes["backend"]
    both: Codes = strategy * max(1, len(outcomes.names["backend"])) + backend
    both[(strategy < 0) | (backend < 0)] = -1
    return both


Parts = dict[str, list[tuple[float, float]]]


def _estimated(outcomes: Outcomes, way: _Way, rules: Rules) -> tuple[Parts, Parts, Parts, int]:
    """By pattern and half: (sum, weight) as it was and as it would be, (variance, weight); and how many requests are covered."""
    pattern = outcomes.codes["pattern"]
    values = _values(outcomes)
    half = np.arange(len(outcomes)) % 2
    now: Parts = {name: [] for name in METRICS}
    then: Parts = {name: [] for name in METRICS}
    spread: Parts = {name: [] for name in METRICS}
    covered = 0
    order = np.argsort(pattern, kind="stable")
    wanted = np.unique(pattern[way.affected])
    for code in wanted[wanted >= 0].tolist():
        low, high = np.searchsorted(pattern[order], [code, code + 1])
        here = order[low:high]
        for side in (0, 1):
            mine = here[way.affected[here] & (half[here] == side)]
            pick = here[way.others[here] & (half[here] == side)]
            judge = here[way.others[here] & (half[here] != side)]
            taker = _taker(values, way.groups, pick, judge, rules)
            if not len(mine) or taker is None:
                continue
            covered += len(mine)
            for name in METRICS:
                was, will = values[name][mine], values[name][taker]
                was, will = was[np.isfinite(was)], will[np.isfinite(will)]
                if len(was) and len(will) >= LEAST:
                    weight = float(len(mine))
                    now[name].append((float(was.mean()), weight))
                    then[name].append((float(will.mean()), weight))
                    spread[name].append((_error(was, name) + _error(will, name), weight))
    return now, then, spread, covered


def _taker(values: Mapping[str, Floats], groups: Codes, pick: Codes, judge: Codes, rules: Rules) -> Codes | None:
    """The outcomes in ``judge`` of the group that did best in ``pick``; None where no group has enough in both."""
    best, found = -math.inf, None
    for group in np.unique(groups[pick]).tolist():
        mine, others = pick[groups[pick] == group], judge[groups[judge] == group]
        if group < 0 or len(mine) < LEAST or len(others) < LEAST:
            continue
        quality, paid, took = (_mean(values[name][mine]) for name in ("quality", "cost_usd", "latency_s"))
        answered = 1.0 - _mean(values["failure"][mine])
        worth = answered * (quality if math.isfinite(quality) else 1.0)
        worth -= rules.usd_weight * (paid if math.isfinite(paid) else 0.0)
        worth -= rules.second_weight * (took if math.isfinite(took) else 0.0)
        if worth > best:
            best, found = worth, others
    return found


def _values(outcomes: Outcomes) -> dict[str, Floats]:
    return {
        "quality": outcomes.score,
        "failure": (~outcomes.ok).astype(np.float64),
        "latency_s": outcomes.latency_s,
        "cost_usd": outcomes.cost_usd,
    }


def _mean(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else math.nan


def _error(values: Floats, name: str) -> float:
    """The variance of a mean; scores and failures count one more of variance 1/4, as in observe.py."""
    n = len(values)
    prior = 0.25 if name in ("quality", "failure") else 0.0
    return float((values.var() * n + prior) / (n + 1)) / n


def _effect(now: list[tuple[float, float]], then: list[tuple[float, float]], spread: list[tuple[float, float]]) -> Effect | None:
    total = sum(weight for _, weight in now)
    if not total:
        return None
    was, will = (sum(value * weight for value, weight in parts) / total for parts in (now, then))
    half = Z * math.sqrt(sum(value * weight**2 for value, weight in spread)) / total
    return Effect(now=was, then=will, low=will - was - half, high=will - was + half, requests=int(total))
