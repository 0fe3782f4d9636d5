"""What is long over of the shape's past is forgotten, and what stays is as good as before: shapes, digests, caps, reasons."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agents.records import NodeId
from runtime.config.settings import ClusterSettings
from runtime.controlling.front import TopologyFront
from runtime.controlling.tidying import tidy
from runtime.ledger.records import LedgerError
from runtime.topology.payloads import Park, Payload, Prune, Rewire, Wake
from runtime.topology.records import UnknownProposal
from runtime.topology.shape import Topology
from runtime.topology.wire import chain
from tests.fakes.topology import World, a_draft, a_spawn, a_spec, a_world

pytestmark = pytest.mark.integration

KEPT = {"keep_revisions": 12, "keep_proposals": 10, "probation": {"extensions": 0}, "hold_back_s": 86_400.0}
A = NodeId("id-a")


async def over(world: World, payload: Payload) -> Topology:
    await world.carried_out(payload)
    world.clock[0] += 3601
    await world.controller.look()
    return world.topology


async def lived(world: World) -> dict[int, Topology]:
    """A node that stays, and many that come and go below it. Shapes by revision."""
    shapes = {}
    for payload in [
        a_spawn("a"),
        Rewire(spec=a_spec("a", prompt="better")),
        *(step for n in range(6) for step in (a_spawn(f"n{n}", parent=A), Prune(node=NodeId(f"id-n{n}")))),
        *(Park(node=A), Wake(node=A)) * 2,
    ]:
        shape = await over(world, payload)
        shapes[shape.revision] = shape
    return shapes


async def chained(world: World) -> bool:
    """Whether the digests of the revisions that are there cover what they say, from the base on."""
    ((digest,),) = await world.ledger.reader.execute_fetchall("SELECT digest FROM revision_base")
    rows = [dict(row) for row in await world.ledger.reader.execute_fetchall("SELECT * FROM revisions ORDER BY revision")]
    for row in rows:
        body = [*(row[name] for name in ("revision", "at", "who", "proposal_id", "reason")), json.loads(row["steps"])]
        digest = chain(digest, body)
        if digest != row["digest"]:
            return False
    return bool(rows)


async def test_old_revisions_are_compacted_and_every_later_shape_is_known(tmp_path: Path) -> None:
    async with a_world(tmp_path, **KEPT) as world:
        shapes = await lived(world)
        last = world.topology.revision
        assert await tidy(world.controller.tools) > 0
        assert await tidy(world.controller.tools) == 0
        oldest = await world.book.oldest()
        assert oldest == last - 12
        assert [row["revision"] for row in await world.book.revisions(limit=100)] == list(range(last, oldest, -1))
        assert await chained(world)
        known = [revision for revision in shapes if revision >= oldest]
        assert oldest in {*known, oldest - 1, oldest + 1}
        for revision in known:
            found = await world.book.at(revision)
            assert found is not None
            assert (found.members, found.revision) == (shapes[revision].members, revision)
        front = TopologyFront(world.controller, cluster=ClusterSettings(), backends=())
        assert (await front.diff(oldest, last))["from"] == oldest
        for ask in (front.shape(oldest - 1), front.diff(1, last), front.restore(2, "", who="op")):
            with pytest.raises(UnknownProposal, match=f"not kept any more: the oldest is {oldest} "):
                await ask
        with pytest.raises(UnknownProposal, match="there is no revision 999"):
            await front.shape(999)
        # Why the node is there is known still, though its revision and all proposals of its time are gone.
        explained = await front.explain("a")
        assert explained["born_of"]["kind"] == "spawn"
        assert all(row["revision"] > oldest for row in explained["changes"])
        await world.controller.look()
        restored = await front.restore(oldest, "back", who="op")
        assert restored["status"] in ("approved", "verifying")
        before, caps = world.topology, dict(world.controller.tools.state.descendants)
    async with a_world(tmp_path, clock=world.clock, **KEPT) as again:
        assert again.topology.revision >= before.revision
        assert again.controller.tools.state.descendants == caps  # over a lifetime: those that are gone are counted
        assert caps[A] == 6
        await again.controller.look()
        await over(again, a_spawn("z", parent=A))
        assert await chained(again)


async def test_proposals_that_are_over_are_bounded_and_what_is_open_or_counted_stays(tmp_path: Path) -> None:
    async with a_world(tmp_path, **KEPT) as world:
        await lived(world)
        waiting = await world.submit(a_spawn("waits"))
        held = await world.controller.decisions.submit(a_draft(a_spawn("bad")), who="rules")
        await world.controller.decisions.reject(held.proposal.proposal_id, "no", who="op")
        newest = [case.proposal.proposal_id for case in await world.book.cases(status=None, limit=10)]
        world.clock[0] += 86_400  # what was carried out today is counted by a cap, and stays
        await tidy(world.controller.tools)
        left = {case.proposal.proposal_id: case for case in await world.book.cases(status=None, limit=100)}
        assert set(newest) <= left.keys()
        assert len(left) <= 10 + 1  # and the one that node a came from
        assert world.topology.members[A].born_of in left
        assert waiting.proposal.proposal_id in left
        for table in ("proposal_moves", "proposal_steps", "approvals"):
            rows = await world.ledger.reader.execute_fetchall(f"SELECT DISTINCT proposal_id FROM {table}")
            assert {row[0] for row in rows} <= left.keys()
        assert world.controller.tools.state.holds
        world.clock[0] += 500 * 86_400
        await tidy(world.controller.tools)
        assert world.controller.tools.state.holds == {}
        assert not list(await world.ledger.reader.execute_fetchall("SELECT 1 FROM hold_backs"))
        names = {case.proposal.proposal_id for case in await world.book.cases(status=None, limit=100)}
        assert names == {waiting.proposal.proposal_id, world.topology.members[A].born_of}


async def test_a_past_that_was_changed_is_not_compacted(tmp_path: Path) -> None:
    async with a_world(tmp_path, **KEPT) as world:
        await lived(world)
        sql = "UPDATE revisions SET reason = 'nothing happened' WHERE revision = 3"
        await world.ledger.act(lambda connection: connection.execute(sql) and None)
        with pytest.raises(LedgerError, match="not what their digests say"):
            await tidy(world.controller.tools)
        assert (await world.book.revisions(limit=100))[-1]["revision"] == 1
