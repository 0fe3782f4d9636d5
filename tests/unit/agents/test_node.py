"""A node and the toolbox of its tasks over a fake pool: limits, budgets, streams, permits, cancellation, parking."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from agents.calls import CallRecord, Permit, Usage
from agents.llm.chat import ChatRequest, Chunk
from agents.llm.retry import RetryPolicy
from agents.llm.wire import estimate_usage
from agents.node import Node, NodeKit, build_node
from agents.records import (
    BackendFailed,
    Budget,
    BudgetExceeded,
    Choice,
    DeadlineExceeded,
    Draining,
    Event,
    Incomplete,
    NodeId,
    NodeSpec,
    Overloaded,
    Reply,
    RequestId,
    StreamBroken,
    Task,
    TaskId,
    Work,
)
from agents.strategy_specs import Pipeline, Single, Stage
from agents.task_toolbox import TaskToolbox
from tests.fakes.toolbox import CHEAP, JUDGE, FakePool

KIT = NodeKit(backends=(CHEAP,), retry=RetryPolicy(), fallback=(), items_per_call=5, parallel_calls=2)
PERMIT = Permit(permit_id="p1", backend="cheap")
SPEC = NodeSpec(node_id=NodeId("n1"), name="generalist", role="generalist")
TWO = Pipeline(stages=(Stage(name="a", strategy=Single()), Stage(name="b", strategy=Single())))


class FakeHub:
    """Only what a node gives back is of interest here."""

    def __init__(self) -> None:
        self.released: list[tuple[Permit, CallRecord | None]] = []

    async def lease(self, backend: str, *, holder: str, wait_s: float) -> Permit:
        raise AssertionError("the pool leases, not the node")

    def release(self, permit: Permit, record: CallRecord | None) -> None:
        self.released.append((permit, record))

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        raise NotImplementedError

    async def ask_peer(self, peer: str, question: str, *, task_id: str, hops: int, deadline_s: float) -> str:
        raise NotImplementedError

    async def announce(self, topic: str, body: Any, *, task_id: str) -> None:
        raise NotImplementedError


def a_node(pool: FakePool, spec: NodeSpec = SPEC, **more: Any) -> tuple[Node, FakeHub]:
    hub = FakeHub()
    return Node(spec, KIT, hub, pool=pool, wall=lambda: 7.0, **more), hub


def a_task(*, deadline_s: float = 60.0, usd: float | None = None, tokens: int | None = None, **more: Any) -> Task:
    work = more.pop("work", Work(messages=({"role": "user", "content": "hello"},)))
    budget = Budget(deadline_s=deadline_s, usd=usd, tokens=tokens)
    return Task(task_id=TaskId("t1"), request_id=RequestId("r1"), work=work, budget=budget, **more)


async def all_of(node: Node, task: Task) -> tuple[list[Event], Reply]:
    *events, reply = [item async for item in node.handle(task)]
    assert isinstance(reply, Reply)
    assert all(isinstance(event, Event) for event in events)
    return [event for event in events if isinstance(event, Event)], reply


async def until(true: Callable[[], bool]) -> None:
    for _ in range(200):
        if true():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came true")


def deltas(events: list[Event]) -> list[Any]:
    return [event.data for event in events if event.kind == "delta"]


# ── answers ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_both_ways_give_the_same_reply() -> None:
    node, _ = a_node(FakePool("hi"))
    events, reply = await node.answer(a_task())
    streamed, same = await all_of(node, a_task())
    assert reply == same
    assert events == streamed
    assert (reply.draft.text, reply.strategy, reply.node_id, reply.task_id) == ("hi", "single", "n1", "t1")
    assert reply.cost_usd == pytest.approx(0.01)
    assert [(event.kind, event.at) for event in events] == [("call", 7.0)]
    assert events[0].data["record"] == reply.calls[0]


async def test_the_nodes_prompt_backends_and_strategy_are_its_defaults() -> None:
    pool = FakePool("hi")
    spec = replace(SPEC, name="n", prompt="You know ferries", backends=("x", "y"), strategy=TWO)
    node, _ = a_node(pool, spec)
    _, reply = await node.answer(a_task())
    assert reply.strategy == "pipeline"
    request, choice, _ = pool.calls[0]
    assert request.messages[0] == {"role": "system", "content": "You know ferries"}
    assert choice == Choice(preferred=("x", "y"))
    system = ({"role": "system", "content": "Be brief"}, {"role": "user", "content": "hello"})
    _, reply = await node.answer(a_task(strategy=Single(), choice=Choice(backend="z"), work=Work(messages=system)))
    assert reply.strategy == "single"
    assert pool.calls[-1][1] == Choice(backend="z")
    assert pool.calls[-1][0].messages[0]["content"] == "You know ferries\n\nBe brief"


async def test_errors_say_what_was_spent() -> None:
    node, _ = a_node(FakePool("first", BackendFailed("down")))
    with pytest.raises(BackendFailed) as caught:
        await node.answer(a_task(strategy=TWO))
    assert [call.error for call in caught.value.calls] == [None, "backend_failed"]
    assert node.status()["failed"] == 1
    assert pickle.loads(pickle.dumps(caught.value)).calls == caught.value.calls


# ── streams ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_text_goes_out_while_the_model_still_speaks() -> None:
    more = asyncio.Event()
    node, _ = a_node(
        FakePool([Chunk(delta={"role": "assistant", "content": ""}), "one ", more, "two", Chunk(finish_reason="stop")])
    )
    stream = node.handle(a_task(stream=True))
    first = await anext(stream)
    while first.kind != "delta":  # type: ignore[union-attr]
        first = await anext(stream)
    assert first.data == {"text": "one ", "index": 0}  # type: ignore[union-attr]
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


# ── admission, drain, park ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_full_inbox_refuses_and_gives_the_permit_back() -> None:
    go = asyncio.Event()
    pool = FakePool(go)
    node, hub = a_node(pool, replace(SPEC, name="n", max_concurrency=2, inbox_limit=1))
    running = [asyncio.create_task(node.answer(a_task())) for _ in range(3)]
    await until(lambda: node.status()["inflight"] == 3 and pool.active == 2)
    assert node.status()["waiting"] == 1
    with pytest.raises(Overloaded) as caught:
        await node.answer(a_task(permits=(PERMIT,)))
    assert caught.value.retry_after_s
    assert hub.released == [(PERMIT, None)]
    go.set()
    assert [reply.draft.text for _, reply in await asyncio.gather(*running)] == ["late"] * 3
    assert pool.peak == 2
    assert node.status()["handled"] == 3


async def test_time_spent_waiting_counts() -> None:
    pool = FakePool(asyncio.Event())
    node, _ = a_node(pool, replace(SPEC, name="n", max_concurrency=1))
    blocked = asyncio.create_task(node.answer(a_task()))
    await until(lambda: pool.active == 1)
    with pytest.raises(DeadlineExceeded):
        await node.answer(a_task(deadline_s=-1.0))
    blocked.cancel()
    await asyncio.gather(blocked, return_exceptions=True)
    assert node.status()["inflight"] == 0


async def test_drain_refuses_new_work_and_waits_for_the_old() -> None:
    go = asyncio.Event()
    pool = FakePool(go)
    node, _ = a_node(pool)
    running = asyncio.create_task(node.answer(a_task()))
    await until(lambda: pool.active == 1)
    assert await node.drain(0.0) is False
    assert node.status()["state"] == "draining"
    with pytest.raises(Draining):
        await node.answer(a_task())
    go.set()
    assert await node.drain(5.0) is True
    await running


async def test_parking_ends_what_still_runs_and_closes_the_pool() -> None:
    pool = FakePool(asyncio.Event())
    node, _ = a_node(pool)
    running = asyncio.create_task(node.answer(a_task()))
    await until(lambda: pool.active == 1)
    await node.park()
    with pytest.raises(Draining):
        await running
    assert pool.cancelled == 1
    assert pool.closed
    assert node.status()["state"] == "parked"
    await node.park()


async def test_a_kit_travels_and_builds_a_real_node() -> None:
    node = build_node(SPEC, pickle.loads(pickle.dumps(KIT)), FakeHub())
    assert node.status()["name"] == "generalist"
    await node.park()


async def test_an_update_leaves_running_tasks_their_pool_and_closes_it_after_them() -> None:
    go = asyncio.Event()
    old, new = FakePool(go), FakePool("new")
    made: list[NodeKit] = []

    def make_pool(kit: NodeKit, hub: Any) -> FakePool:
        made.append(kit)
        return new

    node, _ = a_node(old, make_pool=make_pool)
    running = asyncio.create_task(node.answer(a_task()))
    await until(lambda: len(old.calls) == 1)
    kit = replace(KIT, items_per_call=3)
    await node.update(kit)
    assert made == [kit]
    assert (await node.answer(a_task()))[1].draft.text == "new"
    assert not old.closed
    go.set()
    await running
    assert old.closed
    assert not new.closed
    await node.park()
    assert new.closed


async def test_needs_that_no_backend_declares_are_noted_once() -> None:
    events: list[Event] = []
    box = TaskToolbox(a_task(), pool=FakePool("hi", "ho", "hu"), sink=events.append, max_items_per_call=5, max_parallel=2)
    request = ChatRequest(messages=())
    for choice in (Choice(needs=frozenset({"code"})), Choice(needs=frozenset({"code"})), Choice(needs=frozenset({"words"}))):
        await box.ask(request, choice)
    notes = [event.data for event in events if event.kind == "note"]
    assert notes == [{"no_backend_declares": ["code"], "asked": "any"}]
