"""Opening the ledger's file: folder, lock, integrity, migrations, then the two connections.

Called by store.py before the daemon serves anybody. ``prepare`` blocks and runs in a thread.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiosqlite

from runtime.ledger.batch import WritingConnection
from runtime.ledger.migrations import migrate
from runtime.ledger.records import LedgerBusy, LedgerError, LedgerUnavailable
from runtime.ledger.spend import CHARGE_INTERRUPTED_SQL

CHECK_LIMIT_S = 3.0
"""The integrity check of a big file stops after this: a daemon that takes a minute to start is worse than a late report."""

_CORRUPT = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

BUSY_S = 1.0
"""How long a statement waits for another process's lock before it fails (the writer then tries again)."""
_WAL_BYTES = 16 * 2**20

INTERRUPTED = """
INSERT OR IGNORE INTO outcomes (request_id, at, status, error_code, error_message, attempts, latency_s, overhead_s,
    prompt_tokens, completion_tokens, estimated, cost_usd, simulated)
SELECT r.request_id, ?1, 'interrupted', 'interrupted', 'the daemon stopped before this request was answered',
    0, max(0.0, ?1 - r.at), 0.0, 0, 0, 1, 0.0, 0
FROM requests r WHERE NOT EXISTS (SELECT 1 FROM outcomes o WHERE o.request_id = r.request_id)
    AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.request_id = r.request_id)
"""
"""Jobs are left out: they are finished after the restart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What opening found. ``lock_fd`` keeps other daemons out until it is closed."""

    path: Path
    lock_fd: int
    set_aside: Path | None
    interrupted: int


def prepare(path: Path, *, now: float) -> Opened:
    """Make ``path`` a ledger that is sound, migrated and ours.

    A corrupt file is renamed to ``<name>.corrupt-<time>`` with its companions and a new one is begun. Raises LedgerBusy,
    LedgerTooNew, LedgerForeign, LedgerUnavailable.
    """
    path = path.expanduser()
    lock_fd = _lock(path)
    try:
        set_aside = None
        _touch(path)
        if _is_corrupt(path):
            set_aside = _set_aside(path, now=now)
            _touch(path)
        return Opened(path=path, lock_fd=lock_fd, set_aside=set_aside, interrupted=_bring_up(path, now=now))
    except (OSError, sqlite3.Error) as error:
        os.close(lock_fd)
        raise LedgerUnavailable(f"cannot open the ledger {path}: {error}") from error
    except LedgerError as error:
        os.close(lock_fd)
        error.args = (f"{path}: {error}",)
        raise


@dataclass(frozen=True, slots=True, kw_only=True)
class Connections:
    """``writer`` and ``desk`` are one connection: aiosqlite's side of it and the one on which a batch is laid."""

    writer: aiosqlite.Connection
    desk: WritingConnection
    reader: aiosqlite.Connection


async def connect(opened: Opened) -> Connections:
    """One connection to write, one to read. Raises LedgerUnavailable, with everything let go, the lock included."""
    desks: list[WritingConnection] = []

    def factory(*args: Any, **kwargs: Any) -> WritingConnection:
        desks.append(WritingConnection(*args, **kwargs))
        return desks[0]

    writer = reader = None
    try:
        writer = await aiosqlite.connect(opened.path, isolation_level=None, timeout=BUSY_S, factory=factory)
        for pragma in ("synchronous = NORMAL", "temp_store = MEMORY", f"journal_size_limit = {_WAL_BYTES}"):
            await writer.execute_fetchall(f"PRAGMA {pragma}")
        reader = await aiosqlite.connect(opened.path, isolation_level=None, timeout=BUSY_S)
        await reader.execute_fetchall("PRAGMA query_only = ON")
    except (sqlite3.Error, OSError) as error:
        for connection in (writer, reader):
            if connection is not None:
                await connection.close()
        os.close(opened.lock_fd)
        raise LedgerUnavailable(f"cannot open the ledger {opened.path}: {error}") from error
    reader.row_factory = sqlite3.Row
    return Connections(writer=writer, desk=desks[0], reader=reader)


def _lock(path: Path) -> int:
    """Held for the daemon's life: a second daemon would declare the first one's running requests interrupted."""
    lock = path.with_name(path.name + ".lock")
    try:
        if not path.parent.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.parent.chmod(0o700)
        lock_fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise LedgerUnavailable(f"cannot use the data folder {path.parent}: {error}") from error
    try:
        fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock_fd)
        raise LedgerBusy(f"another daemon is using {path}; stop it, or give this one its own data.dir") from error
    return lock_fd


def _touch(path: Path) -> None:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    path.chmod(0o600)


def _is_corrupt(path: Path) -> bool:
    connection = sqlite3.connect(path, isolation_level=None, timeout=BUSY_S)
    try:
        stop_at = time.monotonic() + CHECK_LIMIT_S
        connection.set_progress_handler(lambda: time.monotonic() > stop_at, 20_000)
        rows = connection.execute("PRAGMA quick_check(1)").fetchall()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
            return False
        raise
    except sqlite3.DatabaseError as error:
        # The extended codes keep the primary one in their low byte.
        if error.sqlite_errorcode & 0xFF in _CORRUPT:
            return True
        raise
    finally:
        connection.close()
    return rows != [("ok",)]


def _set_aside(path: Path, *, now: float) -> Path:
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    target, n = path.with_name(f"{path.name}.corrupt-{stamp}"), 1
    while target.exists():
        target, n = path.with_name(f"{path.name}.corrupt-{stamp}-{n}"), n + 1
    for suffix in ("-wal", "-shm", ""):
        companion = path.with_name(path.name + suffix)
        if companion.exists():
            companion.rename(target.with_name(target.name + suffix))
    return target


def _bring_up(path: Path, *, now: float) -> int:
    connection = sqlite3.connect(path, isolation_level=None, timeout=BUSY_S)
    try:
        if path.stat().st_size == 0:
            # Only possible before the first table; without it deleting never gives space back.
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        migrate(connection)
        connection.execute("PRAGMA journal_mode = WAL").fetchone()
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(CHARGE_INTERRUPTED_SQL)
        interrupted = connection.execute(INTERRUPTED, (now,)).rowcount
        connection.execute("COMMIT")
        return interrupted
    finally:
        connection.close()
