"""Nodes held against those who do the same work: pattern by pattern, so that an easy job is not taken for a good node. Pure;
numpy.

Called by the rules and by simulate.py. For each pattern the best other node (or arm) is found by one sort of the cells, so that
10,000 nodes cost n log n and no pair is looked at twice.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from runtime.topology.observe import Cells, Places, Table, Z, added
from runtime.topology.outcomes import Floats

LEAST: Final = 5
"""Outcomes of a cell before it says anything of its node."""
MAX_PAIRS: Final = 64
NEIGHBOURS: Final = 3
"""Nodes of the same main pattern that each is compared to."""
_WORD: Final = re.compile(r"\w+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Against:
    """A node against the best others on its own mix of patterns; differences are theirs minus its own. ``covered`` is the part of
    its outcomes that others can be compared on; ``quality_low`` and ``quality_high`` hold with 95 %. Ratios are theirs over its
    own; ``best``: the place of the node that would take most of it."""

    count: int
    covered: float
    quality: float
    quality_low: float
    quality_high: float
    cost_ratio: float
    latency_ratio: float
    cost_usd: float
    latency_s: float
    best: int


def worth(table: Table) -> Floats:
    """What an outcome of each row was worth in quality: its scores, or where nobody scored, whether it was answered at all."""
    return np.where(table.judged > 0, table.quality, table.success)


def utility(table: Table, *, usd_weight: float, second_weight: float) -> Floats:
    """Quality - ``usd_weight`` x USD - ``second_weight`` x seconds of each row; what failed is worth nothing."""
    paid = usd_weight * np.nan_to_num(table.cost_usd) + second_weight * np.nan_to_num(table.latency_mean_s)
    return np.nan_to_num(worth(table) * table.success) - paid


def alternatives(cells: Cells, utilities: Floats, *, least: int = LEAST) -> Places:
    """For each cell the place of the best other cell of its left side with ``least`` outcomes; -1 where there is none."""
    k = len(cells.left)
    found = np.full(k, -1, dtype=np.intp)
    able = cells.table.count >= least
    order = np.lexsort((-utilities, ~able, cells.left))
    lefts = cells.left[order]
    first = np.flatnonzero(np.concatenate(([True], lefts[1:] != lefts[:-1]))) if k else np.zeros(0, dtype=np.intp)
    start = np.repeat(first, np.diff(np.append(first, k)))
    top = order[start]
    second = np.minimum(start + 1, max(0, k - 1))
    runner = np.where((start + 1 < k) & (lefts[second] == lefts), order[second], -1) if k else top
    best = np.where(top == order, runner, top)
    found[order] = np.where((best >= 0) & able[best], best, -1)
    return found


def against_others(cells: Cells, nodes: int, *, usd_weight: float, second_weight: float) -> list[Against | None]:
    """``Against`` for each of ``nodes`` places of the cells' right side; None where no other did any of its work."""
    table = cells.table
    at: Places
    to: Places
    other = alternatives(cells, utility(table, usd_weight=usd_weight, second_weight=second_weight))
    usable = (other >= 0) & (table.count >= 1)
    at, to = np.flatnonzero(usable), other[usable]
    weight, who = table.count[at], cells.right[at]
    total, covered = added(cells.right, table.count, nodes), added(who, weight, nodes)
    value = worth(table)
    spread = np.where(table.judged > 0, table.quality_var / np.maximum(table.judged, 1.0), 0.25 / np.maximum(table.count, 1.0))

    def summed(values: Floats) -> Floats:
        return added(who, np.nan_to_num(values), nodes)

    difference = summed(weight * (value[to] - value[at]))
    variance = summed(weight**2 * (spread[to] + spread[at]))
    cost, cost_to = summed(weight * table.cost_usd[at]), summed(weight * table.cost_usd[to])
    latency, latency_to = summed(weight * table.latency_mean_s[at]), summed(weight * table.latency_mean_s[to])
    heaviest = np.full(nodes, -1, dtype=np.intp)
    order = np.argsort(weight, kind="stable")
    heaviest[who[order]] = cells.right[to[order]]
    found: list[Against | None] = []
    for place in range(nodes):
        n = float(covered[place])
        if n <= 0:
            found.append(None)
            continue
        mean, half = float(difference[place]) / n, Z * math.sqrt(float(variance[place])) / n
        found.append(
            Against(
                count=int(total[place]),
                covered=n / float(total[place]),
                quality=mean,
                quality_low=mean - half,
                quality_high=mean + half,
                cost_ratio=_ratio(float(cost_to[place]), float(cost[place])),
                latency_ratio=_ratio(float(latency_to[place]), float(latency[place])),
                cost_usd=float(cost_to[place] - cost[place]) / n,
                latency_s=float(latency_to[place] - latency[place]) / n,
                best=int(heaviest[place]),
            )
        )
    return found


def _ratio(theirs: float, mine: float) -> float:
    return theirs / mine if mine > 0 else 1.0 if theirs <= 0 else math.inf


def twins(cells: Cells, nodes: int, *, least: int, overlap: float) -> list[tuple[int, int, float]]:
    """Pairs of nodes that are asked the same: (place, place, cosine of their pattern counts >= ``overlap``), at most MAX_PAIRS,
    the most alike first. Only nodes with the same main pattern are compared, and each with few of them."""
    counts = cells.table.count
    total = np.bincount(cells.right, weights=counts, minlength=nodes)
    lengths = np.sqrt(np.bincount(cells.right, weights=counts**2, minlength=nodes))
    by_count = np.lexsort((counts, cells.right))
    main = np.full(nodes, -1, dtype=np.intp)
    main[cells.right[by_count]] = cells.left[by_count]
    able = np.flatnonzero((total >= least) & (main >= 0))
    able = able[np.lexsort((-total[able], main[able]))]
    order = np.argsort(cells.right, kind="stable")
    ends = np.searchsorted(cells.right[order], np.arange(nodes + 1))
    found = []
    for i, a in enumerate(able.tolist()):
        mine = order[ends[a] : ends[a + 1]]
        profile = dict(zip(cells.left[mine].tolist(), counts[mine].tolist(), strict=True))
        for b in able[i + 1 : i + 1 + NEIGHBOURS].tolist():
            if main[b] != main[a]:
                break
            theirs = order[ends[b] : ends[b + 1]]
            pairs = zip(cells.left[theirs].tolist(), counts[theirs].tolist(), strict=True)
            dot = sum(count * profile.get(left, 0.0) for left, count in pairs)
            cosine = dot / float(lengths[a] * lengths[b])
            if cosine >= overlap:
                found.append((a, b, cosine))
    return sorted(found, key=lambda each: -each[2])[:MAX_PAIRS]


def answers_alike(mine: Sequence[tuple[str, str]], theirs: Sequence[tuple[str, str]]) -> float | None:
    """How alike two nodes answer, 0 to 1, from (pattern, answer) pairs of each: cosine of word counts between answers to the same
    pattern, over that among one node's own answers (two answers of one node differ as well). None with fewer than five pairs."""
    across = _mean_likeness(mine, theirs)
    own = [each for each in (_mean_likeness(mine), _mean_likeness(theirs)) if each is not None]
    if across is None or not own:
        return None
    return min(1.0, across / max(1e-9, sum(own) / len(own)))


def _mean_likeness(one: Sequence[tuple[str, str]], other: Sequence[tuple[str, str]] | None = None) -> float | None:
    first = [(pattern, _words(text)) for pattern, text in one[:40]]
    second = first if other is None else [(pattern, _words(text)) for pattern, text in other[:40]]
    found = [
        _cosine(a, b)
        for i, (p, a) in enumerate(first)
        for j, (q, b) in enumerate(second)
        if p == q and (other is not None or j > i)
    ]
    return sum(found) / len(found) if len(found) >= 5 else None


def _words(text: str) -> Counter[str]:
    return Counter(_WORD.findall(text[:4_000].lower()))


def _cosine(a: Mapping[str, int], b: Mapping[str, int]) -> float:
    if not a or not b:
        return float(not a and not b)
    dot = sum(count * b.get(word, 0) for word, count in a.items())
    return dot / math.sqrt(sum(c * c for c in a.values()) * sum(c * c for c in b.values()))
