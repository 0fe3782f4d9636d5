"""Permits: limits, order, rests, and that none is ever lost."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine
from typing import Any

import pytest

from agents.calls import CallRecord, Permit
from agents.llm.breaker import BreakerPolicy
from agents.llm.chat import BackendSpec
from agents.llm.desk import Desk
from agents.records import BreakerOpen, NotFound, Overloaded, RateLimited, Refused


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def desk(clock: Clock | None = None, *, failures: int = 3, **limits: Any) -> Desk:
    spec = BackendSpec(name="b", model="m", **limits)
    policy = BreakerPolicy(failures=failures, window=50, open_s=10.0)
    return Desk([spec], breaker=policy, clock=clock or Clock())


def record(error: str | None = None, *, retry_after_s: float | None = None) -> CallRecord:
    return CallRecord(backend="b", model="m", started_at=0, latency_s=0, error=error, retry_after_s=retry_after_s)


async def waiting(work: Coroutine[Any, Any, Permit]) -> asyncio.Task[Permit]:
    task = asyncio.ensure_future(work)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not task.done()
    return task


async def test_no_more_permits_than_the_limit_and_first_come_first_served() -> None:
    d = desk(max_concurrency=2)
    first = await d.lease("b", holder="t1", wait_s=1)
    await d.lease("b", holder="t2", wait_s=1)
    third = await waiting(d.lease("b", holder="t3", wait_s=1))
    fourth = await waiting(d.lease("b", holder="t4", wait_s=1))
    assert (d.inflight("b"), d.queued("b")) == (2, 2)
    assert d.try_lease("b", holder="t5") is None
    d.release(first, record())
    d.release(first, record())
    await asyncio.sleep(0)
    assert third.done()
    assert not fourth.done()
    d.release(third.result(), None)
    await fourth
    assert (d.inflight("b"), d.queued("b")) == (2, 0)


async def test_unknown_backend() -> None:
    with pytest.raises(NotFound):
        await desk().lease("x", holder="t", wait_s=1)
    assert desk().try_lease("x", holder="t") is None


async def test_a_full_queue_and_a_vain_wait_are_overload() -> None:
    d = desk(max_concurrency=1, queue_limit=1)
    await d.lease("b", holder="t1", wait_s=1)
    with pytest.raises(Overloaded):
        await d.lease("b", holder="t2", wait_s=0)
    waiter = await waiting(d.lease("b", holder="t2", wait_s=0.02))
    with pytest.raises(Overloaded):
        await d.lease("b", holder="t3", wait_s=1)
    with pytest.raises(Overloaded):
        await waiter
    assert d.queued("b") == 0


async def test_never_more_starts_than_the_rate_in_any_minute() -> None:
    clock = Clock()
    d = desk(clock, requests_per_minute=3)
    for _ in range(3):
        d.release(await d.lease("b", holder="t", wait_s=0), record())
        clock.now += 10
    with pytest.raises(RateLimited) as caught:
        await d.lease("b", holder="t", wait_s=5)
    assert caught.value.retry_after_s == pytest.approx(30.0)
    clock.now += 30
    assert d.try_lease("b", holder="t") is not None
    assert d.try_lease("b", holder="t") is None


async def test_a_short_wait_for_the_rate_is_waited_for() -> None:
    loop = asyncio.get_running_loop()
    spec = BackendSpec(name="b", model="m")
    d = Desk([spec], breaker=BreakerPolicy(), clock=loop.time)
    d.release(await d.lease("b", holder="t", wait_s=0), record("rate_limited", retry_after_s=0.03))
    assert d.health()["b"].state == "open"
    started = loop.time()
    await d.lease("b", holder="t", wait_s=1)
    assert loop.time() - started >= 0.029


async def test_a_rest_longer_than_the_wait_is_refused_at_once() -> None:
    d = desk()
    d.release(await d.lease("b", holder="t", wait_s=0), record("rate_limited", retry_after_s=20))
    with pytest.raises(RateLimited) as caught:
        await d.lease("b", holder="t", wait_s=5)
    assert caught.value.retry_after_s == pytest.approx(20.0)


@pytest.mark.parametrize(
    ("error", "state"),
    [
        ("backend_failed", "open"),
        ("stream_broken", "open"),
        ("rate_limited", "open"),
        ("backend_timeout", "open"),
        ("backend_rejected", "closed"),
        ("cancelled", "closed"),
        ("deadline_exceeded", "closed"),
        (None, "closed"),
    ],
)
async def test_which_errors_open_the_breaker(error: str | None, state: str) -> None:
    d = desk(failures=2)
    for _ in range(2):
        d.release(await d.lease("b", holder="t", wait_s=0), record(error))
    assert d.health()["b"].state == state


async def test_an_open_breaker_refuses_and_sends_waiters_away() -> None:
    clock = Clock()
    d = desk(clock, failures=1, max_concurrency=1)
    permit = await d.lease("b", holder="t1", wait_s=1)
    waiter = await waiting(d.lease("b", holder="t2", wait_s=1))
    d.release(permit, record("backend_failed"))
    with pytest.raises(BreakerOpen) as caught:
        await waiter
    assert caught.value.retry_after_s == pytest.approx(10.0)
    clock.now += 10
    probe = await d.lease("b", holder="t3", wait_s=1)
    assert probe.probe
    with pytest.raises(BreakerOpen):
        await d.lease("b", holder="t4", wait_s=1)
    d.release(probe, None)
    assert d.health()["b"].state == "half_open"
    again = await d.lease("b", holder="t5", wait_s=1)
    d.release(again, record())
    assert d.health()["b"].state == "closed"


async def test_a_dead_holder_gives_all_back() -> None:
    d = desk(max_concurrency=2)
    await d.lease("b", holder="dead", wait_s=1)
    await d.lease("b", holder="dead", wait_s=1)
    waiter = await waiting(d.lease("b", holder="dead", wait_s=1))
    alive = await waiting(d.lease("b", holder="alive", wait_s=1))
    d.release_all("dead")
    await alive
    with pytest.raises(Refused):
        await waiter
    assert (d.inflight("b"), d.queued("b")) == (1, 0)


async def test_a_dead_holders_probe_is_given_back() -> None:
    clock = Clock()
    d = desk(clock, failures=1)
    d.release(await d.lease("b", holder="t", wait_s=0), record("backend_failed"))
    clock.now += 11
    assert (await d.lease("b", holder="dead", wait_s=0)).probe
    d.release_all("dead")
    assert (await d.lease("b", holder="t", wait_s=0)).probe


async def test_a_grant_and_a_cancellation_in_the_same_tick_lose_nothing() -> None:
    d = desk(max_concurrency=1)
    permit = await d.lease("b", holder="t1", wait_s=1)
    second = await waiting(d.lease("b", holder="t2", wait_s=1))
    third = await waiting(d.lease("b", holder="t3", wait_s=1))
    d.release(permit, None)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    d.release(await third, None)
    assert (d.inflight("b"), d.queued("b")) == (0, 0)


async def test_new_limits_take_effect_and_a_removed_backend_refuses() -> None:
    d = desk(max_concurrency=1)
    permit = await d.lease("b", holder="t1", wait_s=1)
    waiter = await waiting(d.lease("b", holder="t2", wait_s=1))
    d.update([BackendSpec(name="b", model="m", max_concurrency=2)])
    await waiter
    last = await waiting(d.lease("b", holder="t3", wait_s=1))
    d.update([])
    with pytest.raises(NotFound):
        await last
    d.release(permit, record())
    d.update([BackendSpec(name="b", model="m", max_concurrency=2)])
    assert d.inflight("b") == 1


async def test_a_backend_that_moved_has_failed_nobody_yet() -> None:
    d = desk(failures=2, base_url="http://old/v1")
    early = [await d.lease("b", holder="t", wait_s=1) for _ in range(4)]
    for permit in early[:2]:
        d.release(permit, record(error="backend_failed"))
    assert d.health()["b"].state == "open"
    d.update([BackendSpec(name="b", model="m", base_url="http://new/v1")])
    assert d.health()["b"].state == "closed"
    for permit in early[2:]:
        d.release(permit, record(error="backend_failed"))
    assert d.health()["b"].state == "closed", "what the old place did is not held against the new one"
    assert d.inflight("b") == 0
    for _ in range(2):
        d.release(await d.lease("b", holder="t", wait_s=1), record(error="backend_failed"))
    assert d.health()["b"].state == "open"
    d.update([BackendSpec(name="b", model="m", base_url="http://new/v1", weight=3.0)])
    assert d.health()["b"].state == "open", "a new price or weight mends nothing"


async def test_another_breaker_policy_holds_at_once() -> None:
    d = desk(failures=2)
    spec = BackendSpec(name="b", model="m")
    for _ in range(2):
        d.release(await d.lease("b", holder="t", wait_s=1), record(error="backend_failed"))
    assert d.health()["b"].state == "open"
    d.update([spec], breaker=BreakerPolicy(enabled=False))
    assert d.health()["b"].state == "closed"
    d.update([spec], breaker=BreakerPolicy(failures=1, open_s=60.0))
    d.release(await d.lease("b", holder="t", wait_s=1), record(error="backend_failed"))
    assert d.health()["b"].retry_in_s == 60.0
    d.update([spec], breaker=BreakerPolicy(failures=1, open_s=5.0))
    assert d.health()["b"].retry_in_s == 5.0


async def test_chaos_never_exceeds_the_limit_and_ends_at_zero() -> None:
    rng = random.Random(5)
    d = desk(max_concurrency=3, failures=1000)
    peak = 0

    async def one() -> None:
        nonlocal peak
        permit = await d.lease("b", holder="t", wait_s=5)
        try:
            peak = max(peak, d.inflight("b"))
            for _ in range(rng.randrange(3)):
                await asyncio.sleep(0)
        finally:
            d.release(permit, None)

    tasks = [asyncio.ensure_future(one()) for _ in range(200)]
    for task in rng.sample(tasks, 80):
        await asyncio.sleep(0)
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert peak == 3
    assert (d.inflight("b"), d.queued("b")) == (0, 0)
