"""Answers kept ready: N variants a key, primed in the background, served in turn, refilled when they are used up.

Owned by mock.py. Knows nothing of HTTP or of what an answer is but its size; must not import a service.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from agents.records import AgentError

log = logging.getLogger(__name__)


class Sized(Protocol):
    @property
    def size_bytes(self) -> int: ...


_Variant = TypeVar("_Variant", bound=Sized)


@dataclass(slots=True)
class _Shelf(Generic[_Variant]):
    """The ready variants of one key, and the task that fills it, if one is at work."""

    ready: deque[_Variant] = field(default_factory=deque)
    size_bytes: int = 0
    filler: asyncio.Task[None] | None = None
    dropped: bool = False


class VariantCache(Generic[_Variant]):
    """``get`` a variant for a key, made fresh where none is ready.

    Bounded in keys and bytes (the least recently used go) and in fillers at work.
    """

    def __init__(self, *, max_keys: int = 256, max_bytes: int = 64 * 2**20, parallel: int = 2) -> None:
        self._shelves: OrderedDict[bytes, _Shelf[_Variant]] = OrderedDict()
        self._max_keys = max_keys
        self._max_bytes = max_bytes
        self._bytes = 0
        self._parallel = asyncio.Semaphore(parallel)
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def __len__(self) -> int:
        return len(self._shelves)

    async def get(self, key: bytes, variants: int, make: Callable[[], Awaitable[_Variant]]) -> tuple[_Variant, bool]:
        """A variant and whether it was ready. ``make`` makes one; its errors reach the caller, a filler's only the log."""
        shelf = self._shelves.get(key)
        if shelf is not None and shelf.ready:
            self._shelves.move_to_end(key)
            variant = shelf.ready.popleft()
            self._count(shelf, -variant.size_bytes)
            if not shelf.ready:
                self._fill(shelf, variants, make)
            return variant, True
        variant = await make()
        shelf = self._shelves.get(key) or self._add(key)
        # The caller's own answer is one of the variants. Filling starts only now: where the first ask fails, nothing is primed.
        self._fill(shelf, max(1, variants - 1), make)
        return variant, False

    async def aclose(self) -> None:
        """Stop filling. Idempotent."""
        self._closed = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def idle(self) -> None:
        """Wait until no filler is at work (for tests and for a clean stop)."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _add(self, key: bytes) -> _Shelf[_Variant]:
        shelf = self._shelves[key] = _Shelf()
        while len(self._shelves) > self._max_keys:
            self._drop_oldest()
        return shelf

    def _drop_oldest(self) -> None:
        _, shelf = self._shelves.popitem(last=False)
        shelf.dropped = True
        self._count(shelf, -shelf.size_bytes)
        shelf.ready.clear()
        if shelf.filler is not None:
            shelf.filler.cancel()

    def _count(self, shelf: _Shelf[_Variant], size_bytes: int) -> None:
        shelf.size_bytes += size_bytes
        self._bytes += size_bytes

    def _fill(self, shelf: _Shelf[_Variant], variants: int, make: Callable[[], Awaitable[_Variant]]) -> None:
        if self._closed or shelf.filler is not None:
            return
        task = asyncio.create_task(self._filled(shelf, variants, make), name="mock-cache-filler")
        shelf.filler = task
        self._tasks.add(task)

        def done(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            shelf.filler = None
            if not task.cancelled() and (error := task.exception()) is not None:
                log.error("Priming a mock answer failed unexpectedly", exc_info=error)

        task.add_done_callback(done)

    async def _filled(self, shelf: _Shelf[_Variant], variants: int, make: Callable[[], Awaitable[_Variant]]) -> None:
        for _ in range(variants):
            try:
                async with self._parallel:
                    variant = await make()
            except AgentError as error:
                # The next request that finds nothing ready tries again; a failing backend is not asked N times in a row.
                log.info("Priming a mock answer stopped: %s", error)
                return
            if shelf.dropped or variant.size_bytes > self._max_bytes:
                return
            shelf.ready.append(variant)
            self._count(shelf, variant.size_bytes)
            while self._bytes > self._max_bytes and self._shelves:
                self._drop_oldest()
