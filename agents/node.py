"""A node: a spec that answers tasks. A plain async class; a cluster keeps it in this process or wraps it in an actor.

Imports no Ray and knows no daemon: what it does not own it reaches through the Hub and the pool that it was built with.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, replace

from agents.llm.chat import BackendSpec
from agents.llm.http import HttpBackend
from agents.llm.pool import Pool
from agents.llm.retry import RetryPolicy
from agents.records import AgentError, Draining, Event, Json, NodeSpec, Overloaded, Reply, Task, Work
from agents.strategies.compose import run_strategy, strategy_name
from agents.task_toolbox import EventSink, PoolPort, TaskToolbox
from agents.toolbox import Hub


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeKit:
    """What every node of a daemon is built with. Picklable: it travels to where the node lives."""

    backends: tuple[BackendSpec, ...]
    retry: RetryPolicy
    fallback: tuple[str, ...]
    items_per_call: int
    parallel_calls: int


class Node:
    """Answers tasks with its strategy, ``spec.max_concurrency`` at once and ``spec.inbox_limit`` waiting."""

    def __init__(
        self,
        spec: NodeSpec,
        kit: NodeKit,
        hub: Hub,
        *,
        pool: PoolPort,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.spec = spec
        self._kit = kit
        self._hub = hub
        self._pool = pool
        self._clock = clock
        self._wall = wall
        self._slots = asyncio.Semaphore(spec.max_concurrency)
        self._inside = 0
        self._empty = asyncio.Event()
        self._empty.set()
        self._draining = False
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
        """Close what the node holds open. Idempotent; call ``drain`` first."""
        self._draining = True
        await self._pool.aclose()

    def status(self) -> dict[str, Json]:
        """``inflight`` counts waiting tasks too."""
        return {"inflight": self._inside, "handled": self._handled, "failed": self._failed, "draining": self._draining}

    async def _work(self, task: Task, sink: EventSink) -> Reply:
        box = TaskToolbox(
            task,
            pool=self._pool,
            sink=sink,
            preferred=self.spec.backends,
            max_items_per_call=self._kit.items_per_call,
            max_parallel=self._kit.parallel_calls,
            clock=self._clock,
            wall=self._wall,
        )
        strategy = task.strategy or self.spec.strategy
        try:
            self._enter()
            try:
                async with self._slots:
                    draft = await run_strategy(self._with_prompt(task.work), strategy, box, task.choice, visible=True)
            finally:
                self._leave()
        except AgentError as error:
            self._failed += 1
            error.calls = tuple(box.calls)
            raise
        finally:
            for permit in box.unused:
                self._hub.release(permit, None)
        self._handled += 1
        return Reply(
            task_id=task.task_id,
            node_id=self.spec.node_id,
            draft=draft,
            strategy=strategy_name(strategy),
            calls=tuple(box.calls),
        )

    def _with_prompt(self, work: Work) -> Work:
        if not self.spec.prompt:
            return work
        system: Mapping[str, Json] = {"role": "system", "content": self.spec.prompt}
        return replace(work, messages=(system, *work.messages))

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


def build_node(spec: NodeSpec, kit: NodeKit, hub: Hub) -> Node:
    """A node with real HTTP backends whose permits come from ``hub``."""
    backends = [HttpBackend(backend) for backend in kit.backends]
    return Node(spec, kit, hub, pool=Pool(backends, admission=hub, retry=kit.retry, fallback=kit.fallback))
