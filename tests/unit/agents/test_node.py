"""A node over a fake pool: its defaults, limits, drain, parking, updates."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from agents.node import NodeKit, build_node
from agents.records import BackendFailed, Choice, DeadlineExceeded, Draining, Overloaded, Work
from agents.strategy_specs import Single
from tests.fakes.lone_node import KIT, PERMIT, SPEC, TWO, FakeHub, a_node, a_task, all_of
from tests.fakes.toolbox import FakePool


async def until(true: Callable[[], bool]) -> None:
    for _ in range(200):
        if true():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came true")


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


async def test_who_waits_in_the_inbox_holds_no_permit() -> None:
    go = asyncio.Event()
    pool = FakePool(go)
    node, hub = a_node(pool, replace(SPEC, name="n", max_concurrency=1))
    first = asyncio.create_task(node.answer(a_task(permits=(PERMIT,))))
    await until(lambda: pool.active == 1)
    assert hub.released == []
    other = replace(PERMIT, permit_id="another")
    second = asyncio.create_task(node.answer(a_task(permits=(other,))))
    await until(lambda: node.status()["waiting"] == 1)
    assert hub.released == [(other, None)]
    go.set()
    assert [reply.draft.text for _, reply in await asyncio.gather(first, second)] == ["late"] * 2
    assert [given["permits"] for _, _, given in pool.calls] == [(PERMIT,), ()]


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
