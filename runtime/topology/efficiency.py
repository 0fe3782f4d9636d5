"""How well the network does for what it takes: one number from 0 to 100, computed, and what it is made of. Pure.

The score is ``100 x sum(weight x part) / sum(weight)`` over the parts that are known, each from 0 to 1:

- quality (weight 0.35): the mean score of the answers that somebody judged;
- answered (0.20): the share of the requests that were answered;
- thrift (0.15): what the requests would have cost had each pattern been given to the cheapest of its arms that is no worse (by
  more than 0.02 in quality), over what they did cost;
- speed (0.15): the same for latency and the fastest such arm;
- simplicity (0.15): of the live nodes, those that pull their weight: neither hardly used nor, by the rules of shrinking.py, slow
  without benefit or done as well by another for less. A single node pulls its weight.

Below ``ASKS`` the network asks for changes: the rules speak in any case, and a model is asked as well where one may be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from runtime.topology.compare import LEAST, worth
from runtime.topology.observe import Window
from runtime.topology.outcomes import Floats
from runtime.topology.shrinking import why_prune
from runtime.topology.situation import BUILT_IN_ROLES, Situation

ASKS: Final = 70.0
WEIGHTS: Final[Mapping[str, float]] = {"quality": 0.35, "answered": 0.2, "thrift": 0.15, "speed": 0.15, "simplicity": 0.15}
WITHIN: Final = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Efficiency:
    """``score`` 0 to 100, None where nothing was asked yet; ``parts`` 0 to 1, None where nothing is known of one."""

    score: float | None
    parts: Mapping[str, float | None]

    @property
    def asks_for_changes(self) -> bool:
        return self.score is not None and self.score < ASKS


def efficiency(situation: Situation) -> Efficiency:
    """The score of the window over the shape that answered it."""
    window = situation.window
    if not window.requests:
        return Efficiency(score=None, parts=dict.fromkeys(WEIGHTS))
    total = window.total.row(0)
    parts: dict[str, float | None] = {
        "quality": total.quality if total.judged else None,
        "answered": total.success,
        "thrift": _at_best(window, window.patterns.cost_usd, window.by_arm.table.cost_usd),
        "speed": _at_best(window, window.patterns.latency_mean_s, window.by_arm.table.latency_mean_s),
        "simplicity": _simplicity(situation),
    }
    known = {name: min(max(value, 0.0), 1.0) for name, value in parts.items() if value is not None and np.isfinite(value)}
    weight = sum(WEIGHTS[name] for name in known)
    score = 100.0 * sum(WEIGHTS[name] * value for name, value in known.items()) / weight if weight else None
    return Efficiency(score=score, parts={name: known.get(name) for name in WEIGHTS})


def _at_best(window: Window, spent: Floats, each: Floats) -> float | None:
    """What the patterns would have taken with the best of their good arms, over what they took; None where that is unknown."""
    cells, patterns = window.by_arm, window.patterns
    if not len(cells.left) or not len(patterns.names):
        return None
    good = (cells.table.count >= LEAST) & (worth(cells.table) >= worth(patterns)[cells.left] - WITHIN) & np.isfinite(each)
    least = np.full(len(patterns.names), np.inf)
    np.minimum.at(least, cells.left[good], each[good])
    known = np.isfinite(spent) & (patterns.count > 0)
    actual = float(np.sum(patterns.count[known] * spent[known]))
    possible = float(np.sum(patterns.count[known] * np.minimum(least, spent)[known]))
    return possible / actual if actual > 0 else 1.0


def _simplicity(situation: Situation) -> float:
    window = situation.window
    members = [member for member in situation.live if member.spec.role not in BUILT_IN_ROLES]
    if len(members) <= 1:
        return 1.0
    useful = 0
    for member in members:
        place = window.nodes.places.get(member.spec.name)
        if place is None or window.nodes.count[place] == 0:
            continue
        useful += not why_prune(situation, window.nodes.row(place), situation.compared[place])[0]
    return useful / len(members)
