"""The registry's side of the ledger: its journal, and the evidence of executions.

Called through the ports of registry/journal.py and registry/evidence.py. Everything is one transaction in the ledger's writer. An
execution is a row only until the next fold, which adds it to sums; the ledger grows with versions, nodes and days, not with runs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import aiosqlite
import orjson

from agents.records import AgentError
from registry.evidence import Day, Run, Usage, Written, log_latency
from registry.journal import Put
from registry.records import RegistryUnavailable, VersionId
from runtime.ledger.batch import WritingConnection, look_away
from runtime.ledger.records import LedgerError
from runtime.ledger.store import Ledger

T = TypeVar("T")
APPEND_WITHIN_S = 10.0
ACTIVE_S = 30 * 86_400.0
"""A node counts as one that uses a version for so long after it ran it."""
KEEP_USERS_S = 400 * 86_400.0
KEEP_DAYS = 800
FOLD_BITE = 20_000
_KEYS = 400
"""In one query; SQLite's oldest limit of parameters is 999."""


class LedgerJournal:
    """``registry.journal.Journal`` in the ledger."""

    def __init__(self, ledger: Ledger, *, within_s: float = APPEND_WITHIN_S) -> None:
        self._ledger, self._within_s = ledger, within_s

    async def append(self, puts: Sequence[Put]) -> Sequence[Put]:
        """Kept over a loss of power. Raises RegistryUnavailable when the disk refuses for 10 s; nothing is kept later then."""
        given_up: list[bool] = []

        def apply(connection: WritingConnection) -> list[Put] | None:
            # The ledger tries again for as long as the disk refuses; whoever asked has been told no by then.
            return None if given_up else [_append(connection, put) for put in puts]

        writing = self._ledger.act(apply, weight=400 + sum(_weight(put) for put in puts), synced=True)
        done, _ = await asyncio.wait([writing], timeout=self._within_s)
        if not done:
            given_up.append(True)
            writing.add_done_callback(look_away)
            raise RegistryUnavailable(f"the ledger cannot be written: {self._ledger.healthy()}")
        kept = _result(writing)
        assert kept is not None
        return kept

    async def marks(self, table: str) -> Mapping[str, int]:
        sql = "SELECT key, max(seq) FROM registry_journal WHERE tbl = ? GROUP BY key"
        return {row[0]: row[1] for row in await self._rows(sql, (table,))}

    async def newest(self, table: str, keys: Sequence[str] | None = None, *, before: float | None = None) -> Sequence[Put]:
        until = " AND at <= ?" if before is not None else ""
        fields: tuple[Any, ...] = (table,) if before is None else (table, before)
        if keys is None:
            return await self._newest(f"tbl = ?{until}", fields)
        found: list[Put] = []
        for start in range(0, len(keys), _KEYS):
            part = keys[start : start + _KEYS]
            found += await self._newest(f"tbl = ?{until} AND key IN ({_marks(part)})", (*fields, *part))
        return found

    async def _newest(self, where: str, fields: tuple[Any, ...]) -> list[Put]:
        # SQLite gives the other columns of the row that max() was found in.
        sql = f"SELECT max(seq) AS seq, at, tbl, key, row FROM registry_journal WHERE {where} GROUP BY key"
        return [_put(row) for row in await self._rows(sql, fields)]

    async def history(self, table: str, keys: Sequence[str], *, limit: int = 200) -> Sequence[Put]:
        found: list[Put] = []
        for start in range(0, len(keys), _KEYS):
            part = keys[start : start + _KEYS]
            where = f"tbl = ? AND key IN ({_marks(part)})"
            sql = f"SELECT seq, at, tbl, key, row FROM registry_journal WHERE {where} ORDER BY seq DESC LIMIT ?"
            found += [_put(row) for row in await self._rows(sql, (table, *part, limit))]
        return sorted(found, key=lambda put: put.seq, reverse=True)[:limit]

    async def _rows(self, sql: str, fields: tuple[Any, ...]) -> list[aiosqlite.Row]:
        return await _read(self._ledger, sql, fields)


class LedgerEvidence:
    """``registry.evidence.Evidence`` in the ledger. ``clock`` gives Unix time in seconds."""

    def __init__(self, ledger: Ledger, *, clock: Callable[[], float] = time.time) -> None:
        self._ledger, self._clock = ledger, clock

    def record(self, run: Run) -> None:
        latency_s = max(0.0, run.latency_s)
        fields = (run.version_id, run.node, run.at, int(run.ok), latency_s, log_latency(latency_s), run.quality)

        def apply(connection: WritingConnection) -> None:
            connection.execute("INSERT INTO registry_runs VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)", fields)

        self._ledger.act(apply, weight=200).add_done_callback(look_away)

    async def fold(self) -> list[VersionId]:
        changed: dict[VersionId, None] = {}
        while True:
            part, more = await self._act(self._fold)
            changed.update(dict.fromkeys(part))
            if not more:
                return list(changed)

    def _fold(self, connection: WritingConnection) -> tuple[list[VersionId], bool]:
        row = connection.execute("SELECT id FROM registry_runs ORDER BY id LIMIT 1 OFFSET ?", (FOLD_BITE - 1,)).fetchone()
        last = row[0] if row else 2**62
        found = connection.execute("SELECT DISTINCT version_id FROM registry_runs WHERE id <= ?", (last,)).fetchall()
        if not found:
            return [], False
        for sql in (_FOLD_USAGE, _FOLD_USERS, _FOLD_DAYS, "DELETE FROM registry_runs WHERE id <= ?"):
            connection.execute(sql, (last,))
        now = self._clock()
        connection.execute("DELETE FROM registry_users WHERE last_at < ?", (now - KEEP_USERS_S,))
        connection.execute("DELETE FROM registry_days WHERE day < ?", (int(now // 86_400) - KEEP_DAYS,))
        return [VersionId(row[0]) for row in found], row is not None

    async def usage(self, version_ids: Sequence[VersionId] | None = None) -> dict[VersionId, Usage]:
        since = self._clock() - ACTIVE_S
        if version_ids is None:
            return await self._usage("", (since,))
        found: dict[VersionId, Usage] = {}
        for start in range(0, len(version_ids), _KEYS):
            part = version_ids[start : start + _KEYS]
            found |= await self._usage(f"WHERE u.version_id IN ({_marks(part)})", (since, *part))
        return found

    async def _usage(self, where: str, fields: tuple[Any, ...]) -> dict[VersionId, Usage]:
        rows = await _read(self._ledger, f"{_USAGE} {where}", fields)
        return {VersionId(row["version_id"]): Usage(**{name: row[name] for name in Usage.__slots__}) for row in rows}

    async def used_by(self, version_id: VersionId, *, node: str | None = None, other_than: str | None = None) -> tuple[int, int]:
        fields = {"version": version_id, "node": node, "other": other_than}
        rows = await _read(self._ledger, _USED_BY, fields)
        return int(rows[0][0]), int(rows[0][1])

    async def days(self) -> list[Day]:
        rows = await _read(self._ledger, "SELECT * FROM registry_days ORDER BY day", ())
        return [Day(**dict(row)) for row in rows]

    def wrote(self, standard: str, *, guided: bool, ok: bool) -> None:
        fields = (standard, int(guided), int(ok))

        def apply(connection: WritingConnection) -> None:
            connection.execute(_WROTE, fields)

        self._ledger.act(apply, weight=100).add_done_callback(look_away)

    async def written(self) -> list[Written]:
        rows = await _read(self._ledger, "SELECT * FROM registry_written ORDER BY standard, guided", ())
        return [
            Written(standard=row["standard"], guided=bool(row["guided"]), tries=row["tries"], passed=row["passed"])
            for row in rows
        ]

    async def _act(self, apply: Callable[[WritingConnection], T]) -> T:
        writing = self._ledger.act(apply)
        await asyncio.wait([writing])
        return _result(writing)


_FOLD_USAGE = """
INSERT INTO registry_usage SELECT version_id, count(*), sum(ok), sum(latency_s), sum(log_latency), sum(log_latency * log_latency),
    count(quality), coalesce(sum(quality), 0.0), coalesce(sum(quality * quality), 0.0), min(at), max(at)
FROM registry_runs WHERE id <= ? GROUP BY version_id
ON CONFLICT (version_id) DO UPDATE SET runs = runs + excluded.runs, successes = successes + excluded.successes,
    latency_sum_s = latency_sum_s + excluded.latency_sum_s, log_latency_sum = log_latency_sum + excluded.log_latency_sum,
    log_latency_squares = log_latency_squares + excluded.log_latency_squares,
    quality_runs = quality_runs + excluded.quality_runs, quality_sum = quality_sum + excluded.quality_sum,
    quality_squares = quality_squares + excluded.quality_squares,
    first_at = min(first_at, excluded.first_at), last_at = max(last_at, excluded.last_at)
"""
_FOLD_USERS = """
INSERT INTO registry_users SELECT version_id, node, count(*), sum(ok), max(at)
FROM registry_runs WHERE id <= ? GROUP BY version_id, node
ON CONFLICT (version_id, node) DO UPDATE SET runs = runs + excluded.runs, successes = successes + excluded.successes,
    last_at = max(last_at, excluded.last_at)
"""
_FOLD_DAYS = """
INSERT INTO registry_days SELECT CAST(at / 86400 AS INTEGER) AS d, count(*), sum(ok), count(quality), coalesce(sum(quality), 0.0)
FROM registry_runs WHERE id <= ? GROUP BY d
ON CONFLICT (day) DO UPDATE SET runs = runs + excluded.runs, successes = successes + excluded.successes,
    quality_runs = quality_runs + excluded.quality_runs, quality_sum = quality_sum + excluded.quality_sum
"""
_USAGE = """
SELECT u.*, (SELECT count(*) FROM registry_users n WHERE n.version_id = u.version_id AND n.last_at >= ?) AS nodes
FROM registry_usage u
"""
_USED_BY = """
SELECT coalesce(sum(runs), 0), coalesce(sum(successes), 0) FROM (
    SELECT node, runs, successes FROM registry_users WHERE version_id = :version
    UNION ALL SELECT node, 1, ok FROM registry_runs WHERE version_id = :version
) WHERE (:node IS NULL OR node = :node) AND (:other IS NULL OR node <> :other)
"""


_WROTE = """
INSERT INTO registry_written (standard, guided, tries, passed) VALUES (?1, ?2, 1, ?3)
ON CONFLICT (standard, guided) DO UPDATE SET tries = tries + 1, passed = passed + excluded.passed
"""
_SPENT = """
SELECT COALESCE(sum(o.cost_usd), 0.0) FROM requests r JOIN outcomes o ON o.request_id = r.request_id
WHERE r.source = ? AND r.at >= ?
"""


async def spent_since(ledger: Ledger, source: str, since: float) -> float:
    """USD that requests of one surface have cost since Unix time ``since``. Raises RegistryUnavailable."""
    return float((await _read(ledger, _SPENT, (source, since)))[0][0])


def _append(connection: WritingConnection, put: Put) -> Put:
    fields = (put.at, put.table, put.key, orjson.dumps(dict(put.row)).decode())
    cursor = connection.execute("INSERT INTO registry_journal (at, tbl, key, row) VALUES (?, ?, ?, ?)", fields)
    assert cursor.lastrowid is not None
    return replace(put, seq=cursor.lastrowid)


def _put(row: aiosqlite.Row) -> Put:
    return Put(table=row["tbl"], key=row["key"], row=orjson.loads(row["row"]), at=row["at"], seq=row["seq"])


def _weight(put: Put) -> int:
    return 200 + sum(len(value) for value in put.row.values() if isinstance(value, str))


def _marks(values: Sequence[Any]) -> str:
    return ",".join("?" * len(values))


def _result(done: asyncio.Future[T]) -> T:
    try:
        return done.result()
    except (LedgerError, AgentError) as error:
        raise RegistryUnavailable(f"the ledger cannot be written: {error}") from error


async def _read(ledger: Ledger, sql: str, fields: Any) -> list[aiosqlite.Row]:
    try:
        return list(await ledger.reader.execute_fetchall(sql, fields))
    except (aiosqlite.Error, ValueError) as error:  # ValueError: the connection is closed
        raise RegistryUnavailable(f"the ledger cannot be read: {error}") from error
