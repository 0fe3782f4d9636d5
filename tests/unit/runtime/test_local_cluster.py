"""LocalCluster beyond the contract: bounds, and what becomes of work that is cut off. In process, no socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from agents.llm.retry import RetryPolicy
from agents.node import NodeKit
from agents.records import NodeId, NodeLost, Overloaded, Reply, Task
from runtime.config.settings import ClusterSettings
from runtime.local_cluster import LocalCluster
from tests.fakes.nodes import DeskHub, a_spec, a_task, build_fake

N = NodeId("id-n")


@pytest.fixture
def hub() -> DeskHub:
    return DeskHub(limit=3)


@pytest.fixture
async def cluster(hub: DeskHub) -> AsyncIterator[LocalCluster]:
    kit = NodeKit(backends=(hub.backend,), retry=RetryPolicy(), fallback=(), items_per_call=20, parallel_calls=4)
    settings = ClusterSettings(kind="local", max_live_nodes=2, node_concurrency=1, node_inbox=2)
    made = LocalCluster(kit=kit, hub=hub, settings=settings, build=build_fake, on_node_lost=hub.on_node_lost)
    await made.start()
    await made.spawn(a_spec())
    yield made
    await made.stop(drain_s=0.001)


async def run(cluster: LocalCluster, task: Task) -> str:
    last = [item async for item in cluster.ask(N, task)][-1]
    assert isinstance(last, Reply)
    return last.draft.text


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_more_tasks_than_its_inbox_holds_are_refused(cluster: LocalCluster, hub: DeskHub) -> None:
    asks = [asyncio.create_task(run(cluster, a_task("lease", task_id=f"t{n}"))) for n in range(3)]
    await turns()
    assert cluster.nodes()[0].inflight == 3
    with pytest.raises(Overloaded) as caught:
        await run(cluster, a_task("echo x", task_id="t9"))
    assert caught.value.retry_after_s == 1.0
    asks[0].cancel()
    await turns()
    assert await run(cluster, a_task("echo x", task_id="t9")) == "x"
    assert hub.desk.inflight("b") == 2
    await cluster.park(N, drain_s=0.001)
    results = await asyncio.gather(*asks, return_exceptions=True)
    assert [type(result) for result in results] == [asyncio.CancelledError, NodeLost, NodeLost]
    assert hub.lost == [(N, ("t1", "t2"))]
    assert hub.desk.inflight("b") == 0


async def test_a_defect_of_a_node_is_raised_as_it_is(cluster: LocalCluster) -> None:
    with pytest.raises(ValueError, match="a defect of the node"):
        await run(cluster, a_task("bug"))
    assert cluster.nodes()[0].failed == 0
    assert await run(cluster, a_task("echo alive")) == "alive"


async def test_parked_nodes_free_their_place_and_show_no_process(cluster: LocalCluster) -> None:
    await cluster.spawn(a_spec("second"))
    await cluster.park(N, drain_s=0.001)
    assert (await cluster.spawn(a_spec("third"))).state == "live"
    states = {status.spec.name: (status.state, status.pid is None) for status in cluster.nodes()}
    assert states == {"n": ("parked", True), "second": ("live", False), "third": ("live", False)}
    assert cluster.status().live == 2
