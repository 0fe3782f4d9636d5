"""Questions to a person in the ledger. Implements ``runtime.escalations.Escalations``.

Built by daemon.py. A person's answer, the request's outcome and its job's reply change in one transaction.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import aiosqlite
import orjson

from agents.records import Escalated, Json
from runtime.escalations import Escalation, EscalationState, id_of
from runtime.ledger.batch import WritingConnection
from runtime.ledger.clipping import to_json
from runtime.ledger.store import Ledger

MAX_REASON_CHARS: Final = 2_000
MAX_PARTIAL_CHARS: Final = 4 * 2**20
_SHORT: Final = "escalation_id, request_id, state, at, reason, request, NULL AS partial, NULL AS answer, comment, ended_at"
_OUTCOME = """
UPDATE outcomes SET status = 'ok', error_code = NULL, error_param = NULL, error_message = NULL, node = NULL, strategy = 'person',
    backend = NULL, body = ?, quality_score = NULL, quality_source = NULL, quality_checks = NULL WHERE request_id = ?
"""


class EscalationLedger:
    """``open_count`` is how many wait now, for the metrics."""

    def __init__(self, ledger: Ledger, *, wall: Callable[[], float] = time.time) -> None:
        self._ledger = ledger
        self._wall = wall
        self.open_count = 0

    async def load(self) -> None:
        """Count what waits from before."""
        self.open_count = len(await self._rows("SELECT escalation_id FROM escalations WHERE state = 'open'", ()))

    async def open(self, request_id: str, request: str, error: Escalated) -> str:
        name, partial = id_of(request_id), _text(error.partial)
        fields = (name, request_id, self._wall(), error.message[:MAX_REASON_CHARS], request, partial)
        sql = "INSERT OR IGNORE INTO escalations VALUES (?, ?, 'open', ?, ?, ?, ?, NULL, '', NULL)"

        def apply(connection: WritingConnection) -> bool:
            return connection.execute(sql, fields).rowcount > 0

        self.open_count += await self._ledger.act(apply, weight=800 + len(request) + len(partial or ""))
        error.escalation_id = name
        return name

    async def list(self, *, state: EscalationState | None, limit: int) -> Sequence[Escalation]:
        sql = f"SELECT {_SHORT} FROM escalations WHERE ? IS NULL OR state = ? ORDER BY at DESC LIMIT ?"
        return [_escalation(row) for row in await self._rows(sql, (state, state, limit))]

    async def find(self, escalation_id: str) -> Escalation | None:
        rows = await self._rows("SELECT * FROM escalations WHERE escalation_id = ?", (escalation_id,))
        return _escalation(rows[0]) if rows else None

    async def answer(self, escalation_id: str, answer: Json, comment: str) -> bool:
        now, text = self._wall(), orjson.dumps(answer, default=str).decode()

        def apply(connection: WritingConnection) -> bool:
            request_id = _ended(connection, escalation_id, "answered", text, comment, now)
            if request_id is None:
                return False
            body = to_json(answer, limit=connection.keeping.max_chars, redact=False) if connection.keeping.bodies else None
            connection.execute(_OUTCOME, (body, request_id))
            _tell_job(connection, request_id, answer, now)
            return True

        return self._one_less(await self._ledger.act(apply, weight=800 + 3 * len(text)))

    async def close(self, escalation_id: str, comment: str) -> bool:
        now = self._wall()

        def apply(connection: WritingConnection) -> bool:
            return _ended(connection, escalation_id, "closed", None, comment, now) is not None

        return self._one_less(await self._ledger.act(apply))

    def _one_less(self, done: bool) -> bool:
        self.open_count = max(0, self.open_count - done)
        return done

    async def _rows(self, sql: str, fields: tuple[Any, ...]) -> Sequence[aiosqlite.Row]:
        return list(await self._ledger.reader.execute_fetchall(sql, fields))


def _ended(
    connection: WritingConnection, escalation_id: str, state: EscalationState, answer: str | None, comment: str, at: float
) -> str | None:
    """The request's id; None where the question is not open."""
    sql = (
        "UPDATE escalations SET state = ?, answer = ?, comment = ?, ended_at = ? WHERE escalation_id = ? AND state = 'open' "
        "RETURNING request_id"
    )
    row = connection.execute(sql, (state, answer, comment, at, escalation_id)).fetchone()
    return None if row is None else str(row[0])


def _tell_job(connection: WritingConnection, request_id: str, answer: Json, at: float) -> None:
    """A job that ended with the question ends with the answer instead."""
    row = connection.execute("SELECT reply FROM jobs WHERE request_id = ?", (request_id,)).fetchone()
    if row is None:
        return
    reply = orjson.loads(row[0]) if row[0] else {"id": request_id}
    reply.pop("error", None)
    reply |= {"status": "done", "answer": answer, "complete": True, "issues": [], "strategy": "person"}
    text = orjson.dumps(reply).decode()
    connection.execute("UPDATE jobs SET state = 'done', reply = ?, updated_at = ? WHERE request_id = ?", (text, at, request_id))


def _text(value: Json) -> str | None:
    """A partial answer as JSON; None where it is too long to be worth keeping."""
    if value is None:
        return None
    text = orjson.dumps(value, default=str).decode()
    return text if len(text) <= MAX_PARTIAL_CHARS else None


def _escalation(row: aiosqlite.Row) -> Escalation:
    fields = dict(row)
    for name in ("partial", "answer"):
        fields[name] = orjson.loads(fields[name]) if fields[name] else None
    return Escalation(**fields)
