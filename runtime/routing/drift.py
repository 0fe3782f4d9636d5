"""Notices that an arm is not what it was.

Called by quality.py. Imports numpy alone; no I/O, no clock.

Two cumulative sums an arm over the errors of its predictions (Page 1954), one for worse and one for better: ``g = max(0, g -
e - slack)``, an alarm at ``g > threshold``, sooner for worse than for better: a fall costs every request that still goes
there. An arm that falls from 0.8 to 0 gives the alarm after about seven outcomes, one that falls by 0.35 after about
twenty-five. With scores of 0 and 1 a false alarm comes about once in some thousands of outcomes of an arm, and costs the
relearning of that arm. The restart from what came since the estimated change is that of Liu, Lee, Shroff, "A Change-Detection
based Framework for Piecewise-stationary Multi-Armed Bandit Problem" (AAAI 2018).
"""

from __future__ import annotations

from collections import deque

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]
Remembered = tuple[Vector, float, float, float]

SLACK = 0.2
THRESHOLD = 5.0
FALL_THRESHOLD = 4.0
KEPT = 48
"""The outcomes of an arm that a restart may begin with."""


class Drift:
    """The sums of ``slots`` arms."""

    def __init__(
        self, *, slots: int, slack: float = SLACK, threshold: float = THRESHOLD, fall_threshold: float = FALL_THRESHOLD
    ) -> None:
        self._slack = slack
        self._thresholds = np.array([fall_threshold, threshold])
        self.sums = np.zeros((slots, 2))
        self.lengths = np.zeros((slots, 2), dtype=np.int64)
        self.alarms = np.zeros(slots, dtype=np.int64)
        """How often each was found to have changed; counted by who decides that it has."""
        self._recent: dict[int, deque[Remembered]] = {}

    def learn(self, slot: int, error: float, weight: float) -> bool:
        """``error`` is the score minus what was predicted. True on an alarm; ``since_change`` then tells what came after."""
        for side, step in enumerate((-error - self._slack, error - self._slack)):
            value = max(0.0, self.sums[slot, side] + weight * step)
            self.sums[slot, side] = value
            self.lengths[slot, side] = self.lengths[slot, side] + 1 if value > 0 else 0
        return bool((self.sums[slot] > self._thresholds).any())

    def remember(self, slot: int, x: Vector, score: float, weight: float, expected: float) -> None:
        """Keep an outcome, and what was expected, for a restart."""
        self._recent.setdefault(slot, deque(maxlen=KEPT)).append((x, score, weight, expected))

    def since_change(self, slot: int) -> list[Remembered]:
        """The outcomes since the sum that gave the alarm left 0: the estimate of when the arm changed."""
        side = int((self.sums[slot] / self._thresholds).argmax())
        length = int(self.lengths[slot, side]) - 1
        recent = list(self._recent.get(slot, ()))
        return recent[-length:] if length > 0 else []

    def fell(self, slot: int) -> bool:
        """Whether the alarm was for worse."""
        return bool((self.sums[slot] / self._thresholds).argmax() == 0)

    def begin(self, slot: int) -> None:
        """Begin an arm's sums anew; what is remembered of it stays."""
        self.sums[slot] = 0.0
        self.lengths[slot] = 0

    def forget(self, slot: int) -> None:
        """Begin an arm anew; its count of alarms stays."""
        self.begin(slot)
        self._recent.pop(slot, None)

    def forget_features(self) -> None:
        """Features mean something else now: remembered outcomes cannot be learned again."""
        self._recent.clear()
