"""The network's first shape: one generalist. Everything else is grown from here.

Called by daemon.py at start. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

from agents.records import NodeId, NodeSpec, Single
from runtime.config import ClusterSettings

GENERALIST = "generalist"


def desired_nodes(kept: Sequence[tuple[NodeSpec, str]], settings: ClusterSettings) -> tuple[NodeSpec, ...]:
    """The nodes that should be live: what the ledger says, within the cap, and at least one generalist."""
    live = [spec for spec, state in kept if state == "live"]
    if not any(spec.role == "generalist" for spec in live):
        first = NodeSpec(
            node_id=NodeId("node-1"),
            name=GENERALIST,
            role="generalist",
            strategy=Single(),
            max_concurrency=settings.node_concurrency,
            inbox_limit=settings.node_inbox,
        )
        live.insert(0, first)
    return tuple(live[: settings.max_live_nodes])
