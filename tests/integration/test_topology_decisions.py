"""Decisions on changes of shape against a real ledger: twice, at once, too late; floods, caps, clocks, what cannot be undone."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from agents.records import NodeId, NodeLost, Refused
from runtime.config.settings import ClusterSettings
from runtime.controlling.front import TopologyFront
from runtime.ledger.samples import LedgerSamples
from runtime.topology.payloads import Merge, Park, Prune, Rewire, Spawn, Wake
from runtime.topology.records import BadProposal, Draft, NotNow, OverCap, Scope, Status, UnknownProposal
from runtime.topology.shape import PatternId, Topology
from tests.fakes.topology import OPERATOR, a_draft, a_prediction, a_spawn, a_spec, a_world

pytestmark = pytest.mark.integration

A, B = NodeId("id-a"), NodeId("id-b")


async def test_an_approval_is_used_once_and_of_two_operators_one_is_told(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        case = await world.submit(a_spawn("a"))
        name, digest = case.proposal.proposal_id, case.proposal.digest
        decisions = world.controller.decisions
        with pytest.raises(NotNow, match="hash"):
            await decisions.approve(name, "0" * 64, who=OPERATOR)
        both = (decisions.approve(name, digest, who="one"), decisions.approve(name, digest, who="two"))
        first, second = await asyncio.gather(*both, return_exceptions=True)
        assert sorted([type(first) is NotNow, type(second) is NotNow]) == [False, True]
        await asyncio.gather(world.controller.look(), world.controller.look())
        with pytest.raises(NotNow, match="verifying"):
            await decisions.approve(name, digest, who=OPERATOR)
        with pytest.raises(NotNow):
            await decisions.reject(name, "too late", who=OPERATOR)
        await world.controller.look()
        assert world.cluster.acts == [("spawn", "node-1"), ("spawn", A)]
        moves = await world.book.moves(name)
        assert [row["became"] for row in moves] == ["proposed", "approved", "applying", "verifying"]
        assert moves[1]["who"] in ("one", "two")
        assert {row["digest"] for row in moves} == {digest}


async def test_expired_superseded_and_snoozed_proposals(tmp_path: Path) -> None:
    async with a_world(tmp_path, expire_s=100.0) as world:
        decisions = world.controller.decisions
        case = await world.submit(a_spawn("a"))
        snoozed = await decisions.snooze(case.proposal.proposal_id, 60.0, who=OPERATOR)
        world.clock[0] += 61
        await world.controller.look()
        assert (await world.now(case)).proposal.status is Status.PROPOSED
        world.clock[0] = snoozed.proposal.expires_at
        with pytest.raises(NotNow, match="expired"):
            await world.approve(case)
        await world.controller.look()
        assert (await world.now(case)).proposal.status is Status.EXPIRED

        old = await world.submit(a_spawn("a"))
        assert await world.submit(a_spawn("a")) == old
        new = await world.submit(a_spawn("a", parent=NodeId("node-1")))
        assert (await world.now(old)).proposal.status is Status.SUPERSEDED
        with pytest.raises(NotNow, match="superseded"):
            await world.approve(old)
        await world.approve(new)
        await world.controller.look()
        assert world.topology.members[A].parent == "node-1"

        # What it was about has changed between approval and its turn.
        rewire = await world.submit(Rewire(spec=replace(world.topology.members[A].spec, prompt="new")))
        world.clock[0] += 1_000_000
        for _ in range(4):
            await world.controller.look()
        stale = await world.submit(Rewire(spec=replace(world.topology.members[A].spec, prompt="other")))
        assert (await world.now(rewire)).proposal.status is Status.EXPIRED
        await world.carried_out(Park(node=A))
        await world.approve(stale)
        await world.controller.look()
        assert (await world.now(stale)).proposal.status in (Status.SUPERSEDED, Status.APPROVED)
        for _ in range(4):
            world.clock[0] += 4000
            await world.controller.look()
        assert (await world.now(stale)).proposal.status in (Status.SUPERSEDED, Status.EXPIRED)
        assert world.topology.members[A].spec.prompt == ""


async def test_a_rejection_holds_the_rules_back_and_not_the_operator(tmp_path: Path) -> None:
    async with a_world(tmp_path, hold_back_s=1000.0) as world:
        decisions = world.controller.decisions
        case = await decisions.submit(a_draft(a_spawn("a")), who="rules")
        await decisions.reject(case.proposal.proposal_id, "not worth it", who=OPERATOR)
        assert world.controller.tools.state.held_back(world.clock[0]) == {"spawn:a"}
        with pytest.raises(NotNow, match="not worth it"):
            await decisions.submit(a_draft(a_spawn("a")), who="rules")
    async with a_world(tmp_path, hold_back_s=1000.0, clock=world.clock) as world:
        assert world.controller.tools.state.held_back(world.clock[0]) == {"spawn:a"}
        assert (await world.submit(a_spawn("a"))).proposal.status is Status.PROPOSED
        world.clock[0] += 1001
        assert not world.controller.tools.state.held_back(world.clock[0])


async def test_a_change_that_did_not_keep_its_promise_is_held_back_like_a_rejected_one(tmp_path: Path) -> None:
    async with a_world(tmp_path, hold_back_s=1000.0) as world:
        decisions = world.controller.decisions
        promised = a_draft(a_spawn("a"))
        world.samples.values[:] = [0.1] * 400
        await world.approve(await decisions.submit(promised, who="rules"))
        for _ in range(4):
            await world.controller.look()
        assert "a" not in {member.spec.name for member in world.topology.members.values()}
        with pytest.raises(NotNow, match="refuted"):
            await decisions.submit(promised, who="rules")
        assert (await world.submit(a_spawn("a"))).proposal.status is Status.PROPOSED  # an operator may wish for it
        world.clock[0] += 1001
        assert not world.controller.tools.state.held_back(world.clock[0])


async def test_what_was_pruned_while_it_worked_is_not_made_again_at_once(tmp_path: Path) -> None:
    async with a_world(tmp_path, hold_back_s=1000.0) as world:
        decisions, clock = world.controller.decisions, world.clock
        for name in "ab":
            await world.carried_out(a_spawn(name, patterns=(PatternId(f"p-{name}"),)))
        clock[0] += 200_000
        for _ in range(4):
            await world.controller.look()
        parked = await world.carried_out(Park(node=B))
        clock[0] += 200_000
        for _ in range(4):
            await world.controller.look()
        assert (await world.now(parked)).proposal.status is Status.KEPT
        for node in (A, B):
            await world.approve(await decisions.submit(a_draft(Prune(node=node), predictions=(a_prediction(),)), who="rules"))
        world.samples.values[:] = [0.9] * 400
        for _ in range(4):
            await world.controller.look()
        assert set(world.topology.members) == {"node-1"}
        assert world.controller.tools.state.held_back(clock[0]) == {"spawn:p-a"}  # nobody had asked for b
        with pytest.raises(NotNow, match="was pruned"):
            await decisions.submit(a_draft(a_spawn("c", patterns=(PatternId("p-a"),))), who="rules")


@dataclass(slots=True)
class Flood:
    """A source that proposes what a test says; ``error`` instead, where there is one."""

    drafts: Sequence[Draft] = ()
    error: Exception | None = None

    async def propose(
        self, topology: Topology, *, open_keys: frozenset[str], held_back: frozenset[str], now: float
    ) -> Sequence[Draft]:
        if self.error is not None:
            raise self.error
        return self.drafts


async def test_a_flood_of_patterns_and_a_mad_model_change_nothing_that_they_should_not(tmp_path: Path) -> None:
    rules = {"spawn": "auto", "prune": "auto", "max_risk": "high"}
    async with a_world(tmp_path, max_open_proposals=20, max_spawns_per_minute=3, approval=rules, max_live_nodes=8) as world:
        flood = [a_draft(a_spawn(f"s{number}", patterns=(PatternId(f"p{number}"),))) for number in range(200)]
        mad = [a_draft(Prune(node=NodeId("node-1")), origin="model"), a_draft(Park(node=NodeId("none")), origin="model")]
        mad += [a_draft(a_spawn("x", parent=NodeId("none")), origin="model")]
        world.controller.sources += [Flood(drafts=flood), Flood(drafts=mad), Flood(error=ValueError("no"))]
        for _ in range(5):
            await world.controller.ask()
            await world.controller.look()
        assert len(world.topology.members) == 3  # three in the minute, the generalist among them
        for _ in range(20):
            world.clock[0] += 61
            await world.controller.ask()
            await world.controller.look()
        assert len(world.live()) <= 8
        assert "node-1" in world.live()
        dropped = world.controller.tools.dropped
        assert dropped["error"] == 25
        assert dropped["bad"] >= 60
        assert dropped["cap"] > 0
        assert dropped["too_many"] > 0


async def test_what_waits_says_for_what_and_goes_on_when_it_may(tmp_path: Path) -> None:
    async with a_world(tmp_path, max_live_nodes=2) as world:
        await world.carried_out(a_spawn("a"))
        case = await world.carried_out(a_spawn("b"))
        assert case.proposal.status is Status.APPROVED
        waits = world.controller.tools.state.waits
        assert "cluster.max_live_nodes" in waits[case.proposal.proposal_id]
        for _ in range(3):
            world.clock[0] += 3601
            await world.controller.look()
        parked = await world.carried_out(Park(node=A))
        assert parked.proposal.status is Status.VERIFYING
        await world.controller.look()
        assert (await world.now(case)).proposal.status is Status.VERIFYING
        assert world.live() == {"node-1", B}
        wake = await world.submit(Wake(node=A))
        assert wake.proposal.status is Status.APPROVED  # by the policy
        await world.controller.look()
        await world.controller.decisions.undo(wake.proposal.proposal_id, "never mind", who=OPERATOR)
        assert (await world.now(wake)).proposal.status is Status.SUPERSEDED
        world.controller.tools.settings = world.controller.tools.settings.model_copy(update={"max_depth": 0})
        with pytest.raises(OverCap, match="generations"):
            await world.submit(a_spawn("c", parent=B))


async def test_a_step_that_fails_takes_the_change_back_and_one_that_cannot_be_taken_back_waits_for_a_person(
    tmp_path: Path,
) -> None:
    async with a_world(tmp_path, step_attempts=2) as world:
        for name in "ab":
            await world.carried_out(a_spawn(name))
        for _ in range(4):
            world.clock[0] += 3601
            await world.controller.look()
        world.cluster.refuses = lambda act, node: NodeLost("it will not park") if (act, node) == ("park", B) else None
        case = await world.carried_out(Merge(into=A, gone=(B,), spec=a_spec("a", prompt="both")))
        assert case.proposal.status is Status.APPLYING
        world.cluster.refuses = lambda act, node: NodeLost("nothing works") if act in ("park", "respec") else None
        for _ in range(4):
            await world.controller.look()
        assert (await world.now(case)).proposal.status is Status.STUCK
        assert world.topology.members[A].spec.prompt == "both"
        world.cluster.refuses = lambda act, node: None
        await world.controller.look()
        assert (await world.now(case)).proposal.status is Status.STUCK
        await world.controller.decisions.undo(case.proposal.proposal_id, "again", who=OPERATOR)
        await world.controller.look()
        found = await world.now(case)
        assert found.proposal.status is Status.ROLLED_BACK
        assert world.topology.members[A].spec.prompt == ""
        assert world.live() == {"node-1", A, B}


@pytest.mark.parametrize(("measured", "end"), [(0.9, Status.KEPT), (0.1, Status.ROLLED_BACK)])
async def test_a_node_that_goes_in_its_probation_comes_back_and_is_judged_all_the_same(
    tmp_path: Path, measured: float, end: Status
) -> None:
    async with a_world(tmp_path) as world:
        case = await world.carried_out(a_spawn("a"), predictions=(a_prediction(),))
        await super(type(world.cluster), world.cluster).park(A, drain_s=0.001)
        assert A not in world.live()
        await world.controller.look()
        assert A in world.live()
        world.cluster.refuses = lambda act, node: Refused("no room") if node == A else None
        await super(type(world.cluster), world.cluster).park(A, drain_s=0.001)
        await world.controller.look()
        assert A not in world.live()
        world.cluster.refuses = lambda act, node: None
        await world.controller.look()
        assert A in world.live()
        assert (await world.now(case)).proposal.status is Status.VERIFYING
        world.samples.values[:] = [measured] * 400
        await world.controller.look()
        assert (await world.now(case)).proposal.status is end
        assert (A in world.live()) is (end is Status.KEPT)


async def test_clocks_that_jump_let_nothing_pass_that_was_not_approved(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        waiting = await world.submit(a_spawn("a"))
        done = await world.carried_out(a_spawn("b"))
        for jump in (-10_000_000.0, 20_000_000.0, -3.0e8, 5.0e8):
            world.clock[0] += jump
            await world.controller.look()
        assert A not in world.topology.members
        assert (await world.now(waiting)).proposal.status is Status.EXPIRED
        assert (await world.now(done)).proposal.status in (Status.VERIFYING, Status.KEPT)


async def test_every_past_shape_can_be_worked_out_and_the_past_cannot_be_changed_unseen(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        shapes = [world.topology]
        for payload in (a_spawn("a"), a_spawn("b", parent=A), Rewire(spec=a_spec("a", prompt="x")), Merge(into=A, gone=(B,))):
            world.clock[0] += 61
            await world.carried_out(payload)
            for _ in range(4):
                world.clock[0] += 3601
                await world.controller.look()
            shapes.append(world.topology)
        for shape in shapes:
            found = await world.book.at(shape.revision)
            assert found is not None
            assert (found.members, found.revision) == (shape.members, shape.revision)
        assert await world.book.at(99) is None
        zero = await world.book.at(0)
        assert zero is not None
        assert zero.members == {}
        rows = await world.book.revisions(limit=100)
        assert [row["revision"] for row in rows] == list(range(shapes[-1].revision, 0, -1))
        assert len({row["digest"] for row in rows}) == len(rows)
        assert (await world.book.of_node("id-b", limit=10))[0]["steps"][0]["after"] is None
        assert await world.book.of_node("b", limit=10) == await world.book.of_node("id-b", limit=10)
        front = TopologyFront(world.controller, cluster=ClusterSettings(), backends=())
        gone, there = await front.explain("b"), await front.explain("a")
        assert (gone["node"]["desired"], len(gone["changes"])) == (None, 3)
        assert there["born_of"]["decisions"][1]["who"] == OPERATOR
        assert "spawn specialist a" in there["changes"][-1]["steps"][0]
        assert (await front.diff(0, 1))["steps"] == ["spawn generalist generalist (node-1)"]
        assert [each["node"] for each in await front.proposals(status="kept", limit=10, before=None)] == ["a", "a", "b", "a"]
        with pytest.raises(UnknownProposal):
            await front.explain("never")
    async with a_world(tmp_path, clock=world.clock) as again:
        assert again.topology == shapes[-1]
        assert again.live() == {member.node_id for member in shapes[-1].live}


async def test_nodes_come_and_go_and_nothing_is_left(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        controller = world.controller
        for number in range(20):
            name = f"m{number}"
            await world.carried_out(Spawn(spec=a_spec(name)))
            case = await world.carried_out(Park(node=NodeId(f"id-{name}")))
            for _ in range(8):
                world.clock[0] += 3601
                await controller.look()
            assert (await world.now(case)).proposal.status is Status.KEPT
            await world.carried_out(Prune(node=NodeId(f"id-{name}")))
            for _ in range(4):
                world.clock[0] += 3601
                await controller.look()
        assert world.live() == {"node-1"}
        assert set(world.topology.members) == {"node-1"}
        assert controller.tools.state.cases == {}
        assert controller.tools.state.done == {}
        assert controller.probation._watches == {}
        with pytest.raises(BadProposal):
            await world.submit(Wake(node=NodeId("id-m1")))


async def test_nodes_of_others_are_kept_parked_in_their_newest_form(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        remember = world.controller.remember
        await asyncio.gather(*(remember(a_spec(name, role="reviewer")) for name in ("r", "s", "r", "s")))
        await remember(a_spec("r", role="reviewer", prompt="new"))
        shape = world.topology
    async with a_world(tmp_path) as again:
        assert again.topology == shape
        assert (shape.revision, shape.members[NodeId("id-r")].spec.prompt) == (4, "new")
        assert again.live() == {"node-1"}


async def test_measures_are_read_once_and_of_those_that_are_meant(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        rows = [
            (
                f"r{number}",
                1000.0 + number,
                "ok" if number % 4 else "error",
                "node_lost" if number % 4 == 0 else None,
                f"n{number % 2}",
            )
            for number in range(40)
        ]
        sql = """INSERT INTO outcomes (request_id, at, status, error_code, node, attempts, latency_s, overhead_s, prompt_tokens,
            completion_tokens, estimated, cost_usd, simulated) VALUES (?, ?, ?, ?, ?, 1, 0.5, 0, 0, 0, 0, 0.25, 0)"""
        await world.ledger.act(lambda connection: connection.executemany(sql, rows) and None)
        samples = LedgerSamples(world.ledger, patterns_of=lambda ids: {name: "p1" for name in ids if name.endswith("7")})
        values, cursor = await samples.of("failure", Scope(), after=0, limit=30, since=1000.0)
        more, _ = await samples.of("failure", Scope(), after=cursor, limit=30, since=1000.0)
        assert (len(values) + len(more), sum(values) + sum(more)) == (39, 9)  # the first had begun before
        latencies, _ = await samples.of("latency_s", Scope(kind="nodes", names=("n1",)), after=0, limit=100, since=1000.0)
        assert latencies == [0.5] * 20
        costs, _ = await samples.of("cost_usd", Scope(kind="patterns", names=("p1",)), after=0, limit=100, since=1000.0)
        assert costs == [0.25] * 4
        assert (await samples.of("quality", Scope(), after=0, limit=100, since=1000.0))[0] == []
        early, cursor = await samples.of("cost_usd", Scope(), after=0, limit=100, since=1000.0, until=1010.0)
        late, _ = await samples.of("cost_usd", Scope(), after=cursor, limit=100, since=1000.0)
        assert (len(early), len(late)) == (10, 29)  # what ended later is read later, once
