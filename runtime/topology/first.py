"""The network's first shape: one generalist. Everything else is grown from here.

Called by the controller at start, when also an older shape has to fit the cap of live nodes. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from agents.records import NodeId, NodeSpec
from agents.strategy_specs import Single
from runtime.config.settings import ClusterSettings
from runtime.topology.shape import Member, MemberStep, Step, Topology

GENERALIST = "generalist"


def first_steps(topology: Topology, settings: ClusterSettings, *, now: float) -> tuple[Step, ...]:
    """What has to change before a start: a generalist where there is none, and those parked that the cap has no room for."""
    wanted = desired_nodes([(member.spec, member.life) for member in topology.members.values()], settings)
    ids = {spec.node_id for spec in wanted}
    extra = [member for member in topology.live if member.node_id not in ids]
    parked = [MemberStep(node_id=each.node_id, before=each, after=replace(each, life="parked")) for each in extra]
    new = [spec for spec in wanted if spec.node_id not in topology.members]
    born = [MemberStep(node_id=spec.node_id, before=None, after=Member(spec=spec, born_at=now)) for spec in new]
    return (*parked, *born)


def desired_nodes(kept: Sequence[tuple[NodeSpec, str]], settings: ClusterSettings) -> tuple[NodeSpec, ...]:
    """The nodes that should be live: what the ledger says, within the cap, and at least one generalist."""
    live = [spec for spec, state in kept if state == "live"]
    # The cap may cut any node but the one that answers what no other can.
    first = next((spec for spec in live if spec.role == "generalist"), None) or _first_node(kept, settings)
    return (first, *(spec for spec in live if spec is not first))[: settings.max_live_nodes]


def _first_node(kept: Sequence[tuple[NodeSpec, str]], settings: ClusterSettings) -> NodeSpec:
    """A new generalist whose id and name no kept node has: the ledger would overwrite a parked one."""
    ids, names = {spec.node_id for spec, _ in kept}, {spec.name for spec, _ in kept}
    numbers = range(1, len(kept) + 2)
    return NodeSpec(
        node_id=next(node_id for number in numbers if (node_id := NodeId(f"node-{number}")) not in ids),
        name=next(name for name in (GENERALIST, *(f"{GENERALIST}-{number + 1}" for number in numbers)) if name not in names),
        role="generalist",
        strategy=Single(),
        max_concurrency=settings.node_concurrency,
        inbox_limit=settings.node_inbox,
    )
