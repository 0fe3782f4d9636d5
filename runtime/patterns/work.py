"""Patterns of one daemon, put together: the desk, names from a model, and the specialists that are made for them.

Built and run by daemon.py.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

from agents.llm.chat import BackendSpec
from agents.records import AgentError, Draft
from registry.embedding import Embedder
from registry.records import RegistryError
from runtime.clock import Clock
from runtime.cluster import Cluster
from runtime.config.settings import Settings
from runtime.controlling.controller import Controller
from runtime.ledger.observing import ObservingLedger
from runtime.ledger.patterns import PatternLedger
from runtime.ledger.records import LedgerError
from runtime.ledger.registry import spent_since
from runtime.ledger.store import Ledger
from runtime.metrics import Metrics
from runtime.open_request import OpenRequest, SeenBefore
from runtime.patterns.desk import PatternDesk
from runtime.patterns.naming import BY_WORDS, MAX_EXAMPLES, NAME_SCHEMA, name_of, question
from runtime.programs.asks import Asks, Bounds, Runs
from runtime.programs.registry_desk import RegistryDesk
from runtime.specialists.desk import Claiming, SpecialistDesk
from runtime.topology.pattern_records import Pattern
from sandbox.runner import Sandbox

log = logging.getLogger(__name__)

NAME_EVERY_S: Final = 5.0
TRIES: Final = 2
"""So often a model is asked for the name of one pattern; then it keeps the name made of words."""
MAX_TRIED: Final = 10_000


class PatternWork:
    """``desk`` is there at once, and works while it is ``working``."""

    def __init__(self, settings: Settings, ledger: Ledger, embedder: Embedder | None, metrics: Metrics, clock: Clock) -> None:
        self._settings, self._ledger, self._clock = settings.patterns, ledger, clock
        self.desk = PatternDesk(
            settings.patterns,
            embedder=embedder,
            book=PatternLedger(ledger),
            keeps_bodies=settings.data.store_bodies,
            wall=clock.wall,
        )
        self._tried: Counter[str] = Counter()
        self._reviews = settings.registry.review
        self._runs_code = settings.sandbox.enabled and settings.registry.enabled
        self._specialists: SpecialistDesk | None = None
        metrics.present.patterns = self.desk.gauges

    def after(self, seen_before: SeenBefore) -> SeenBefore:
        """``seen_before``, with each request labelled when its words have been looked up, and perhaps embedded for that."""

        async def labelled(run: OpenRequest) -> Draft | None:
            draft = await seen_before(run)
            if draft is None and self._specialists is not None and self._specialists.open_to(run.request):
                await self.desk.embed(run)
            self.desk.arrived(run)
            return draft

        return labelled

    @asynccontextmanager
    async def working(
        self,
        runs: Runs,
        cluster: Cluster,
        backends: Callable[[], Sequence[BackendSpec]],
        controller: Controller,
        *,
        registry: RegistryDesk,
        sandbox: Sandbox,
    ) -> AsyncIterator[None]:
        """``runs`` asks models for names of patterns and routines of the specialists that ``controller`` keeps."""
        named, written = (
            Asks(
                runs=runs,
                cluster=cluster,
                bounds=bounds,
                backends=backends,
                spent_since=lambda since: spent_since(self._ledger, "patterns", since),
                remember=controller.remember,
                source="patterns",
                clock=self._clock.wall,
            )
            for bounds in (self._name_bounds, self._routine_bounds)
        )
        specialists = SpecialistDesk(
            patterns=self.desk,
            registry=registry,
            sandbox=sandbox,
            topology=lambda: controller.topology,
            backends=backends,
            asks=written,
            reviews=self._reviews,
            claims=self._claiming(controller),
            clock=self._clock.steady,
            wall=self._clock.wall,
        )
        chores = [self.desk.run(), self._name(named, backends)]
        if self._runs_code and self._settings.enabled:
            self._specialists, controller.probation.begins = specialists, specialists.begins
            chores.append(specialists.run())
        tasks = [asyncio.create_task(each, name="patterns") for each in chores]
        for task in tasks:
            task.add_done_callback(_ended)
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._specialists = None
            await specialists.close()
            await self.desk.close()

    def _claiming(self, controller: Controller) -> Claiming:
        ledger = ObservingLedger(self._ledger)

        def note(request_id: str, node: str, held: bool) -> None:
            ledger.claim(request_id, node, at=self._clock.wall(), held=held)

        return Claiming(
            share=lambda: self._settings.holdout_share,
            kept=lambda origin: origin not in controller.tools.state.cases,
            note=note,
        )

    async def specialist(self, run: OpenRequest) -> None:
        """Ask the routine of the request's pattern, where a specialist is there for it; see SpecialistDesk.choose."""
        if self._specialists is not None:
            await self._specialists.choose(run)

    def _routine_bounds(self) -> Bounds:
        return Bounds(
            per_hour=self._settings.routines_per_hour,
            usd_per_day=self._settings.routines_usd_per_day,
            per_hour_name="patterns.routines_per_hour",
            usd_name="patterns.routines_usd_per_day",
        )

    def _name_bounds(self) -> Bounds:
        return Bounds(
            per_hour=self._settings.names_per_hour,
            usd_per_day=self._settings.names_usd_per_day,
            per_hour_name="patterns.names_per_hour",
            usd_name="patterns.names_usd_per_day",
        )

    async def _name(self, asks: Asks, backends: Callable[[], Sequence[BackendSpec]]) -> None:
        """Ask for names of patterns that have none but their words, the largest first, one at a time."""
        while self._settings.enabled and self._settings.names_per_hour:
            await asyncio.sleep(NAME_EVERY_S)
            able = asks.able("critique")
            # A pretender's name says nothing, and one made of words does.
            if able is None or any(spec.name == able and spec.simulated for spec in backends()):
                continue
            try:
                await self.name_one(asks)
            except (RegistryError, LedgerError, AgentError) as error:
                log.error("names of patterns are put off: %s", error)

    async def name_one(self, asks: Asks) -> Pattern | None:
        """Ask for the name of the largest pattern that no model has named; None where none was named."""
        found = self.desk.found
        open_ = [each for each in self.desk.all() if each.state == "found" and each.named_by == BY_WORDS]
        pattern = next((each for each in open_ if self._tried[each.pattern_id] < TRIES), None)
        if found is None or pattern is None:
            return None
        own = [each.text for each in found.examples(pattern.pattern_id, MAX_EXAMPLES)]
        others = [each.text for each in found.others(pattern.pattern_id, MAX_EXAMPLES)]
        said = await asks.ask(question(own, others), node=None, need="critique", schema=NAME_SCHEMA)
        if said is None:
            return None
        if len(self._tried) > MAX_TRIED:
            self._tried.clear()
        self._tried[pattern.pattern_id] += 1
        name = name_of(said.data, [each.name for each in self.desk.all() if each.pattern_id != pattern.pattern_id])
        if name is None or int(pattern.pattern_id[1:]) not in found.known:
            log.info("the name that a model gave to %s cannot be used", pattern.pattern_id)
            return None
        found.rename(pattern.pattern_id, name, "model (simulated)" if said.simulated else "model")
        return found.get(pattern.pattern_id)


def _ended(task: asyncio.Task[None]) -> None:
    """A chore ends only with the daemon; one that failed is told, and requests go on without it."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("patterns stay as they are until the next start", exc_info=error)
