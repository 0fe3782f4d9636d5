"""Replies kept by idempotency key, so that a repeated POST gets the first one's answer, also after a restart.

Called by the API through ``ReplyLedger`` and by jobs.py (an accepted job and its 202 are one transaction). Bounded in age, number
and bytes; the oldest go first.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable

import orjson

from runtime.jobs.records import Caller, StoredReply
from runtime.ledger.batch import WritingConnection
from runtime.ledger.store import Ledger

KEPT_S = 24 * 3600.0
MAX_REPLIES = 100_000
MAX_BYTES = 256 * 2**20
MAX_SHARE = 8
"""Kept replies take at most an eighth of the ledger: requests are forgotten by size, and nothing that stays may push them out."""
_TIDY_EVERY = 256


def insert(connection: sqlite3.Connection, caller: Caller, reply: StoredReply) -> None:
    """Inside the caller's transaction."""
    headers = orjson.dumps(dict(reply.headers)).decode()
    fields = (caller.key_id or "", caller.key, reply.digest, reply.at, reply.request_id, reply.status, headers, reply.body)
    connection.execute("INSERT OR REPLACE INTO replies VALUES (?, ?, ?, ?, ?, ?, ?, ?)", fields)


class ReplyLedger:
    """Implements ``runtime.jobs.records.Replies``."""

    def __init__(self, ledger: Ledger, *, clock: Callable[[], float] = time.time) -> None:
        self._ledger = ledger
        self._clock = clock
        self._kept = 0
        self._max_bytes = min(MAX_BYTES, ledger.max_bytes // MAX_SHARE)

    async def find(self, caller: Caller) -> StoredReply | None:
        """The kept reply; None where there is none, or it is too old."""
        sql = "SELECT * FROM replies WHERE key_id = ? AND key = ? AND at >= ?"
        fields = (caller.key_id or "", caller.key, self._clock() - KEPT_S)
        rows = list(await self._ledger.reader.execute_fetchall(sql, fields))
        if not rows:
            return None
        row = rows[0]
        return StoredReply(
            digest=bytes(row["digest"]),
            at=row["at"],
            request_id=row["request_id"],
            status=row["status"],
            headers=orjson.loads(row["headers"]),
            body=None if row["body"] is None else bytes(row["body"]),
        )

    async def keep(self, caller: Caller, reply: StoredReply) -> None:
        self._kept += 1
        tidy = self._kept % _TIDY_EVERY == 1
        before = self._clock() - KEPT_S

        def apply(connection: WritingConnection) -> None:
            insert(connection, caller, reply)
            if tidy:
                _tidy(connection, before, self._max_bytes)

        await self._ledger.act(apply, weight=400 + len(reply.body or b""))

    async def tidy(self) -> None:
        """Forget what is too old or too much."""
        before = self._clock() - KEPT_S
        await self._ledger.act(lambda connection: _tidy(connection, before, self._max_bytes))


def _tidy(connection: sqlite3.Connection, before: float, max_bytes: int) -> None:
    connection.execute("DELETE FROM replies WHERE at < ?", (before,))
    connection.execute(_TOO_MANY, {"rows": MAX_REPLIES, "bytes": max_bytes})


_TOO_MANY = """
DELETE FROM replies WHERE rowid IN (
    SELECT rowid FROM (
        SELECT rowid, row_number() OVER newest AS place, sum(length(body)) OVER newest AS bytes
        FROM replies WINDOW newest AS (ORDER BY at DESC, rowid DESC)
    ) WHERE place > :rows OR bytes > :bytes
)
"""
