"""Forgetting what is long over: old revisions of the shape, proposals, and the places of nodes that are gone for good.

Called by topology.py. Revisions that go are compacted into a base, the whole shape at the newest of them with its digest, so that
the digests of those that stay still cover it, and every shape from the base on can be worked out. What would make another number
of what is kept (caps over a lifetime, a day's spending, why a node is there) stays, or is summed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from runtime.controlling.book import Keep
from runtime.ledger.batch import WritingConnection
from runtime.topology import wire
from runtime.topology.moves import OVER
from runtime.topology.shape import Topology
from runtime.topology.steps import after_all, difference

BITE: Final = 200
"""Rows forgotten in one transaction, so that others' writes get in between."""
LEAST_REVISIONS: Final = 100
"""So many stay, however old they are."""
_PART: Final = 50
"""Revisions are compacted when a fiftieth of what is kept is due: the base holds the whole shape and is not written for each."""

_OVER: Final = ", ".join(f"'{status}'" for status in sorted(OVER))
# A day's spending is summed from these rows, and a node that is there names the one that it came from.
_PROPOSALS: Final = f"""
SELECT proposal_id FROM proposals WHERE status IN ({_OVER}) AND coalesce(applied_at, 0.0) < :spent_since
    AND (updated_at < :since OR (created_at, proposal_id) < (SELECT created_at, proposal_id FROM proposals
        ORDER BY created_at DESC, proposal_id DESC LIMIT 1 OFFSET :last))
    AND NOT EXISTS (SELECT 1 FROM members m JOIN nodes n USING (node_id) WHERE m.born_of = proposals.proposal_id)
ORDER BY created_at LIMIT {BITE}
"""
# One that no revision speaks of can never be there again.
_MEMBERS: Final = f"""
SELECT node_id, line FROM members WHERE born_at < :spent_since AND node_id NOT IN (SELECT node_id FROM nodes)
    AND node_id NOT IN (SELECT json_extract(value, '$.node_id') FROM revisions, json_each(revisions.steps)
        WHERE json_extract(value, '$.node_id') IS NOT NULL)
LIMIT {BITE}
"""


def base_of(first: int, last: int, aged: int, keep: Keep) -> int | None:
    """Up to which of the revisions ``first`` to ``last`` go into the base; None: not yet. ``aged`` is the newest that is too old;
    0 where none is."""
    base = max(last - keep.revisions, min(aged, last - min(LEAST_REVISIONS, keep.revisions)))
    return base if base - first + 1 >= max(1, keep.revisions // _PART) else None


def unbroken(previous: str, rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the digests of ``rows`` (in order) cover what they say, from the one before them on."""
    for row in rows:
        body = [*(row[name] for name in ("revision", "at", "who", "proposal_id", "reason")), orjson.loads(row["steps"])]
        if wire.chain(previous, body) != row["digest"]:
            return False
        previous = row["digest"]
    return True


def shape_text(topology: Topology) -> str:
    """The whole shape, as the steps that make it of nothing."""
    return wire.dumps(difference(Topology(), topology))


def shape_of(text: str) -> Topology:
    """The inverse of shape_text. Raises TopologyError."""
    return after_all(Topology(), wire.steps_from(wire.loads(text)))


# ── on the writing connection, each a transaction ───────────────────────────────────────────────────────────────────────


def compact(connection: WritingConnection, *, base: Mapping[str, Any], shape: str) -> int:
    """Put the row ``base`` and all before it into the base; how many went: none where it is not the row that it was."""
    found = connection.execute("SELECT digest FROM revisions WHERE revision = ?", (base["revision"],)).fetchone()
    if found is None or found[0] != base["digest"]:
        return 0
    fields = (base["revision"], base["at"], base["digest"], shape)
    connection.execute("INSERT OR REPLACE INTO revision_base VALUES (1, ?, ?, ?, ?)", fields)
    return connection.execute("DELETE FROM revisions WHERE revision <= ?", (base["revision"],)).rowcount


def proposals(connection: WritingConnection, keep: Keep) -> int:
    """Forget some of the proposals that are over, with their steps and moves; how many."""
    given = {"since": keep.since, "spent_since": keep.day, "last": keep.proposals - 1}
    names = connection.execute(_PROPOSALS, given).fetchall()
    for table in ("proposals", "proposal_moves", "proposal_steps", "approvals"):
        connection.executemany(f"DELETE FROM {table} WHERE proposal_id = ?", names)
    return len(names)


def members(connection: WritingConnection, keep: Keep) -> int:
    """Forget some of the nodes that are gone for good; their ancestors are still said to have had them."""
    rows = connection.execute(_MEMBERS, {"spent_since": keep.day}).fetchall()
    more = "INSERT INTO lost_descendants VALUES (?, 1) ON CONFLICT DO UPDATE SET count = count + 1"
    for node_id, line in rows:
        connection.executemany(more, [(ancestor,) for ancestor in orjson.loads(line)])
        connection.execute("DELETE FROM members WHERE node_id = ?", (node_id,))
    connection.execute("DELETE FROM lost_descendants WHERE node_id NOT IN (SELECT node_id FROM members)")
    return len(rows)


def holds(connection: WritingConnection, keep: Keep) -> int:
    """Forget rejections that hold nothing back any more."""
    return connection.execute("DELETE FROM hold_backs WHERE until < ?", (keep.since,)).rowcount
