"""Faults on demand: what backends do when they misbehave, so that everything above can be tried against it.

Asked for by the header ``x-sim-fault``, by ``metadata.sim_fault``, by a model name ``generator!fault=hang``, or set for the next
calls by POST /sim/faults. Called by app.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from agents.records import Json

FAULTS = frozenset(
    {
        "429",
        "500",
        "hang",
        "drip",
        "broken_stream",
        "truncated_json",
        "invalid_json",
        "wrong_schema",
        "html",
        "wrong_length",
        "error_in_stream",
    }
)
HANG_S = 600.0
DRIP_S = 0.5
BROKEN_AFTER_CHUNKS = 3
MAX_TIMES = 100_000


@dataclass(slots=True)
class _Order:
    model: str | None
    fault: str
    left: int


class Faults:
    """Which fault the next call gets. Not shared between processes."""

    def __init__(self) -> None:
        self._orders: list[_Order] = []

    def set(self, model: str | None, fault: str | None, times: int) -> None:
        """For the next ``times`` calls of ``model`` (None: of any); ``fault`` None takes all orders back. Raises ValueError."""
        if fault is None:
            self._orders = [order for order in self._orders if model is not None and order.model != model]
            return
        if fault not in FAULTS or not 1 <= times <= MAX_TIMES:
            raise ValueError(f"fault must be one of {', '.join(sorted(FAULTS))}, times 1 to {MAX_TIMES}")
        self._orders = [*self._orders[-99:], _Order(model, fault, times)]

    def take(self, model: str, headers: Mapping[str, str], body: Mapping[str, Json]) -> tuple[str, str | None]:
        """(model without its suffix, fault or None) of one call."""
        name, _, suffix = model.partition("!fault=")
        metadata = body.get("metadata")
        named = headers.get("x-sim-fault") or (metadata.get("sim_fault") if isinstance(metadata, dict) else None) or suffix
        if named:
            return name, str(named) if str(named) in FAULTS else None
        for order in self._orders:
            if order.left > 0 and order.model in (None, name):
                order.left -= 1
                return name, order.fault
        return name, None
