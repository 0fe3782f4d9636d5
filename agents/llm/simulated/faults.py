"""Faults on demand: what backends do when they misbehave, so that everything above can be tried against it. Pure.

Asked for by the header ``x-sim-fault``, by ``metadata.sim_fault``, by a model name such as ``generator!fault=hang``, or set for
the next calls by POST /sim/faults. Called by app.py.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace

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
MAX_TIMES = 100_000
MAX_ORDERS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault. ``after_chunks``: how much of a stream comes before it breaks; ``delay_s``: the gap of a slow drip."""

    name: str
    retry_after_s: float = 1.0
    after_chunks: int = 3
    delay_s: float = 0.5


@dataclass(slots=True)
class _Order:
    model: str | None
    fault: Fault
    left: int


class Faults:
    """Which fault the next call gets. One per server."""

    def __init__(self) -> None:
        self._orders: deque[_Order] = deque(maxlen=MAX_ORDERS)

    def order(self, model: str | None, fault: Fault | None, times: int) -> None:
        """For the next ``times`` calls of ``model`` (None: of any); ``fault`` None takes its orders (None: all) back.

        Raises ValueError for an unknown fault or an impossible number of times.
        """
        if fault is None:
            kept = [order for order in self._orders if model is not None and order.model != model]
            self._orders = deque(kept, maxlen=MAX_ORDERS)
            return
        checked(fault.name)
        if not 1 <= times <= MAX_TIMES:
            raise ValueError(f"times must be 1 to {MAX_TIMES}")
        self._orders.append(_Order(model, fault, times))

    def pending(self) -> list[dict[str, Json]]:
        """The orders that wait, oldest first."""
        return [{"model": order.model, "fault": order.fault.name, "times": order.left} for order in self._orders]

    def take(self, model: str, headers: Mapping[str, str], body: Mapping[str, Json]) -> tuple[str, Fault | None]:
        """(model without its suffix, fault or None) of one call. Raises ValueError for an unknown fault."""
        name, _, suffix = model.partition("!fault=")
        metadata = body.get("metadata")
        noted = metadata.get("sim_fault") if isinstance(metadata, Mapping) else None
        named = headers.get("x-sim-fault") or noted or suffix
        if named:
            return name, Fault(name=checked(str(named)))
        for order in list(self._orders):
            if order.model in (None, name):
                order.left -= 1
                if order.left <= 0:
                    self._orders.remove(order)
                return name, replace(order.fault)
        return name, None


def checked(name: str) -> str:
    """``name`` when it is a fault's. Raises ValueError."""
    if name not in FAULTS:
        raise ValueError(f"fault must be one of {', '.join(sorted(FAULTS))}, not {name[:40]!r}")
    return name
