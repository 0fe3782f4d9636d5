"""Live nodes as Ray actors: implements ``runtime.cluster.Cluster``.

Built by the daemon. Actors come from the warm pool (warm.py), reach the daemon through the mailbox (hub_server.py), and are
replaced when they die or grow too large. They belong to this driver: when the daemon goes, however it goes, Ray ends them. What
a daemon of the same id left all the same (detached, or still dying) is killed at start and not adopted: a node's spec is in the
ledger and a warm actor takes its place in milliseconds, where a stranger's actor would have to be asked what it is.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import ray

from agents.node import NodeKit, build_node
from agents.records import AgentError, Draining, Event, NodeId, NodeLost, NodeSpec, Overloaded, Reply, Task, TaskId
from agents.toolbox import Hub
from runtime.cluster import ClusterStatus, NodeStatus, nobody
from runtime.config.settings import ClusterSettings, RaySettings
from runtime.ray_cluster.actor import BuildNode
from runtime.ray_cluster.background import Background
from runtime.ray_cluster.connect import RayConnection
from runtime.ray_cluster.head import Place, until_gone
from runtime.ray_cluster.hosts import SPARE_CALLS, Host, HostFactory
from runtime.ray_cluster.hub_server import HubServer
from runtime.ray_cluster.memory import watch_memory
from runtime.ray_cluster.orphans import clean_mailbox
from runtime.ray_cluster.table import Entry, NodeTable, restart_delay_s
from runtime.ray_cluster.warm import WarmPool, standing

_log = logging.getLogger(__name__)

STEADY_S = 60.0
"""A node that lived this long is restarted without delay when it dies."""
MAX_WAIT_S = 30.0
"""How long a task waits for its node to come back."""
RETIRE_S = 30.0
"""How long a node that is replaced for its size may finish its tasks."""
GONE_RETRY_S = 10.0
"""What is asked of clients when Ray is gone: about what a daemon takes to begin anew."""


class RayCluster:
    """Implements ``runtime.cluster.Cluster``.

    ``daemon_id`` is stable for one data folder: actors of the same id are ours to kill. ``on_node_lost(node_id, task_ids)`` is
    called once when an actor ends with tasks, before their asks raise NodeLost; the ids include tasks that ended in the last five
    seconds, so releasing by holder must be idempotent. ``on_gone`` is called once when Ray itself is gone: this process cannot
    connect again (docs/adr/009-ray-lost.md), all but ``stop`` refuses. ``build`` and ``poll_s`` are for tests.
    """

    def __init__(
        self,
        *,
        kit: NodeKit,
        hub: Hub,
        settings: ClusterSettings,
        ray: RaySettings,
        daemon_id: str,
        on_node_lost: Callable[[NodeId, tuple[TaskId, ...]], None] = nobody,
        on_gone: Callable[[], None] = lambda: None,
        patience_s: float = 0.0,
        build: BuildNode = build_node,
        poll_s: float = 5.0,
        min_replace_age_s: float = STEADY_S,
    ) -> None:
        self._kit = kit
        self._hub = hub
        self._settings = settings
        self._namespace = ray.namespace
        self._daemon_id = daemon_id
        self._on_node_lost = on_node_lost
        self._build = build
        self._poll_s = poll_s
        self._min_replace_age_s = min_replace_age_s
        self._on_gone = on_gone
        self._lost_after_s = ray.lost_after_s
        self._connection = RayConnection(ray, patience_s=patience_s)
        self._table = NodeTable(max_live=settings.max_live_nodes)
        self._mailbox: Any = None
        self._server: HubServer | None = None
        self._pool: WarmPool | None = None
        self._background = Background()
        self._restarts = 0
        self._closing = self._gone = False
        self._detail = "not started"

    # ── start and stop ──

    async def start(self) -> None:
        """Connect, kill what an earlier daemon of this id left, fill the warm pool. Idempotent; raises what Ray raises."""
        if self._pool is not None:
            return
        self._closing = False
        await self._connection.start()
        self._mailbox, first = await clean_mailbox(self._connection, namespace=self._namespace, daemon_id=self._daemon_id)
        self._server = HubServer(hub=self._hub, mailbox=self._mailbox)
        self._server.start()
        factory = HostFactory(
            connection=self._connection,
            mailbox=self._mailbox,
            namespace=self._namespace,
            prefix=f"node:{self._daemon_id}:",
            first=first,
            concurrency=self._settings.node_concurrency + self._settings.node_inbox + SPARE_CALLS,
            build=self._build,
            on_death=self._on_death,
        )
        self._pool = WarmPool(size=self._settings.warm_nodes, create=factory.create)
        await self._pool.start()
        bounds = {"max_bytes": self._settings.max_node_memory_bytes, "min_age_s": self._min_replace_age_s}
        self._background.begin(
            watch_memory(self._table.entries, self._replace_later, poll_s=self._poll_s, **bounds), "watch memory"
        )
        self._background.begin(self._watch_ray(await self._connection.places()), "watch Ray")
        self._detail = ""

    async def _watch_ray(self, places: Sequence[Place]) -> None:
        host, port = await until_gone(places, after_s=self._lost_after_s)
        self._gone = True
        self._detail = f"Ray is gone: nothing answers at {host}:{port}"
        _log.error("%s", self._detail)
        for entry in self._table.entries():
            if entry.host is not None:
                entry.host.give_up()
            entry.up.set()  # who waits for it waits in vain
        self._on_gone()

    async def stop(self, *, drain_s: float) -> None:
        """Drain for at most ``drain_s``, then end every actor of ours, and Ray where we started it. Idempotent."""
        self._closing = True
        self._detail = self._detail if self._gone else "stopped"
        await self._background.stop()
        pool, self._pool = self._pool, None
        await asyncio.gather(*(self._put_away(entry, drain_s) for entry in self._table.entries() if entry.state != "parked"))
        if pool is not None:
            await pool.stop()
        server, self._server = self._server, None
        if server is not None:
            await server.stop()
        mailbox, self._mailbox = self._mailbox, None
        if mailbox is not None and not self._gone:
            ray.kill(mailbox, no_restart=True)
        await self._connection.stop(lost=self._gone)

    # ── nodes ──

    async def spawn(self, spec: NodeSpec) -> NodeStatus:
        """Make a node live; one that is live already is left as it is. Raises Refused at the cap, NodeLost when none comes up."""
        self._check_running()
        entry = self._table.admit(spec, time.time())
        async with entry.lock:
            if entry.state == "starting":
                try:
                    await self._bring_up(entry)
                except BaseException:
                    self._table.shelve(entry)
                    raise
        return entry.status()

    async def _bring_up(self, entry: Entry) -> None:
        """Give ``entry`` a host; it is live afterwards. The caller holds the lock."""
        host = await self._new_host(entry.spec)
        entry.host, entry.host_since, entry.rss_bytes = host, time.monotonic(), None
        entry.move("live")

    def _check_running(self) -> WarmPool:
        """Raises Draining."""
        if self._closing or self._gone or self._pool is None:
            raise Draining(self._detail or "the cluster is not running", retry_after_s=GONE_RETRY_S if self._gone else None)
        return self._pool

    async def _new_host(self, spec: NodeSpec) -> Host:
        host = await self._check_running().take()
        try:
            kit = self._kit
            await host.become(spec, kit)
            while kit is not self._kit:  # it was changed meanwhile, and ``update`` does not know this host yet
                kit = self._kit
                await host.update(kit)
            if host.lost:
                raise NodeLost(f"{host.name} died as it became {spec.node_id}")
        except BaseException:
            await host.kill()
            raise
        return host

    async def respec(self, spec: NodeSpec) -> None:
        """A fresh actor works by ``spec``, and the old one ends what it has. Raises NodeLost when none comes up."""
        entry = self._table.get(spec.node_id)
        if entry is None or entry.state == "parked" or entry.spec == spec:
            return
        self._check_running()
        if entry.host is None or not await self._exchange(entry, entry.host, spec):
            raise NodeLost(f"node {spec.node_id} died as it was changed")

    async def keep_warm(self, size: int | None) -> None:
        """The pool grows and shrinks by itself from now on."""
        if self._pool is not None and not self._gone:
            await self._pool.resize(self._settings.warm_nodes if size is None else size)

    async def update(self, kit: NodeKit) -> None:
        """Live nodes get the kit now; blank actors and restarted nodes begin with it."""
        self._kit = kit
        told = (entry for entry in self._table.entries() if entry.state in ("live", "draining"))
        await asyncio.gather(*(self._update(entry, entry.host, kit) for entry in told if entry.host is not None))

    async def _update(self, entry: Entry, host: Host, kit: NodeKit) -> None:
        try:
            await host.update(kit)
        except AgentError as error:
            _log.warning("%s cannot take the new configuration and is replaced: %s", host.name, error)
            if not host.lost:
                self._replace_later(entry, host)

    async def park(self, node_id: NodeId, *, drain_s: float) -> None:
        """Drain a node and end its actor. A node that is parked or unknown is left alone."""
        if (entry := self._table.get(node_id)) is not None:
            await self._put_away(entry, drain_s)

    async def _put_away(self, entry: Entry, drain_s: float) -> None:
        async with entry.lock:
            if entry.state == "parked":
                return
            entry.move("draining")
            if entry.host is not None and not entry.host.lost:
                await entry.host.drain(drain_s)
                await entry.host.kill()
            self._table.shelve(entry)

    # ── tasks ──

    async def ask(self, node_id: NodeId, task: Task) -> AsyncGenerator[Event | Reply, None]:
        """Hand a task over; waits for a node that is being restarted, within the task's deadline."""
        entry = self._table.find(node_id)
        started = time.monotonic()
        host = await self._host_of(entry, task)
        waited_s = time.monotonic() - started
        task = replace(task, budget=replace(task.budget, deadline_s=max(task.budget.deadline_s - waited_s, 0.001)))
        try:
            async with aclosing(host.ask(task)) as items:
                async for item in items:
                    if isinstance(item, Reply):
                        entry.handled += 1
                    yield item
        except AgentError:
            entry.failed += 1
            raise

    async def _host_of(self, entry: Entry, task: Task) -> Host:
        if not entry.up.is_set() and entry.state != "draining" and not (self._closing or self._gone):
            try:
                async with asyncio.timeout(min(task.budget.deadline_s, MAX_WAIT_S)):
                    await entry.up.wait()
            except TimeoutError:
                raise NodeLost(f"node {entry.spec.node_id!r} did not come back in time") from None
        host = entry.host
        if self._gone:
            raise Draining(self._detail, retry_after_s=GONE_RETRY_S)
        if self._closing or entry.state != "live" or host is None:
            raise Draining(f"node {entry.spec.node_id!r} is {entry.state}", retry_after_s=1.0)
        if len(host.asks) >= self._settings.node_concurrency + self._settings.node_inbox:
            raise Overloaded(f"the inbox of node {entry.spec.node_id!r} is full", retry_after_s=1.0)
        return host

    # ── what happens by itself ──

    def _on_death(self, host: Host) -> None:
        """An actor is gone, for whatever reason. Called once a host, before the asks that it had raise NodeLost."""
        if self._server is not None:
            self._server.forget(host.name)
        if self._pool is not None:
            self._pool.discard(host)
        entry = self._table.of(host)
        if entry is None:
            return
        # A node that was put away has given everything back, unless tasks were still running when its time was over.
        tasks = host.tasks() if entry.state == "live" or host.asks else ()
        if tasks:
            self._on_node_lost(entry.spec.node_id, tasks)
        if entry.state == "live":
            entry.falls = 1 if time.monotonic() - entry.host_since >= STEADY_S else entry.falls + 1
            entry.host = None
            entry.move("starting")
            if not self._closing and not self._gone:
                self._background.begin(self._restart(entry), f"restart {entry.spec.node_id}")

    async def _restart(self, entry: Entry) -> None:
        while True:
            await asyncio.sleep(restart_delay_s(entry.falls))
            async with entry.lock:
                if entry.state not in ("starting", "dead") or self._closing or self._gone:
                    return
                if entry.state == "dead":
                    entry.move("starting")
                try:
                    await self._bring_up(entry)
                except AgentError as error:
                    entry.move("dead")
                    entry.falls += 1
                    self._detail = f"node {entry.spec.node_id} does not come up: {error}"
                    _log.warning("%s", self._detail)
                    continue
                entry.restarts += 1
                self._restarts += 1
                self._detail = ""
                return

    def _replace_later(self, entry: Entry, old: Host) -> None:
        """Give a node a fresh actor; the old one finishes what it has."""
        self._background.begin(self._exchange(entry, old), f"replace {old.name}")

    async def _exchange(self, entry: Entry, old: Host, spec: NodeSpec | None = None) -> bool:
        """The node's next tasks go to a fresh actor (that works by ``spec``), if it still has ``old``; that ends by itself."""
        async with entry.lock:
            if entry.state != "live" or entry.host is not old:
                return False
            host = await self._new_host(spec or entry.spec)
            if entry.state != "live" or entry.host is not old:
                await host.kill()
                return False
            entry.host, entry.host_since, entry.rss_bytes = host, time.monotonic(), None
            entry.restarts += spec is None
            self._restarts += spec is None
            entry.spec = spec or entry.spec
        self._background.begin(self._retire(entry.spec.node_id, old), f"retire {old.name}")
        return True

    async def _retire(self, node_id: NodeId, old: Host) -> None:
        try:
            await old.drain(RETIRE_S)
        finally:
            if old.asks:
                self._on_node_lost(node_id, old.tasks())
            await old.kill()

    # ── what it looks like ──

    def nodes(self) -> Sequence[NodeStatus]:
        return [entry.status() for entry in self._table.entries()]

    def status(self) -> ClusterStatus:
        live = sum(entry.state == "live" for entry in self._table.entries())
        return replace(standing(self._pool), live=live, restarts=self._restarts, detail=self._detail)
