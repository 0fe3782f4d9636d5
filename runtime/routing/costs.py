"""What an arm costs and how long it takes, apart from how good it is.

Called by bandit.py. Imports numpy and this room alone; no I/O, no clock.

Both are learned as logarithms (they are skewed and positive) with the hierarchical model of linear.py over the request's shape.
Cost is learned in units of the backend's price when it was paid, so that a new price holds from the next decision on; a backend
that was never asked is expected to take the pool's tokens at its own price.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from runtime.routing.features import SHAPE_SCALE, Point
from runtime.routing.levels import Slots, Vector
from runtime.routing.linear import HierarchicalRidge
from runtime.routing.records import Arm

UNPRICED_USD_PER_1M = 1.0
LEAST = 1e-9
READ = 12
"""Of a point, so many features of shape are looked at."""


class Logarithms:
    """A positive quantity of ``slots`` arms. Not thread-safe."""

    def __init__(self, *, slots: int, own_keep: float = 0.995) -> None:
        tau2 = np.array([1.0, *([0.1**2] * READ)])
        self.ridge = HierarchicalRidge(
            slots=slots, tau2=tau2, pool_tau2=100 * tau2, noise2=0.5**2, prior_mean=0.0, own_discount=own_keep
        )
        self.scatter2 = np.full(slots, 0.1)
        self.learned = 0

    def expect(self, point: Point, slots: Slots, *, untried: npt.NDArray[np.bool_] | None = None) -> Vector:
        """``(n,)``, the mean of the quantity itself, not of its logarithm; not a number while nothing was ever learned.

        Of ``untried`` arms a standard deviation less of the logarithm is expected: under a tight budget an arm that was taken
        for as dear as the others would never show that it is not.
        """
        if not self.learned:
            return np.full(len(slots), np.nan)
        x = _seen(point)
        mean = self.ridge.weights[slots] @ x
        if untried is not None and untried.any():
            hope = untried & (self.ridge.counts[slots] <= 0)
            mean = mean - np.where(hope, np.sqrt(self.ridge.spread(x, slots)), 0.0)
        # The mean of a log-normal; bounded, so that a few wild values cannot price an arm out for good.
        found: Vector = np.exp(np.clip(mean, -30.0, 30.0) + np.minimum(self.scatter2[slots], 2.0) / 2)
        return found

    def learn(self, point: Point, slot: int, value: float) -> None:
        """One value of 0 or more."""
        x = _seen(point)
        y = float(np.log(max(value, LEAST)))
        if self.learned and self.ridge.counts[slot] > 1:
            self.scatter2[slot] += 0.05 * ((y - float(self.ridge.weights[slot] @ x)) ** 2 - self.scatter2[slot])
        self.ridge.learn(slot, x, y)
        self.learned += 1

    def forget(self, slot: int) -> None:
        """Drop all that is known of an arm."""
        self.ridge.scale(slot, 0.0)
        self.scatter2[slot] = 0.1


def _seen(point: Point) -> Vector:
    x = np.empty(READ + 1)
    x[0] = 1.0
    x[1:] = point[:READ] / SHAPE_SCALE
    return x


def price_unit(arm: Arm) -> float:
    """US dollars a million tokens, with a guess where the price is unknown; 0 for what costs nothing."""
    return UNPRICED_USD_PER_1M if arm.usd_per_1m is None else arm.usd_per_1m
