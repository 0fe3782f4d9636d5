"""The state of every node that this daemon knows, and the moves between states. Pure: no Ray, no I/O.

Used by cluster.py. A node whose host died is ``starting`` again, and takes tasks that wait for it; it is ``dead`` while the next
try has to wait because no host came up.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from agents.records import NodeId, NodeSpec, NotFound, Refused
from runtime.cluster import NodeState, NodeStatus
from runtime.ray_cluster.hosts import Host

MOVES: dict[NodeState, frozenset[NodeState]] = {
    "starting": frozenset({"live", "dead", "draining", "parked"}),
    "live": frozenset({"draining", "starting"}),
    "dead": frozenset({"starting", "parked", "draining"}),
    "draining": frozenset({"parked"}),
    "parked": frozenset({"starting"}),
}
MAX_PARKED = 1000
"""Parked nodes remembered for the status; their specs live in the ledger."""
FIRST_RESTART_DELAY_S = 0.2
MAX_RESTART_DELAY_S = 10.0


def restart_delay_s(falls: int) -> float:
    """How long to wait before the restart that follows ``falls`` early deaths in a row: 0, 0.2, 0.4 … 10 s."""
    return 0.0 if falls <= 1 else min(FIRST_RESTART_DELAY_S * 2.0 ** min(falls - 2, 16), MAX_RESTART_DELAY_S)


@dataclass(slots=True, eq=False)
class Entry:
    """One node. ``up`` is set while it is live; ``lock`` is held by whoever gives it a host or takes it away."""

    spec: NodeSpec
    state: NodeState = "starting"
    host: Host | None = None
    up: asyncio.Event = field(default_factory=asyncio.Event)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    restarts: int = 0
    falls: int = 0
    started_at: float = 0.0
    host_since: float = 0.0
    handled: int = 0
    failed: int = 0
    rss_bytes: int | None = None

    def move(self, state: NodeState) -> None:
        """Raises ValueError for a move that the table does not have: a defect of the cluster, never of a caller."""
        if state not in MOVES[self.state]:
            raise ValueError(f"node {self.spec.node_id} cannot go from {self.state} to {state}")
        self.state = state
        if state == "live":
            self.up.set()
        else:
            self.up.clear()

    def status(self) -> NodeStatus:
        info = self.host.info if self.host is not None else None
        return NodeStatus(
            spec=self.spec,
            state=self.state,
            inflight=len(self.host.asks) if self.host is not None else 0,
            handled=self.handled,
            failed=self.failed,
            restarts=self.restarts,
            started_at=self.started_at,
            pid=info.pid if info else None,
            host=info.host if info else None,
            rss_bytes=self.rss_bytes if info else None,
        )


class NodeTable:
    """All entries by node id. ``max_live`` caps the nodes that are not parked."""

    def __init__(self, *, max_live: int) -> None:
        self._max_live = max_live
        self._entries: dict[NodeId, Entry] = {}

    def entries(self) -> list[Entry]:
        return list(self._entries.values())

    def get(self, node_id: NodeId) -> Entry | None:
        return self._entries.get(node_id)

    def find(self, node_id: NodeId) -> Entry:
        """Raises NotFound for a node that is unknown or parked."""
        entry = self._entries.get(node_id)
        if entry is None or entry.state == "parked":
            raise NotFound(f"there is no live node {node_id!r}", param="node")
        return entry

    def of(self, host: Host) -> Entry | None:
        """The entry that ``host`` serves now."""
        return next((entry for entry in self._entries.values() if entry.host is host), None)

    def admit(self, spec: NodeSpec, now: float) -> Entry:
        """The entry to bring up for ``spec``, or the one that is up already. Raises Refused at the cap."""
        entry = self._entries.get(spec.node_id)
        if entry is not None and entry.state != "parked":
            return entry
        if self.count() >= self._max_live:
            raise Refused(f"{self._max_live} nodes are live, which is the cap (cluster.max_live_nodes)")
        if entry is None:
            entry = self._entries[spec.node_id] = Entry(spec=spec)
        else:
            entry.move("starting")
            entry.spec = spec
        entry.started_at = now
        return entry

    def count(self) -> int:
        """Nodes that hold or wait for an actor."""
        return sum(entry.state != "parked" for entry in self._entries.values())

    def shelve(self, entry: Entry) -> None:
        """The node holds no actor any more. The longest parked are forgotten beyond the bound."""
        entry.host = None
        if entry.state != "parked":
            entry.move("parked")
        self._entries[entry.spec.node_id] = self._entries.pop(entry.spec.node_id)
        parked = [node_id for node_id, other in self._entries.items() if other.state == "parked"]
        for node_id in parked[:-MAX_PARKED]:
            del self._entries[node_id]
