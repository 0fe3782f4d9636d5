"""One request, end to end: whatever happens, one outcome, all calls accounted, every permit back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import pytest

from agents.llm.breaker import BreakerPolicy
from agents.llm.chat import BackendSpec, ChatRequest, Chunk
from agents.llm.desk import Desk
from agents.llm.pool import Pool
from agents.llm.retry import RetryPolicy
from agents.records import (
    BackendFailed,
    DeadlineExceeded,
    Draft,
    Draining,
    Event,
    NodeId,
    NodeLost,
    NotFound,
    Overloaded,
    RateLimited,
    Reply,
    RequestId,
    StreamBroken,
    Task,
)
from agents.strategy_specs import Single
from runtime import dispatch as dispatch_module
from runtime import open_request
from runtime.dispatch import Dispatch
from runtime.records import Answer, Request, Target
from tests.fakes.backends import HANG, ScriptedBackend
from tests.fakes.cluster import RecordingLedger, RecordingMetrics, ScriptedCluster, call, delta, node
from tests.fakes.service import fake_settings

STRAIGHT = Target(kind="backend", name="a")
LOST = NodeLost("the node died")


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch_module, "FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr(open_request, "GRACE_S", 0.0)


@dataclass
class World:
    """A daemon's request path over scripts; ``now`` is its clock."""

    cluster: ScriptedCluster
    backends: Sequence[ScriptedBackend]
    settings: Any
    now: float = 100.0
    ledger: RecordingLedger = field(default_factory=RecordingLedger)
    metrics: RecordingMetrics = field(default_factory=RecordingMetrics)

    def __post_init__(self) -> None:
        specs = [backend.spec for backend in self.backends]
        self.desk = Desk(specs, breaker=BreakerPolicy(enabled=False))
        self.pool = Pool(self.backends, admission=self.desk, retry=RetryPolicy(enabled=False))
        self.dispatch = Dispatch(
            settings=self.settings,
            pool=self.pool,
            desk=self.desk,
            cluster=self.cluster,
            ledger=self.ledger,  # type: ignore[arg-type]
            metrics=self.metrics,  # type: ignore[arg-type]
            clock=lambda: self.now,
            wall=lambda: self.now,
        )

    def later(self, seconds: float) -> Any:
        def move() -> None:
            self.now += seconds

        return move

    def settled(self) -> dict[str, Any]:
        """The one outcome, after checking that nothing is left behind."""
        assert [self.desk.inflight(spec.name) for spec in self.pool.specs] == [0] * len(self.pool.specs)
        assert (len(self.dispatch.running), self.cluster.open) == (0, 0)
        assert len(self.ledger.accepted) == len(self.ledger.outcomes) == len(self.metrics.finished) == 1
        (outcome,) = self.ledger.outcomes
        assert (outcome["answer"] is None) != (outcome["error"] is None)
        assert self.metrics.calls == list(outcome["calls"])
        return outcome


def world(*attempts: Sequence[Any], a: Sequence[Any] = (), nodes: Any = None, **sections: Any) -> World:
    backends = [ScriptedBackend("a", *a), ScriptedBackend("b")]
    return World(ScriptedCluster(*attempts, nodes=nodes), backends, fake_settings(**sections))


def request(**fields: Any) -> Request:
    return Request(
        **{"request_id": RequestId("r1"), "source": "openai", "messages": ({"role": "user", "content": "hi"},), **fields}
    )


async def take(w: World, asked: Request, into: list[Any]) -> None:
    async for item in w.dispatch.stream(asked):
        into.append(item)


async def until(done: Any) -> None:
    for _ in range(200):
        if done():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came to that")


async def test_runs_of_code_on_a_node_are_counted_also_when_the_request_fails() -> None:
    runs = [Event(kind="run", at=1.0, data={"outcome": outcome, "wall_s": 0.5}) for outcome in ("raised", "ok")]
    w = world([*runs, BackendFailed("no")])
    with pytest.raises(BackendFailed):
        await w.dispatch.run(request())
    assert w.metrics.runs == [("raised", 0.5), ("ok", 0.5)]
    assert [event.kind for event in w.settled()["events"]] == ["run", "run"]


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


# ── through a node ──────────────────────────────────────────────────────────────────────────────────────────────────────


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


# ── nodes that die ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_lost_task_is_handed_over_again_and_what_it_spent_is_accounted() -> None:
    spent, more = call("a", at=1.0, cost_usd=0.5), call("b", at=2.0, cost_usd=0.25)
    w = world([spent, LOST], [more, "hello"])
    answer = await w.dispatch.run(request())
    assert (answer.attempts, answer.calls, answer.cost_usd) == (2, (spent, more), 0.75)
    assert [task.attempt for task in w.cluster.tasks] == [1, 2]
    assert len({task.task_id for task in w.cluster.tasks}) == 2
    assert w.settled()["calls"] == (spent, more)
    assert (w.metrics.lost, w.metrics.redispatches) == (1, 1)


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


# ── errors, deadlines, hang-ups ─────────────────────────────────────────────────────────────────────────────────────────


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


# ── bounds ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


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


# ── peers, and nodes that do not let go ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("end", ["hello", BackendFailed("down")])
async def test_what_peers_spent_is_the_requests_own_cost(end: Any) -> None:
    def peers() -> None:
        asking = w.cluster.tasks[-1].task_id
        w.dispatch.account_peer(asking, "expert", [call("b", at=1.0, cost_usd=0.5)], None)
        w.dispatch.account_peer(f"{asking}/peer1", "other", [call("b", at=2.0, cost_usd=0.125)], "node_lost")

    w = world([call("a", cost_usd=0.25), peers, end])
    with contextlib.suppress(BackendFailed):
        assert (await w.dispatch.run(request())).cost_usd == 0.875
    outcome = w.settled()
    assert sum(record.cost_usd for record in outcome["calls"]) == 0.875
    asked = [(event.data["asked"], event.data["error"]) for event in outcome["events"] if event.kind == "peer"]
    assert asked == [("expert", None), ("other", "node_lost")]
    w.dispatch.account_peer("r1/gone.1.1", "expert", [call("b", at=3.0)], None)
    assert w.metrics.calls[-1].started_at == 3.0, "a question that outlives its request is counted all the same"


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
        async def stream(self, request: ChatRequest, *, timeout_s: float) -> AsyncGenerator[Chunk, None]:  # type: ignore[override]
            yield Chunk(text="x", delta={"content": "x"})
            await asyncio.Event().wait()

    w = World(ScriptedCluster(), [Endless("a")], fake_settings())
    async with asyncio.timeout(2.0):
        with pytest.raises(DeadlineExceeded):
            await take(w, request(target=STRAIGHT, stream=True, deadline_s=0.02), [])
    assert w.settled()["error"].code == "deadline_exceeded"
