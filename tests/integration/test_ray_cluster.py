"""What only the real Ray can show: death, replacement, orphans, a dead mailbox, shared limits, an end that leaves nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import ray

from agents.llm.retry import RetryPolicy
from agents.node import NodeKit
from agents.records import AgentError, NodeId, NodeLost, Reply
from runtime.config.settings import ClusterSettings, RaySettings
from runtime.ray_cluster.cluster import RayCluster
from runtime.ray_cluster.connect import RayConnection, actor_class
from tests.fakes.nodes import DeskHub, LoopbackBackend, a_spec, a_task, build_fake, until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]
N = NodeId("id-n")


def kit_for(hub: DeskHub) -> NodeKit:
    return NodeKit(backends=(hub.backend,), retry=RetryPolicy(), fallback=(), items_per_call=20, parallel_calls=4)


@pytest.fixture(scope="module")
def one_ray() -> Iterator[None]:
    """One Ray for the module: clusters that find it running leave it running."""
    os.environ["SOME_API_KEY"] = "not for nodes"
    connection = RayConnection(RaySettings())
    connection._init()
    del os.environ["SOME_API_KEY"]
    yield
    ray.shutdown()
    if connection._reaper is not None:
        connection._reaper.stop()


@asynccontextmanager
async def running(hub: DeskHub, *, warm: int = 1, **options: Any) -> AsyncIterator[RayCluster]:
    settings = ClusterSettings(warm_nodes=warm, max_live_nodes=8, max_node_memory_bytes=options.pop("memory_bytes", 2**31))
    cluster = RayCluster(
        kit=kit_for(hub),
        hub=hub,
        settings=settings,
        ray=RaySettings(),
        daemon_id=options.pop("daemon_id", "test"),
        on_node_lost=hub.on_node_lost,
        **{"build": build_fake, **options},
    )
    try:
        await cluster.start()
        yield cluster
    finally:
        await cluster.stop(drain_s=1.0)


async def text(cluster: RayCluster, script: str, node: NodeId = N, **options: Any) -> str:
    items = [item async for item in cluster.ask(node, a_task(script, **options))]
    assert isinstance(items[-1], Reply)
    return items[-1].draft.text


@pytest.mark.usefixtures("one_ray")
async def test_a_node_is_live_from_the_warm_pool_at_once_and_the_pool_refills() -> None:
    async with running(DeskHub()) as cluster:
        assert cluster.status().warm == 1
        began = time.perf_counter()
        status = await cluster.spawn(a_spec())
        took_ms = (time.perf_counter() - began) * 1e3
        print(f"live from the warm pool in {took_ms:.1f} ms")
        assert took_ms < 500
        assert status.state == "live"
        assert status.pid != os.getpid()
        await until(lambda: cluster.status().warm == 1, within_s=30)
        assert await text(cluster, "env SOME_API_KEY") == ""
        with pytest.raises(AgentError, match="ValueError") as caught:
            await text(cluster, "bug")
        assert caught.value.code == "internal_error"


@pytest.mark.usefixtures("one_ray")
@pytest.mark.parametrize("warm", [0, 1])
async def test_kill_9_under_load_loses_no_task_silently_and_the_node_returns(warm: int) -> None:
    hub = DeskHub(limit=8)
    async with running(hub, warm=warm) as cluster, LoopbackBackend(delay_s=0.3) as backend:
        pid = (await cluster.spawn(a_spec())).pid
        asks = [asyncio.create_task(text(cluster, f"call {backend.port}", task_id=f"t{n}", stream=n % 2 == 0)) for n in range(30)]
        await until(lambda: backend.calls >= 12)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        results = await asyncio.gather(*asks, return_exceptions=True)
        answered = [result for result in results if isinstance(result, str)]
        lost = [result for result in results if isinstance(result, NodeLost)]
        assert len(answered) + len(lost) == 30, results
        assert answered
        assert lost
        reported = {task for _, tasks in hub.lost for task in tasks}
        assert {f"t{n}" for n, result in enumerate(results) if isinstance(result, NodeLost)} <= reported
        # Asked while the node is being restarted: waits for it instead of failing.
        assert await text(cluster, "echo again", task_id="again") == "again"
        status = cluster.nodes()[0]
        assert (status.state, status.restarts, cluster.status().restarts) == ("live", 1, 1)
        assert status.pid != pid
        await until(lambda: hub.desk.inflight("b") == 0 and hub.desk.queued("b") == 0)


@pytest.mark.usefixtures("one_ray")
async def test_a_node_that_outgrows_its_memory_is_replaced_without_losing_its_task() -> None:
    hub = DeskHub()
    async with running(hub, memory_bytes=64 * 2**20, poll_s=0.2, min_replace_age_s=0.5) as cluster:
        pid = (await cluster.spawn(a_spec())).pid
        asking = asyncio.create_task(text(cluster, "sleep 3"))
        await until(lambda: cluster.nodes()[0].pid != pid, within_s=30)
        assert cluster.nodes()[0].state == "live"
        assert await text(cluster, "echo meanwhile", task_id="t2") == "meanwhile"
        assert await asking == "3"
        assert cluster.status().restarts >= 1
        assert hub.lost == []


@pytest.mark.usefixtures("one_ray")
async def test_what_an_earlier_daemon_of_the_same_id_left_is_killed_and_others_are_not() -> None:
    def leave_behind(name: str) -> None:
        class Left:
            def hi(self) -> int:
                return 1

        actor = actor_class(Left, num_cpus=0).options(name=name, namespace="morphogen", lifetime="detached").remote()
        ray.get(actor.hi.remote())

    for name in ("node:test:7", "mailbox:test:7", "node:other:7"):
        await asyncio.to_thread(leave_behind, name)
    async with running(DeskHub()) as cluster:
        await cluster.spawn(a_spec())
        named = {row["name"] for row in ray.util.list_named_actors(all_namespaces=True)}
        assert "node:other:7" in named
        assert not named & {"node:test:7", "mailbox:test:7"}
        assert any(name.startswith("node:test:") for name in named)
    ray.kill(ray.get_actor("node:other:7", namespace="morphogen"))


@pytest.mark.usefixtures("one_ray")
async def test_the_hub_survives_the_death_of_its_mailbox() -> None:
    hub = DeskHub(limit=1)
    async with running(hub) as cluster, LoopbackBackend(delay_s=0.01) as backend:
        await cluster.spawn(a_spec())
        held = await hub.lease("b", holder="other", wait_s=1.0)
        waiting = asyncio.create_task(text(cluster, f"call {backend.port}"))
        await until(lambda: hub.desk.queued("b") == 1)
        # no_restart=False is a crash in Ray's eyes: the actor comes back, empty.
        ray.kill(cluster._mailbox, no_restart=False)
        await asyncio.sleep(0.1)
        hub.release(held, None)
        assert await waiting == await text(cluster, f"call {backend.port}", task_id="t2")
        await until(lambda: hub.desk.inflight("b") == 0)
        assert backend.calls == 2


@pytest.mark.usefixtures("one_ray")
async def test_four_actors_against_a_limit_of_three_never_have_four_calls_in_flight() -> None:
    async with LoopbackBackend(delay_s=0.05) as backend:
        hub = DeskHub(limit=3, base_url=f"http://127.0.0.1:{backend.port}/v1")
        async with running(hub, warm=2) as cluster:
            await asyncio.gather(*(cluster.spawn(a_spec(f"n{n}")) for n in range(4)))
            nodes = [NodeId(f"id-n{n % 4}") for n in range(40)]
            await asyncio.gather(*(text(cluster, f"call {backend.port}", node, task_id=f"t{n}") for n, node in enumerate(nodes)))
            assert backend.calls == 40
            assert backend.peak == 3
            await until(lambda: hub.desk.inflight("b") == 0)


@pytest.mark.usefixtures("one_ray")
@pytest.mark.parametrize("stream", [False, True])
async def test_real_nodes_share_the_limit_answer_and_hang_up(stream: bool) -> None:
    from agents.node import build_node

    async with LoopbackBackend(delay_s=0.05) as backend:
        hub = DeskHub(limit=3, base_url=f"http://127.0.0.1:{backend.port}/v1")
        async with running(hub, warm=2, build=build_node) as cluster:
            await asyncio.gather(*(cluster.spawn(a_spec(f"n{n}")) for n in range(4)))
            texts = await asyncio.gather(*(text(cluster, "hello", NodeId(f"id-n{n % 4}"), task_id=f"t{n}") for n in range(24)))
            assert texts == ["done"] * 24
            assert backend.peak == 3
            await until(lambda: hub.desk.inflight("b") == 0)
            backend.delay_s = 20.0
            asking = asyncio.create_task(text(cluster, "hello", NodeId("id-n0"), stream=stream))
            await until(lambda: backend.inflight == 1)
            asking.cancel()
            await until(lambda: backend.hangups == 1 and hub.desk.inflight("b") == 0)


def descendants() -> list[str]:
    """Command lines of all processes below this one."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[0] != "Z":
                parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found: list[int] = []
    frontier = [os.getpid()]
    while frontier:
        frontier = [child for parent in frontier for child in parents.get(parent, [])]
        found += frontier
    return [Path(f"/proc/{pid}/cmdline").read_text() for pid in found if Path(f"/proc/{pid}").exists()]


async def test_a_ray_of_our_own_leaves_no_process_and_no_signal_handler() -> None:
    if ray.is_initialized():
        ray.shutdown()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    before = len(descendants())
    async with running(DeskHub()) as cluster:
        await cluster.spawn(a_spec())
        assert {number: signal.getsignal(number) for number in handlers} == handlers
        assert await text(cluster, "echo hello") == "hello"
        assert len(descendants()) > before
    assert not ray.is_initialized()
    await until(lambda: len(descendants()) <= before)
