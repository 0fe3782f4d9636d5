"""What the registry's chores may ask: within a day's money and an hour's count, on the cheapest that can, never raising."""

from __future__ import annotations

from typing import Any

from agents.calls import CallRecord
from agents.llm.chat import BackendSpec
from agents.records import BackendFailed, Draft, NodeSpec, Refused
from runtime.config.registry import RegistrySettings
from runtime.programs.asks import Asks, Bounds
from runtime.records import Answer, Request

CRITIC = frozenset({"critique", "words"})
DEAR = BackendSpec(name="dear", input_usd_per_mtok=9.0, output_usd_per_mtok=9.0, capabilities=CRITIC)
CHEAP = BackendSpec(name="cheap", input_usd_per_mtok=1.0, output_usd_per_mtok=1.0, capabilities=CRITIC)
PLAIN = BackendSpec(name="plain", capabilities=frozenset({"words"}))


class Runs:
    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.error: Exception | None = None

    async def run(self, request: Request) -> Answer:
        self.requests.append(request)
        if self.error is not None:
            raise self.error
        call = CallRecord(backend="cheap", model="m", started_at=0.0, latency_s=0.1, cost_usd=0.2)
        draft = Draft(text="fine", data={"a": 1})
        return Answer(
            request_id=request.request_id, draft=draft, calls=(call,), node="n", strategy="single", attempts=1, latency_s=0.1
        )


class Nodes:
    def __init__(self) -> None:
        self.live: list[str] = []
        self.full = False

    async def spawn(self, spec: NodeSpec) -> Any:
        if self.full:
            raise Refused("16 nodes are live")
        self.live.append(spec.name)

    async def park(self, node_id: str, *, drain_s: float) -> None:
        self.live.remove(str(node_id))


class Clock:
    now = 86_400.0 * 20_000 + 10.0

    def __call__(self) -> float:
        return self.now


def made(
    *, spent: float = 0.0, backends: Any = (DEAR, CHEAP, PLAIN), **settings: Any
) -> tuple[Asks, Runs, Nodes, Clock, list[Any]]:
    runs, nodes, clock, saved = Runs(), Nodes(), Clock(), []

    async def spent_since(since: float) -> float:
        assert since % 86_400 == 0
        return spent if since == 86_400.0 * 20_000 else 0.0

    async def save(spec: NodeSpec) -> None:
        saved.append(spec.name)

    cluster: Any = nodes
    chosen = RegistrySettings(**settings)
    asks = Asks(
        runs=runs,
        cluster=cluster,
        bounds=lambda: Bounds(per_hour=chosen.reviews_per_hour, usd_per_day=chosen.review_usd_per_day),
        backends=lambda: backends,
        spent_since=spent_since,
        remember=save,
        clock=clock,
    )
    return asks, runs, nodes, clock, saved


async def test_the_cheapest_able_backend_is_asked_as_any_request() -> None:
    asks, runs, *_ = made()
    said = await asks.ask("look", node="reviewer-security", need="critique", schema={"type": "object"})
    assert said is not None
    assert (said.text, said.data, said.node, said.simulated) == ("fine", {"a": 1}, "n", False)
    (request,) = runs.requests
    assert (request.source, request.backend, request.target.name) == ("registry", "cheap", "reviewer-security")
    assert request.budget_usd == 0.5
    assert made(backends=(PLAIN,))[0].able("critique") is None
    assert made(reviews_per_hour=0)[0].able("critique") is None
    assert made(review_usd_per_day=0)[0].able("critique") is None, "no money, and none that is free"
    nobody = made(backends=(PLAIN,))
    assert await nobody[0].ask("look", node=None, need="critique") is None
    assert not nobody[1].requests


async def test_a_days_money_is_a_bound_also_over_a_restart() -> None:
    asks, runs, _, clock, _ = made(review_usd_per_day=0.5)
    assert [await asks.ask("x", node=None, need="critique") is not None for _ in range(5)] == [True, True, True, False, False]
    assert len(runs.requests) == 3
    assert "review_usd_per_day" in asks.why
    clock.now += 86_400
    assert await asks.ask("x", node=None, need="critique") is not None
    restarted, runs, *_ = made(review_usd_per_day=0.5, spent=0.6)
    assert await restarted.ask("x", node=None, need="critique") is None
    assert not runs.requests, "what was spent before the restart counts"
    free = made(review_usd_per_day=0.0, backends=(BackendSpec(name="own", capabilities=CRITIC),))
    assert await free[0].ask("x", node=None, need="critique") is not None, "models that cost nothing may be asked"


async def test_an_hours_count_is_a_bound() -> None:
    asks, runs, _, clock, _ = made(reviews_per_hour=2, review_usd_per_day=100)
    assert [await asks.ask("x", node=None, need="critique") is not None for _ in range(3)] == [True, True, False]
    clock.now += 3_601
    assert await asks.ask("x", node=None, need="critique") is not None
    assert len(runs.requests) == 3


async def test_a_failure_is_none_and_what_it_cost_counts() -> None:
    asks, runs, *_ = made(review_usd_per_day=0.5)
    runs.error = BackendFailed(
        "500", calls=(CallRecord(backend="cheap", model="m", started_at=0.0, latency_s=0.1, cost_usd=0.6, error="500"),)
    )
    assert await asks.ask("x", node=None, need="critique") is None
    runs.error = None
    assert await asks.ask("x", node=None, need="critique") is None, "0.6 USD were spent on the failure"


async def test_nodes_are_woken_and_rest() -> None:
    asks, _, nodes, _, saved = made()
    assert await asks.awake("reviewer-quality", "reviewer", "code quality", "You review code.")
    assert await asks.awake("reviewer-quality", "reviewer", "code quality", "You review code.")
    assert (nodes.live, saved) == (["reviewer-quality"], ["reviewer-quality"])
    await asks.rest()
    assert nodes.live == []
    nodes.full = True
    assert not await asks.awake("reviewer-security", "reviewer", "code security", "You review code.")
    assert "16 nodes are live" in asks.why
