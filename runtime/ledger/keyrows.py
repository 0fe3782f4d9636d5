"""Keys at rest: their digests in the table ``keys``.

Called by store.py on behalf of runtime/keys.py, which alone knows what a key looks like.
"""

from __future__ import annotations

import sqlite3
from typing import Any

import aiosqlite

from runtime.ledger.records import KeyRow, KeyScope, LedgerUnavailable

_SAVE = """
INSERT OR REPLACE INTO keys (key_id, name, scope, digest, created_at, revoked_at, usd_per_day, tokens_per_day)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""


async def save(writer: aiosqlite.Connection, row: KeyRow) -> None:
    """Durable on return; an existing key of the same id is replaced. Raises LedgerUnavailable."""
    fields = (row.key_id, row.name, row.scope, row.digest, row.created_at, row.revoked_at, row.usd_per_day, row.tokens_per_day)
    await _execute(writer, _SAVE, fields)


async def revoke(writer: aiosqlite.Connection, key_id: str, *, at: float) -> bool:
    """False where nothing changed: no such key, or revoked before. Raises LedgerUnavailable."""
    sql = "UPDATE keys SET revoked_at = ? WHERE key_id = ? AND revoked_at IS NULL"
    return await _execute(writer, sql, (at, key_id)) > 0


async def load(reader: aiosqlite.Connection) -> list[KeyRow]:
    """Every key, oldest first."""
    return [_row(row) for row in await reader.execute_fetchall("SELECT * FROM keys ORDER BY created_at, key_id")]


def _row(row: sqlite3.Row) -> KeyRow:
    scope: KeyScope = "operator" if row["scope"] == "operator" else "client"
    return KeyRow(
        key_id=row["key_id"],
        name=row["name"],
        scope=scope,
        digest=bytes(row["digest"]),
        created_at=row["created_at"],
        revoked_at=row["revoked_at"],
        usd_per_day=row["usd_per_day"],
        tokens_per_day=row["tokens_per_day"],
    )


async def _execute(writer: aiosqlite.Connection, sql: str, fields: tuple[Any, ...]) -> int:
    try:
        async with writer.execute(sql, fields) as cursor:
            return cursor.rowcount
    except sqlite3.Error as error:
        raise LedgerUnavailable(f"cannot keep keys: {error}") from error
