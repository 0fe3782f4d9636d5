"""What was spent, by day (UTC) and key: kept for good, so that a budget of a day survives a restart, kill -9 included.

Rows are added to in the very transaction that writes the calls they are the sum of (batch.py), so that the two cannot differ.
Whoever writes calls by another way puts ``spend_row`` of them into the same transaction with SPEND_SQL.
"""

from __future__ import annotations

from collections.abc import Iterable

from agents.calls import CallRecord
from runtime.accounts import MAX_PICO, Amount, amount_of
from runtime.ledger.rows import Row, request_id_of

DAY_S = 86_400
KEPT_DAYS = 400

_ADD = f"""
ON CONFLICT (day, key_id) DO UPDATE SET
    usd_pico = min({MAX_PICO}, usd_pico + excluded.usd_pico), tokens = min({MAX_PICO}, tokens + excluded.tokens)
"""
SPEND_SQL = f"""
INSERT INTO spend (day, key_id, usd_pico, tokens)
VALUES (?1, coalesce((SELECT key_id FROM requests WHERE request_id = ?2), ''), ?3, ?4) {_ADD}
"""
"""Parameters: ``spend_row``. The request's own row must be written before."""
CHARGE_SQL = f"INSERT INTO spend (day, key_id, usd_pico, tokens) VALUES (?, ?, ?, ?) {_ADD}"
CHARGE_INTERRUPTED_SQL = f"""
INSERT INTO spend (day, key_id, usd_pico, tokens)
SELECT CAST(r.at / {DAY_S} AS INTEGER), coalesce(r.key_id, ''), sum(r.reserved_usd_pico), sum(r.reserved_tokens)
FROM requests r
WHERE r.reserved_tokens IS NOT NULL AND NOT EXISTS (SELECT 1 FROM outcomes o WHERE o.request_id = r.request_id)
    AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.request_id = r.request_id AND j.state <> 'running')
GROUP BY 1, 2 {_ADD}
"""
"""Requests that ran when the daemon was killed: what their calls took by then and what the running ones may take counts as spent.

A job is charged at each such restart, for the parts that were under way; its earlier ones were written with their calls.
"""
FORESEE_SQL = "UPDATE requests SET reserved_usd_pico = ?, reserved_tokens = ? WHERE request_id = ?"
"""Parameters: ``foresee_row``."""
UNFORESEE_SQL = """
UPDATE requests SET reserved_usd_pico = NULL, reserved_tokens = NULL
WHERE request_id IN (SELECT request_id FROM jobs WHERE state IN ('queued', 'running'))
"""
"""After an orderly stop all calls of jobs are written, and nothing is left to be guessed."""
SPENT_SQL = "SELECT key_id, usd_pico, tokens FROM spend WHERE day = ? ORDER BY key_id"
FORGET_SQL = "DELETE FROM spend WHERE day < ?"


def spend_row(request_id: str, calls: Iterable[CallRecord], *, at: float) -> Row:
    """What ``calls`` took, for SPEND_SQL; ``at`` (Unix seconds) says on which day."""
    amount = amount_of(calls)
    return (int(at // DAY_S), request_id_of(request_id), min(amount.usd, MAX_PICO), min(amount.tokens, MAX_PICO))


def foresee_row(request_id: str, amount: Amount) -> Row:
    """For FORESEE_SQL: what is charged to a request should the daemon be killed."""
    return (min(amount.usd, MAX_PICO), min(amount.tokens, MAX_PICO), request_id_of(request_id))


def charge_row(key_id: str, amount: Amount, *, at: float) -> Row:
    """For CHARGE_SQL: ``amount`` was spent for ``key_id`` ("": no key)."""
    return (int(at // DAY_S), key_id, min(amount.usd, MAX_PICO), min(amount.tokens, MAX_PICO))
