"""Does a step to what is alive. Called by the controller between the two rows of a step. Decides nothing.

Every act is idempotent, because a step that was begun before a kill is done again after it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from agents.records import Refused
from runtime.cluster import Cluster
from runtime.topology.shape import WARM_NODES, MemberStep, PoolStep, RouterStep, Step, TuneStep
from runtime.topology.steps import act_of


class Hands:
    """``adopt`` takes the version of a generated router (None: none any more), ``tune`` settings of routing (``name=value``),
    ``pool`` the name and size of a pool that is not of blank nodes; each raises AgentError where it cannot. Whoever owns those
    lays them in."""

    def __init__(self, cluster: Cluster, *, drain_s: float) -> None:
        self._cluster = cluster
        self.drain_s = drain_s
        self.adopt: Callable[[str | None], Awaitable[None]] | None = None
        self.tune: Callable[[tuple[str, ...]], Awaitable[None]] | None = None
        self.pool: Callable[[str, int | None], Awaitable[None]] | None = None

    async def do(self, step: Step) -> None:
        """Raises AgentError, and then it may be half done."""
        match step:
            case MemberStep():
                await self._node(step)
            case RouterStep(after=version):
                if self.adopt is None:
                    raise Refused("nothing here adopts routers")
                await self.adopt(version)
            case TuneStep(after=settings):
                if self.tune is None:
                    raise Refused("nothing here takes settings of routing")
                await self.tune(settings)
            case PoolStep(name=name, after=size):
                await self.resize(name, size)

    async def _node(self, step: MemberStep) -> None:
        act, cluster = act_of(step), self._cluster
        if act in ("spawn", "wake") and step.after is not None:
            await cluster.spawn(step.after.spec)
        elif act in ("park", "end"):
            await cluster.park(step.node_id, drain_s=self.drain_s)
        elif act == "respec" and step.after is not None:
            await cluster.respec(step.after.spec)

    async def resize(self, name: str, size: int | None) -> None:
        """Raises AgentError."""
        if name == WARM_NODES:
            await self._cluster.keep_warm(size)
        elif self.pool is None:
            raise Refused(f"nothing here keeps the pool {name!r}")
        else:
            await self.pool(name, size)
