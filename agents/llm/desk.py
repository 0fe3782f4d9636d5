"""The desk: who may call which backend now, for all nodes of one daemon.

One place counts calls in flight, requests per minute, and failures, so that four actors against a limit of three never have four
calls in flight. Used in process by the daemon and through the hub by nodes (it implements ``agents.toolbox.Admission``). Lives
in one event loop; nothing here does I/O.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from agents.calls import CallCost, CallRecord, Health, Permit
from agents.llm.breaker import Breaker, BreakerPolicy
from agents.llm.chat import BackendSpec
from agents.records import AgentError, BreakerOpen, NotFound, Overloaded, RateLimited, Refused

FAILURES = frozenset(
    {
        "backend_unreachable",
        "backend_timeout",
        "backend_failed",
        "backend_garbled",
        "stream_broken",
        "rate_limited",
    }
)
"""Error codes that count against a backend. A rejection does not: the backend works and said no."""

IGNORED = frozenset({"cancelled", "deadline_exceeded", "internal_error"})
"""Error codes that are our own doing and say nothing about the backend."""

MINUTE_S = 60.0


@dataclass(slots=True, eq=False)
class _Waiter:
    future: asyncio.Future[Permit]
    holder: str


@dataclass(slots=True)
class _Counter:
    """All that is known of one backend."""

    spec: BackendSpec
    breaker: Breaker
    inflight: dict[str, str] = field(default_factory=dict)
    stale: set[str] = field(default_factory=set)
    """Of ``inflight``, the permits of calls to where the backend was before: what comes of them says nothing of where it is."""
    queue: deque[_Waiter] = field(default_factory=deque)
    started: deque[float] = field(default_factory=deque)
    rest_until: float = 0.0
    timer: asyncio.TimerHandle | None = None

    def move(self, spec: BackendSpec) -> None:
        """Take a new spec. A backend that is somewhere else, or asked with another key, has failed nobody yet."""
        old, self.spec = self.spec, spec
        if (old.base_url, old.model, old.api_key) != (spec.base_url, spec.model, spec.api_key):
            self.breaker = Breaker(self.breaker.policy)
            self.rest_until = 0.0
            self.stale = set(self.inflight)

    def wait_s(self, now: float, ahead: int) -> float:
        """Seconds until the rate limit and a rest allow one more call with ``ahead`` calls before it."""
        wait = max(self.rest_until - now, 0.0)
        limit = self.spec.requests_per_minute
        if limit is None:
            return wait
        while self.started and self.started[0] <= now - MINUTE_S:
            self.started.popleft()
        over = len(self.started) + ahead - limit
        if over < 0:
            return wait
        rounds, index = divmod(over, limit)
        oldest = self.started[index] if index < len(self.started) else now
        return max(wait, oldest + MINUTE_S * (rounds + 1) - now)


class Desk:
    """Concurrency, rate limit, bounded first-in-first-out queue and breaker of every backend. Single-threaded."""

    def __init__(
        self, specs: Sequence[BackendSpec], *, breaker: BreakerPolicy, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._policy = breaker
        self._clock = clock
        self._ids = itertools.count(1)
        self._counters: dict[str, _Counter] = {}
        self._gone: dict[str, _Counter] = {}
        self.update(specs)

    async def lease(self, backend: str, *, holder: str, wait_s: float, cost: CallCost | None = None) -> Permit:
        """Wait at most ``wait_s`` (and the backend's queue_timeout_s) for a permit; ``holder`` is the task's id.

        The desk counts calls and not money: ``cost`` is for runtime/admission.py, which stands in front of it.

        Raises NotFound, BreakerOpen, RateLimited (the wait would be too long) or Overloaded (queue full, or waited in vain).
        Cancelling it leaves nothing behind.
        """
        counter = self._counters.get(backend)
        if counter is None:
            raise NotFound(f"there is no backend {backend!r}", param="model", backend=backend)
        permit = None if counter.queue else self._grant(counter, holder)
        if permit is not None:
            return permit
        wait_s = min(wait_s, counter.spec.queue_timeout_s)
        self._refuse_early(counter, wait_s)
        return await self._wait(counter, holder, wait_s)

    def try_lease(self, backend: str, *, holder: str) -> Permit | None:
        """A permit at once, or None when it would have to wait or is refused."""
        counter = self._counters.get(backend)
        if counter is None or counter.queue:
            return None
        return self._grant(counter, holder)

    def release(self, permit: Permit, record: CallRecord | None) -> None:
        """Give a permit back with what came of the call (None: not used, or cancelled by us). Idempotent."""
        counter = self._owner(permit)
        if counter is None:
            return
        del counter.inflight[permit.permit_id]
        now = self._clock()
        if permit.permit_id in counter.stale:
            counter.stale.discard(permit.permit_id)
        elif record is None or record.error in IGNORED:
            counter.breaker.cancelled(permit.probe)
        else:
            counter.breaker.record(record.error not in FAILURES, now, permit.probe)
            if record.error == "rate_limited" and record.retry_after_s is not None:
                counter.rest_until = max(counter.rest_until, now + record.retry_after_s)
        self._settle(counter)

    def release_all(self, holder: str) -> None:
        """The holder is gone: its permits come back and what it waited for is refused."""
        for counter in [*self._counters.values(), *self._gone.values()]:
            for permit_id in [key for key, owner in counter.inflight.items() if owner == holder]:
                del counter.inflight[permit_id]
                counter.breaker.cancelled(permit_id.startswith("probe-") and permit_id not in counter.stale)
                counter.stale.discard(permit_id)
            for waiter in [waiter for waiter in counter.queue if waiter.holder == holder]:
                self._fail(counter, waiter, Refused("the holder is gone", backend=counter.spec.name))
            self._settle(counter)

    def health(self) -> dict[str, Health]:
        """Every backend's state. One that rests after a 429 reads as open, because it must not be asked either."""
        now = self._clock()
        return {name: self._health(counter, now) for name, counter in self._counters.items()}

    def spec(self, backend: str) -> BackendSpec | None:
        """The limits and prices of ``backend`` as they are now."""
        counter = self._counters.get(backend)
        return counter.spec if counter else None

    def rate(self, backend: str) -> tuple[int, float] | None:
        """(calls that may still begin in this minute, seconds until one more may); None where there is no such limit."""
        counter = self._counters.get(backend)
        limit = counter.spec.requests_per_minute if counter else None
        if counter is None or limit is None:
            return None
        now = self._clock()
        counter.wait_s(now, 0)
        left = max(0, limit - len(counter.started))
        oldest = counter.started[0] if counter.started else now - MINUTE_S
        return (0 if counter.rest_until > now else left), max(oldest + MINUTE_S, counter.rest_until) - now

    def inflight(self, backend: str) -> int:
        """Permits out for ``backend``."""
        counter = self._counters.get(backend)
        return len(counter.inflight) if counter else 0

    def queued(self, backend: str) -> int:
        """Leases waiting for ``backend``."""
        counter = self._counters.get(backend)
        return len(counter.queue) if counter else 0

    def update(self, specs: Sequence[BackendSpec], *, breaker: BreakerPolicy | None = None) -> None:
        """Take new limits and perhaps another policy. Backends that stay keep their counts; waiters of those that went are
        refused."""
        if breaker is not None and breaker != self._policy:
            self._policy = breaker
            for counter in self._counters.values():
                counter.breaker.adopt(breaker, self._clock())
        wanted = {spec.name: spec for spec in specs}
        self._gone = {name: counter for name, counter in self._gone.items() if counter.inflight}
        for name in [name for name in self._counters if name not in wanted]:
            counter = self._counters.pop(name)
            for waiter in list(counter.queue):
                self._fail(counter, waiter, NotFound(f"there is no backend {name!r} any more", param="model", backend=name))
            self._gone[name] = counter
        for name, spec in wanted.items():
            counter = self._counters.get(name) or self._gone.pop(name, None) or _Counter(spec, Breaker(self._policy))
            counter.move(spec)
            self._counters[name] = counter
            self._settle(counter)

    def _grant(self, counter: _Counter, holder: str) -> Permit | None:
        """A permit if one is free now. The breaker is asked last, because asking may take its probe slot."""
        if len(counter.inflight) >= counter.spec.max_concurrency:
            return None
        now = self._clock()
        if (counter.rest_until or counter.spec.requests_per_minute is not None) and counter.wait_s(now, 0) > 0:
            return None
        verdict = counter.breaker.admit(now)
        if verdict == "no":
            return None
        probe = verdict == "probe"
        permit_id = f"{'probe-' if probe else 'permit-'}{next(self._ids)}"
        counter.inflight[permit_id] = holder
        if counter.spec.requests_per_minute is not None:
            counter.started.append(now)
        return Permit(permit_id=permit_id, backend=counter.spec.name, probe=probe)

    def _refuse_early(self, counter: _Counter, wait_s: float) -> None:
        """Say no at once where waiting is hopeless."""
        name, now = counter.spec.name, self._clock()
        health = counter.breaker.health(now)
        if health.state == "open" or (health.state == "half_open" and self._probes(counter)):
            raise self._breaker_open(name, health)
        pause = counter.wait_s(now, len(counter.queue))
        if pause > wait_s:
            raise RateLimited(f"backend {name!r} may not be asked for {pause:.1f} s", retry_after_s=pause, backend=name)
        if len(counter.queue) >= counter.spec.queue_limit or wait_s <= 0:
            raise Overloaded(f"backend {name!r} is busy and its queue is full", retry_after_s=1.0, backend=name)

    async def _wait(self, counter: _Counter, holder: str, wait_s: float) -> Permit:
        waiter = _Waiter(asyncio.get_running_loop().create_future(), holder)
        counter.queue.append(waiter)
        self._arm(counter)
        try:
            async with asyncio.timeout(wait_s):
                return await waiter.future
        except TimeoutError:
            self._forget(counter, waiter)
            name = counter.spec.name
            raise Overloaded(f"backend {name!r} was busy for {wait_s:.1f} s", retry_after_s=1.0, backend=name) from None
        except asyncio.CancelledError:
            self._forget(counter, waiter)
            raise

    def _forget(self, counter: _Counter, waiter: _Waiter) -> None:
        """A waiter went away. It may have been granted in the same tick: then its permit goes to the next."""
        if waiter in counter.queue:
            counter.queue.remove(waiter)
        future = waiter.future
        if future.done() and not future.cancelled() and future.exception() is None:
            self.release(future.result(), None)
        self._settle(counter)

    def _settle(self, counter: _Counter) -> None:
        """Hand free permits to those who wait, in order; send them away when the breaker has opened."""
        while counter.queue:
            waiter = counter.queue[0]
            if waiter.future.done():
                counter.queue.popleft()
                continue
            permit = self._grant(counter, waiter.holder)
            if permit is None:
                break
            counter.queue.popleft()
            waiter.future.set_result(permit)
        health = counter.breaker.health(self._clock())
        if health.state == "open" or (health.state == "half_open" and self._probes(counter)):
            for waiter in list(counter.queue):
                self._fail(counter, waiter, self._breaker_open(counter.spec.name, health))
        self._arm(counter)

    def _arm(self, counter: _Counter) -> None:
        """When the one in front waits for time and not for a permit, wake up at that time."""
        if counter.timer is not None:
            counter.timer.cancel()
            counter.timer = None
        if not counter.queue or len(counter.inflight) >= counter.spec.max_concurrency:
            return
        pause = counter.wait_s(self._clock(), 0)
        loop = counter.queue[0].future.get_loop()
        counter.timer = loop.call_later(max(pause, 0.001), self._settle, counter)

    def _fail(self, counter: _Counter, waiter: _Waiter, error: AgentError) -> None:
        counter.queue.remove(waiter)
        if not waiter.future.done():
            waiter.future.set_exception(error)

    def _owner(self, permit: Permit) -> _Counter | None:
        for table in (self._counters, self._gone):
            counter = table.get(permit.backend)
            if counter is not None and permit.permit_id in counter.inflight:
                return counter
        return None

    def _probes(self, counter: _Counter) -> bool:
        return any(permit_id.startswith("probe-") and permit_id not in counter.stale for permit_id in counter.inflight)

    def _health(self, counter: _Counter, now: float) -> Health:
        health = counter.breaker.health(now)
        rest = counter.rest_until - now
        if rest > health.retry_in_s:
            return Health(state="open", retry_in_s=rest)
        return health

    def _breaker_open(self, name: str, health: Health) -> BreakerOpen:
        after = health.retry_in_s or 1.0
        return BreakerOpen(f"backend {name!r} is resting after failures", retry_after_s=after, backend=name)
