"""What the library learned since its tables were last written, in the ledger, so that a kill loses none of it.

``JournaledStore`` is the library's store: it tells the tables, which write in batches, and the ledger, which writes at once. What
the tables have is taken out of the ledger again. The tables live in registry/; this room knows their rows only as JSON.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

import aiosqlite
import numpy as np
import orjson

from registry.records import RegistryDamaged
from registry.solution_records import Kept, Phrasing, Solution, Store
from registry.solution_rows import solution_of, solution_row
from runtime.ledger.batch import WritingConnection
from runtime.ledger.store import Ledger

log = logging.getLogger(__name__)

_READ: Final = "SELECT number, kind, row FROM library_journal ORDER BY number"


class JournaledStore:
    """``registry.solution_records.Store`` over ``tables`` with the ledger before it."""

    def __init__(self, tables: Store, ledger: Ledger) -> None:
        self._tables, self._ledger = tables, ledger
        self._number = 0
        self._known: set[str] = set()

    async def open(self) -> Kept:
        """What the tables have, and what the ledger has beyond that. Raises what the tables raise."""
        kept = await self._tables.open()
        replay = _Replay(kept, self._tables)
        for row in await _rows(self._ledger.reader):
            self._number = max(self._number, int(row["number"]))
            replay.take(str(row["kind"]), row["row"])
        self._known = set(replay.solutions)
        return replay.kept()

    def changed(self, solution: Solution) -> None:
        self._tables.changed(solution)
        row = solution_row(solution)
        if solution.id in self._known:  # of a solution nothing changes but what is thought of it
            row = {name: row[name] for name in ("id", "trust")}
        self._known.add(solution.id)
        self._write("changed", row)

    def phrased(self, phrasing: Phrasing) -> None:
        self._tables.phrased(phrasing)
        vector = base64.b64encode(np.asarray(phrasing.vector, dtype=np.float32).tobytes()).decode()
        names = ("key", "partition", "solution", "text", "model")
        self._write("phrased", {**{name: getattr(phrasing, name) for name in names}, "vector": vector})

    def gone(self, solution: str, phrasings: frozenset[str]) -> None:
        self._tables.gone(solution, phrasings)
        self._known.discard(solution)
        self._write("gone", {"id": solution, "phrasings": sorted(phrasings)})

    async def flush(self, learned: Mapping[str, bytes]) -> None:
        """Raises RegistryUnavailable; then the ledger still has it."""
        upto = self._number
        await self._tables.flush(learned)

        def forget(connection: WritingConnection) -> None:
            connection.execute("DELETE FROM library_journal WHERE number <= ?", (upto,))

        self._ledger.act(forget, weight=100).add_done_callback(_look_away)

    def _write(self, kind: str, row: Mapping[str, Any]) -> None:
        self._number += 1
        fields = (self._number, kind, orjson.dumps(row).decode())

        def insert(connection: WritingConnection) -> None:
            connection.execute("INSERT OR REPLACE INTO library_journal VALUES (?, ?, ?)", fields)

        self._ledger.act(insert, weight=200 + len(fields[2])).add_done_callback(_look_away)


class _Replay:
    """Lays the journal over what the tables had, and tells the tables what they lack."""

    def __init__(self, kept: Kept, tables: Store) -> None:
        self.solutions = {each.id: each for each in kept.solutions}
        self._phrasings = {each.key: each for each in kept.phrasings}
        self._kept, self._tables = kept, tables

    def take(self, kind: str, text: str) -> None:
        try:
            row = orjson.loads(text)
            if kind == "changed":
                self._changed(row)
            elif kind == "phrased":
                vector = np.frombuffer(base64.b64decode(row.pop("vector"), validate=True), dtype=np.float32)
                phrasing = Phrasing(**row, vector=vector)
                self._phrasings[phrasing.key] = phrasing
                self._tables.phrased(phrasing)
            else:
                self.solutions.pop(row["id"], None)
                for key in row["phrasings"]:
                    self._phrasings.pop(key, None)
                self._tables.gone(row["id"], frozenset(row["phrasings"]))
        except (ValueError, TypeError, KeyError, RegistryDamaged) as error:
            log.error("a row of the library's journal cannot be read, and is left out: %s", error)
            self._kept.damaged += 1

    def _changed(self, row: dict[str, Any]) -> None:
        if "answer" not in row:
            old = self.solutions.get(row["id"])
            if old is None:
                return
            row = {**solution_row(old), **row}
        solution = solution_of(row)
        self.solutions[solution.id] = solution
        self._tables.changed(solution)

    def kept(self) -> Kept:
        solutions = sorted(self.solutions.values(), key=lambda each: each.made_at)
        return replace(self._kept, solutions=solutions, phrasings=list(self._phrasings.values()))


async def _rows(reader: aiosqlite.Connection) -> Iterable[aiosqlite.Row]:
    return await reader.execute_fetchall(_READ)


def _look_away(future: asyncio.Future[Any]) -> None:
    """The ledger counts and reports its own failures."""
    if not future.cancelled():
        future.exception()
