"""Intervals that hold at every moment at once, so that looking early is no error.

Called by experiment.py. Standard library alone; no I/O, no clock.

``Mean`` is the predictable plug-in empirical-Bernstein confidence sequence of Waudby-Smith and Ramdas, "Estimating means of
bounded random variables by betting" (JRSS B 2024), theorem 2: it holds for values in [0, 1] without any assumption on their
distribution, for finite samples, with probability 1 - alpha over all times together. Where the mean drifts it covers the
weighted mean of the conditional means so far. ``asymptotic_radius`` is the asymptotic confidence sequence of Waudby-Smith,
Arbour, Sinha, Kennedy, Ramdas,
"Time-uniform central limit theory and asymptotic confidence sequences" (Annals of Statistics 2024), proposition 2.2: for values
without useful bounds, and honest only after some dozens of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

MOST_BET = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """From ``low`` to ``high`` around ``mean``."""

    mean: float
    low: float
    high: float

    def minus(self, other: Interval) -> Interval:
        """What the difference can be when both hold (a union bound: the errors add up)."""
        return Interval(mean=self.mean - other.mean, low=self.low - other.high, high=self.high - other.low)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mean:
    """A running mean of values in [0, 1] with its confidence sequence. ``alpha`` is fixed before the first value."""

    alpha: float
    n: int = 0
    total: float = 0.0
    squares: float = 0.0
    bets: float = 0.0
    bet_total: float = 0.0
    penalty: float = 0.0
    low: float = 0.0
    high: float = 1.0

    def seen(self, value: float) -> Mean:
        """With one value more. Raises ValueError for a value outside [0, 1] or not finite."""
        if not 0.0 <= value <= 1.0:
            raise ValueError(f"a value of a bounded mean must lie between 0 and 1, not {value}")
        n = self.n + 1
        mean_before = (0.5 + self.total) / n
        spread_before = (0.25 + self.squares) / n
        bet = min(math.sqrt(2 * math.log(2 / self.alpha) / (spread_before * n * math.log(1 + n))), MOST_BET)
        bets = self.bets + bet
        bet_total = self.bet_total + bet * value
        penalty = self.penalty + (value - mean_before) ** 2 * (-math.log1p(-bet) - bet)
        total = self.total + value
        mean = (0.5 + total) / (n + 1)
        radius = (math.log(2 / self.alpha) + penalty) / bets
        low, high = max(self.low, bet_total / bets - radius), min(self.high, bet_total / bets + radius)
        if low > high:  # a mean that drifted: the intersection of all times is empty, and the newest is what can be said
            low, high = max(0.0, bet_total / bets - radius), min(1.0, bet_total / bets + radius)
        return Mean(
            alpha=self.alpha,
            n=n,
            total=total,
            squares=self.squares + (value - mean) ** 2,
            bets=bets,
            bet_total=bet_total,
            penalty=penalty,
            low=low,
            high=high,
        )

    @property
    def interval(self) -> Interval:
        """[0, 1] before the first value."""
        mean = self.total / self.n if self.n else 0.5
        return Interval(mean=min(max(mean, self.low), self.high), low=self.low, high=self.high)


def asymptotic_radius(n: int, sd: float, alpha: float, tuned_for: int = 500) -> float:
    """Half the width at ``n`` values of standard deviation ``sd``; narrowest about ``tuned_for`` values. Infinite for n < 2."""
    if n < 2:
        return math.inf
    log_term = -2 * math.log(alpha)
    rho2 = (log_term + math.log(log_term + 1)) / tuned_for
    spread = n * rho2 + 1
    return sd * math.sqrt(2 * spread / (n * n * rho2) * math.log(math.sqrt(spread) / alpha))
