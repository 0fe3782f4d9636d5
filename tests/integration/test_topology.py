"""A change of shape against a real ledger, with nodes in this process: killed at every point, and finished or undone."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from agents.records import NodeId
from runtime.controlling.book import Case
from runtime.topology.payloads import (
    KIND_OF,
    AdoptRouter,
    Kind,
    Merge,
    Park,
    Payload,
    Pool,
    Prune,
    Recover,
    Restore,
    Rewire,
    Split,
    Tune,
    Wake,
)
from runtime.topology.records import Status
from runtime.topology.shape import Topology
from tests.fakes.topology import NOW, Fuse, GivenSamples, World, a_prediction, a_spawn, a_spec, a_world

pytestmark = pytest.mark.integration

A, B, C, P = (NodeId(f"id-{name}") for name in "abcp")
CHANGES: dict[str, tuple[Payload, set[str]]] = {
    "spawn": (a_spawn("c", parent=A), {"node-1", A, B, C}),
    "split": (Split(node=A, children=(a_spawn("c"), a_spawn("d"))), {"node-1", A, B, C, "id-d"}),
    "prune": (Prune(node=B), {"node-1", A}),
    "merge": (Merge(into=A, gone=(B,), spec=a_spec("a", prompt="both")), {"node-1", A}),
    "park": (Park(node=B), {"node-1", A}),
    "wake": (Wake(node=P), {"node-1", A, B, P}),
    "recover": (Recover(node=B, spec=a_spec("c", role="recovery")), {"node-1", A, C}),
    "rewire": (Rewire(spec=a_spec("a", prompt="another way")), {"node-1", A, B}),
    "adopt_router": (AdoptRouter(version="router@2"), {"node-1", A, B}),
    "tune": (Tune(settings=("exploration_floor=0.02",)), {"node-1", A, B}),
    "pool": (Pool(name="committee:p1", size=2), {"node-1", A, B}),
    "pool_of_blank_nodes": (Pool(name="nodes", size=1), {"node-1", A, B}),
    "restore": (Restore(revision=1), {"node-1"}),
}
BEFORE = {"node-1", A, B}
LATER = NOW + 300_000.0
LEAST_POINTS = 11
"""Of a change of one step: proposed, approved, begun, done and kept are two each (before the write and after it), and the act."""


def test_no_kind_of_change_is_forgotten() -> None:
    assert {KIND_OF[type(payload)] for payload, _ in CHANGES.values()} == set(Kind)


async def begin(folder: Path) -> None:
    async with a_world(folder) as world:
        for name in "abp":
            await world.carried_out(a_spawn(name))
        await over(world)
        await world.carried_out(Park(node=P))
        await over(world)
        assert world.live() == BEFORE


async def over(world: World) -> None:
    world.clock[0] += 100_000
    for _ in range(4):
        await world.controller.look()
    assert not world.controller.tools.state.cases


async def change(world: World, payload: Payload, *, good: bool) -> Case:
    """From the proposal to its end, however often it was begun before."""
    case = await _known(world, payload)
    if case is None:
        case = await world.submit(payload, predictions=(a_prediction(),))
    if case.proposal.status is Status.PROPOSED:
        await world.approve(case)
    world.samples.values[:] = [0.9 if good else 0.1] * 400
    for _ in range(4):
        await world.controller.look()
    assert world.controller.tools.state.cases == {}
    return await world.now(case)


async def _known(world: World, payload: Payload) -> Case | None:
    """The case of ``payload``, of which there is never more than one."""
    cases = [each for each in await world.book.cases(status=None, limit=100) if each.proposal.draft.payload == payload]
    assert len(cases) <= 1
    return cases[0] if cases else None


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ledger of a network of two nodes beside the generalist, and a parked one."""
    folder = tmp_path_factory.mktemp("grown")
    asyncio.run(begin(folder))
    return folder


@pytest.mark.parametrize("good", [True, False], ids=["kept", "undone"])
@pytest.mark.parametrize("kind", CHANGES)
async def test_killed_anywhere_a_change_is_finished_or_undone_once(tmp_path: Path, grown: Path, kind: str, good: bool) -> None:
    payload, wanted = CHANGES[kind]
    folder, killed = tmp_path / "through", list[Path]()
    shutil.copytree(grown, folder)

    def killed_here() -> None:
        """What is on the disk at this moment is all that a kill leaves: nodes of this process die with it."""
        killed.append(tmp_path / f"killed-{len(killed)}")
        shutil.copytree(folder, killed[-1])

    fuse = Fuse()
    async with a_world(folder, fuse=fuse, clock=[LATER], samples=GivenSamples()) as world:
        fuse.at = killed_here
        await change(world, payload, good=good)
        through = world.topology
        assert world.live() == (wanted if good else BEFORE)
    assert len(killed) >= LEAST_POINTS
    async with asyncio.TaskGroup() as daemons:  # where one fails, the others are closed
        for at in killed:
            daemons.create_task(begins_anew(at, payload, through, wanted if good else BEFORE, good=good))


async def begins_anew(folder: Path, payload: Payload, through: Topology, live: set[str], *, good: bool) -> None:
    """The daemon after the kill brings the change to the same end, ``through``, and does nothing twice."""
    async with a_world(folder, clock=[LATER], samples=GivenSamples()) as world:
        case = await change(world, payload, good=good)
        assert case.proposal.status is (Status.KEPT if good else Status.ROLLED_BACK)
        assert world.live() == {member.node_id for member in world.topology.live} == live
        assert (world.laid.router, world.laid.tuned) == (world.topology.router, world.topology.tuned)
        assert {**world.laid.pools, **_blank(world.topology)} == world.topology.pools
        moves = [row["became"] for row in await world.book.moves(case.proposal.proposal_id)]
        assert moves.count("applying") == moves.count("approved") == 1
        # As many revisions as without a kill: each step was laid once.
        assert (world.topology.revision, _shape(world.topology)) == (through.revision, _shape(through))
        if not good:
            assert _shape(await world.book.at(case.proposal.base_revision)) == _shape(world.topology)


def _blank(topology: Topology) -> dict[str, int]:
    """The pool of blank nodes is the cluster's own."""
    return {name: size for name, size in topology.pools.items() if name == "nodes"}


def _shape(topology: Topology | None) -> object:
    """But for ids of proposals and times."""
    if topology is None:
        return None
    members = {name: (each.spec, each.life, each.line, each.patterns, each.also) for name, each in topology.members.items()}
    return members, topology.router, topology.tuned, topology.pools
