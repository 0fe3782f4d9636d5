"""A fall is weighed against a run of bad luck: luck costs a favourite little, and what died is let go at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.routing.doubts import Doubt
from runtime.routing.features import SHAPE, TEXT_DIMENSIONS
from runtime.routing.quality import QualityModel, QualitySettings, View

WEIGHTS = np.array([0.7, 0.0])
X = np.array([1.0, 0.0])
BAD_LUCK = (0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0)
VIEW = View(point=np.zeros(SHAPE + TEXT_DIMENSIONS, dtype=np.float32), pattern="p", locale="l")
ARM = np.array([0])


def after(scores: Sequence[float], expected: float = 0.7) -> Doubt:
    outcomes = [(X, float(score), 1.0, expected) for score in scores]
    return Doubt(weights=WEIGHTS, bring_back=lambda: None, outcomes=outcomes, run=len(outcomes))


def test_what_died_is_not_doubted_and_bad_luck_is() -> None:
    assert after([0.0] * 10).verdict is False
    assert after([0.0] * 6, expected=0.95).verdict is False
    assert after(BAD_LUCK).verdict is None
    assert 0.1 < after(BAD_LUCK).chance < 0.9
    assert after([0.0, 1.0, 0.0]).verdict is True, "two failures of an arm that fails every third time are nothing"


@pytest.mark.parametrize(("score", "verdict"), [(1.0, True), (0.0, False)])
def test_a_few_outcomes_make_it_clear(score: float, verdict: bool) -> None:
    found = after(BAD_LUCK)
    heard = 0
    while found.verdict is None:
        found.hear(X, score, 1.0)
        heard += 1
    assert found.verdict is verdict
    assert heard <= 6


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(-1, 2), st.floats(0, 1)), min_size=1, max_size=60))
def test_the_chance_is_one_whatever_came(told: list[tuple[float, float, float]]) -> None:
    outcomes = [(X, score, weight, expected) for score, expected, weight in told]
    found = Doubt(weights=WEIGHTS, bring_back=lambda: None, outcomes=outcomes, run=len(outcomes))
    for score, _, weight in told:
        found.hear(X, score, weight)
    assert len(found.after) == len(told)
    assert 0.0 <= found.chance <= 1.0


def model() -> QualityModel:
    rng = np.random.default_rng(4)
    found = QualityModel(slots=2, shape=SHAPE, text=TEXT_DIMENSIONS, settings=QualitySettings(), rng=rng)
    for score in rng.random(300) < 0.75:
        found.learn(VIEW, 0, float(score), 1.0)
    return found


def mean_of(found: QualityModel) -> float:
    return float(found.judge(VIEW, ARM).mean[0])


def suspected(found: QualityModel) -> None:
    """Bad luck until it is noticed."""
    for _ in range(4):
        for score in BAD_LUCK:
            assert not found.learn(VIEW, 0, float(score), 1.0), "no change is told while it is not clear"
            if found.doubts:
                return
    raise AssertionError("nobody noticed")


def test_a_favourite_with_bad_luck_is_given_back_all_that_was_known_of_it() -> None:
    found = model()
    before, known, remembered = mean_of(found), found.ridge.counts[0], found.neighbours.weights.sum()
    suspected(found)
    assert found.ridge.counts[0] < known / 4
    low = mean_of(found)
    assert low < before - 0.03
    for _ in range(12):
        found.learn(VIEW, 0, 1.0, 1.0)
    assert not found.doubts
    assert found.ridge.counts[0] > known - 20
    assert found.neighbours.weights.sum() > remembered
    assert mean_of(found) > before - 0.1
    assert found.drift.alarms[0] == 0


def test_one_that_fell_indeed_is_let_go_and_the_change_is_told_once() -> None:
    found = model()
    suspected(found)
    told = [found.learn(VIEW, 0, 0.0, 1.0) for _ in range(12)]
    assert told.count(True) == 1
    assert told.index(True) < 9
    assert not found.doubts
    assert mean_of(found) < 0.3
    assert found.drift.alarms[0] == 1


def test_draws_are_from_both_cases_in_proportion() -> None:
    found = model()
    suspected(found)
    judged = found.judge(VIEW, ARM)
    ((_, chance, before),) = judged.doubted
    drawn = judged.draw(np.full(1, 1e-6), 4000, np.random.default_rng(1))[:, 0]
    as_before = np.isclose(drawn, before, atol=1e-3)
    assert abs(as_before.mean() - chance) < 0.05
    assert abs(drawn.mean() - judged.mean[0]) < 0.03


def test_an_arm_that_is_given_away_takes_its_doubt_along() -> None:
    found = model()
    suspected(found)
    found.forget(0)
    assert not found.doubts
    assert found.ridge.counts[0] == 0
