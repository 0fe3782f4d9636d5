"""The warm pool: blank actors that have imported everything, so that a node is live in milliseconds and not in a second.

Used by cluster.py. Takes and refills; knows nothing of specs.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable

from agents.records import AgentError
from runtime.cluster import ClusterStatus, WarmUse
from runtime.ray_cluster.hosts import Host

_log = logging.getLogger(__name__)

FIRST_BACKOFF_S = 0.5
MAX_BACKOFF_S = 30.0
REFILL_DELAY_S = 0.25
WATCH_S = 86_400.0
MAX_TAKEN = 512
"""How long, and how often, a taking is remembered."""


class WarmPool:
    """Keeps ``size`` blank hosts. ``create`` makes one; it raises an AgentError when it cannot."""

    def __init__(self, *, size: int, create: Callable[[], Awaitable[Host]], clock: Callable[[], float] = time.monotonic) -> None:
        self._size = size
        self._create = create
        self._clock = clock
        self._taken: deque[tuple[float, bool]] = deque(maxlen=MAX_TAKEN)
        self._since = clock()
        self._start_s = 0.0
        self._ready: deque[Host] = deque()
        self._making: set[asyncio.Task[None]] = set()
        self._closed = False

    def __len__(self) -> int:
        return len(self._ready)

    async def start(self) -> None:
        """Fill the pool. Raises NodeLost when not one blank host comes up."""
        hosts = await asyncio.gather(*(self._create() for _ in range(self._size)), return_exceptions=True)
        failures = [host for host in hosts if isinstance(host, BaseException)]
        self._ready.extend(host for host in hosts if isinstance(host, Host))
        if failures and not self._ready:
            raise failures[0]
        self._refill()

    async def take(self) -> Host:
        """A blank host that is ready: from the pool, or a cold one when the pool is empty."""
        host = self._ready.popleft() if self._ready else None
        self._note(cold=host is None)
        if host is None:
            return await self._timed()
        # A little later: a new process would fight the new node for the processor in just the moment that counts.
        asyncio.get_running_loop().call_later(REFILL_DELAY_S, self._refill)
        return host

    def _note(self, *, cold: bool) -> None:
        """Somebody takes a host now. What is too old, or too much, is forgotten, and the time before it with it."""
        now = self._clock()
        if len(self._taken) == MAX_TAKEN:
            self._since = self._taken[1][0]
        self._taken.append((now, cold))
        while self._taken and self._taken[0][0] < now - WATCH_S:
            self._taken.popleft()
        self._since = max(self._since, now - WATCH_S)

    async def _timed(self) -> Host:
        began = self._clock()
        host = await self._create()
        took = self._clock() - began
        self._start_s = took if not self._start_s else 0.8 * self._start_s + 0.2 * took
        return host

    def use(self) -> WarmUse:
        """What was asked of it lately."""
        since = max(self._since, self._clock() - WATCH_S)
        taken = [(at - since, cold) for at, cold in self._taken if at >= since]
        span_s, cold = self._clock() - since, sum(cold for _, cold in taken)
        return WarmUse(
            size=self._size,
            span_s=span_s,
            taken_s=tuple(at for at, _ in taken),
            cold=cold,
            start_s=self._start_s,
            idle_s=max(0.0, self._size * span_s - (len(taken) - cold) * (self._start_s + REFILL_DELAY_S)),
        )

    async def resize(self, size: int) -> None:
        """Keep ``size`` from now on; those that are too many end."""
        self._size = size
        while len(self._ready) > size:
            await self._ready.pop().kill()
        self._refill()

    def discard(self, host: Host) -> None:
        """A blank host died; make another."""
        if host in self._ready:
            self._ready.remove(host)
            self._refill()

    async def stop(self) -> None:
        self._closed = True
        for task in self._making:
            task.cancel()
        await asyncio.gather(*self._making, return_exceptions=True)
        while self._ready:
            await self._ready.popleft().kill()

    def _refill(self) -> None:
        while not self._closed and len(self._ready) + len(self._making) < self._size:
            task = asyncio.create_task(self._make(), name="warm a node")
            self._making.add(task)
            task.add_done_callback(self._making.discard)

    async def _make(self) -> None:
        backoff_s = FIRST_BACKOFF_S
        while True:
            try:
                self._ready.append(await self._timed())
                return
            except AgentError as error:
                _log.warning("no warm node (%s); trying again in %.1f s", error, backoff_s)
            await asyncio.sleep(backoff_s)
            backoff_s = min(backoff_s * 2, MAX_BACKOFF_S)


def standing(pool: WarmPool | None) -> ClusterStatus:
    """What a pool has to say of how the cluster stands; None: there is none any more."""
    warm, use = (0, None) if pool is None else (len(pool), pool.use())
    return ClusterStatus(kind="ray", live=0, warm=warm, restarts=0, use=use)
