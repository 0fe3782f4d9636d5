"""From what is proposed to the steps that bring it about, over a snapshot of the shape.

Called by the controller when a proposal is taken up; what it returns is what the operator sees and approves. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from agents.records import NodeId, NodeSpec
from runtime.topology.payloads import (
    MAX_CHILDREN,
    MAX_MERGED,
    MAX_PATTERNS,
    AdoptRouter,
    Merge,
    Park,
    Payload,
    Pool,
    Prune,
    Recover,
    Restore,
    Rewire,
    Spawn,
    Split,
    Tune,
    Wake,
)
from runtime.topology.records import BadProposal
from runtime.topology.shape import (
    WARM_NODES,
    Member,
    MemberStep,
    Plan,
    PoolStep,
    ProposalId,
    RouterStep,
    Step,
    Topology,
    TuneStep,
)
from runtime.topology.steps import after_all, difference, inverse

MAX_POOL: Final = 64
MAX_NAMES: Final = 64
MAX_NAME_CHARS: Final = 64
Steps = tuple[Step, ...]


def plan_of(payload: Payload, topology: Topology, *, proposal_id: ProposalId, now: float, past: Topology | None = None) -> Plan:
    """The steps of ``payload`` over ``topology``. ``past`` is the shape at a Restore's revision; new nodes are born ``now`` (Unix
    seconds). Raises BadProposal, which names the field."""
    gone: tuple[NodeId, ...] = ()
    match payload:
        case Spawn():
            apply: Steps = (_birth(payload, topology, proposal_id, now, "payload"),)
        case Split():
            apply = _split(payload, topology, proposal_id, now)
        case Prune(node=node):
            apply, gone = _park(topology, node, "payload.node"), (node,)
        case Merge():
            apply, gone = _merge(payload, topology), payload.gone
        case Park(node=node):
            apply = _park(topology, node, "payload.node")
        case Wake(node=node):
            apply = (_changed(topology, node, "payload.node", lambda member: replace(member, life="live")),)
        case Recover():
            apply = _recover(payload, topology, proposal_id, now)
        case Rewire(spec=spec):
            apply = (_changed(topology, spec.node_id, "payload.spec.node_id", lambda member: _respecced(member, spec)),)
        case AdoptRouter(version=version):
            apply = (RouterStep(before=topology.router, after=version),)
        case Tune(settings=settings):
            apply = (TuneStep(before=topology.tuned, after=settings),)
        case Pool():
            apply = (_pool(payload, topology),)
        case Restore():
            apply, gone = _restore(payload, topology, past)
    return _plan(topology, apply, gone)


def _plan(topology: Topology, apply: Steps, gone: tuple[NodeId, ...]) -> Plan:
    apply = tuple(step for step in apply if step.before != step.after)
    then = after_all(topology, apply)
    if not any(member.life == "live" and member.spec.role == "generalist" for member in then.members.values()):
        raise BadProposal("no generalist would be left alive", param="payload")
    finish = tuple(MemberStep(node_id=name, before=then.members[name], after=None) for name in gone)
    if not apply and not finish:
        raise BadProposal("the network is like that already", param="payload")
    return Plan(base_revision=topology.revision, apply=apply, undo=inverse(apply), finish=finish)


def _member(topology: Topology, node: NodeId, at: str) -> Member:
    member = topology.members.get(node)
    if member is None:
        raise BadProposal(f"there is no node {node[:MAX_NAME_CHARS]!r}", param=at)
    return member


def _changed(topology: Topology, node: NodeId, at: str, change: Callable[[Member], Member]) -> MemberStep:
    before = _member(topology, node, at)
    return MemberStep(node_id=node, before=before, after=change(before))


def _park(topology: Topology, node: NodeId, at: str) -> Steps:
    return (_changed(topology, node, at, lambda member: replace(member, life="parked")),)


def _respecced(member: Member, spec: NodeSpec) -> Member:
    if (spec.node_id, spec.name) != (member.spec.node_id, member.spec.name):
        raise BadProposal(f"the id and the name of {member.node_id!r} stay", param="payload.spec.name")
    return replace(member, spec=spec)


def _birth(wanted: Spawn, topology: Topology, proposal_id: ProposalId, now: float, at: str) -> MemberStep:
    spec = wanted.spec
    if spec.node_id in topology.members:
        raise BadProposal(f"there is a node {spec.node_id!r} already", param=f"{at}.spec.node_id")
    if any(member.spec.name == spec.name for member in topology.members.values()):
        raise BadProposal(f"there is a node called {spec.name!r} already", param=f"{at}.spec.name")
    if len(wanted.patterns) > MAX_PATTERNS:
        raise BadProposal(f"a node is for at most {MAX_PATTERNS} patterns", param=f"{at}.patterns")
    line: tuple[NodeId, ...] = ()
    if wanted.parent is not None:
        line = (*_member(topology, wanted.parent, f"{at}.parent").line, wanted.parent)
    member = Member(spec=spec, line=line, patterns=wanted.patterns, born_at=now, born_of=proposal_id)
    return MemberStep(node_id=spec.node_id, before=None, after=member)


def _split(payload: Split, topology: Topology, proposal_id: ProposalId, now: float) -> Steps:
    _member(topology, payload.node, "payload.node")
    if not 1 <= len(payload.children) <= MAX_CHILDREN:
        raise BadProposal(f"a node is split into 1 to {MAX_CHILDREN} children", param="payload.children")
    steps: list[Step] = []
    for number, child in enumerate(payload.children):
        own, at = replace(child, parent=payload.node), f"payload.children[{number}]"
        steps.append(_birth(own, after_all(topology, steps), proposal_id, now, at))
    return tuple(steps)


def _merge(payload: Merge, topology: Topology) -> Steps:
    if not 1 <= len(payload.gone) <= MAX_MERGED or len(set(payload.gone)) < len(payload.gone) or payload.into in payload.gone:
        raise BadProposal(f"1 to {MAX_MERGED} other nodes are merged into one", param="payload.gone")
    others = [_member(topology, node, f"payload.gone[{number}]") for number, node in enumerate(payload.gone)]

    def grown(member: Member) -> Member:
        patterns = tuple(dict.fromkeys((*member.patterns, *(each for other in others for each in other.patterns))))
        member = replace(member, life="live", patterns=patterns[:MAX_PATTERNS], also=_names(member, *others))
        return _respecced(member, payload.spec) if payload.spec is not None else member

    into = _changed(topology, payload.into, "payload.into", grown)
    return (into, *(step for node in payload.gone for step in _park(topology, node, "payload.gone")))


def _recover(payload: Recover, topology: Topology, proposal_id: ProposalId, now: float) -> Steps:
    failing = _member(topology, payload.node, "payload.node")
    if payload.spec.role != "recovery":
        raise BadProposal("its role must be recovery", param="payload.spec.role")
    wanted = Spawn(spec=payload.spec, parent=failing.parent, patterns=failing.patterns)
    born = _birth(wanted, topology, proposal_id, now, "payload")
    assert born.after is not None
    born = replace(born, after=replace(born.after, also=_names(born.after, failing)))
    return (born, *_park(topology, payload.node, "payload.node"))


def _names(heir: Member, *others: Member) -> tuple[str, ...]:
    """What ``heir`` is called by from now on, beside its own name; the newest names stay where there are too many."""
    names = (*heir.also, *(name for other in others for name in (*other.also, other.spec.name)))
    return tuple(dict.fromkeys(name for name in names if name != heir.spec.name))[-MAX_NAMES:]


def _pool(payload: Pool, topology: Topology) -> PoolStep:
    if payload.name != WARM_NODES and not payload.name.startswith("committee:"):
        raise BadProposal(f"there are the pools {WARM_NODES!r} and 'committee:<pattern>'", param="payload.name")
    if payload.size is not None and not 0 <= payload.size <= MAX_POOL:
        raise BadProposal(f"a pool has 0 to {MAX_POOL}", param="payload.size")
    return PoolStep(name=payload.name, before=topology.pools.get(payload.name), after=payload.size)


def _restore(payload: Restore, topology: Topology, past: Topology | None) -> tuple[Steps, tuple[NodeId, ...]]:
    if past is None or past.revision != payload.revision:
        raise BadProposal(f"there is no revision {payload.revision}", param="payload.revision")
    later = {name: replace(member, life="parked") for name, member in topology.members.items() if name not in past.members}
    goal = replace(past, members={**past.members, **later})
    return difference(topology, goal), tuple(later)
