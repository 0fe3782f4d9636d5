"""Experiments with router settings: shadow first, one at a time, gone on with after a kill, ended by a ruling."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from runtime.config.routing import RoutingSettings
from runtime.learner import shadow
from runtime.learner.policy import weights_of
from runtime.learner.records import DecisionRow, Route
from runtime.learner.trials import ExperimentBusy, Trials
from runtime.learner.tuning import changed
from runtime.routing.experiment import BadExperiment
from runtime.routing.records import Arm, Candidate, Decision, RoutingError
from tests.fakes.routing import MemoryBook, MemoryTrials

CHEAP, DEAR = ("single", "n", "cheap"), ("single", "n", "dear")
FAST = {"min_requests": 30, "min_dwell_s": 0.0, "max_requests": 2000}


def logged(n: int, *, cheap: float, dear: float, seed: int = 1, at: float = 0.0) -> MemoryBook:
    """``n`` fair choices between a cheap arm and one that costs 5 cents more."""
    rng, book = np.random.default_rng(seed), MemoryBook()
    for number in range(n):
        arm, true = (CHEAP, cheap) if rng.random() < 0.5 else (DEAR, dear)
        book.rows.append(
            DecisionRow(
                decision_id=f"d{number}",
                request_id=f"r{number}",
                at=at,
                strategy=arm[0],
                node=arm[1],
                backend=arm[2],
                propensity=0.5,
                way="drawn",
                reason="",
                per_usd=0.0,
                regret=0.0,
                candidates=[
                    [*CHEAP, cheap, cheap - 0.05, cheap + 0.05, 0.001, 1.0, cheap, 0.5, 20.0],
                    [*DEAR, dear, dear - 0.05, dear + 0.05, 0.051, 1.0, dear, 0.5, 20.0],
                ],
                status="ok",
                served_by=arm[2],
                cost_usd=0.001 if arm is CHEAP else 0.051,
                latency_s=1.0,
            )
        )
        score = float(rng.random() < true)
        book.heard(f"d{number}", score=score, weight=1.0, source="feedback")
    return book


def trials(book: MemoryBook | None = None, kept: MemoryTrials | None = None, **settings: Any) -> Trials:
    return Trials(
        book=kept or MemoryTrials(),
        decisions=book or MemoryBook(),
        settings=lambda: RoutingSettings(**settings),
        wall=lambda: 1000.0,
    )


def route(experiment_id: str | None, group: Any, name: str) -> Route:
    arm = Arm(strategy="single", node="n", backend="cheap")
    candidate = Candidate(
        arm=arm, quality=0.5, low=0.4, high=0.6, cost_usd=None, latency_s=None, utility=0.5, share=1.0, seen=1.0
    )
    decision = Decision(
        decision_id=name, arm=arm, propensity=1.0, way="best", reason="", at=0.0, candidates=(candidate,), per_usd=0.0
    )
    return Route(decision=decision, backend="cheap", strategy=None, nodes=("n",), experiment_id=experiment_id, group=group)


def live(each: Trials, n: int, good: dict[str, float], *, seed: int = 5, late: bool = False) -> None:
    """``n`` conversations, whose answers are as good as their side's settings."""
    rng = np.random.default_rng(seed)
    for number in range(n):
        name, group, _ = each.side(f"talk{seed}-{number}")
        score = float(rng.random() < good[group])
        told = route(name, group, f"x{seed}-{number}")
        each.ended(told, score=None if late else score, failed=False, cost_usd=0.001, latency_s=1.0)
        if late:
            each.heard(told.decision.decision_id, score)


def test_the_log_says_beforehand_what_other_settings_would_have_done() -> None:
    rows = asyncio.run(logged(400, cheap=0.9, dear=0.9).newest(since=0.0, limit=1000))
    spender, saver = RoutingSettings(cost_weight=0.0), RoutingSettings(cost_weight=5.0)
    assert shadow.shares(rows[0]["candidates"], saver, seed=1)[0] > 0.9
    found = shadow.score(rows, replace_weight(5.0), saver)
    assert found is not None
    assert found.enough
    assert found.gain.mean > 0.05, "it saves five cents in half of the requests, at 5 points a dollar"
    assert shadow.score(rows, spender, spender) is not None


def replace_weight(cost_weight: float) -> RoutingSettings:
    return RoutingSettings(cost_weight=cost_weight, latency_weight=0.0)


def test_a_challenger_that_the_log_proves_worse_never_touches_a_request() -> None:
    each = trials(logged(1500, cheap=0.1, dear=0.95), cost_weight=0.0, latency_weight=0.0)
    trial = asyncio.run(each.start({"cost_weight": 1000.0}, **FAST))
    assert trial.stage == "over"
    assert "worse on logged decisions" in trial.note
    assert each.side("anyone")[0] is None


def test_without_a_log_it_waits_in_the_shadow() -> None:
    each = trials()
    assert asyncio.run(each.start({"exploration_floor": 0.1}, **FAST)).stage == "shadow"
    assert each.side("anyone") == (None, "champion", RoutingSettings())


@pytest.mark.parametrize("late", [False, True])
def test_a_better_challenger_is_ruled_to_be_adopted_and_its_side_never_changes(late: bool) -> None:
    each = trials(logged(400, cheap=0.5, dear=0.5))
    trial = asyncio.run(each.start({"cost_weight": 3.0}, **FAST))
    assert trial.stage == "live"
    sides = {name: each.side(name)[1] for name in ("a", "b", "c", "d", "e", "f")}
    live(each, 4000, {"champion": 0.4, "challenger": 0.9, "holdout": 0.4}, late=late)
    assert {name: each.side(name)[1] for name in sides} == sides
    asyncio.run(each.tick())
    assert each.trial is not None
    assert (each.trial.stage, each.trial.note[:6]) == ("won", "adopt:")
    assert each.side("a")[0] is None, "nobody is served by it before it is approved"
    won = asyncio.run(each.won())
    assert won is not None
    assert won["experiment_id"] == each.trial.plan.experiment_id


def test_a_challenger_that_fails_is_stopped_early() -> None:
    each = trials(logged(400, cheap=0.5, dear=0.5))
    asyncio.run(each.start({"cost_weight": 3.0}, min_requests=100_000, max_requests=200_000))
    for number in range(3000):
        name, group, _ = each.side(f"talk{number}")
        bad = group == "challenger"
        each.ended(route(name, group, f"x{number}"), score=None, failed=bad, cost_usd=0.0, latency_s=1.0)
    asyncio.run(each.tick())
    assert each.trial is not None
    assert each.trial.stage == "over"
    assert "error rate" in each.trial.note


def test_a_kill_in_the_middle_goes_on_from_where_it_was() -> None:
    kept, book = MemoryTrials(), logged(400, cheap=0.5, dear=0.5)
    before = trials(book, kept)
    asyncio.run(before.start({"cost_weight": 3.0}, min_requests=100_000, max_requests=200_000))
    live(before, 500, {"champion": 0.5, "challenger": 0.5, "holdout": 0.5})
    asyncio.run(before.tick())
    sides = [before.side(f"u{n}")[1] for n in range(50)]
    after = trials(book, kept)
    asyncio.run(after.load())
    assert after.trial is not None
    assert before.trial is not None
    assert after.trial.state == before.trial.state
    assert [after.side(f"u{n}")[1] for n in range(50)] == sides
    live(after, 10, {"champion": 0.5, "challenger": 0.5, "holdout": 0.5}, seed=9)
    assert sum(side.requests for side in after.trial.state.sides.values()) == 510, "it goes on, it does not begin anew"
    asyncio.run(after.stop(after.trial.plan.experiment_id, "enough"))
    assert after.side("u1")[0] is None


def test_two_at_once_are_refused_and_so_is_what_is_no_setting() -> None:
    each = trials()
    asyncio.run(each.start({"cost_weight": 3.0}))
    with pytest.raises(ExperimentBusy):
        asyncio.run(each.start({"cost_weight": 4.0}))
    for wrong, field in (
        ({"enabled": 0.0}, "changes.enabled"),
        ({"exploration_floor": 7.0}, "changes.exploration_floor"),
        ({"cost_weight": None}, "changes"),
        ({}, "changes"),
    ):
        with pytest.raises(RoutingError) as caught:
            changed(RoutingSettings(), wrong)
        assert caught.value.field == field
    with pytest.raises(BadExperiment):
        asyncio.run(trials().start({"cost_weight": 3.0}, share=0.9, holdout=0.5))


def test_a_stored_experiment_that_cannot_be_read_stops_nobody() -> None:
    kept = MemoryTrials()
    asyncio.run(kept.save({"experiment_id": "e", "stage": "live", "plan": {"nonsense": 1}, "changes": {"cost_weight": 3.0}}))
    each = trials(kept=kept)
    asyncio.run(each.load())
    assert each.trial is None


def test_worth_is_the_same_measure_for_both_sides() -> None:
    weights = replace(weights_of(RoutingSettings(cost_weight=10.0, latency_weight=0.0), {}))
    assert shadow.worth(0.8, 0.02, 3.0, weights) == pytest.approx(0.6)
    assert shadow.worth(0.1, 1.0, 3.0, weights) == 0.0
