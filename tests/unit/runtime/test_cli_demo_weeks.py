"""The demo's weeks: their traffic, and what is said of the changes that came about, or did not."""

from __future__ import annotations

import tomllib
from collections import Counter
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from runtime.api.native_models import NativeRequest
from runtime.cli import demo_change, demo_life
from runtime.cli.demo_change import Heard, Sight, came, came_about, comparison, figures, heard_of, missing, moves
from runtime.cli.demo_weeks import WINDOW, cast_of, weeks, window_of
from runtime.config.settings import Settings

Json = Any
ONE = Heard(kind="revenue", open=True, node="generalist", strategy="single", score=0.5, latency_s=0.2, cost_usd=0.002)
GIVEN = replace(ONE, node="", strategy="library", library=True, score=1.0, latency_s=0.01, cost_usd=0.0)
MET = replace(ONE, kind="plan", strategy="committee", score=1.0, cost_usd=0.03)
LAWYER: Json = {"name": "lawyer", "role": "specialist", "desired": "live", "patterns": ["p1"]}


def case(kind: str = "spawn", status: str = "kept", **more: Json) -> Json:
    promise = {"metric": "quality", "baseline": 0.5, "expected": 1.0, "units": "score"}
    measured = {"measured": 0.9, "requests": 12}
    known = {
        "kind": kind,
        "status": status,
        "node": "lawyer",
        "subject": "p1",
        "origin": "rules",
        "reason": "because",
        "steps": [],
    }
    known |= {"note": "the note", "predictions": [promise], "measured": [{**promise, **measured}]}
    told = ("proposed", "approved", "applying", "verifying", "verifying", status)
    decisions = [{"became": became, "who": "policy", "why": "why"} for became in told]
    return {**known, "decisions": decisions, **more}


def sight(**more: Any) -> Sight:
    known: dict[str, Any] = {"heard": [], "patterns": [], "cases": [], "shape": {"nodes": [LAWYER]}}
    return Sight(**{**known, **more})


def test_every_week_asks_a_window_in_its_parts_and_each_body_is_a_request() -> None:
    for week in weeks():
        asked = window_of(
            week.mix, Random(1), names={"desk": "second", "specialist": "first"}, cast=cast_of(["readings", "parcels"])
        )
        assert len(asked) == WINDOW
        assert len(Counter(each.kind for each in asked)) == len({kind.partition(" ")[0] for kind in week.mix})
        for each in asked:
            NativeRequest.model_validate(dict(each.body))
    assert [week.number for week in weeks()] == [*range(1, 9)]
    assert all(week.least <= week.most for week in weeks())


def test_the_traffic_is_the_same_each_time_and_names_only_nodes_that_are_there() -> None:
    mix = {"revenue at the desk": 1, "revenue": 1}
    assert window_of(mix, Random(5), names={}, cast={}) == window_of(mix, Random(5), names={}, cast={})
    assert {each.body.get("model") for each in window_of(mix, Random(5), names={}, cast={})} == {None}
    named = Counter(each.body.get("model") for each in window_of(mix, Random(5), names={"desk": "second"}, cast={}))
    assert named == {None: WINDOW // 2, "node/second": WINDOW // 2}


def test_kinds_without_a_specialist_play_no_part_that_needs_one() -> None:
    cast = cast_of(["hours", "readings", "revenue"])
    assert cast == {"revenue": "readings", "parcels": "revenue", "readings": "parcels"}
    asked = window_of({"revenue at the desk": 1}, Random(5), names={"desk": "second"}, cast=cast)
    assert {(each.kind, each.body["model"]) for each in asked} == {("readings", "node/second")}
    assert cast_of(()) == {kind: kind for kind in cast}


def test_the_act_configures_its_daemon_and_opens_no_back_door() -> None:
    settings = Settings.model_validate(tomllib.loads(demo_life.config()))
    rules = settings.topology.approval
    assert (rules.spawn, rules.merge, rules.prune, rules.rewire) == ("auto", "auto", "auto", "operator")
    assert settings.observe.every_requests == WINDOW
    assert {backend.kind for backend in settings.backends} == {"simulated"}


def test_a_reply_is_heard_as_the_client_saw_it() -> None:
    reply = {"id": "r", "status": "partial", "strategy": "single", "node": "n", "verdict": {"score": 0.5}, "cost_usd": 0.1}
    heard = heard_of("revenue", {"model": "node/n"}, reply, 0.3)
    assert (heard.open, heard.problem, heard.score, heard.node, heard.library) == (False, "", 0.5, "n", False)
    assert heard_of("revenue", {}, {**reply, "strategy": "library", "verdict": None}, 0.3).node == ""
    assert heard_of("revenue", {}, {**reply, "status": "failed"}, 0.3).problem == "it ended as failed"


def test_figures_leave_out_what_failed() -> None:
    seen = figures([ONE, ONE, GIVEN, replace(ONE, problem="boom", cost_usd=9.0)])
    assert (seen.requests, seen.failed) == (4, 1)
    assert seen.cost_usd == pytest.approx(0.004 / 3)
    assert seen.quality == pytest.approx(2 / 3)
    assert seen.library == pytest.approx(1 / 3)
    assert figures([]).quality is None
    assert "1 FAILED" in came([ONE, replace(ONE, problem="boom")])


@pytest.mark.parametrize(
    ("what", "there"),
    [
        ("patterns", {"patterns": [{"state": "found", "name": name, "share": 0.3} for name in "abc"]}),
        ("spawned", {"cases": [case(), case(node="cook"), case(node="poet", status="verifying")]}),
        ("written", {"routines": frozenset({"p1"})}),
        ("routine", {"heard": [replace(ONE, node="lawyer")] * 5}),
        ("committee", {"heard": [MET]}),
        ("parked", {"cases": [case("park", "verifying")]}),
        ("merged", {"cases": [case("merge", "verifying")]}),
        ("merge kept", {"cases": [case("merge")]}),
        ("kept", {"cases": [case(), case(node="cook")]}),
        ("pruned", {"cases": [case("prune")]}),
    ],
)
def test_what_came_about_is_said_with_names_and_what_did_not_is_missing(what: str, there: dict[str, Any]) -> None:
    assert came_about(what, sight()) == ""
    assert came_about(what, sight(**there)) != ""
    assert missing(what).endswith("did not come about")


@pytest.mark.parametrize(
    ("what", "there"),
    [
        ("spawned", {"cases": [case(origin="operator")] * 3}),
        ("spawned", {"cases": [case(status="rolled_back")] * 3}),
        ("routine", {"heard": [replace(ONE, node="lawyer", open=False)] * 5}),
        ("routine", {"heard": [ONE] * 5}),
        ("committee", {"heard": [replace(MET, problem="boom")]}),
        ("merge kept", {"cases": [case("merge", "verifying")]}),
        ("pruned", {"cases": [case("prune", "rolled_back")]}),
        ("kept", {"cases": [case(), case(status="rolled_back"), case(origin="operator")]}),
    ],
)
def test_an_operators_wish_a_named_node_and_what_was_taken_back_do_not_count(what: str, there: dict[str, Any]) -> None:
    assert came_about(what, sight(**there)) == ""


def test_every_week_expects_what_can_be_looked_for() -> None:
    assert all(missing(what) for week in weeks() for what in week.expects)


def test_moves_are_told_once_and_a_longer_probation_is_no_news() -> None:
    told = list(moves(case(), 0))
    assert [what for what, _ in told] == ["proposed", "decided", "carried out", "kept"]
    assert "quality was 0.5, predicted 1, measured 0.9 score over 12 requests" in told[-1][1]
    assert list(moves(case(), 6)) == []
    assert [what for what, _ in moves(case(status="rolled_back"), 5)] == ["taken back"]
    assert demo_change.measured(case(measured=None)) == "the note"


def test_the_last_table_keeps_committees_apart() -> None:
    rows = {row[0]: row[1:] for row in comparison([ONE, ONE], [GIVEN, ONE, MET], (1, 4, 3))}
    assert rows["live nodes"] == ("1", "3 (at most 4 on the way)")
    assert rows["cost of an everyday request"] == ("$0.0020", "$0.0010")
    assert rows["answered by the library"] == ("0%", "50%")
    assert rows["hard requests, by committees"] == ("none", "1, $0.030 each")


def test_a_week_in_which_nothing_changes_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon that answers and proposes nothing: the demo says what is missing and goes on."""

    class Idle:
        def __enter__(self) -> Idle:
            return self

        def __exit__(self, *error: object) -> None: ...

        def post(self, path: str, body: Json, **more: Any) -> Json:
            return {"id": "r", "status": "done", "strategy": "single", "node": "generalist", "simulated": True}

        def get(self, path: str, **more: Any) -> Json:
            return {"data": [], "nodes": [], "live": 1}

    said: list[tuple[str, str]] = []
    monkeypatch.setattr(demo_life, "SETTLE_S", 0.0)
    client: Any = Idle()
    problems = demo_life.Life(clients=[client, client], say=lambda what, words: said.append((what, words))).live(client)
    wanted = [what for week in weeks() for what in week.expects]
    assert len(problems) == len(wanted)
    assert "week 8: the end of a node that nobody needs did not come about" in problems
    assert [what for what, _ in said].count("came") == len(weeks())
