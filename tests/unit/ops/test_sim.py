"""The scripted month: its traffic as data, the leaping clock, the sums of a ledger, the picture."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ops.sim.clock import START, Leaping, day_of
from ops.sim.picture import draw
from ops.sim.script import Ask, Script, Traffic, moments, read, score
from ops.sim.sums import changes, effect, restless, weeks
from runtime.topology.outcomes import Outcomes, outcomes_of

DAY_S = 86_400.0


def a_script(**changed: Any) -> Script:
    kinds = [
        {"name": "early", "wordings": ["a {x}"], "rows": [{"x": [1, 2]}], "weights": [(0, 1), (2, 1), (4, 0)]},
        {"name": "late", "wordings": ["b {x}"], "rows": [{"x": 3}], "weights": [(2, 0), (4, 3)], "truth": {"n": "x"}, "told": 1},
    ]
    return Script.model_validate(
        {"days": 5, "requests_per_day": 10, "hours": [6, 12, 18], "decides_after_h": 1, "kinds": kinds} | changed
    )


# ── the script ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_kinds_begin_grow_and_fade() -> None:
    script = a_script()
    assert script.shares(0) == {"early": 1.0}
    assert script.shares(3) == {"early": 0.25, "late": 0.75}
    assert script.shares(4) == {"late": 1.0}
    assert script.shares(4.5) == {}
    assert Traffic(script, 1).asks(4.5, 10) == []


@given(st.integers(1, 300), st.integers(1, 40))
def test_the_bursts_of_a_day_come_to_its_requests(n: int, days: int) -> None:
    found = moments(a_script(requests_per_day=n), days)
    assert [day for day, _ in found] == sorted(day for day, _ in found)
    by_day = Counter({})
    for day, part in found:
        by_day[int(day)] += part
    assert by_day == dict.fromkeys(range(days), n)


def test_the_same_seed_asks_the_same_and_another_one_something_else() -> None:
    one, same, other = (Traffic(read(), seed).asks(9.0, 60) for seed in (3, 3, 4))
    assert one == same
    assert one != other
    assert len({ask.kind for ask in one}) >= 6


def test_requests_hold_their_values_and_what_is_right() -> None:
    asks = Traffic(a_script(), 1).asks(3, 200)
    assert {ask.body["prompt"] for ask in asks} == {"a 1", "a 2", "b 3"}
    assert all((ask.truth, ask.told) == ({"n": 3}, True) for ask in asks if ask.kind == "late")
    assert not any(ask.truth or ask.told for ask in asks if ask.kind == "early")


def test_what_is_asked_again_is_asked_word_for_word() -> None:
    kind = {"name": "k", "wordings": ["{x}"], "rows": [{"x": list(range(10_000))}], "weights": [(0, 1), (9, 1)], "again": 0.5}
    asks = Traffic(a_script(kinds=[kind]), 1).asks(1, 400)
    assert 150 < 400 - len({ask.body["prompt"] for ask in asks}) < 250


@pytest.mark.parametrize(
    ("truth", "text", "data", "said"),
    [
        ({}, "anything", None, None),
        ({"": "168"}, "The result is 168.", None, 1.0),
        ({"": "168"}, "It is 170", None, 0.0),
        ({"desk": "refunds"}, "", {"desk": "Refunds "}, 1.0),
        ({"desk": "refunds", "n": 4}, "", {"desk": "luggage", "n": 4}, 0.5),
        ({"desk": "refunds"}, "", ["refunds"], 0.0),
    ],
)
def test_a_client_says_how_much_of_an_answer_is_right(truth: Any, text: str, data: Any, said: float | None) -> None:
    assert score(Ask(kind="k", body={}, truth=truth, told=True), text, data) == said


@pytest.mark.parametrize(
    "wrong",
    [
        {"kinds": []},
        {"kinds": [{"name": "k", "wordings": ["{y}"], "rows": [{"x": 1}], "weights": [(0, 1), (1, 1)]}]},
        {"kinds": [{"name": "k", "wordings": ["x"], "weights": [(2, 1), (1, 1)]}]},
        {"kinds": [{"name": "k", "wordings": ["x"], "weights": [(0, 1), (1, 1)], "truth": {"f": "nowhere"}}]},
        {"events": [{"day": 1, "backend": "b"}]},
        {"events": [{"day": 2, "backend": "b", "fault": "500", "until": 1}]},
        {"surprise": 1},
    ],
)
def test_a_month_that_makes_no_sense_is_not_read(wrong: Any) -> None:
    with pytest.raises((ValidationError, KeyError)):
        a_script(**wrong)


# ── the clock ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.lists(st.floats(0, 400), max_size=20))
def test_the_clock_runs_leaps_and_is_never_set_back(days: list[float]) -> None:
    real = [5.0]
    clock = Leaping(now=lambda: real[0])
    assert clock.clock.wall() == START
    last = clock.clock.wall()
    for day in days:
        real[0] += 0.25
        clock.leap_to(day)
        assert clock.clock.wall() > last
        assert clock.day >= day - 1e-9
        last = clock.clock.wall()
        assert day_of(last) == pytest.approx(clock.clock.steady() / DAY_S)


# ── the sums ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def some_outcomes() -> Outcomes:
    days = [0.5, 1.0, 6.9, 7.1, 8.0]
    return outcomes_of(
        at=[START + day * DAY_S for day in days],
        ok=[True, True, False, True, True],
        score=[0.5, 1.0, None, None, 1.0],
        latency_s=[0.1, 0.3, 9.0, 0.2, 0.4],
        cost_usd=[0.01, 0.02, 0.0, 0.0, 0.03],
        labels={
            "node": ["generalist", "sums-1", "sums-1", None, "generalist"],
            "strategy": ["single", "single", "single", "library", "committee"],
        },
    )


def test_a_week_is_summed_from_its_own_outcomes() -> None:
    roles = {"generalist": "generalist", "sums-1": "specialist"}
    shape = [{"day": day, "live": live, "parked": 0} for day, live in enumerate([1, 2, 3, 3, 3, 3, 2, 2, 1])]
    spent = [0.0, 0.06] + [0.0] * 7
    first, second = weeks(some_outcomes(), days=9, shape=shape, roles=roles, spent_usd=spent)
    assert (first["week"], first["days"], first["requests"], first["live"], first["most_live"]) == (1, [1, 7], 3, 2, 3)
    assert first["answered"] == pytest.approx(2 / 3)
    assert first["cost_usd_per_request"] == pytest.approx(0.01)
    assert first["own_usd_per_request"] == pytest.approx(0.01)
    assert (first["quality"], first["judged"]) == (0.75, 2)
    assert first["latency_p50_s"] == pytest.approx(0.2)
    assert first["shares"]["specialists"] == pytest.approx(2 / 3)
    assert (second["days"], second["requests"], second["live"]) == ([8, 9], 2, 1)
    assert second["shares"] == {"library": 0.5, "specialists": 0.0, "committee": 0.5}


def test_a_week_without_requests_says_so_and_claims_nothing() -> None:
    third = weeks(some_outcomes(), days=21, shape=[], roles={}, spent_usd=[0.0] * 21)[2]
    assert (third["requests"], third["quality"], third["cost_usd_per_request"], third["live"]) == (0, None, None, None)


def a_proposal(day: float, **changed: Any) -> dict[str, Any]:
    said = {"metric": "quality", "baseline": 0.8, "expected": 0.9, "limit": 0.85, "units": "score"}
    told = {"measured": 0.88, "low": 0.8, "high": 0.95, "requests": 40, "verdict": "undecided"}
    return {
        "created_at": START + day * DAY_S,
        "updated_at": START + (day + 1) * DAY_S,
        "applied_at": START + (day + 0.5) * DAY_S,
        "kind": "spawn",
        "subject": "p1",
        "node": "sums-1",
        "origin": "rules",
        "status": "kept",
        "predictions": [said],
        "measured": [told],
        "reason": "r",
        "note": "n",
    } | changed


def test_changes_are_told_with_prediction_and_effect() -> None:
    late, early = a_proposal(4), a_proposal(2, measured=None, applied_at=None, status="rejected")
    first, second = changes([late, early])
    assert (first["day"], first["applied"], first["status"]) == (2.0, None, "rejected")
    assert effect(first) == "quality 0.8 → 0.9, not measured"
    assert (second["day"], second["applied"], second["ended"]) == (4.0, 4.5, 5.0)
    assert effect(second) == "quality 0.8 → 0.9, measured 0.88 (0.8 to 0.95, n=40)"
    assert effect(changes([a_proposal(1, predictions=[])])[0]) == "nothing predicted"


def test_what_is_changed_again_and_again_is_named() -> None:
    told = changes([a_proposal(day) for day in (1, 2, 3)] + [a_proposal(day, subject="p2") for day in (1, 2)])
    assert restless(told) == [{"kind": "spawn", "subject": "p1", "times": 3}]


def test_the_picture_says_that_it_is_simulated_and_holds_every_change(tmp_path: Path) -> None:
    shape = [{"day": 0, "live": 1, "parked": 0}]
    found = {
        "asked": {"k": 5},
        "days": 9,
        "seed": 1,
        "speed": 0.0,
        "shape": shape,
        "weeks": weeks(some_outcomes(), days=9, shape=shape, roles={}, spent_usd=[0.0] * 9),
        "events": [{"day": 3, "what": "b answers <500>"}],
        "changes": changes([a_proposal(2)]),
    }
    draw(tmp_path / "month.svg", found)
    drawn = (tmp_path / "month.svg").read_text()
    assert "SIMULATED month: 5 requests in 9 days" in drawn
    assert "spawn sums-1: quality 0.8 → 0.9, measured 0.88" in drawn
    assert "b answers &lt;500&gt;" in drawn
