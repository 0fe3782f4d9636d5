"""What was measured of single requests, for the verification of a change. Implements ``runtime.controlling.ports.Samples``.

Called by runtime/controlling/probation.py with a cursor, so that each outcome is read once. Reads only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import aiosqlite

from runtime.ledger.records import LedgerUnavailable
from runtime.ledger.store import Ledger
from runtime.topology.records import Metric, Scope

_ANSWERED: Final = "o.status IN ('ok', 'partial')"
# What a caller did, or the daemon's own end, is nobody's failure.
_HEARD: Final = (
    "o.status <> 'cancelled' AND coalesce(o.error_code, '') NOT IN "
    "('cancelled', 'invalid_request', 'not_found', 'draining', 'budget_exceeded', 'rate_limited', 'interrupted')"
)
# What a person said counts before what was heard of judges and checks later, and that before the checks at once.
_SCORE: Final = """coalesce((SELECT avg(f.score) FROM feedback f WHERE f.request_id = o.request_id),
    (SELECT avg(d.score) FROM decisions d WHERE d.request_id = o.request_id),
    CASE WHEN o.quality_source <> 'none' THEN o.quality_score END)"""
_VALUES: Final[Mapping[Metric, tuple[str, str]]] = {
    "cost_usd": ("o.cost_usd", _HEARD),
    "latency_s": ("o.latency_s", _ANSWERED),
    "quality": (_SCORE, _ANSWERED),
    "failure": (f"NOT ({_ANSWERED})", _HEARD),
}
PatternsOf = Callable[[Sequence[str]], Mapping[str, str]]
"""The pattern of each of some requests, where it has one."""


class LedgerSamples:
    """See ``Samples``. The cursor is the row's number in the order of writing. ``current`` says what a pattern is called now: one
    that was proposed for may have been merged into another since."""

    def __init__(
        self, ledger: Ledger, *, patterns_of: PatternsOf, current: Callable[[str], str | None] = lambda pattern: pattern
    ) -> None:
        self._ledger, self._patterns_of, self._current = ledger, patterns_of, current

    async def of(
        self, metric: Metric, scope: Scope, *, after: int, limit: int, since: float, until: float = math.inf
    ) -> tuple[Sequence[float], int]:
        if not after:
            # By the index on time; without it the first look would read the whole table.
            first = await self._rows("SELECT coalesce(min(rowid), 0) AS first FROM outcomes WHERE at >= ?", (since,))
            after = first[0]["first"] - 1
            if after < 0:
                return (), 0
        value, known = _VALUES[metric]
        names = scope.names if scope.kind == "nodes" else ()
        of = f" AND o.node IN ({', '.join('?' * len(names))})" if names else ""
        sql = f"""SELECT o.rowid AS place, o.request_id, {value} AS value FROM outcomes o
            WHERE o.rowid > ? AND o.at - o.latency_s >= ? AND o.at <= ? AND {known}{of} ORDER BY o.rowid LIMIT ?"""
        rows = await self._rows(sql, (after, since, until, *names, limit))
        last = rows[-1]["place"] if rows else after
        if scope.kind == "patterns":
            patterns = self._patterns_of([row["request_id"] for row in rows])
            meant = {self._current(name) or name for name in scope.names}
            rows = [row for row in rows if patterns.get(row["request_id"]) in meant]
        return [float(row["value"]) for row in rows if row["value"] is not None], last

    async def _rows(self, sql: str, fields: tuple[Any, ...]) -> list[dict[str, Any]]:
        try:
            return [dict(row) for row in await self._ledger.reader.execute_fetchall(sql, fields)]
        except (aiosqlite.Error, ValueError) as error:  # ValueError: the connection is closed
            raise LedgerUnavailable(f"the ledger cannot be read: {error}") from error
