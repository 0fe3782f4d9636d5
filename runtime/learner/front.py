"""The router as the operator's surface asks for it: implements ``port.RoutingPort``. Built by build.py."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from agents.llm.chat import BackendSpec
from agents.records import Json
from runtime.learner.desk import Router
from runtime.learner.trials import as_row
from runtime.learner.views import SHOWN_ROWS, explained, shown
from runtime.ledger.records import LedgerUnavailable
from runtime.report import report


class Sums(Protocol):
    """``runtime.ledger.measures.MeasureLedger``."""

    async def sums(self, *, since: float, until: float) -> dict[str, Any]: ...


class RoutingFront:
    """``flush`` waits until what was just answered is written."""

    def __init__(
        self,
        router: Router,
        *,
        sums: Sums,
        backends: Callable[[], Sequence[BackendSpec]],
        flush: Callable[[], Awaitable[None]],
        wall: Callable[[], float],
    ) -> None:
        self._router, self._sums, self._backends, self._flush, self._wall = router, sums, backends, flush, wall

    async def routes(self) -> dict[str, Json]:
        await self._flushed()
        return await shown(self._router, now=self._wall())

    async def explained(self, request_id: str) -> list[dict[str, Json]]:
        await self._flushed()
        return explained(await self._router.book.of_request(request_id))

    async def experiments(self) -> list[dict[str, Json]]:
        return await self._router.trials.all()

    async def start_experiment(self, changes: Mapping[str, Json], terms: Mapping[str, Json]) -> dict[str, Json]:
        return as_row(await self._router.trials.start(changes, **terms))

    async def stop_experiment(self, experiment_id: str, why: str) -> dict[str, Json] | None:
        trial = await self._router.trials.stop(experiment_id, why)
        return None if trial is None else as_row(trial)

    async def report(self, *, since: float, until: float) -> dict[str, Json]:
        await self._flushed()
        sums = await self._sums.sums(since=since, until=until)
        decisions = await self._router.book.newest(since=since, limit=SHOWN_ROWS)
        return await asyncio.to_thread(report, sums, decisions, self._backends(), since=since, until=until)

    async def _flushed(self) -> None:
        """While the disk refuses, what is written already is shown all the same."""
        with contextlib.suppress(LedgerUnavailable):
            await self._flush()
