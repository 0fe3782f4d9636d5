"""Reads an operator's wish into a payload: nodes by id or name, defaults from the configuration. Pure.

Called by front.py with a body that the surface has checked for types and lengths. Raises BadProposal, which names the field.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any, Final

from agents.records import AgentError, Json, NodeId, NodeSpec
from agents.strategies.compose import parse_strategy
from agents.strategy_specs import Single, StrategySpec
from runtime.config.settings import ClusterSettings
from runtime.topology.mending import recovery_spec
from runtime.topology.payloads import (
    AdoptRouter,
    Kind,
    Merge,
    Park,
    Payload,
    Pool,
    Prune,
    Recover,
    Rewire,
    Spawn,
    Split,
    Tune,
    Wake,
)
from runtime.topology.records import BadProposal
from runtime.topology.shape import Member, PatternId, Topology

Given = Mapping[str, Json]
FIELDS: Final[Mapping[Kind, tuple[frozenset[str], frozenset[str]]]] = {
    Kind.SPAWN: (
        frozenset({"name"}),
        frozenset({"role", "speciality", "prompt", "locale", "backends", "strategy", "parent", "patterns"}),
    ),
    Kind.SPLIT: (frozenset({"node", "children"}), frozenset()),
    Kind.REWIRE: (frozenset({"node"}), frozenset({"speciality", "prompt", "backends", "strategy"})),
    Kind.RECOVER: (frozenset({"node"}), frozenset({"speciality", "prompt", "backends", "strategy"})),
    Kind.PRUNE: (frozenset({"node"}), frozenset()),
    Kind.PARK: (frozenset({"node"}), frozenset()),
    Kind.WAKE: (frozenset({"node"}), frozenset()),
    Kind.MERGE: (frozenset({"into", "gone"}), frozenset()),
    Kind.POOL: (frozenset({"name", "size"}), frozenset()),
    Kind.ADOPT_ROUTER: (frozenset({"version"}), frozenset()),
    Kind.TUNE: (frozenset(), frozenset({"settings"})),
}
"""What can be wished by hand: the fields that each kind needs, and those that it may have."""


def payload_by_hand(
    given: Given, topology: Topology, settings: ClusterSettings, *, backends: Collection[str], new_id: Callable[[], str]
) -> Payload:
    """``given`` has ``kind`` and that kind's FIELDS; what is None is not given."""
    kind = Kind(given["kind"])
    fields = {name: value for name, value in given.items() if name != "kind" and value is not None}
    needed, allowed = FIELDS[kind]
    nullable = {"version", "size"}
    for name in sorted(needed - nullable - fields.keys()):
        raise BadProposal(f"{kind} needs {name!r}", param=name)
    for name in sorted(fields.keys() - needed - allowed):
        raise BadProposal(f"{kind} has no {name!r}", param=name)
    match kind:
        case Kind.SPAWN:
            return _spawn(fields, topology, settings, backends, new_id)
        case Kind.SPLIT:
            return _split(fields, topology, settings, backends, new_id)
        case Kind.RECOVER:
            failing = member_called(fields["node"], topology, "node")
            takes_over = recovery_spec(failing.spec, revision=topology.revision)
            return Recover(node=failing.node_id, spec=_with(takes_over, fields, backends))
        case Kind.REWIRE:
            spec = member_called(fields["node"], topology, "node").spec
            return Rewire(spec=_with(spec, fields, backends))
        case Kind.MERGE:
            gone = [member_called(name, topology, f"gone[{place}]").node_id for place, name in enumerate(fields["gone"])]
            return Merge(into=member_called(fields["into"], topology, "into").node_id, gone=tuple(gone))
        case Kind.POOL:
            return Pool(name=fields["name"], size=fields.get("size"))
        case Kind.ADOPT_ROUTER:
            return AdoptRouter(version=fields.get("version"))
        case Kind.TUNE:
            return Tune(settings=tuple(fields.get("settings", ())))
    node = member_called(fields["node"], topology, "node").node_id
    return Prune(node=node) if kind is Kind.PRUNE else Park(node=node) if kind is Kind.PARK else Wake(node=node)


def member_called(name: str, topology: Topology, at: str) -> Member:
    """By id, else by name. Raises BadProposal."""
    member = topology.members.get(NodeId(name))
    member = member or next((each for each in topology.members.values() if each.spec.name == name), None)
    if member is None:
        raise BadProposal(f"there is no node {name[:64]!r}", param=at)
    return member


def _spawn(
    fields: dict[str, Any], topology: Topology, settings: ClusterSettings, backends: Collection[str], new_id: Callable[[], str]
) -> Spawn:
    parent = fields.get("parent")
    spec = NodeSpec(
        node_id=NodeId(new_id()),
        name=fields["name"],
        role=fields.get("role", "specialist"),
        locale=fields.get("locale", "root"),
        max_concurrency=settings.node_concurrency,
        inbox_limit=settings.node_inbox,
    )
    return Spawn(
        spec=_with(spec, fields, backends),
        parent=None if parent is None else member_called(parent, topology, "parent").node_id,
        patterns=tuple(map(PatternId, fields.get("patterns", ()))),
    )


def _split(
    fields: dict[str, Any], topology: Topology, settings: ClusterSettings, backends: Collection[str], new_id: Callable[[], str]
) -> Split:
    """Children are in their parent's locale."""
    parent = member_called(fields["node"], topology, "node")
    children = []
    for place, given in enumerate(fields["children"]):
        own = {name: value for name, value in given.items() if value is not None}
        try:
            child = _spawn({**own, "locale": parent.spec.locale}, topology, settings, backends, new_id)
        except BadProposal as error:
            raise BadProposal(error.message, param=f"children[{place}].{error.param}") from None
        children.append(child)
    return Split(node=parent.node_id, children=tuple(children))


def _with(spec: NodeSpec, fields: dict[str, Any], backends: Collection[str]) -> NodeSpec:
    for place, name in enumerate(fields.get("backends", ())):
        if name not in backends:
            raise BadProposal(f"there is no backend {name[:64]!r}", param=f"backends[{place}]")
    return replace(
        spec,
        speciality=fields.get("speciality", spec.speciality),
        prompt=fields.get("prompt", spec.prompt),
        backends=tuple(fields.get("backends", spec.backends)),
        strategy=_strategy(fields["strategy"]) if "strategy" in fields else spec.strategy or Single(),
    )


def _strategy(value: Json) -> StrategySpec:
    try:
        return parse_strategy(value, named={})
    except AgentError as error:
        raise BadProposal(error.message, param="strategy") from None
