"""The network's first shape: one generalist. Everything else is grown from here.

Called by daemon.py at start. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

from agents.records import NodeId, NodeSpec
from agents.strategy_specs import Single
from runtime.config import ClusterSettings

GENERALIST = "generalist"


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
