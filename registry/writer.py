"""The one writer: every change is decided on what the changes before it left, journalled, and only then written to the tables.

Called by artifacts.py; built by ``Writer.open``, which first brings the tables to what the journal says. Changes that wait
together become one transaction of the journal and one version of each table. A change is done when it is in the journal: what
the tables then refuse (a full disk) is brought there later, and readers are given the journal's copy meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from registry.catalog import SPECS, Catalog, Record, from_row, key_of, table_of, to_row
from registry.journal import Journal, Put
from registry.records import RegistryDamaged, RegistryError, RegistryUnavailable, Version
from registry.table_specs import TableSpec
from registry.tables import Row, Tables
from registry.versions import verified

log = logging.getLogger(__name__)

MAX_WAITING = 1000
MAX_BATCH = 64
_ROWS_A_STEP = 500

Decide = Callable[[Catalog], Sequence[Record]]
"""Looks at the catalogue, changes nothing, returns what is to be put. Raises RegistryError to refuse."""


@dataclass(slots=True)
class _Change:
    decide: Decide
    done: asyncio.Future[Sequence[Record]]


class Writer:
    """Open with ``Writer.open``; always ``close``."""

    def __init__(self, tables: Tables, journal: Journal, catalog: Catalog, *, clock: Callable[[], float]) -> None:
        self.catalog = catalog
        self.behind: set[tuple[str, str]] = set()
        """(table, key) of rows that are in the journal and not yet in the tables."""
        self._tables, self._journal, self._clock = tables, journal, clock
        self._waiting: asyncio.Queue[_Change] = asyncio.Queue(MAX_WAITING)
        self._task = asyncio.get_running_loop().create_task(self._write_on(), name="registry-writer")
        self._closed = False

    @classmethod
    async def open(cls, tables: Tables, journal: Journal, *, clock: Callable[[], float]) -> Writer:
        """Bring the tables to what the journal says, and the catalogue with them. Raises RegistryUnavailable, RegistryDamaged.

        Rows that only the tables know (the ledger was lost) are journalled, so that neither loses what the other has.
        """
        catalog = Catalog()
        behind: set[tuple[str, str]] = set()
        for spec in SPECS:
            behind |= await _reconcile(tables, journal, spec, catalog, clock())
        for lost in [each for each in catalog.standings if each not in catalog.versions]:
            log.error("%s has a standing and no content; it is left out", lost)
            del catalog.standings[lost]
        writer = cls(tables, journal, catalog, clock=clock)
        writer.behind = behind
        return writer

    async def change(self, decide: Decide) -> Sequence[Record]:
        """Queue a change; returns what was put, durable and visible. Raises what ``decide`` raises, and RegistryUnavailable."""
        if self._closed or self._task.done():
            raise RegistryUnavailable(
                "the registry is closed" if self._closed else "the registry's writer died; restart the daemon"
            )
        change = _Change(decide, asyncio.get_running_loop().create_future())
        try:
            self._waiting.put_nowait(change)
        except asyncio.QueueFull:
            raise RegistryUnavailable(f"{MAX_WAITING} changes wait to be written already") from None
        return await change.done

    async def close(self) -> None:
        """Write what waits, then stop. Idempotent."""
        if not self._closed:
            self._closed = True
            written = asyncio.ensure_future(self._waiting.join())
            await asyncio.wait([written, self._task], return_when=asyncio.FIRST_COMPLETED)
            written.cancel()
            self._task.cancel()
        await asyncio.wait([self._task])

    async def catch_up(self) -> None:
        """Bring rows to the tables that could not be written before. Raises RegistryUnavailable when they still cannot be."""
        for spec in SPECS:
            keys = [key for table, key in sorted(self.behind) if table == spec.name]
            for start in range(0, len(keys), _ROWS_A_STEP):
                part = keys[start : start + _ROWS_A_STEP]
                puts = await self._journal.newest(spec.name, part)
                await self._tables.merge(spec.name, [{**put.row, "seq": put.seq} for put in puts])
                self.behind -= {(spec.name, key) for key in part}

    async def _write_on(self) -> None:
        while True:
            batch = [await self._waiting.get()]
            while len(batch) < MAX_BATCH and not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
            try:
                await self._write(batch)
            finally:
                for change in batch:
                    if not change.done.done():
                        change.done.set_exception(RegistryUnavailable("the registry's writer was stopped"))
                    self._waiting.task_done()

    async def _write(self, batch: Sequence[_Change]) -> None:
        draft = self.catalog.child()
        decided: list[tuple[_Change, Sequence[Record]]] = []
        for change in batch:
            if change.done.cancelled():
                continue
            try:
                records = change.decide(draft)
            except RegistryError as error:
                change.done.set_exception(error)
                continue
            for record in records:
                draft.put(record)
            decided.append((change, records))
        puts = [_put(record, self._clock()) for _, records in decided for record in records]
        try:
            kept = await self._journal.append(puts) if puts else ()
        except RegistryError as error:
            for change, _ in decided:
                _fail(change, error)
            return
        await self._to_tables(kept)
        self.catalog.adopt(draft)
        for change, records in decided:
            if not change.done.done():
                change.done.set_result(records)

    async def _to_tables(self, puts: Sequence[Put]) -> None:
        """Contents first, then what speaks of them: a crash in between leaves nothing half visible, and the next start repairs
        it."""
        for spec in SPECS:
            rows = {put.key: {**put.row, "seq": put.seq} for put in puts if put.table == spec.name}
            if not rows:
                continue
            try:
                await self._tables.merge(spec.name, list(rows.values()))
            except RegistryError as error:
                log.error("the registry's tables are behind the ledger: %s", error)
                self.behind |= {(spec.name, key) for key in rows}


def _put(record: Record, now: float) -> Put:
    return Put(table=table_of(record), key=key_of(record), row=to_row(record), at=now)


def _fail(change: _Change, error: RegistryError) -> None:
    if not change.done.done():
        change.done.set_exception(error)


async def _reconcile(tables: Tables, journal: Journal, spec: TableSpec, catalog: Catalog, now: float) -> set[tuple[str, str]]:
    """Read one table into the catalogue, with the journal's word above the table's. Returns what could not be written."""
    marks = await journal.marks(spec.name)
    columns = [column for column in spec.columns if column != "content"]
    held: dict[str, Row] = {row[spec.key]: row for row in await tables.rows(spec.name, columns=columns)}
    stale = [each for each, seq in marks.items() if each not in held or held[each]["seq"] != seq]
    orphans = [each for each in held if each not in marks]
    behind: set[tuple[str, str]] = set()
    for start in range(0, len(orphans), _ROWS_A_STEP):
        behind |= await _adopt(tables, journal, spec, orphans[start : start + _ROWS_A_STEP], held, now)
    for start in range(0, len(stale), _ROWS_A_STEP):
        puts = await journal.newest(spec.name, stale[start : start + _ROWS_A_STEP])
        behind |= await _fill(tables, spec, puts, held)
    for row in held.values():
        catalog.put(from_row(spec.name, row))
    return behind


async def _adopt(
    tables: Tables, journal: Journal, spec: TableSpec, keys: Sequence[str], held: dict[str, Row], now: float
) -> set[tuple[str, str]]:
    """Journal rows that only the table knows; what cannot be read of them is left out."""
    log.warning("%d rows of table %s were not in the ledger and are taken into it", len(keys), spec.name)
    sound = []
    for row in await tables.get(spec.name, keys):
        if _is_sound(spec.name, row):
            sound.append(Put(table=spec.name, key=row[spec.key], row={k: v for k, v in row.items() if k != "seq"}, at=now))
        else:
            del held[row[spec.key]]
    return await _fill(tables, spec, await journal.append(sound), held)


async def _fill(tables: Tables, spec: TableSpec, puts: Sequence[Put], held: dict[str, Row]) -> set[tuple[str, str]]:
    rows: list[Row] = [{**put.row, "seq": put.seq} for put in puts]
    held.update({row[spec.key]: row for row in rows})
    try:
        await tables.merge(spec.name, rows)
    except RegistryUnavailable as error:
        log.error("the registry's tables are behind the ledger: %s", error)
        return {(spec.name, row[spec.key]) for row in rows}
    return set()


def _is_sound(table: str, row: Row) -> bool:
    try:
        record = from_row(table, row)
        if isinstance(record, Version):
            verified(record)
    except RegistryDamaged as error:
        log.error("a row was left out: %s", error)
        return False
    return True
