"""The clock of a simulated month: it runs as the real one does while requests are under way, and leaps between them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from runtime.clock import Clock

DAY_S: Final = 86_400.0
START: Final = 1_767_571_200.0
"""Monday, 5 January 2026, 00:00 UTC: the same days of the week in every run."""


class Leaping:
    """``clock`` is for the daemon. Days are counted from 0."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now, self._began, self._leapt_s = now, now(), 0.0
        self.clock = Clock(wall=lambda: START + self.elapsed_s, steady=lambda: self.elapsed_s)

    @property
    def elapsed_s(self) -> float:
        return self._now() - self._began + self._leapt_s

    @property
    def day(self) -> float:
        return self.elapsed_s / DAY_S

    def leap_to(self, day: float) -> None:
        """It is ``day`` now; it is never set back."""
        self._leapt_s += max(0.0, day * DAY_S - self.elapsed_s)


def day_of(at: float) -> float:
    """The day of a time that the daemon wrote."""
    return (at - START) / DAY_S
