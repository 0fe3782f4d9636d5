"""What a task may ask of its node: streams, budgets, permits, and what goes into its trace."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agents.calls import Usage
from agents.llm.chat import ChatRequest, Chunk
from agents.llm.wire import estimate_usage
from agents.records import BudgetExceeded, Choice, Event, Incomplete, Reply, StreamBroken, Work
from agents.task_toolbox import TaskToolbox
from tests.fakes.lone_node import KIT, PERMIT, TWO, a_node, a_task, all_of
from tests.fakes.toolbox import JUDGE, FakePool


def deltas(events: list[Event]) -> list[Any]:
    return [event.data for event in events if event.kind == "delta"]


# ── streams ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_text_goes_out_while_the_model_still_speaks() -> None:
    more = asyncio.Event()
    node, _ = a_node(
        FakePool([Chunk(delta={"role": "assistant", "content": ""}), "one ", more, "two", Chunk(finish_reason="stop")])
    )
    stream = node.handle(a_task(stream=True))
    first = await anext(stream)
    while first.kind != "delta":
        first = await anext(stream)
    assert first.data == {"text": "one ", "index": 0}
    more.set()
    rest = [item async for item in stream]
    assert isinstance(rest[-1], Reply)
    assert rest[-1].draft.text == "one two"
    assert rest[-1].draft.message == {"role": "assistant", "content": "one two"}


async def test_tool_calls_and_other_choices_survive_a_stream() -> None:
    def tool(**piece: Any) -> Chunk:
        return Chunk(delta={"tool_calls": [{"index": 0, **piece}]})

    pieces = [
        tool(id="c1", type="function", function={"name": "tide", "arguments": '{"at":'}),
        tool(function={"arguments": '"noon"}'}),
        Chunk(text="other", delta={"content": "other"}, index=1),
        Chunk(delta={}, finish_reason="tool_calls"),
        Chunk(delta={}, finish_reason="stop", index=1),
        Chunk(usage=Usage(prompt_tokens=3, completion_tokens=4)),
    ]
    node, _ = a_node(FakePool(pieces))
    events, reply = await all_of(node, a_task(stream=True))
    call = {"id": "c1", "type": "function", "function": {"name": "tide", "arguments": '{"at":"noon"}'}}
    assert reply.draft.message == {"role": "assistant", "content": None, "tool_calls": [call]}
    assert reply.draft.finish_reason == "tool_calls"
    assert reply.draft.choices is not None
    assert reply.draft.choices[1] == {"index": 1, "message": {"role": "assistant", "content": "other"}, "finish_reason": "stop"}
    assert deltas(events)[0]["raw"] == pieces[0].delta
    assert deltas(events)[2] == {"raw": {"content": "other"}, "index": 1, "text": "other"}


async def test_a_restart_voids_what_went_out() -> None:
    pool = FakePool(["wrong", Chunk(restart=True), "right"])
    node, _ = a_node(pool)
    events, reply = await all_of(node, a_task(stream=True))
    assert reply.draft.text == "right"
    kinds = [event.kind for event in events if event.kind != "call"]
    assert kinds == ["delta", "restart", "delta"]
    assert pool.calls[0][2]["may_restart"] is True


async def test_only_the_visible_stage_is_streamed_and_only_for_streaming_tasks() -> None:
    pool = FakePool("draft", ["fin", "al"])
    node, _ = a_node(pool)
    events, _ = await all_of(node, a_task(stream=True, strategy=TWO))
    assert [data["text"] for data in deltas(events)] == ["fin", "al"]
    node, _ = a_node(FakePool("whole"))
    events, reply = await all_of(node, a_task())
    assert deltas(events) == []
    assert reply.draft.text == "whole"


async def test_a_broken_stream_is_an_error_not_an_answer() -> None:
    node, _ = a_node(FakePool(["half", StreamBroken("cut")]))
    stream = node.handle(a_task(stream=True))
    with pytest.raises(StreamBroken) as caught:
        _ = [item async for item in stream]
    assert len(caught.value.calls) == 1


async def test_closing_the_stream_cancels_the_backends_call() -> None:
    pool = FakePool(["one", asyncio.Event(), "two"])
    node, _ = a_node(pool)
    stream = node.handle(a_task(stream=True))
    async for item in stream:
        assert isinstance(item, Event)
        if item.kind == "delta":
            break
    await stream.aclose()
    assert pool.cancelled == 1
    assert node.status()["inflight"] == 0


# ── budgets and permits ─────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_budget_is_kept_between_asks() -> None:
    pool = FakePool("x", cost_usd=0.05)
    pool.specs = (JUDGE,)
    node, _ = a_node(pool)
    _, reply = await node.answer(a_task(strategy=TWO, usd=0.05))
    assert not reply.draft.complete
    assert "partial" in reply.draft.issues[0]
    assert len(pool.calls) == len(reply.calls) == 1
    enough_for_one = estimate_usage(pool.calls[0][0], 0).prompt_tokens + 10
    _, reply = await node.answer(a_task(strategy=TWO, tokens=enough_for_one))
    assert not reply.draft.complete
    assert len(pool.calls) == 2
    with pytest.raises(BudgetExceeded):
        await node.answer(a_task(strategy=TWO, tokens=1))
    assert len(pool.calls) == 2


async def test_a_draft_knows_the_backend_that_gave_it_whoever_was_asked_after() -> None:
    node, _ = a_node(FakePool("x"))
    for stream in (False, True):
        _, reply = await node.answer(a_task(stream=stream))
        assert reply.draft.backend == "cheap"


async def test_tokens_that_are_left_cap_the_answer() -> None:
    pool = FakePool("x")
    node, _ = a_node(pool)
    await node.answer(a_task(tokens=100))
    assert 50 < pool.calls[0][0].params["max_tokens"] < 100
    few = Work(messages=({"role": "user", "content": "hello"},), params={"max_completion_tokens": 5})
    await node.answer(a_task(tokens=100, work=few))
    assert pool.calls[1][0].params == {"max_completion_tokens": 5}


async def test_no_ask_after_the_deadline() -> None:
    now = iter([0.0, 0.0, 0.0, 99.0, 99.0, 99.0])
    pool = FakePool("x")
    node, _ = a_node(pool, clock=lambda: next(now))
    _, reply = await node.answer(a_task(strategy=TWO, deadline_s=5.0))
    assert not reply.draft.complete
    assert "partial" in reply.draft.issues[0]
    assert len(pool.calls) == 1


async def test_permits_go_with_the_first_ask_only_or_come_back() -> None:
    pool = FakePool("x")
    node, hub = a_node(pool)
    await node.answer(a_task(strategy=TWO, permits=(PERMIT,)))
    assert [given["permits"] for _, _, given in pool.calls] == [(PERMIT,), ()]
    assert hub.released == []
    with pytest.raises(BudgetExceeded):
        await node.answer(a_task(tokens=1, permits=(PERMIT,)))
    assert hub.released == [(PERMIT, None)]


async def test_asks_of_one_task_are_bounded() -> None:
    pool = FakePool('{"a":1}')
    node, _ = a_node(pool)
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    work = Work(messages=({"role": "user", "content": "x"},), schema={"type": "array", "items": schema}, count=40)
    with pytest.raises(Incomplete):
        await node.answer(a_task(work=work))
    assert pool.peak == KIT.parallel_calls


async def test_needs_that_no_backend_declares_are_noted_once() -> None:
    events: list[Event] = []
    box = TaskToolbox(a_task(), pool=FakePool("hi", "ho", "hu"), sink=events.append, max_items_per_call=5, max_parallel=2)
    request = ChatRequest(messages=())
    for choice in (Choice(needs=frozenset({"code"})), Choice(needs=frozenset({"code"})), Choice(needs=frozenset({"words"}))):
        await box.ask(request, choice)
    notes = [event.data for event in events if event.kind == "note"]
    assert notes == [{"no_backend_declares": ["code"], "asked": "any"}]
