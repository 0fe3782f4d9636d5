"""What happened in a window: how much came to each node, pattern, arm and locale, and how well, fast and dear it was answered.

Called by the topology watch (runtime/observer.py), which reads the outcomes; propose.py decides on what is found here. Pure:
numpy, no Python loop per outcome. Imports only columns and numbers.

Intervals hold with 95 %. Success: Wilson (1927), "Probable inference, the law of succession, and statistical inference". Quality:
a mean of scores from 0 to 1 with a normal interval, whose variance counts one more outcome of variance 1/4, so that a few scores
that happen to be equal are not taken for certainty.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from runtime.topology.outcomes import Codes, Dimension, Floats, Outcomes

Z: Final = 1.96
EVERY_REQUESTS: Final = 1000
EVERY_S: Final = 600.0
MAX_DENSE: Final = 4_000_000

Places = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of a Table, for people, JSON and rules. Numbers are NaN where nothing is known."""

    name: str
    count: int
    share: float
    success: float
    success_low: float
    success_high: float
    judged: int
    quality: float
    quality_low: float
    quality_high: float
    latency_p50_s: float
    latency_p95_s: float
    cost_usd: float
    faults: int

    def measures(self) -> dict[str, float | int | None]:
        """As JSON: what is not known is None."""
        found: dict[str, float | int | None] = {}
        for name in MEASURES:
            value = getattr(self, name)
            found[name] = value if isinstance(value, int) else float(value) if np.isfinite(value) else None
        return found


MEASURES: Final = tuple(name for name in Row.__slots__ if name != "name")


@dataclass(frozen=True, kw_only=True)
class Table:
    """Measures by group: each column is ``(k,)``. ``count`` are outcomes that say something (not cancelled ones and the like),
    ``share`` their part of all such in the window; ``quality_var`` is the variance behind the interval of one score."""

    names: tuple[str, ...]
    count: Floats
    share: Floats
    success: Floats
    success_low: Floats
    success_high: Floats
    judged: Floats
    quality: Floats
    quality_low: Floats
    quality_high: Floats
    quality_var: Floats
    latency_p50_s: Floats
    latency_p95_s: Floats
    latency_mean_s: Floats
    cost_usd: Floats
    faults: Floats

    @cached_property
    def places(self) -> Mapping[str, int]:
        return {name: place for place, name in enumerate(self.names)}

    def row(self, place: int) -> Row:
        values: dict[str, Any] = {name: float(getattr(self, name)[place]) for name in MEASURES}
        for name in ("count", "judged", "faults"):
            values[name] = int(values[name])
        return Row(name=self.names[place] if self.names else "", **values)

    def get(self, name: str) -> Row | None:
        """The row of ``name``; None where nothing came to it."""
        place = self.places.get(name)
        return None if place is None else self.row(place)

    def rows(self, most: int = 1_000) -> Iterator[Row]:
        """Those with the most outcomes, the busiest first."""
        for place in np.argsort(-self.count, kind="stable")[:most]:
            if self.count[place] > 0:
                yield self.row(int(place))


@dataclass(frozen=True, kw_only=True)
class Cells:
    """Groups of two dimensions that met: ``left`` and ``right`` ``(k,)`` are places in their tables; sorted by left, then right.
    The rows of ``table`` have no names and no quantiles."""

    left: Places
    right: Places
    table: Table


@dataclass(frozen=True, kw_only=True)
class Window:
    """``number`` counts windows from 1; ``requests`` are all that came, ``total`` has one row. ``by_node``: pattern x node cells,
    ``by_arm``: pattern x arm; an arm is named ``strategy x node x backend``. ``new_patterns``: of the patterns, those that no
    earlier window had."""

    number: int
    since: float
    until: float
    requests: int
    total: Table
    nodes: Table
    patterns: Table
    arms: Table
    locales: Table
    by_node: Cells
    by_arm: Cells
    new_patterns: int = 0

    def table(self, name: str) -> Table | None:
        """The table of a dimension by its word (node, pattern, arm, locale, total)."""
        tables = {"node": self.nodes, "pattern": self.patterns, "arm": self.arms, "locale": self.locales, "total": self.total}
        return tables.get(name)


def due(*, requests: int, elapsed_s: float, every_requests: int = EVERY_REQUESTS, every_s: float = EVERY_S) -> bool:
    """Whether a window is over: so many outcomes came, or so much time passed (a clock set back counts as none) and any came."""
    return requests >= every_requests or (requests > 0 and elapsed_s >= every_s)


def observe(outcomes: Outcomes, *, number: int = 1, known_patterns: frozenset[str] = frozenset()) -> Window:
    """The window over ``outcomes``. About 60 ms for 100,000 of them on one core."""
    n = len(outcomes)
    patterns, nodes = outcomes.codes["pattern"], outcomes.codes["node"]
    pattern_names, node_names = outcomes.names["pattern"], outcomes.names["node"]
    arms, arm_names = _arms(outcomes)
    groups = _Grouping(outcomes)
    by_node, node_cells = _crossed(patterns, nodes, len(node_names))
    by_arm, arm_cells = _crossed(patterns, arms, len(arm_names))
    seen = np.unique(patterns[patterns >= 0])
    new = sum(pattern_names[place] not in known_patterns for place in seen)
    finite = outcomes.at[outcomes.at > 0]
    return Window(
        number=number,
        since=float(finite.min()) if len(finite) else 0.0,
        until=float(finite.max()) if len(finite) else 0.0,
        requests=n,
        total=groups.table(np.zeros(n, dtype=np.int32), ("all",)),
        nodes=groups.table(nodes, node_names),
        patterns=groups.table(patterns, pattern_names),
        arms=groups.table(arms, arm_names),
        locales=groups.table(outcomes.codes["locale"], outcomes.names["locale"]),
        by_node=_cells(groups, by_node, node_cells, len(node_names)),
        by_arm=_cells(groups, by_arm, arm_cells, len(arm_names)),
        new_patterns=new,
    )


def _arms(outcomes: Outcomes) -> tuple[Codes, tuple[str, ...]]:
    """An arm's code for each outcome, -1 where its node, strategy or backend is not known; and the arms' names."""
    parts: tuple[Dimension, ...] = ("strategy", "node", "backend")
    names = [outcomes.names[part] for part in parts]
    key = np.zeros(len(outcomes), dtype=np.int64)
    whole = np.ones(len(outcomes), dtype=np.bool_)
    for part, known in zip(parts, names, strict=True):
        codes = outcomes.codes[part]
        key = key * max(1, len(known)) + np.maximum(codes, 0)
        whole &= codes >= 0
    found = np.full(len(outcomes), -1, dtype=np.int32)
    keys, found[whole] = dense(key[whole], math.prod(max(1, len(known)) for known in names))
    labels = []
    for each in keys.tolist():
        rest, backend = divmod(each, max(1, len(names[2])))
        strategy, node = divmod(rest, max(1, len(names[1])))
        labels.append(f"{names[0][strategy]} x {names[1][node]} x {names[2][backend]}")
    return found, tuple(labels)


def _crossed(left: Codes, right: Codes, width: int) -> tuple[Codes, npt.NDArray[np.int64]]:
    """A code for each outcome's cell (-1 where a side is not known), and the cells' keys ``left * width + right``, ascending."""
    whole = (left >= 0) & (right >= 0)
    found = np.full(len(left), -1, dtype=np.int32)
    tall = int(left.max(initial=-1)) + 1
    keys, found[whole] = dense(left[whole].astype(np.int64) * max(1, width) + right[whole], tall * max(1, width))
    return found, keys


def dense(keys: npt.NDArray[np.int64], bound: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[Any]]:
    """The distinct keys (from 0 to ``bound``), ascending, and the place of each key among them. Without a sort where a table of
    all possible keys is small."""
    if bound > MAX_DENSE:
        found, places = np.unique(keys, return_inverse=True)
        return found, places
    there = np.zeros(bound, dtype=np.bool_)
    there[keys] = True
    return np.flatnonzero(there), (np.cumsum(there, dtype=np.int32) - 1)[keys]


def _cells(groups: _Grouping, codes: Codes, keys: npt.NDArray[np.int64], width: int) -> Cells:
    left, right = np.divmod(keys, max(1, width))
    return Cells(
        left=left.astype(np.intp), right=right.astype(np.intp), table=groups.table(codes, (), k=len(keys), quantiles=False)
    )


class _Grouping:
    """Sorts the outcomes by latency once; every table's quantiles are then one stable sort of codes."""

    def __init__(self, outcomes: Outcomes) -> None:
        self._outcomes = outcomes
        self._by_latency = np.argsort(outcomes.latency_s, kind="stable")  # NaN comes last
        self._judged = np.isfinite(outcomes.score)
        self._timed = np.isfinite(outcomes.latency_s)
        self._priced = np.isfinite(outcomes.cost_usd)
        self._score = np.nan_to_num(outcomes.score)
        self._squares = self._score**2
        self._latency = np.nan_to_num(outcomes.latency_s)
        self._cost = np.nan_to_num(outcomes.cost_usd)

    def table(self, codes: Codes, names: tuple[str, ...], *, k: int | None = None, quantiles: bool = True) -> Table:
        """Measures of the groups ``codes`` ``(n,)`` from 0 to ``k`` (None: as many as names); -1 belongs to none."""
        k, some = len(names) if k is None else k, codes >= 0
        own: Any = slice(None) if some.all() else some
        places = codes[own]
        count = added(places, None, k)
        ok = added(places, self._outcomes.ok[own], k)
        judged = added(places, self._judged[own], k)
        quality, low, high, var = _means(judged, added(places, self._score[own], k), added(places, self._squares[own], k))
        success_low, success_high = wilson(ok, count)
        timed = added(places, self._timed[own], k)
        p50, p95 = self._quantiles(codes, timed, k) if quantiles else (np.full(k, np.nan), np.full(k, np.nan))
        with np.errstate(invalid="ignore", divide="ignore"):
            return Table(
                names=names,
                count=count,
                share=count / max(1.0, float(len(codes))),
                success=ok / count,
                success_low=success_low,
                success_high=success_high,
                judged=judged,
                quality=quality,
                quality_low=low,
                quality_high=high,
                quality_var=var,
                latency_p50_s=p50,
                latency_p95_s=p95,
                latency_mean_s=added(places, self._latency[own], k) / timed,
                cost_usd=added(places, self._cost[own], k) / added(places, self._priced[own], k),
                faults=added(places, self._outcomes.fault[own], k),
            )

    def _quantiles(self, codes: Codes, timed: Floats, k: int) -> tuple[Floats, Floats]:
        """The lower empirical 50 and 95 % quantiles of each group's latencies; NaN where none is known."""
        # numpy sorts 16 bits by radix, several times faster.
        ordered = codes[self._by_latency].astype(np.int16 if k < 2**15 else np.int32)
        order = self._by_latency[np.argsort(ordered, kind="stable")]
        counts = np.bincount(codes + 1, minlength=k + 1)
        starts = np.cumsum(counts)[:-1]
        found = []
        for part in (0.5, 0.95):
            place = starts + np.floor(np.maximum(timed - 1, 0) * part).astype(np.intp)
            values = self._outcomes.latency_s[order[np.minimum(place, max(0, len(order) - 1))]] if len(order) else place * 1.0
            found.append(np.where(timed > 0, values, np.nan))
        return found[0], found[1]


def added(places: npt.NDArray[Any], weights: npt.NDArray[Any] | None, k: int) -> Floats:
    """Sums of ``weights`` (None: ones) by place, ``(k,) float64``."""
    return np.bincount(places, weights=weights, minlength=k).astype(np.float64)


def _means(n: Floats, sums: Floats, squares: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Mean, low, high and variance of scores; NaN, 0 and 1 where there is none."""
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = sums / n
        spread = np.maximum(squares - n * np.nan_to_num(mean) ** 2, 0.0)
        var = (spread + 0.25) / (n + 1.0)
        half = Z * np.sqrt(var / n)
    known = n > 0
    low, high = np.where(known, np.maximum(mean - half, 0.0), 0.0), np.where(known, np.minimum(mean + half, 1.0), 1.0)
    return mean, low, high, var


def surely_below(good: float, n: float) -> float:
    """The upper end of Wilson's interval of one share; 1 where ``n`` is 0."""
    if n <= 0:
        return 1.0
    share, z2 = good / n, Z**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    return min(1.0, middle + Z * math.sqrt(share * (1 - share) / n + z2 / (4 * n**2)) / (1 + z2 / n))


def wilson(good: Floats, n: Floats) -> tuple[Floats, Floats]:
    """Wilson's interval of a share; 0 to 1 where ``n`` is 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        share = good / n
        middle = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
        half = Z * np.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2)) / (1 + Z**2 / n)
    known = n > 0
    return np.where(known, np.maximum(middle - half, 0.0), 0.0), np.where(known, np.minimum(middle + half, 1.0), 1.0)
