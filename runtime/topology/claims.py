"""What a specialist is worth, by chance: a small share of the requests that are its own goes on as if it were not there. Pure.

Called by runtime/specialists/desk.py (who is held out) and by shrinking.py (what follows). Once a specialist is kept nobody else
does its work beside it; without this comparison it could never be found to be dispensable.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Final

from runtime.topology.observe import Z

LEAST_HELD: Final = 20
"""Requests of each side before they say anything."""


def held_out(request_id: str, share: float) -> bool:
    """Whether a request is one of the ``share`` (0 to 1) that goes on without the specialist: as good as a die, and the same for
    the same id."""
    return int.from_bytes(hashlib.sha256(request_id.encode()).digest()[:8]) < share * 2.0**64


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Requests that a specialist's routine claimed: how many, how many were answered, the sums of the ``judged`` ones' scores and
    of their squares, and the mean cost (USD) and latency (seconds) of one."""

    count: int
    answered: int
    judged: int = 0
    scores: float = 0.0
    squares: float = 0.0
    cost_usd: float = 0.0
    latency_s: float = 0.0

    def quality(self, *, judged: bool) -> tuple[float, float]:
        """The mean score (else the share that was answered) and its variance. The variance of few is not believed to be small, as
        in observe.py."""
        n = self.judged if judged else self.count
        total, squares = (self.scores, self.squares) if judged else (float(self.answered), float(self.answered))
        mean = total / n
        return mean, (max(0.0, squares - n * mean**2) + 0.25) / (n + 1.0) / n


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """Requests of one specialist that it took, and those that went on without it."""

    taken: Group
    held: Group


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """What a specialist brings to one request, in utility (95 % interval), over ``count`` that went on without it."""

    mean: float
    low: float
    high: float
    count: int


def gain_of(claims: Claims, *, usd_weight: float, second_weight: float) -> Gain | None:
    """None while there are too few; where any are scored, only those count. Costs and times are taken as they are: they spread
    little beside scores."""
    taken, held = claims.taken, claims.held
    judged = taken.judged + held.judged > 0
    if (min(taken.judged, held.judged) if judged else min(taken.count, held.count)) < LEAST_HELD:
        return None
    (one, spread), (other, spread_other) = taken.quality(judged=judged), held.quality(judged=judged)
    cheaper = usd_weight * (held.cost_usd - taken.cost_usd) + second_weight * (held.latency_s - taken.latency_s)
    mean, half = one - other + cheaper, Z * math.sqrt(spread + spread_other)
    return Gain(mean=mean, low=mean - half, high=mean + half, count=held.judged if judged else held.count)
