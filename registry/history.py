"""How things stood: at a time, under a snapshot's name, and back to it.

Called by the operator routes. Reads the tables' own past versions while they are kept, and the journal beyond that. Nothing
that was published is ever lost: going back changes states and aliases, and what did not exist yet is archived. Imports nothing
of the project but this package.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from registry import versions
from registry.artifacts import Registry
from registry.catalog import Catalog, Record, Snapshot, from_row
from registry.records import MOVES, Artifact, NotAllowed, Standing, State, UnknownArtifact, VersionId
from registry.rules import RESTORED, restored, tagged

MAX_SNAPSHOTS = 1000
_TABLES = ("standings", "artifacts")


@dataclass(frozen=True, slots=True, kw_only=True)
class Heads:
    """What could move, as it stood at Unix time ``at``; ``source`` says where that was read."""

    at: float
    source: str
    standings: dict[VersionId, Standing]
    artifacts: dict[str, Artifact]


async def heads_at(registry: Registry, at: float) -> Heads:
    """Raises RegistryUnavailable, RegistryDamaged."""
    rows: dict[str, Sequence[object]] = {}
    for table in _TABLES:
        kept = [revision for revision in await registry.tables.revisions(table) if revision.at <= at]
        found = await registry.tables.rows_at(table, kept[-1].number) if kept else None
        if found is None or registry.writer.behind:
            return await _from_journal(registry, at)
        rows[table] = [from_row(table, row) for row in found]
    return _heads(at, "tables", rows)


async def heads_of(registry: Registry, snapshot: str) -> Heads:
    """Raises UnknownArtifact, RegistryUnavailable, RegistryDamaged."""
    taken = registry.catalog.snapshots.get(snapshot)
    if taken is None:
        raise UnknownArtifact(f"there is no snapshot {snapshot}")
    rows: dict[str, Sequence[object]] = {}
    for table in _TABLES:
        found = await registry.tables.rows_at(table, _label(snapshot))
        if found is None:
            return await _from_journal(registry, taken.at)
        rows[table] = [from_row(table, row) for row in found]
    return _heads(taken.at, "tables", rows)


async def _from_journal(registry: Registry, at: float) -> Heads:
    rows = {table: [from_row(table, put.row) for put in await registry.journal.newest(table, before=at)] for table in _TABLES}
    return _heads(at, "ledger", rows)


def _heads(at: float, source: str, rows: Mapping[str, Sequence[object]]) -> Heads:
    standings = {each.version_id: each for each in rows["standings"] if isinstance(each, Standing)}
    artifacts = {each.name: each for each in rows["artifacts"] if isinstance(each, Artifact)}
    return Heads(at=at, source=source, standings=standings, artifacts=artifacts)


async def snapshot(registry: Registry, name: str, *, by: str) -> Snapshot:
    """Name how things stand now; a name that is taken moves. Raises InvalidArtifact, RegistryUnavailable."""
    versions.check_name(name)
    versions.check_author(by, field="by")
    taken: list[Snapshot] = []

    def change(catalog: Catalog) -> Sequence[Record]:
        if len(catalog.snapshots) >= MAX_SNAPSHOTS and name not in catalog.snapshots:
            raise NotAllowed(f"there are {MAX_SNAPSHOTS} snapshots already; take one of their names again")
        taken.append(Snapshot(name=name, by=by, at=registry.clock()))
        return [taken[-1]]

    await registry.writer.change(change)
    for table in _TABLES:
        await registry.tables.tag(table, _label(name))
    return taken[-1]


async def restore_snapshot(registry: Registry, name: str, *, by: str) -> int:
    """Bring states and aliases back to a snapshot; returns how many versions and artifacts changed.

    Versions that came later are archived. A state is only brought back along allowed moves, and nothing becomes published that
    never passed a check. Raises UnknownArtifact, RegistryUnavailable.
    """
    versions.check_author(by, field="by")
    then = await heads_of(registry, name)

    def change(catalog: Catalog) -> Sequence[Record]:
        reason = f"back to snapshot {name}"
        records: list[Record] = []
        states: dict[VersionId, State] = {}
        for version_id, standing in catalog.standings.items():
            old = then.standings.get(version_id)
            to = old.state if old is not None else "archived"
            successor = old.successor if old is not None else None
            if to == "published" and to != standing.state:
                to = restored(standing, was_published=True, reviews=catalog.reviews.get(version_id, ()))
            if to != standing.state and reachable(standing.state, to):
                tags = tagged(standing.tags, RESTORED) if to == "published" else standing.tags
                new = replace(standing, state=to, successor=successor, reason=reason, by=by, at=registry.clock(), tags=tags)
                records.append(new)
            else:
                to = standing.state
            states[version_id] = to
        for artifact in catalog.artifacts.values():
            before = then.artifacts.get(artifact.name)
            kept = {
                alias: target if target is not None and states.get(target) == "published" else None
                for alias, target in (
                    ("champion", before.champion if before else None),
                    ("challenger", before.challenger if before else None),
                )
            }
            back = replace(artifact, champion=kept["champion"], challenger=kept["challenger"])
            if back != artifact:
                records.append(back)
        return records

    return len(await registry.writer.change(change))


async def restore(registry: Registry, reference: str, *, by: str, reason: str) -> list[Standing]:
    """Take versions back into use: published where they were that before, unless a security check failed them, else drafts. Of a
    bare name, those that were published, and all where none was.

    Evidence does not deprecate them again by itself. Raises NotAllowed, UnknownArtifact, InvalidArtifact, RegistryUnavailable.
    """
    versions.check_author(by, field="by")
    name, which = versions.split_reference(reference)
    registry.catalog.artifact(name)
    chosen = [registry.find(reference)] if which else registry.versions_of(name, "deprecated", "archived")
    if not chosen:
        raise NotAllowed(f"no version of {name} is deprecated or archived")
    once = [each for each in chosen if await _was_published(registry, each.version_id)]
    done: list[Standing] = []
    for each in once if once and not which else chosen:
        standing = registry.catalog.standings[each.version_id]
        if standing.state not in ("deprecated", "archived"):
            raise NotAllowed(f"{each.version_id} is {standing.state} and cannot be restored")
        to = restored(standing, was_published=each in once, reviews=registry.catalog.reviews.get(each.version_id, ()))
        done += await registry.move(each.version_id, to, by=by, reason=reason, tag=RESTORED if to == "published" else "")
    return done


async def _was_published(registry: Registry, version_id: VersionId) -> bool:
    standing = registry.catalog.standings[version_id]
    if standing.state == "deprecated" or standing.cases is None:
        return standing.cases is not None
    return any(put.row["state"] == "published" for put in await registry.journal.history("standings", [version_id]))


def reachable(state: State, to: State) -> bool:
    """Whether allowed moves lead from ``state`` to ``to``."""
    seen: set[State] = set()
    waiting: list[State] = [state]
    while waiting:
        each = waiting.pop()
        for further in MOVES[each] - seen:
            seen.add(further)
            waiting.append(further)
    return to in seen


async def log_of(registry: Registry, name: str, *, limit: int = 200) -> list[dict[str, object]]:
    """What happened to an artifact, the newest first: publications, moves, aliases, with who and why. Raises UnknownArtifact."""
    registry.catalog.artifact(name)
    keys = [str(each) for each in registry.catalog.by_name.get(name, ())]
    found = [*await registry.journal.history("standings", keys, limit=limit)]
    found += await registry.journal.history("artifacts", [name], limit=limit)
    entries: list[dict[str, object]] = []
    for put in sorted(found, key=lambda each: each.seq, reverse=True)[:limit]:
        record = from_row(put.table, put.row)
        if isinstance(record, Standing):
            entry = {"version": record.version_id, "state": record.state, "by": record.by, "reason": record.reason}
            entries.append({"at": put.at, **entry, "tags": list(record.tags), "successor": record.successor})
        elif isinstance(record, Artifact):
            entries.append({"at": put.at, "champion": record.champion, "challenger": record.challenger, "latest": record.latest})
    return entries


def _label(snapshot: str) -> str:
    return f"snapshot-{snapshot}"
