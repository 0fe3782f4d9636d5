"""Sums of a window for the report: what was asked, answered, judged, paid, and by which way. Reads only.

Called by runtime/report.py's shell through ``MeasureLedger``.
"""

from __future__ import annotations

from typing import Any, Final

import aiosqlite

from runtime.ledger.records import LedgerUnavailable
from runtime.ledger.store import Ledger

_OUTCOMES: Final = """
SELECT count(*) AS finished, coalesce(sum(status = 'ok'), 0) AS ok, coalesce(sum(status = 'partial'), 0) AS partial,
    coalesce(sum(status = 'cancelled'), 0) AS cancelled, coalesce(sum(status = 'error'), 0) AS errors,
    coalesce(sum(cost_usd), 0.0) AS cost_usd, coalesce(sum(simulated), 0) AS simulated
FROM outcomes WHERE at >= :since AND at < :until
"""
_QUALITY: Final = """
SELECT quality_source AS source, count(*) AS answers, avg(quality_score) AS score FROM outcomes
WHERE at >= :since AND at < :until AND quality_score IS NOT NULL GROUP BY quality_source
"""
_FEEDBACK: Final = """
SELECT count(*) AS given, avg(score) AS score, coalesce(sum(score >= 0.5), 0) AS good FROM feedback
WHERE at >= :since AND at < :until
"""
_WAYS: Final = """
SELECT coalesce(strategy, 'none') AS strategy, count(*) AS answers FROM outcomes
WHERE at >= :since AND at < :until AND status IN ('ok', 'partial') GROUP BY strategy
"""
_LATENCY: Final = """
SELECT latency_s FROM outcomes WHERE at >= :since AND at < :until AND status IN ('ok', 'partial')
ORDER BY at DESC LIMIT 100000
"""
_TOKENS: Final = """
SELECT backend, sum(prompt_tokens) AS prompt_tokens, sum(completion_tokens) AS completion_tokens, sum(cost_usd) AS cost_usd,
    sum(calls) AS calls, sum(errors) AS errors
FROM (
    SELECT backend, prompt_tokens, completion_tokens, cost_usd, 1 AS calls, error IS NOT NULL AS errors FROM calls
    WHERE started_at >= :since AND started_at < :until
    UNION ALL SELECT backend, prompt_tokens, completion_tokens, cost_usd, calls, errors FROM call_rests
    WHERE hour * 3600 >= :since AND hour * 3600 < :until
) GROUP BY backend
"""
_HIT: Final = """
SELECT count(*) AS hit, coalesce(sum(o.status IN ('ok', 'partial')), 0) AS answered FROM outcomes o
WHERE o.at >= :since AND o.at < :until AND EXISTS (SELECT 1 FROM calls c WHERE c.request_id = o.request_id AND c.error IS NOT NULL
    AND c.error <> 'cancelled')
"""
_COMMITTEES: Final = """
SELECT outcome, count(*) AS compared, sum(committee_usd) AS committee_usd, sum(other_usd) AS other_usd,
    sum(judge_usd) AS judge_usd, sum(committee_s) AS committee_s, sum(other_s) AS other_s, sum(simulated) AS simulated
FROM committee_comparisons WHERE at >= :since AND at < :until GROUP BY outcome
"""


class MeasureLedger:
    """The sums of ``since`` to ``until`` (Unix seconds)."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def sums(self, *, since: float, until: float) -> dict[str, Any]:
        """``outcomes``, ``feedback`` and ``hit`` are one row each, ``quality``, ``ways``, ``tokens`` and ``committees`` lists of
        rows, and ``latencies_s`` a list of numbers. Raises LedgerUnavailable."""
        window = {"since": since, "until": until}
        one = {"outcomes": _OUTCOMES, "feedback": _FEEDBACK, "hit": _HIT}
        many = {"quality": _QUALITY, "ways": _WAYS, "tokens": _TOKENS, "committees": _COMMITTEES}
        found: dict[str, Any] = {name: (await self._rows(sql, window))[0] for name, sql in one.items()}
        found |= {name: await self._rows(sql, window) for name, sql in many.items()}
        found["latencies_s"] = [row["latency_s"] for row in await self._rows(_LATENCY, window)]
        return found

    async def _rows(self, sql: str, given: dict[str, float]) -> list[dict[str, Any]]:
        try:
            return [dict(row) for row in await self._ledger.reader.execute_fetchall(sql, given)]
        except (aiosqlite.Error, ValueError) as error:  # ValueError: the connection is closed
            raise LedgerUnavailable(f"the ledger cannot be read: {error}") from error
