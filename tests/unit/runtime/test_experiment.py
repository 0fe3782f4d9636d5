"""Experiments: who is asked, when it is over, and that looking early is no error."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.routing.experiment import (
    BadExperiment,
    Plan,
    Result,
    State,
    assign,
    begin,
    extend,
    from_json,
    lasting_gain,
    observe,
    rule,
    to_json,
)
from runtime.routing.off_policy import Logged, doubly_robust
from runtime.routing.records import RoutingError
from runtime.routing.sequential import Mean, asymptotic_radius

PLAN = Plan(experiment_id="e", champion="v1", challenger="v2", salt="s", began_at=0.0, share=0.5, holdout=0.1, min_dwell_s=100.0)


def play(plan: Plan, champion: float, challenger: float, n: int, seed: int = 1, **worse: float) -> State:
    """``n`` results a side; ``worse`` are the challenger's failures, cost and latency."""
    rng, state = np.random.default_rng(seed), begin(plan)
    for _ in range(n):
        state = observe(plan, state, "champion", Result(quality=float(rng.random() < champion), cost_usd=0.01, latency_s=1.0))
        result = Result(
            quality=float(rng.random() < challenger),
            failed=bool(rng.random() < worse.get("failed", 0.0)),
            cost_usd=worse.get("cost", 0.01),
            latency_s=worse.get("latency", 1.0),
        )
        state = observe(plan, state, "challenger", result)
    return state


# ── assignment ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_groups_have_their_shares_and_never_change() -> None:
    groups = [assign(PLAN, f"user-{at}") for at in range(4000)]
    assert groups == [assign(PLAN, f"user-{at}") for at in range(4000)]
    assert groups.count("holdout") / 4000 == pytest.approx(0.1, abs=0.02)
    assert groups.count("challenger") / 4000 == pytest.approx(0.5, abs=0.03)


def test_another_salt_draws_other_groups_and_a_larger_share_moves_nobody_back() -> None:
    units = [f"user-{at}" for at in range(500)]
    other = replace(PLAN, salt="t")
    assert [assign(PLAN, unit) for unit in units] != [assign(other, unit) for unit in units]
    wider = replace(PLAN, share=0.7)
    assert all(assign(wider, unit) == "challenger" for unit in units if assign(PLAN, unit) == "challenger")


@given(st.text(max_size=40))
def test_any_unit_has_a_group(unit: str) -> None:
    assert assign(PLAN, unit) in ("champion", "challenger", "holdout")


# ── rulings ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_better_challenger_is_adopted_after_the_dwell() -> None:
    state = play(PLAN, 0.5, 0.8, 600)
    assert rule(PLAN, state, now=50.0).action == "go_on"
    ruling = rule(PLAN, state, now=200.0)
    assert ruling.action == "adopt"
    assert ruling.gain.low > 0


def test_a_worse_challenger_is_dropped_before_the_dwell() -> None:
    ruling = rule(PLAN, play(PLAN, 0.9, 0.3, 200), now=1.0)
    assert ruling.action == "keep"
    assert ruling.guard is None


def test_too_small_a_gain_is_no_reason_to_change() -> None:
    plan = replace(PLAN, min_gain=0.2, max_requests=10_000)
    assert rule(plan, play(plan, 0.5, 0.5, 1500), now=200.0).action == "keep"


@pytest.mark.parametrize(
    ("worse", "guard"), [({"failed": 0.4}, "error rate"), ({"cost": 0.09}, "cost"), ({"latency": 60.0}, "p95 latency")]
)
def test_guards_stop_a_challenger_early(worse: dict[str, float], guard: str) -> None:
    ruling = rule(PLAN, play(PLAN, 0.7, 0.75, 150, **worse), now=1.0)
    assert (ruling.action, ruling.guard) == ("keep", guard)


def test_an_open_question_is_extended_within_bounds_and_then_given_up() -> None:
    plan = replace(PLAN, min_requests=20, max_requests=60, max_extensions=1)
    state = play(plan, 0.6, 0.6, 60)
    assert rule(plan, state, now=200.0).action == "extend"
    longer = extend(plan, state)
    assert rule(plan, longer, now=200.0).action == "go_on"
    assert rule(plan, longer, now=plan.max_s * 2 + 1).action == "inconclusive"
    with pytest.raises(BadExperiment):
        extend(plan, longer)


def test_requests_without_a_verdict_still_count_for_the_guards() -> None:
    state = begin(PLAN)
    for _ in range(300):
        state = observe(PLAN, state, "champion", Result(quality=None))
        state = observe(PLAN, state, "challenger", Result(quality=None, failed=True))
    assert state.sides["challenger"].quality.n == 0
    assert rule(PLAN, state, now=1.0).guard == "error rate"


def test_the_holdout_shows_what_an_adoption_is_worth_later() -> None:
    state = play(PLAN, 0.5, 0.8, 400)
    for at in range(400):
        state = observe(PLAN, state, "holdout", Result(quality=float(at % 2)))
    assert lasting_gain(state).low > 0


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), rate=st.floats(0.05, 0.95))
def test_peeking_at_equals_never_finds_a_difference_more_often_than_promised(seed: int, rate: float) -> None:
    # Twenty experiments without a difference, read after every result: at alpha 0.05 more than five "adopt" come by chance with a
    # probability below 0.0004, and the bound on which they rest is loose besides.
    plan = replace(PLAN, min_requests=1, min_dwell_s=0.0, max_requests=10**6)
    wrong = 0
    for run in range(20):
        rng = np.random.default_rng((seed, run))
        one, other = plan_means(plan)
        found = False
        for first, second in (rng.random((120, 2)) < rate).tolist():
            one, other = one.seen(float(first)), other.seen(float(second))
            found = found or other.low > one.high or one.low > other.high
        wrong += found
    assert wrong <= 5


def plan_means(plan: Plan) -> tuple[Mean, Mean]:
    sides = begin(plan).sides
    return sides["champion"].quality, sides["challenger"].quality


@pytest.mark.parametrize("rate", [0.02, 0.5, 0.9])
def test_a_sequence_covers_its_mean_at_all_times(rate: float) -> None:
    missed = 0
    for run in range(150):
        mean = Mean(alpha=0.1)
        bad = False
        for value in (np.random.default_rng(run).random(250) < rate).tolist():
            mean = mean.seen(float(value))
            bad = bad or not mean.low <= rate <= mean.high
        missed += bad
    assert missed <= 25
    assert mean.high - mean.low < 0.35


def test_the_asymptotic_radius_shrinks_and_is_wider_than_a_look_once() -> None:
    radii = [asymptotic_radius(n, 0.5, 0.05) for n in (10, 100, 1000, 10_000)]
    assert radii == sorted(radii, reverse=True)
    assert radii[2] > 1.96 * 0.5 / 1000**0.5
    assert asymptotic_radius(1, 0.5, 0.05) == float("inf")


# ── bad input, and the way through the ledger ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "bad",
    [
        {"share": 0.0},
        {"share": 0.95},
        {"alpha": 1.0},
        {"alpha": float("nan")},
        {"min_dwell_s": -1.0},
        {"max_requests": 5},
        {"challenger": "v1"},
        {"cost_cap_usd": 0.0},
    ],
)
def test_a_bad_plan_names_the_field(bad: dict[str, Any]) -> None:
    with pytest.raises(BadExperiment) as caught:
        replace(PLAN, **bad)
    assert caught.value.field == next(iter(bad))


@pytest.mark.parametrize(
    "bad", [Result(quality=1.5), Result(quality=0.5, cost_usd=-1), Result(quality=0.5, latency_s=float("nan"))]
)
def test_a_bad_result_changes_nothing(bad: Result) -> None:
    with pytest.raises(BadExperiment):
        observe(PLAN, begin(PLAN), "champion", bad)


def test_a_state_goes_on_after_a_kill() -> None:
    state = play(PLAN, 0.5, 0.8, 100)
    again = from_json(PLAN, json.loads(json.dumps(to_json(state))))
    assert again == state
    assert observe(PLAN, again, "champion", Result(quality=1.0)) == observe(PLAN, state, "champion", Result(quality=1.0))


@pytest.mark.parametrize("damage", [{}, {"sides": {}, "extensions": 0}, {"sides": None, "extensions": "x"}])
def test_a_damaged_state_is_refused(damage: dict[str, object]) -> None:
    with pytest.raises(BadExperiment):
        from_json(PLAN, damage)


def test_a_state_of_another_alpha_is_refused() -> None:
    with pytest.raises(BadExperiment):
        from_json(replace(PLAN, alpha=0.2), to_json(begin(PLAN)))


# ── shadow mode ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def logged(n: int, guess_error: float, seed: int = 4) -> tuple[list[Logged], float, float]:
    """A log of a policy that chooses arm 1 (worth 0.8) with 0.3, else arm 0 (worth 0.5); the challenger takes arm 1 with 0.9."""
    rng, rows = np.random.default_rng(seed), []
    worth = (0.5, 0.8)
    for _ in range(n):
        arm = int(rng.random() < 0.3)
        guesses = [each + guess_error for each in worth]
        rows.append(
            Logged(
                score=float(rng.random() < worth[arm]),
                propensity=(0.7, 0.3)[arm],
                target=(0.1, 0.9)[arm],
                guess=guesses[arm],
                target_guess=0.1 * guesses[0] + 0.9 * guesses[1],
            )
        )
    return rows, 0.1 * 0.5 + 0.9 * 0.8, 0.7 * 0.5 + 0.3 * 0.8


@pytest.mark.parametrize("guess_error", [0.0, -0.4, 0.5])
def test_a_challenger_is_scored_right_on_the_log_even_with_wrong_guesses(guess_error: float) -> None:
    rows, value, was = logged(3000, guess_error)
    found = doubly_robust(rows)
    assert found.value.low < value < found.value.high
    assert found.value.mean == pytest.approx(value, abs=0.06)
    assert found.gain.mean == pytest.approx(value - was, abs=0.06)
    assert found.gain.low > 0
    assert found.enough


def test_a_log_that_says_nothing_of_the_challenger_is_not_enough() -> None:
    rows = [Logged(score=1.0, propensity=0.99, target=0.0, guess=0.5, target_guess=0.9)] * 500
    assert not doubly_robust(rows).enough


def test_a_log_that_cannot_be_is_refused() -> None:
    row = Logged(score=1.0, propensity=0.5, target=0.5, guess=0.5, target_guess=0.5)
    for bad in ([], [replace(row, propensity=0.0)], [replace(row, score=float("nan"))], [replace(row, target=1.5)]):
        with pytest.raises(RoutingError):
            doubly_robust(bad)
