"""Code as a task runs it: within its time, again where the sandbox was not ready, and put away with the node."""

from __future__ import annotations

import pytest

from agents.llm.retry import RetryPolicy
from agents.node import Node, NodeKit
from agents.records import Budget, DeadlineExceeded, Event, Json, NodeId, NodeSpec, RequestId, Task, TaskId, Work
from agents.task_toolbox import MAX_NOTES, RUN_TRIES, EventSink, TaskToolbox
from sandbox.records import Limits, Problem, RunResult, Setup
from tests.fakes.toolbox import FakePool

BUSY = RunResult(problem=Problem.UNAVAILABLE, error="no process was free")


class FakeSandbox:
    """Says ``results`` in turn, the last one again and again."""

    def __init__(self, *results: RunResult) -> None:
        self.results = list(results)
        self.limits: list[Limits | None] = []
        self.closed = False

    async def run(self, code: str, inputs: Json = None, limits: Limits | None = None) -> RunResult:
        self.limits.append(limits)
        return self.results.pop(0) if len(self.results) > 1 else self.results[0]

    async def aclose(self) -> None:
        self.closed = True


def toolbox(sandbox: FakeSandbox | None, *, deadline_s: float = 60.0, sink: EventSink = lambda event: None) -> TaskToolbox:
    task = Task(task_id=TaskId("t"), request_id=RequestId("r"), work=Work(messages=()), budget=Budget(deadline_s=deadline_s))
    pool = FakePool("hi")
    return TaskToolbox(task, pool=pool, sink=sink, max_items_per_call=5, max_parallel=2, runner=sandbox, clock=lambda: 0.0)


async def test_a_sandbox_that_is_not_ready_is_asked_again() -> None:
    sandbox = FakeSandbox(BUSY, RunResult(value=3))
    assert (await toolbox(sandbox).run_code("code", {})).value == 3
    full = FakeSandbox(BUSY)
    assert (await toolbox(full).run_code("code", {})).problem is Problem.UNAVAILABLE
    assert len(full.limits) == RUN_TRIES


async def test_every_run_is_told_also_when_the_trace_is_full() -> None:
    events: list[Event] = []
    failed = RunResult(problem=Problem.RAISED, error="ValueError: no" * 100, line=3, wall_s=0.25, cpu_s=0.125)
    box = toolbox(FakeSandbox(BUSY, failed), sink=events.append)
    for number in range(MAX_NOTES + 1):
        box.note("note", number=number)
    await box.run_code("code", {})
    runs = [dict(event.data) for event in events if event.kind == "run"]
    assert [run["outcome"] for run in runs] == ["unavailable", "raised"]
    assert (runs[1]["wall_s"], runs[1]["cpu_s"], runs[1]["line"]) == (0.25, 0.125, 3)
    assert runs[1]["error"].startswith("ValueError: no")
    assert len(runs[1]["error"]) == 500


async def test_what_the_code_does_is_not_tried_again() -> None:
    sandbox = FakeSandbox(RunResult(problem=Problem.TIMED_OUT, error="too slow"))
    assert (await toolbox(sandbox).run_code("code", {})).problem is Problem.TIMED_OUT
    assert len(sandbox.limits) == 1


async def test_a_run_keeps_within_the_tasks_time() -> None:
    sandbox = FakeSandbox(RunResult(value=1))
    await toolbox(sandbox, deadline_s=2.0).run_code("code", {}, Limits(wall_s=30))
    assert sandbox.limits[0] == Limits(wall_s=2.0)
    with pytest.raises(DeadlineExceeded):
        await toolbox(sandbox, deadline_s=0.0).run_code("code", {})


async def test_without_a_sandbox_nothing_runs() -> None:
    assert (await toolbox(None).run_code("code", {})).problem is Problem.UNAVAILABLE


async def test_a_node_puts_its_sandbox_away() -> None:
    made: list[FakeSandbox] = []

    def make(setup: Setup) -> FakeSandbox:
        made.append(FakeSandbox(RunResult(value=1)))
        return made[-1]

    kit = NodeKit(backends=(), retry=RetryPolicy(), fallback=(), items_per_call=5, parallel_calls=2)
    spec = NodeSpec(node_id=NodeId("n"), name="n", role="generalist")
    hub: Json = object()
    node = Node(spec, kit, hub, pool=FakePool("hi"), make_pool=lambda kit, hub: FakePool("hi"), make_sandbox=make)
    await node.update(kit)
    assert [one.closed for one in made] == [True, False]
    await node.park()
    assert [one.closed for one in made] == [True, True]
