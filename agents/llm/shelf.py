"""The clients of one configuration after another: new asks take the newest, running ones keep theirs until they end.

Used by pool.py alone. A client whose spec did not change is kept with its connections; one that is not wanted any more is closed
when the last ask that may use it has ended. Imports nothing of the request path.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence

from agents.llm import selection
from agents.llm.chat import Backend, BackendSpec
from agents.llm.retry import RetryPolicy


class Shelf:
    """Backends, retry policy and order of fallback that belong together. ``specs`` are cheapest first."""

    __slots__ = ("backends", "configured", "fallback", "retry", "specs", "users")

    def __init__(self, backends: Sequence[Backend], retry: RetryPolicy, fallback: Sequence[str]) -> None:
        self.specs: tuple[BackendSpec, ...] = selection.by_price([backend.spec for backend in backends])
        self.backends = {backend.spec.name: backend for backend in backends}
        self.retry = retry
        self.fallback = tuple(fallback) or tuple(self.backends)
        self.configured = bool(fallback)
        self.users = 0


class Shelves:
    """The shelf that holds now, and those that running asks still use."""

    def __init__(self, first: Shelf) -> None:
        self.now = first
        self._retired: list[Shelf] = []
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def has_retired(self) -> bool:
        """Is an earlier shelf still in use?"""
        return bool(self._retired)

    @contextlib.contextmanager
    def use(self) -> Iterator[Shelf]:
        """The shelf that holds now, kept open for as long as the block runs."""
        shelf = self.now
        shelf.users += 1
        try:
            yield shelf
        finally:
            shelf.users -= 1
            if shelf is not self.now and not shelf.users:
                self._sweep()

    def renew(
        self, specs: Sequence[BackendSpec], make: Callable[[BackendSpec], Backend], retry: RetryPolicy, fallback: Sequence[str]
    ) -> None:
        """Put another shelf in place. Needs a running event loop, which closes what is not used any more."""
        known = {backend.spec: backend for backend in self.now.backends.values()}
        self._retired.append(self.now)
        self.now = Shelf([known.get(spec) or make(spec) for spec in specs], retry, fallback)
        self._sweep()

    async def aclose(self) -> None:
        """Close everything, used or not."""
        shelves, self._retired = [self.now, *self._retired], []
        await asyncio.gather(*(backend.aclose() for backend in _clients(shelves)), *self._closing)

    def _sweep(self) -> None:
        idle = [shelf for shelf in self._retired if not shelf.users]
        self._retired = [shelf for shelf in self._retired if shelf.users]
        needed = _clients([self.now, *self._retired])
        for backend in _clients(idle):
            if backend not in needed:
                task = asyncio.ensure_future(backend.aclose())
                self._closing.add(task)
                task.add_done_callback(self._closing.discard)


def _clients(shelves: Sequence[Shelf]) -> list[Backend]:
    """Every client once; clients are compared by identity."""
    return list({id(backend): backend for shelf in shelves for backend in shelf.backends.values()}.values())
