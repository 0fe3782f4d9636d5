"""The pool: who is asked again or instead, within which time, and that no permit and no record is ever lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from agents.calls import Permit
from agents.llm.breaker import BreakerPolicy
from agents.llm.chat import ChatReply, ChatRequest, Chunk
from agents.llm.desk import Desk
from agents.records import (
    BackendFailed,
    BackendRejected,
    BackendTimeout,
    BreakerOpen,
    Choice,
    DeadlineExceeded,
    NotFound,
    RateLimited,
)
from tests.fakes.backends import HANG, USAGE, ScriptedBackend
from tests.fakes.pool import FAILED, Bench, named, spec

# ── whole answers ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_one_answer_one_record_with_its_cost() -> None:
    a = ScriptedBackend(spec("a", kind="simulated", input_usd_per_mtok=1.0, output_usd_per_mtok=2.0), "hello")
    bench = Bench(a)
    reply = await bench.chat()
    assert reply.text == "hello"
    (record,) = bench.records
    assert record.usage == USAGE
    assert record.cost_usd == pytest.approx((10 * 1.0 + 5 * 2.0) / 1e6)
    assert (record.error, record.attempt, record.simulated, record.streamed) == (None, 1, True, False)
    assert bench.admission.out == {}


async def test_it_tries_again_then_falls_back() -> None:
    a, b = ScriptedBackend("a", FAILED), ScriptedBackend("b", "from b")
    bench = Bench(a, b)
    assert (await bench.chat(named("a", "b"))).text == "from b"
    assert bench.errors == [("a", "backend_failed"), ("a", "backend_failed"), ("b", None)]
    assert [record.attempt for record in bench.records] == [1, 2, 3]
    assert len(bench.slept) == 1
    assert bench.admission.out == {}


async def test_retry_after_is_honoured_and_a_long_one_moves_on() -> None:
    a = ScriptedBackend("a", RateLimited("slow", retry_after_s=0.7, status=429), "late")
    bench = Bench(a, ScriptedBackend("b"))
    assert (await bench.chat(named("a", "b"))).text == "late"
    assert 0.7 <= bench.slept[0] <= 1.0
    assert bench.records[0].retry_after_s == 0.7
    a = ScriptedBackend("a", RateLimited("slow", retry_after_s=30, status=429))
    bench = Bench(a, ScriptedBackend("b", "b"))
    assert (await bench.chat(named("a", "b"))).text == "b"
    assert bench.slept == []


async def test_without_fallback_the_error_is_that_of_the_backend() -> None:
    bench = Bench(ScriptedBackend("a", FAILED), ScriptedBackend("b"))
    with pytest.raises(BackendFailed):
        await bench.chat(Choice(backend="a", fallback=False))
    assert {record.backend for record in bench.records} == {"a"}


@pytest.mark.parametrize(
    ("status", "message", "asked"),
    [
        (400, "bad field", ["a"]),
        (422, "bad field", ["a"]),
        (401, "wrong key", ["a", "b"]),
        (404, "no such model", ["a", "b"]),
        (413, "too long", ["a", "b"]),
        (400, "maximum context length is 2048 tokens", ["a", "b"]),
    ],
)
async def test_a_rejection_is_not_repeated_and_only_a_config_fault_falls_back(
    status: int, message: str, asked: list[str]
) -> None:
    bench = Bench(ScriptedBackend("a", BackendRejected(message, status=status)), ScriptedBackend("b"))
    if asked == ["a"]:
        with pytest.raises(BackendRejected):
            await bench.chat(named("a", "b"))
    else:
        assert (await bench.chat(named("a", "b"))).backend == "b"
    assert [record.backend for record in bench.records] == asked


async def test_a_refused_permit_moves_on_and_the_refusal_is_told_when_all_refuse() -> None:
    bench = Bench(ScriptedBackend("a"), ScriptedBackend("b", "b"))
    bench.admission.refuse["a"] = BreakerOpen("rest", retry_after_s=9)
    assert (await bench.chat(named("a", "b"))).text == "b"
    assert [record.backend for record in bench.records] == ["b"]
    bench.admission.refuse["b"] = BreakerOpen("rest", retry_after_s=4)
    with pytest.raises(BreakerOpen) as caught:
        await bench.chat(named("a", "b"))
    assert caught.value.retry_after_s == 4


async def test_a_backends_error_says_more_than_a_later_refusal() -> None:
    bench = Bench(ScriptedBackend("a", FAILED), ScriptedBackend("b"))
    bench.admission.refuse["b"] = BreakerOpen("rest", retry_after_s=4)
    with pytest.raises(BackendFailed):
        await bench.chat(named("a", "b"))


async def test_permits_that_came_along_are_used_first_and_the_rest_is_given_back() -> None:
    bench = Bench(ScriptedBackend("a"), ScriptedBackend("b"), ScriptedBackend("c"))
    permits: list[Permit] = [bench.admission.grant("c"), bench.admission.grant("b")]
    bench.admission.refuse = {name: BreakerOpen("no lease needed") for name in "abc"}
    assert (await bench.chat(permits=permits)).backend in ("b", "c")
    assert bench.admission.out == {}
    assert bench.admission.records.count(None) == 1


async def test_permits_come_back_when_nothing_could_be_asked() -> None:
    bench = Bench(ScriptedBackend("a"))
    with pytest.raises(NotFound):
        await bench.chat(Choice(backend="nobody"), permits=[bench.admission.grant("a")])
    assert bench.admission.out == {}


async def test_the_deadline_bounds_all() -> None:
    a = ScriptedBackend("a", HANG)
    bench = Bench(a)
    with pytest.raises(DeadlineExceeded):
        await bench.chat(deadline_s=-0.45)
    assert bench.records == []
    now = [0.0]

    class Slow(ScriptedBackend):
        async def chat(self, request: ChatRequest, *, timeout_s: float) -> ChatReply:
            now[0] += timeout_s
            raise BackendTimeout("slow")

    bench = Bench(Slow("a"), ScriptedBackend("b"), clock=lambda: now[0])
    with pytest.raises(DeadlineExceeded):
        await bench.chat(named("a", "b"), deadline_s=2.0)
    assert bench.errors == [("a", "deadline_exceeded")]
    assert [record and record.error for record in bench.admission.records] == ["deadline_exceeded"]
    bench = Bench(Slow("a"), clock=lambda: now[0])
    with pytest.raises(DeadlineExceeded):
        await bench.chat(deadline_s=60.0)
    assert bench.errors == [("a", "backend_timeout")]


async def test_a_backend_that_ignores_its_timeout_is_cut_off() -> None:
    a = ScriptedBackend("a", HANG)
    now = [0.0]
    bench = Bench(a, clock=lambda: now[0])
    task = asyncio.ensure_future(bench.chat(deadline_s=-0.49 + 0.5))
    with pytest.raises(DeadlineExceeded):
        await task
    assert a.active == 0
    assert bench.admission.out == {}


@pytest.mark.parametrize("ticks", range(12))
@pytest.mark.parametrize("streamed", [False, True])
async def test_cancelled_at_any_moment_nothing_leaks(ticks: int, streamed: bool) -> None:
    backends = [ScriptedBackend("a", FAILED, [HANG] if ticks > 8 else "x"), ScriptedBackend("b", HANG)]
    desk = Desk([backend.spec for backend in backends], breaker=BreakerPolicy())
    bench = Bench(*backends, admission=desk)
    permits = [await desk.lease("a", holder="t", wait_s=1), await desk.lease("b", holder="t", wait_s=1)]
    work = bench.seen(named("a", "b"), permits=permits) if streamed else bench.chat(named("a", "b"), permits=permits)
    task: asyncio.Task[Any] = asyncio.ensure_future(work)
    await asyncio.sleep(0)
    for _ in range(ticks):
        await asyncio.sleep(0)
    done = task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled() or done
    assert desk.inflight("a") == desk.inflight("b") == 0
    assert sum(backend.active for backend in backends) == 0
    assert len(bench.records) == sum(len(backend.requests) for backend in backends)


async def test_cancelled_while_waiting_for_a_permit() -> None:
    a = ScriptedBackend(spec("a", max_concurrency=1), HANG)
    desk = Desk([a.spec], breaker=BreakerPolicy())
    bench = Bench(a, admission=desk)
    first = asyncio.ensure_future(bench.chat())
    await asyncio.sleep(0.01)
    second = asyncio.ensure_future(bench.chat())
    await asyncio.sleep(0.01)
    assert (desk.inflight("a"), desk.queued("a")) == (1, 1)
    for task in (second, first):
        task.cancel()
    await asyncio.gather(first, second, return_exceptions=True)
    assert (desk.inflight("a"), desk.queued("a")) == (0, 0)
    assert bench.errors == [("a", "cancelled")]


async def test_embeddings_are_recorded_and_stay_with_their_backend() -> None:
    a, b = ScriptedBackend("a", FAILED, "ok"), ScriptedBackend("b")
    bench = Bench(a, b)
    vectors, usage = await bench.pool.embed("a", ["x", "yz"], deadline_s=5, holder="t", on_call=bench.records.append)
    assert vectors == [[1.0, 1.0], [2.0, 1.0]]
    assert usage.prompt_tokens == 2
    assert bench.errors == [("a", "backend_failed"), ("a", None)]
    with pytest.raises(NotFound):
        await bench.pool.embed("x", ["x"], deadline_s=5, holder="t", on_call=bench.records.append)


async def test_closing_closes_every_backend() -> None:
    a, b = ScriptedBackend("a"), ScriptedBackend("b")
    await Bench(a, b).pool.aclose()
    assert a.closed
    assert b.closed


# ── shares of the time ──────────────────────────────────────────────────────────────────────────────────────────────────


class Punctual(ScriptedBackend):
    """Keeps to its timeout, as a client over HTTP does."""

    async def chat(self, request: ChatRequest, *, timeout_s: float) -> ChatReply:
        try:
            async with asyncio.timeout(timeout_s):
                return await super().chat(request, timeout_s=timeout_s)
        except TimeoutError:
            raise BackendTimeout("silent", backend=self.spec.name) from None


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_backend_that_hangs_leaves_time_for_the_next(streamed: bool) -> None:
    hangs = Punctual(spec("a", connect_timeout_s=0.01), HANG)
    bench = Bench(hangs, Punctual(spec("b"), "still in time"))
    choice = named("a", "b")
    text = (await bench.seen(choice, deadline_s=0.5))[0] if streamed else (await bench.chat(choice, deadline_s=0.5)).text
    assert text == "still in time"
    assert bench.errors == [("a", "deadline_exceeded"), ("b", None)], "it is not asked twice, and not blamed for our haste"
    assert 0.25 < bench.records[0].latency_s < 0.45
    assert not bench.admission.out


async def test_the_last_candidate_has_all_the_time_that_is_left() -> None:
    only = Punctual(spec("a", connect_timeout_s=0.01), "x")
    bench = Bench(only)
    await bench.chat(Choice(backend="a"), deadline_s=3.0)
    assert only.timeouts_s[0] == pytest.approx(3.0, abs=0.1)


async def test_a_stream_that_has_begun_is_not_cut_at_its_share() -> None:
    class Slow(ScriptedBackend):
        async def stream(self, request: ChatRequest, *, timeout_s: float) -> AsyncIterator[Chunk]:
            async for chunk in super().stream(request, timeout_s=timeout_s):
                yield chunk
                await asyncio.sleep(0.13)

    slow = Slow(spec("a", connect_timeout_s=0.01), ["one ", "two ", "three"])
    bench = Bench(slow, ScriptedBackend("b", "other"))
    assert (await bench.seen(named("a", "b"), deadline_s=0.6))[0] == "one two three"
    assert bench.errors == [("a", None)]
