"""Live nodes inside this process: implements ``runtime.cluster.Cluster`` for tests and tiny machines.

Same contract as ray_cluster/ (tests/integration/test_cluster_contract.py runs against both); the hub is handed to nodes as it
is. Nothing here can be killed from outside, so nodes are never restarted. Must not import ray.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from agents.node import Node, NodeKit, build_node
from agents.records import (
    AgentError,
    Draining,
    Event,
    NodeId,
    NodeLost,
    NodeSpec,
    NotFound,
    Overloaded,
    Refused,
    Reply,
    Task,
    TaskId,
)
from agents.toolbox import Hub
from runtime.cluster import ClusterStatus, NodeState, NodeStatus, nobody
from runtime.config.settings import ClusterSettings

MAX_PARKED = 1000
"""Parked nodes remembered for the status; their specs live in the ledger."""

RETIRE_S = 30.0
"""How long a node that was replaced may finish its tasks."""

Outbox = asyncio.Queue[Event | Reply | None]


@dataclass(slots=True, eq=False)
class _Local:
    spec: NodeSpec
    node: Node
    state: NodeState = "live"
    started_at: float = 0.0
    handled: int = 0
    failed: int = 0
    running: dict[asyncio.Task[None], TaskId] = field(default_factory=dict)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class LocalCluster:
    """Implements ``runtime.cluster.Cluster``. ``on_node_lost`` is called when a node is put away with tasks still running."""

    def __init__(
        self,
        *,
        kit: NodeKit,
        hub: Hub,
        settings: ClusterSettings,
        build: Callable[[NodeSpec, NodeKit, Hub], Node] = build_node,
        on_node_lost: Callable[[NodeId, tuple[TaskId, ...]], None] = nobody,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._kit = kit
        self._hub = hub
        self._settings = settings
        self._build = build
        self._on_node_lost = on_node_lost
        self._wall = wall
        self._nodes: dict[NodeId, _Local] = {}
        self._retiring: set[asyncio.Task[None]] = set()
        self._running = False

    async def start(self) -> None:
        self._running = True

    async def stop(self, *, drain_s: float) -> None:
        self._running = False
        await asyncio.gather(*(self._put_away(local, drain_s) for local in list(self._nodes.values())))
        for task in list(self._retiring):
            task.cancel()
        await asyncio.gather(*self._retiring, return_exceptions=True)

    async def spawn(self, spec: NodeSpec) -> NodeStatus:
        """Make a node live; one that is live already is left as it is. Raises Refused at the cap."""
        if not self._running:
            raise Draining("the cluster is not running")
        local = self._nodes.get(spec.node_id)
        if local is None or local.state == "parked":
            if sum(other.state != "parked" for other in self._nodes.values()) >= self._settings.max_live_nodes:
                raise Refused(f"{self._settings.max_live_nodes} nodes are live, which is the cap (cluster.max_live_nodes)")
            local = _Local(spec=spec, node=self._build(spec, self._kit, self._hub), started_at=self._wall())
            self._nodes[spec.node_id] = local
        return _status(local)

    async def park(self, node_id: NodeId, *, drain_s: float) -> None:
        """Drain a node and close what it holds. A node that is parked or unknown is left alone."""
        local = self._nodes.get(node_id)
        if local is not None:
            await self._put_away(local, drain_s)

    async def _put_away(self, local: _Local, drain_s: float) -> None:
        async with local.lock:
            if local.state == "parked":
                return
            local.state = "draining"
            await local.node.drain(drain_s)
            left = dict(local.running)
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
            await local.node.park()
            if left:
                self._on_node_lost(local.spec.node_id, tuple(left.values()))
            local.state = "parked"
            parked = [node_id for node_id, other in self._nodes.items() if other.state == "parked"]
            for node_id in parked[:-MAX_PARKED]:
                del self._nodes[node_id]

    async def respec(self, spec: NodeSpec) -> None:
        """New tasks go to a new node of the same id; the old one ends what it has and is closed."""
        local = self._nodes.get(spec.node_id)
        if local is None:
            return
        async with local.lock:
            if local.state != "live" or local.spec == spec:
                return
            old, local.node, local.spec = local.node, self._build(spec, self._kit, self._hub), spec
        retiring = asyncio.create_task(_retire(old), name=f"retire {spec.node_id}")
        self._retiring.add(retiring)
        retiring.add_done_callback(self._retiring.discard)

    async def keep_warm(self, size: int | None) -> None:
        """A node needs no process here, so that nothing is kept ready."""

    async def update(self, kit: NodeKit) -> None:
        """Nodes that are live get the kit now, those that come later are built with it."""
        self._kit = kit
        await asyncio.gather(*(local.node.update(kit) for local in self._nodes.values() if local.state != "parked"))

    async def ask(self, node_id: NodeId, task: Task) -> AsyncGenerator[Event | Reply, None]:
        """Hand a task over. It runs as a task of its own, so that putting the node away can end it."""
        local = self._live(node_id)
        outbox: Outbox = asyncio.Queue()
        pump = asyncio.create_task(_pump(local.node, task, outbox), name=f"{node_id} {task.task_id}")
        local.running[pump] = task.task_id
        pump.add_done_callback(lambda done: local.running.pop(done, None))
        try:
            while (item := await outbox.get()) is not None:
                if isinstance(item, Reply):
                    local.handled += 1
                yield item
            await self._ended(local, pump)
        finally:
            if pump.cancel():
                await asyncio.gather(pump, return_exceptions=True)

    async def _ended(self, local: _Local, pump: asyncio.Task[None]) -> None:
        await asyncio.wait([pump])
        if pump.cancelled():
            raise NodeLost(f"node {local.spec.node_id!r} was put away with the task")
        error = pump.exception()
        if error is not None:
            local.failed += isinstance(error, AgentError)
            raise error

    def _live(self, node_id: NodeId) -> _Local:
        local = self._nodes.get(node_id)
        if local is None or local.state == "parked":
            raise NotFound(f"there is no live node {node_id!r}", param="node")
        if local.state != "live" or not self._running:
            raise Draining(f"node {node_id!r} is {local.state}", retry_after_s=1.0)
        if len(local.running) >= self._settings.node_concurrency + self._settings.node_inbox:
            raise Overloaded(f"the inbox of node {node_id!r} is full", retry_after_s=1.0)
        return local

    def nodes(self) -> Sequence[NodeStatus]:
        return [_status(local) for local in self._nodes.values()]

    def status(self) -> ClusterStatus:
        live = sum(local.state == "live" for local in self._nodes.values())
        return ClusterStatus(kind="local", live=live, warm=0, restarts=0, detail="" if self._running else "not running")


async def _retire(node: Node) -> None:
    try:
        await node.drain(RETIRE_S)
    finally:
        await node.park()


async def _pump(node: Node, task: Task, outbox: Outbox) -> None:
    try:
        async with aclosing(node.handle(task)) as items:
            async for item in items:
                outbox.put_nowait(item)
    finally:
        outbox.put_nowait(None)


def _status(local: _Local) -> NodeStatus:
    return NodeStatus(
        spec=local.spec,
        state=local.state,
        inflight=len(local.running),
        handled=local.handled,
        failed=local.failed,
        started_at=local.started_at,
        pid=None if local.state == "parked" else os.getpid(),
        host=None if local.state == "parked" else socket.gethostname(),
    )
