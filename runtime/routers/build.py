"""Generated routers of one daemon, put together. Built and run by daemon.py, which hands in what they need of the rest."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from agents.llm.chat import BackendSpec
from runtime.clock import Clock
from runtime.cluster import Cluster
from runtime.config.settings import Settings
from runtime.controlling.controller import Controller
from runtime.learner.desk import Router
from runtime.ledger.registry import spent_since
from runtime.ledger.rounds import RoundLedger
from runtime.ledger.store import Ledger
from runtime.programs.asks import Asks, Bounds, RememberNode, Runs
from runtime.programs.registry_desk import RegistryDesk
from runtime.routers.desk import RouterDesk
from runtime.routers.evolve import Evolution
from runtime.routers.front import RoutersFront
from runtime.routers.proposing import ByProposal, RouterSource, ShapeFollows
from sandbox.runner import Sandbox

log = logging.getLogger(__name__)


class RouterWork:
    """``begin`` starts it, ``end`` ends it; ``front`` is what the operator sees."""

    def __init__(
        self,
        settings: Settings,
        *,
        router: Router,
        registry: RegistryDesk,
        sandbox: Sandbox,
        ledger: Ledger,
        runs: Runs,
        cluster: Cluster,
        backends: Callable[[], Sequence[BackendSpec]],
        remember: RememberNode,
        clock: Clock,
    ) -> None:
        trials = router.trials
        self.desk = RouterDesk(
            registry=registry,
            sandbox=sandbox,
            settings=settings.routers,
            backends=backends,
            tried=lambda: trials.router,
            on_unfit=trials.give_up,
        )
        asks = Asks(
            runs=runs,
            cluster=cluster,
            bounds=self._bounds,
            backends=backends,
            spent_since=lambda since: spent_since(ledger, "routers", since),
            remember=remember,
            source="routers",
            clock=clock.wall,
        )
        self._evolution = Evolution(
            book=RoundLedger(ledger),
            router=router,
            desk=self.desk,
            registry=registry,
            sandbox=sandbox,
            asks=asks,
            settings=lambda: self.desk.settings,
            reviews=settings.registry.review,
            clock=clock.wall,
        )
        self.front = RoutersFront(registry, router, self.desk, self._evolution)
        router.advisor = self.desk
        trials.serves = self.desk.serves
        self._tasks: list[asyncio.Task[None]] = []

    def _bounds(self) -> Bounds:
        settings = self.desk.settings
        return Bounds(
            per_hour=settings.asks_per_hour,
            usd_per_day=settings.usd_per_day,
            per_hour_name="routers.asks_per_hour",
            usd_name="routers.usd_per_day",
        )

    def join(self, controller: Controller) -> None:
        """Routers that won are proposals of ``controller`` from now on, and it puts them into force."""
        controller.tools.hands.adopt = self._evolution.put
        controller.sources.append(RouterSource(self._evolution))
        self._evolution.approvals = ByProposal(controller)
        self.desk.followed = ShapeFollows(controller)

    def begin(self) -> None:
        """In the background, until ``end``."""
        self._tasks = [asyncio.create_task(chore, name="routers") for chore in (self.desk.run(), self._evolution.run())]
        for task in self._tasks:
            task.add_done_callback(_ended)

    async def end(self) -> None:
        """Idempotent."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.desk.close()


def _ended(task: asyncio.Task[None]) -> None:
    """A chore ends only with the daemon; one that failed is told, and requests go on without it."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("generated routers stay as they are until the next start", exc_info=error)
