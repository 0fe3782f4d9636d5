"""Forgetting: by age and by size, oldest first, in small bites so that writes get in between.

Called by store.py on the writing connection; every statement is a transaction of its own (triggers take the details along).
"""

from __future__ import annotations

import aiosqlite

from runtime.ledger.spend import DAY_S, FORGET_SQL, KEPT_DAYS

BITE = 200
"""Requests forgotten in one transaction."""
SLOT_BYTES = 1_000
"""About what one request takes in the window of patterns, which is bounded by itself."""
_PAGES = 512
"""Pages given back to the file system in one transaction."""
_SLACK = 0.9
"""Forgetting by size goes on until this share of the limit, so that it does not run at every flush."""

# A job that is not over stays, however old: it was promised to be finished.
_BY_AGE = """
DELETE FROM requests WHERE seq IN (SELECT r.seq FROM requests r WHERE r.at < ? AND NOT EXISTS (SELECT 1 FROM jobs j
    WHERE j.request_id = r.request_id AND j.state IN ('queued', 'running')) ORDER BY r.seq LIMIT ?)
"""
_ORPHANS = """
DELETE FROM outcomes WHERE request_id IN (SELECT request_id FROM outcomes o WHERE o.at < ?
    AND NOT EXISTS (SELECT 1 FROM requests r WHERE r.request_id = o.request_id) LIMIT ?)
"""
# A running request stays: its outcome is still to come.
_BY_SIZE = """
DELETE FROM requests WHERE seq IN (SELECT r.seq FROM requests r
    WHERE EXISTS (SELECT 1 FROM outcomes o WHERE o.request_id = r.request_id) ORDER BY r.seq LIMIT ?)
"""


async def enforce(writer: aiosqlite.Connection, *, before: float, max_bytes: int) -> int:
    """Forget requests that came before Unix time ``before``, then the oldest while the data takes more than ``max_bytes``, not
    counted what the registry's journal takes: forgetting requests does not make it smaller.

    Returns how many requests were forgotten. Idempotent; may be cut off at any moment.
    """
    forgotten = 0
    while count := await _run(writer, _BY_AGE, (before, BITE)):
        forgotten += count
    while await _run(writer, _ORPHANS, (before, BITE)):
        pass
    if await used_bytes(writer) > max_bytes:
        while await used_bytes(writer) > _SLACK * max_bytes:
            count = await _run(writer, _BY_SIZE, (BITE,))
            if not count:
                break
            forgotten += count
    await _run(writer, FORGET_SQL, (before // DAY_S - KEPT_DAYS,))
    await _give_back(writer)
    return forgotten


async def used_bytes(connection: aiosqlite.Connection) -> int:
    """Bytes of the pages in use (free pages are given back afterwards), but for those of the registry's journal and of the
    window of patterns, about."""
    pages, free, size = [await _pragma(connection, name) for name in ("page_count", "freelist_count", "page_size")]
    ((journal,),) = await connection.execute_fetchall("SELECT bytes FROM journal_size")
    ((slots,),) = await connection.execute_fetchall("SELECT count(*) FROM pattern_window")
    return (pages - free) * size - int(journal) - int(slots) * SLOT_BYTES


async def _give_back(writer: aiosqlite.Connection) -> None:
    free = await _pragma(writer, "freelist_count")
    if free < _PAGES:
        return
    for _ in range(free // _PAGES + 1):
        # As a script: run as a query, this pragma gives back one page and stops, because it has no columns to fetch.
        async with writer.executescript(f"PRAGMA incremental_vacuum({_PAGES})"):
            pass
    # Busy readers only put it off; the next round tries again.
    await writer.execute_fetchall("PRAGMA wal_checkpoint(TRUNCATE)")


async def _pragma(connection: aiosqlite.Connection, name: str) -> int:
    rows = list(await connection.execute_fetchall(f"PRAGMA {name}"))
    return int(rows[0][0])


async def _run(writer: aiosqlite.Connection, sql: str, fields: tuple[float | int, ...]) -> int:
    async with writer.execute(sql, fields) as cursor:
        return cursor.rowcount
