"""Nodes for committees: who gets one, within the host's caps, and that all of them go back."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.committee.records import Convened, Design
from agents.llm.chat import BackendSpec
from agents.records import NodeId, NodeSpec, Refused
from agents.strategy_specs import Seat
from runtime.cluster import ClusterStatus, NodeStatus
from runtime.committees import desk as desk_module
from runtime.committees.desk import CommitteeDesk
from runtime.committees.pool import DesignPool, fits, likeness, words_of
from runtime.config.committee import CommitteeSettings
from tests.fakes.cluster import ScriptedCluster, node

SEATS = tuple(Seat(speciality=name) for name in ("Pilot", "Clerk", "Weather reader"))
CODER = Seat(speciality="Program writer", code=True)
BACKENDS = (BackendSpec(name="a"), BackendSpec(name="b", output_usd_per_mtok=1.0, capabilities=frozenset({"words", "code"})))
DESIGN = Design(members=SEATS, rounds=2, origin="model")


class SlowCluster(ScriptedCluster):
    """Says of which kind it is; ``gate`` keeps a spawn waiting, ``full`` refuses it."""

    def __init__(self, *, nodes: Any = None, kind: Any = "local", warm: int = 0) -> None:
        super().__init__(nodes=nodes)
        self.kind, self.warm, self.full = kind, warm, False
        self.gate = asyncio.Event()
        self.gate.set()
        self.parked: list[str] = []

    async def spawn(self, spec: NodeSpec) -> NodeStatus:
        await self.gate.wait()
        if self.full:
            raise Refused("the cap is reached")
        return await super().spawn(spec)

    async def park(self, node_id: NodeId, *, drain_s: float) -> None:
        self.parked.append(node_id)
        await super().park(node_id, drain_s=drain_s)

    def status(self) -> ClusterStatus:
        return ClusterStatus(kind=self.kind, live=len(self.statuses), warm=self.warm, restarts=0)


@dataclass
class World:
    cluster: SlowCluster = field(default_factory=SlowCluster)
    settings: dict[str, Any] = field(default_factory=dict)
    now: float = 0.0

    def __post_init__(self) -> None:
        settings = CommitteeSettings(**{"keep_s": 60.0, **self.settings})
        self.desk = CommitteeDesk(cluster=self.cluster, settings=settings, backends=lambda: BACKENDS, clock=lambda: self.now)

    async def form(self, *seats: Seat, task: str = "r1/x.1/1", hops: int = 0) -> Convened:
        return await self.desk.convene(seats or SEATS, task_id=task, hops=hops, locale="harbour")

    def end(self, committee: Convened, *, passed: bool = True, problem: str = "") -> None:
        self.desk.dissolve(committee.committee_id, design=DESIGN, problem=problem, passed=passed)

    async def settled(self) -> None:
        await self.desk.aclose()

    def members(self) -> list[str]:
        return [status.spec.name for status in self.cluster.statuses if status.spec.role == "advisor"]


def by(committee: Convened) -> list[str]:
    return [seat.by for seat in committee.seats]


async def test_seats_go_to_specialists_then_to_warm_nodes() -> None:
    pilot = node("pilot-1", role="specialist", speciality="harbour pilot")
    reviewer = node("clerk", role="reviewer", speciality="Clerk")
    world = World(SlowCluster(nodes=[node(), pilot, reviewer]))
    committee = await world.form()
    assert by(committee) == ["specialist", "warm", "warm"]
    assert committee.seats[0].node == "pilot-1"
    spawned = [status.spec for status in world.cluster.statuses if status.spec.role == "advisor"]
    assert [spec.speciality for spec in spawned] == ["Clerk", "Weather reader"]
    assert {spec.locale for spec in spawned} == {"harbour"}
    assert [spec.backends[0] for spec in spawned] == ["b", "a"], "different members begin with different backends"
    world.end(committee)
    assert "pilot-1" not in world.cluster.parked, "a specialist is asked, not taken"


async def test_a_committee_takes_no_more_nodes_than_it_may_and_only_warm_ones() -> None:
    assert by(await World(settings={"max_nodes": 2}).form()) == ["warm", "warm", "role"]
    assert by(await World(settings={"max_nodes": 0}).form()) == ["role", "role", "role"]
    assert by(await World(SlowCluster(kind="ray", warm=1)).form()) == ["warm", "role", "role"]
    assert by(await World().form(hops=1)) == ["role", "role", "role"], "whom a peer asked convenes nobody"
    world = World()
    world.cluster.full = True
    assert by(await world.form()) == ["role", "role", "role"]
    world.cluster.full = False
    assert by(await world.form()) == ["warm", "warm", "warm"], "a refusal leaves no name taken"


async def test_what_one_committee_holds_another_cannot_have() -> None:
    world = World(settings={"max_nodes": 4})
    first, second = await world.form(task="r1/x.1/1"), await world.form(task="r2/x.2/1")
    assert by(second) == ["warm", "role", "role"]
    assert len(set(world.members())) == 4
    world.end(first)
    third = await world.form(task="r3/x.3/1")
    assert by(third) == ["kept", "kept", "kept"]
    assert {seat.node for seat in third.seats} == {seat.node for seat in first.seats}


async def test_a_node_waits_for_the_next_committee_and_is_put_away_after_that() -> None:
    world = World()
    first = await world.form()
    world.end(first)
    world.end(first)
    assert world.desk.gauges() == {"nodes_sitting": 0, "nodes_waiting": 3, "designs": 0}
    second = await world.form(Seat(speciality="Clerk"), Seat(speciality="Cook"), CODER)
    assert by(second) == ["kept", "kept", "warm"]
    assert second.seats[0].node == first.seats[1].node, "the same speciality first; who writes code is another"
    world.end(second)
    world.now = 59.0
    world.desk.expire()
    await world.settled()
    assert not world.cluster.parked
    world.now = 60.0
    world.desk.expire()
    await world.settled()
    assert len(world.cluster.parked) == 4
    assert not world.members()
    assert by(await world.form()) == ["warm", "warm", "warm"]


async def test_a_timer_that_rings_a_moment_early_rings_again() -> None:
    world = World(settings={"keep_s": 0.02})
    world.end(await world.form())
    world.now = 0.0199
    world.desk.expire()
    assert world.desk.gauges()["nodes_waiting"] == 3
    assert world.desk._timer is not None
    world.now = 0.03
    world.desk.expire()
    await world.settled()
    assert not world.members()


async def test_members_are_kept_ready_for_committees_that_often_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk_module, "FILL_AFTER_S", 0.0)
    world = World(settings={"max_nodes": 6, "keep_s": 10.0})

    async def filled(count: int) -> None:
        for _ in range(50):
            await asyncio.sleep(0)
        assert world.desk.gauges()["nodes_waiting"] == count

    await world.desk.keep("committee:ferries", 1)
    await filled(4)
    await world.desk.keep("committee:fares", 3)
    await filled(6)
    committee = await world.form()
    assert by(committee) == ["kept", "kept", "kept"]
    world.end(committee)
    world.now = 100.0
    world.desk.expire()
    await filled(6)
    await world.desk.keep("committee:fares", None)
    world.desk.expire()
    await filled(4)
    with pytest.raises(Refused, match="no pool"):
        await world.desk.keep("warm_nodes", 1)
    await world.settled()


async def test_without_waiting_nodes_go_back_at_once() -> None:
    world = World(settings={"keep_s": 0.0})
    world.end(await world.form())
    await world.settled()
    assert not world.members()


async def test_a_waiting_node_that_died_is_not_asked() -> None:
    world = World()
    world.end(await world.form())
    world.cluster.statuses = [status for status in world.cluster.statuses if status.spec.name != "member-1"]
    second = await world.form()
    assert "member-1" not in {seat.node for seat in second.seats if seat.by == "kept"}


async def test_a_request_that_ends_gives_back_what_its_committees_still_hold() -> None:
    world = World(settings={"keep_s": 0.0})
    await world.form(task="r1/x.1/1")
    other = await world.form(Seat(speciality="Cook"), task="r1/x.11/1")
    world.desk.work_ended("r1/x.1")
    await world.settled()
    assert world.members() == [other.seats[0].node], "another work's committee still sits"
    assert world.desk.counts.ended["cut_off"] == 1


async def test_a_committee_that_is_no_longer_wanted_while_it_forms_leaves_nothing() -> None:
    world = World(settings={"keep_s": 0.0})
    world.cluster.gate.clear()
    forming = asyncio.ensure_future(world.form(task="r1/x.1/1"))
    await asyncio.sleep(0)
    forming.cancel()
    with pytest.raises(asyncio.CancelledError):
        await forming
    world.cluster.gate.set()
    for _ in range(5):
        await asyncio.sleep(0)
    await world.settled()
    world.desk.work_ended("r1/x.1")
    assert not world.members()
    assert by(await world.form()) == ["warm", "warm", "warm"]


# ── designs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

PROBLEM = "Generate realistic records of shipments with weights, ports and customs declarations for the year"


def ended(pool: DesignPool, problem: str = PROBLEM, *, passed: bool = True, design: Design = DESIGN, most: int = 8) -> None:
    pool.ended(problem, design, passed=passed, most=most)


def test_a_design_that_did_well_is_used_for_requests_like_its_own() -> None:
    pool = DesignPool()
    ended(pool)
    assert pool.find(PROBLEM.replace("the year", "the month") + " 1200") == DESIGN
    assert pool.find("Write a poem about the sea and its seventy colours") is None
    assert pool.find("") is None


def test_only_a_models_designs_that_passed_are_kept() -> None:
    pool = DesignPool()
    ended(pool, passed=False)
    ended(pool, design=Design(members=SEATS, rounds=1, origin="rules"))
    ended(pool, "too few words")
    assert len(pool) == 0


def test_a_design_that_fails_more_often_than_it_passes_goes_and_so_does_one_that_lost() -> None:
    pool = DesignPool()
    ended(pool)
    ended(pool, passed=False)
    assert len(pool) == 1
    ended(pool, passed=False)
    assert len(pool) == 0
    ended(pool)
    pool.lost(PROBLEM)
    assert pool.find(PROBLEM) is None


@given(st.lists(st.tuples(st.text("abcdefgh ", min_size=20, max_size=60), st.booleans()), max_size=30), st.integers(0, 5))
def test_the_pool_never_grows_beyond_its_bound(told: list[tuple[str, bool]], most: int) -> None:
    pool = DesignPool()
    for problem, passed in told:
        ended(pool, problem, passed=passed, most=most)
        assert len(pool) <= most


@pytest.mark.parametrize(
    ("wanted", "offered", "fit"),
    [
        ("Financial expert", "financial", True),
        ("Pilot", "harbour pilot", True),
        ("Pilot", "", False),
        ("Statistics checker", "statistics of finance", False),
        ("", "", False),
    ],
)
def test_which_specialist_fits_a_seat(wanted: str, offered: str, fit: bool) -> None:
    assert fits(wanted, offered) is fit


def test_likeness_is_of_words_and_not_of_numbers() -> None:
    assert words_of("Sail 12 ships to Kilrush, then SAIL back!") == {"sail", "ships", "kilrush", "then", "back"}
    assert likeness(words_of("ships sail"), words_of("Sail, ships")) == 1.0
    assert likeness(frozenset(), frozenset()) == 0.0
