"""What was measured of single requests, for the verification of a change. Implements ``runtime.controlling.ports.Samples``.

Called by runtime/controlling/probation.py with a cursor, so that each outcome is read once. Reads only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import aiosqlite

from runtime.ledger.records import LedgerUnavailable
from runtime.ledger.store import Ledger
from runtime.topology.records import Metric, Scope

_ANSWERED: Final = "status IN ('ok', 'partial')"
# What a caller did, or the daemon's own end, is nobody's failure.
_HEARD: Final = (
    "status <> 'cancelled' AND coalesce(error_code, '') NOT IN "
    "('cancelled', 'invalid_request', 'not_found', 'draining', 'budget_exceeded', 'rate_limited', 'interrupted')"
)
_VALUES: Final[Mapping[Metric, tuple[str, str]]] = {
    "cost_usd": ("cost_usd", _HEARD),
    "latency_s": ("latency_s", _ANSWERED),
    "quality": ("quality_score", f"{_ANSWERED} AND quality_score IS NOT NULL"),
    "failure": (f"NOT ({_ANSWERED})", _HEARD),
}


class LedgerSamples:
    """See ``Samples``. The cursor is the row's number in the order of writing."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def of(self, metric: Metric, scope: Scope, *, after: int, limit: int, since: float) -> tuple[Sequence[float], int]:
        if not after:
            # By the index on time; without it the first look would read the whole table.
            first = await self._rows("SELECT coalesce(min(rowid), 0) AS first FROM outcomes WHERE at >= ?", (since,))
            after = first[0]["first"] - 1
            if after < 0:
                return (), 0
        value, known = _VALUES[metric]
        names = scope.names if scope.kind == "nodes" else ()
        of = f" AND node IN ({', '.join('?' * len(names))})" if names else ""
        sql = f"""SELECT rowid AS place, {value} AS value FROM outcomes
            WHERE rowid > ? AND at - latency_s >= ? AND {known}{of} ORDER BY rowid LIMIT ?"""
        rows = await self._rows(sql, (after, since, *names, limit))
        return [float(row["value"]) for row in rows], rows[-1]["place"] if rows else after

    async def _rows(self, sql: str, fields: tuple[Any, ...]) -> list[dict[str, Any]]:
        try:
            return [dict(row) for row in await self._ledger.reader.execute_fetchall(sql, fields)]
        except (aiosqlite.Error, ValueError) as error:  # ValueError: the connection is closed
            raise LedgerUnavailable(f"the ledger cannot be read: {error}") from error
