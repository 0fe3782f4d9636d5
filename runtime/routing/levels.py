"""What groups of requests and near neighbours add to an arm's estimate, and how far such additions may be trusted.

Called by quality.py. Imports numpy alone; no I/O, no clock.

Each level predicts what the levels before it leave over: groups (a locale, a pattern) by a mean shrunk to 0, neighbours by a mean
weighted with a kernel over embeddings. A level counts for as much as its own past predictions were worth: before an outcome is
learned, the level's prediction ``e`` is compared with what was left over, ``r``, and its trust is the slope of ``r`` on ``e``,
kept between 0 and 1 and shrunk to a prior. This is stacking (Wolpert 1992) with prequential residuals (Dawid 1984); because only
chosen arms are compared, the slope also takes back the optimism of having chosen the largest estimate.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]
Slots = npt.NDArray[np.intp]


class Trust:
    """The slope of what was left over on what was predicted; ``value`` from 0 to 1."""

    def __init__(self, *, prior: float, worth: float, keep: float = 0.999) -> None:
        self._prior = prior
        self._worth = worth
        self._keep = keep
        self.both = 0.0
        self.own = 0.0

    @property
    def value(self) -> float:
        """From 0 (the level is not believed) to 1."""
        slope = (self._prior * self._worth + self.both) / (self._worth + self.own)
        return min(max(slope, 0.0), 1.0)

    def learn(self, predicted: float, left: float, weight: float = 1.0) -> None:
        """Compare a prediction with what came, both as differences from the levels before."""
        self.both = self._keep * self.both + weight * predicted * left
        self.own = self._keep * self.own + weight * predicted * predicted


class Groups:
    """Means of what is left over, by group and arm, shrunk to 0 as if ``shrink`` outcomes of 0 had been seen.

    At most ``limit`` groups; the one that was unused for longest goes first.
    """

    def __init__(self, *, slots: int, shrink: float, keep: float, limit: int) -> None:
        self._slots = slots
        self._shrink = shrink
        self._keep = keep
        self._limit = limit
        self.table: OrderedDict[str, Vector] = OrderedDict()

    def effects(self, key: str | None, slots: Slots) -> Vector:
        """``(len(slots),)``; zeros for an unknown group."""
        row = self.table.get(key) if key else None
        if row is None:
            return np.zeros(len(slots))
        found: Vector = row[1, slots] / (row[0, slots] + self._shrink)
        return found

    def learn(self, key: str | None, slot: int, left: float, weight: float) -> None:
        """One outcome of ``slot`` in the group."""
        if not key:
            return
        row = self.table.get(key)
        if row is None:
            row = self.table[key] = self.fresh()
            if len(self.table) > self._limit:
                self.table.popitem(last=False)
        else:
            self.table.move_to_end(key)
        row[0, slot] = self._keep * row[0, slot] + weight
        row[1, slot] = self._keep * row[1, slot] + weight * left

    def fresh(self) -> Vector:
        """A group of which nothing is known, ``(2, slots)``: weights and sums."""
        return np.zeros((2, self._slots))

    def kept(self, slot: int) -> Callable[[], None]:
        """What brings back all that is known of an arm now, beside what comes meanwhile."""
        known = {key: row[:, slot].copy() for key, row in self.table.items() if row[0, slot] > 0}

        def bring_back() -> None:
            for key, column in known.items():
                if (row := self.table.get(key)) is not None:
                    row[:, slot] += column

        return bring_back

    def forget(self, slot: int) -> None:
        """Drop an arm everywhere."""
        for row in self.table.values():
            row[:, slot] = 0.0

    def decay(self, factor: float) -> None:
        """Keep ``factor`` (0 to 1) of all evidence."""
        for key in self.table:
            self.table[key] *= factor


class Neighbours:
    """The last ``size`` outcomes with their points ``(size, d) float32``; a ring.

    The kernel is Gaussian over points, ``exp(-|p - q|^2 / (2 width))``; for unit vectors that is ``exp((cos - 1) / width)``.
    """

    def __init__(self, *, size: int, d: int, shrink: float, width: float) -> None:
        self._shrink = shrink
        self._width = width
        self.points = np.zeros((size, d), dtype=np.float32)
        self.lengths2 = np.zeros(size, dtype=np.float32)
        self.slots = np.full(size, -1, dtype=np.intp)
        self.scores = np.zeros(size)
        self.left = np.zeros(size)
        self.weights = np.zeros(size)
        self.at = 0
        self.filled = 0

    def effects(self, point: npt.NDArray[np.float32], slots: Slots, all_slots: int) -> Vector:
        """``(len(slots),)``: kernel-weighted means of what was left over, shrunk to 0 (Nadaraya-Watson)."""
        n = self.filled
        if not n:
            return np.zeros(len(slots))
        far2 = self.lengths2[:n] - 2 * (self.points[:n] @ point) + point @ point
        kernel = np.exp(far2 * (-0.5 / self._width)) * self.weights[:n]
        owners = self.slots[:n]
        mass = np.bincount(owners, weights=kernel, minlength=all_slots)
        total = np.bincount(owners, weights=kernel * self.left[:n], minlength=all_slots)
        found: Vector = total[slots] / (mass[slots] + self._shrink)
        return found

    def learn(self, point: npt.NDArray[np.float32], slot: int, score: float, left: float, weight: float) -> None:
        """One outcome of ``slot``."""
        at = self.at
        self.points[at] = point
        self.lengths2[at] = point @ point
        self.slots[at] = slot
        self.scores[at] = score
        self.left[at] = left
        self.weights[at] = weight
        self.at = (at + 1) % len(self.slots)
        self.filled = max(self.filled, at + 1)

    def kept(self, slot: int) -> Callable[[], None]:
        """What brings back all that is remembered of an arm now, as far as nothing newer took its place."""
        places = np.flatnonzero((self.slots == slot) & (self.weights > 0))
        weights = self.weights[places].copy()

        def bring_back() -> None:
            still = (self.slots[places] == slot) & (self.weights[places] == 0)
            self.weights[places[still]] = weights[still]

        return bring_back

    def forget(self, slot: int) -> None:
        """What is remembered of an arm counts for nothing from now on."""
        self.weights[self.slots == slot] = 0.0

    def decay(self, factor: float) -> None:
        """Keep ``factor`` (0 to 1) of what remembered outcomes weigh."""
        self.weights *= factor
