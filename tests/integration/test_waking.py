"""Requests that name a parked node, against a real ledger: woken once for all of them, or refused with what can be done."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from agents.records import DeadlineExceeded, NodeId, Refused
from runtime.controlling.waking import parked, waking
from runtime.open_request import OpenRequest
from runtime.records import Target
from runtime.topology.payloads import Merge, Park
from tests.fakes.request_path import request
from tests.fakes.topology import World, a_spawn, a_world

pytestmark = pytest.mark.integration
A = NodeId("id-a")


async def a_parked_node(world: World) -> None:
    for payload in (a_spawn("a"), Park(node=A)):
        await world.carried_out(payload)
        world.clock[0] += 200_000
        for _ in range(4):
            await world.controller.look()
    assert world.topology.members[A].life == "parked"
    assert [status.spec.name for status in parked(world.controller)] == ["a"]


async def asked(world: World, *, deadline_s: float = 10.0) -> None:
    """One request of the request path, as far as waking goes."""

    async def then(run: OpenRequest) -> None:
        assert A in world.live()

    run = OpenRequest(
        request=request(target=Target(kind="node", name="a")), started=0.0, deadline_s=deadline_s, number=1, work_id="w"
    )
    await waking(world.controller, then)(run)


async def test_many_requests_make_one_wake_and_all_of_them_find_the_node_live(tmp_path: Path) -> None:
    async with a_world(tmp_path, round_s=0.05) as world:
        await a_parked_node(world)
        running = asyncio.create_task(world.controller.run())
        await asyncio.gather(*(asked(world) for _ in range(20)))
        running.cancel()
        wakes = [case for case in await world.book.cases(status=None, limit=100) if case.proposal.kind == "wake"]
        assert [case.proposal.status for case in wakes] == ["verifying"]
        assert world.cluster.acts.count(("spawn", A)) == 2  # when it was born, and now
        assert parked(world.controller) == []


@pytest.mark.parametrize(("rule", "how"), [("operator", "proposals approve prop_"), ("refuse", "proposals new wake a")])
async def test_where_the_policy_does_not_let_it_the_error_says_what_can_be_done(tmp_path: Path, rule: str, how: str) -> None:
    async with a_world(tmp_path, approval={"wake": rule}) as world:
        await a_parked_node(world)
        with pytest.raises(Refused, match="'a' is parked") as caught:
            await asked(world)
        assert how in caught.value.message
        assert caught.value.retry_after_s
        assert A not in world.live()


async def test_the_wait_ends_with_the_deadline_and_the_wake_goes_on(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        await a_parked_node(world)
        with pytest.raises(DeadlineExceeded, match="parked"):
            await asked(world, deadline_s=0.05)
        await world.controller.look()
        assert A in world.live()
        await asked(world)


async def test_who_took_a_nodes_place_answers_for_it_while_it_rests_and_when_it_is_gone(tmp_path: Path) -> None:
    async def then(run: OpenRequest) -> None:
        reached.append((run.request.target.name, [event.data["reason"] for event in run.events]))

    reached: list[tuple[str | None, list[str]]] = []
    async with a_world(tmp_path) as world:
        for payload in (a_spawn("a"), a_spawn("b")):
            await world.carried_out(payload)
        world.clock[0] += 200_000
        await world.controller.look()
        merge = await world.carried_out(Merge(into=NodeId("id-b"), gone=(A,)))
        asking = request(target=Target(kind="node", name="a"))
        for status in ("verifying", "kept"):
            assert (await world.now(merge)).proposal.status == status
            await waking(world.controller, then)(OpenRequest(request=asking, started=0.0, deadline_s=10.0, number=1, work_id="w"))
            world.clock[0] += 200_000
            for _ in range(4):
                await world.controller.look()
        assert A not in world.topology.members
        assert reached == [("b", ["b took the place of a"])] * 2
        assert world.cluster.acts.count(("spawn", A)) == 1, "it was woken"


async def test_nodes_of_the_registrys_chores_are_not_for_clients(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        await a_parked_node(world)
        await world.controller.remember(replace(world.topology.members[A].spec, node_id=NodeId("r"), name="r", role="reviewer"))
        assert [status.spec.name for status in parked(world.controller)] == ["a"]
