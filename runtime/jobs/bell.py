"""Wakes who waits for news of a job. Holds nothing but the waiting; what happened is read from the ledger.

Called by runner.py.
"""

from __future__ import annotations

import asyncio


class Bell:
    """One event a job that somebody waits for, with the number of those who wait."""

    def __init__(self) -> None:
        self._waiting: dict[str, tuple[asyncio.Event, int]] = {}

    def ring(self, name: str) -> None:
        """Wake all who wait for ``name``."""
        event, _ = self._waiting.pop(name, (None, 0))
        if event is not None:
            event.set()

    async def wait(self, name: str, timeout_s: float) -> None:
        """Until the next ring of ``name``, or for so long."""
        event, count = self._waiting.get(name) or (asyncio.Event(), 0)
        self._waiting[name] = (event, count + 1)
        try:
            await asyncio.wait_for(event.wait(), timeout_s)
        except TimeoutError:
            pass
        finally:
            found, left = self._waiting.get(name, (None, 0))
            if found is event and left > 1:
                self._waiting[name] = (event, left - 1)
            elif found is event:
                del self._waiting[name]
