"""Who decides, what the host allows, what a draft must be, and what probation says: the pure rules."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.records import NodeId
from runtime.config.settings import Settings
from runtime.config.topology import TopologySettings
from runtime.controlling.checks import check_draft
from runtime.controlling.hands import Hands
from runtime.topology import approval, caps, verify
from runtime.topology.approval import AskOperator, Auto, Policy, Refuse, check_decision, decide, hold_back
from runtime.topology.payloads import AdoptRouter, Kind, Park, Payload, Pool, Prune, Rewire, Spawn, Split, Wake
from runtime.topology.plan import plan_of
from runtime.topology.records import BadProposal, Caps, Draft, Evidence, NotNow, OverCap, Proposal, Scope, Status
from runtime.topology.shape import Member, Plan, ProposalId, Topology
from runtime.topology.verify import Extend, Keep, Terms, Undo, Wait
from tests.fakes.cluster import ScriptedCluster
from tests.fakes.topology import NOW, a_draft, a_prediction, a_spawn, a_spec

P = ProposalId("prop_1")
NOON = 1_700_000_000.0 - 1_700_000_000.0 % 86_400 + 12 * 3600
FIRST = Member(spec=a_spec("first", role="generalist"))
SHAPE = Topology(
    revision=1,
    members={
        FIRST.node_id: FIRST,
        NodeId("id-a"): Member(spec=a_spec("a")),
        NodeId("id-d"): Member(spec=a_spec("d"), life="parked"),
    },
)


def made(payload: Payload, **more: Any) -> tuple[Proposal, Plan]:
    draft = a_draft(payload, **more)
    proposal = Proposal(proposal_id=P, draft=draft, base_revision=1, created_at=NOON, expires_at=NOON + 100, digest="d" * 64)
    return proposal, plan_of(payload, SHAPE, proposal_id=P, now=NOON)


PARK, WAKE, PRUNE = Park(node=NodeId("id-a")), Wake(node=NodeId("id-d")), Prune(node=NodeId("id-a"))


def test_by_default_an_operator_decides_all_but_waking_parking_and_recovering() -> None:
    rules = TopologySettings().approval.policy().rules
    assert {kind for kind, rule in rules.items() if rule == "auto"} == {Kind.WAKE, Kind.PARK, Kind.RECOVER}
    assert all(rule == "operator" for kind, rule in rules.items() if kind not in (Kind.WAKE, Kind.PARK, Kind.RECOVER))
    assert set(rules) == set(Kind)


EVERYTHING = dict.fromkeys(Kind, "auto")


@pytest.mark.parametrize(
    ("payload", "policy", "draft", "hour", "expected", "says"),
    [
        (PARK, {}, {}, 12, Auto, "by itself"),
        (a_spawn("x"), {}, {}, 12, AskOperator, "topology.approval.spawn"),
        (a_spawn("x"), {"rules": EVERYTHING}, {}, 12, Auto, "risk low"),
        (a_spawn("x"), {"rules": {Kind.SPAWN: "refuse"}}, {}, 12, Refuse, "refuses spawn"),
        (a_spawn("x"), {"rules": {}}, {}, 12, AskOperator, "spawn"),
        (PRUNE, {"rules": EVERYTHING}, {}, 12, AskOperator, "risk is high"),
        (PRUNE, {"rules": EVERYTHING, "max_risk": "high"}, {}, 12, Auto, "risk high"),
        (PARK, {"max_risk": "low"}, {}, 12, AskOperator, "risk is medium"),
        (PARK, {}, {"share": 0.6}, 12, AskOperator, "risk is high"),
        (PARK, {}, {"cost_usd": 0.06}, 12, AskOperator, "costs 0.0600 USD"),
        (PARK, {}, {"cost_usd": math.nan}, 12, AskOperator, "costs"),
        (
            Split(node=NodeId("id-a"), children=tuple(a_spawn(name) for name in "uvwxy")),
            {"rules": EVERYTHING},
            {},
            12,
            AskOperator,
            "touches 5 nodes",
        ),
        (PARK, {"hours": (8, 18)}, {}, 12, Auto, "by itself"),
        (PARK, {"hours": (8, 18)}, {}, 18, AskOperator, "18:00"),
        (PARK, {"hours": (22, 6)}, {}, 12, AskOperator, "12:00"),
        (PARK, {"hours": (22, 6)}, {}, 23, Auto, "by itself"),
        (PARK, {"hours": (22, 6)}, {}, 5, Auto, "by itself"),
    ],
)
def test_the_policy_table(
    payload: Payload, policy: dict[str, Any], draft: dict[str, Any], hour: int, expected: type[object], says: str
) -> None:
    proposal, plan = made(payload, **draft)
    decision = decide(proposal, plan, Policy(**policy), now=NOON + (hour - 12) * 3600)
    assert isinstance(decision, expected)
    assert says in decision.reason


@given(st.sampled_from(list(Status)), st.booleans(), st.floats(-1e6, 1e6))
def test_only_what_waits_is_seen_as_it_is_and_has_not_expired_can_be_decided(status: Status, same: bool, late: float) -> None:
    proposal = replace(made(PARK)[0], status=status)
    digest = proposal.digest if same else "e" * 64
    now = proposal.expires_at + late
    if status in (Status.PROPOSED, Status.SNOOZED) and same and now < proposal.expires_at:
        check_decision(proposal, digest, now=now)
        return
    with pytest.raises(NotNow):
        check_decision(proposal, digest, now=now)


def test_a_rejection_holds_back_twice_as_long_each_time_and_never_for_ever() -> None:
    hold = None
    lengths = []
    for _ in range(40):
        hold = hold_back(hold, "spawn:p1", reason="no", who="op", now=NOON, first_s=86_400.0)
        lengths.append(hold.until - NOON)
    assert lengths[:3] == [86_400.0, 2 * 86_400.0, 4 * 86_400.0]
    assert lengths[-1] == approval.MAX_HOLD_BACK_S


# ── caps ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("limits", "ever", "cap"),
    [
        ({"nodes": 3}, 0, "topology.max_nodes"),
        ({"depth": 0}, 0, "topology.max_depth"),
        ({"descendants": 5}, 5, "topology.max_descendants"),
        ({"descendants": 5}, 4, None),
    ],
)
def test_caps_of_the_shape(limits: dict[str, int], ever: int, cap: str | None) -> None:
    plan = plan_of(a_spawn("x", parent=NodeId("id-a")), SHAPE, proposal_id=P, now=NOON)
    if cap is None:
        caps.check_shape(SHAPE, plan, Caps(**limits), descendants={NodeId("id-a"): ever})
        return
    with pytest.raises(OverCap) as caught:
        caps.check_shape(SHAPE, plan, Caps(**limits), descendants={NodeId("id-a"): ever})
    assert caught.value.cap == cap


@pytest.mark.parametrize(
    ("payload", "limits", "given_", "cap"),
    [
        (a_spawn("x"), {"live_nodes": 2}, {}, "cluster.max_live_nodes"),
        (a_spawn("x"), {"live_nodes": 5}, {"live": 5}, "cluster.max_live_nodes"),
        (WAKE, {"live_nodes": 2}, {}, "cluster.max_live_nodes"),
        (PARK, {"live_nodes": 1}, {}, None),
        (a_spawn("x"), {"spawns_per_minute": 2}, {"spawned_at": (NOON - 5, NOON - 59)}, "topology.max_spawns_per_minute"),
        (a_spawn("x"), {"spawns_per_minute": 2}, {"spawned_at": (NOON - 5, NOON - 61, NOON + 900)}, None),
        (WAKE, {"spawns_per_minute": 1}, {"spawned_at": (NOON - 5,)}, None),
        (PARK, {"spend_usd_per_day": 1.0}, {"spent_usd": 0.9, "cost_usd": 0.2}, "topology.spend_usd_per_day"),
        (PARK, {"spend_usd_per_day": 0.0}, {"spent_usd": 0.9}, None),
        (PARK, {"verifying": 2}, {"verifying": 2}, "topology.max_verifying"),
    ],
)
def test_caps_of_the_pace(payload: Payload, limits: dict[str, Any], given_: dict[str, Any], cap: str | None) -> None:
    plan = plan_of(payload, SHAPE, proposal_id=P, now=NOON)
    fields: dict[str, Any] = {
        "live": 2,
        "spawned_at": (),
        "spent_usd": 0.0,
        "cost_usd": 0.0,
        "verifying": 0,
        "now": NOON,
        **given_,
    }
    if cap is None:
        caps.check_pace(SHAPE, plan, Caps(**limits), **fields)
        return
    with pytest.raises(OverCap) as caught:
        caps.check_pace(SHAPE, plan, Caps(**limits), **fields)
    assert caught.value.cap == cap


# ── drafts ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

HANDS = Hands(ScriptedCluster(), drain_s=1.0)
EVIDENCE = Evidence(metric="m", value=1.0, units="u", count=3, since=1.0, until=2.0)


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"reason": " "}, "reason"),
        ({"reason": "x" * 3000}, "reason"),
        ({"evidence": ()}, "evidence"),
        ({"predictions": ()}, "evidence"),
        ({"evidence": (EVIDENCE,) * 40}, "evidence"),
        ({"evidence": (replace(EVIDENCE, value=math.nan),)}, "evidence[0]"),
        ({"evidence": (replace(EVIDENCE, since=5.0),)}, "evidence[0]"),
        ({"evidence": (replace(EVIDENCE, note="x" * 3000),)}, "evidence[0]"),
        ({"predictions": (a_prediction(expected=math.inf),)}, "predictions[0]"),
        ({"predictions": (a_prediction(), a_prediction(margin=-1.0))}, "predictions[1].bound"),
        ({"predictions": (a_prediction(bound=2.0),)}, "predictions[0].bound"),
        ({"predictions": (a_prediction("cost_usd", 1.0, 5.0, bound=2.0),)}, "predictions[0].expected"),
        ({"predictions": (a_prediction(scope=Scope(kind="nodes")),)}, "predictions[0].scope.names"),
        ({"share": 1.5}, "share"),
        ({"cost_usd": math.nan}, "cost_usd"),
        ({"payload": Spawn(spec=a_spec("n" * 100))}, "payload.spec.name"),
        ({"payload": Rewire(spec=a_spec("a", prompt="x" * 200_000))}, "payload.spec.prompt"),
        ({"payload": AdoptRouter(version="v1")}, "payload.kind"),
        ({"payload": Pool(name="committee:p1", size=2)}, "payload.name"),
    ],
)
def test_a_draft_that_makes_no_sense_is_refused_and_says_why(changes: dict[str, Any], param: str) -> None:
    draft = a_draft(PARK)
    check_draft(draft, HANDS)
    with pytest.raises(BadProposal) as caught:
        check_draft(replace(draft, **changes), HANDS)
    assert caught.value.param == param


# ── probation ───────────────────────────────────────────────────────────────────────────────────────────────────────────

TERMS = Terms(error=0.05, probation_s=100, extensions=2, least=20)


def ruled(draft: Draft, values: Sequence[float], *, over: bool = False, extended: int = 0) -> verify.Ruling:
    watches = [verify.seen(watch, values) for watch in verify.begin(draft.predictions, TERMS)]
    return verify.rule(draft, watches, TERMS, over=over, extended=extended)


SPAWN = a_draft(a_spawn("x"))
BY_HAND = replace(SPAWN, origin="operator")
CHEAPER = a_draft(a_spawn("x"), predictions=(a_prediction("cost_usd", 0.02, 0.01, 0.004, bound=0.1),))


@pytest.mark.parametrize(
    ("draft", "values", "when", "expected"),
    [
        (SPAWN, [0.9] * 400, {}, Keep),
        (SPAWN, [0.2] * 400, {}, Undo),
        (SPAWN, [0.9] * 10, {}, Wait),
        (SPAWN, [0.72, 0.70] * 20, {}, Wait),
        (SPAWN, [0.72, 0.70] * 20, {"over": True}, Extend),
        (SPAWN, [0.72, 0.70] * 20, {"over": True, "extended": 2}, Keep),
        (SPAWN, [0.68, 0.66] * 20, {"over": True, "extended": 2}, Undo),
        (SPAWN, [], {"over": True, "extended": 2}, Undo),
        (BY_HAND, [], {"over": True, "extended": 2}, Keep),
        (a_draft(PARK), [], {"over": True, "extended": 2}, Keep),
        (CHEAPER, [0.01] * 2000, {}, Keep),
        (CHEAPER, [0.05] * 2000, {}, Undo),
        (CHEAPER, [5.0] * 2000, {}, Undo),
        (replace(SPAWN, predictions=()), [], {}, Wait),
        (replace(SPAWN, predictions=()), [], {"over": True}, Keep),
    ],
)
def test_what_follows_from_what_was_measured(
    draft: Draft, values: list[float], when: dict[str, Any], expected: type[object]
) -> None:
    assert isinstance(ruled(draft, values, **when), expected)


def test_one_prediction_that_fails_is_enough_and_all_have_to_hold() -> None:
    draft = a_draft(a_spawn("x"), predictions=(a_prediction(), a_prediction("failure", 0.05, 0.05, 0.05)))
    good, bad = verify.begin(draft.predictions, TERMS)
    assert isinstance(verify.rule(draft, [verify.seen(good, [0.9] * 600), bad], TERMS, over=False, extended=0), Wait)
    failing = verify.seen(bad, [1.0] * 200)
    ruling = verify.rule(draft, [verify.seen(good, [0.9] * 600), failing], TERMS, over=False, extended=0)
    assert isinstance(ruling, Undo)
    assert "failure" in ruling.reason


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=50))
def test_numbers_that_are_none_count_for_nothing(values: list[float]) -> None:
    watch = verify.seen(verify.begin((a_prediction(),), TERMS)[0], values)
    assert watch.mean.n + watch.odd == len(values)
    assert watch.measured is None or 0 <= watch.measured <= 1


def test_a_change_that_keeps_its_promise_is_seldom_undone_however_often_one_looks() -> None:
    undone = 0
    for seed in range(200):
        rng = random.Random(seed)
        (watch,) = verify.begin((a_prediction(expected=0.8, margin=0.1),), TERMS)
        for _ in range(60):
            watch = verify.seen(watch, [float(rng.random() < 0.7) for _ in range(10)])
            if isinstance(verify.rule(SPAWN, [watch], TERMS, over=False, extended=0), Undo):
                undone += 1
                break
    assert undone <= 10  # 5 % of 200, at the very limit of what was promised


def test_the_settings_say_what_they_mean() -> None:
    settings = Settings.model_validate({"topology": {"max_depth": 7, "approval": {"spawn": "refuse", "from_hour": 22}}})
    assert settings.topology.caps(live_nodes=3).depth == 7
    policy = settings.topology.approval.policy()
    assert (policy.rules[Kind.SPAWN], policy.hours) == ("refuse", (22, 0))
    assert settings.topology.probation.terms() == Terms()
    assert NOW > 0
