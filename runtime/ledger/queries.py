"""What can be asked of the ledger: the newest requests, one trace, sums. Reads only.

Called by store.py with its reading connection, so that a read never waits for a write. Rows come back as JSON-able dicts.
"""

from __future__ import annotations

import sqlite3
from typing import Any

import aiosqlite
import orjson

from agents.records import Json
from runtime.ledger.rows import request_id_of

MAX_ROWS = 1000

_LIST = """
SELECT r.request_id AS id, r.at, r.source, r.target_kind, r.target_name, o.strategy, o.node,
    COALESCE(o.backend, r.backend) AS backend, COALESCE(o.status, j.state, 'running') AS status, o.latency_s, o.overhead_s,
    COALESCE(o.cost_usd, 0.0) AS cost_usd, COALESCE(o.prompt_tokens + o.completion_tokens, 0) AS tokens,
    COALESCE(o.simulated, 0) AS simulated, o.error_code AS error, o.attempts, r.key_id, o.quality_score AS quality
FROM requests r LEFT JOIN outcomes o ON o.request_id = r.request_id LEFT JOIN jobs j ON j.request_id = r.request_id
WHERE :before IS NULL OR r.seq < (SELECT seq FROM requests WHERE request_id = :before)
ORDER BY r.seq DESC LIMIT :limit
"""

_FINISHED = """
SELECT count(*) AS finished, COALESCE(sum(status NOT IN ('ok', 'partial', 'cancelled')), 0) AS errors,
    COALESCE(sum(simulated), 0) AS simulated, COALESCE(sum(cost_usd), 0.0) AS cost_usd,
    COALESCE(sum(prompt_tokens), 0) AS prompt_tokens, COALESCE(sum(completion_tokens), 0) AS completion_tokens
FROM outcomes WHERE at >= ?
"""

_BY_BACKEND = """
SELECT backend, sum(calls) AS calls, sum(errors) AS errors, sum(prompt_tokens) AS prompt_tokens,
    sum(completion_tokens) AS completion_tokens, sum(cost_usd) AS cost_usd, max(estimated) AS estimated,
    max(simulated) AS simulated
FROM (
    SELECT backend, 1 AS calls, error IS NOT NULL AS errors, prompt_tokens, completion_tokens, cost_usd, estimated, simulated
    FROM calls WHERE started_at >= :since
    UNION ALL SELECT backend, calls, errors, prompt_tokens, completion_tokens, cost_usd, estimated, simulated
    FROM call_rests WHERE hour >= CAST(:since / 3600 AS INTEGER)
) GROUP BY backend ORDER BY backend
"""


async def newest(reader: aiosqlite.Connection, *, limit: int, before: str | None) -> list[dict[str, Json]]:
    """At most ``limit`` (1 … MAX_ROWS) requests, newest first; ``before`` is a request id, an unknown one finds nothing."""
    fields = {"limit": max(1, min(MAX_ROWS, limit)), "before": None if before is None else request_id_of(before)}
    rows = [dict(row) for row in await reader.execute_fetchall(_LIST, fields)]
    for row in rows:
        row["target"] = _target(row.pop("target_kind"), row.pop("target_name"))
        row["simulated"] = bool(row["simulated"])
    return rows


def _target(kind: str, name: str | None) -> str:
    if kind == "auto" or name is None:
        return kind
    return name if kind == "backend" else f"{kind}/{name}"


async def trace(reader: aiosqlite.Connection, request_id: str) -> dict[str, Json] | None:
    """``{"id", "status", "request", "outcome", "calls", "events"}``; None where the id is unknown."""
    key = (request_id_of(request_id),)
    request = await _one(reader, "SELECT * FROM requests WHERE request_id = ?", key)
    outcome = await _one(reader, "SELECT * FROM outcomes WHERE request_id = ?", key)
    if request is None and outcome is None:
        return None
    calls = await reader.execute_fetchall("SELECT * FROM calls WHERE request_id = ? ORDER BY ordinal", key)
    events = await reader.execute_fetchall("SELECT * FROM events WHERE request_id = ? ORDER BY ordinal", key)
    return {
        "id": request_id,
        "status": outcome["status"] if outcome else "running",
        "request": _shown_request(request) if request else None,
        "outcome": _shown_outcome(outcome) if outcome else None,
        "calls": [_flags(_without_id(row), "estimated", "simulated", "streamed") for row in calls],
        "events": [{**_without_id(row), "data": _parsed(row["data"])} for row in events],
    }


def _shown_request(row: dict[str, Any]) -> dict[str, Json]:
    row.pop("seq")
    shown = _flags(row, "streamed")
    shown["target"] = _target(shown.pop("target_kind"), shown.pop("target_name"))
    return shown


def _shown_outcome(row: dict[str, Any]) -> dict[str, Json]:
    shown = _flags(row, "estimated", "simulated")
    shown["quality_checks"] = _parsed(shown["quality_checks"])
    return shown


def _without_id(row: sqlite3.Row) -> dict[str, Any]:
    return {name: row[name] for name in row.keys() if name != "request_id"}  # noqa: SIM118 - a Row iterates over its values


def _flags(row: dict[str, Any], *names: str) -> dict[str, Json]:
    for name in names:
        row[name] = bool(row[name])
    if "body" in row:
        row["body"] = _parsed(row["body"])
    return row


def _parsed(text: str | None) -> Json:
    return None if text is None else orjson.loads(text)


async def _one(reader: aiosqlite.Connection, sql: str, key: tuple[str]) -> dict[str, Any] | None:
    rows = list(await reader.execute_fetchall(sql, key))
    return dict(rows[0]) if rows else None


async def totals(reader: aiosqlite.Connection, *, since: float) -> dict[str, Json]:
    """Sums from Unix time ``since`` on: ``requests`` that came, what ``finished``, ``errors``, ``cost_usd``, ``tokens``,
    and ``backends``: a row of sums by backend name (of a request's calls beyond its first thousand by the whole hour)."""
    arrived = list(await reader.execute_fetchall("SELECT count(*) AS requests FROM requests WHERE at >= ?", (since,)))
    finished = list(await reader.execute_fetchall(_FINISHED, (since,)))
    backends: dict[str, Json] = {}
    for row in await reader.execute_fetchall(_BY_BACKEND, {"since": since}):
        sums = _flags(dict(row), "estimated", "simulated")
        sums["tokens"] = sums["prompt_tokens"] + sums["completion_tokens"]
        backends[sums.pop("backend")] = sums
    result: dict[str, Json] = {"since": since, **dict(arrived[0]), **dict(finished[0])}
    result["tokens"] = result["prompt_tokens"] + result["completion_tokens"]
    return {**result, "backends": backends}
