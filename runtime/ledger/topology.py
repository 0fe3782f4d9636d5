"""The shape of the network and its changes in the ledger. Implements ``runtime.controlling.book.Book``.

Built by daemon.py. What belongs together is one transaction, written at once (an operator waits for it) and synced to the disk.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

import aiosqlite
import orjson

from agents.records import Json, NodeId
from agents.strategies.compose import to_json
from runtime.controlling.book import Added, Begun, Case, Done, Entry, Held, Keep, Kept, Moved, Phase, Revised
from runtime.ledger import topology_trim as trimming
from runtime.ledger.batch import WritingConnection
from runtime.ledger.desired import node_to_json
from runtime.ledger.records import LedgerError, LedgerUnavailable
from runtime.ledger.store import Ledger
from runtime.ledger.topology_rows import CASE_COLUMNS, case_of, case_row, member_of, step_json
from runtime.topology import wire
from runtime.topology.moves import OVER, check_move
from runtime.topology.records import HoldBack, Status, TopologyError
from runtime.topology.shape import MemberStep, PoolStep, ProposalId, RouterStep, Step, Topology, TuneStep
from runtime.topology.steps import after_all, inverse

MAX_BIRTHS: Final = 1000
MAX_WHY_CHARS: Final = 2000
_TRIES: Final = 3
_ROUTER: Final = "topology.router"
_TUNED: Final = "topology.tuned"
_POOL: Final = "topology.pool."
_OPEN_STATES: Final = ", ".join(f"'{status}'" for status in Status if status not in OVER)
_OPEN: Final = f"SELECT * FROM proposals WHERE status IN ({_OPEN_STATES}) ORDER BY created_at, proposal_id"
_OPEN_STEPS: Final = f"SELECT * FROM proposal_steps WHERE proposal_id IN (SELECT proposal_id FROM ({_OPEN}))"
_SAVE: Final = f"INSERT OR REPLACE INTO proposals ({', '.join(CASE_COLUMNS)}) VALUES ({', '.join('?' * len(CASE_COLUMNS))})"


class TopologyLedger:
    """See ``Book``."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    # ── writing ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def write(self, *entries: Entry) -> bool:
        for entry in entries:
            if isinstance(entry, Moved):
                check_move(entry.was.status, entry.case.proposal.status)

        def apply(connection: WritingConnection) -> bool:
            if not all(_stands(connection, entry) for entry in entries if isinstance(entry, Moved)):
                return False
            for entry in entries:
                _write(connection, entry)
            return True

        written = self._ledger.act(apply, weight=2000 * len(entries), synced=True)
        with contextlib.suppress(LedgerUnavailable):  # while the disk refuses, the write waits on
            await self._ledger.flush()
        return await written

    # ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def load(self) -> Kept:
        topology = await self._topology()
        rows = await self._rows(_OPEN, ())
        done: dict[tuple[ProposalId, Phase], set[int]] = defaultdict(set)
        for row in await self._rows(_OPEN_STEPS, ()):
            if row["finished_at"] is not None:
                done[ProposalId(row["proposal_id"]), row["phase"]].add(row["ordinal"])
        holds = [HoldBack(**row) for row in await self._rows("SELECT * FROM hold_backs", ())]
        births = await self._rows("SELECT born_at, line FROM members ORDER BY born_at", ())
        last = await self._rows("SELECT digest FROM revisions ORDER BY revision DESC LIMIT 1", ())
        descendants = Counter(NodeId(name) for row in births for name in orjson.loads(row["line"]))
        for row in await self._rows("SELECT node_id, count FROM lost_descendants", ()):
            descendants[NodeId(row["node_id"])] += row["count"]
        return Kept(
            topology=topology,
            cases=[case_of(row) for row in rows],
            done={key: frozenset(value) for key, value in done.items()},
            holds=holds,
            descendants=descendants,
            births=[row["born_at"] for row in births[-MAX_BIRTHS:]],
            digest=last[0]["digest"] if last else "",
        )

    async def _topology(self) -> Topology:
        """The shape as it is. A node that cannot be read any more is left out, and logged."""
        places = {row["node_id"]: row for row in await self._rows("SELECT * FROM members", ())}
        nodes = await self._ledger.nodes()
        members = {spec.node_id: member_of(spec, life, places.get(spec.node_id)) for spec, life in nodes}
        meta = await self._rows("SELECT name, value FROM meta WHERE name LIKE 'topology.%'", ())
        last = await self._rows("SELECT revision, at FROM revisions ORDER BY revision DESC LIMIT 1", ())
        return Topology(
            revision=last[0]["revision"] if last else 0,
            at=last[0]["at"] if last else 0.0,
            members=members,
            router=next((row["value"] for row in meta if row["name"] == _ROUTER), None),
            tuned=next((tuple(orjson.loads(row["value"])) for row in meta if row["name"] == _TUNED), ()),
            pools={row["name"][len(_POOL) :]: int(row["value"]) for row in meta if row["name"].startswith(_POOL)},
        )

    async def at(self, revision: int) -> Topology | None:
        for _ in range(_TRIES):
            with contextlib.suppress(TopologyError):
                return await self._at(revision)
        raise LedgerError(f"revision {revision} cannot be worked out")

    async def _at(self, revision: int) -> Topology | None:
        """Raises Stale where the present and the steps do not fit: a revision came between the reads, or the past is broken."""
        base = await self._base()
        if base is not None and revision <= base["revision"]:
            if revision < base["revision"]:
                return None
            past = await asyncio.to_thread(trimming.shape_of, base["shape"])
            return replace(past, revision=revision, at=base["at"])
        now = await self._topology()
        rows = await self._rows("SELECT * FROM revisions WHERE revision >= ? ORDER BY revision DESC", (max(revision, 1),))
        if revision == 0 and (not rows or rows[-1]["revision"] == 1):
            started = 0.0
        elif rows and rows[-1]["revision"] == revision:
            started = rows.pop()["at"]
        else:
            return None
        past = await asyncio.to_thread(_back, now, [row["steps"] for row in rows])
        return replace(past, revision=revision, at=started)

    async def _base(self) -> dict[str, Any] | None:
        rows = await self._rows("SELECT * FROM revision_base", ())
        return rows[0] if rows else None

    async def oldest(self) -> int:
        base = await self._base()
        return 0 if base is None else int(base["revision"])

    async def trim(self, keep: Keep) -> int:
        """Raises LedgerError where the past cannot be worked out, or was changed: then no revision is forgotten."""
        gone = await self._some(trimming.proposals, keep)
        gone += await self._compact(keep)
        await self._some(trimming.members, keep)
        await self._ledger.act(lambda connection: trimming.holds(connection, keep))
        return gone

    async def _some(self, forget: Callable[[WritingConnection, Keep], int], keep: Keep) -> int:
        """All of a sort, in bites."""
        gone = 0
        while count := await self._ledger.act(lambda connection: forget(connection, keep), weight=20_000):
            gone += count
        return gone

    async def _compact(self, keep: Keep) -> int:
        sql = """SELECT min(revision) AS first, max(revision) AS last,
            coalesce(max(CASE WHEN at < ? THEN revision END), 0) AS aged FROM revisions"""
        (span,) = await self._rows(sql, (keep.since,))
        base = None if span["first"] is None else trimming.base_of(span["first"], span["last"], span["aged"], keep)
        if base is None or (shape := await self.at(base)) is None:
            return 0
        rows = await self._rows("SELECT * FROM revisions WHERE revision <= ? ORDER BY revision", (base,))
        before = await self._base()
        if not await asyncio.to_thread(trimming.unbroken, "" if before is None else before["digest"], rows):
            raise LedgerError(f"revisions up to {base} are not what their digests say: they are left as they are")
        text = await asyncio.to_thread(trimming.shape_text, shape)
        return await self._ledger.act(lambda connection: trimming.compact(connection, base=rows[-1], shape=text), synced=True)

    async def spent_usd(self, *, since: float) -> float:
        sql = "SELECT coalesce(sum(json_extract(draft, '$.cost_usd')), 0.0) AS usd FROM proposals WHERE applied_at >= ?"
        return float((await self._rows(sql, (since,)))[0]["usd"])

    async def revisions(self, *, limit: int, before: int | None = None) -> list[dict[str, Json]]:
        sql = "SELECT * FROM revisions WHERE ?1 IS NULL OR revision < ?1 ORDER BY revision DESC LIMIT ?2"
        return [_parsed(row) for row in await self._rows(sql, (before, limit))]

    async def of_node(self, node: str, *, limit: int) -> list[dict[str, Json]]:
        sql = """SELECT * FROM revisions WHERE EXISTS (
            SELECT 1 FROM json_each(steps) WHERE ?1 IN (json_extract(value, '$.node_id'),
            json_extract(value, '$.before.spec.name'), json_extract(value, '$.after.spec.name')))
            ORDER BY revision DESC LIMIT ?2"""
        return [_parsed(row) for row in await self._rows(sql, (node, limit))]

    async def cases(self, *, status: str | None, limit: int, before: float | None = None) -> list[Case]:
        sql = """SELECT * FROM proposals WHERE (?1 IS NULL OR status = ?1) AND (?2 IS NULL OR created_at < ?2)
            ORDER BY created_at DESC, proposal_id DESC LIMIT ?3"""
        return [case_of(row) for row in await self._rows(sql, (status, before, limit))]

    async def case(self, proposal_id: str) -> Case | None:
        rows = await self._rows("SELECT * FROM proposals WHERE proposal_id = ?", (proposal_id,))
        return case_of(rows[0]) if rows else None

    async def moves(self, proposal_id: str) -> list[dict[str, Json]]:
        sql = "SELECT at, who, was, became, digest, why FROM proposal_moves WHERE proposal_id = ? ORDER BY seq"
        return await self._rows(sql, (proposal_id,))

    async def _rows(self, sql: str, fields: tuple[Any, ...]) -> list[dict[str, Any]]:
        try:
            return [dict(row) for row in await self._ledger.reader.execute_fetchall(sql, fields)]
        except (aiosqlite.Error, ValueError) as error:  # ValueError: the connection is closed
            raise LedgerUnavailable(f"the ledger cannot be read: {error}") from error


def _back(topology: Topology, steps: Sequence[str]) -> Topology:
    for text in steps:
        topology = after_all(topology, inverse(wire.steps_from(wire.loads(text))))
    return topology


def _parsed(row: dict[str, Any]) -> dict[str, Json]:
    return {**row, "steps": orjson.loads(row["steps"])}


# ── one entry ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _stands(connection: WritingConnection, entry: Moved) -> bool:
    was = entry.was
    sql = "SELECT status, digest, updated_at FROM proposals WHERE proposal_id = ?"
    row = connection.execute(sql, (was.proposal_id,)).fetchone()
    return row is not None and tuple(row) == (was.status, was.digest, was.updated_at)


def _write(connection: WritingConnection, entry: Entry) -> None:
    match entry:
        case Added(case=case, who=who):
            connection.execute(_SAVE, case_row(case))
            _moved(connection, case, None, who, case.proposal.draft.reason)
        case Moved():
            _move(connection, entry)
        case Begun():
            sql = """INSERT INTO proposal_steps VALUES (?1, ?2, ?3, 1, ?4, NULL, ?5)
                ON CONFLICT DO UPDATE SET attempts = attempts + 1, begun_at = ?4, error = ?5"""
            fields = (entry.proposal_id, entry.phase, entry.ordinal, entry.at, entry.error[:MAX_WHY_CHARS] or None)
            connection.execute(sql, fields)
        case Done():
            sql = """INSERT INTO proposal_steps VALUES (?1, ?2, ?3, 1, ?4, ?4, NULL)
                ON CONFLICT DO UPDATE SET finished_at = ?4, error = NULL"""
            connection.execute(sql, (entry.proposal_id, entry.phase, entry.ordinal, entry.at))
        case Revised():
            _revise(connection, entry)
        case Held(hold=hold):
            held = (hold.key, hold.until, hold.reason[:MAX_WHY_CHARS], hold.who, hold.times)
            connection.execute("INSERT OR REPLACE INTO hold_backs VALUES (?, ?, ?, ?, ?)", held)


def _moved(connection: WritingConnection, case: Case, was: Status | None, who: str, why: str) -> None:
    each = case.proposal
    sql = "INSERT INTO proposal_moves (proposal_id, at, who, was, became, digest, why) VALUES (?, ?, ?, ?, ?, ?, ?)"
    fields = (each.proposal_id, each.updated_at, who, was, each.status, each.digest, why[:MAX_WHY_CHARS])
    connection.execute(sql, fields)


def _move(connection: WritingConnection, entry: Moved) -> None:
    now, was = entry.case.proposal, entry.was
    connection.execute(_SAVE, case_row(entry.case))
    _moved(connection, entry.case, was.status, entry.who, entry.why)
    if now.status is Status.APPROVED:
        fields = (now.proposal_id, now.digest, entry.who, now.updated_at)
        connection.execute("INSERT INTO approvals VALUES (?, ?, ?, ?, NULL)", fields)
    if was.status is Status.APPLYING and now.status is Status.VERIFYING:
        sql = "UPDATE approvals SET consumed_at = ? WHERE proposal_id = ? AND consumed_at IS NULL"
        connection.execute(sql, (now.updated_at, now.proposal_id))


def _revise(connection: WritingConnection, entry: Revised) -> None:
    row = connection.execute("SELECT digest FROM revisions ORDER BY revision DESC LIMIT 1").fetchone()  # one always stays
    steps = step_json(entry.steps)
    body = [entry.revision, entry.at, entry.who, entry.proposal_id, entry.reason, steps]
    fields = (*body[:5], orjson.dumps(steps).decode(), wire.chain(row[0] if row else "", body))
    connection.execute("INSERT INTO revisions VALUES (?, ?, ?, ?, ?, ?, ?)", fields)
    for step in entry.steps:
        _lay(connection, step, entry.at)


def _lay(connection: WritingConnection, step: Step, at: float) -> None:
    match step:
        case MemberStep(node_id=node_id, after=None):
            connection.execute("DELETE FROM nodes WHERE node_id = ?", (node_id,))
        case MemberStep(node_id=node_id, after=member) if member is not None:
            fields = (node_id, node_to_json(member.spec, to_json), member.life, at)
            connection.execute("INSERT OR REPLACE INTO nodes VALUES (?, ?, ?, ?)", fields)
            line, patterns = orjson.dumps(member.line).decode(), orjson.dumps(member.patterns).decode()
            place = (node_id, line, patterns, member.born_at, member.born_of, orjson.dumps(member.also).decode())
            connection.execute("INSERT OR REPLACE INTO members VALUES (?, ?, ?, ?, ?, ?)", place)
        case RouterStep(after=version):
            _set(connection, _ROUTER, version)
        case TuneStep(after=settings):
            _set(connection, _TUNED, orjson.dumps(settings).decode() if settings else None)
        case PoolStep(name=name, after=size):
            _set(connection, _POOL + name, None if size is None else str(size))


def _set(connection: WritingConnection, name: str, value: str | None) -> None:
    connection.execute("DELETE FROM meta WHERE name = ?", (name,))
    if value is not None:
        connection.execute("INSERT INTO meta VALUES (?, ?)", (name, value))
