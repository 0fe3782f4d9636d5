"""The port to live nodes.

dispatch.py and the controller see only ``Cluster``. ``LocalCluster`` (local_cluster.py) keeps nodes in this process, for tests
and tiny machines; ray_cluster/ keeps them in Ray actors. One contract test runs against both.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from agents.node import NodeKit
from agents.records import Event, NodeId, NodeSpec, Reply, Task, TaskId

NodeState = Literal["starting", "live", "draining", "parked", "dead"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStatus:
    """One node as the cluster sees it now. ``rss_bytes`` is None where it is not measured."""

    spec: NodeSpec
    state: NodeState
    inflight: int = 0
    handled: int = 0
    failed: int = 0
    restarts: int = 0
    started_at: float = 0.0
    pid: int | None = None
    host: str | None = None
    rss_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmUse:
    """What was asked of a pool of ``size`` blank nodes in the last ``span_s`` seconds: at ``taken_s`` (seconds since that time
    began, ascending) a node was taken, ``cold`` times none was ready and one was started while somebody waited. A start
    takes ``start_s``; all in all blank nodes waited ``idle_s``, each counted."""

    size: int
    span_s: float
    taken_s: tuple[float, ...] = ()
    cold: int = 0
    start_s: float = 0.0
    idle_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterStatus:
    """Counts for metrics and doctor. ``use``: of the warm pool, None where there is none."""

    kind: Literal["ray", "local"]
    live: int
    warm: int
    restarts: int
    detail: str = ""
    use: WarmUse | None = None


def nobody(node_id: NodeId, tasks: tuple[TaskId, ...]) -> None:
    """Nobody wants to know that a node was lost."""


class Cluster(Protocol):
    """Live nodes. Every method is safe to call concurrently; start, park, respec and stop are idempotent."""

    async def start(self) -> None:
        """Connect, adopt or kill what an earlier daemon left, fill the warm pool."""
        ...

    async def stop(self, *, drain_s: float) -> None:
        """Drain for at most ``drain_s``, then end every actor that belongs to this daemon."""
        ...

    async def spawn(self, spec: NodeSpec) -> NodeStatus:
        """Make a node live from the warm pool. Raises Refused when the cap of live nodes is reached."""
        ...

    async def park(self, node_id: NodeId, *, drain_s: float) -> None:
        """Drain a node and give its actor back; its spec lives on in the ledger."""
        ...

    async def respec(self, spec: NodeSpec) -> None:
        """Let the live node of ``spec.node_id`` work by ``spec``: new tasks at once, running ones end as they began. One that is
        not live is left alone. Raises AgentError when it cannot, and then it is as it was."""
        ...

    async def keep_warm(self, size: int | None) -> None:
        """Keep so many blank actors ready; None: what the configuration says. Idempotent."""
        ...

    async def update(self, kit: NodeKit) -> None:
        """Give every node, live or yet to come, this kit. When it returns, new tasks work with it; running ones end with the
        old one. A node that cannot be told is replaced."""
        ...

    def ask(self, node_id: NodeId, task: Task) -> AsyncGenerator[Event | Reply, None]:
        """Hand a task over. Yields Events as they come and the Reply last.

        Raises the task's AgentError, NotFound for an unknown node, NodeLost when the node died with it (the caller decides
        whether to send it again). Closing the iterator cancels the work and the backend's call.
        """
        ...

    def nodes(self) -> Sequence[NodeStatus]: ...

    def status(self) -> ClusterStatus: ...
