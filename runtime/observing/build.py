"""Self-observation of one daemon, put together. Called by daemon.py."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Protocol

from agents.llm.chat import BackendSpec
from agents.records import Json
from runtime.clock import Clock
from runtime.cluster import Cluster
from runtime.config.observe import ObserveSettings
from runtime.config.settings import Settings
from runtime.controlling.controller import Controller
from runtime.controlling.views import case_view
from runtime.events import EventBoard
from runtime.learner.desk import Router
from runtime.ledger.observing import ObservingLedger
from runtime.ledger.registry import spent_since
from runtime.ledger.store import Ledger
from runtime.metrics import Metrics
from runtime.observing.front import ObservingFront
from runtime.observing.introspection import Introspection
from runtime.observing.observer import Look, Observer
from runtime.observing.tidings import Tidings
from runtime.present import Series, one
from runtime.programs.asks import Asks, Bounds, Runs
from runtime.routing.distill import Finding, distill
from runtime.topology.outlook import believed
from runtime.topology.records import Status
from runtime.topology.situation import Seen
from runtime.topology.verify import Terms

LOG_S: Final = 7 * 86_400.0
LOG_ROWS: Final = 5_000
SHOWN_CHANGES: Final = 20
MOST_FORMER: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """Who answers questions of the network about itself."""

    runs: Runs
    backends: Callable[[], Sequence[BackendSpec]]


class Patterns(Protocol):
    """What is needed of the patterns' desk."""

    def seen(self) -> Mapping[str, Seen]: ...

    def of(self, request_ids: Sequence[str]) -> Mapping[str, str]: ...

    async def caught_up(self) -> None: ...


def bounds_of(settings: ObserveSettings) -> Bounds:
    """What may be asked."""
    return Bounds(
        per_hour=settings.asks_per_hour,
        usd_per_day=settings.ask_usd_per_day,
        per_hour_name="observe.asks_per_hour",
        usd_name="observe.ask_usd_per_day",
    )


@asynccontextmanager
async def observed(
    settings: Settings,
    ledger: Ledger,
    controller: Controller,
    cluster: Cluster,
    router: Router,
    asking: Asking,
    board: EventBoard,
    metrics: Metrics,
    patterns: Patterns,
    clock: Clock,
) -> AsyncIterator[ObservingFront]:
    """The controller is given proposals, and the board is told what happens, until the block ends."""
    tidings = Tidings(board, nodes=cluster.nodes, patterns=patterns.seen)

    async def findings() -> Sequence[Finding]:
        rows = await router.book.newest(since=clock.wall() - LOG_S, limit=LOG_ROWS)
        return (await asyncio.to_thread(distill, rows)).findings

    def terms() -> Terms:
        return controller.tools.settings.probation.terms()

    async def trust() -> float:
        cases = await controller.tools.book.cases(status=None, limit=MOST_FORMER, before=None)
        over = [case for case in cases if case.proposal.status in (Status.KEPT, Status.ROLLED_BACK)]
        return believed((case.proposal.draft, case.measured) for case in over)

    async def changes() -> list[dict[str, Json]]:
        cases = await controller.tools.book.cases(status=None, limit=SHOWN_CHANGES, before=None)
        views = [case_view(case) for case in cases]
        return [{name: view[name] for name in ("kind", "subject", "status", "reason", "note", "measured")} for view in views]

    asks = Asks(
        runs=asking.runs,
        cluster=cluster,
        bounds=lambda: bounds_of(observer.settings),
        backends=asking.backends,
        spent_since=lambda since: spent_since(ledger, "observe", since),
        remember=controller.remember,
        source="observe",
        clock=clock.wall,
    )
    observer = Observer(
        reads=ObservingLedger(ledger, patterns_of=patterns.of),
        settings=settings.observe,
        patterns=patterns.seen,
        labelled=patterns.caught_up,
        terms=terms,
        trust=trust,
        prices=lambda: {spec.name: spec.input_usd_per_mtok / 1e6 for spec in asking.backends()},
        warm=lambda: cluster.status().use,
        findings=findings,
        introspection=Introspection(ask=asks.ask, changes=changes, why=lambda: asks.why),
        on_look=tidings.looked,
        wall=clock.wall,
        clock=clock.steady,
    )
    controller.sources.append(observer)
    controller.tools.told = tidings.wrote
    metrics.present.observing = lambda: series_of(observer)
    telling = asyncio.create_task(tidings.run(), name="tidings")
    try:
        yield ObservingFront(observer, controller, wall=clock.wall)
    finally:
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)
        await observer.close()


def series_of(observer: Observer) -> Iterator[Series]:
    """The newest look as numbers."""
    look: Look | None = observer.newest
    score = None if look is None else look.efficiency.score
    text = "How well the network does for what it takes, 0 to 1 (a score of 100 is 1)."
    yield one("morphogen_efficiency_ratio", text, None if score is None else score / 100.0)
    parts = {} if look is None else look.efficiency.parts
    rows = tuple(((name,), value) for name, value in parts.items() if value is not None)
    text = "What the efficiency is made of, 0 to 1 each."
    yield Series(name="morphogen_efficiency_part_ratio", text=text, labels=("part",), rows=rows)
    yield one("morphogen_looks", "Looks of the network at itself.", None if look is None else float(observer.windows), "counter")
    took = None if look is None else look.took_s
    yield one("morphogen_look_last_seconds", "How long the newest look took, in its thread.", took)
