"""Decisions of the router in the ledger, with what came of them. Implements ``runtime.learner.records.DecisionBook``.

Built by daemon.py. Writes are queued behind the outcomes that they belong to; nobody waits for them.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Final

import aiosqlite
import orjson

from runtime.learner.records import DecisionRow
from runtime.ledger.batch import WritingConnection, look_away
from runtime.ledger.records import LedgerUnavailable
from runtime.ledger.rows import request_id_of
from runtime.ledger.store import Ledger

MAX_REASON_CHARS: Final = 1_000
MAX_ROWS: Final = 50_000
_COLUMNS: Final = tuple(each.name for each in fields(DecisionRow))
_INSERT: Final = f"INSERT OR IGNORE INTO decisions ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"
_HEARD: Final = """
UPDATE decisions SET score = (coalesce(score, 0.0) * weight + :score * :weight) / (weight + :weight),
    weight = min(1.0, weight + :weight), source = :source
WHERE decision_id = :id AND :weight > 0
"""


class DecisionLedger:
    """See ``DecisionBook``."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def write(self, row: DecisionRow) -> None:
        values = [getattr(row, name) for name in _COLUMNS]
        values[_COLUMNS.index("request_id")] = request_id_of(row.request_id)
        values[_COLUMNS.index("reason")] = row.reason[:MAX_REASON_CHARS]
        values[_COLUMNS.index("facts")] = orjson.dumps(row.facts).decode() if row.facts else None
        values[_COLUMNS.index("features")] = shown = orjson.dumps(row.features).decode() if row.features else None
        values[_COLUMNS.index("candidates")] = text = orjson.dumps(row.candidates).decode()

        def apply(connection: WritingConnection) -> None:
            connection.execute(_INSERT, values)

        self._ledger.act(apply, weight=800 + len(text) + len(shown or "")).add_done_callback(look_away)

    def heard(self, decision_id: str, *, score: float, weight: float, source: str) -> None:
        fields_ = {"id": decision_id, "score": score, "weight": weight, "source": source}

        def apply(connection: WritingConnection) -> None:
            connection.execute(_HEARD, fields_)

        self._ledger.act(apply).add_done_callback(look_away)

    async def of_request(self, request_id: str) -> list[dict[str, Any]]:
        return await self._rows(
            "SELECT * FROM decisions WHERE request_id = ? ORDER BY at LIMIT 200", (request_id_of(request_id),)
        )

    async def newest(self, *, since: float, limit: int) -> list[dict[str, Any]]:
        sql = "SELECT * FROM decisions WHERE at >= ? ORDER BY at DESC LIMIT ?"
        return await self._rows(sql, (since, max(1, min(limit, MAX_ROWS))))

    async def _rows(self, sql: str, given: tuple[Any, ...]) -> list[dict[str, Any]]:
        try:
            rows = [dict(row) for row in await self._ledger.reader.execute_fetchall(sql, given)]
        except (aiosqlite.Error, ValueError) as error:  # ValueError: the connection is closed
            raise LedgerUnavailable(f"the ledger cannot be read: {error}") from error
        for row in rows:
            row["candidates"] = orjson.loads(row["candidates"])
            row["facts"] = orjson.loads(row["facts"]) if row["facts"] else []
            row["features"] = orjson.loads(row["features"]) if row["features"] else {}
            row["simulated"] = bool(row["simulated"])
        return rows
