"""LanceDB behind one class: opening, schema versions and migrations, reading, one writer, history, tags, upkeep.

Called by the registry and the library of solutions, which share one ``Tables`` (there must be one writer). The only module that
imports lancedb and pyarrow, and it does so in a thread when the tables are opened: that takes seconds. Knows nothing of what is
in the rows.

A table that cannot be read is set aside (its folder is renamed to ``NAME.lance.damaged-TIME``), an empty one is begun, and its
name is in ``damaged`` for the owner to fill again.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from registry.records import RegistryDamaged, RegistryTooNew, RegistryUnavailable
from registry.table_care import despite_conflicts, folder_bytes, make_folder, migrate, set_aside, translated
from registry.table_specs import TableSpec, Vector, any_of

Row = dict[str, Any]

META = TableSpec(name="meta", key="name", columns={"name": "text", "value": "text"}, retention_s=3600.0)
_VERSION = "schema:"
_KEYS_A_QUERY = 500
_MERGE_ROWS = 2000
_MIN_RETENTION_S = 60.0
"""Readers of a version that was the newest a moment ago must still find its files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """One of a table's own versions. ``at`` is Unix time in seconds."""

    number: int
    at: float


class Tables:
    """Open with ``Tables.open``. Reads may overlap; writes and upkeep take turns."""

    def __init__(self, uri: str, connection: Any, arrow: Any, *, clock: Callable[[], float]) -> None:
        self.uri = uri
        self.damaged: dict[str, str] = {}
        """Tables that could not be read when they were opened, and where their remains are."""
        self._folder = None if "://" in uri else Path(uri)
        self._connection, self._arrow, self._clock = connection, arrow, clock
        self._specs: dict[str, TableSpec] = {}
        self._tables: dict[str, Any] = {}
        self._writing = asyncio.Lock()
        self.commits = 0

    @classmethod
    async def open(
        cls,
        uri: str,
        specs: Sequence[TableSpec],
        *,
        storage_options: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> Tables:
        """Open or create all tables at ``uri`` (a folder, or s3://, gs://, az:// with ``storage_options``).

        Older schemas are migrated. Raises RegistryTooNew for a newer one, RegistryUnavailable when the place cannot be used.
        """
        try:
            lancedb = await asyncio.to_thread(importlib.import_module, "lancedb")
            arrow = await asyncio.to_thread(importlib.import_module, "pyarrow")
        except ImportError as error:
            raise RegistryUnavailable(f"LanceDB cannot be imported ({error}); reinstall morphogen") from error
        async with translated("registry", writing=True):
            if "://" not in uri:
                await asyncio.to_thread(make_folder, Path(uri))
            connection = await lancedb.connect_async(uri, storage_options=dict(storage_options or {}))
        tables = cls(uri, connection, arrow, clock=clock)
        for spec in (META, *specs):
            await tables.ensure(spec)
        return tables

    async def ensure(self, spec: TableSpec) -> None:
        """Open, migrate or create one table; idempotent. Raises RegistryTooNew, RegistryUnavailable."""
        async with self._writing:
            if self._specs.get(spec.name) == spec and spec.name in self._tables:
                return
            self._specs[spec.name] = spec
            try:
                table = await self._open(spec)
                if table is not None:
                    await self._read_through(spec, table)
            except RegistryDamaged as error:
                self.damaged[spec.name] = self._set_aside(spec, error)
                table = None
            self._tables[spec.name] = table if table is not None else await self._create(spec)

    async def recreate(self, spec: TableSpec) -> None:
        """Begin the table anew, empty, with this schema: for tables that are derived from others."""
        async with self._writing, translated(spec.name):
            self._tables.pop(spec.name, None)
            await self._connection.drop_table(spec.name, ignore_missing=True)
        await self.ensure(spec)

    def spec(self, name: str) -> TableSpec:
        """How an open table was declared."""
        return self._specs[name]

    def _table(self, name: str) -> Any:
        if name not in self._tables:
            raise RegistryUnavailable(f"table {name} is closed")
        return self._tables[name]

    def close(self) -> None:
        """Let go of the files. Idempotent."""
        for table in self._tables.values():
            table.close()
        self._tables.clear()
        self._connection.close()

    # ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def rows(self, name: str, where: str = "", *, columns: Sequence[str] = (), limit: int | None = None) -> list[Row]:
        """Rows in no particular order. Raises RegistryDamaged."""
        return await self._collect(name, self._table(name).query(), where, columns, limit)

    async def get(self, name: str, keys: Sequence[str], *, columns: Sequence[str] = ()) -> list[Row]:
        """The rows with these keys, in no particular order; unknown keys are left out. Raises RegistryDamaged."""
        found: list[Row] = []
        for start in range(0, len(keys), _KEYS_A_QUERY):
            where = any_of(self._specs[name].key, keys[start : start + _KEYS_A_QUERY])
            found += await self.rows(name, where, columns=columns)
        return found

    async def count(self, name: str, where: str = "") -> int:
        """How many rows match. Raises RegistryDamaged."""
        async with translated(name):
            return int(await self._table(name).count_rows(where or None))

    async def nearest(
        self,
        name: str,
        column: str,
        vector: npt.NDArray[np.float32],
        *,
        where: str = "",
        columns: Sequence[str] = (),
        limit: int = 10,
    ) -> list[Row]:
        """Rows by cosine distance (``_distance``, 0 … 2), the nearest first; those without a vector are left out."""
        query = self._table(name).query().nearest_to(np.asarray(vector, dtype=np.float32)).column(column)
        wanted = (*columns, "_distance") if columns else ()
        return await self._collect(name, query.distance_type("cosine"), where, wanted, limit)

    async def matching(self, name: str, text: str, *, where: str = "", columns: Sequence[str] = (), limit: int = 10) -> list[Row]:
        """Rows by BM25 (``_score``) over the table's ``words`` column, the best first."""
        spec = self._specs[name]
        query = self._table(name).query().nearest_to_text(text, columns=[spec.words])
        return await self._collect(name, query, where, (*columns, "_score") if columns else (), limit)

    async def _collect(self, name: str, query: Any, where: str, columns: Sequence[str], limit: int | None) -> list[Row]:
        async with translated(name):
            if where:
                query = query.where(where)
            if columns:
                query = query.select(list(columns))
            if limit is not None:
                query = query.limit(limit)
            found: list[Row] = (await query.to_arrow()).to_pylist()
            return found

    # ── writing ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def merge(self, name: str, rows: Sequence[Row]) -> None:
        """Insert or replace rows by key, 2,000 of them in one version of the table. Raises RegistryUnavailable."""
        spec = self._specs[name]
        last = {row[spec.key]: row for row in rows}
        unique = list(last.values())
        for start in range(0, len(unique), _MERGE_ROWS):
            data = self._arrow.Table.from_pylist(unique[start : start + _MERGE_ROWS], schema=self._schema(spec))
            async with self._writing, translated(name, writing=True):
                builder = self._table(name).merge_insert(spec.key).when_matched_update_all().when_not_matched_insert_all()
                await despite_conflicts(partial(builder.execute, data, on_bad_vectors="null"))
                self.commits += 1

    async def update(self, name: str, values: Row, *, where: str) -> None:
        """Set columns of the rows that match, in one version of the table. Raises RegistryUnavailable."""
        async with self._writing, translated(name, writing=True):
            await despite_conflicts(partial(self._table(name).update, values, where=where))
            self.commits += 1

    async def delete(self, name: str, keys: Sequence[str]) -> None:
        """Remove rows by key. Raises RegistryUnavailable."""
        for start in range(0, len(keys), _KEYS_A_QUERY):
            where = any_of(self._specs[name].key, keys[start : start + _KEYS_A_QUERY])
            async with self._writing, translated(name, writing=True):
                await despite_conflicts(partial(self._table(name).delete, where))
                self.commits += 1

    # ── history ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def revisions(self, name: str) -> list[Revision]:
        """The table's own versions that are still kept, oldest first."""
        async with translated(name):
            listed = await self._table(name).list_versions()
            found = [Revision(number=each["version"], at=each["timestamp"].timestamp()) for each in listed]
            return sorted(found, key=lambda each: each.number)

    async def rows_at(self, name: str, revision: int | str, where: str = "") -> list[Row] | None:
        """Rows as they were in a revision or under a tag; None where it is not kept any more."""
        async with translated(name):
            # A handle of its own: checking out moves the handle, and readers must not move with it.
            table = await self._connection.open_table(name)
            try:
                await table.checkout(revision)
                query = table.query()
                rows: list[Row] = (await (query.where(where) if where else query).to_arrow()).to_pylist()
                return rows
            except (ValueError, RuntimeError) as error:
                if "no longer exists" in str(error) or "not found" in str(error).lower():
                    return None
                raise
            finally:
                table.close()

    async def tag(self, name: str, label: str) -> None:
        """Give the newest revision a name, which moves there when it exists already."""
        async with self._writing, translated(name, writing=True):
            table = self._table(name)
            if label in await table.tags.list():
                await table.tags.update(label, await table.version())
            else:
                await table.tags.create(label, await table.version())

    async def tags(self, name: str) -> dict[str, int]:
        """Label -> revision."""
        async with translated(name):
            return {label: int(tag["version"]) for label, tag in (await self._table(name).tags.list()).items()}

    # ── upkeep ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def optimize(self, *, retention_s: float) -> None:
        """Compact files, bring indexes up to date, forget revisions older than ``retention_s`` (or the table's own retention).

        Tags on forgotten revisions go first: LanceDB forgets nothing while one is in the way. Raises RegistryUnavailable.
        """
        for name, spec in self._specs.items():
            keep_s = max(_MIN_RETENTION_S, retention_s if spec.retention_s is None else min(spec.retention_s, retention_s))
            at = {revision.number: revision.at for revision in await self.revisions(name)}
            async with self._writing, translated(name, writing=True):
                table = self._table(name)
                for label, tag in (await table.tags.list()).items():
                    if at.get(int(tag["version"]), 0.0) < self._clock() - keep_s:
                        await table.tags.delete(label)
                await despite_conflicts(partial(table.optimize, cleanup_older_than=timedelta(seconds=keep_s)))

    async def size_bytes(self) -> int:
        """What all tables take; in a folder, files of forgotten and half-written revisions included."""
        if self._folder:
            return await asyncio.to_thread(folder_bytes, self._folder)
        return sum([int((await table.stats())["total_bytes"]) for table in self._tables.values()])

    # ── opening one table ───────────────────────────────────────────────────────────────────────────────────────────────

    async def _open(self, spec: TableSpec) -> Any | None:
        """The table, migrated; None where there is none. Raises RegistryTooNew, RegistryDamaged."""
        async with translated(spec.name, opening=True):
            try:
                table = await self._connection.open_table(spec.name)
            except ValueError as error:
                remains = self._folder is not None and any((self._folder / f"{spec.name}.lance").rglob("*.*"))
                if remains:
                    raise RegistryDamaged(spec.name, str(error)) from error
                return None
            found = await self._version_of(spec)
            if found > spec.version:
                raise RegistryTooNew(spec.name, found=found, known=spec.version)
            for step in spec.migrations[found - 1 :]:
                await migrate(table, step)
            if found != spec.version:
                await self._keep_version(spec)
            if missing := set(spec.columns) - set((await table.schema()).names):
                raise RegistryDamaged(spec.name, f"it has no columns {', '.join(sorted(missing))}")
            return table

    async def _version_of(self, spec: TableSpec) -> int:
        if spec.name == META.name:
            return META.version
        kept = await self.get(META.name, [_VERSION + spec.name])
        # Without a number (meta was lost) it is taken for the newest; the look at its columns says whether it is.
        return int(json.loads(kept[0]["value"])) if kept else spec.version

    async def _keep_version(self, spec: TableSpec) -> None:
        if spec.name == META.name:
            return
        rows = [{"name": _VERSION + spec.name, "value": json.dumps(spec.version)}]
        data = self._arrow.Table.from_pylist(rows, schema=self._schema(META))
        builder = self._tables[META.name].merge_insert("name").when_matched_update_all().when_not_matched_insert_all()
        await builder.execute(data)

    async def _create(self, spec: TableSpec) -> Any:
        async with translated(spec.name, writing=True):
            table = await self._connection.create_table(spec.name, schema=self._schema(spec))
            await self._keep_version(spec)
            await self._index(spec, table)
            return table

    async def _read_through(self, spec: TableSpec, table: Any) -> None:
        """Read everything once: a file that was cut off is only found by reading it. Raises RegistryDamaged."""
        async with translated(spec.name, opening=True):
            async for _ in await table.query().to_batches():
                pass
            await self._index(spec, table)

    async def _index(self, spec: TableSpec, table: Any) -> None:
        if spec.words is not None and not list(await table.list_indices()):
            index = importlib.import_module("lancedb.index")
            await table.create_index(spec.words, config=index.FTS(with_position=False))

    def _set_aside(self, spec: TableSpec, error: RegistryDamaged) -> str:
        if self._folder is None:
            raise RegistryUnavailable(f"{error}; set it aside by hand: it is at {self.uri}") from error
        try:
            return str(set_aside(self._folder / f"{spec.name}.lance", now=self._clock()))
        except OSError as problem:
            raise RegistryUnavailable(f"{error}, and it cannot be set aside: {problem}") from problem

    def _schema(self, spec: TableSpec) -> Any:
        arrow = self._arrow
        scalars = {"text": arrow.string(), "int": arrow.int64(), "float": arrow.float64(), "bool": arrow.bool_()}
        scalars["texts"] = arrow.list_(arrow.string())

        def field(name: str) -> Any:
            kind = spec.columns[name]
            made = arrow.list_(arrow.float32(), kind.dimension) if isinstance(kind, Vector) else scalars[kind]
            return arrow.field(name, made, nullable=name != spec.key)

        return arrow.schema([field(name) for name in spec.columns])
