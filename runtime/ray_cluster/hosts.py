"""Actors as the daemon holds them: made, watched, asked and ended here. One ``Host`` is one process.

Used by warm.py and cluster.py. Errors of Ray become errors of agents.records at this border.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

import ray
from ray.exceptions import (
    ActorAlreadyExistsError,
    ActorDiedError,
    GetTimeoutError,
    RayActorError,
    RayError,
    RayTaskError,
    TaskCancelledError,
)

from agents.node import NodeKit
from agents.records import AgentError, DeadlineExceeded, Event, NodeLost, NodeSpec, Reply, Task, TaskId
from runtime.ray_cluster.actor import Answered, BuildNode, HostInfo, HostStatus, Item, NodeHost
from runtime.ray_cluster.connect import RayConnection, actor_class

_log = logging.getLogger(__name__)
T = TypeVar("T")

SPARE_CALLS = 16
"""Calls of an actor kept free for status, drain and watch while its inbox is full."""
NAME_TRIES = 20
BIRTH_S = 60.0
"""Longest time for an actor to come up; a busy small machine needs seconds."""
BECOME_S = 30.0
UPDATE_S = 10.0
GRACE_S = 5.0
"""A node ends its tasks at their deadline itself; the daemon stops waiting this much later."""
RECENT_S = 5.0
"""A task that ended this long ago counts as lost too when its actor dies: its last release may have died with the actor."""
UNWIND_S = 1.0
"""How long closing an ask waits for the cancelled task to unwind."""
REAP_S = 30.0
"""How long a cancelled task may take to unwind before it is no longer counted."""


class Host:
    """A live actor. ``asks`` are the tasks that are with it now, the cancelled ones that still unwind included."""

    def __init__(self, *, name: str, handle: Any, info: HostInfo, on_death: Callable[[Host], None]) -> None:
        self.name = name
        self.info = info
        self.lost = False
        self.asks: dict[int, TaskId] = {}
        self._handle = handle
        self._on_death = on_death
        self._recent: deque[tuple[float, TaskId]] = deque(maxlen=1024)
        self._tickets = itertools.count()
        self._reaping: set[asyncio.Task[None]] = set()
        self._waiting: set[asyncio.Timeout] = set()
        self._watcher = asyncio.create_task(self._watch(), name=f"watch {name}")

    async def become(self, spec: NodeSpec, kit: NodeKit) -> None:
        """Raises NodeLost when the actor died, or the AgentError that building the node raised."""
        await self._call(self._handle.become.remote(spec, kit), BECOME_S)

    async def update(self, kit: NodeKit) -> None:
        """Raises NodeLost when the actor died, DeadlineExceeded when it does not answer."""
        await self._call(self._handle.update.remote(kit), UPDATE_S)

    async def status(self, *, timeout_s: float) -> HostStatus:
        status: HostStatus = await self._call(self._handle.status.remote(), timeout_s)
        return status

    async def drain(self, timeout_s: float) -> None:
        """Let the node finish. Returns after ``timeout_s`` at the latest, whatever the actor does."""
        for step, limit_s in ((lambda: self._handle.drain.remote(timeout_s), timeout_s + 1.0), (self._handle.park.remote, 2.0)):
            try:
                await self._call(step(), limit_s)
            except AgentError as error:
                _log.warning("%s did not end cleanly: %s", self.name, error)

    def tasks(self) -> tuple[TaskId, ...]:
        """The tasks whose permits this actor may hold: those that are with it, and those that have just ended."""
        since = asyncio.get_running_loop().time() - RECENT_S
        return tuple(dict.fromkeys([*self.asks.values(), *(task_id for ended_at, task_id in self._recent if ended_at >= since)]))

    def declare_dead(self) -> None:
        """The process is gone, or is treated as gone. Tells the cluster once."""
        if not self.lost:
            self.lost = True
            self._on_death(self)

    def give_up(self) -> None:
        """Ray is gone: nothing that is asked of the actor will be answered. Whoever waits for it is told NodeLost now."""
        self._watcher.cancel()
        for task in self._reaping:
            task.cancel()
        self.declare_dead()
        now = asyncio.get_running_loop().time()
        for waiting in self._waiting:
            waiting.reschedule(now)

    async def kill(self) -> None:
        """End the process. Idempotent."""
        self._watcher.cancel()
        for task in self._reaping:
            task.cancel()
        if not self.lost:
            ray.kill(self._handle, no_restart=True)
        self.declare_dead()
        await asyncio.gather(self._watcher, *self._reaping, return_exceptions=True)

    async def ask(self, task: Task) -> AsyncGenerator[Event | Reply, None]:
        """Work on a task in the actor. Closing the iterator cancels it there; it stays in ``asks`` until it has unwound."""
        ticket = next(self._tickets)
        self.asks[ticket] = task.task_id
        until = asyncio.get_running_loop().time() + task.budget.deadline_s + GRACE_S
        call = (
            self._handle.stream.options(num_returns="streaming").remote(task) if task.stream else self._handle.answer.remote(task)
        )
        ended = False
        try:
            if task.stream:
                async for item in self._streamed(call, until):
                    ended = isinstance(item, Reply)
                    yield item
            else:
                answered: Answered = await self._at_border(call, until)
                ended = True
                for event in answered.events:
                    yield event
                yield _reply(answered)
        except AgentError as error:
            # Only a deadline that the node missed leaves the work running; everything else came from its end.
            ended = ended or not isinstance(error, _Overdue)
            raise
        finally:
            if ended or self.lost:
                self._settle(ticket)
            else:
                # Waits for the backend's call to end: who closes the iterator gives the permit to somebody else next.
                await asyncio.wait([self._hang_up(ticket, call)], timeout=UNWIND_S)

    async def _streamed(self, call: Any, until: float) -> AsyncIterator[Event | Reply]:
        while True:
            try:
                ref = await self._at_border(anext(call), until)
            except StopAsyncIteration:
                raise AgentError("the node ended its stream without a reply") from None
            batch: list[Item] = await self._at_border(ref, until)
            for item in batch:
                if isinstance(item, AgentError):
                    raise item
                yield item
                if isinstance(item, Reply):
                    return

    async def _call(self, ref: Any, timeout_s: float) -> Any:
        return await self._at_border(ref, asyncio.get_running_loop().time() + timeout_s)

    async def _at_border(self, awaitable: Awaitable[T], until: float) -> T:
        """Await something of Ray's and translate its errors."""
        patience = asyncio.timeout_at(until)
        try:
            async with patience:
                self._waiting.add(patience)
                return await awaitable
        except (TimeoutError, GetTimeoutError) as error:
            if self.lost:
                raise NodeLost(f"{self.name} is gone") from error
            raise _Overdue(f"{self.name} did not answer in time") from error
        except RayActorError as error:
            self.declare_dead()
            raise NodeLost(f"{self.name} died") from error
        except (RayTaskError, TaskCancelledError) as error:
            cause = getattr(error, "cause", error)
            if isinstance(cause, AgentError):
                raise cause from None
            _log.error("%s failed", self.name, exc_info=error)
            raise AgentError(f"the node failed: {type(cause).__name__}") from error
        except RayError as error:
            raise NodeLost(f"{self.name} cannot be reached: {type(error).__name__}") from error
        finally:
            self._waiting.discard(patience)

    async def _watch(self) -> None:
        try:
            await self._handle.watch.remote()
        except RayError as error:
            if not self.lost:
                _log.warning("%s (pid %d) is gone: %s", self.name, self.info.pid, type(error).__name__)
                if not isinstance(error, ActorDiedError):
                    # Unavailable is not dead: make sure, before another takes its place.
                    ray.kill(self._handle, no_restart=True)
            self.declare_dead()

    def _hang_up(self, ticket: int, call: Any) -> asyncio.Task[None]:
        # Not recursive: what the task asked of the mailbox is withdrawn by hub_client, which gives late permits back.
        ray.cancel(call, recursive=False)
        reaper = asyncio.create_task(self._reap(ticket, call), name=f"reap {self.name}")
        self._reaping.add(reaper)
        reaper.add_done_callback(self._reaping.discard)
        return reaper

    async def _reap(self, ticket: int, call: Any) -> None:
        try:
            async with asyncio.timeout(REAP_S):
                await (call.completed() if hasattr(call, "completed") else call)
        except RayActorError:
            self.declare_dead()
        except (RayError, TimeoutError) as error:
            if isinstance(error, TimeoutError):
                _log.warning("a cancelled task is still running on %s", self.name)
        finally:
            self._settle(ticket)

    def _settle(self, ticket: int) -> None:
        self._recent.append((asyncio.get_running_loop().time(), self.asks.pop(ticket)))


class _Overdue(DeadlineExceeded):
    """The daemon's own patience with an actor is over."""


def _reply(answered: Answered) -> Reply:
    if answered.error is not None:
        raise answered.error
    if answered.reply is None:
        raise AgentError("the node ended without a reply")
    return answered.reply


class HostFactory:
    """Makes actors: named ``node:<daemon_id>:<n>``, without CPUs of their own, never restarted by Ray.

    Ray's own restart would bring a blank actor back under the same handle; making a new one from the warm pool is faster and
    leaves one path to become a node.
    """

    def __init__(
        self,
        *,
        connection: RayConnection,
        mailbox: Any,
        namespace: str,
        prefix: str,
        first: int,
        concurrency: int,
        build: BuildNode,
        on_death: Callable[[Host], None],
    ) -> None:
        self._connection = connection
        self._mailbox = mailbox
        self._prefix = prefix
        self._numbers = itertools.count(first)
        self._build = build
        self._on_death = on_death
        self._actor = actor_class(
            NodeHost, num_cpus=0, max_restarts=0, max_task_retries=0, max_concurrency=concurrency, namespace=namespace
        )

    async def create(self) -> Host:
        """A blank host that is ready. Raises NodeLost when it does not come up in time."""
        name, handle = await self._made()
        try:
            async with asyncio.timeout(BIRTH_S):
                info: HostInfo = await handle.ready.remote()
        except (RayError, TimeoutError) as error:
            ray.kill(handle, no_restart=True)
            raise NodeLost(f"{name} did not come up: {type(error).__name__}") from error
        return Host(name=name, handle=handle, info=info, on_death=self._on_death)

    async def _made(self) -> tuple[str, Any]:
        """An actor under a name that is free: one that was killed just now may hold its own without being listed any more."""
        for _ in range(NAME_TRIES):
            name = f"{self._prefix}{next(self._numbers)}"
            make = partial(self._actor.options(name=name).remote, name=name, mailbox=self._mailbox, build=self._build)
            try:
                return name, await self._connection.run(make)
            except ActorAlreadyExistsError:
                continue
            except RayError as error:  # the head does not answer
                raise NodeLost(f"{name} cannot be made: {type(error).__name__}") from error
        raise NodeLost(f"no name is free for an actor after {NAME_TRIES} of them")
