"""One request, end to end: whatever happens, one outcome, all calls accounted, every permit back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from agents.llm.chat import BackendSpec
from agents.records import BackendFailed, Draft, Draining, Event, Overloaded, RequestId
from agents.strategy_specs import Single
from runtime.library.looked import Looked
from runtime.messages import Message
from runtime.open_request import OpenRequest
from runtime.records import Answer, Target
from tests.fakes.backends import HANG
from tests.fakes.cluster import call, delta, node
from tests.fakes.request_path import STRAIGHT, request, until, world

pytestmark = pytest.mark.usefixtures("no_pauses")


async def test_runs_of_code_on_a_node_are_counted_also_when_the_request_fails() -> None:
    runs = [Event(kind="run", at=1.0, data={"outcome": outcome, "wall_s": 0.5}) for outcome in ("raised", "ok")]
    w = world([*runs, BackendFailed("no")])
    with pytest.raises(BackendFailed):
        await w.dispatch.run(request())
    assert w.metrics.runs == [("raised", 0.5), ("ok", 0.5)]
    assert [event.kind for event in w.settled()["events"]] == ["run", "run"]


# ── seen before ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_what_was_seen_before_is_answered_without_a_node_or_a_call() -> None:
    async def seen(run: OpenRequest) -> Draft:
        run.library = Looked(result="exact", reason="the same request", solution="s1", simulated=True)
        run.strategy = "library"
        return Draft(text="stored", backend="library")

    w = world()
    w.seen_before = seen
    w.__post_init__()
    answer = await w.dispatch.run(request())
    assert (answer.draft.text, answer.strategy, answer.node, answer.cost_usd, answer.simulated) == (
        "stored",
        "library",
        None,
        0.0,
        True,
    )
    assert w.cluster.tasks == []
    assert w.settled()["calls"] == ()
    assert w.metrics.finished[0]["strategy"] == "library"
    assert w.metrics.finished[0]["simulated"] is True


# ── straight ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_named_backend_is_asked_without_a_node() -> None:
    w = world(a=["hello"])
    answer = await w.dispatch.run(request(target=STRAIGHT))
    assert (answer.draft.text, answer.node, answer.backend, answer.attempts) == ("hello", None, "a", 1)
    assert w.cluster.tasks == []
    assert w.settled()["answer"] == answer
    assert len(answer.calls) == 1


async def test_a_straight_stream_gives_deltas_then_the_answer() -> None:
    w = world(a=[["hel", "lo"]])
    items = [item async for item in w.dispatch.stream(request(target=STRAIGHT, stream=True))]
    assert "".join(item.data["text"] for item in items if isinstance(item, Event)) == "hello"
    assert isinstance(items[-1], Answer)
    assert items[-1].draft.text == "hello"
    assert [record.streamed for record in w.settled()["calls"]] == [True]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_named_backend_that_fails_is_not_replaced_unless_an_order_was_given(stream: bool) -> None:
    w = world(a=[BackendFailed("500", backend="a")])
    with pytest.raises(BackendFailed) as caught:
        await w.dispatch.run(request(target=STRAIGHT, stream=stream))
    outcome = w.settled()
    assert [record.error for record in outcome["calls"]] == ["backend_failed"]
    assert caught.value.calls == tuple(outcome["calls"])
    assert w.metrics.finished[0]["status"] == "backend_failed"

    w = world(a=[BackendFailed("500", backend="a")], requests={"fallback": ("a", "b")})
    assert (await w.dispatch.run(request(target=STRAIGHT, stream=stream))).backend == "b"
    assert [record.backend for record in w.settled()["calls"]] == ["a", "b"]
    assert w.metrics.fallbacks == ["a"]


async def test_a_node_gets_the_work_a_permit_and_the_time_left() -> None:
    held: list[int] = []
    w = world()
    w.cluster.script = [[lambda: held.append(sum(w.desk.inflight(name) for name in "ab")), "hello"]]
    answer = await w.dispatch.run(request(deadline_s=9.0, params={"seed": 1}))
    (task,) = w.cluster.tasks
    assert (answer.draft.text, answer.node, answer.strategy) == ("hello", "generalist", "single")
    assert (task.request_id, task.attempt, task.budget.deadline_s, task.work.params) == ("r1", 1, 9.0, {"seed": 1})
    assert held == [len(task.permits)] == [1]
    assert task.choice.preferred[0] == task.permits[0].backend
    w.settled()


async def test_the_named_nodes_own_backends_come_first() -> None:
    w = world(["x"], nodes=[node(), node("expert", role="specialist", backends=("b", "a"))])
    await w.dispatch.run(request(target=Target(kind="node", name="expert")))
    assert w.cluster.asked == ["id-expert"]
    assert w.cluster.tasks[0].permits[0].backend == "b"
    assert w.cluster.tasks[0].choice.preferred == ("b", "a")


async def test_a_busy_backend_gives_no_permit_and_the_node_waits_itself() -> None:
    w = world(["x"])
    w.backends[0].spec = BackendSpec(name="a", max_concurrency=1)
    w.desk.update([w.backends[0].spec, w.backends[1].spec])
    held = w.desk.try_lease("a", holder="other")
    assert held is not None
    await w.dispatch.run(request(backend="a"))
    assert w.cluster.tasks[0].permits == ()
    assert w.cluster.tasks[0].choice.backend == "a"
    assert w.desk.inflight("a") == 1


async def test_a_configured_strategy_goes_with_the_task() -> None:
    w = world(["x"], strategies={"mine": {"single": {"tier": "premium"}}})
    await w.dispatch.run(request(target=Target(kind="strategy", name="mine")))
    assert w.cluster.tasks[0].strategy == Single(tier="premium")
    w.settled()


async def test_only_deltas_reach_the_client_and_all_else_the_trace() -> None:
    note = Event(kind="note", at=0.0)
    w = world([note, call(), delta("he"), delta("llo"), "hello"])
    items = [item async for item in w.dispatch.stream(request(stream=True))]
    assert [type(item) for item in items] == [Event, Event, Answer]
    assert [event.kind for event in w.settled()["events"]] == ["note", "call"]


async def test_a_partial_answer_is_counted_as_partial() -> None:
    for draft, status in ((Draft(text="x"), "ok"), (Draft(text="x", complete=False), "partial")):
        w = world([draft])
        assert (await w.dispatch.run(request())).draft == draft
        assert w.metrics.finished[0]["status"] == status


async def test_more_than_max_inflight_are_refused_and_leave_no_row() -> None:
    w = world([HANG], server={"max_inflight": 1})
    task = asyncio.create_task(w.dispatch.run(request()))
    await until(lambda: w.cluster.open)
    with pytest.raises(Overloaded) as caught:
        await w.dispatch.run(request(request_id=RequestId("r2")))
    assert caught.value.retry_after_s
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    w.settled()


async def test_draining_refuses_new_requests_and_waits_for_the_running() -> None:
    gate: list[bool] = []

    def steps() -> Iterator[Any]:
        while not gate:
            yield lambda: None
        yield "hello"

    w = world()
    w.cluster.script = [steps()]  # type: ignore[list-item]
    task = asyncio.create_task(w.dispatch.run(request()))
    await until(lambda: w.cluster.open)
    assert await w.dispatch.drain(0.0) is False
    with pytest.raises(Draining):
        await w.dispatch.run(request(request_id=RequestId("r2")))
    waiting = asyncio.create_task(w.dispatch.drain(30.0))
    await asyncio.sleep(0)
    assert not waiting.done()
    gate.append(True)
    assert await waiting is True
    assert (await task).draft.text == "hello"
    w.settled()


async def test_an_idle_daemon_is_drained_at_once() -> None:
    assert await world().dispatch.drain(0.0) is True


async def test_the_daemons_own_time_leaves_out_the_calls() -> None:
    w = world()
    w.cluster.script = [[w.later(10.0), call("a", at=100.0, latency_s=6.0), call("b", at=103.0, latency_s=5.0), "x"]]
    await w.dispatch.run(request())
    outcome = w.settled()
    assert (outcome["latency_s"], outcome["overhead_s"]) == (10.0, 2.0)


@pytest.mark.parametrize("end", ["hello", BackendFailed("down")])
async def test_what_peers_spent_is_the_requests_own_cost(end: Any) -> None:
    def peers() -> None:
        asking = w.cluster.tasks[-1].task_id
        w.dispatch.heard(Message(kind="ask", task_id=asking, asked="expert", text="Is it?"))
        answer = partial(Message, kind="answer", latency_s=1.0)
        w.dispatch.heard(answer(task_id=asking, asked="expert", text="It is.", calls=[call("b", at=1.0, cost_usd=0.5)]))
        deep = answer(task_id=f"{asking}/peer1", asking="expert", asked="other", calls=[call("b", at=2.0, cost_usd=0.125)])
        w.dispatch.heard(replace(deep, error="node_lost"))

    w = world([call("a", cost_usd=0.25), peers, end])
    with contextlib.suppress(BackendFailed):
        assert (await w.dispatch.run(request())).cost_usd == 0.875
    outcome = w.settled()
    assert sum(record.cost_usd for record in outcome["calls"]) == 0.875
    said = [event.data for event in outcome["events"] if event.kind == "peer"]
    told = [(one["message"], one["asking"], one["asked"], one["text"], one.get("error")) for one in said]
    assert told == [
        ("ask", "generalist", "expert", "Is it?", None),
        ("answer", "generalist", "expert", "It is.", None),
        ("answer", "expert", "other", "", "node_lost"),
    ]
    w.dispatch.heard(Message(kind="answer", task_id="r1/gone.1.1", asked="expert", calls=[call("b", at=3.0)]))
    assert w.metrics.calls[-1].started_at == 3.0, "a question that outlives its request is counted all the same"
