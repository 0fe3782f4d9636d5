"""What the operator's surface sees of the router; ``front.py`` is it. Imports the words of JSON alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from agents.records import Json


class RoutingPort(Protocol):
    """All of it JSON-able. Raises LedgerError where the ledger cannot be read or written."""

    async def routes(self) -> dict[str, Json]:
        """How the router stands (views.py)."""
        ...

    async def explained(self, request_id: str) -> list[dict[str, Json]]:
        """The router's decisions for a request; empty where there are none."""
        ...

    async def experiments(self) -> list[dict[str, Json]]:
        """The newest first."""
        ...

    async def start_experiment(self, changes: Mapping[str, Json], terms: Mapping[str, Json]) -> dict[str, Json]:
        """Try other router settings. Raises RoutingError naming the field, ExperimentBusy."""
        ...

    async def stop_experiment(self, experiment_id: str, why: str) -> dict[str, Json] | None:
        """None: there is no such experiment. Raises ExperimentBusy where it is over."""
        ...

    async def report(self, *, since: float, until: float) -> dict[str, Json]:
        """The measures of a window (runtime/report.py)."""
        ...
