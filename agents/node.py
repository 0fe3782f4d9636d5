"""A node: a spec that answers tasks. A plain async class; a cluster keeps it in this process or wraps it in an actor.

Imports no Ray and knows no daemon: what it does not own it reaches through the Hub and the pool that it was built with.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial

from agents.llm.chat import BackendSpec
from agents.llm.http import HttpBackend
from agents.llm.pool import Pool
from agents.llm.retry import RetryPolicy
from agents.peers import Peers
from agents.records import AgentError, Choice, DeadlineExceeded, Draft, Draining, Event, Json, NodeSpec, Overloaded, Reply, Task
from agents.strategies.compose import run_strategy, strategy_name
from agents.strategies.runner import number_of, with_system
from agents.strategy_specs import StrategySpec
from agents.task_ports import CodeRunner, PoolPort
from agents.task_toolbox import EventSink, TaskToolbox
from agents.toolbox import Hub
from sandbox.records import Setup
from sandbox.runner import Sandbox

GRACE_S = 1.0
"""How much longer than its deadline a task may take to end by itself, before the node ends it."""
PARK_S = 5.0
"""How long cancelled tasks may take to unwind when a node is parked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeKit:
    """What every node of a daemon is built with. Picklable: it travels to where the node lives."""

    backends: tuple[BackendSpec, ...]
    retry: RetryPolicy
    fallback: tuple[str, ...]
    items_per_call: int
    parallel_calls: int
    sandbox: Setup = field(default_factory=Setup)


@dataclass(slots=True, eq=False)
class _Gear:
    """What tasks work with. After an update the old gear is closed when the last task that began with it has ended."""

    kit: NodeKit
    pool: PoolPort
    sandbox: CodeRunner
    tasks: int = 0

    async def aclose(self) -> None:
        await asyncio.gather(self.pool.aclose(), self.sandbox.aclose())


def build_pool(kit: NodeKit, hub: Hub, wall: Callable[[], float] = time.time) -> PoolPort:
    """Real HTTP backends whose permits come from ``hub``."""
    backends = [HttpBackend(spec) for spec in kit.backends]
    return Pool(backends, admission=hub, retry=kit.retry, fallback=kit.fallback, wall=wall)


class Node:
    """Answers tasks with its strategy, ``spec.max_concurrency`` at once and ``spec.inbox_limit`` waiting."""

    def __init__(
        self,
        spec: NodeSpec,
        kit: NodeKit,
        hub: Hub,
        *,
        pool: PoolPort,
        make_pool: Callable[[NodeKit, Hub], PoolPort] = build_pool,
        make_sandbox: Callable[[Setup], CodeRunner] = Sandbox,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.spec = spec
        self._hub = hub
        self._make_sandbox = make_sandbox
        self._gear = _Gear(kit, pool, make_sandbox(kit.sandbox))
        self._old: list[_Gear] = []
        self._make_pool = make_pool
        self._clock = clock
        self._wall = wall
        self._slots = asyncio.Semaphore(spec.max_concurrency)
        self._inside = 0
        self._empty = asyncio.Event()
        self._empty.set()
        self._draining = False
        self._parked = False
        self._running: set[asyncio.Timeout] = set()
        self._started_at = wall()
        self._handled = 0
        self._failed = 0

    async def answer(self, task: Task) -> tuple[list[Event], Reply]:
        """The whole answer with all its events. Raises AgentError with ``calls`` saying what was spent."""
        events: list[Event] = []
        return events, await self._work(task, events.append)

    async def handle(self, task: Task) -> AsyncGenerator[Event | Reply, None]:
        """Events as they happen, the Reply last. Closing the iterator cancels the work and the backend's call."""
        events: asyncio.Queue[Event | None] = asyncio.Queue()
        work = asyncio.ensure_future(self._work(task, events.put_nowait))
        work.add_done_callback(lambda _: events.put_nowait(None))
        try:
            while (event := await events.get()) is not None:
                yield event
            yield await work
        finally:
            if not work.done():
                work.cancel()
                await asyncio.gather(work, return_exceptions=True)

    async def drain(self, timeout_s: float) -> bool:
        """Refuse new tasks and wait for the running ones; False when some were left after ``timeout_s``."""
        self._draining = True
        try:
            await asyncio.wait_for(self._empty.wait(), timeout_s)
        except TimeoutError:
            return False
        return True

    async def park(self) -> None:
        """End what still runs (its callers get Draining) and close what the node holds open. Idempotent; ``drain`` first."""
        self._draining = True
        self._parked = True
        for scope in tuple(self._running):
            scope.reschedule(0.0)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._empty.wait(), PARK_S)
        await asyncio.gather(*(gear.aclose() for gear in (self._gear, *self._old)))

    async def update(self, kit: NodeKit) -> None:
        """New tasks work with ``kit``; running ones end with what they began with."""
        old, self._gear = self._gear, _Gear(kit, self._make_pool(kit, self._hub), self._make_sandbox(kit.sandbox))
        self._old.append(old)
        await self._put_down(old)

    async def _put_down(self, gear: _Gear) -> None:
        """Close gear that was replaced, once no task uses it."""
        if gear in self._old and not gear.tasks:
            self._old.remove(gear)
            await gear.aclose()

    def status(self) -> dict[str, Json]:
        """The node as it is now; ``inflight`` counts waiting tasks too."""
        return {
            "node_id": self.spec.node_id,
            "name": self.spec.name,
            "state": "parked" if self._parked else "draining" if self._draining else "live",
            "inflight": self._inside,
            "waiting": max(0, self._inside - self.spec.max_concurrency),
            "handled": self._handled,
            "failed": self._failed,
            "draining": self._draining,
            "started_at": self._started_at,
        }

    async def _work(self, task: Task, sink: EventSink) -> Reply:
        gear = self._gear
        gear.tasks += 1
        try:
            return await self._worked(task, gear, sink)
        finally:
            gear.tasks -= 1
            await self._put_down(gear)

    async def _worked(self, task: Task, gear: _Gear, sink: EventSink) -> Reply:
        box = TaskToolbox(
            task,
            pool=gear.pool,
            sink=sink,
            max_items_per_call=gear.kit.items_per_call,
            max_parallel=gear.kit.parallel_calls,
            runner=gear.sandbox,
            code_limits=gear.kit.sandbox.limits,
            search=partial(self._hub.search_code, node=self.spec.name, locale=self.spec.locale, task_id=task.task_id),
            peers=Peers(self._hub, task, locale=self.spec.locale, clock=self._clock),
            clock=self._clock,
            wall=self._wall,
        )
        strategy = task.strategy or self.spec.strategy
        try:
            draft = await self._drafted(task, strategy, box)
        except AgentError as error:
            self._failed += 1
            error.calls = tuple(box.calls)
            raise
        finally:
            self._give_back(box)
        self._handled += 1
        return Reply(
            task_id=task.task_id,
            node_id=self.spec.node_id,
            draft=draft,
            strategy=strategy_name(strategy),
            calls=tuple(box.calls),
        )

    async def _drafted(self, task: Task, strategy: StrategySpec, box: TaskToolbox) -> Draft:
        """The strategy's answer within the task's time, waiting in the inbox included."""
        self._enter()
        scope = asyncio.timeout(task.budget.deadline_s + GRACE_S)
        try:
            async with scope:
                self._running.add(scope)
                if self._slots.locked():
                    # Who waits holds nothing: those who run may need this very permit, or the money that is held with it.
                    self._give_back(box)
                async with self._slots:
                    work = replace(with_system(task.work, self.spec.prompt), index=number_of(task.request_id))
                    return await run_strategy(work, strategy, box, self._choice(task), visible=True)
        except TimeoutError:
            if self._parked:
                raise Draining(f"node {self.spec.name} was put away with the task", retry_after_s=1.0) from None
            raise DeadlineExceeded(f"no answer within {task.budget.deadline_s:g} s") from None
        finally:
            self._running.discard(scope)
            self._leave()

    def _give_back(self, box: TaskToolbox) -> None:
        for permit in box.take_unused():
            self._hub.release(permit, None)

    def _choice(self, task: Task) -> Choice:
        """The task's choice; the node's own backends where the task names none."""
        choice = task.choice
        named = choice.backend is not None or choice.preferred
        return choice if named or not self.spec.backends else replace(choice, preferred=self.spec.backends)

    def _enter(self) -> None:
        if self._draining:
            raise Draining(f"node {self.spec.name} is draining", retry_after_s=1.0)
        if self._inside >= self.spec.max_concurrency + self.spec.inbox_limit:
            raise Overloaded(f"node {self.spec.name} has {self._inside} tasks (cluster.node_inbox)", retry_after_s=1.0)
        self._inside += 1
        self._empty.clear()

    def _leave(self) -> None:
        self._inside -= 1
        if not self._inside:
            self._empty.set()


def build_node(spec: NodeSpec, kit: NodeKit, hub: Hub, wall: Callable[[], float] = time.time) -> Node:
    """A node with real HTTP backends whose permits come from ``hub``; ``wall`` gives Unix seconds for what it stamps."""
    make_pool = partial(build_pool, wall=wall)
    return Node(spec, kit, hub, pool=make_pool(kit, hub), make_pool=make_pool, wall=wall)
