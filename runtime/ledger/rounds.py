"""Attempts to write better routers, in the ledger. Implements ``runtime.routers.records.RoundBook``. Built by
routers/build.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import aiosqlite
import orjson

from runtime.ledger.batch import WritingConnection
from runtime.ledger.records import LedgerUnavailable
from runtime.ledger.store import Ledger
from runtime.routers.records import STAGES, Round

MAX_NOTE_CHARS: Final = 1_000
MAX_KEPT: Final = 2_000
_COLUMNS: Final = ("round_id", "at", "stage", "version", "parent", "prompt", "note", "data", "updated_at")
_SAVE: Final = f"INSERT OR REPLACE INTO router_rounds ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"
_FORGET: Final = "DELETE FROM router_rounds WHERE round_id NOT IN (SELECT round_id FROM router_rounds ORDER BY at DESC LIMIT ?)"


class RoundLedger:
    """See ``RoundBook``. Of old rounds MAX_KEPT are kept."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def save(self, each: Round) -> None:
        values: list[Any] = [getattr(each, name) for name in _COLUMNS]
        values[_COLUMNS.index("note")] = each.note[:MAX_NOTE_CHARS]
        values[_COLUMNS.index("data")] = data = orjson.dumps(dict(each.data)).decode()

        def apply(connection: WritingConnection) -> None:
            connection.execute(_SAVE, values)
            connection.execute(_FORGET, (MAX_KEPT,))

        await self._ledger.act(apply, weight=1000 + len(data))

    async def load(self, *, limit: int) -> Sequence[Round]:
        sql = "SELECT * FROM router_rounds ORDER BY at DESC LIMIT ?"
        try:
            rows = [dict(row) for row in await self._ledger.reader.execute_fetchall(sql, (limit,))]
        except (aiosqlite.Error, ValueError) as error:  # ValueError: the connection is closed
            raise LedgerUnavailable(f"the ledger cannot be read: {error}") from error
        return [Round(**{**row, "data": orjson.loads(row["data"])}) for row in rows if row["stage"] in STAGES]
