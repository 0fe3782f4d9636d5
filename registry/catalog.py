"""The registry in memory, without contents: what the one writer decides on, and what most questions are answered from.

Called by writer.py (which changes it), artifacts.py, search.py, upkeep.py and inspect.py (which read it). Also how records
become rows and back. A ``child`` takes a batch of changes that its parent sees all at once, or never. Imports nothing of the
project but this package's words.
"""

from __future__ import annotations

import dataclasses
import json
from collections import ChainMap
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from registry.evidence import Usage
from registry.records import Artifact, RegistryDamaged, Review, Standing, Star, UnknownArtifact, Version, VersionId
from registry.table_specs import Column, TableSpec
from registry.tables import Row

R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A name for how things stood at Unix time ``at``."""

    name: str
    by: str
    at: float


Record = Version | Standing | Artifact | Review | Star | Snapshot

_CLASSES: Mapping[str, type[Any]] = {
    "versions": Version,
    "standings": Standing,
    "artifacts": Artifact,
    "reviews": Review,
    "stars": Star,
    "snapshots": Snapshot,
}
_TABLES = {cls: name for name, cls in _CLASSES.items()}
_KEYS = {"versions": "version_id", "standings": "version_id", "artifacts": "name", "snapshots": "name"}
_OWN_KEY = "key"
"""Reviews and stars are identified by several fields; this column joins them."""


def table_of(record: Record) -> str:
    """The table that holds records of this class."""
    return _TABLES[type(record)]


def key_of(record: Record) -> str:
    """What identifies the record in its table."""
    if isinstance(record, Review):
        return f"{record.version_id}|{record.round}|{record.role}|{record.reviewer}"
    if isinstance(record, Star):
        return f"{record.version_id}|{record.by}"
    return str(getattr(record, _KEYS[table_of(record)]))


def to_row(record: Record) -> Row:
    """The record as a row of its table, without ``seq``: JSON values only."""
    row: Row = {each.name: getattr(record, each.name) for each in dataclasses.fields(record)}
    for name, value in row.items():
        if isinstance(value, tuple):
            row[name] = list(value)
        elif isinstance(value, Mapping):
            row[name] = json.dumps(value, sort_keys=True)
    if table_of(record) not in _KEYS:
        row[_OWN_KEY] = key_of(record)
    return row


def from_row(table: str, row: Mapping[str, Any]) -> Any:
    """The inverse of ``to_row``; columns that it does not know are left out. Raises RegistryDamaged."""
    cls = _CLASSES[table]
    try:
        values = {each.name: row[each.name] for each in dataclasses.fields(cls) if each.name in row}
        if table == "versions":
            values.setdefault("content", "")
        for name, value in values.items():
            if isinstance(value, list):
                values[name] = tuple(value)
            elif name == "parameters":
                values[name] = json.loads(value)
        return cls(**values)
    except (TypeError, ValueError, KeyError) as error:
        raise RegistryDamaged(table, f"a row cannot be read: {error}") from error


def _columns(cls: type[Any]) -> dict[str, Column]:
    kinds: dict[str, Column] = {"int": "int", "float": "float", "bool": "bool"}
    found: dict[str, Column] = {}
    for each in dataclasses.fields(cls):
        declared = str(each.type).removesuffix(" | None")
        found[each.name] = "texts" if declared.startswith("tuple") else kinds.get(declared, "text")
    return found


def _spec(table: str, cls: type[Any]) -> TableSpec:
    key = _KEYS.get(table, _OWN_KEY)
    return TableSpec(name=table, key=key, columns={key: "text", **_columns(cls), "seq": "int"})


SPECS: tuple[TableSpec, ...] = tuple(_spec(table, cls) for table, cls in _CLASSES.items())
"""The tables whose rows come from the journal, in the order in which they are written: a content before what speaks of it."""

USAGE = TableSpec(name="usage", key="version_id", columns=_columns(Usage), retention_s=3600.0)
"""Copied from the evidence of the ledger, so that it can be read beside the rest; its own past is in the ledger."""


@dataclass(slots=True)
class Catalog:
    """Versions here have no content."""

    versions: MutableMapping[VersionId, Version] = field(default_factory=dict)
    standings: MutableMapping[VersionId, Standing] = field(default_factory=dict)
    artifacts: MutableMapping[str, Artifact] = field(default_factory=dict)
    by_name: MutableMapping[str, tuple[VersionId, ...]] = field(default_factory=dict)
    parents: MutableMapping[VersionId, tuple[VersionId, ...]] = field(default_factory=dict)
    reviews: MutableMapping[VersionId, tuple[Review, ...]] = field(default_factory=dict)
    stars: MutableMapping[VersionId, tuple[Star, ...]] = field(default_factory=dict)
    snapshots: MutableMapping[str, Snapshot] = field(default_factory=dict)
    usage: dict[VersionId, Usage] = field(default_factory=dict)

    def put(self, record: Record) -> None:
        """Take in one record; an older one of the same key goes."""
        match record:
            case Version():
                if record.version_id not in self.versions:
                    self.by_name[record.name] = (*self.by_name.get(record.name, ()), record.version_id)
                self.versions[record.version_id] = dataclasses.replace(record, content="")
                self.parents[record.version_id] = record.parents
            case Standing():
                self.standings[record.version_id] = record
            case Artifact():
                self.artifacts[record.name] = record
            case Review():
                kept = [each for each in self.reviews.get(record.version_id, ()) if key_of(each) != key_of(record)]
                self.reviews[record.version_id] = (*kept, record)
            case Star():
                given = [each for each in self.stars.get(record.version_id, ()) if each.by != record.by]
                self.stars[record.version_id] = (*given, record)
            case Snapshot():
                self.snapshots[record.name] = record

    def child(self) -> Catalog:
        """The same to read; what is put into it stays out of this one until ``adopt``."""
        layers: dict[str, Any] = {name: ChainMap({}, getattr(self, name)) for name in _LAYERED}
        return Catalog(**layers, usage=self.usage)

    def adopt(self, child: Catalog) -> None:
        """Take over what was put into ``child``."""
        for name in _LAYERED:
            layer: ChainMap[Any, Any] = getattr(child, name)
            getattr(self, name).update(layer.maps[0])

    def version(self, version_id: VersionId) -> Version:
        """Raises UnknownArtifact. A version counts once it has a standing: before that it is half written."""
        found = self.versions.get(version_id)
        if found is None or version_id not in self.standings:
            raise UnknownArtifact(f"there is no version {version_id}")
        return found

    def artifact(self, name: str) -> Artifact:
        """Raises UnknownArtifact."""
        found = self.artifacts.get(name)
        if found is None:
            raise UnknownArtifact(f"there is no artifact {name}")
        return found


_LAYERED = tuple(each.name for each in dataclasses.fields(Catalog) if each.name != "usage")
