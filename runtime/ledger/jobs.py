"""Jobs in the ledger: what makes accepted work outlive the daemon.

Called by runtime/jobs. Everything that must hold together is one transaction in the ledger's writer: a part with its calls and
its event, an outcome with its job's state. A job that is over is never touched again, which is what makes outcomes exactly one.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, TypeVar

import aiosqlite
import orjson

from agents.calls import CallRecord, cost_usd_of, usage_of
from agents.records import AgentError, Event, Json
from runtime.jobs.records import STATE_OF_STATUS, Caller, Feedback, Job, JobEvent, Part, Range, StoredReply
from runtime.ledger import replies
from runtime.ledger.batch import WritingConnection
from runtime.ledger.records import LedgerUnavailable
from runtime.ledger.rows import (
    CALL_SQL,
    EVENT_SQL,
    MAX_EVENTS,
    OUTCOME_SQL,
    REQUEST_SQL,
    REST_SQL,
    call_rows,
    event_rows,
    kept_calls,
    outcome_row,
    request_row,
    status_of,
)
from runtime.ledger.spend import SPEND_SQL, spend_row
from runtime.ledger.store import Ledger
from runtime.records import Answer, Request

T = TypeVar("T")
MAX_JOB_EVENTS = 2_000
"""Events kept of one job; the outcome's comes on top."""
NO_KEY = ""
"""How a caller without a key is stored where a column needs a value."""

_JOB = (
    "request_id, state, at, updated_at, deadline_at, attempts, total, done, request, reply, key_id, calls, prompt_tokens, "
    "completion_tokens, estimated, cost_usd, simulated"
)
_IS_OPEN = "state IN ('queued', 'running')"


class JobLedger:
    """The jobs' side of one ``Ledger``. What is awaited is durable; what is not awaited is written in order with the rest."""

    def __init__(self, ledger: Ledger, *, on_written: Callable[[str], None] = lambda request_id: None) -> None:
        """``on_written`` gets the id of each job of which something has become durable."""
        self._ledger = ledger
        self._on_written = on_written

    # ── writing ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def accept(
        self,
        request: Request,
        text: str,
        *,
        at: float,
        deadline_at: float,
        total: int | None,
        caller: Caller | None = None,
        reply: StoredReply | None = None,
    ) -> None:
        """The request's row, its job, its first event and the kept reply: durable on return, also over a loss of power."""

        def apply(connection: WritingConnection) -> None:
            connection.execute(REQUEST_SQL, request_row(request, at, connection.keeping))
            fields = (request.request_id, "queued", at, at, deadline_at, total, text, request.key_id)
            columns = "request_id, state, at, updated_at, deadline_at, total, request, key_id"
            connection.execute(f"INSERT INTO jobs ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", fields)
            _tell(connection, request.request_id, "accepted", {"total": total}, at)
            if caller is not None and reply is not None:
                replies.insert(connection, caller, reply)

        await self._write(request.request_id, apply, weight=400 + 2 * len(text), synced=True)

    def start(self, request_id: str, *, at: float) -> None:
        """It is being worked on; one attempt more."""

        def apply(connection: WritingConnection) -> None:
            sql = (
                f"UPDATE jobs SET state = 'running', attempts = attempts + 1, updated_at = ? WHERE request_id = ? AND {_IS_OPEN}"
            )
            if connection.execute(sql, (at, request_id)).rowcount:
                (attempt,) = connection.execute("SELECT attempts FROM jobs WHERE request_id = ?", (request_id,)).fetchone()
                _tell(connection, request_id, "started", {"attempt": attempt}, at)

        self._write(request_id, apply)

    def tell(self, request_id: str, kind: str, data: Json, *, at: float) -> None:
        """An event for whoever watches; left out where there are very many already."""
        self._write(request_id, lambda connection: _tell(connection, request_id, kind, data, at))

    def spend(self, request_id: str, calls: Sequence[CallRecord], events: Sequence[Event]) -> None:
        """Book what an attempt took that brought nothing."""
        if calls or events:
            weight = 400 + 200 * (len(calls) + len(events))
            self._write(request_id, lambda connection: _spend(connection, request_id, calls, events), weight=weight)

    async def add_part(
        self, request_id: str, part: Part, calls: Sequence[CallRecord], events: Sequence[Event], *, at: float, tell: bool
    ) -> bool:
        """Items, their calls and the event in one transaction. False: the job is over, and only the calls were booked."""

        def apply(connection: WritingConnection) -> bool:
            _spend(connection, request_id, calls, events)
            sql = f"UPDATE jobs SET done = done + ?, updated_at = ? WHERE request_id = ? AND {_IS_OPEN} RETURNING done, total"
            row = connection.execute(sql, (part.range.count, at, request_id)).fetchone()
            if row is None:
                return False
            issues = orjson.dumps(part.issues).decode() if part.issues else None
            fields = (request_id, part.range.first, part.range.count, part.items, part.frame, issues, int(part.complete))
            connection.execute("INSERT INTO job_parts VALUES (?, ?, ?, ?, ?, ?, ?)", fields)
            if tell:
                _tell(connection, request_id, "progress", {"done": row[0], "total": row[1]}, at)
            return True

        return await self._write(request_id, apply, weight=400 + len(part.items) + 200 * len(calls))

    async def finish(
        self,
        request_id: str,
        *,
        answer: Answer | None,
        error: AgentError | None,
        calls: Sequence[CallRecord],
        events: Sequence[Event],
        reply: Callable[[Job], Json],
        at: float,
        latency_s: float,
    ) -> bool:
        """The outcome and the job's last state in one transaction. False: it was over before, and only the calls were booked.

        ``reply`` makes what the client gets of the job as it ended, all sums included.
        """

        def apply(connection: WritingConnection) -> bool:
            _spend(connection, request_id, calls, events)
            state = STATE_OF_STATUS[status_of(answer, error)]
            sql = f"UPDATE jobs SET state = ?, updated_at = ? WHERE request_id = ? AND {_IS_OPEN} RETURNING {_JOB}"
            row = connection.execute(sql, (state, at, request_id)).fetchone()
            if row is None:
                return False
            text = _text(reply(_job(row)))
            connection.execute("UPDATE jobs SET reply = ? WHERE request_id = ?", (text, request_id))
            connection.execute(OUTCOME_SQL, outcome_row(request_id, answer, error, (), at, latency_s, 0.0, connection.keeping))
            connection.execute(_SUMS, {"id": request_id})
            _tell(connection, request_id, "outcome", {"status": state}, at)
            return True

        weight = 400 + (2 * len(answer.draft.text) if answer else 0) + 200 * len(calls)
        return await self._write(request_id, apply, weight=weight)

    async def feedback(self, request_id: str, key_id: str | None, feedback: Feedback) -> None:
        """Keep what a person says, which is the answer's score from now on: of several the mean, of one key the latest."""
        fields = (request_id, key_id or NO_KEY, feedback.at, feedback.score, feedback.comment)

        def apply(connection: WritingConnection) -> None:
            connection.execute("INSERT OR REPLACE INTO feedback VALUES (?, ?, ?, ?, ?)", fields)
            connection.execute(_JUDGED, {"id": request_id})

        await self._ledger.act(apply)

    async def requeue(self) -> list[str]:
        """At start: every job that is not over is queued again. Their ids, oldest first."""

        def apply(connection: WritingConnection) -> list[str]:
            connection.execute("UPDATE jobs SET state = 'queued' WHERE state = 'running'")
            return [row[0] for row in connection.execute("SELECT request_id FROM jobs WHERE state = 'queued' ORDER BY at, rowid")]

        return await self._ledger.act(apply)

    def _write(
        self, request_id: str, apply: Callable[[WritingConnection], T], *, weight: int = 400, synced: bool = False
    ) -> asyncio.Future[T]:
        """Whoever does not wait for it need not: the ledger counts and reports what it cannot write."""

        def written(done: asyncio.Future[T]) -> None:
            if not done.cancelled() and done.exception() is None:
                self._on_written(request_id)

        future = self._ledger.act(apply, weight=weight, synced=synced)
        future.add_done_callback(written)
        return future

    # ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def find(self, request_id: str) -> Job | None:
        rows = await self._rows(f"SELECT {_JOB} FROM jobs WHERE request_id = ?", (request_id,))
        return _job(rows[0]) if rows else None

    async def events(self, request_id: str, *, from_seq: int, limit: int) -> list[JobEvent]:
        sql = "SELECT seq, kind, at, data FROM job_events WHERE request_id = ? AND seq >= ? ORDER BY seq LIMIT ?"
        rows = await self._rows(sql, (request_id, from_seq, limit))
        return [JobEvent(seq=r["seq"], kind=r["kind"], at=r["at"], data=orjson.loads(r["data"])) for r in rows]

    async def ranges(self, request_id: str) -> list[Range]:
        """Which items are there."""
        rows = await self._rows("SELECT first, item_count FROM job_parts WHERE request_id = ? ORDER BY first", (request_id,))
        return [Range(first=row["first"], count=row["item_count"]) for row in rows]

    async def parts(self, request_id: str, *, first: int, limit: int) -> list[Part]:
        """At most ``limit`` parts that reach beyond item ``first``, in order."""
        sql = "SELECT * FROM job_parts WHERE request_id = ? AND first + item_count > ? ORDER BY first LIMIT ?"
        return [_part(row) for row in await self._rows(sql, (request_id, first, limit))]

    async def all_parts(self, request_id: str) -> AsyncIterator[Part]:
        """Every part in order, one in memory at a time."""
        first = 0
        while page := await self.parts(request_id, first=first, limit=1):
            yield page[0]
            first = page[0].range.end

    async def feedbacks(self, request_id: str) -> list[dict[str, Json]]:
        rows = await self._rows("SELECT * FROM feedback WHERE request_id = ? ORDER BY at", (request_id,))
        return [{"key_id": r["key_id"] or None, "at": r["at"], "score": r["score"], "comment": r["comment"]} for r in rows]

    async def _rows(self, sql: str, fields: tuple[Any, ...]) -> list[aiosqlite.Row]:
        try:
            return list(await self._ledger.reader.execute_fetchall(sql, fields))
        except sqlite3.Error as error:
            raise LedgerUnavailable(f"the ledger cannot be read: {error}") from error


_JUDGED = """
UPDATE outcomes SET quality_source = 'feedback', quality_score = (SELECT avg(score) FROM feedback WHERE request_id = :id)
WHERE request_id = :id
"""

_SUMS = """
UPDATE outcomes SET (prompt_tokens, completion_tokens, estimated, cost_usd, simulated) =
    (SELECT prompt_tokens, completion_tokens, estimated, cost_usd, simulated FROM jobs WHERE request_id = :id)
WHERE request_id = :id
"""


def _job(row: Any) -> Job:
    fields = dict(zip(_JOB.split(", "), row, strict=True))
    return Job(**{**fields, "estimated": bool(fields["estimated"]), "simulated": bool(fields["simulated"])})


def _text(value: Json) -> str:
    try:
        return orjson.dumps(value, default=dict).decode()
    except TypeError:  # whole numbers beyond 64 bits, which a model may well write
        return json.dumps(value, ensure_ascii=True, default=str)


def _part(row: aiosqlite.Row) -> Part:
    return Part(
        range=Range(first=row["first"], count=row["item_count"]),
        items=row["items"],
        frame=row["frame"],
        issues=tuple(orjson.loads(row["issues"])) if row["issues"] else (),
        complete=bool(row["complete"]),
    )


def _tell(connection: WritingConnection, request_id: str, kind: str, data: Json, at: float) -> None:
    (last,) = connection.execute("SELECT COALESCE(max(seq), 0) FROM job_events WHERE request_id = ?", (request_id,)).fetchone()
    if last < MAX_JOB_EVENTS or kind == "outcome":
        text = orjson.dumps(data, default=dict).decode()
        connection.execute("INSERT INTO job_events VALUES (?, ?, ?, ?, ?)", (request_id, last + 1, kind, at, text))


def _spend(connection: WritingConnection, request_id: str, calls: Sequence[CallRecord], events: Sequence[Event]) -> None:
    """Add to the job's sums, whole; of the rows for the trace a bounded number is kept, and sums of the others."""
    if calls:
        usage = usage_of(calls)
        sums = (
            len(calls),
            usage.prompt_tokens,
            usage.completion_tokens,
            int(usage.estimated),
            cost_usd_of(calls),
            int(any(call.simulated for call in calls)),
            request_id,
        )
        connection.execute(SPEND_SQL, spend_row(request_id, calls, at=calls[-1].started_at))
        row = connection.execute(
            "UPDATE jobs SET calls = calls + ?, prompt_tokens = prompt_tokens + ?, completion_tokens = completion_tokens + ?, "
            "estimated = max(estimated, ?), cost_usd = cost_usd + ?, simulated = max(simulated, ?) WHERE request_id = ? "
            "RETURNING calls",
            sums,
        ).fetchone()
        if row is not None:
            first = row[0] - len(calls)
            numbered = [(row[0], row[1] + first, *row[2:]) for row in call_rows(request_id, calls, connection.keeping)]
            for sql, rows in zip((CALL_SQL, REST_SQL), kept_calls(numbered), strict=True):
                connection.executemany(sql, rows)
    if events:
        (first,) = connection.execute("SELECT count(*) FROM events WHERE request_id = ?", (request_id,)).fetchone()
        rows = event_rows(request_id, events, connection.keeping)[: max(0, MAX_EVENTS - first)]
        connection.executemany(EVENT_SQL, [(row[0], row[1] + first, *row[2:]) for row in rows])
