"""The report: measures of real rows, and None where nothing is known."""

from __future__ import annotations

from typing import Any

import pytest

from agents.llm.chat import BackendSpec
from runtime.cli.routes import committees_told
from runtime.report import adaptability, committees_of, cost_of, report

PREMIUM = BackendSpec(name="premium", input_usd_per_mtok=2.0, output_usd_per_mtok=10.0)
CHEAP = BackendSpec(name="cheap", input_usd_per_mtok=0.1, output_usd_per_mtok=0.5)


def sums(**other: Any) -> dict[str, Any]:
    outcomes = {"finished": 0, "ok": 0, "partial": 0, "cancelled": 0, "errors": 0, "cost_usd": 0.0, "simulated": 0}
    empty: dict[str, Any] = {
        "outcomes": outcomes,
        "quality": [],
        "feedback": {"given": 0, "score": None, "good": 0},
        "ways": [],
        "latencies_s": [],
        "tokens": [],
        "hit": {"hit": 0, "answered": 0},
        "committees": [],
    }
    return {**empty, **other}


def rows(backends: list[tuple[str, float]]) -> list[dict[str, Any]]:
    return [{"backend": name, "score": score, "at": float(at)} for at, (name, score) in enumerate(backends)]


def test_of_an_empty_window_nothing_is_known_and_nothing_guessed() -> None:
    found = report(sums(), [], (), since=0.0, until=1.0)
    assert found["quality"]["score"] is None
    assert found["satisfaction"]["score"] is None
    assert found["cost"]["saved_share"] is None
    assert found["latency_s"]["p95"] is None
    assert found["adaptability"]["requests_to_recover"] is None
    assert set(found["ways"]["shares"].values()) == {None}


def test_money_saved_is_against_the_same_tokens_at_the_dearest() -> None:
    tokens = [{"prompt_tokens": 1_000_000, "completion_tokens": 1_000_000, "cost_usd": 0.6}]
    found = cost_of(tokens, [CHEAP, PREMIUM])
    assert (found["premium"], found["premium_usd"], found["saved_usd"]) == ("premium", 12.0, 11.4)
    assert found["saved_share"] == pytest.approx(0.95)


def test_ways_and_quality_are_shares_of_what_was_answered() -> None:
    ways = [
        {"strategy": "single", "answers": 6},
        {"strategy": "consensus", "answers": 2},
        {"strategy": "library", "answers": 1},
        {"strategy": "pipeline", "answers": 1},
    ]
    quality = [
        {"source": "checks", "answers": 3, "score": 1.0},
        {"source": "feedback", "answers": 1, "score": 0.0},
        {"source": "none", "answers": 50, "score": 1.0},
    ]
    found = report(sums(ways=ways, quality=quality), [], (), since=0.0, until=1.0)
    assert found["ways"]["shares"] == {"library": 0.1, "single": 0.6, "committee": 0.2, "full": 0.1}
    assert (found["quality"]["judged"], found["quality"]["score"]) == (4, 0.75)


def compared(outcome: str, count: int, **more: Any) -> dict[str, Any]:
    empty = {"committee_usd": 0.4, "other_usd": 0.1, "judge_usd": 0.05, "committee_s": 6.0, "other_s": 2.0, "simulated": 0}
    return {"outcome": outcome, "compared": count, **empty, **more}


def test_committees_are_held_against_the_best_other_way() -> None:
    ways = [{"strategy": "committee", "answers": 40}]
    some = [compared("won", 2), compared("lost", 6), compared("tied", 2), compared("none", 1, other_usd=0.0)]
    found = committees_of(some, ways)
    assert (found["answers"], found["compared"], found["won"], found["lost"], found["tied"]) == (40, 10, 2, 6, 2)
    assert (found["won_share"], found["verdict"], found["not_compared"]) == (0.3, "worse", 1)
    assert found["cost_ratio"] == pytest.approx(4.0)
    assert found["latency_ratio"] == pytest.approx(3.0)
    assert committees_of([compared("won", 9), compared("lost", 1)], ways)["verdict"] == "better"
    assert committees_of([compared("won", 5), compared("lost", 5)], ways)["verdict"] == "as good"
    assert committees_of([compared("won", 4)], ways)["verdict"] == "too few comparisons"
    nothing = committees_of([], [])
    assert (nothing["won_share"], nothing["cost_ratio"], nothing["simulated"]) == (None, None, False)
    line = committees_told(found)
    assert "2 better, 2 as good, 6 worse (worse), at 4.0 times the cost and 3.0 times the time" in line


def test_a_favourite_that_turns_bad_is_counted_until_traffic_has_left_it() -> None:
    steady = [("a", 0.9)] * 40
    assert adaptability(rows(steady))["drifts"] == 0
    fell = [*steady, *[("a", 0.0)] * 9, *[("b", 0.8)] * 60]
    found = adaptability(rows(fell))
    assert (found["drifts"], found["open"]) == (1, 0)
    assert found["requests_to_recover"] <= 9
    stuck = adaptability(rows([*steady, *[("a", 0.0)] * 60]))
    assert (stuck["drifts"], stuck["open"], stuck["requests_to_recover"]) == (1, 1, None)
