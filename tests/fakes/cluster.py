"""A cluster whose nodes follow a script, and a ledger and metrics that remember: for tests of the request path.

Each ask takes the next attempt of the script; when the script is over, the last one repeats. An attempt is a list of steps:
a text or a Draft (the Reply), an Event, a CallRecord (a ``call`` event, and one of the Reply's calls), an error to raise, HANG
(silent until it is cancelled), or a function that is called (to move a clock, or to look).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from typing import Any

from agents.calls import CallRecord
from agents.node import NodeKit
from agents.records import Draft, Event, NodeId, NodeSpec, Reply, Role, Task
from runtime.cluster import ClusterStatus, NodeState, NodeStatus
from runtime.metrics import Metrics
from runtime.records import Request
from tests.fakes.backends import HANG


def node(
    name: str = "generalist", *, role: Role = "generalist", state: NodeState = "live", inflight: int = 0, **spec: Any
) -> NodeStatus:
    """A node as a cluster sees it."""
    return NodeStatus(spec=NodeSpec(node_id=NodeId(f"id-{name}"), name=name, role=role, **spec), state=state, inflight=inflight)


def delta(text: str) -> Event:
    return Event(kind="delta", at=0.0, data={"text": text, "index": 0})


def call(
    backend: str = "a", *, at: float = 0.0, latency_s: float = 0.0, error: str | None = None, cost_usd: float = 0.0
) -> CallRecord:
    return CallRecord(backend=backend, model="m", started_at=at, latency_s=latency_s, error=error, cost_usd=cost_usd)


class ScriptedCluster:
    """``runtime.cluster.Cluster`` by script. ``tasks`` went to the nodes ``asked``; ``open`` counts asks not ended."""

    def __init__(self, *attempts: Sequence[Any], nodes: Sequence[NodeStatus] | None = None) -> None:
        self.script = [list(attempt) for attempt in attempts] or [["answer"]]
        self.statuses = [node()] if nodes is None else list(nodes)
        self.tasks: list[Task] = []
        self.asked: list[NodeId] = []
        self.open = 0
        self.kits: list[NodeKit] = []

    async def start(self) -> None: ...

    async def stop(self, *, drain_s: float) -> None: ...

    async def spawn(self, spec: NodeSpec) -> NodeStatus:
        self.statuses.append(NodeStatus(spec=spec, state="live"))
        return self.statuses[-1]

    async def park(self, node_id: NodeId, *, drain_s: float) -> None:
        self.statuses = [status for status in self.statuses if status.spec.node_id != node_id]

    async def respec(self, spec: NodeSpec) -> None: ...

    async def keep_warm(self, size: int | None) -> None: ...

    async def update(self, kit: NodeKit) -> None:
        self.kits.append(kit)

    async def ask(self, node_id: NodeId, task: Task) -> AsyncGenerator[Event | Reply, None]:
        self.tasks.append(task)
        self.asked.append(node_id)
        calls: list[CallRecord] = []
        self.open += 1
        try:
            for step in self.script.pop(0) if len(self.script) > 1 else self.script[0]:
                await asyncio.sleep(0)
                if step is HANG:
                    await asyncio.Event().wait()
                elif isinstance(step, BaseException):
                    raise step
                elif isinstance(step, str | Draft):
                    draft = Draft(text=step) if isinstance(step, str) else step
                    yield Reply(task_id=task.task_id, node_id=node_id, draft=draft, strategy="single", calls=tuple(calls))
                elif isinstance(step, CallRecord):
                    calls.append(step)
                    yield Event(kind="call", at=0.0, data={"record": step})
                elif isinstance(step, Event):
                    yield step
                else:
                    step()
        finally:
            self.open -= 1

    def nodes(self) -> Sequence[NodeStatus]:
        return list(self.statuses)

    def status(self) -> ClusterStatus:
        return ClusterStatus(kind="local", live=sum(n.state == "live" for n in self.statuses), warm=0, restarts=0)


class RecordingLedger:
    """``accepted`` and ``outcomes`` are what dispatch wrote, in order."""

    def __init__(self) -> None:
        self.accepted: list[Request] = []
        self.outcomes: list[dict[str, Any]] = []
        self.flushed = 0

    def accept(self, request: Request, *, at: float) -> asyncio.Future[None]:
        self.accepted.append(request)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    def finish(self, request_id: str, **outcome: Any) -> None:
        self.outcomes.append({"request_id": request_id, **outcome})

    async def flush(self) -> None:
        self.flushed += 1

    async def requests(self, *, limit: int, before: str | None = None) -> list[dict[str, Any]]:
        return [{"request_id": request.request_id} for request in self.accepted[:limit]]

    async def trace(self, request_id: str) -> dict[str, Any] | None:
        return next((row for row in self.outcomes if row["request_id"] == request_id), None)

    def healthy(self) -> str:
        return "ok"


class RecordingMetrics:
    """``finished`` are the requests, ``calls`` the backend calls; the others count."""

    def __init__(self) -> None:
        self.finished: list[dict[str, Any]] = []
        self.calls: list[CallRecord] = []
        self.fallbacks: list[str] = []
        self.runs: list[tuple[str, float]] = []
        self.lost = 0
        self.redispatches = 0

    def request_finished(self, **labels: Any) -> None:
        self.finished.append(labels)

    def call_finished(self, record: CallRecord) -> None:
        self.calls.append(record)

    def fell_back(self, backend: str) -> None:
        self.fallbacks.append(backend)

    def calls_finished(self, calls: Iterable[CallRecord]) -> None:
        Metrics.calls_finished(self, calls)  # type: ignore[arg-type]

    def code_ran(self, outcome: str, wall_s: float) -> None:
        self.runs.append((outcome, wall_s))

    def node_lost(self) -> None:
        self.lost += 1

    def redispatched(self) -> None:
        self.redispatches += 1
