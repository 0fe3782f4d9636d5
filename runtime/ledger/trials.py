"""Router experiments in the ledger. Implements ``runtime.learner.trials.TrialBook``. Built by daemon.py's router."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import aiosqlite
import orjson

from agents.records import Json
from runtime.ledger.batch import WritingConnection
from runtime.ledger.records import LedgerUnavailable
from runtime.ledger.store import Ledger

_COLUMNS: Final = ("experiment_id", "stage", "plan", "changes", "state", "shadow", "ruling", "note", "updated_at")
_AS_JSON: Final = ("plan", "changes", "state", "shadow", "ruling")
_SAVE: Final = f"INSERT OR REPLACE INTO experiments ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"


class TrialLedger:
    """See ``TrialBook``."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def save(self, row: Mapping[str, Json]) -> None:
        values: list[Any] = [row[name] for name in _COLUMNS]
        for name in _AS_JSON:
            place = _COLUMNS.index(name)
            values[place] = None if row[name] is None else orjson.dumps(row[name]).decode()

        def apply(connection: WritingConnection) -> None:
            connection.execute(_SAVE, values)

        await self._ledger.act(apply, weight=4000)

    async def load(self, *, limit: int) -> list[dict[str, Json]]:
        sql = "SELECT * FROM experiments ORDER BY updated_at DESC LIMIT ?"
        try:
            rows = [dict(row) for row in await self._ledger.reader.execute_fetchall(sql, (limit,))]
        except (aiosqlite.Error, ValueError) as error:  # ValueError: the connection is closed
            raise LedgerUnavailable(f"the ledger cannot be read: {error}") from error
        for row in rows:
            for name in _AS_JSON:
                row[name] = None if row[name] is None else orjson.loads(row[name])
        return rows
