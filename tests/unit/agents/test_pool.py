"""The pool: who is asked, again or instead, and that no permit and no record is ever lost."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from agents.calls import CallRecord, Health, Permit
from agents.llm.breaker import BreakerPolicy
from agents.llm.chat import BackendSpec, ChatReply, ChatRequest, Chunk
from agents.llm.desk import Desk
from agents.llm.pool import Pool
from agents.llm.retry import RetryPolicy
from agents.records import (
    AgentError,
    BackendFailed,
    BackendRejected,
    BackendTimeout,
    BreakerOpen,
    Choice,
    DeadlineExceeded,
    NotFound,
    RateLimited,
    StreamBroken,
)
from tests.fakes.backends import HANG, USAGE, OpenAdmission, ScriptedBackend

REQUEST = ChatRequest(messages=({"role": "user", "content": "What is a fjord?"},))
FAILED = BackendFailed("no", backend="a", status=500)
BROKEN = StreamBroken("cut")
LONG = "A fjord is a long, narrow inlet with steep sides"


class Bench:
    """A pool over scripted backends with all that went on."""

    def __init__(self, *backends: ScriptedBackend, admission: Any = None, **options: Any) -> None:
        self.admission = admission or OpenAdmission()
        self.records: list[CallRecord] = []
        self.slept: list[float] = []
        options.setdefault("retry", RetryPolicy(max_attempts=2, base_delay_s=0.1, max_delay_s=1.0))
        self.pool = Pool(backends, admission=self.admission, sleep=self.sleep, rng=random.Random(3), **options)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)

    async def chat(self, choice: Choice | None = None, *, deadline_s: float = 5.0, **more: Any) -> ChatReply:
        return await self.pool.chat(
            REQUEST, choice or Choice(), deadline_s=deadline_s, holder="t", on_call=self.records.append, **more
        )

    def stream(
        self, choice: Choice | None = None, request: ChatRequest = REQUEST, deadline_s: float = 5.0, **more: Any
    ) -> AsyncIterator[Chunk]:
        return self.pool.stream(
            request, choice or Choice(), deadline_s=deadline_s, holder="t", on_call=self.records.append, **more
        )

    async def seen(self, *args: Any, **more: Any) -> tuple[str, list[Chunk]]:
        """The text that the client ends up with, and all chunks."""
        text, chunks = "", []
        async for chunk in self.stream(*args, **more):
            text = "" if chunk.restart else text + chunk.text
            chunks.append(chunk)
        return text, chunks

    @property
    def errors(self) -> list[tuple[str, str | None]]:
        return [(record.backend, record.error) for record in self.records]


def spec(name: str, **fields: Any) -> BackendSpec:
    return BackendSpec(**{"name": name, "model": f"{name}-model", **fields})


def named(*names: str) -> Choice:
    return Choice(preferred=names)


# ── selection ───────────────────────────────────────────────────────────────────────────────────────────────────────────

PRICED = (
    ScriptedBackend(spec("mid", output_usd_per_mtok=2.0, aliases=("m",))),
    ScriptedBackend(spec("dear", output_usd_per_mtok=9.0, capabilities=frozenset({"words", "plan"}))),
    ScriptedBackend(spec("low", output_usd_per_mtok=0.5)),
)


def names(choice: Choice, health: Mapping[str, Health] | None = None, **options: Any) -> list[str]:
    return [s.name for s in Bench(*PRICED, **options).pool.candidates(choice, health or {})]


def test_backends_are_cheapest_first_and_found_by_alias() -> None:
    pool = Bench(*PRICED).pool
    assert [s.name for s in pool.specs] == ["low", "mid", "dear"]
    found = pool.find("m")
    assert found is not None
    assert found.name == "mid"
    assert pool.find("nobody") is None


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (Choice(backend="m"), ["mid", "dear", "low"]),
        (Choice(backend="low", fallback=False), ["low"]),
        (Choice(preferred=("dear", "nobody", "low")), ["dear", "low", "mid"]),
        (Choice(tier="cheap"), ["low", "mid", "dear"]),
        (Choice(tier="premium"), ["dear", "mid", "low"]),
        (Choice(tier="premium", fallback=False), ["dear"]),
        (Choice(needs=frozenset({"plan"})), ["dear"]),
        (Choice(tier="cheap", needs=frozenset({"code"})), ["low", "mid", "dear"]),
    ],
)
def test_the_order_of_candidates(choice: Choice, expected: list[str]) -> None:
    assert names(choice) == expected


def test_the_middle_price_is_quality_and_open_breakers_go_last() -> None:
    assert names(Choice(tier="quality"))[0] == "mid"
    assert names(Choice(tier="cheap"), {"low": Health(state="open", retry_in_s=3)}) == ["mid", "dear", "low"]
    assert names(Choice(tier="cheap"), {"low": Health(state="half_open")})[0] == "low"


def test_a_configured_fallback_order_follows_the_first() -> None:
    assert names(Choice(tier="cheap"), fallback=("dear", "mid")) == ["low", "dear", "mid"]


def test_an_unknown_name_is_not_found() -> None:
    with pytest.raises(NotFound) as caught:
        names(Choice(backend="nobody"))
    assert caught.value.param == "model"


def test_the_draw_follows_the_weights_and_weight_zero_is_last() -> None:
    bench = Bench(*(ScriptedBackend(spec(name, weight=weight)) for name, weight in (("a", 3), ("b", 1), ("c", 0))))
    drawn = [[s.name for s in bench.pool.candidates(Choice(), {})] for _ in range(2000)]
    first = Counter(order[0] for order in drawn)
    assert 1400 < first["a"] < 1600
    assert {order[2] for order in drawn} == {"c"}


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


# ── streams ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_stream_ends_with_its_usage() -> None:
    bench = Bench(ScriptedBackend("a", ["Hel", "lo"]))
    text, chunks = await bench.seen()
    assert text == "Hello"
    assert chunks[-1].usage == USAGE
    assert chunks[-2].finish_reason == "stop"
    (record,) = bench.records
    assert record.streamed
    assert record.first_token_s is not None
    assert record.usage == USAGE


async def test_before_the_first_token_it_retries_silently() -> None:
    bench = Bench(ScriptedBackend("a", FAILED, [BROKEN]), ScriptedBackend("b", ["fine"]))
    text, chunks = await bench.seen(named("a", "b"))
    assert text == "fine"
    assert not any(chunk.restart for chunk in chunks)
    assert sum(1 for chunk in chunks if chunk.delta and "role" in chunk.delta) == 1
    assert bench.errors == [("a", "backend_failed"), ("a", "stream_broken"), ("b", None)]


async def test_a_broken_stream_is_continued_by_one_that_can() -> None:
    a = ScriptedBackend(spec("a", continues=True), ["A fjord ", BROKEN], ["is an inlet."])
    bench = Bench(a, ScriptedBackend("b"))
    request = ChatRequest(messages=REQUEST.messages, params={"max_tokens": 100})
    text, chunks = await bench.seen(named("a", "b"), request)
    assert text == "A fjord is an inlet."
    assert not any(chunk.restart for chunk in chunks)
    assert a.requests[1].messages[-1] == {"role": "assistant", "content": "A fjord "}
    assert a.requests[1].params["max_tokens"] == 98
    usage = chunks[-1].usage
    assert usage is not None
    assert usage.estimated
    assert usage.completion_tokens == USAGE.completion_tokens + 2
    assert bench.records[0].usage.estimated
    assert bench.records[0].usage.completion_tokens == 2


async def test_another_endpoint_of_the_same_model_continues() -> None:
    a = spec("a")
    b = spec("b", continues=True, model=a.model)
    bench = Bench(ScriptedBackend(a, ["one ", BROKEN]), ScriptedBackend(b, ["two"]))
    assert (await bench.seen(named("a", "b")))[0] == "one two"


async def test_another_model_does_not_continue_what_it_did_not_begin() -> None:
    bench = Bench(ScriptedBackend("a", ["one ", BROKEN]), ScriptedBackend(spec("b", continues=True, model="other"), ["two"]))
    text, chunks = await bench.seen(named("a", "b"))
    assert any(chunk.restart for chunk in chunks)
    assert text.endswith("two")
    assert "one two" not in text


async def test_a_continuation_that_repeats_what_was_said_is_cut() -> None:
    b = ScriptedBackend(spec("b", continues=True), [LONG[:20], LONG[20:], " and more."])
    bench = Bench(ScriptedBackend("a", [LONG, BROKEN]), b)
    assert (await bench.seen(named("a", "b")))[0] == f"{LONG} and more."


async def test_a_fresh_answer_that_begins_the_same_goes_on_without_a_seam() -> None:
    bench = Bench(ScriptedBackend("a", ["A fjord is", BROKEN]), ScriptedBackend("b", ["A fj", "ord is a", " bay."]))
    text, chunks = await bench.seen(named("a", "b"))
    assert text == "A fjord is a bay."
    assert not any(chunk.restart for chunk in chunks)
    assert "".join((chunk.delta or {}).get("content") or "" for chunk in chunks) == text
    assert chunks[-1].usage == USAGE


@pytest.mark.parametrize("fresh", [["A fen", " is wet."], ["A fj"]])
async def test_a_fresh_answer_that_differs_begins_again_in_full(fresh: list[str]) -> None:
    bench = Bench(ScriptedBackend("a", ["A fjord is", BROKEN]), ScriptedBackend("b", fresh))
    text, chunks = await bench.seen(named("a", "b"))
    assert text == "".join(fresh)
    assert sum(chunk.restart for chunk in chunks) == 1


async def test_a_client_that_cannot_begin_again_gets_an_error() -> None:
    bench = Bench(ScriptedBackend("a", ["A fjord is", BROKEN]), ScriptedBackend("b", ["Quite different"]))
    got: list[str] = []

    async def read() -> None:
        async for chunk in bench.stream(named("a", "b"), may_restart=False):
            got.append(chunk.text)

    with pytest.raises(StreamBroken):
        await read()
    assert "".join(got) == "A fjord is"
    assert bench.admission.out == {}
    assert bench.errors == [("a", "stream_broken"), ("b", "cancelled")]


async def test_json_under_a_grammar_and_tool_calls_are_never_continued() -> None:
    request = ChatRequest(messages=REQUEST.messages, schema={"type": "object"})
    a = ScriptedBackend(spec("a", continues=True), ['{"x": ', BROKEN])
    bench = Bench(a, ScriptedBackend(spec("b", continues=True), ['{"y": 1}']))
    text, chunks = await bench.seen(named("a", "b"), request)
    assert text == '{"y": 1}'
    assert any(chunk.restart for chunk in chunks)
    tool = Chunk(delta={"tool_calls": [{"index": 0, "function": {"name": "f"}}]})
    bench = Bench(ScriptedBackend("a", [tool, BROKEN]), ScriptedBackend("b", ["words"]))
    text, chunks = await bench.seen(named("a", "b"))
    assert text == "words"
    assert any(chunk.restart for chunk in chunks)


async def test_the_fallback_may_break_too() -> None:
    bench = Bench(
        ScriptedBackend("a", ["one two", BROKEN]),
        ScriptedBackend("b", ["one", BROKEN]),
        ScriptedBackend("c", ["one two three"]),
    )
    text, chunks = await bench.seen(named("a", "b", "c"))
    assert text == "one two three"
    assert not any(chunk.restart for chunk in chunks)


async def test_when_nothing_is_left_the_break_is_told() -> None:
    bench = Bench(ScriptedBackend("a", ["one", BROKEN]), ScriptedBackend("b", FAILED))
    with pytest.raises(AgentError) as caught:
        await bench.seen(named("a", "b"))
    assert caught.value.code in ("stream_broken", "backend_failed")
    assert bench.admission.out == {}


async def test_a_lonely_backend_is_asked_afresh() -> None:
    bench = Bench(ScriptedBackend("a", ["one", BROKEN], ["one and two"]))
    assert (await bench.seen(Choice(backend="a", fallback=False)))[0] == "one and two"


async def test_a_break_after_the_finish_is_no_break() -> None:
    end = Chunk(delta={}, finish_reason="stop")
    bench = Bench(ScriptedBackend("a", ["done", end, BROKEN]), ScriptedBackend("b"))
    text, chunks = await bench.seen(named("a", "b"))
    assert text == "done"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.estimated
    assert [record.backend for record in bench.records] == ["a"]


async def test_closing_the_stream_ends_the_call_and_counts_what_came() -> None:
    a = ScriptedBackend("a", ["some words here", HANG])
    bench = Bench(a)
    stream = bench.stream(permits=[bench.admission.grant("a")])
    async for chunk in stream:
        if chunk.text:
            break
    await stream.aclose()  # type: ignore[attr-defined]
    assert (a.active, a.cancelled) == (0, 1)
    assert bench.admission.out == {}
    (record,) = bench.records
    assert record.error == "cancelled"
    assert record.usage.estimated
    assert record.usage.completion_tokens == 4


async def test_closing_after_the_usage_is_a_success() -> None:
    bench = Bench(ScriptedBackend("a", ["hello"]))
    stream = bench.stream()
    async for chunk in stream:
        if chunk.usage:
            break
    await stream.aclose()  # type: ignore[attr-defined]
    assert bench.errors == [("a", None)]


# ── another configuration ───────────────────────────────────────────────────────────────────────────────────────────────


class Gated(ScriptedBackend):
    """Answers when it is let."""

    gate = asyncio.Event()

    async def chat(self, request: ChatRequest, *, timeout_s: float) -> ChatReply:
        await self.gate.wait()
        assert not self.closed
        return await super().chat(request, timeout_s=timeout_s)


async def test_a_running_ask_ends_with_its_client_and_new_ones_take_the_new() -> None:
    old, stays = Gated(spec("a"), "old"), ScriptedBackend(spec("b"))
    bench = Bench(old, stays)
    running = asyncio.create_task(bench.chat(Choice(backend="a")))
    await asyncio.sleep(0)
    made: list[ScriptedBackend] = []

    def make(wanted: BackendSpec) -> ScriptedBackend:
        made.append(ScriptedBackend(wanted, "new"))
        return made[-1]

    bench.pool.renew([spec("a", output_usd_per_mtok=5.0), spec("b"), spec("c")], make=make, retry=RetryPolicy(enabled=False))
    assert [backend.spec.name for backend in made] == ["a", "c"], "a client whose spec stayed is kept"
    assert [found.name for found in bench.pool.specs] == ["b", "c", "a"]
    assert (await bench.chat(Choice(backend="a"))).text == "new"
    assert bench.pool.has_leaving
    assert not old.closed
    old.gate.set()
    assert (await running).text == "old"
    await asyncio.sleep(0)
    assert (old.closed, stays.closed, bench.pool.has_leaving) == (True, False, False)
    bench.pool.renew([spec("c")], make=make, retry=RetryPolicy())
    await asyncio.sleep(0)
    assert [backend.closed for backend in (*made, stays)] == [True, False, True]
    with pytest.raises(NotFound):
        await bench.chat(Choice(backend="a"))
    await bench.pool.aclose()
    assert made[1].closed


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
    text = (await bench.seen(choice, deadline_s=0.1))[0] if streamed else (await bench.chat(choice, deadline_s=0.1)).text
    assert text == "still in time"
    assert bench.errors == [("a", "deadline_exceeded"), ("b", None)], "it is not asked twice, and not blamed for our haste"
    assert 0.05 < bench.records[0].latency_s < 0.09
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
                await asyncio.sleep(0.02)

    slow = Slow(spec("a", connect_timeout_s=0.01), ["one ", "two ", "three"])
    bench = Bench(slow, ScriptedBackend("b", "other"))
    assert (await bench.seen(named("a", "b"), deadline_s=0.15))[0] == "one two three"
    assert bench.errors == [("a", None)]
