"""Streams of the pool: retried, continued, begun again or ended in an error, and never spliced of two."""

from __future__ import annotations

import pytest

from agents.llm.chat import ChatRequest, Chunk
from agents.records import AgentError, Choice, StreamBroken
from tests.fakes.backends import HANG, USAGE, ScriptedBackend
from tests.fakes.pool import BROKEN, FAILED, REQUEST, Bench, named, spec

LONG = "A fjord is a long, narrow inlet with steep sides"


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
    await stream.aclose()
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
    await stream.aclose()
    assert bench.errors == [("a", None)]
