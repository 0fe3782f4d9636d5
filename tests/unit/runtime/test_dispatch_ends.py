"""Requests that end badly: nodes that die, errors, deadlines, hang-ups. One outcome each, with all that was spent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

from agents.llm.chat import ChatRequest, Chunk
from agents.records import DeadlineExceeded, Draining, Event, NodeId, NodeLost, NotFound, RateLimited, Reply, StreamBroken, Task
from runtime import open_request
from runtime.open_request import OpenRequest
from runtime.records import Answer, Target
from tests.fakes.backends import HANG, ScriptedBackend
from tests.fakes.cluster import ScriptedCluster, call, delta, node
from tests.fakes.request_path import LOST, STRAIGHT, World, request, take, until, world
from tests.fakes.service import fake_settings

pytestmark = pytest.mark.usefixtures("no_pauses")


async def test_a_lost_task_is_handed_over_again_and_what_it_spent_is_accounted() -> None:
    spent, more = call("a", at=1.0, cost_usd=0.5), call("b", at=2.0, cost_usd=0.25)
    w = world([spent, LOST], [more, "hello"])
    answer = await w.dispatch.run(request())
    assert (answer.attempts, answer.calls, answer.cost_usd) == (2, (spent, more), 0.75)
    assert [task.attempt for task in w.cluster.tasks] == [1, 2]
    assert len({task.task_id for task in w.cluster.tasks}) == 2
    assert w.settled()["calls"] == (spent, more)
    assert (w.metrics.lost, w.metrics.redispatches) == (1, 1)


async def test_a_task_of_a_node_that_is_put_away_goes_to_another_and_no_node_counts_as_lost() -> None:
    spent = call("a", at=1.0, cost_usd=0.5)
    w = world([spent, Draining("node legal is draining", retry_after_s=1.0)], ["hello"])
    answer = await w.dispatch.run(request())
    assert (answer.attempts, answer.calls) == (2, (spent,))
    assert w.settled()["calls"] == (spent,)
    assert (w.metrics.lost, w.metrics.redispatches) == (0, 1)


async def test_who_is_named_is_looked_for_anew_when_that_node_is_put_away() -> None:
    w = world([Draining("node legal is draining", retry_after_s=1.0)], ["hello"], nodes=[node("legal"), node("heir")])
    asked: list[str | None] = []

    async def find(run: OpenRequest) -> None:
        if asked:
            run.request = replace(run.request, target=Target(kind="node", name="heir"))
        asked.append(run.request.target.name)

    w.specialist = find
    w.__post_init__()
    answer = await w.dispatch.run(request(target=Target(kind="node", name="legal")))
    assert (answer.node, asked) == ("heir", ["legal", "heir"])
    w.settled()


async def test_calls_that_come_only_with_the_loss_are_accounted_once() -> None:
    told, untold = call("a", at=1.0), call("a", at=2.0)
    w = world([told, NodeLost("died", calls=(told, untold))], ["hello"])
    assert (await w.dispatch.run(request())).calls == (told, untold)
    w.settled()


@pytest.mark.parametrize("most", [1, 3])
async def test_a_task_is_handed_over_only_so_often(most: int) -> None:
    w = world([call(at=1.0), LOST], cluster={"node_attempts": most})
    with pytest.raises(NodeLost):
        await w.dispatch.run(request())
    assert len(w.cluster.tasks) == w.metrics.lost == most
    assert w.settled()["error"].code == "node_lost"


async def test_no_node_is_asked_again_after_the_deadline() -> None:
    w = world([])
    w.cluster.script = [[w.later(6.0), LOST]]
    with pytest.raises(DeadlineExceeded):
        await w.dispatch.run(request(deadline_s=10.0))
    assert [task.budget.deadline_s for task in w.cluster.tasks] == [10.0, 4.0]
    assert w.settled()["error"].code == "deadline_exceeded"


async def test_after_the_first_delta_a_lost_node_breaks_the_stream() -> None:
    w = world([call(at=1.0), delta("he"), LOST], ["hello"])
    got: list[Any] = []
    with pytest.raises(StreamBroken):
        await take(w, request(stream=True), got)
    assert len(got) == len(w.cluster.tasks) == 1
    assert w.settled()["calls"] == (call(at=1.0),)


async def test_a_nodes_error_reaches_the_client_with_what_was_spent() -> None:
    told, untold = call("a", at=1.0, error="rate_limited"), call("b", at=2.0, error="rate_limited")
    w = world([told, RateLimited("slow down", calls=(told, untold))])
    with pytest.raises(RateLimited) as caught:
        await w.dispatch.run(request())
    assert caught.value.calls == w.settled()["calls"] == (told, untold)


async def test_an_unexpected_failure_is_one_outcome_too() -> None:
    w = world([call(at=1.0), ValueError("bug")])
    with pytest.raises(ValueError, match="bug"):
        await w.dispatch.run(request())
    assert w.settled()["error"].code == "internal_error"
    assert w.settled()["calls"] == (call(at=1.0),)


async def test_a_node_that_ends_without_an_answer_counts_as_lost() -> None:
    w = world([], ["hello"])
    assert (await w.dispatch.run(request())).attempts == 2
    w.settled()
    w = world([])
    with pytest.raises(NodeLost):
        await w.dispatch.run(request())
    assert len(w.cluster.tasks) == w.settings.cluster.node_attempts
    w.settled()


async def test_an_unknown_node_is_one_outcome() -> None:
    w = world()
    with pytest.raises(NotFound):
        await w.dispatch.run(request(target=Target(kind="node", name="nobody")))
    w.settled()


async def test_a_node_that_hangs_is_left_at_the_deadline() -> None:
    w = world([call(at=1.0), HANG])
    with pytest.raises(DeadlineExceeded):
        await w.dispatch.run(request(deadline_s=0.01))
    assert w.settled()["calls"] == (call(at=1.0),)


async def test_a_node_that_talks_for_ever_is_left_at_the_deadline() -> None:
    w = world()
    w.cluster.script = [[step for _ in range(50) for step in (w.later(1.0), delta("x"))]]
    got: list[Any] = []
    with pytest.raises(DeadlineExceeded):
        await take(w, request(stream=True, deadline_s=5.0), got)
    assert len(got) <= 5
    w.settled()


@pytest.mark.parametrize(("asked_s", "given_s"), [(None, 120.0), (5.0, 5.0), (10_000.0, 900.0)])
async def test_deadlines_are_bounded(asked_s: float | None, given_s: float) -> None:
    w = world()
    await w.dispatch.run(request(deadline_s=asked_s))
    assert w.cluster.tasks[0].budget.deadline_s == given_s


@pytest.mark.parametrize("target", [Target(), STRAIGHT])
@pytest.mark.parametrize("stream", [False, True])
async def test_cancelling_ends_the_work(target: Target, stream: bool) -> None:
    w = world([HANG], a=[HANG])
    task = asyncio.create_task(w.dispatch.run(request(target=target, stream=stream)))
    await until(lambda: w.cluster.open or w.backends[0].active)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert w.settled()["error"].code == "cancelled"
    assert w.backends[0].active == 0


@pytest.mark.parametrize("target", [Target(), STRAIGHT])
async def test_closing_a_stream_early_ends_the_work(target: Target) -> None:
    w = world([delta("he"), HANG], a=[["he", HANG]])
    async with aclosing(w.dispatch.stream(request(target=target, stream=True))) as items:
        assert isinstance(await anext(items), Event)
        assert len(w.dispatch.running) == 1
    assert w.settled()["error"].code == "cancelled"
    assert w.backends[0].active == 0


async def test_leaving_after_the_answer_is_not_a_hang_up() -> None:
    w = world([delta("he"), "hello"])
    async with aclosing(w.dispatch.stream(request(stream=True))) as items:
        async for item in items:
            if isinstance(item, Answer):
                break
    assert w.settled()["error"] is None


async def test_a_node_that_does_not_take_its_cancellation_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_request, "CLOSE_S", 0.01)
    released = asyncio.Event()

    class Stubborn(ScriptedCluster):
        async def ask(self, node_id: NodeId, task: Task) -> AsyncGenerator[Event | Reply, None]:
            try:
                await asyncio.Event().wait()
                yield Event(kind="note", at=0.0)
            finally:
                await released.wait()

    w = World(Stubborn(), [ScriptedBackend("a")], fake_settings())
    async with asyncio.timeout(2.0):
        with pytest.raises(DeadlineExceeded):
            await w.dispatch.run(request(deadline_s=0.01))
    released.set()
    await until(lambda: not open_request._closing)
    assert w.settled()["error"].code == "deadline_exceeded"


async def test_a_straight_stream_ends_at_the_deadline_whatever_the_backend_does() -> None:
    class Endless(ScriptedBackend):
        async def stream(self, request: ChatRequest, *, timeout_s: float) -> AsyncGenerator[Chunk, None]:
            yield Chunk(text="x", delta={"content": "x"})
            await asyncio.Event().wait()

    w = World(ScriptedCluster(), [Endless("a")], fake_settings())
    async with asyncio.timeout(2.0):
        with pytest.raises(DeadlineExceeded):
            await take(w, request(target=STRAIGHT, stream=True, deadline_s=0.02), [])
    assert w.settled()["error"].code == "deadline_exceeded"
