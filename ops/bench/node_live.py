"""How long a node takes from the order to spawn it until it is live, from the warm pool of a real Ray.

Called by overhead.py.
"""

from __future__ import annotations

import asyncio
import statistics

from agents.llm.breaker import BreakerPolicy
from agents.llm.chat import BackendSpec
from agents.llm.desk import Desk
from agents.llm.retry import RetryPolicy
from agents.node import NodeKit
from agents.records import NodeId, NodeSpec
from runtime.config.settings import ClusterSettings, RaySettings
from runtime.hub import DaemonHub
from runtime.ray_cluster.cluster import RayCluster

REFILL_WAIT_S = 60.0
POLL_S = 0.2
CALM_S = 1.0


async def node_live_s(*, rounds: int) -> float:
    """Median seconds over ``rounds`` spawns, the warm pool filled again before each."""
    backend = BackendSpec(name="none", base_url="http://127.0.0.1:9/v1", model="none")
    desk = Desk((backend,), breaker=BreakerPolicy())
    hub = DaemonHub(desk=desk, embedder=None, max_hops=1)
    kit = NodeKit(backends=(backend,), retry=RetryPolicy(), fallback=(), items_per_call=20, parallel_calls=4)
    settings = ClusterSettings()
    warm = settings.warm_nodes
    cluster = RayCluster(kit=kit, hub=hub, settings=settings, ray=RaySettings(), daemon_id="bench")
    loop = asyncio.get_running_loop()
    taken: list[float] = []
    await cluster.start()
    try:
        for number in range(rounds):
            await _full(cluster, warm)
            spec = NodeSpec(node_id=NodeId(f"node-{number}"), name=f"bench-{number}", role="generalist")
            begin = loop.time()
            await cluster.spawn(spec)
            taken.append(loop.time() - begin)
            await cluster.park(spec.node_id, drain_s=1.0)
    finally:
        await cluster.stop(drain_s=1.0)
    return statistics.median(taken)


async def _full(cluster: RayCluster, warm: int) -> None:
    """Wait until the pool is full and its actors are calm again."""
    async with asyncio.timeout(REFILL_WAIT_S):
        while True:
            await asyncio.sleep(POLL_S)
            if cluster.status().warm >= warm:
                break
    await asyncio.sleep(CALM_S)
