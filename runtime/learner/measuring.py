"""The measures of the report as metrics: looked at now and then over the last hour, shown at every scrape.

Run by daemon.py beside the requests. The window moves with the clock, so that an alert sees what holds now; `morphogen report
--window` shows any other.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Protocol

from agents.records import Json
from runtime.ledger.records import LedgerError
from runtime.present import Series, one

log = logging.getLogger(__name__)

WINDOW_S: Final = 3600.0
EVERY_S: Final = 300.0
RATIOS: Final[Mapping[str, tuple[str, ...]]] = {
    "quality": ("quality", "score"),
    "satisfaction": ("satisfaction", "score"),
    "saved": ("cost", "saved_share"),
    "by_library": ("ways", "shares", "library"),
    "by_single": ("ways", "shares", "single"),
    "by_committee": ("ways", "shares", "committee"),
    "by_full_path": ("ways", "shares", "full"),
    "rules_fidelity": ("simplicity", "fidelity"),
    "resilience": ("resilience", "share"),
}
NUMBERS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "decision_paths": ("Ways that choices took (simplicity: the fewer the better).", ("simplicity", "paths")),
    "rules": ("Rules that say the same as the policy in force.", ("simplicity", "rules")),
    "drifts": ("Favourites that turned bad.", ("adaptability", "drifts")),
    "drifts_open": ("Of them those that traffic has not left.", ("adaptability", "open")),
    "requests_to_recover": ("Requests until traffic left a favourite that turned bad.", ("adaptability", "requests_to_recover")),
}


class Reports(Protocol):
    """``runtime.learner.front.RoutingFront``."""

    async def report(self, *, since: float, until: float) -> dict[str, Json]: ...


class Measuring:
    """``wall`` gives Unix seconds."""

    def __init__(self, reports: Reports, *, wall: Callable[[], float]) -> None:
        self._reports, self._wall = reports, wall
        self._last: Mapping[str, Json] = {}

    async def look(self) -> None:
        """Raises LedgerError."""
        now = self._wall()
        self._last = await self._reports.report(since=now - WINDOW_S, until=now)

    async def run(self) -> None:
        """Until cancelled. While the ledger cannot be read, the last measures stay."""
        while True:
            try:
                await self.look()
            except LedgerError as error:
                log.error("the measures are looked at again: %s", error)
            await asyncio.sleep(EVERY_S)

    def series(self) -> Iterator[Series]:
        """For /metrics; what is not known has no row."""
        known = {name: _at(self._last, path) for name, path in RATIOS.items()}
        yield Series(
            name="morphogen_measured_ratio",
            text="The report's measures of the last hour: by_... are shares of the answers, saved is of always the dearest.",
            labels=("measure",),
            rows=tuple(((name,), value) for name, value in known.items() if value is not None),
        )
        for name, (text, path) in NUMBERS.items():
            yield one(f"morphogen_measured_{name}", f"{text[:-1]}, in the last hour.", _at(self._last, path))


def _at(report: Mapping[str, Json], path: tuple[str, ...]) -> float | None:
    found: Any = report
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return None if found is None else float(found)
