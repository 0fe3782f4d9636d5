"""The composition root: builds every part, starts them in order, stops them in the reverse order.

Called by ``morphogen serve`` and by integration tests. The only place that knows all the rooms; nothing imports it but the CLI.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from agents.llm.desk import Desk
from agents.llm.http import HttpBackend
from agents.llm.pool import Pool
from agents.records import AgentError
from registry.embedding import Embedder
from registry.records import RegistryError
from runtime.again import Again, either, worth_beginning
from runtime.api.app import create_app
from runtime.api.http_server import HttpServer, http_config
from runtime.api.operator import product_version
from runtime.backend_servers import BackendServers
from runtime.clock import Clock
from runtime.committees.build import Committees
from runtime.committees.desk import CommitteeDesk
from runtime.config.file import LoadedConfig
from runtime.config.settings import Settings
from runtime.config.strategies import check_strategies
from runtime.controlling.build import controlled
from runtime.controlling.waking import waking
from runtime.dispatch import Dispatch
from runtime.events import EventBoard
from runtime.first_backends import choose_backends, probe_ollama
from runtime.first_parts import cluster_of, embedder_of, open_ledger
from runtime.hang_up import HangUp
from runtime.hub import DaemonHub
from runtime.jobs.bell import Bell
from runtime.jobs.runner import JobRunner
from runtime.jobs.tools import Tools
from runtime.keys import KeyRing, check_binding
from runtime.learner.build import join, routed
from runtime.learner.measuring import Measuring
from runtime.ledger.escalations import EscalationLedger
from runtime.ledger.jobs import JobLedger
from runtime.ledger.replies import ReplyLedger
from runtime.ledger.spending import books
from runtime.ledger.store import Ledger
from runtime.library.build import build_library, told
from runtime.listener import listener, shown
from runtime.live import LiveParts, breaker_policy, node_kit
from runtime.loop_lag import LoopLag
from runtime.metrics import Metrics
from runtime.observing.build import Asking, observed
from runtime.observing.tidings import announced
from runtime.patterns.work import PatternWork
from runtime.programs.work import RegistryWork
from runtime.reload import ConfigSource, Reloader
from runtime.sandbox_desk import SandboxDesk
from runtime.service import DaemonService

log = logging.getLogger("morphogen")

RETENTION_EVERY_S = 3600.0
REAL = Clock()
GONE_DRAIN_S = 5.0
"""How long requests that need no node may still take when Ray is gone."""


@dataclass(slots=True, kw_only=True)
class Daemon:
    """A running daemon: its service and where it listens."""

    service: DaemonService
    url: str
    operator_key_path: Path


async def serve(
    settings: Settings,
    *,
    source: ConfigSource | None = None,
    again: Again | None = None,
    on_ready: Callable[[str], None] = lambda message: None,
) -> bool:
    """Run until SIGINT or SIGTERM; the first drains for at most ``server.drain_s``, a second one stops at once.

    SIGHUP reads the configuration again. ``source`` says where ``settings`` come from, so that a change of the file is followed.
    ``on_ready`` gets a few lines for people: where it listens, with which backends and why. True: Ray is gone, and ``again``
    should begin anew. Raises PortTaken, ConfigError, LedgerError, BackendUnreachable when it cannot start.
    """
    stop, again, began = asyncio.Event(), again or Again(), time.monotonic()
    loop = asyncio.get_running_loop()
    presses = 0
    terminal = sys.stdin is not None and sys.stdin.isatty()

    def on_signal() -> None:
        nonlocal presses
        presses += 1
        if presses == 1:
            log.warning("stopping: running requests have %g s; press Ctrl-C again to stop at once", settings.server.drain_s)
            stop.set()
        else:
            # The children end with this process (they watch it), and Ray's processes end when their driver is gone.
            os._exit(130)

    _on_signals(loop, on_signal)
    async with running(settings, source=source, again=again) as daemon:
        _on_signals(loop, on_signal)  # again: Ray's start puts handlers of its own in their place, which print a stack
        hang_up = HangUp(daemon.service, on_signal if terminal else None)
        loop.add_signal_handler(signal.SIGHUP, hang_up)
        on_ready(f"listening on {daemon.url}\nbackends: {daemon.service.pool_reason}\noperator key: {daemon.operator_key_path}")
        await either(stop, again.gone)
        await daemon.service.jobs.stop()
        drain_s = daemon.service.settings.server.drain_s
        if not stop.is_set():
            await worth_beginning(again, stop, address=settings.ray.address, lived_s=time.monotonic() - began)
            drain_s = min(drain_s, GONE_DRAIN_S)
        await daemon.service.dispatch.drain(drain_s)
    return not stop.is_set()


def _on_signals(loop: asyncio.AbstractEventLoop, act: Callable[[], None]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.remove_signal_handler(number)
        loop.add_signal_handler(number, act)


@asynccontextmanager
async def running(
    settings: Settings, *, source: ConfigSource | None = None, again: Again | None = None, clock: Clock = REAL
) -> AsyncIterator[Daemon]:
    """A daemon inside this event loop, for as long as the block runs. All of its parts go by ``clock``."""
    again = again or Again()
    check_strategies(settings)
    data = settings.data.dir.expanduser()
    async with AsyncExitStack() as stack:
        listening = stack.enter_context(listener(settings.server, again.left))
        again.keep(listening)
        ledger = await open_ledger(settings, data, clock.wall)
        stack.push_async_callback(ledger.close)
        if ledger.set_aside is not None:
            log.error("the ledger was damaged: it was set aside as %s and a new one begun", ledger.set_aside)
        keys = await KeyRing.load(ledger, clock=clock.wall)
        operator_key_path = data / "operator.key"
        await keys.ensure_operator_key(operator_key_path)
        check_binding(settings.server.host, keys.has("client"))
        source = source or ConfigSource(loaded=LoadedConfig(settings=settings, path=None))
        service = await _build(settings, source, ledger, keys, stack, again, clock)
        server = HttpServer(http_config(create_app(service, clock=clock.wall)))
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        stack.push_async_callback(server.end, serving)
        while not server.started:
            if serving.done():
                serving.result()
            await asyncio.sleep(0.005)
        service.starting = False
        await service.jobs.start()
        for chore in _chores(service):
            task = asyncio.create_task(chore)
            stack.push_async_callback(_end_task, task)
        host, port = listening.getsockname()[:2]
        yield Daemon(service=service, url=f"http://{shown(host)}:{port}", operator_key_path=operator_key_path)


async def _build(
    settings: Settings, source: ConfigSource, ledger: Ledger, keys: KeyRing, stack: AsyncExitStack, again: Again, clock: Clock
) -> DaemonService:
    """All parts between the ledger and the HTTP server, started; ``stack`` gets what stops them."""
    found = await choose_backends(settings, env=os.environ, probe_ollama=probe_ollama)
    servers = BackendServers()
    stack.push_async_callback(servers.stop)
    specs = await servers.update(found.backends, settings.simulated)
    desk = Desk(specs, breaker=breaker_policy(settings), clock=clock.steady)
    embedder = embedder_of(settings)
    if embedder is not None:
        stack.push_async_callback(embedder.aclose)
    metrics, board = Metrics(version=product_version()), EventBoard(wall=clock.wall)
    cashier = await stack.enter_async_context(books(ledger, desk, settings.budget, keys.limits(), metrics.budget_refused, clock))
    announce, hops = partial(announced, board), settings.cluster.max_hops
    hub = DaemonHub(desk=desk, cashier=cashier, embedder=embedder, max_hops=hops, announce=announce, wall=clock.wall)
    kit = node_kit(settings, specs)
    cluster = cluster_of(settings, kit, hub, again, clock)
    hub.cluster = cluster
    stack.push_async_callback(cluster.stop, drain_s=1.0)
    await cluster.start()
    pool = Pool([HttpBackend(spec) for spec in specs], admission=cashier, retry=kit.retry, fallback=kit.fallback, wall=clock.wall)
    stack.push_async_callback(pool.aclose)
    hub.committees = CommitteeDesk(cluster=cluster, settings=settings.committee, backends=lambda: pool.specs)
    patterns = PatternWork(settings, ledger, embedder, metrics, clock)
    controller = await controlled(settings, cluster, ledger, metrics, hub.committees.keep, patterns.desk, clock)
    escalations = EscalationLedger(ledger, wall=clock.wall)
    await escalations.load()
    sandbox_desk = await stack.enter_async_context(SandboxDesk(settings.sandbox.setup(), metrics))
    work = RegistryWork(settings, ledger, embedder, sandbox_desk.sandbox, hub, clock)
    stack.push_async_callback(work.desk.close)
    library = build_library(settings, ledger, embedder, sandbox_desk.sandbox, metrics, pool, work, clock)
    stack.push_async_callback(library.close)
    router = await stack.enter_async_context(routed(settings, pool, desk, cluster, ledger, cashier, metrics, clock))
    committees = Committees(hub.committees, pool, ledger, router, cashier, metrics, clock)
    stack.push_async_callback(committees.aclose)
    dispatch = Dispatch(
        settings=settings,
        pool=pool,
        desk=desk,
        cashier=cashier,
        cluster=cluster,
        ledger=ledger,
        metrics=metrics,
        escalations=escalations,
        seen_before=patterns.after(library.seen_before),
        learn=told(work.code.seen, library.seen, committees.seen),
        router=router,
        board=board,
        specialist=waking(controller, patterns.specialist),
        wall=clock.wall,
    )
    hub.heard, hub.ran = dispatch.heard, metrics.code_ran
    committees.begin(dispatch)
    asking = Asking(runs=dispatch, backends=lambda: pool.specs)
    observing = await stack.enter_async_context(
        observed(settings, ledger, controller, cluster, router, asking, board, metrics, patterns.desk, clock)
    )
    bell = Bell()
    job_ledger = JobLedger(ledger, on_written=bell.ring)
    tools = Tools(
        runs=dispatch,
        ledger=job_ledger,
        settings=lambda: dispatch.settings.jobs,
        metrics=metrics,
        board=board,
        heard=router.feedback,
        wall=clock.wall,
    )
    jobs = JobRunner(tools, bell)
    stack.push_async_callback(jobs.stop)
    service = DaemonService(
        settings=settings,
        pool_reason=found.reason,
        pool=pool,
        desk=desk,
        cashier=cashier,
        cluster_port=cluster,
        ledger=ledger,
        keys=keys,
        metrics=metrics,
        dispatch=dispatch,
        embedder=embedder,
        jobs=jobs,
        replies=ReplyLedger(ledger, clock=clock.wall),
        escalations=escalations,
        registry=work.desk,
        code=work.code,
        library=library,
        router=router,
        controller=controller,
        patterns=patterns.desk,
        board=board,
        observing=observing,
        sandbox_desk=sandbox_desk,
        wall=clock.wall,
        started_at=clock.wall(),
    )
    service.routers = work.begin(dispatch, cluster, lambda: service.pool.specs, router, controller.remember)
    service.routers.join(controller)
    join(router, controller, lambda: service.pool.specs)
    stack.push_async_callback(work.end)
    asked = (dispatch, cluster, lambda: service.pool.specs, controller)
    await stack.enter_async_context(patterns.working(*asked, registry=work.desk, sandbox=sandbox_desk.sandbox))
    parts = LiveParts(service=service, hub=hub, servers=servers, found=found, kit=kit)
    stack.push_async_callback(parts.stop)
    service.reloader = Reloader(
        source=source, running=lambda: service.settings, apply=parts.apply, metrics=metrics, wall=clock.wall
    )
    metrics.present.backends, metrics.present.cluster = service.backends, service.cluster
    metrics.present.registry, metrics.present.sandbox = work.desk.gauges, sandbox_desk.gauges
    metrics.present.code, metrics.present.library = work.counts, library.gauges
    metrics.present.budget, metrics.present.ledger = cashier.purse.gauges, ledger.load
    metrics.present.jobs = lambda: {"queued": jobs.queued, "running": jobs.running}
    metrics.present.escalations = lambda: escalations.open_count
    return service


async def _end_task(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


# ── chores ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _chores(service: DaemonService) -> list[Coroutine[Any, Any, None]]:
    """What goes on beside the requests."""
    chores: list[Coroutine[Any, Any, None]] = [LoopLag(service.metrics.loop_lagged).run(), _retain(service)]
    measuring = Measuring(service.routing, wall=service.wall)
    service.metrics.present.measures = measuring.series
    chores += [
        measuring.run(),
        service.registry.run(),
        service.library.run(),
        service.sandbox_desk.watch(),
        service.controller.run(),
    ]
    if service.reloader is not None:
        chores.append(service.reloader.watch())
    if service.embedder is not None:
        chores.append(_load_embedder(service.embedder))
    return chores


async def _load_embedder(embedder: Embedder) -> None:
    """After readiness: loading takes seconds, and most requests do not need it."""
    try:
        await embedder.load()
    except RegistryError as error:
        log.warning("no built-in embeddings: %s", error)


async def _retain(service: DaemonService) -> None:
    while True:
        await asyncio.sleep(RETENTION_EVERY_S)
        try:
            await service.replies.tidy()
            removed = await service.ledger.enforce_retention()
        except (OSError, AgentError) as error:
            log.error("the ledger could not be tidied: %s", error)
        else:
            log.info("removed %d old requests from the ledger", removed)
