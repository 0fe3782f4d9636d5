"""The shape, revisions and proposals as JSON and in words, for the surfaces. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from agents.records import Json, NodeId
from agents.strategies.compose import strategy_name
from runtime.cluster import NodeStatus
from runtime.controlling.book import Case
from runtime.topology.approval import risk_of
from runtime.topology.shape import Member, MemberStep, PoolStep, RouterStep, Step, Topology, TuneStep
from runtime.topology.steps import act_of
from runtime.topology.wire import encode

_MAX_SHOWN = 300


def shape_view(topology: Topology, statuses: Mapping[NodeId, NodeStatus] | None) -> dict[str, Json]:
    """``statuses`` are those of the live nodes; None for a past revision."""
    members = topology.members.values()
    return {
        "revision": topology.revision,
        "at": topology.at,
        "live": len(topology.live),
        "parked": len(members) - len(topology.live),
        "router": topology.router,
        "tuned": list(topology.tuned),
        "pools": dict(topology.pools),
        "nodes": [member_view(member, (statuses or {}).get(member.node_id)) for member in members],
    }


def member_view(member: Member, status: NodeStatus | None) -> dict[str, Json]:
    """A node that should be there; ``state`` is how it is, where that is known."""
    spec = member.spec
    return {
        "id": spec.node_id,
        "name": spec.name,
        "role": spec.role,
        "speciality": spec.speciality,
        "locale": spec.locale,
        "strategy": strategy_name(spec.strategy),
        "backends": list(spec.backends),
        "prompt": spec.prompt[:_MAX_SHOWN],
        "desired": member.life,
        "state": status.state if status is not None else None,
        "parent": member.parent,
        "depth": member.depth,
        "patterns": list(member.patterns),
        "also": list(member.also),
        "born_at": member.born_at or None,
        "born_of": member.born_of,
    }


def step_words(step: Step) -> str:
    """One step, as a person says it."""
    match step:
        case MemberStep():
            return _node_words(step)
        case RouterStep(before=before, after=after):
            return f"route by {after or 'what was learned alone'} (before: {before or 'what was learned alone'})"
        case TuneStep(before=was, after=then):
            return f"route by {_settings(then)} (before: {_settings(was)})"
        case PoolStep(name=name, before=before, after=after):
            return f"keep {_size(after)} of the pool {name} ready (before: {_size(before)})"


def _settings(settings: tuple[str, ...]) -> str:
    return ", ".join(settings) or "the configuration's settings"


def _size(size: int | None) -> str:
    return "as many as configured" if size is None else str(size)


def _node_words(step: MemberStep) -> str:
    member = step.after or step.before
    name = member.spec.name if member is not None else step.node_id
    act = act_of(step)
    if act == "spawn" and member is not None:
        return f"spawn {member.spec.role} {name} ({step.node_id})"
    if act == "end":
        return f"delete {name} ({step.node_id})"
    if act in ("wake", "park"):
        return f"{act} {name} ({step.node_id})"
    if step.before is None:
        return f"add {name} ({step.node_id}), parked"
    return f"change {', '.join(_changed(step)) or 'nothing'} of {name} ({step.node_id})"


def _changed(step: MemberStep) -> Iterator[str]:
    if step.before is None or step.after is None:
        return
    before, after = encode(step.before), encode(step.after)
    yield from (name for name in before if name != "spec" and before[name] != after[name])
    yield from (name for name in before["spec"] if before["spec"][name] != after["spec"][name])


def case_view(case: Case, *, waits: str | None = None, measured: Json = None) -> dict[str, Json]:
    """A proposal in short."""
    each, draft = case.proposal, case.proposal.draft
    return {
        "id": each.proposal_id,
        "kind": str(each.kind),
        "subject": each.subject,
        "node": _node_name(case),
        "status": str(each.status),
        "hash": each.digest,
        "reason": draft.reason,
        "origin": draft.origin,
        "risk": risk_of(each, case.plan),
        "share": draft.share,
        "cost_usd": draft.cost_usd,
        "simulated": draft.simulated,
        "base_revision": each.base_revision,
        "created_at": each.created_at,
        "expires_at": each.expires_at,
        "updated_at": each.updated_at,
        "until": each.until,
        "applied_at": each.applied_at,
        "note": each.note,
        "waits_for": waits,
        "steps": [step_words(step) for step in case.plan.apply],
        "steps_when_kept": [step_words(step) for step in case.plan.finish],
        "predictions": [
            {**encode(one), "units": one.units, "change": one.change, "limit": one.limit} for one in draft.predictions
        ],
        "measured": case.measured if measured is None else measured,
    }


def _node_name(case: Case) -> str | None:
    """The name of the node that it is about, where its steps tell it."""
    steps = [step for step in (*case.plan.apply, *case.plan.finish) if isinstance(step, MemberStep)]
    about = [step for step in steps if step.node_id == case.proposal.subject or step.before is None]
    members = (step.after or step.before for step in about)
    return next((member.spec.name for member in members if member is not None), None)


def case_whole(case: Case, moves: Sequence[Json], *, waits: str | None = None, measured: Json = None) -> dict[str, Json]:
    """A proposal with everything that speaks for it and who decided what."""
    draft = case.proposal.draft
    return {
        **case_view(case, waits=waits, measured=measured),
        "payload": encode(draft.payload),
        "evidence": [encode(one) for one in draft.evidence],
        "decisions": list(moves),
    }
