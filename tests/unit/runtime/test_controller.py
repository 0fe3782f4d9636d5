"""The controller without a disk: nothing piles up, however many nodes come and go, and hands do what a step says."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from agents.llm.retry import RetryPolicy
from agents.node import NodeKit
from agents.records import NodeId, Refused
from runtime.config.settings import Settings
from runtime.controlling.book import Keep
from runtime.controlling.controller import Controller
from runtime.controlling.hands import Hands
from runtime.controlling.tidying import tidy_on
from runtime.local_cluster import LocalCluster
from runtime.topology.first import first_steps
from runtime.topology.payloads import Park, Payload, Prune
from runtime.topology.records import Draft
from runtime.topology.shape import Member, PoolStep, RouterStep
from tests.fakes.cluster import ScriptedCluster
from tests.fakes.nodes import DeskHub, build_fake
from tests.fakes.topology import a_spawn, a_spec
from tests.fakes.topology_port import EmptyBook, NoSamples

CYCLES = 1000


class Forgetful(EmptyBook):
    """Keeps not even what was written."""

    async def write(self, *entries: Any) -> bool:
        return True


async def test_a_thousand_nodes_come_and_go_and_none_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.local_cluster.MAX_PARKED", 10)  # else each look goes through a thousand of them
    clock = [1_700_000_000.0]
    settings = Settings.model_validate(
        {
            "cluster": {"kind": "local", "max_live_nodes": 2},
            "topology": {"max_descendants": 10 * CYCLES, "probation": {"extensions": 0}},
        }
    )
    hub = DeskHub(limit=3)
    kit = NodeKit(backends=(hub.backend,), retry=RetryPolicy(), fallback=(), items_per_call=20, parallel_calls=4)
    cluster = LocalCluster(kit=kit, hub=hub, settings=settings.cluster, build=build_fake)
    controller = Controller(book=Forgetful(), cluster=cluster, samples=NoSamples(), settings=settings, wall=lambda: clock[0])
    await cluster.start()
    await controller.start(lambda topology: first_steps(topology, settings.cluster, now=clock[0]))

    async def change(payload: Payload) -> None:
        case = await controller.decisions.submit(Draft(payload=payload, reason="x", origin="operator"), who="op")
        proposal = case.proposal
        if proposal.status == "proposed":
            await controller.decisions.approve(proposal.proposal_id, proposal.digest, who="op")
        await controller.look()
        clock[0] += 3601
        await controller.look()

    seen = []
    for number in range(CYCLES):
        name = f"n{number}"
        await change(a_spawn(name, parent=NodeId("node-1")))
        await change(Park(node=NodeId(f"id-{name}")))
        await change(Prune(node=NodeId(f"id-{name}")))
        if number in (CYCLES // 2, CYCLES - 1):
            gc.collect()
            held = gc.get_objects()
            seen.append((sum(type(each) is Member for each in held), len(held)))
    assert [node.spec.node_id for node in cluster.nodes() if node.state != "parked"] == ["node-1"]
    assert set(controller.topology.members) == {"node-1"}
    state = controller.tools.state
    assert (state.cases, state.done, state.waits) == ({}, {}, {})
    assert (controller.tools.trouble, controller.tools.falls) == ({}, {})
    assert state.descendants == {"node-1": CYCLES}
    assert controller.topology.revision == 1 + 3 * CYCLES
    assert seen[1][0] <= seen[0][0] + 10
    assert seen[1][1] <= seen[0][1] + 1000  # of anything: five hundred nodes more came and went
    await cluster.stop(drain_s=0.001)


async def test_a_clock_that_is_years_ahead_for_a_moment_makes_nothing_too_old() -> None:
    class Over(Exception):
        pass

    trimmed: list[float] = []

    class Noting(EmptyBook):
        async def trim(self, keep: Keep) -> int:
            trimmed.append(keep.since)
            return 0

    day, years = 86_400.0, 1e9
    # The clock at the start, at each round, and, where one tidies, there once more.
    told = iter([0.0, 0.0, 0.0, years, 0.0, day, day + 1.0, day + 1.0])

    def wall() -> float:
        if (now := next(told, None)) is None:
            raise Over
        return now

    settings = Settings.model_validate({"topology": {"keep_days": 2}})
    controller = Controller(
        book=Noting(), cluster=ScriptedCluster(), samples=NoSamples(), settings=settings, wall=wall, clock=lambda: 0.0
    )
    with pytest.raises(Over):
        await tidy_on(controller.tools, lambda: 0.0, every_s=0.0)
    assert trimmed == [-2 * day, day + 1.0 - 2 * day]


async def test_a_node_is_changed_in_place_and_what_it_has_is_finished() -> None:
    hub = DeskHub(limit=3)
    kit = NodeKit(backends=(hub.backend,), retry=RetryPolicy(), fallback=(), items_per_call=20, parallel_calls=4)
    settings = Settings.model_validate({"cluster": {"kind": "local"}}).cluster
    cluster = LocalCluster(kit=kit, hub=hub, settings=settings, build=build_fake)
    await cluster.start()
    await cluster.spawn(a_spec("a"))
    await cluster.respec(a_spec("a", prompt="new"))
    await cluster.respec(a_spec("unknown"))
    (node,) = cluster.nodes()
    assert (node.state, node.spec.prompt) == ("live", "new")
    await cluster.park(NodeId("id-a"), drain_s=0.001)
    await cluster.respec(a_spec("a", prompt="newer"))
    assert cluster.nodes()[0].spec.prompt == "new"
    await cluster.stop(drain_s=0.001)


async def test_hands_refuse_what_nobody_does_here() -> None:
    hands = Hands(ScriptedCluster(), drain_s=1.0)
    done: list[Any] = []
    with pytest.raises(Refused):
        await hands.do(RouterStep(before=None, after="v1"))
    with pytest.raises(Refused):
        await hands.do(PoolStep(name="committee:p1", before=None, after=2))

    async def adopt(version: str | None) -> None:
        done.append(version)

    async def pool(name: str, size: int | None) -> None:
        done.append((name, size))

    hands.adopt, hands.pool = adopt, pool
    await hands.do(RouterStep(before=None, after="v1"))
    await hands.do(PoolStep(name="committee:p1", before=None, after=2))
    await hands.do(PoolStep(name="nodes", before=None, after=2))
    assert done == ["v1", ("committee:p1", 2)]
