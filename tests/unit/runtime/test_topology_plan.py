"""Plans: every change can be taken back, twice is once, a changed shape is found out, and nonsense is named."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.records import NodeId, NodeSpec
from agents.strategies.compose import parse_strategy
from runtime.topology import wire
from runtime.topology.payloads import (
    AdoptRouter,
    Merge,
    Park,
    Payload,
    Pool,
    Prune,
    Recover,
    Restore,
    Rewire,
    Spawn,
    Split,
    Tune,
    Wake,
    subject_of,
)
from runtime.topology.plan import plan_of
from runtime.topology.records import BadProposal, Draft, Evidence, Prediction, Scope
from runtime.topology.shape import Member, MemberStep, PatternId, Plan, ProposalId, RouterStep, Topology
from runtime.topology.steps import Stale, act_of, after, after_all, difference, fits, inverse, most_live

P = ProposalId("prop_1")
NAMES = "abcde"


def spec(name: str, role: Any = "specialist", **more: Any) -> NodeSpec:
    return NodeSpec(node_id=NodeId(f"id-{name}"), name=name, role=role, **more)


def topology(*live: str, parked: str = "", revision: int = 5) -> Topology:
    first = Member(spec=spec("first", "generalist"))
    nodes = [first, *(Member(spec=spec(name), patterns=(PatternId(f"p-{name}"),)) for name in live)]
    nodes += [Member(spec=spec(name), life="parked") for name in parked]
    return Topology(revision=revision, members={member.node_id: member for member in nodes})


node_ids = st.sampled_from([NodeId(f"id-{name}") for name in (*NAMES, "first")])
specs = st.builds(
    spec, st.sampled_from([*NAMES, "x", "y"]), st.sampled_from(["specialist", "generalist"]), prompt=st.text(max_size=5)
)
spawns = st.builds(
    Spawn, spec=specs, parent=st.none() | node_ids, patterns=st.lists(st.sampled_from(["p1", "p2"]), max_size=2).map(tuple)
)
payloads: st.SearchStrategy[Payload] = st.one_of(
    spawns,
    st.builds(Split, node=node_ids, children=st.lists(spawns, max_size=3).map(tuple)),
    st.builds(Prune, node=node_ids),
    st.builds(Merge, into=node_ids, gone=st.lists(node_ids, max_size=3).map(tuple), spec=st.none() | specs),
    st.builds(Park, node=node_ids),
    st.builds(Wake, node=node_ids),
    st.builds(Recover, node=node_ids, spec=st.builds(spec, st.sampled_from("xyz"), st.just("recovery"))),
    st.builds(Rewire, spec=specs),
    st.builds(AdoptRouter, version=st.none() | st.sampled_from(["v1", "v2"])),
    st.builds(Tune, settings=st.lists(st.sampled_from(["cost_weight=2", "objective=ratio"]), max_size=2).map(tuple)),
    st.builds(Pool, name=st.sampled_from(["nodes", "committee:p1", "other"]), size=st.none() | st.integers(-1, 70)),
)
shapes = st.builds(
    lambda live, parked: topology(*live, parked="".join(name for name in parked if name not in live)),
    st.lists(st.sampled_from(NAMES), unique=True, max_size=5),
    st.lists(st.sampled_from(NAMES), unique=True, max_size=5),
)


def same(one: Topology, other: Topology) -> bool:
    return (dict(one.members), one.router, dict(one.pools)) == (dict(other.members), other.router, dict(other.pools))


def planned(payload: Payload, shape: Topology) -> Plan | None:
    try:
        return plan_of(payload, shape, proposal_id=P, now=1.0)
    except BadProposal as error:
        refused = error
    assert refused.param is not None
    return None


@given(payloads, shapes)
def test_what_is_done_can_be_taken_back_and_twice_is_once(payload: Payload, shape: Topology) -> None:
    plan = planned(payload, shape)
    if plan is None:
        return
    then = after_all(shape, plan.apply)
    assert same(after_all(then, plan.undo), shape)
    assert inverse(plan.undo) == plan.apply
    seen = shape
    for step in plan.apply:
        seen = after(seen, step)
        assert after(seen, step) is seen
    assert most_live(shape, plan.apply) >= len(then.live)


@given(payloads, shapes)
def test_a_generalist_is_always_left_and_nothing_is_deleted_before_it_is_kept(payload: Payload, shape: Topology) -> None:
    plan = planned(payload, shape)
    if plan is None:
        return
    then = after_all(shape, plan.apply)
    assert any(member.spec.role == "generalist" for member in then.live)
    assert set(shape.members) <= set(then.members)
    gone = after_all(then, plan.finish)
    assert len(gone.live) == len(then.live)
    assert all(member.life == "parked" for name, member in then.members.items() if name not in gone.members)


@given(payloads, shapes)
def test_all_of_it_survives_being_written_down(payload: Payload, shape: Topology) -> None:
    evidence = Evidence(metric="m", value=1.0, units="u", count=3, since=1.0, until=2.0, scope=Scope(kind="nodes", names=("a",)))
    prediction = Prediction(metric="cost_usd", baseline=0.2, expected=0.1, margin=0.05)
    draft = Draft(payload=payload, reason="why", evidence=(evidence,), predictions=(prediction,), share=0.3)
    assert wire.draft_from(wire.loads(wire.dumps(draft))) == draft
    plan = planned(payload, shape)
    if plan is not None:
        assert wire.plan_from(wire.loads(wire.dumps(plan))) == plan
        assert wire.digest_of(draft, 5, plan) == wire.digest_of(wire.draft_from(wire.loads(wire.dumps(draft))), 5, plan)
        assert wire.digest_of(draft, 5, plan) != wire.digest_of(replace(draft, reason="other"), 5, plan)
        assert wire.digest_of(draft, 5, plan) != wire.digest_of(draft, 6, plan)


@given(shapes, shapes)
def test_the_difference_of_two_shapes_leads_from_one_to_the_other(one: Topology, other: Topology) -> None:
    steps = difference(one, other)
    assert same(after_all(one, steps), other)
    assert same(after_all(other, inverse(steps)), one)
    assert difference(one, one) == ()


def test_a_shape_that_changed_meanwhile_is_found_out() -> None:
    shape = topology("a", "b")
    plan = plan_of(Park(node=NodeId("id-a")), shape, proposal_id=P, now=1.0)
    other = plan_of(Rewire(spec=spec("a", prompt="new")), shape, proposal_id=P, now=1.0)
    moved = after_all(shape, other.apply)
    assert fits(shape, plan.apply)
    assert not fits(moved, plan.apply)
    with pytest.raises(Stale, match="node id-a"):
        after_all(moved, plan.apply)
    elsewhere = after_all(shape, plan_of(Park(node=NodeId("id-b")), shape, proposal_id=P, now=1.0).apply)
    assert fits(elsewhere, plan.apply)


@pytest.mark.parametrize(
    ("payload", "acts"),
    [
        (Spawn(spec=spec("x"), parent=NodeId("id-a")), ["spawn"]),
        (Split(node=NodeId("id-a"), children=(Spawn(spec=spec("x")), Spawn(spec=spec("y")))), ["spawn", "spawn"]),
        (Prune(node=NodeId("id-a")), ["park"]),
        (Merge(into=NodeId("id-a"), gone=(NodeId("id-b"),)), ["none", "park"]),
        (Merge(into=NodeId("id-d"), gone=(NodeId("id-b"),)), ["wake", "park"]),
        (Park(node=NodeId("id-a")), ["park"]),
        (Wake(node=NodeId("id-d")), ["wake"]),
        (Recover(node=NodeId("id-a"), spec=spec("x", "recovery")), ["spawn", "park"]),
        (Rewire(spec=spec("a", strategy=parse_strategy("consensus", named={}))), ["respec"]),
    ],
)
def test_what_each_kind_does_to_live_nodes(payload: Payload, acts: list[str]) -> None:
    plan = plan_of(payload, topology("a", "b", parked="d"), proposal_id=P, now=9.0)
    assert [act_of(step) for step in plan.apply if isinstance(step, MemberStep)] == acts
    deletes = isinstance(payload, Prune | Merge)
    assert [act_of(step) for step in plan.finish if isinstance(step, MemberStep)] == (["end"] if deletes else [])


def test_who_descends_from_whom_and_what_is_taken_over() -> None:
    shape = topology("a", "b")
    shape = after_all(shape, plan_of(Spawn(spec=spec("x"), parent=NodeId("id-a")), shape, proposal_id=P, now=7.0).apply)
    born = shape.members[NodeId("id-x")]
    assert (born.parent, born.depth, born.born_at, born.born_of) == ("id-a", 1, 7.0, P)
    split = Split(node=NodeId("id-x"), children=(Spawn(spec=spec("y"), parent=NodeId("id-b")),))
    shape = after_all(shape, plan_of(split, shape, proposal_id=P, now=8.0).apply)
    assert shape.members[NodeId("id-y")].line == ("id-a", "id-x")
    merged = after_all(shape, plan_of(Merge(into=NodeId("id-a"), gone=(NodeId("id-b"),)), shape, proposal_id=P, now=8.0).apply)
    assert merged.members[NodeId("id-a")].patterns == ("p-a", "p-b")
    assert merged.members[NodeId("id-a")].also == ("b",)
    recovery = Recover(node=NodeId("id-a"), spec=spec("z", "recovery"))
    recovered = after_all(merged, plan_of(recovery, merged, proposal_id=P, now=9.0).apply)
    assert recovered.members[NodeId("id-z")].also == ("b", "a")


def test_going_back_parks_what_came_later_and_deletes_it_once_that_is_kept() -> None:
    past = topology("a", "b", revision=2)
    now = replace(topology("a", "c", revision=5), router="v1")
    plan = plan_of(Restore(revision=2), now, proposal_id=P, now=1.0, past=past)
    then = after_all(now, plan.apply)
    assert {member.spec.name for member in then.live} == {"first", "a", "b"}
    assert then.members[NodeId("id-c")].life == "parked"
    assert then.router is None
    assert same(after_all(then, plan.finish), past)
    with pytest.raises(BadProposal, match="no revision 3"):
        plan_of(Restore(revision=3), now, proposal_id=P, now=1.0)


@pytest.mark.parametrize(
    ("payload", "param", "says"),
    [
        (Prune(node=NodeId("id-first")), "payload", "no generalist"),
        (Park(node=NodeId("gone")), "payload.node", "no node"),
        (Wake(node=NodeId("id-a")), "payload", "already"),
        (Park(node=NodeId("id-d")), "payload", "already"),
        (Spawn(spec=spec("a")), "payload.spec.node_id", "already"),
        (Spawn(spec=replace(spec("a"), node_id=NodeId("other"))), "payload.spec.name", "called 'a'"),
        (Spawn(spec=spec("x"), parent=NodeId("gone")), "payload.parent", "no node"),
        (Split(node=NodeId("id-a"), children=()), "payload.children", "1 to 8"),
        (
            Split(node=NodeId("id-a"), children=(Spawn(spec=spec("x")), Spawn(spec=spec("x")))),
            "payload.children[1].spec.node_id",
            "x",
        ),
        (Merge(into=NodeId("id-a"), gone=(NodeId("id-a"),)), "payload.gone", "other nodes"),
        (Merge(into=NodeId("id-a"), gone=(NodeId("id-b"), NodeId("id-b"))), "payload.gone", "other nodes"),
        (Rewire(spec=replace(spec("a"), name="z")), "payload.spec.name", "stay"),
        (Recover(node=NodeId("id-a"), spec=spec("x")), "payload.spec.role", "recovery"),
        (Pool(name="other", size=1), "payload.name", "pools"),
        (Pool(name="nodes", size=1000), "payload.size", "0 to 64"),
    ],
)
def test_nonsense_is_named(payload: Payload, param: str, says: str) -> None:
    with pytest.raises(BadProposal, match=says) as caught:
        plan_of(payload, topology("a", "b", parked="d"), proposal_id=P, now=1.0)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("text", "param"),
    [
        ('{"reason": "x"}', "draft.payload"),
        ('{"payload": {"kind": "explode"}, "reason": "x"}', "draft.payload.kind"),
        ('{"payload": {"kind": "park"}, "reason": "x"}', "draft.payload.node"),
        ('{"payload": {"kind": "park", "node": 3}, "reason": "x"}', "draft.payload.node"),
        ('{"payload": {"kind": "restore", "revision": true}, "reason": "x"}', "draft.payload.revision"),
        ('{"payload": {"kind": "park", "node": "a"}, "reason": "x", "share": "much"}', "draft.share"),
        ('{"payload": {"kind": "park", "node": "a"}, "reason": "x", "origin": "god"}', "draft.origin"),
        ("[]", "draft"),
    ],
)
def test_a_damaged_record_says_which_field(text: str, param: str) -> None:
    with pytest.raises(BadProposal) as caught:
        wire.draft_from(wire.loads(text))
    assert caught.value.param == param


def test_each_payload_is_about_something() -> None:
    assert subject_of(Spawn(spec=spec("x"), patterns=(PatternId("p1"), PatternId("p2")))) == "p1"
    assert subject_of(Spawn(spec=spec("x"))) == "x"
    assert subject_of(AdoptRouter(version="v1")) == "router"
    assert inverse((RouterStep(before=None, after="v1"),)) == (RouterStep(before="v1", after=None),)
