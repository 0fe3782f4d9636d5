"""One group commit: queued writes become one transaction, in the writer's thread.

Called by store.py through aiosqlite. ``WritingConnection.commit`` first writes the batch that was laid on it, then commits, so
that a whole transaction (encoding included) costs the event loop one hop to the thread instead of one a statement.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from agents.calls import CallRecord
from agents.records import AgentError, Event
from runtime.accounts import Amount
from runtime.ledger.rows import (
    CALL_SQL,
    EVENT_SQL,
    NOWHERE,
    OUTCOME_SQL,
    REQUEST_SQL,
    REST_SQL,
    Keeping,
    Row,
    Took,
    call_rows,
    event_rows,
    kept_calls,
    outcome_row,
    request_id_of,
    request_row,
)
from runtime.ledger.spend import SPEND_SQL, spend_row
from runtime.records import Answer, Request

_PROBE = 400
"""Ids in one look-up; SQLite's oldest limit of parameters is 999."""

# What a record that cannot be stored raises, as opposed to a database that cannot store (which is tried again).
_UNSTORABLE = (
    TypeError,
    ValueError,
    AttributeError,
    LookupError,
    ArithmeticError,
    RecursionError,
    sqlite3.DataError,
    sqlite3.IntegrityError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
)


@dataclass(slots=True)
class Accepted:
    """A request to be written. ``since`` is loop time in seconds; ``weight`` about its characters in memory."""

    future: asyncio.Future[None]
    since: float
    weight: int
    request: Request
    at: float
    foreseen: Amount | None = None


@dataclass(slots=True)
class Finished:
    """An outcome to be written, with its calls and events."""

    since: float
    weight: int
    request_id: str
    answer: Answer | None
    error: AgentError | None
    calls: Sequence[CallRecord]
    events: Sequence[Event]
    at: float
    latency_s: float
    overhead_s: float
    took: Took = NOWHERE


@dataclass(slots=True)
class Marker:
    """Resolves when everything queued before it is durable."""

    future: asyncio.Future[None]
    since: float
    weight: int = 0


@dataclass(slots=True)
class Act:
    """Statements that belong together: ``apply`` makes them in the writer's thread, and the future gets its value once they are
    durable. It may be called again after a rollback. ``synced``: durable even if the machine loses its power."""

    future: asyncio.Future[Any]
    since: float
    weight: int
    apply: Callable[[WritingConnection], Any]
    synced: bool = False
    value: Any = None


def weight_of(request: Request) -> int:
    """About how many characters a request takes in memory."""
    contents = (message.get("content") for message in request.messages)
    return 200 + sum(len(content) if isinstance(content, str) else 2000 for content in contents)


Write = Accepted | Finished | Marker | Act


class WritingConnection(sqlite3.Connection):
    """In autocommit mode; only ``commit`` opens a transaction. ``refused`` names the writes of the last batch that no database
    would take, by their place in it."""

    batch: Sequence[Write] = ()
    keeping: Keeping
    refused: dict[int, Exception]

    def commit(self) -> None:
        """Write the batch in one transaction. Raises sqlite3.Error when the database cannot take it now: nothing is written."""
        self.refused = {}
        synced = any(isinstance(write, Act) and write.synced for write in self.batch)
        if synced:
            self.execute("PRAGMA synchronous = FULL")
        try:
            self._transact([self.batch])
        except _UNSTORABLE:
            # One bad record must not hold up the others for ever: each gets a savepoint of its own.
            self._transact([[write] for write in self.batch])
        finally:
            if synced:
                self.execute("PRAGMA synchronous = NORMAL")

    def _transact(self, groups: Sequence[Sequence[Write]]) -> None:
        alone = len(groups) > 1 or len(groups[0]) == 1
        self.execute("BEGIN IMMEDIATE")
        try:
            for place, group in enumerate(groups):
                if not alone:
                    self._insert(group)
                    continue
                self.execute("SAVEPOINT one")
                try:
                    self._insert(group)
                except _UNSTORABLE as error:
                    self.execute("ROLLBACK TO one")
                    self.refused[place] = error
                self.execute("RELEASE one")
            self.execute("COMMIT")
        except BaseException:
            if self.in_transaction:
                self.execute("ROLLBACK")
            raise

    def _insert(self, writes: Sequence[Write]) -> None:
        keeping = self.keeping
        requests = [request_row(w.request, w.at, keeping, w.foreseen) for w in writes if isinstance(w, Accepted)]
        outcomes: list[Row] = []
        calls: list[Row] = []
        events: list[Row] = []
        spent: list[Row] = []
        finished = [w for w in writes if isinstance(w, Finished)]
        known = self._known({request_id_of(w.request_id) for w in finished})
        for w in finished:
            request_id = request_id_of(w.request_id)
            if request_id in known:
                continue
            known.add(request_id)
            outcomes.append(
                outcome_row(request_id, w.answer, w.error, w.calls, w.at, w.latency_s, w.overhead_s, keeping, w.took),
            )
            calls += call_rows(request_id, w.calls, keeping)
            events += event_rows(request_id, w.events, keeping)
            if w.calls:
                spent.append(spend_row(request_id, w.calls, at=w.at))
        kept, rest = kept_calls(calls)
        # The order matters: what was spent takes its key from the request's row.
        tables = (
            (REQUEST_SQL, requests),
            (OUTCOME_SQL, outcomes),
            (CALL_SQL, kept),
            (REST_SQL, rest),
            (EVENT_SQL, events),
            (SPEND_SQL, spent),
        )
        for sql, rows in tables:
            if rows:
                self.executemany(sql, rows)
        for act in writes:
            if isinstance(act, Act):
                act.value = act.apply(self)

    def _known(self, request_ids: set[str]) -> set[str]:
        """Those that have an outcome already: its calls and events must not be written twice either."""
        found: set[str] = set()
        ids = list(request_ids)
        for start in range(0, len(ids), _PROBE):
            part: list[Any] = ids[start : start + _PROBE]
            marks = ",".join("?" * len(part))
            found.update(row[0] for row in self.execute(f"SELECT request_id FROM outcomes WHERE request_id IN ({marks})", part))
        return found


def look_away(done: asyncio.Future[Any]) -> None:
    """For a write that nobody waits for: the ledger reports what it cannot write itself, and asyncio must not complain too."""
    if not done.cancelled():
        done.exception()
