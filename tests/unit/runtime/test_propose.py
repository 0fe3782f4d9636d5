"""The rules that propose changes of shape: what they want, of which evidence, and what they must never want."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.strategy_specs import (
    Aspect,
    CodeAugmented,
    Consensus,
    Gate,
    Parallel,
    Pipeline,
    Single,
    Stage,
    StrategySpec,
    ValidationLoop,
)
from runtime.routing.distill import Finding
from runtime.routing.sequential import Interval
from runtime.topology.observe import observe
from runtime.topology.outlook import believed
from runtime.topology.payloads import Kind, Merge, Park, Pool, Prune, Recover, Rewire, Spawn, Split, Wake
from runtime.topology.propose import Proposed, key_of, propose, wishes
from runtime.topology.records import Draft
from runtime.topology.shape import Topology
from runtime.topology.situation import Check, Memory, Rules, Seen, Situation
from tests.fakes.outcomes import Flow, member, shape, situation, stream

GENERAL = member()
EAGER = Rules(grace=0, prune_after=1, merge_after=1, park_after=1)


def windows(
    flows: Sequence[Flow], topology: Topology | None = None, *, times: int, rules: Rules | None = None, **more: object
) -> list[Proposed]:
    """The same traffic for so many windows, each remembering the one before."""
    memory, found = Memory(), []
    for number in range(1, times + 1):
        now = 1_000.0 * number
        given_ = situation(flows, topology, number=number, memory=memory, now=now, rules=rules, seed=number, **more)
        found.append(propose(given_))
        memory = found[-1].memory
    return found


def drafts(found: Sequence[Proposed], kind: Kind) -> list[Draft]:
    return [draft for each in found for draft in each.drafts if draft.kind == kind]


# ── SPAWN ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_pattern_that_is_answered_badly_gets_a_specialist_with_evidence_and_a_prediction() -> None:
    flows = [Flow(n=80, pattern="legal", score=0.5), Flow(n=120, pattern="prose", score=0.97)]
    seen = [Seen(pattern_id="legal", name="Legal documents", count=80)]
    (draft,) = propose(situation(flows, shape(GENERAL), patterns=seen)).drafts
    assert isinstance(draft.payload, Spawn)
    assert draft.payload.patterns == ("legal",)
    assert draft.payload.spec.role == "specialist"
    assert draft.payload.spec.speciality == "Legal documents"
    assert "Legal documents" in draft.payload.spec.prompt
    gain = draft.predictions[0]
    assert gain.metric == "quality"
    assert gain.baseline == pytest.approx(0.5, abs=0.03)
    assert gain.expected > gain.baseline
    assert gain.baseline < gain.limit <= gain.expected
    count = next(each for each in draft.evidence if each.metric == "count")
    assert (count.value, count.count, count.scope.names) == (80.0, 80, ("legal",))
    assert draft.share == pytest.approx(0.4)
    assert "80 requests" in draft.reason


@pytest.mark.parametrize(
    "flows",
    [
        [Flow(n=9, pattern="rare", score=0.2), Flow(n=100, pattern=None)],
        [Flow(n=100, pattern="fine", score=0.97)],
        [Flow(n=100, pattern="unjudged", score=None)],
        [Flow(n=100, pattern=None, score=0.1)],
    ],
    ids=["seen too seldom", "answered well", "nobody knows how well", "out of scope"],
)
def test_no_specialist_without_evidence_of_a_gain(flows: list[Flow]) -> None:
    assert drafts(windows(flows, times=4), Kind.SPAWN) == []


def test_a_cheaper_arm_that_is_as_good_is_a_gain_too_even_where_nobody_judges() -> None:
    flows = [
        Flow(n=60, pattern="sums", backend="dear", score=None, cost_usd=0.2),
        Flow(n=60, pattern="sums", backend="thrifty", score=None, cost_usd=0.001),
    ]
    (draft,) = propose(situation(flows, shape(GENERAL))).drafts
    assert isinstance(draft.payload, Spawn)
    assert draft.payload.spec.backends == ("thrifty",)
    assert draft.predictions[0].metric == "cost_usd"
    assert draft.predictions[0].expected < draft.predictions[0].baseline / 2


@pytest.mark.parametrize(
    ("strategy", "works"),
    [
        ("code_augmented", CodeAugmented()),
        ("single", Single(prompt="Be brief.")),
        ("of the configuration", Single(prompt="Be brief.")),
    ],
)
def test_a_specialist_works_in_the_way_that_did_best(strategy: str, works: object) -> None:
    """In a way that a name stands for, or as the node that did it; where that cannot be known, as its parent."""
    flows = [
        Flow(n=60, pattern="sums", score=0.5, strategy="parallel"),
        Flow(n=20, pattern="sums", score=1.0, strategy=strategy, backend="strong"),
    ]
    (draft,) = propose(situation(flows, shape(member(strategy=Single(prompt="Be brief."))))).drafts
    assert isinstance(draft.payload, Spawn)
    assert (draft.payload.spec.strategy, draft.payload.spec.backends) == (works, ("strong",))


def test_what_committees_do_better_is_left_to_committees() -> None:
    flows = [
        Flow(n=60, pattern="plans", score=0.97),
        Flow(n=20, pattern="plans", score=1.0, strategy="committee", cost_usd=0.0, latency_s=0.0),
    ]
    assert drafts(windows(flows, times=2), Kind.SPAWN) == []


def test_a_specialist_is_given_who_did_best_and_promises_that_price_also_where_no_arm_is_surely_better() -> None:
    """Left to the backends' weights it would undo what the router had learned."""
    flows = [
        Flow(n=40, pattern="sums", backend="dear", score=0.8, cost_usd=0.004),
        Flow(n=40, pattern="sums", backend="thrifty", score=0.8, cost_usd=0.001),
    ]
    (draft,) = propose(situation(flows, shape(GENERAL))).drafts
    assert isinstance(draft.payload, Spawn)
    assert draft.payload.spec.backends == ("thrifty",)
    cost = next(each for each in draft.predictions if each.metric == "cost_usd")
    assert cost.baseline == pytest.approx(0.0025)
    assert cost.expected == pytest.approx(0.001)


def test_a_specialists_own_prompt_is_in_the_price_that_it_promises() -> None:
    """On short requests it is most of the price: without it each probation of a specialist found it too dear."""
    flows = [Flow(n=80, pattern="sums", backend="dear", score=0.5, cost_usd=0.0001)]
    (plain,) = propose(situation(flows, shape(GENERAL))).drafts
    (priced,) = propose(replace(situation(flows, shape(GENERAL)), input_usd={"dear": 3e-6})).drafts
    before, after = (next(p for p in each.predictions if p.metric == "cost_usd").expected for each in (plain, priced))
    assert before == pytest.approx(0.0001)
    assert isinstance(priced.payload, Spawn)
    assert after - before == pytest.approx((len(priced.payload.spec.prompt) / 4 + 20) * 3e-6, rel=0.05)


def test_a_gain_in_quality_is_not_undone_for_a_price_that_it_is_worth() -> None:
    (draft,) = propose(situation([Flow(n=80, pattern="sums", score=0.4, cost_usd=0.0001)], shape(GENERAL))).drafts
    cost = next(each for each in draft.predictions if each.metric == "cost_usd")
    gain = draft.predictions[0].change
    assert cost.limit == pytest.approx(cost.expected + gain / 2.0 / 4, rel=0.05)  # a quarter of it, at 2 points a dollar
    assert cost.bound > cost.limit


def test_the_best_of_few_is_not_believed_to_stay_so() -> None:
    flows = [
        Flow(n=8, pattern="sums", backend="lucky", score=1.0, spread=0.0),
        Flow(n=200, pattern="sums", backend="usual", score=0.5, spread=0.0),
    ]
    (draft,) = propose(situation(flows, shape(GENERAL), rules=Rules(headroom=0.0))).drafts
    assert draft.payload.spec.backends == ("lucky",) if isinstance(draft.payload, Spawn) else False
    assert 0.7 < draft.predictions[0].expected < 0.8


def test_promises_are_believed_as_far_as_former_ones_were_kept() -> None:
    flows = [Flow(n=80, pattern="legal", score=0.5), Flow(n=120, pattern="prose", score=0.97)]
    (draft,) = propose(situation(flows, shape(GENERAL))).drafts
    said = draft.predictions[0]

    def measured(value: float | None, requests: int = 40) -> list[dict[str, object]]:
        return [{"measured": value, "requests": requests}]

    assert believed([]) == 1.0
    assert believed([(draft, measured(said.expected))]) == pytest.approx(1.0)
    assert believed([(draft, measured(said.baseline))] * 6) == pytest.approx(0.25)
    assert believed([(draft, measured(0.0, requests=2)), (draft, measured(None)), (draft, None), (draft, "?")]) == 1.0
    assert believed([(draft, measured(1e9))] * 50) <= 2.0
    wary = Rules(headroom=Rules().headroom * believed([(draft, measured(said.baseline))] * 20))
    assert propose(situation(flows, shape(GENERAL), rules=replace(wary, least_gain=0.02))).drafts == ()


def test_what_the_library_answers_is_no_work_for_a_specialist() -> None:
    def flows(library: int) -> list[Flow]:
        given = Flow(n=library, pattern="sums", node=None, strategy="library", score=1.0, cost_usd=0.0, latency_s=0.0)
        return [Flow(n=30, pattern="sums", score=0.6), given]

    (draft,) = propose(situation(flows(30), shape(GENERAL))).drafts
    quality = next(each for each in draft.predictions if each.metric == "quality")
    assert quality.baseline == pytest.approx(0.8, abs=0.03)
    assert quality.expected == pytest.approx(0.85, abs=0.03)  # a quarter of what lacks to those that a node answers
    assert propose(situation(flows(400), shape(GENERAL))).drafts == ()
    once = [Flow(n=1, pattern="sums", score=0.0), Flow(n=30, pattern="sums", score=None), *flows(200)[1:]]
    assert (
        propose(situation(once, shape(GENERAL))).drafts == ()
    )  # one bad answer says nothing; the library's say nothing of nodes


def test_nothing_is_promised_that_the_probation_could_not_see() -> None:
    flows = [
        Flow(n=6, pattern="legal", score=0.5),
        Flow(n=94, pattern="legal", score=None),
        Flow(n=100, pattern="prose", score=0.97),
    ]
    enough, too_short = Rules(watch_s=1_000.0, watch_least=20), Rules(watch_s=400.0, watch_least=20)  # 200 s, 6 of them scored
    (draft,) = propose(situation(flows, shape(GENERAL), rules=enough)).drafts
    assert draft.predictions[0].metric == "quality"
    assert propose(situation(flows, shape(GENERAL), rules=too_short)).drafts == ()


def test_a_pattern_that_somebody_is_there_for_gets_no_second_node() -> None:
    flows = [Flow(n=100, pattern="legal", score=0.5)]
    taken = shape(GENERAL, member("lawyer", "specialist", patterns=["legal"]))
    assert drafts(windows(flows, taken, times=3), Kind.SPAWN) == []


def test_a_storm_of_new_patterns_spawns_nothing() -> None:
    flows = [Flow(n=12, pattern=f"p{i}", score=0.3) for i in range(300)]
    given_ = situation(flows, shape(GENERAL), known=frozenset())
    assert given_.flooded is False  # twelve requests each: many new kinds, but no storm
    assert 1 <= len(propose(given_).drafts) <= Rules().most_births
    storm = situation([Flow(n=1, pattern=f"p{i}", score=0.3) for i in range(1000)] + flows[:5], shape(GENERAL), known=frozenset())
    assert storm.flooded
    assert propose(storm).drafts == ()


# ── SPLIT, WAKE, POOL ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_specialist_whose_patterns_became_different_jobs_is_split() -> None:
    flows = [
        Flow(n=100, node="stats", pattern="finance", score=0.4),
        Flow(n=100, node="stats", pattern="science", score=0.6),
        Flow(n=100, node="stats", pattern="easy", score=0.98),
    ]
    topology = shape(GENERAL, member("stats", "specialist", patterns=["finance"], line=["generalist"]))
    found = drafts(windows(flows, topology, times=2), Kind.SPLIT)
    assert len(found) == 1
    assert isinstance(found[0].payload, Split)
    assert {child.patterns[0] for child in found[0].payload.children} == {"finance", "science"}
    assert all(child.spec.role == "specialist" for child in found[0].payload.children)


def test_a_specialist_at_the_bottom_is_not_split_further() -> None:
    flows = [Flow(n=100, node="deep", pattern=p, score=s) for p, s in (("x", 0.3), ("y", 0.6))]
    topology = shape(GENERAL, member("deep", "specialist", patterns=["x"], line=["a", "b", "c"]))
    assert drafts(windows(flows, topology, times=3), Kind.SPLIT) == []


def test_a_parked_node_wakes_when_its_pattern_comes_back() -> None:
    topology = shape(GENERAL, member("lawyer", "specialist", patterns=["legal"], life="parked"))
    flows = [Flow(n=30, pattern="legal", score=0.95), Flow(n=70, pattern="prose", score=0.95)]
    (draft,) = propose(situation(flows, topology)).drafts
    assert draft.payload == Wake(node=topology.members["id-lawyer"].node_id)
    given_again = [Flow(n=30, node="", pattern="legal", strategy="library", score=0.95), Flow(n=70, pattern="prose", score=0.95)]
    assert propose(situation(given_again, topology)).drafts == ()
    quiet = [Flow(n=5, pattern="legal", score=0.95), Flow(n=95, pattern="prose", score=0.95)]
    assert propose(situation(quiet, topology)).drafts == ()


def test_committees_that_often_meet_are_kept_ready_and_let_go() -> None:
    flows = [
        Flow(n=50, pattern="plans", strategy="committee", score=0.95, latency_s=5.0),
        Flow(n=50, pattern="prose", score=0.95),
    ]
    found = drafts(windows(flows, times=2), Kind.POOL)
    assert [draft.payload for draft in found] == [Pool(name="committee:plans", size=3)]
    held = shape(GENERAL, pools={"committee:plans": 2})
    gone = drafts(windows([Flow(n=100, score=0.95)], held, times=3), Kind.POOL)
    assert [draft.payload for draft in gone] == [Pool(name="committee:plans", size=None)]


def test_a_pool_is_not_made_and_let_go_for_ever_nor_made_for_committees_that_meet_once_a_day() -> None:
    few = [Flow(n=6, pattern="plans", strategy="committee", score=0.95), Flow(n=94, pattern="prose", score=0.95)]
    assert drafts(windows(few, times=4), Kind.POOL) == []
    held = shape(GENERAL, pools={"committee:plans": 1})
    assert drafts(windows(few, held, times=6), Kind.POOL) == []
    often = situation([Flow(n=50, pattern="plans", strategy="committee", score=0.95)], memory=Memory(streaks={}))
    seldom = replace(often, window=replace(often.window, since=0.0, until=50 * 86_400.0))
    assert [key_of(wish.draft) for wish in wishes(often) if wish.draft.kind == Kind.POOL] == ["pool:committee:plans"]
    assert [wish for wish in wishes(seldom) if wish.draft.kind == Kind.POOL] == []


# ── PRUNE, MERGE, PARK ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_node_that_is_hardly_used_is_pruned_after_some_windows() -> None:
    topology = shape(GENERAL, member("relic", "specialist"))
    flows = [Flow(n=1998, score=0.95), Flow(n=2, node="relic", score=0.95)]
    found = windows(flows, topology, times=3)
    assert [len(each.drafts) for each in found] == [0, 0, 1]
    (draft,) = found[2].drafts
    assert draft.payload == Prune(node=topology.members["id-relic"].node_id)
    assert found[1].waiting == (("prune:id-relic", 2, 3),)
    assert next(each.value for each in draft.evidence if each.metric == "share") == pytest.approx(0.001)


def test_hysteresis_keeps_a_streak_over_a_window_that_nearly_holds() -> None:
    topology = shape(GENERAL, member("relic", "specialist"))
    seldom = [Flow(n=1998, score=0.95), Flow(n=2, node="relic", score=0.95)]
    nearly = [Flow(n=1984, score=0.95), Flow(n=16, node="relic", score=0.95)]
    often = [Flow(n=1900, score=0.95), Flow(n=100, node="relic", score=0.95)]
    for middle, last in ((nearly, 2), (often, 1)):
        memory = Memory()
        for number, flows in enumerate((seldom, middle, seldom), start=1):
            found = propose(situation(flows, topology, number=number, memory=memory))
            assert found.drafts == ()
            memory = found.memory
        assert memory.streaks["prune:id-relic"] == last


def test_a_slow_node_that_is_no_better_and_one_that_another_does_cheaper_are_pruned() -> None:
    topology = shape(GENERAL, member("slow", "specialist"), member("dear", "specialist"))
    flows = [
        Flow(n=400, pattern="x", score=0.9),
        Flow(n=400, node="slow", pattern="x", score=0.9, latency_s=3.0),
        Flow(n=400, pattern="y", score=0.9),
        Flow(n=400, node="dear", pattern="y", score=0.9, cost_usd=0.01),
    ]
    found = drafts(windows(flows, topology, times=4), Kind.PRUNE)
    assert {draft.payload.node for draft in found} == {"id-slow", "id-dear"}
    assert any("as long as others" in draft.reason for draft in found)
    cheaper = next(draft for draft in found if "of its cost" in draft.reason)
    assert cheaper.predictions[0].metric == "cost_usd"


@pytest.mark.parametrize("better", [0.99, 0.95])
def test_a_slow_node_that_is_better_stays(better: float) -> None:
    topology = shape(GENERAL, member("slow", "specialist"))
    flows = [Flow(n=200, pattern="x", score=0.8), Flow(n=100, node="slow", pattern="x", score=better, latency_s=3.0)]
    assert drafts(windows(flows, topology, times=4), Kind.PRUNE) == []


def test_nodes_that_answer_alike_are_merged_whatever_they_are_called() -> None:
    topology = shape(GENERAL, member("check-one", "specialist"), member("other", "specialist"))
    flows = [Flow(n=100, node=name, pattern="x", score=0.9) for name in ("check-one", "other")] + [
        Flow(n=100, pattern="z", score=0.95)
    ]
    alike = {("check-one", "other"): 0.97}
    found = drafts(windows(flows, topology, times=2, likeness=alike), Kind.MERGE)
    assert len(found) == 1
    assert isinstance(found[0].payload, Merge)
    assert {found[0].payload.into, *found[0].payload.gone} == {"id-check-one", "id-other"}
    for different in ({}, {("check-one", "other"): 0.5}):
        assert drafts(windows(flows, topology, times=3, likeness=different), Kind.MERGE) == []


def test_specialists_whose_patterns_turned_out_to_be_one_are_merged_and_no_third_is_made() -> None:
    flows = [Flow(n=60, node="lifts", pattern="p1", score=0.5), Flow(n=60, pattern="other", score=0.97)]
    net = shape(
        GENERAL,
        member("lifts", "specialist", patterns=["p1"], locale="a"),
        member("elevators", "specialist", patterns=["p2"], locale="b"),
        member("stairs", "specialist", patterns=["p2", "other"], locale="b"),
    )
    seen = [Seen(pattern_id="p1", name="Lifts", count=90, was=("p2",)), Seen(pattern_id="other", name="Other", count=60)]
    found = windows(flows, net, times=3, rules=replace(EAGER, merge_after=2, park_after=9), patterns=seen)
    assert not found[0].drafts
    merges = drafts(found, Kind.MERGE)
    assert [each.payload for each in merges] == [Merge(into="id-lifts", gone=("id-elevators",))]
    assert "turned out to be one kind" in merges[0].reason
    assert drafts(found, Kind.SPAWN) == []


def test_nodes_that_are_called_alike_but_answer_differently_are_left_alone() -> None:
    topology = shape(GENERAL, member("validator-1", "specialist"), member("validator-2", "specialist"))
    flows = [Flow(n=100, node="validator-1", pattern="x", score=0.95), Flow(n=100, node="validator-2", pattern="x", score=0.6)]
    found = windows(flows, topology, times=3, likeness={("validator-1", "validator-2"): 0.99})
    assert drafts(found, Kind.MERGE) == []


def test_an_idle_node_is_parked_and_a_forgotten_one_pruned() -> None:
    topology = shape(GENERAL, member("idle", "specialist"))
    flows = [Flow(n=100, score=0.95)]
    found = windows(flows, topology, times=3)
    assert [draft.payload for each in found for draft in each.drafts] == [Park(node=topology.members["id-idle"].node_id)]
    asleep = shape(GENERAL, member("idle", "specialist", life="parked"))
    later = windows(flows, asleep, times=14)
    assert [draft.kind for each in later[:11] for draft in each.drafts] == []
    gone = [draft for each in later for draft in each.drafts]
    assert [draft.kind for draft in gone] == [Kind.PRUNE]
    # How well others are answered is nothing that its going could change.
    watched = [each.metric for draft in (*gone, *drafts(found, Kind.PARK)) for each in draft.predictions]
    assert watched == ["failure", "failure"]


def test_a_new_node_has_some_windows_of_grace() -> None:
    flows = [Flow(n=100, score=0.95)]
    before = propose(situation(flows, shape(GENERAL), number=1)).memory
    grown = shape(GENERAL, member("new", "specialist"))
    memory, kinds = before, []
    for number in range(2, 8):
        found = propose(situation(flows, grown, number=number, memory=memory, now=1_000.0 * number))
        memory = found.memory
        kinds.append([draft.kind for draft in found.drafts])
    assert kinds[:4] == [[], [], [], []]
    assert [Kind.PARK] in kinds


# ── RECOVER, REWIRE ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_node_that_fails_by_its_own_fault_is_recovered_from_its_last_good_state() -> None:
    good = member("stats", "specialist", patterns=["x"], backends=("b",))
    fine = propose(situation([Flow(n=50, node="stats", pattern="x"), Flow(n=50)], shape(GENERAL, good)))
    broken = replace(good, spec=replace(good.spec, backends=("other",)))
    flows = [Flow(n=40, node="stats", pattern="x", ok=0.1, faults=1.0), Flow(n=60, score=0.95)]
    (draft,) = propose(situation(flows, shape(GENERAL, broken), number=2, memory=fine.memory)).drafts
    assert isinstance(draft.payload, Recover)
    assert draft.payload.spec.role == "recovery"
    assert draft.payload.spec.backends == ("b",)
    assert draft.payload.spec.name != "stats"
    assert draft.predictions[0].metric == "failure"
    assert draft.predictions[0].limit < draft.predictions[0].baseline


def test_a_backend_that_is_down_is_no_fault_of_its_node() -> None:
    topology = shape(GENERAL, member("stats", "specialist", patterns=["x"]))
    flows = [Flow(n=40, node="stats", pattern="x", ok=0.1, score=None), Flow(n=40, pattern="x", ok=0.1, score=None)]
    assert drafts(windows(flows, topology, times=3), Kind.RECOVER) == []
    assert drafts(windows([Flow(n=100, ok=0.1, faults=1.0)], shape(GENERAL), times=3), Kind.RECOVER) == []


def test_a_check_that_finds_nothing_is_dropped() -> None:
    checked = member(strategy=ValidationLoop(generate=Single()))
    flows = [Flow(n=400, score=0.95, latency_s=2.0)]
    idle = Check(node="generalist", kind="validation", runs=400, found=1, seconds=0.5)
    found = drafts(windows(flows, shape(checked), times=2, checks=[idle]), Kind.REWIRE)
    assert len(found) == 1
    assert isinstance(found[0].payload, Rewire)
    assert found[0].payload.spec.strategy == Single()
    assert found[0].payload.spec.node_id == "id-generalist"
    assert found[0].predictions[0].metric == "latency_s"
    assert found[0].predictions[0].expected == pytest.approx(found[0].predictions[0].baseline - 0.5)
    for useful in (replace(idle, found=40), replace(idle, runs=20, found=0)):
        assert drafts(windows(flows, shape(checked), times=3, checks=[useful]), Kind.REWIRE) == []


STAGES = (Stage(name="draft", strategy=Single()), Stage(name="polish", strategy=Single(), gate=Gate()))
SIDES = tuple(Aspect(name=name, strategy=Single()) for name in ("facts", "style"))
THREE = tuple(Single(backend=name) for name in "abc")


@pytest.mark.parametrize(
    ("strategy", "kind", "left"),
    [
        (Pipeline(stages=STAGES), "stage:polish", Pipeline(stages=STAGES[:1])),
        (Pipeline(stages=STAGES), "gate:polish", Pipeline(stages=(STAGES[0], replace(STAGES[1], gate=None)))),
        (Parallel(aspects=SIDES), "aspect:style", Parallel(aspects=SIDES[:1])),
        (Consensus(members=THREE, quorum=3), "member:2", Consensus(members=(THREE[0], THREE[2]), quorum=2)),
        (
            ValidationLoop(generate=Pipeline(stages=STAGES)),
            "stage:draft",
            ValidationLoop(generate=Pipeline(stages=STAGES[1:])),
        ),
        (Pipeline(stages=STAGES), "stage:none", None),
        (Pipeline(stages=STAGES[:1]), "stage:draft", None),
        (Pipeline(stages=STAGES), "gate:draft", None),
        (Parallel(aspects=()), "aspect:facts", None),
        (Consensus(members=THREE[:2]), "member:1", None),
        (Consensus(members=THREE), "member:4", None),
        (Consensus(k=3), "member:1", None),
        (Single(), "member:1", None),
    ],
)
def test_a_stage_a_gate_or_a_branch_that_changes_nothing_is_dropped(
    strategy: StrategySpec, kind: str, left: StrategySpec | None
) -> None:
    node = member(strategy=strategy)
    idle = Check(node="generalist", kind=kind, runs=400, found=1, seconds=0.0)
    found = drafts(windows([Flow(n=400, score=0.95)], shape(node), times=2, checks=[idle]), Kind.REWIRE)
    assert [draft.payload.spec.strategy for draft in found] == ([] if left is None else [left])
    assert all("in 1 of 400 cases: drop it" in draft.reason for draft in found)
    assert all({each.metric for each in draft.predictions} == {"quality", "failure"} for draft in found)
    useful = replace(idle, found=40)
    assert drafts(windows([Flow(n=400, score=0.95)], shape(node), times=3, checks=[useful]), Kind.REWIRE) == []


def test_a_backend_that_the_log_says_adds_nothing_is_dropped_from_its_nodes() -> None:
    node = member(backends=("b", "extra"))
    finding = Finding(
        part="extra",
        kind="backend",
        loss=Interval(mean=0.0, low=-0.01, high=0.004),
        usd_each=0.01,
        given=90,
        remove=True,
        reason="r",
    )
    flows = [Flow(n=400, score=0.95)]
    found = drafts(windows(flows, shape(node), times=2, findings=[finding]), Kind.REWIRE)
    assert [draft.payload.spec.backends for draft in found] == [("b",)]
    assert drafts(windows(flows, shape(node), times=3, findings=[replace(finding, remove=False)]), Kind.REWIRE) == []
    last = shape(member(backends=("extra",)))
    assert drafts(windows(flows, last, times=3, findings=[finding]), Kind.REWIRE) == []


# ── bounds ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_open_or_held_back_is_not_proposed_again() -> None:
    flows = [Flow(n=100, pattern="legal", score=0.5)]
    given_ = situation(flows, shape(GENERAL))
    (draft,) = propose(given_).drafts
    key = key_of(draft)
    assert key == "spawn:legal"
    assert propose(given_, open_keys=frozenset({key})).drafts == ()
    assert propose(given_, held_back=frozenset({key})).drafts == ()
    assert propose(given_, open_keys=frozenset({"wake:legal"})).drafts == ()


@pytest.mark.parametrize("jump_s", [0.0, 1e9, -1e9], ids=["steady", "forwards", "backwards"])
def test_a_cooldown_survives_a_clock_that_jumps(jump_s: float) -> None:
    flows = [Flow(n=100, pattern="legal", score=0.5)]
    memory, said = Memory(), []
    for number in range(1, 30):
        now = 1e9 + 1_000.0 * number + (jump_s if number > 2 else 0.0)
        found = propose(situation(flows, shape(GENERAL), number=number, memory=memory, now=now))
        memory = found.memory
        said.append(len(found.drafts))
    assert said[0] == 1
    assert sum(said[1 : 1 + Rules().cooldown]) == 0
    assert 3 <= sum(said) <= 5


def test_few_removals_of_one_window_and_never_the_last_generalist() -> None:
    relics = [member(f"relic-{i}", "specialist") for i in range(19)]
    flows = [Flow(n=9990, score=0.95)] + [Flow(n=1, node=each.spec.name, score=0.95) for each in relics[:10]]
    found = windows(flows, shape(GENERAL, *relics), times=5, rules=EAGER)
    assert all(sum(draft.kind in (Kind.PRUNE, Kind.MERGE) for draft in each.drafts) <= 2 for each in found)
    lonely = windows([Flow(n=5000, node="other", score=0.95)], shape(GENERAL), times=15, rules=EAGER)
    assert [each.drafts for each in lonely if each.drafts] == []


@settings(max_examples=40, deadline=None)
@given(
    flows=st.lists(
        st.builds(
            Flow,
            n=st.integers(1, 60),
            node=st.sampled_from(["generalist", "a", "b", "c", "stranger"]),
            pattern=st.sampled_from(["x", "y", "z", None]),
            score=st.sampled_from([None, 0.1, 0.5, 0.95]),
            ok=st.sampled_from([0.0, 0.3, 1.0]),
            faults=st.sampled_from([0.0, 1.0]),
            latency_s=st.sampled_from([0.0, 0.1, 5.0, float("nan"), float("inf")]),
            cost_usd=st.sampled_from([0.0, 0.001, 0.5, float("nan"), -1.0]),
        ),
        min_size=1,
        max_size=12,
    ),
    lives=st.lists(st.sampled_from(["live", "parked"]), min_size=3, max_size=3),
    now=st.sampled_from([0.0, 1e9, -1e9, 1e18]),
)
def test_whatever_comes_the_proposals_are_bounded_and_fit_the_shape(flows: list[Flow], lives: list[str], now: float) -> None:
    members = [member(name, "specialist", patterns=[p], life=life) for name, p, life in zip("abc", "xyz", lives, strict=True)]
    topology, memory = shape(GENERAL, *members), Memory()
    alike = {("a", "b"): 0.95, ("b", "c"): 0.95, ("a", "c"): 0.95, ("a", "generalist"): 0.95}
    for number in range(1, 6):
        given_ = situation(flows, topology, number=number, memory=memory, now=now, rules=EAGER, likeness=alike)
        found = propose(given_)
        memory = found.memory
        assert len(found.drafts) <= Rules().most_drafts
        keys = [key_of(draft) for draft in found.drafts]
        assert len(set(keys)) == len(keys)
        for draft in found.drafts:
            assert draft.evidence
            assert 0.0 <= draft.share <= 1.0
            for prediction in draft.predictions:
                assert all(abs(value) < 1e9 for value in (prediction.baseline, prediction.expected, prediction.margin))
                assert prediction.margin > 0
                assert prediction.bound > 0
            match draft.payload:
                case Prune(node=node) | Park(node=node) | Recover(node=node):
                    assert node in topology.members
                    assert node != GENERAL.node_id
                case Merge(gone=gone):
                    assert GENERAL.node_id not in gone
                case Spawn(spec=spec):
                    assert spec.node_id not in topology.members


def test_an_empty_window_says_nothing() -> None:
    nothing = Situation(window=observe(stream([])), topology=shape(GENERAL))
    assert propose(nothing).drafts == ()
