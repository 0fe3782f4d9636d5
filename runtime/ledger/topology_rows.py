"""Rows of proposals and members, and back. Called by topology.py. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import orjson

from agents.records import Json, NodeId, NodeSpec
from runtime.controlling.book import Case
from runtime.topology import wire
from runtime.topology.records import Proposal, Status
from runtime.topology.shape import Member, PatternId, ProposalId, Step

CASE_COLUMNS: Final = (
    *("proposal_id", "kind", "key", "status", "digest", "base_revision", "created_at", "expires_at", "updated_at"),
    *("until", "applied_at", "extended", "note", "draft", "plan", "measured"),
)
_MAX_NOTE_CHARS: Final = 2000


def case_row(case: Case) -> tuple[Any, ...]:
    """In the order of CASE_COLUMNS."""
    each = case.proposal
    measured = None if case.measured is None else orjson.dumps(case.measured).decode()
    return (
        *(each.proposal_id, str(each.kind), each.key, str(each.status), each.digest, each.base_revision),
        *(each.created_at, each.expires_at, each.updated_at, each.until, each.applied_at, each.extended),
        *(each.note[:_MAX_NOTE_CHARS], wire.dumps(each.draft), wire.dumps(case.plan), measured),
    )


def case_of(row: Mapping[str, Any]) -> Case:
    """Raises BadProposal for a row that cannot be read."""
    proposal = Proposal(
        proposal_id=ProposalId(row["proposal_id"]),
        draft=wire.draft_from(wire.loads(row["draft"])),
        base_revision=row["base_revision"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        digest=row["digest"],
        status=Status(row["status"]),
        updated_at=row["updated_at"],
        until=row["until"],
        applied_at=row["applied_at"],
        extended=row["extended"],
        note=row["note"],
    )
    measured = None if row["measured"] is None else orjson.loads(row["measured"])
    return Case(proposal=proposal, plan=wire.plan_from(wire.loads(row["plan"])), measured=measured)


def member_of(spec: NodeSpec, life: str, place: Mapping[str, Any] | None) -> Member:
    """A node of the ledger. One that the topology never laid itself (``place`` None) has no ancestors."""
    lives: Literal["live", "parked"] = "live" if life == "live" else "parked"
    if place is None:
        return Member(spec=spec, life=lives)
    return Member(
        spec=spec,
        life=lives,
        line=tuple(map(NodeId, orjson.loads(place["line"]))),
        patterns=tuple(map(PatternId, orjson.loads(place["patterns"]))),
        also=tuple(map(str, orjson.loads(place["also"]))),
        born_at=place["born_at"],
        born_of=None if place["born_of"] is None else ProposalId(place["born_of"]),
    )


def step_json(steps: Sequence[Step]) -> Json:
    return wire.encode(tuple(steps))
