"""One contract, two clusters: whatever dispatch relies on holds for LocalCluster and for RayCluster."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest

from agents.llm.retry import RetryPolicy
from agents.node import NodeKit
from agents.records import AgentError, Draining, Event, NodeId, NodeLost, NotFound, RateLimited, Refused, Reply, Task
from runtime.cluster import Cluster
from runtime.config.settings import ClusterSettings, RaySettings
from runtime.local_cluster import LocalCluster
from tests.fakes.nodes import DeskHub, LoopbackBackend, a_spec, a_task, build_fake, until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]
N = NodeId("id-n")
SETTINGS = ClusterSettings(warm_nodes=1, max_live_nodes=2)


@pytest.fixture(scope="module")
def one_ray() -> Iterator[None]:
    """One Ray for the module: clusters that find it running leave it running."""
    from runtime.ray_cluster.connect import RayConnection

    connection = RayConnection(RaySettings())
    connection._init()
    yield
    import ray

    ray.shutdown()
    if connection._reaper is not None:
        connection._reaper.stop()


@pytest.fixture
def hub() -> DeskHub:
    return DeskHub()


@pytest.fixture(params=["local", "ray"])
async def cluster(request: pytest.FixtureRequest, hub: DeskHub) -> AsyncIterator[Cluster]:
    kit = NodeKit(backends=(hub.backend,), retry=RetryPolicy(), fallback=(), items_per_call=20, parallel_calls=4)
    made: Cluster
    if request.param == "local":
        made = LocalCluster(kit=kit, hub=hub, settings=SETTINGS, build=build_fake, on_node_lost=hub.on_node_lost)
    else:
        request.getfixturevalue("one_ray")
        from runtime.ray_cluster.cluster import RayCluster

        made = RayCluster(
            kit=kit,
            hub=hub,
            settings=SETTINGS,
            ray=RaySettings(),
            daemon_id="contract",
            build=build_fake,
            on_node_lost=hub.on_node_lost,
        )
    await made.start()
    await made.spawn(a_spec())
    yield made
    await made.stop(drain_s=0.1)


async def collect(cluster: Cluster, task: Task, node: NodeId = N) -> list[Event | Reply]:
    return [item async for item in cluster.ask(node, task)]


async def text(cluster: Cluster, task: Task, node: NodeId = N) -> str:
    last = (await collect(cluster, task, node))[-1]
    assert isinstance(last, Reply)
    return last.draft.text


@pytest.mark.parametrize("stream", [False, True])
async def test_events_come_in_order_and_the_reply_last(cluster: Cluster, stream: bool) -> None:
    items = await collect(cluster, a_task("deltas 200", stream=stream))
    assert [item.data["text"] for item in items if isinstance(item, Event)] == [str(n) for n in range(200)]
    assert isinstance(items[-1], Reply)
    assert items[-1].node_id == N
    assert sum(isinstance(item, Reply) for item in items) == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_an_error_arrives_as_itself_after_its_events(cluster: Cluster, stream: bool) -> None:
    seen: list[Event | Reply] = []

    async def gather() -> None:
        async for item in cluster.ask(N, a_task("fail", stream=stream)):
            seen.append(item)

    with pytest.raises(RateLimited, match="slow down") as caught:
        await gather()
    error = caught.value
    assert (error.param, error.retry_after_s, error.backend, error.status) == ("model", 2.5, "b", 429)
    assert [call.error for call in error.calls] == ["rate_limited"]
    assert [item.kind for item in seen if isinstance(item, Event)] == ["note"]
    assert cluster.nodes()[0].failed == 1


async def test_unknown_nodes_the_cap_and_repeated_spawns(cluster: Cluster) -> None:
    with pytest.raises(NotFound):
        await collect(cluster, a_task("echo x"), NodeId("nobody"))
    again = await cluster.spawn(a_spec())
    assert again.state == "live"
    await cluster.spawn(a_spec("second"))
    with pytest.raises(Refused):
        await cluster.spawn(a_spec("third"))
    assert cluster.status().live == 2


@pytest.mark.parametrize("stream", [False, True])
async def test_closing_the_iterator_hangs_up_on_the_backend(cluster: Cluster, hub: DeskHub, stream: bool) -> None:
    async with LoopbackBackend(delay_s=20.0) as backend:
        asking = asyncio.create_task(collect(cluster, a_task(f"call {backend.port}", stream=stream)))
        await until(lambda: backend.inflight == 1)
        assert cluster.nodes()[0].inflight == 1
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await until(lambda: backend.hangups == 1)
        await until(lambda: hub.desk.inflight("b") == 0)
        await until(lambda: cluster.nodes()[0].inflight == 0)
    assert await text(cluster, a_task("echo still here")) == "still here"


async def test_a_lease_that_nobody_waits_for_any_more_is_given_back(cluster: Cluster, hub: DeskHub) -> None:
    held = [await hub.lease("b", holder="other", wait_s=1.0) for _ in range(3)]
    asking = asyncio.create_task(collect(cluster, a_task("lease")))
    await until(lambda: hub.desk.queued("b") == 1)
    asking.cancel()
    await until(lambda: hub.desk.queued("b") == 0)
    for permit in held:
        hub.release(permit, None)
    await until(lambda: hub.desk.inflight("b") == 0)


async def test_parking_lets_work_finish_and_a_spawn_wakes_the_node(cluster: Cluster) -> None:
    asking = asyncio.create_task(text(cluster, a_task("sleep 0.4")))
    await until(lambda: cluster.nodes()[0].inflight == 1)
    parking = asyncio.create_task(cluster.park(N, drain_s=10.0))
    await until(lambda: cluster.nodes()[0].state == "draining")
    with pytest.raises(Draining):
        await collect(cluster, a_task("echo late", task_id="t2"))
    await parking
    assert await asking == "0.4"
    assert cluster.nodes()[0].state == "parked"
    await cluster.park(N, drain_s=0.1)
    with pytest.raises(NotFound):
        await collect(cluster, a_task("echo x"))
    assert (await cluster.spawn(a_spec())).state == "live"
    assert await text(cluster, a_task("echo awake")) == "awake"


@pytest.mark.parametrize("stream", [False, True])
async def test_work_that_outlasts_the_drain_is_lost_and_its_permits_return(cluster: Cluster, hub: DeskHub, stream: bool) -> None:
    asking = asyncio.create_task(collect(cluster, a_task("lease", stream=stream)))
    await until(lambda: hub.desk.inflight("b") == 1)
    await cluster.park(N, drain_s=0.1)
    with pytest.raises(NodeLost):
        await asking
    assert [(node, list(tasks)) for node, tasks in hub.lost] == [(N, ["t1"])]
    await until(lambda: hub.desk.inflight("b") == 0)


async def test_nodes_share_one_limit_of_a_backend(cluster: Cluster, hub: DeskHub) -> None:
    await cluster.spawn(a_spec("second"))
    async with LoopbackBackend(delay_s=0.05) as backend:
        nodes = [N, NodeId("id-second")] * 10
        tasks = [a_task(f"call {backend.port}", task_id=f"t{n}") for n in range(len(nodes))]
        await asyncio.gather(*(collect(cluster, task, node) for task, node in zip(tasks, nodes, strict=True)))
        assert backend.calls == 20
        assert backend.peak == 3
    await until(lambda: hub.desk.inflight("b") == 0)
    assert [status.handled for status in cluster.nodes()] == [10, 10]


async def test_the_rest_of_the_hub(cluster: Cluster, hub: DeskHub) -> None:
    assert json.loads(await text(cluster, a_task("embed a bcd"))) == [[1.0, 1.0], [3.0, 1.0]]
    assert await text(cluster, a_task("search ages")) == "ages-for-n-of-root@1.0.0"
    with pytest.raises(NotFound) as caught:
        await text(cluster, a_task("peer ghost"))
    assert caught.value.param == "peer"
    with pytest.raises((AgentError, RuntimeError), match="hub"):
        await text(cluster, a_task("peer defect"))
    await text(cluster, a_task("announce news"))
    assert await text(cluster, a_task("convene Pilot Clerk")) == "None t1 Pilot@root,Clerk@root"
    assert hub.announced == [("news", {"from": "n"}, "t1"), ("dissolved", {"passed": True}, "t1")]


async def test_a_new_kit_is_with_every_node_and_running_tasks_keep_theirs(cluster: Cluster, hub: DeskHub) -> None:
    asking = asyncio.create_task(text(cluster, a_task("kit 0.4")))
    await until(lambda: cluster.nodes()[0].inflight == 1)
    await asyncio.sleep(0.1)
    kit = NodeKit(
        backends=(hub.backend, replace(hub.backend, name="added")),
        retry=RetryPolicy(),
        fallback=(),
        items_per_call=20,
        parallel_calls=4,
    )
    await cluster.update(kit)
    assert await text(cluster, a_task("kit", task_id="t2")) == "b,added"
    assert await asking == "b"
    await cluster.spawn(a_spec("second"))
    assert await text(cluster, a_task("kit", task_id="t3"), NodeId("id-second")) == "b,added"
    if cluster.status().kind == "ray":
        pid = cluster.nodes()[0].pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await until(lambda: cluster.nodes()[0].restarts == 1)
        assert await text(cluster, a_task("kit", task_id="t4")) == "b,added", "a restarted node has it as well"
    await cluster.park(N, drain_s=0.1)
    await cluster.update(replace(kit, backends=()))
    await cluster.spawn(a_spec())
    assert await text(cluster, a_task("kit", task_id="t5")) == "", "so has one that was parked meanwhile"


async def test_a_node_works_by_another_spec_and_finishes_what_it_has(cluster: Cluster) -> None:
    asking = asyncio.create_task(text(cluster, a_task("sleep 0.4")))
    await until(lambda: cluster.nodes()[0].inflight == 1)
    before = cluster.nodes()[0].pid
    spec = replace(a_spec(), prompt="another way")
    await cluster.respec(spec)
    await cluster.respec(spec)
    (node,) = cluster.nodes()
    assert (node.state, node.spec.prompt, node.restarts) == ("live", "another way", 0)
    assert (node.pid != before) == (cluster.status().kind == "ray")
    assert await text(cluster, a_task("echo new", task_id="t2")) == "new"
    assert await asking == "0.4"
    await cluster.respec(a_spec("unknown"))
    await cluster.keep_warm(0)
    assert cluster.status().warm == 0
    await cluster.keep_warm(None)
    await until(lambda: cluster.status().warm == (1 if cluster.status().kind == "ray" else 0))


async def test_stopping_twice_and_asking_after(cluster: Cluster) -> None:
    await cluster.start()
    await asyncio.gather(cluster.stop(drain_s=0.1), cluster.stop(drain_s=0.1))
    with pytest.raises((NotFound, Draining)):
        await collect(cluster, a_task("echo x"))
    with pytest.raises(Draining):
        await cluster.spawn(a_spec())
    assert cluster.status().live == 0
