"""What the library learned since its tables were last written, in the ledger, so that a kill loses none of it; and a copy of what
they hold, so that a damaged table loses none of it either.

``JournaledStore`` is the library's store: it tells the tables, which write in batches, and the ledger, which writes at once. What
the tables have is taken out of the ledger's journal again. The copy has no embeddings: those can be made again. The tables live
in registry/; this room knows their rows only as JSON.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
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

_AT_ONCE: Final = 500
_COPY: Final = (
    "INSERT INTO library_copies VALUES (?, ?, ?, ?) "
    "ON CONFLICT (kind, key) DO UPDATE SET row = excluded.row, trust = excluded.trust"
)
_TRUST: Final = "UPDATE library_copies SET trust = ? WHERE kind = 'solution' AND key = ?"
_FORGET: Final = (
    "DELETE FROM library_copies WHERE (kind, key) IN "
    "(SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?))"
)
_KEYS: Final = "SELECT kind, key FROM library_copies"
_SOME: Final = (
    "SELECT kind, key, row, trust FROM library_copies WHERE (kind, key) IN "
    "(SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?))"
)
_READ: Final = "SELECT number, kind, row FROM library_journal ORDER BY number"


class JournaledStore:
    """``registry.solution_records.Store`` over ``tables`` with the ledger before it. ``dimension`` is that of the embeddings."""

    def __init__(self, tables: Store, ledger: Ledger, dimension: int) -> None:
        self._tables, self._ledger, self._dimension = tables, ledger, dimension
        self._number = 0
        self._known: set[str] = set()
        self._learned: dict[str, bytes] = {}

    async def open(self) -> Kept:
        """What the tables have, and what the ledger has beyond that. Raises what the tables raise."""
        kept = await self._tables.open()
        replay = _Replay(kept, self._tables)
        copied = {(str(row["kind"]), str(row["key"])) for row in await _rows(self._ledger.reader, _KEYS)}
        await self._refill(replay, kept, copied)
        for row in await _rows(self._ledger.reader, _READ):
            self._number = max(self._number, int(row["number"]))
            replay.take(str(row["kind"]), row["row"])
        self._known = set(replay.solutions)
        found = replay.kept()
        self._copy(list(_copies(found, but=copied)))
        self._learned = dict(found.learned)
        return found

    async def _refill(self, replay: _Replay, kept: Kept, copied: set[tuple[str, str]]) -> None:
        """Take from the ledger's copy what the tables have not: they were damaged, or not written yet."""
        there = {("solution", each.id) for each in kept.solutions} | {("phrasing", each.key) for each in kept.phrasings}
        missing = sorted(copied - there - {("learned", name) for name in kept.learned})
        for at in range(0, len(missing), _AT_ONCE):
            wanted = orjson.dumps(missing[at : at + _AT_ONCE]).decode()
            for row in await _rows(self._ledger.reader, _SOME, (wanted,)):
                replay.refill(str(row["kind"]), str(row["key"]), row["row"], row["trust"], self._dimension)

    def _copy(self, copies: Sequence[tuple[str, str, str, str | None]]) -> None:
        for at in range(0, len(copies), _AT_ONCE):
            some = copies[at : at + _AT_ONCE]

            def insert(connection: WritingConnection, some: Sequence[Any] = some) -> None:
                connection.executemany(_COPY, some)

            self._ledger.act(insert, weight=sum(200 + len(row) for _, _, row, _ in some)).add_done_callback(_look_away)

    def changed(self, solution: Solution) -> None:
        self._tables.changed(solution)
        row = solution_row(solution)
        if solution.id in self._known:  # of a solution nothing changes but what is thought of it
            row = {name: row[name] for name in ("id", "trust")}
            self._write("changed", row, _TRUST, (row["trust"], solution.id))
        else:
            self._known.add(solution.id)
            self._write("changed", row, _COPY, _solution_copy(solution))

    def phrased(self, phrasing: Phrasing) -> None:
        self._tables.phrased(phrasing)
        vector = base64.b64encode(np.asarray(phrasing.vector, dtype=np.float32).tobytes()).decode()
        named = {name: getattr(phrasing, name) for name in ("key", "partition", "solution", "text", "model")}
        self._write("phrased", {**named, "vector": vector}, _COPY, _phrasing_copy(phrasing))

    def gone(self, solution: str, phrasings: frozenset[str]) -> None:
        self._tables.gone(solution, phrasings)
        self._known.discard(solution)
        keys = orjson.dumps([["solution", solution], *(["phrasing", each] for each in sorted(phrasings))]).decode()
        self._write("gone", {"id": solution, "phrasings": sorted(phrasings)}, _FORGET, (keys,))

    async def flush(self, learned: Mapping[str, bytes]) -> None:
        """Raises RegistryUnavailable; then the ledger still has it."""
        upto = self._number
        await self._tables.flush(learned)

        def forget(connection: WritingConnection) -> None:
            connection.execute("DELETE FROM library_journal WHERE number <= ?", (upto,))

        self._ledger.act(forget, weight=100).add_done_callback(_look_away)
        self._copy([_learned_copy(name, state) for name, state in learned.items() if self._learned.get(name) != state])
        self._learned = dict(learned)

    def _write(self, kind: str, row: Mapping[str, Any], copy: str, copied: tuple[Any, ...]) -> None:
        """To the journal, and to the copy by the statement ``copy``, in one transaction."""
        self._number += 1
        fields = (self._number, kind, orjson.dumps(row).decode())

        def insert(connection: WritingConnection) -> None:
            connection.execute("INSERT OR REPLACE INTO library_journal VALUES (?, ?, ?)", fields)
            connection.execute(copy, copied)

        self._ledger.act(insert, weight=300 + 2 * len(fields[2])).add_done_callback(_look_away)


class _Replay:
    """Lays the journal over what the tables had, and tells the tables what they lack."""

    def __init__(self, kept: Kept, tables: Store) -> None:
        self.solutions = {each.id: each for each in kept.solutions}
        self._phrasings = {each.key: each for each in kept.phrasings}
        self._kept, self._tables = kept, tables

    def refill(self, kind: str, key: str, text: str, trust: str | None, dimension: int) -> None:
        """A row of the ledger's copy that the tables have not."""
        try:
            if kind == "learned":
                self._kept.learned[key] = base64.b64decode(text, validate=True)
            elif kind == "solution":
                solution = solution_of({**orjson.loads(text), "trust": trust})
                self.solutions[solution.id] = solution
                self._tables.changed(solution)
            else:
                # Found by its hash alone until it is embedded again, which also takes it to the tables.
                self._phrasings[key] = Phrasing(**orjson.loads(text), key=key, model="", vector=np.zeros(dimension, np.float32))
        except (ValueError, TypeError, KeyError, RegistryDamaged) as error:
            log.error("a row of the library's copy cannot be read, and is left out: %s", error)
            self._kept.damaged += 1

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


async def _rows(reader: aiosqlite.Connection, sql: str, values: tuple[Any, ...] = ()) -> Iterable[aiosqlite.Row]:
    return await reader.execute_fetchall(sql, values)


def _solution_copy(solution: Solution) -> tuple[str, str, str, str]:
    row = solution_row(solution)
    trust = str(row.pop("trust"))
    return "solution", solution.id, orjson.dumps(row).decode(), trust


def _phrasing_copy(phrasing: Phrasing) -> tuple[str, str, str, None]:
    row = {name: getattr(phrasing, name) for name in ("partition", "solution", "text")}
    return "phrasing", phrasing.key, orjson.dumps(row).decode(), None


def _learned_copy(name: str, state: bytes) -> tuple[str, str, str, None]:
    return "learned", name, base64.b64encode(state).decode(), None


def _copies(kept: Kept, *, but: Collection[tuple[str, str]]) -> Iterator[tuple[str, str, str, str | None]]:
    """What is kept, as the ledger copies it, without what it has."""
    yield from (_solution_copy(each) for each in kept.solutions if ("solution", each.id) not in but)
    yield from (_phrasing_copy(each) for each in kept.phrasings if ("phrasing", each.key) not in but)
    yield from (_learned_copy(name, state) for name, state in kept.learned.items() if ("learned", name) not in but)


def _look_away(future: asyncio.Future[Any]) -> None:
    """The ledger counts and reports its own failures."""
    if not future.cancelled():
        future.exception()
