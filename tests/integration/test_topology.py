"""A change of shape against a real ledger, with nodes in this process: killed at every point, and finished or undone."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents.records import NodeId
from runtime.topology.payloads import Merge, Park, Payload, Prune, Recover, Restore, Rewire, Split
from runtime.topology.records import Status
from runtime.topology.shape import Topology
from tests.fakes.topology import NOW, Fuse, GivenSamples, Killed, World, a_prediction, a_spawn, a_spec, a_world

pytestmark = pytest.mark.integration

A, B, C = (NodeId(f"id-{name}") for name in "abc")
CHANGES: dict[str, tuple[Payload, set[str]]] = {
    "spawn": (a_spawn("c", parent=A), {"node-1", A, B, C}),
    "split": (
        Split(node=A, children=(a_spawn("c"), a_spawn("d"))),
        {"node-1", A, B, C, "id-d"},
    ),
    "prune": (Prune(node=B), {"node-1", A}),
    "merge": (Merge(into=A, gone=(B,), spec=a_spec("a", prompt="both")), {"node-1", A}),
    "park": (Park(node=B), {"node-1", A}),
    "recover": (Recover(node=B, spec=a_spec("c", role="recovery")), {"node-1", A, C}),
    "rewire": (Rewire(spec=a_spec("a", prompt="another way")), {"node-1", A, B}),
    "restore": (Restore(revision=1), {"node-1"}),
}
BEFORE = {"node-1", A, B}


async def begin(world: World) -> None:
    for name in "ab":
        await world.carried_out(a_spawn(name))
    for case in list(world.controller.tools.state.cases.values()):
        assert case.proposal.status is Status.VERIFYING
    world.clock[0] += 200_000
    for _ in range(4):
        await world.controller.look()
    assert not world.controller.tools.state.cases


async def change(world: World, payload: Payload, *, good: bool) -> None:
    """From the proposal to its end, however often it was begun before."""
    controller, state = world.controller, world.controller.tools.state
    known = await world.book.cases(status=None, limit=100)
    case = next((each for each in known if each.proposal.draft.payload == payload), None)
    if case is None:
        case = await world.submit(payload, predictions=(a_prediction(),))
    if case.proposal.status is Status.PROPOSED:
        await world.approve(case)
    world.samples.values[:] = [0.9 if good else 0.1] * 400
    for _ in range(4):
        await controller.look()
    assert controller.tools.state.cases == {} or state is not controller.tools.state


@pytest.mark.parametrize(
    ("kind", "good"),
    [
        ("split", True),
        ("split", False),
        ("merge", True),
        ("merge", False),
        ("recover", False),
        ("rewire", True),
        ("restore", True),
    ],
)
async def test_killed_anywhere_a_change_is_finished_or_undone_once(tmp_path: Path, kind: str, good: bool) -> None:
    payload, wanted = CHANGES[kind]
    async with a_world(tmp_path / "first") as world:
        await begin(world)
    for kill_at in range(200):
        folder = tmp_path / str(kill_at)
        folder.mkdir()
        (folder / "ledger.sqlite").write_bytes((tmp_path / "first" / "ledger.sqlite").read_bytes())
        clock, samples = [NOW + 300_000.0], GivenSamples()
        fuse = Fuse()
        survived = False
        try:
            async with a_world(folder, fuse=fuse, clock=clock, samples=samples) as world:
                fuse.left = kill_at
                await change(world, payload, good=good)
                survived = True
        except Killed:
            pass
        async with a_world(folder, clock=clock, samples=samples) as world:
            await change(world, payload, good=good)
            (case,) = [each for each in await world.book.cases(status=None, limit=100) if each.proposal.draft.payload == payload]
            assert case.proposal.status is (Status.KEPT if good else Status.ROLLED_BACK)
            assert world.live() == {member.node_id for member in world.topology.live} == (wanted if good else BEFORE)
            moves = [row["became"] for row in await world.book.moves(case.proposal.proposal_id)]
            assert moves.count("applying") == moves.count("approved") == 1
            if kind in ("prune", "merge") and good:
                assert B not in world.topology.members
            if not good:
                assert _shape(await world.book.at(case.proposal.base_revision)) == _shape(world.topology)
        if survived:
            assert kill_at > 8
            return
    raise AssertionError("it never got through")


def _shape(topology: Topology | None) -> object:
    return None if topology is None else (topology.members, topology.router, topology.pools)
