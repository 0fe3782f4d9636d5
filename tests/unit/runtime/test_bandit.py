"""The learner: from nothing, through change, into a file and back."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from runtime.routing.bandit import Learner
from runtime.routing.features import EXTRA_NAMES, SHAPE, SHAPE_NAMES, TEXT_DIMENSIONS, extra_of, point, shape_of
from runtime.routing.records import Arm, Context, Decision, RoutingError, Spent, Weights
from runtime.routing.settings import LearnerSettings
from runtime.routing.state import dump, load

PLAIN = Weights()


def arms(*names: str, usd_per_1m: float | None = None) -> list[Arm]:
    return [Arm(strategy="single", node="n", backend=name, usd_per_1m=usd_per_1m) for name in names]


def context(text: str = "What is the capital of France?", **groups: str) -> Context:
    return Context(point=point(text), **groups)


def learner(seed: int = 3, **changed: Any) -> Learner:
    return Learner(replace(LearnerSettings(), **changed), rng=np.random.default_rng(seed))


class Stream:
    """Requests one after the other; ``truth`` says what an arm is worth on a request."""

    def __init__(self, subject: Learner, pool: list[Arm], seed: int = 5) -> None:
        self.subject = subject
        self.pool = pool
        self.rng = np.random.default_rng(seed)
        self.at = 0

    def ask(self, quality: dict[str, float], asked: Context | None = None, weights: Weights = PLAIN, **usd: float) -> Decision:
        self.at += 1
        decision = self.subject.choose(str(self.at), asked or context(), self.pool, weights, now=float(self.at))
        name = decision.arm.backend
        if usd:
            self.subject.spent(str(self.at), Spent(cost_usd=usd[name], latency_s=1.0))
        self.subject.learn(str(self.at), float(self.rng.random() < quality[name]), now=float(self.at))
        return decision

    def many(self, n: int, quality: dict[str, float], *rest: Any, **usd: float) -> list[str]:
        return [self.ask(quality, *rest, **usd).arm.backend for _ in range(n)]


def share(names: list[str], name: str) -> float:
    return names.count(name) / len(names)


def test_finds_the_best_from_nothing() -> None:
    stream = Stream(learner(), arms("bad", "good", "fair"))
    stream.many(200, {"bad": 0.2, "good": 0.9, "fair": 0.5})
    assert share(stream.many(100, {"bad": 0.2, "good": 0.9, "fair": 0.5}), "good") > 0.85


def test_tells_kinds_of_requests_apart() -> None:
    stream = Stream(learner(), arms("coder", "talker"))
    code, talk = context("def add(a, b):\n    return a + b  # write the tests\n" * 3), context("Please tell me about the sea.")
    for _ in range(250):
        stream.ask({"coder": 0.9, "talker": 0.2}, code)
        stream.ask({"coder": 0.2, "talker": 0.9}, talk)
    chosen = [
        (stream.ask({"coder": 0.9, "talker": 0.2}, code).arm.backend, stream.ask({"coder": 0.2, "talker": 0.9}, talk).arm.backend)
        for _ in range(60)
    ]
    assert share([first for first, _ in chosen], "coder") > 0.8
    assert share([second for _, second in chosen], "talker") > 0.8


def test_tells_patterns_apart_where_the_text_says_nothing() -> None:
    stream = Stream(learner(), arms("a", "b"))
    for _ in range(300):
        stream.ask({"a": 0.9, "b": 0.2}, context(pattern="x"))
        stream.ask({"a": 0.2, "b": 0.9}, context(pattern="y"))
    chosen = [stream.ask({"a": 0.2, "b": 0.9}, context(pattern="y")).arm.backend for _ in range(50)]
    assert share(chosen, "b") > 0.7


@pytest.mark.parametrize("seed", range(6))
def test_notices_within_tens_of_requests_that_the_favourite_fails(seed: int) -> None:
    stream = Stream(learner(seed), arms("first", "second", "third"), seed)
    stream.many(400, {"first": 0.9, "second": 0.75, "third": 0.4})
    stream.many(50, {"first": 0.0, "second": 0.75, "third": 0.4})
    after = stream.many(50, {"first": 0.0, "second": 0.75, "third": 0.4})
    assert share(after, "first") < 0.1
    assert share(after, "second") > 0.6


def test_an_alarm_is_told_and_counted() -> None:
    stream = Stream(learner(), arms("only"))
    stream.many(200, {"only": 1.0})
    told = []
    for at in range(20):
        stream.subject.choose(f"f{at}", context(), stream.pool, PLAIN, now=300.0)
        told.append(stream.subject.learn(f"f{at}", 0.0, now=300.0).changed)
    assert told.count(True) == 1
    assert stream.subject.standing().alarms == {"single x n x only": 1}


def test_a_new_arm_is_tried_and_a_vanished_one_is_not_missed() -> None:
    stream = Stream(learner(), arms("old", "gone"))
    stream.many(200, {"old": 0.5, "gone": 0.8})
    stream.pool = arms("old", "new")
    chosen = stream.many(200, {"old": 0.5, "new": 0.95})
    assert share(chosen[100:], "new") > 0.8


def test_verdicts_may_come_late_or_never() -> None:
    subject, rng = learner(), np.random.default_rng(1)
    pool, waiting = arms("bad", "good"), []
    chosen = []
    for at in range(400):
        decision = subject.choose(str(at), context(), pool, PLAIN, now=float(at))
        chosen.append(decision.arm.backend)
        waiting.append(decision)
        if len(waiting) > 30:
            old = waiting.pop(0)
            if at % 3:
                quality = {"bad": 0.2, "good": 0.9}[old.arm.backend]
                assert subject.learn(old.decision_id, float(rng.random() < quality), now=float(at)).learned
    assert share(chosen[300:], "good") > 0.85


def test_a_price_holds_from_the_next_decision_on() -> None:
    stream = Stream(learner(), arms("a", "b", usd_per_1m=1.0))
    stream.many(150, {"a": 0.8, "b": 0.8}, None, Weights(per_usd=100.0), a=0.001, b=0.001)
    stream.pool = [arms("a", usd_per_1m=10.0)[0], arms("b", usd_per_1m=1.0)[0]]
    decision = stream.ask({"a": 0.8, "b": 0.8}, weights=Weights(per_usd=100.0))
    costs = {each.arm.backend: each.cost_usd for each in decision.candidates}
    assert costs["a"] == pytest.approx(10 * (costs["b"] or 0), rel=0.2)
    assert share([stream.ask({"a": 0.8, "b": 0.8}, weights=Weights(per_usd=100.0)).arm.backend for _ in range(40)], "b") > 0.9


@pytest.mark.parametrize("weights", [Weights(per_usd=500.0), Weights(per_usd=1.0, objective="ratio")])
def test_weights_of_a_request_decide_what_quality_may_cost(weights: Weights) -> None:
    stream = Stream(learner(), arms("cheap", "dear"))
    truth = {"cheap": 0.6, "dear": 0.9}
    for at in range(300):
        stream.ask(truth, weights=weights if at % 2 else PLAIN, cheap=0.0001, dear=0.01)
    frugal = [stream.ask(truth, weights=weights, cheap=0.0001, dear=0.01).arm.backend for _ in range(50)]
    lavish = [stream.ask(truth, cheap=0.0001, dear=0.01).arm.backend for _ in range(50)]
    assert share(frugal, "cheap") > 0.85
    assert share(lavish, "dear") > 0.85


def test_budget_mode_holds_the_spend_and_uses_it() -> None:
    stream = Stream(learner(), arms("cheap", "dear"))
    stream.subject.budget(3.0)
    truth, usd = {"cheap": 0.5, "dear": 0.9}, {"cheap": 0.0005, "dear": 0.01}
    stream.many(500, truth, **usd)
    chosen = stream.many(1000, truth, **usd)
    spend = sum(usd[name] for name in chosen)
    assert 2.4 < spend < 3.6


@pytest.mark.parametrize("seed", range(5))
def test_a_tight_budget_finds_the_arm_that_is_cheap_enough(seed: int) -> None:
    usd = {f"arm{number}": 0.0002 * 2.0**number for number in range(10)}
    truth = dict.fromkeys(usd, 0.7)
    names = list(usd)[seed:] + list(usd)[:seed]
    stream = Stream(learner(seed), arms(*names), seed)
    stream.subject.budget(0.4)
    stream.many(300, truth, **usd)
    chosen = stream.many(200, truth, **usd)
    assert sum(usd[name] for name in chosen) < 1.5 * 200 * 0.0004


def test_exploring_costs_no_more_than_its_share() -> None:
    subject = learner(explore_allowance=5, boldness=3.0)
    stream = Stream(subject, arms("cheap", "dear"))
    truth, usd = {"cheap": 0.9, "dear": 0.85}, {"cheap": 0.0001, "dear": 0.1}
    stream.many(600, truth, None, Weights(per_usd=2.0), **usd)
    chosen = stream.many(400, truth, None, Weights(per_usd=2.0), **usd)
    extra = sum(usd[name] - usd["cheap"] for name in chosen if name == "dear")
    assert extra <= 0.3 * sum(usd[name] for name in chosen) + 5 * 0.1


def test_a_conversation_keeps_its_arm_unless_the_gain_is_clear() -> None:
    stream = Stream(learner(), arms("a", "b", "bad"))
    stream.many(300, {"a": 0.8, "b": 0.78, "bad": 0.1})
    held = [stream.subject.choose(f"h{at}", context(), stream.pool, PLAIN, now=400.0, held=stream.pool[1]) for at in range(20)]
    left = [stream.subject.choose(f"l{at}", context(), stream.pool, PLAIN, now=400.0, held=stream.pool[2]) for at in range(20)]
    assert all(each.way != "held" for each in left)
    margin = max(each.utility for each in held[0].candidates) - held[0].candidates[1].utility
    assert all((each.way == "held") == (margin < 0.05) for each in held)


def test_a_decision_explains_itself() -> None:
    stream = Stream(learner(), arms("a", "b"))
    stream.many(100, {"a": 0.9, "b": 0.3}, a=0.001, b=0.001)
    decision = stream.ask({"a": 0.9, "b": 0.3}, a=0.001, b=0.001)
    assert decision.arm.label in decision.reason
    assert sum(each.share for each in decision.candidates) == pytest.approx(1.0)
    assert decision.propensity == pytest.approx(decision.chosen.share)
    for each in decision.candidates:
        assert 0 <= each.low <= each.quality <= each.high <= 1
        assert each.cost_usd == pytest.approx(0.001, rel=0.5)


def test_several_verdicts_of_one_decision_count_as_one_at_the_most() -> None:
    subject = learner()
    subject.choose("d", context(), arms("a"), PLAIN, now=0.0)
    assert subject.learn("d", 1.0, now=1.0, reliability=0.4).learned
    assert subject.learn("d", 0.0, now=2.0, reliability=0.9).learned
    assert not subject.learn("d", 0.0, now=3.0).learned
    assert not subject.learn("unknown", 0.0, now=3.0).learned


def test_old_evidence_fades_and_old_decisions_are_let_go() -> None:
    stream = Stream(learner(), arms("a"))
    stream.many(50, {"a": 1.0})
    before = stream.subject.quality.ridge.counts[0]
    stream.subject.choose("late", context(), stream.pool, PLAIN, now=60.0)
    heard = stream.subject.learn("late", 1.0, now=60.0 + 14 * 86400.0)
    assert not heard.learned
    assert stream.subject.quality.ridge.counts[0] == pytest.approx(before / 2, rel=0.01)


def test_the_oldest_arm_gives_way_when_there_are_too_many() -> None:
    subject = learner(most_arms=3)
    for at in range(10):
        subject.choose(str(at), context(), arms(f"b{at}", "stays"), PLAIN, now=float(at))
        subject.learn(str(at), 1.0, now=float(at))
    assert len(subject.arms) == 3
    assert arms("stays")[0].key in subject.arms


@pytest.mark.parametrize("pool", [[], arms("a", "a"), arms(*(f"b{at}" for at in range(257)))])
def test_a_bad_list_of_arms_is_refused(pool: list[Arm]) -> None:
    with pytest.raises(RoutingError) as caught:
        learner().choose("d", context(), pool, PLAIN, now=0.0)
    assert caught.value.field == "arms"


def test_bad_numbers_are_refused() -> None:
    subject = learner()
    subject.choose("d", context(), arms("a"), PLAIN, now=0.0)
    for score in (-0.1, 1.1, float("nan")):
        with pytest.raises(RoutingError):
            subject.learn("d", score, now=0.0)
    with pytest.raises(RoutingError):
        subject.spent("d", Spent(cost_usd=float("nan")))
    with pytest.raises(RoutingError):
        subject.budget(0.0)
    with pytest.raises(RoutingError):
        Weights(per_usd=float("inf"))
    with pytest.raises(RoutingError):
        subject.choose("e", Context(point=np.full(SHAPE + TEXT_DIMENSIONS, np.nan, dtype=np.float32)), arms("a"), PLAIN, now=0.0)


# ── into a file and back ────────────────────────────────────────────────────────────────────────────────────────────────


def trained() -> Stream:
    stream = Stream(learner(), arms("a", "b", usd_per_1m=2.0))
    stream.subject.budget(5.0)
    for at in range(150):
        stream.ask({"a": 0.9, "b": 0.4}, context(f"request {at}", locale="l", pattern=f"p{at % 3}"), a=0.001, b=0.002)
    return stream


def test_a_state_comes_back_as_it_was() -> None:
    stream = trained()
    stream.subject.choose("open", context(), stream.pool, PLAIN, now=200.0)
    again = load(dump(stream.subject), LearnerSettings(), rng=np.random.default_rng(9))
    asked = context("request 7", locale="l", pattern="p1")
    mine, theirs = (each.choose("x", asked, stream.pool, PLAIN, now=201.0) for each in (stream.subject, again))
    for one, other in zip(mine.candidates, theirs.candidates, strict=True):
        assert other.quality == pytest.approx(one.quality, abs=0.01)
        assert other.cost_usd == pytest.approx(one.cost_usd, rel=0.02)
    assert theirs.per_usd == pytest.approx(mine.per_usd)
    assert again.learn("open", 1.0, now=202.0).learned


@settings(max_examples=30, deadline=None)
@given(cut=st.integers(0, 4000), flipped=st.integers(0, 20_000))
@example(cut=0, flipped=58)
@example(cut=0, flipped=178)
def test_a_damaged_state_is_refused_or_read_but_never_breaks(cut: int, flipped: int) -> None:
    data = bytearray(DUMPED[: len(DUMPED) - cut])
    if data:
        data[flipped % len(data)] ^= 0xFF
    try:
        subject = load(bytes(data), LearnerSettings(), rng=np.random.default_rng(1))
    except RoutingError:
        return
    subject.choose("d", context(), arms("a"), PLAIN, now=0.0)


DUMPED = dump(trained().subject)


# ── features ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.text(max_size=300))
@settings(max_examples=60, deadline=None)
def test_any_text_has_a_bounded_shape(text: str) -> None:
    found = shape_of(text)
    assert found.shape == (len(SHAPE_NAMES),)
    assert np.isfinite(found).all()
    assert np.abs(found).max() <= 3.0


def test_a_point_holds_shape_extras_and_embedding() -> None:
    vector = np.zeros(384, dtype=np.float32)
    vector[0] = 1.0
    found = point("x", vector, extra_of(complexity=1.0, tools=4, schema=True, load=0.5, hour=6.0))
    assert found.shape == (SHAPE + TEXT_DIMENSIONS,)
    assert len(EXTRA_NAMES) + len(SHAPE_NAMES) == SHAPE
    assert np.linalg.norm(found[SHAPE:]) == pytest.approx(1.0, abs=0.25)
    assert np.array_equal(point("x", np.full(384, np.nan))[SHAPE:], np.zeros(TEXT_DIMENSIONS))
