"""The registry in the daemon: opened after readiness, kept tidy, and asked by the operator's routes.

Built and run by daemon.py. While it is not open every question is refused with the reason: requests of clients do not need it.
Must not import the ledger: the journal and the evidence come as the registry's ports.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from registry.artifacts import Registry
from registry.catalog import SPECS, USAGE
from registry.checking import Checker
from registry.embedding import Embedder
from registry.evidence import Evidence
from registry.journal import Journal
from registry.records import STATES, RegistryError, RegistryTooNew, RegistryUnavailable
from registry.search import Search
from registry.tables import Tables
from registry.upkeep import BREAKTHROUGH, fold, learn, optimize
from runtime.config.registry import RegistrySettings

log = logging.getLogger(__name__)

REOPEN_S = 30.0
"""A place that cannot be used now is tried again after so long."""
EMBED_AT_ONCE = 256
REGISTRY_GAUGES: Mapping[str, str] = {
    "open": "1 while the registry is open.",
    "bytes": "What its tables take, as of the last upkeep.",
    "behind_rows": "Rows that are in the ledger and not yet in the tables.",
    "breakthroughs": "Versions that beat all they were made of by much, by executions.",
}


class RegistryDesk:
    """``run`` opens it and goes on until cancelled; then ``close``. ``checker`` None: no code can be published."""

    def __init__(
        self,
        settings: RegistrySettings,
        folder: Path,
        journal: Journal,
        evidence: Evidence,
        *,
        embedder: Embedder | None,
        checker: Checker | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.evidence = evidence
        self._settings, self._folder, self._journal = settings, folder, journal
        self._embedder, self._checker, self._clock = embedder, checker, clock
        self._trouble = "the registry is opening" if settings.enabled else "the registry is off (registry.enabled)"
        self._tables: Tables | None = None
        self._registry: Registry | None = None
        self._search: Search | None = None
        self._bytes = 0
        self.settled = asyncio.Event()
        """Set once it is open, or will not open."""
        if not settings.enabled:
            self.settled.set()

    @property
    def registry(self) -> Registry:
        """Raises RegistryUnavailable while it is not open."""
        if self._registry is None:
            raise RegistryUnavailable(self._trouble)
        return self._registry

    @property
    def is_open(self) -> bool:
        return self._registry is not None

    @property
    def search(self) -> Search:
        """Raises RegistryUnavailable while it is not open."""
        if self._search is None:
            raise RegistryUnavailable(self._trouble)
        return self._search

    @property
    def tables(self) -> Tables:
        """The one Tables of this daemon. Raises RegistryUnavailable while it is not open."""
        if self._tables is None:
            raise RegistryUnavailable(self._trouble)
        return self._tables

    def status(self) -> str:
        """``ok``, ``off``, or what is wrong."""
        if not self._settings.enabled:
            return "off"
        if self._registry is None:
            return self._trouble
        behind = len(self._registry.writer.behind)
        return f"{behind} rows are in the ledger and not yet in the tables" if behind else "ok"

    def gauges(self) -> tuple[Mapping[str, int], Mapping[str, float]]:
        """Versions by state, and what else is measured, for metrics."""
        if self._registry is None or self._tables is None:
            return {}, {"open": 0.0}
        states: dict[str, int] = dict.fromkeys(STATES, 0)
        found = {"open": 1.0, "bytes": float(self._bytes), "behind_rows": float(len(self._registry.writer.behind))}
        found["breakthroughs"] = 0.0
        for standing in self._registry.catalog.standings.values():
            states[standing.state] += 1
            found["breakthroughs"] += BREAKTHROUGH in standing.tags
        return states, found

    async def run(self) -> None:
        """Open, then fold, learn, embed and optimize at their times. Until cancelled."""
        if not self._settings.enabled or not await self._opened():
            return
        last_optimized = self._clock()
        while True:
            await self._upkeep(self._fold)
            if self._clock() - last_optimized >= self._settings.optimize_every_s:
                await self._upkeep(self._optimize)
                last_optimized = self._clock()
            await asyncio.sleep(min(self._settings.fold_every_s, self._settings.optimize_every_s))

    async def close(self) -> None:
        """Write what waits and let go of the files. Idempotent."""
        registry, tables = self._registry, self._tables
        self._registry = self._search = self._tables = None
        self._trouble = "the registry is closed"
        self.settled.set()
        if registry is not None:
            await registry.close()
        if tables is not None:
            tables.close()

    async def _opened(self) -> bool:
        while True:
            try:
                await self._open()
                return True
            except RegistryTooNew as error:
                self._trouble = str(error)
                self.settled.set()
                log.error("the registry stays closed: %s", error)
                return False
            except RegistryError as error:
                self._trouble = str(error)
                log.error("the registry cannot be opened, trying again in %g s: %s", REOPEN_S, error)
                await asyncio.sleep(REOPEN_S)

    async def _open(self) -> None:
        options = {name: value.get_secret_value() for name, value in self._settings.storage_options.items()}
        uri = self._settings.uri or str(self._folder)
        if "://" not in uri:
            uri = await asyncio.to_thread(lambda: str(Path(uri).expanduser()))
        tables = await Tables.open(uri, [*SPECS, USAGE], storage_options=options, clock=self._clock)
        try:
            registry = await Registry.open(tables, self._journal, self.evidence, checker=self._checker, clock=self._clock)
            search = Search(registry, self._embedder)
            await search.open()
            self._bytes = await tables.size_bytes()
        except BaseException:
            tables.close()
            raise
        for table, place in tables.damaged.items():
            log.error(
                "the registry's table %s was damaged: it was set aside as %s and filled again from the ledger", table, place
            )
        self._tables, self._registry, self._search = tables, registry, search
        self.settled.set()

    async def _upkeep(self, chore: Callable[[Registry, Search], Awaitable[None]]) -> None:
        try:
            await chore(self.registry, self.search)
        except RegistryError as error:
            log.error("the registry's upkeep failed, and is tried again: %s", error)

    async def _fold(self, registry: Registry, search: Search) -> None:
        if registry.writer.behind:
            await registry.writer.catch_up()
        await search.refresh(embed=EMBED_AT_ONCE)
        changed = await fold(registry)
        if changed:
            await learn(registry, changed)
            await search.refresh(embed=0)

    async def _optimize(self, registry: Registry, search: Search) -> None:
        await optimize(registry, retention_s=self._settings.retention_days * 86_400)
        self._bytes = await registry.tables.size_bytes()
