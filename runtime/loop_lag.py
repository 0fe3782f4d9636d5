"""The monitor of the event loop's lag: what blocks the loop shows here before clients feel it.

Run by daemon.py, which hands in the metric to move. Imports nothing of the project.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable


class LoopLag:
    """Measures how late the event loop wakes a sleeper."""

    def __init__(
        self,
        observe: Callable[[float], None],
        *,
        interval_s: float = 0.25,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._observe, self._interval_s, self._clock, self._sleep = observe, interval_s, clock, sleep

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            due = self._clock() + self._interval_s
            await self._sleep(self._interval_s)
            self._observe(max(0.0, self._clock() - due))
