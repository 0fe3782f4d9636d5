"""Comparisons of committees with another way, in the ledger. Implements ``runtime.committees.compare.ComparisonBook``.

Built by runtime/committees/build.py. Writes are queued; nobody waits for them.
"""

from __future__ import annotations

from dataclasses import astuple, fields
from typing import Any, Final

import aiosqlite

from runtime.committees.compare import ComparisonRow
from runtime.ledger.batch import WritingConnection, look_away
from runtime.ledger.records import LedgerUnavailable
from runtime.ledger.store import Ledger

_COLUMNS: Final = tuple(each.name for each in fields(ComparisonRow))
_INSERT: Final = f"INSERT OR IGNORE INTO committee_comparisons ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"
_SPENT: Final = "SELECT coalesce(sum(other_usd + judge_usd), 0.0) AS usd FROM committee_comparisons WHERE at >= ?"


class ComparisonLedger:
    """See ``ComparisonBook``."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def write(self, row: ComparisonRow) -> None:
        values = astuple(row)

        def apply(connection: WritingConnection) -> None:
            connection.execute(_INSERT, values)

        self._ledger.act(apply, weight=600).add_done_callback(look_away)

    async def spent_since(self, since: float) -> float:
        try:
            rows: Any = await self._ledger.reader.execute_fetchall(_SPENT, (since,))
        except (aiosqlite.Error, ValueError) as error:  # ValueError: the connection is closed
            raise LedgerUnavailable(f"the ledger cannot be read: {error}") from error
        return float(rows[0]["usd"])
