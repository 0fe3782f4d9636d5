"""The router of one daemon, put together. Called by daemon.py."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Final

from agents.calls import CallRecord
from agents.llm.chat import BackendSpec, ChatReply, ChatRequest
from agents.llm.desk import Desk
from agents.llm.pool import Pool
from agents.records import Choice, Refused
from runtime.admission import Cashier
from runtime.clock import Clock
from runtime.cluster import Cluster
from runtime.config.settings import Settings
from runtime.controlling.controller import Controller
from runtime.learner.desk import Router
from runtime.learner.judge import Ask
from runtime.learner.proposing import TuneSource
from runtime.learner.views import series_of
from runtime.ledger.decisions import DecisionLedger
from runtime.ledger.store import Ledger
from runtime.ledger.trials import TrialLedger
from runtime.metrics import Metrics
from runtime.routing.records import RoutingError
from runtime.topology.shape import Member

log = logging.getLogger(__name__)

JUDGE_WITHIN_S: Final = 60.0
JUDGE_HOLDER: Final = "judge"


def judge_ask(pool: Pool, cashier: Cashier, metrics: Metrics) -> Ask:
    """One call to a judge: nobody's work, so the day pays for it."""

    async def ask(request: ChatRequest, judge: BackendSpec, booked: Callable[[CallRecord], None]) -> ChatReply:
        def called(call: CallRecord) -> None:
            booked(call)
            metrics.call_finished(call)

        return await pool.chat(
            request,
            Choice(backend=judge.name, fallback=False),
            deadline_s=JUDGE_WITHIN_S,
            holder=JUDGE_HOLDER,
            on_call=called,
            assumed_tokens=cashier.assumed_tokens(JUDGE_HOLDER),
        )

    return ask


@asynccontextmanager
async def routed(
    settings: Settings,
    pool: Pool,
    desk: Desk,
    cluster: Cluster,
    ledger: Ledger,
    cashier: Cashier,
    metrics: Metrics,
    clock: Clock,
) -> AsyncIterator[Router]:
    """A router that has taken up what was learned before, and writes down what it learns until the block ends."""

    router = Router(
        settings=settings,
        backends=lambda: pool.specs,
        health=desk.health,
        nodes=cluster.nodes,
        book=DecisionLedger(ledger),
        trial_book=TrialLedger(ledger),
        folder=settings.data.dir.expanduser() / "routing",
        ask=judge_ask(pool, cashier, metrics),
        load=lambda: _load(pool, desk),
        wall=clock.wall,
    )
    await router.load()
    await router.trials.load()
    metrics.present.routing = lambda: series_of(router)
    chores = [asyncio.create_task(chore, name="router") for chore in (router.run(), router.judge.run())]
    try:
        yield router
    finally:
        for chore in chores:
            chore.cancel()
        await asyncio.gather(*chores, return_exceptions=True)
        await router.close()


def join(router: Router, controller: Controller, backends: Callable[[], Sequence[BackendSpec]]) -> None:
    """Settings that won are proposals of ``controller`` from now on, and it puts them into force; those that it holds hold at
    once."""

    async def tune(settings: tuple[str, ...]) -> None:
        try:
            router.tune(settings)
        except RoutingError as error:
            raise Refused(f"these settings cannot hold: {error.field}: {error}") from error

    def members() -> Iterable[Member]:
        return controller.topology.members.values()

    controller.tools.hands.tune = tune
    router.members = members
    controller.sources.append(TuneSource(router.trials, controller, simulated=lambda: any(spec.simulated for spec in backends())))
    try:
        router.tune(controller.topology.tuned)
    except RoutingError as error:
        log.error("the configuration's settings of routing hold, those of the shape cannot: %s: %s", error.field, error)


def _load(pool: Pool, desk: Desk) -> float:
    """How much of what may be in flight is, over all backends."""
    room = sum(spec.max_concurrency for spec in pool.specs)
    return min(1.0, sum(desk.inflight(spec.name) for spec in pool.specs) / room) if room else 0.0
