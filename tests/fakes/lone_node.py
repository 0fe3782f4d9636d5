"""One node over a fake pool, with a hub that only takes permits back, and tasks for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agents.calls import CallCost, CallRecord, Permit
from agents.llm.retry import RetryPolicy
from agents.node import Node, NodeKit
from agents.records import Budget, Event, NodeId, NodeSpec, Reply, RequestId, Task, TaskId, Work
from agents.strategy_specs import Pipeline, Single, Stage
from tests.fakes.toolbox import CHEAP, FakePool

KIT = NodeKit(backends=(CHEAP,), retry=RetryPolicy(), fallback=(), items_per_call=5, parallel_calls=2)
PERMIT = Permit(permit_id="p1", backend="cheap")
SPEC = NodeSpec(node_id=NodeId("n1"), name="generalist", role="generalist")
TWO = Pipeline(stages=(Stage(name="a", strategy=Single()), Stage(name="b", strategy=Single())))


class FakeHub:
    """Only what a node gives back is of interest here."""

    def __init__(self) -> None:
        self.released: list[tuple[Permit, CallRecord | None]] = []

    async def lease(self, backend: str, *, holder: str, wait_s: float, cost: CallCost | None = None) -> Permit:
        raise AssertionError("the pool leases, not the node")

    def release(self, permit: Permit, record: CallRecord | None) -> None:
        self.released.append((permit, record))

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        raise AssertionError("no task of these tests needs it")

    async def search_code(self, problem: str, **who: Any) -> Any:
        raise NotImplementedError

    async def ask_peer(self, peer: str, question: str, **more: Any) -> Any:
        raise AssertionError("no task of these tests needs it")

    async def pooled_design(self, problem: str, *, task_id: str) -> Any:
        raise AssertionError("no task of these tests needs it")

    async def convene(self, problem: str, seats: Any, **more: Any) -> Any:
        raise AssertionError("no task of these tests needs it")

    async def dissolve(self, committee_id: str, **more: Any) -> None:
        raise AssertionError("no task of these tests needs it")

    async def announce(self, topic: str, body: Any, *, task_id: str) -> None:
        raise AssertionError("no task of these tests needs it")


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
