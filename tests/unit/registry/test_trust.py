"""Reuse under a bound: what must always hold (properties), and that the realised error keeps the bound (seeded simulations)."""

import math
import random
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.arrays import packed, unpacked
from registry.error_bound import BINS, ErrorBound, Vouched, bin_of
from registry.records import TrustStateUnreadable
from registry.trust import EntryTrust, Evidence, Explore, Serve, Trust, TrustSettings
from registry.wording import FEATURES, agreement, read

SIMILARITY = st.floats(-1, 1)
AGREEMENT = st.tuples(*[st.floats(-2, 8)] * len(FEATURES))
TEXT = agreement(read("how do I sort a list"), read("how can I sort a list"))


def trained(seed: int = 1, outcomes: int = 400, bound: float = 0.1) -> Trust:
    """A Trust that has seen candidates which hold with a chance that rises in the similarity."""
    trust, rng = Trust(TrustSettings(error_bound=bound)), random.Random(seed)
    for _ in range(outcomes):
        evidence = Evidence(similarity=rng.uniform(0.3, 1.0), agreement=TEXT, runner_up=rng.choice((None, 0.4)))
        trust.decide(evidence, trust.new_entry(), rng)
        trust.learn(evidence, trust.new_entry(), held=rng.random() < evidence.similarity**4)
    return trust


TRAINED = trained()


@given(low=SIMILARITY, high=SIMILARITY, words=AGREEMENT, runner_up=st.none() | SIMILARITY, offset=st.floats(-5, 5))
@settings(max_examples=40, deadline=None)
def test_trust_never_falls_when_the_similarity_rises(
    low: float, high: float, words: tuple[float, ...], runner_up: float | None, offset: float
) -> None:
    low, high = sorted((low, high))
    entry = EntryTrust(offset=offset, variance=1.0)
    at_low = TRAINED.probability(Evidence(similarity=low, agreement=words, runner_up=runner_up), entry)
    at_high = TRAINED.probability(Evidence(similarity=high, agreement=words, runner_up=runner_up), entry)
    assert at_low <= at_high + 1e-9


@given(similarity=SIMILARITY, words=AGREEMENT, runner_up=st.none() | SIMILARITY, bound=st.floats(0.0, 0.5))
@settings(max_examples=40, deadline=None)
def test_nothing_is_served_without_evidence(
    similarity: float, words: tuple[float, ...], runner_up: float | None, bound: float
) -> None:
    trust = Trust(TrustSettings(error_bound=bound))
    evidence = Evidence(similarity=similarity, agreement=words, runner_up=runner_up)
    for _ in range(3):
        assert isinstance(trust.decide(evidence, trust.new_entry(), random.Random(0)), Explore)


@given(similarity=st.floats(allow_nan=True, allow_infinity=True), words=st.tuples(*[st.floats()] * len(FEATURES)))
@settings(max_examples=40, deadline=None)
def test_any_number_is_survived(similarity: float, words: tuple[float, ...]) -> None:
    chance = TRAINED.probability(Evidence(similarity=similarity, agreement=words), TRAINED.new_entry())
    assert 0.0 <= chance <= 1.0


@given(held=st.lists(st.booleans(), max_size=20))
@settings(max_examples=20, deadline=None)
def test_a_bad_report_lowers_an_entry_at_once_and_puts_it_out(held: list[bool]) -> None:
    trust = trained(outcomes=60)
    evidence, entry = Evidence(similarity=0.97, agreement=TEXT), trust.new_entry()
    for each in held:
        entry = trust.learn(evidence, entry, held=each)
    before = trust.probability(evidence, entry)
    after = trust.refute(entry, evidence)
    assert trust.probability(evidence, after) < before
    assert after.suspended > 0
    decision = trust.decide(evidence, after, random.Random(0))
    assert isinstance(decision, Explore)
    assert "found wrong" in decision.reason


def test_an_entry_that_holds_again_comes_back() -> None:
    trust = Trust(TrustSettings(redeem=2))
    evidence = Evidence(similarity=0.97, agreement=TEXT)
    entry = trust.refute(trust.new_entry())
    states = [entry]
    for _ in range(3):
        states.append(trust.learn(evidence, states[-1], held=True))
    assert [each.suspended for each in states] == [2, 1, 0, 0]


@pytest.mark.parametrize("held", [True, False])
def test_one_outcome_moves_the_trust_its_way_and_keeps_numbers_finite(held: bool) -> None:
    trust = trained(outcomes=100)
    evidence, entry = Evidence(similarity=0.8, agreement=TEXT), trust.new_entry()
    before = trust.probability(evidence, entry)
    learned = trust.learn(evidence, entry, held=held)
    after = trust.probability(evidence, learned)
    assert (after > before) if held else (after < before)
    assert all(math.isfinite(each) for each in (learned.offset, learned.variance))
    assert learned.variance < entry.variance


def test_one_wrong_label_does_not_undo_many_right_ones() -> None:
    trust = trained(outcomes=200)
    evidence, entry = Evidence(similarity=0.96, agreement=TEXT), trust.new_entry()
    for _ in range(30):
        entry = trust.learn(evidence, entry, held=True)
    before = trust.probability(evidence, entry)
    after = trust.probability(evidence, trust.learn(evidence, entry, held=False))
    assert before - after < 0.1


def test_what_was_learned_survives_a_round_trip() -> None:
    trust = trained(outcomes=1500)
    again = Trust(trust.settings)
    again.load(trust.dump())
    assert again.threshold == trust.threshold
    for similarity in np.linspace(0.2, 1.0, 9):
        evidence = Evidence(similarity=float(similarity), agreement=TEXT)
        assert again.would_serve(evidence, trust.new_entry()) == trust.would_serve(evidence, trust.new_entry())


@pytest.mark.parametrize("spoil", [lambda state: state[:200], lambda state: b"", lambda state: b"PK" + state[5:]])
def test_a_damaged_state_is_refused_and_changes_nothing(spoil: Callable[[bytes], bytes]) -> None:
    trust = trained(outcomes=100)
    before = trust.dump()
    with pytest.raises(TrustStateUnreadable):
        trust.load(spoil(trained(seed=2, outcomes=50).dump()))
    evidence = Evidence(similarity=0.9, agreement=TEXT)
    again = Trust(trust.settings)
    again.load(before)
    assert again.probability(evidence, trust.new_entry()) == trust.probability(evidence, trust.new_entry())


def test_states_with_values_that_are_no_numbers_are_refused() -> None:
    trust = trained(outcomes=50)
    trust._model.mean[3] = float("nan")
    with pytest.raises(TrustStateUnreadable, match="not finite"):
        Trust().load(trust.dump())


@pytest.mark.parametrize("field", ["error_bound", "confidence", "audit_share", "label_noise"])
def test_settings_out_of_range_name_the_field(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        TrustSettings(**{field: 1.5})


# ── the same words ──────────────────────────────────────────────────────────────────────────────────────────────────────

SPELT = Evidence(similarity=0.6, agreement=TEXT, same_words=True)


def tell(trust: Trust, outcomes: list[bool], evidence: Evidence = SPELT) -> None:
    for held in outcomes:
        trust.learn(evidence, trust.new_entry(), held=held)


@pytest.mark.parametrize(("bound", "labels"), [(0.1, 20), (0.05, 20), (0.02, 20), (0.01, 182)])
def test_the_same_words_are_served_after_some_that_held_whatever_they_score(bound: float, labels: int) -> None:
    trust = Trust(TrustSettings(error_bound=bound))
    tell(trust, [True] * (labels - 1))
    assert not trust.serves_same_words
    tell(trust, [True])
    decided = trust.would_serve(SPELT, trust.new_entry())
    assert isinstance(decided, Serve)
    assert decided.reason == "the same words"
    assert decided.error <= bound
    assert isinstance(trust.would_serve(Evidence(similarity=0.6, agreement=TEXT), trust.new_entry()), Explore)


def test_a_second_failure_closes_the_class_until_many_have_held() -> None:
    trust = Trust(TrustSettings(error_bound=0.02))
    tell(trust, [True] * 40)
    entry = trust.refute(trust.new_entry(), SPELT)
    assert entry.suspended
    assert trust.serves_same_words
    trust.refute(trust.new_entry(), SPELT)
    assert not trust.serves_same_words
    tell(trust, [True] * 60)
    assert not trust.serves_same_words
    tell(trust, [True] * 60)
    assert trust.serves_same_words


@pytest.mark.parametrize("bound", [0.02, 0.05, 0.1])
@pytest.mark.parametrize(("wrong", "opens"), [(0, True), (1, True), (2, False)])
def test_of_the_first_labels_one_may_be_wrong(bound: float, wrong: int, opens: bool) -> None:
    trust = Trust(TrustSettings(error_bound=bound))
    tell(trust, [False] * wrong + [True] * (20 - wrong))
    assert trust.serves_same_words is opens


def test_a_class_that_is_not_what_it_was_thought_to_be_never_opens() -> None:
    for bound in (0.02, 0.05):
        trust = Trust(TrustSettings(error_bound=bound))
        tell(trust, ([True] * 4 + [False]) * 40)
        assert not trust.serves_same_words


def test_what_is_served_for_its_words_is_no_sample_of_what_is_served_for_its_score() -> None:
    trust, rng = Trust(TrustSettings(error_bound=0.02)), random.Random(1)
    tell(trust, [True] * 20)
    counted = trust._bound.counts.sum()
    trust.decide(SPELT, trust.new_entry(), rng)
    tell(trust, [True])
    assert trust._bound.counts.sum() == counted


def test_a_state_that_knows_no_same_words_is_read() -> None:
    trust = trained(outcomes=300)
    tell(trust, [True] * 30)
    old = unpacked(trust.dump())
    old.pop("same_words")
    again = Trust(trust.settings)
    again.load(packed({**old, "version": np.array(1)}))
    assert trust.serves_same_words
    assert not again.serves_same_words
    assert again.threshold == trust.threshold
    again.load(trust.dump())
    assert again.serves_same_words


@given(outcomes=st.lists(st.booleans(), max_size=300), bound=st.floats(0.0, 0.4))
@settings(max_examples=60, deadline=None)
def test_an_open_class_never_had_more_failures_than_the_bound(outcomes: list[bool], bound: float) -> None:
    found = Vouched(bound=bound)
    for held in outcomes:
        found.label(held)
        if found.is_open:
            assert found.counts[0] >= 20
            assert found.error <= bound


# ── the bound ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def simulate(bound: float, seed: int, noise: float = 0.0, drift: bool = False, requests: int = 3000) -> tuple[int, int]:
    """(served, wrong) on candidates of which those near 1 nearly always hold; ``noise`` flips labels that are learned."""
    trust, rng = Trust(TrustSettings(error_bound=bound)), random.Random(seed)
    served = wrong = 0
    for at in range(requests):
        evidence = Evidence(similarity=1.0 - min(0.9, rng.expovariate(4.0)), agreement=TEXT)
        worse = 1.5 if drift and at > requests / 2 else 0.0
        held = rng.random() < 1 / (1 + math.exp(-(20 * (evidence.similarity - 0.8) + 1.5 - worse)))
        if isinstance(trust.decide(evidence, trust.new_entry(), rng), Serve):
            served, wrong = served + 1, wrong + (not held)
        else:
            trust.learn(evidence, trust.new_entry(), held=held != (rng.random() < noise))
    return served, wrong


@pytest.mark.parametrize("bound", [0.1])
@pytest.mark.parametrize("seed", [1, 2])
def test_the_realised_error_keeps_the_bound_and_much_is_served(bound: float, seed: int) -> None:
    served, wrong = simulate(bound, seed)
    assert wrong <= bound * served
    assert served > 40


def test_noisy_labels_make_it_stricter_not_laxer() -> None:
    served, wrong = simulate(0.1, 3, noise=0.03)
    assert wrong <= 0.1 * served
    assert served > 40


def test_an_entry_that_is_always_wrong_stops_answering() -> None:
    trust, rng = trained(outcomes=2000, bound=0.2), random.Random(5)
    evidence, bad = Evidence(similarity=1.0, agreement=TEXT), trust.new_entry()
    served = 0
    for _ in range(40):
        if isinstance(trust.decide(evidence, bad, rng), Serve):
            served += 1
            bad = trust.refute(bad, evidence)
        else:
            bad = trust.learn(evidence, bad, held=False)
    assert served <= 1


@given(z=st.floats(allow_nan=True, allow_infinity=True))
def test_every_score_has_a_bin(z: float) -> None:
    assert 0 <= bin_of(z) < BINS


@given(
    labels=st.lists(st.tuples(st.floats(-4, 8), st.booleans()), max_size=120),
    bound=st.floats(0.001, 0.4),
)
@settings(max_examples=40, deadline=None)
def test_what_is_served_never_had_more_wrong_labels_than_the_bound(labels: list[tuple[float, bool]], bound: float) -> None:
    found = ErrorBound(bound=bound, model_weight=0.0)
    for z, held in labels:
        found.came(z)
        found.label(z, held)
    found.refresh()
    if found.threshold is not None:
        above = [held for z, held in labels if bin_of(z) >= bin_of(found.threshold)]
        assert len(above) >= 20
        assert above.count(False) <= bound * len(above)
