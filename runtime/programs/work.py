"""The registry's rooms of the daemon, put together: the desk, code in use, offers to nodes, reviews, advice.

Built and run by daemon.py, which hands in what they need of the rest. Knows all of these rooms and decides nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

from agents.llm.chat import BackendSpec
from agents.records import AgentError, Json
from registry.embedding import Embedder
from registry.records import RegistryError
from runtime.clock import Clock
from runtime.cluster import Cluster
from runtime.config.settings import Settings
from runtime.hub import DaemonHub
from runtime.learner.desk import Router
from runtime.ledger.records import LedgerError
from runtime.ledger.registry import LedgerEvidence, LedgerJournal, spent_since
from runtime.ledger.store import Ledger
from runtime.observing.tidings import REGISTRY_TASK
from runtime.programs.advising import Advising
from runtime.programs.asks import Asks, Bounds, RememberNode, Runs
from runtime.programs.desk import CodeDesk
from runtime.programs.offers import Offers
from runtime.programs.registry_desk import RegistryDesk
from runtime.programs.reviewing import Reviewing, waiting
from runtime.routers.build import RouterWork
from sandbox.runner import Sandbox

log = logging.getLogger(__name__)


class RegistryWork:
    """``desk`` and ``code`` are there at once; ``begin`` starts what works in the background, ``end`` ends it."""

    def __init__(
        self, settings: Settings, ledger: Ledger, embedder: Embedder | None, sandbox: Sandbox, hub: DaemonHub, clock: Clock
    ) -> None:
        self._settings, self._ledger, self._sandbox, self._hub, self._clock = settings, ledger, sandbox, hub, clock
        folder = settings.data.dir.expanduser() / "registry"
        ports = (LedgerJournal(ledger), LedgerEvidence(ledger, clock=clock.wall))
        self.desk = RegistryDesk(settings.registry, folder, *ports, embedder=embedder, checker=sandbox, clock=clock.wall)
        # Problems are words of clients: where these are not to be kept, neither is what was written for them.
        enabled = settings.registry.enabled and settings.data.store_bodies
        self.code = CodeDesk(self.desk, enabled=enabled, clock=clock.wall)
        hub.search_registry = Offers(self.desk, holdout=settings.registry.guidance_holdout).offer
        self._tasks: list[asyncio.Task[None]] = []
        self._reviewing: Reviewing | None = None
        self._routers: RouterWork | None = None

    def begin(
        self,
        runs: Runs,
        cluster: Cluster,
        backends: Callable[[], Sequence[BackendSpec]],
        router: Router,
        remember: RememberNode,
    ) -> RouterWork:
        """``runs`` asks models for reviewers and the advisor, which are nodes of ``cluster`` that ``remember`` keeps, and for
        code of routers."""
        settings = self._settings.registry
        asks = Asks(
            runs=runs,
            cluster=cluster,
            bounds=lambda: Bounds(per_hour=settings.reviews_per_hour, usd_per_day=settings.review_usd_per_day),
            backends=backends,
            spent_since=lambda since: spent_since(self._ledger, "registry", since),
            remember=remember,
            clock=self._clock.wall,
        )
        limits = self._settings.sandbox.setup().limits
        reviewing = self._reviewing = Reviewing(
            self.desk, asks, self._sandbox, cluster, settings=settings, limits=limits, clock=self._clock.wall
        )
        advising = Advising(self.desk, asks, cluster, settings=settings, announce=self._announce)
        chores = (self.code.run(), self._learn(asks, reviewing, advising))
        self._tasks = [asyncio.create_task(each) for each in chores]
        for task in self._tasks:
            task.add_done_callback(_ended)
        self._routers = RouterWork(
            self._settings,
            router=router,
            registry=self.desk,
            sandbox=self._sandbox,
            ledger=self._ledger,
            runs=runs,
            cluster=cluster,
            backends=backends,
            remember=remember,
            clock=self._clock,
        )
        self._routers.begin()
        return self._routers

    async def _learn(self, asks: Asks, reviewing: Reviewing, advising: Advising) -> None:
        """Reviews and advice, one after the other: they share the nodes that are woken for them, and the bounds."""
        settings = self._settings.registry
        if not (settings.enabled and settings.review):
            return
        await self.desk.settled.wait()
        while True:
            await asyncio.sleep(settings.review_every_s)
            try:
                await reviewing.round()
                await advising.round()
                if not waiting(self.desk.registry):
                    await asks.rest()
            except (RegistryError, AgentError, LedgerError) as error:
                log.error("reviews and advice are tried again: %s", error)

    async def end(self) -> None:
        """Idempotent."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._routers is not None:
            await self._routers.end()

    def counts(self) -> tuple[Mapping[str, int], Mapping[str, int]]:
        """What became of programs, and what reviews decided, since the start."""
        outcomes = {name: self.code.counts[name] for name in ("kept", "refused", "dropped")}
        return outcomes, dict(self._reviewing.counts) if self._reviewing is not None else {}

    async def _announce(self, topic: str, body: Mapping[str, Json]) -> None:
        log.info("all nodes are told of a %s: %s", topic, dict(body))
        await self._hub.announce(topic, body, task_id=REGISTRY_TASK)


def _ended(task: asyncio.Task[None]) -> None:
    """A chore ends only with the daemon; one that failed is told, and requests go on without it."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("the registry learns no more until the next start", exc_info=error)
