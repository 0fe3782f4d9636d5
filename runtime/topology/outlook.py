"""What a node of its own would be worth to a pattern: a promise that can be held against what is measured afterwards. Pure.

Called by growing.py, introspect.py and runtime/observing/analysis.py. A promise is made of what was measured alone: of the arms
that were tried on the pattern, of the requests that a node answered (the library's answers stay what they are, whoever is there),
and only of what its probation will see often enough to say that it was kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from agents.llm.prompts import render
from agents.records import Json
from agents.strategies.compose import BUILTIN, default_strategy, strategy_name
from agents.strategy_specs import StrategySpec
from runtime.topology.compare import LEAST, utility
from runtime.topology.observe import Places, Row, Table
from runtime.topology.outcomes import Floats
from runtime.topology.payloads import Kind
from runtime.topology.records import Draft
from runtime.topology.situation import Situation

LIKE = 10.0
PRIOR = 2.0
BIRTHS = frozenset({Kind.SPAWN, Kind.SPLIT})
CHARS_A_TOKEN = 4.0
ROUTINE_TOKENS = 20.0
"""What a routine says of how to answer."""
COMMITTEE = "committee x "
"""Arms of committees begin so: hard requests go to one by themselves, and no specialist is made for that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What a node of its own is expected to change for a pattern: means of one of its requests, the library's answers included.
    ``scored``: quality is promised too. ``backends``: who should answer it, the best first, and ``strategy`` the way that did
    best (None: as the parent works); ``why`` in words."""

    row: Row
    quality: float
    cost_usd: float
    latency_s: float
    gain: float
    backends: tuple[str, ...]
    why: str
    scored: bool = True
    strategy: StrategySpec | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Worked:
    """Of a pattern's requests those that a node answered: which ``part`` of all they are, and their means."""

    part: float
    judged: int
    quality: float
    success: float
    cost_usd: float
    latency_s: float


class Outlook:
    """What each pattern could gain, from the arms that were tried on it. Built once a window."""

    def __init__(self, situation: Situation) -> None:
        self._situation = situation
        cells, rules = situation.window.by_arm, situation.rules
        table = cells.table
        alone = np.array([not name.startswith(COMMITTEE) for name in situation.window.arms.names], dtype=np.bool_)
        self._enough = (table.count >= LEAST) & alone[cells.right]
        careful = np.where(table.judged > 0, table.quality_low, table.success_low)
        mean = np.where(table.judged > 0, table.quality, table.success)
        worth = utility(table, usd_weight=rules.usd_weight, second_weight=rules.second_weight)
        self._careful = worth - (mean - careful) * table.success  # the arm at its worst
        self._order = np.lexsort((-self._careful, ~self._enough, cells.left))
        names = np.arange(len(situation.window.patterns.names) + 1)
        self._ends = np.searchsorted(cells.left[self._order], names)
        self._by_node = np.searchsorted(situation.window.by_node.left, names)
        self._span_s = max(1.0, situation.window.until - situation.window.since)

    def promise(self, name: str) -> Promise | None:
        """What a specialist for the pattern promises; None where nothing can be said, nothing is to be gained, or its probation
        would see too little to tell."""
        window, rules = self._situation.window, self._situation.rules
        place = window.patterns.places.get(name)
        row = None if place is None else window.patterns.row(place)
        own = None if place is None else self._worked(place)
        if place is None or row is None or own is None or row.count < LEAST or not self._seen_again(row.count):
            return None
        scored = own.judged >= LEAST and self._seen_again(own.judged)
        now = own.quality if scored else own.success
        worth_now = now * own.success - rules.usd_weight * own.cost_usd - rules.second_weight * own.latency_s
        best = self._best(place)
        then, why, way = (now, own.cost_usd, own.latency_s), "", None
        arm = "" if best is None else window.arms.names[window.by_arm.right[best]]
        if best is not None:
            table = window.by_arm.table
            quality = _shrunk(table, best, now) if scored or not own.judged else now
            sure = float(self._careful[best]) > worth_now
            # Not surely better: it is still who answers, at its own price; nothing is promised of its quality.
            cost, latency = _known(float(table.cost_usd[best])), _known(float(table.latency_mean_s[best]))
            cost += prompt_usd(self._situation, name, arm.rpartition(" x ")[2])
            then = (quality if sure else now, cost, latency)
            if sure:
                why, way = f"{arm} does it better than what it gets now", strategy_of(self._situation, arm)
        # What a prompt and a routine of its own may bring can only be seen where answers are scored.
        lacks = (1.0 - then[0]) * rules.headroom if scored else 0.0
        quality = min(1.0, then[0] + lacks)
        worth_then = quality * max(own.success, 0.0) - rules.usd_weight * then[1] - rules.second_weight * then[2]
        gain = own.part * (worth_then - worth_now)
        if gain < rules.least_gain:
            return None
        return Promise(
            row=row,
            quality=min(1.0, (row.quality if scored else row.success) + own.part * (quality - now)),
            cost_usd=max(0.0, _known(row.cost_usd) + own.part * (then[1] - own.cost_usd)),
            latency_s=max(0.0, _known(float(window.patterns.latency_mean_s[place])) + own.part * (then[2] - own.latency_s)),
            gain=gain,
            backends=(arm.rpartition(" x ")[2],) if arm else (),
            why=why or f"its answers score {now:.2f}, and a specialist makes up for part of what is missing",
            scored=scored,
            strategy=way,
        )

    def _best(self, place: int) -> int | None:
        """The cell of the arm that is worth most of those that were tried on the pattern often enough, each at its worst."""
        mine: Places = self._order[self._ends[place] : self._ends[place + 1]]
        mine = mine[self._enough[mine]]
        return int(mine[0]) if len(mine) else None

    def _worked(self, place: int) -> Worked | None:
        window = self._situation.window
        cells = slice(int(self._by_node[place]), int(self._by_node[place + 1]))
        table, whole = window.by_node.table, float(window.patterns.count[place])
        count, judged = table.count[cells], table.judged[cells]
        if not count.sum() or not whole:
            return None
        return Worked(
            part=min(1.0, float(count.sum()) / whole),
            judged=int(judged.sum()),
            quality=_weighted(table.quality[cells], judged),
            success=_weighted(table.success[cells], count),
            cost_usd=_weighted(table.cost_usd[cells], count),
            latency_s=_weighted(table.latency_mean_s[cells], count),
        )

    def _seen_again(self, n: int) -> bool:
        """Whether a probation sees enough of what came ``n`` times in this window."""
        rules = self._situation.rules
        return n > 0 and n / self._span_s * rules.watch_s >= rules.watch_least


def believed(former: Iterable[tuple[Draft, Json]]) -> float:
    """How far promises of better answers are to be believed, by what former new nodes brought of theirs: 1 before the first was
    measured, and drawn to it as if PRIOR had kept theirs. ``former`` are drafts with what was measured (probation.measured)."""
    kept = []
    for draft, measured in former:
        told = measured if isinstance(measured, list) else []
        for said, found in zip(draft.predictions, told, strict=False):
            value = found.get("measured") if isinstance(found, Mapping) else None
            many = isinstance(found, Mapping) and isinstance(found.get("requests"), int) and found["requests"] >= LEAST
            if draft.kind in BIRTHS and said.metric == "quality" and said.change > 0 and many and isinstance(value, int | float):
                kept.append(min(max((value - said.baseline) / said.change, 0.0), 2.0))
    return (PRIOR + sum(kept)) / (PRIOR + len(kept))


def _weighted(values: Floats, weights: Floats) -> float:
    """The mean of those that are known; 0 where none is."""
    known = np.isfinite(values) & (weights > 0)
    total = float(weights[known].sum())
    return float((values[known] * weights[known]).sum()) / total if total else 0.0


def prompt_usd(situation: Situation, pattern: str, backend: str) -> float:
    """What a specialist's own prompt adds to the price of a request: on short ones it is most of it."""
    seen = situation.patterns.get(pattern)
    prompt = render("specialist", speciality=seen.name if seen is not None else pattern)
    return (len(prompt) / CHARS_A_TOKEN + ROUTINE_TOKENS) * situation.input_usd.get(backend, 0.0)


def _shrunk(table: Table, place: int, now: float) -> float:
    """What the best arm of several will be: its mean drawn to what the pattern gets now, as if LIKE of its outcomes had been like
    that. The best of several few-times tried ones is mostly one that was lucky."""
    n = float(table.judged[place] if table.judged[place] > 0 else table.count[place])
    mean = float(table.quality[place] if table.judged[place] > 0 else table.success[place])
    return (n * mean + LIKE * now) / (n + LIKE)


def _known(value: float) -> float:
    return value if math.isfinite(value) else 0.0


def strategy_of(situation: Situation, arm: str) -> StrategySpec | None:
    """The way in which ``arm`` (strategy x node x backend) answers: its node's own where it has that name, else what the name
    stands for; None for a name of the configuration's, which only the daemon could look up."""
    name, _, rest = arm.partition(" x ")
    member = situation.by_name.get(rest.rpartition(" x ")[0])
    if member is not None and strategy_name(member.spec.strategy) == name:
        return member.spec.strategy
    return default_strategy(name) if name in BUILTIN else None
