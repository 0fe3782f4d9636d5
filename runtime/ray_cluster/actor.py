"""What runs inside a node's actor: a blank host that becomes a node.

``NodeHost`` is a plain class; hosts.py makes the actor of it. A blank host has imported everything and waits for ``become``.
AgentErrors travel as values, so that they arrive as what they are, with all their fields.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.llm.chat import BackendSpec
from agents.llm.http import HttpBackend
from agents.node import Node, NodeKit
from agents.records import AgentError, Event, Json, NodeLost, NodeSpec, Reply, Task
from agents.toolbox import Hub
from runtime.ray_cluster.hub_client import MailboxHub

BuildNode = Callable[[NodeSpec, NodeKit, Hub], Node]
Item = Event | Reply | AgentError

FLUSH_S = 0.010
FLUSH_ITEMS = 32
"""A streaming task sends what has gathered at most every 10 ms, or 32 items at a time: a Ray item costs 0.5 ms."""
SECRET_WORDS = ("KEY", "TOKEN", "SECRET", "PASSWORD", "CREDENTIAL")


@dataclass(frozen=True, slots=True, kw_only=True)
class HostInfo:
    """Where an actor lives."""

    pid: int
    host: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HostStatus:
    """``rss_bytes`` is None where the system does not tell; ``node`` is the node's own status."""

    rss_bytes: int | None
    node: dict[str, Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """All that came of a task that was not streamed: ``reply`` or ``error``."""

    events: tuple[Event, ...]
    reply: Reply | None = None
    error: AgentError | None = None


def rss_bytes() -> int | None:
    """Resident memory of this process, None where there is no /proc."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


async def batches(inbox: asyncio.Queue[Item | None], *, flush_s: float, max_items: int) -> AsyncIterator[list[Item]]:
    """Gather items into lists until None comes. The first item after a pause leaves at once: first tokens do not wait."""
    clock = asyncio.get_running_loop().time
    due = clock()
    while (item := await inbox.get()) is not None:
        batch = [item]
        while len(batch) < max_items:
            if inbox.empty() and (wait_s := due - clock()) <= 0:
                break
            try:
                more = inbox.get_nowait() if not inbox.empty() else await asyncio.wait_for(inbox.get(), wait_s)
            except TimeoutError:
                break
            if more is None:
                yield batch
                return
            batch.append(more)
        yield batch
        due = clock() + flush_s


class NodeHost:
    """One actor. ``name`` is its name in the cluster, ``mailbox`` the actor handle through which it reaches the daemon."""

    def __init__(self, *, name: str, mailbox: Any, build: BuildNode) -> None:
        self._name = name
        self._mailbox = mailbox
        self._build = build
        self._hub: MailboxHub | None = None
        self._node: Node | None = None
        for scheme in ("https", "http"):
            # The certificates and half of the HTTP library are read by the first client: a node need not wait for that.
            HttpBackend(BackendSpec(name="ahead", base_url=f"{scheme}://127.0.0.1/v1"))
        # What a node may know of credentials is in its kit; nothing that it starts shall inherit the daemon's.
        for variable in [name for name in os.environ if any(word in name.upper() for word in SECRET_WORDS)]:
            if not variable.startswith("RAY_"):
                del os.environ[variable]

    async def ready(self) -> HostInfo:
        return HostInfo(pid=os.getpid(), host=socket.gethostname())

    async def watch(self) -> None:
        """Never returns: whoever waits for it learns at once when this process dies."""
        await asyncio.Event().wait()

    async def become(self, spec: NodeSpec, kit: NodeKit) -> None:
        """Turn this blank host into the node ``spec``. Once only."""
        if self._node is not None:
            raise NodeLost(f"{self._name} is a node already")
        self._hub = MailboxHub(self._mailbox, self._name)
        self._node = self._build(spec, kit, self._hub)

    async def update(self, kit: NodeKit) -> None:
        """Let new tasks work with ``kit``."""
        if self._node is None:
            raise NodeLost(f"{self._name} is no node yet")
        await self._node.update(kit)

    async def answer(self, task: Task) -> Answered:
        """Work on a task to its end: one hop there, one back."""
        events: list[Event] = []
        reply: Reply | None = None
        try:
            async with aclosing(self._handle(task)) as items:
                async for item in items:
                    if isinstance(item, Reply):
                        reply = item
                    else:
                        events.append(item)
        except AgentError as error:
            return Answered(events=tuple(events), error=error)
        return Answered(events=tuple(events), reply=reply)

    async def stream(self, task: Task) -> AsyncIterator[list[Item]]:
        """Work on a task and send what comes of it in small lists; the last item is the Reply or an AgentError."""
        inbox: asyncio.Queue[Item | None] = asyncio.Queue()
        pump = asyncio.create_task(self._pump(task, inbox))
        try:
            async for batch in batches(inbox, flush_s=FLUSH_S, max_items=FLUSH_ITEMS):
                yield batch
            await pump
        finally:
            if pump.cancel():
                await asyncio.gather(pump, return_exceptions=True)

    async def _pump(self, task: Task, inbox: asyncio.Queue[Item | None]) -> None:
        try:
            async with aclosing(self._handle(task)) as items:
                async for item in items:
                    inbox.put_nowait(item)
        except AgentError as error:
            inbox.put_nowait(error)
        finally:
            inbox.put_nowait(None)

    def _handle(self, task: Task) -> AsyncGenerator[Event | Reply, None]:
        if self._node is None:
            raise NodeLost(f"{self._name} is no node yet")
        return self._node.handle(task)

    async def status(self) -> HostStatus:
        return HostStatus(rss_bytes=rss_bytes(), node=dict(self._node.status()) if self._node else {})

    async def drain(self, timeout_s: float) -> None:
        """Take no new task and wait for the running ones, for at most ``timeout_s``."""
        if self._node is not None:
            await self._node.drain(timeout_s)

    async def park(self) -> None:
        """Close what the node holds and see its last releases off. The actor is ended next."""
        if self._node is not None:
            await self._node.park()
        if self._hub is not None:
            await self._hub.flush()
