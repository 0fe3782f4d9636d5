"""What generated routers may say, which of them may serve, and how their steps are changed."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.routing.generated import (
    DEAREST_IN_A_ROW,
    LEAST_SAMPLES,
    Advice,
    Answered,
    Conduct,
    Fault,
    Passed,
    check,
    offered,
    read,
)
from runtime.routing.records import Arm, RoutingError
from runtime.routing.steps import WHOLE, Edit, Step, as_parameters, compiled, edited, edits_of, of_version

CHEAP = Arm(strategy="single", node="n1", backend="cheap", usd_per_1m=1.0)
DEAR = Arm(strategy="single", node="n1", backend="dear", usd_per_1m=9.0)
BOTH = Arm(strategy="consensus", node="n1", backend="own")
ARMS = (CHEAP, DEAR, BOTH)
KNOWN = frozenset({"cheap", "dear", "own", "resting"})

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


def says(backend: str, confidence: float = 0.9, **more: Any) -> dict[str, Any]:
    return {"backend": backend, "confidence": confidence, **more}


def seen(value: Any) -> Advice | Passed | Fault:
    return read(value, ARMS, configured=KNOWN, least_confidence=0.5)


# ── what it says ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_arm_is_named_by_backend_and_where_it_matters_by_strategy() -> None:
    assert seen(says("dear", step="long", reason="many words")) == Advice(at=1, confidence=0.9, step="long", reason="many words")
    assert seen(says("own", strategy="consensus")) == Advice(at=2, confidence=0.9)


@pytest.mark.parametrize("value", [None, says("cheap", 0.49), says("resting")])
def test_silence_doubt_and_a_backend_that_rests_leave_it_to_the_learner(value: Any) -> None:
    assert isinstance(seen(value), Passed)


@pytest.mark.parametrize(
    ("value", "kind", "named"),
    [
        (says("gpt-nobody"), "unknown_arm", "gpt-nobody"),
        (says("cheap", strategy="consensus"), None, ""),
        ("cheap", "shape", ""),
        ({"backend": "cheap"}, "shape", "confidence"),
        (says("cheap", 1.5), "shape", "confidence"),
        (says("cheap", float("nan")), "shape", "confidence"),
        (says("cheap", True), "shape", "confidence"),
        (says("cheap", also=1), "shape", "also"),
        (says("cheap", reason="x" * 10_000), "shape", "reason"),
    ],
)
def test_what_is_no_decision_is_a_fault_that_names_the_field(value: Any, kind: str | None, named: str) -> None:
    found = seen(value)
    if kind is None:
        assert isinstance(found, Passed)  # the backend is there, that way of working is not: now
        return
    assert isinstance(found, Fault)
    assert (found.kind, named in found.why) == (kind, True)


@given(JSON)
def test_whatever_it_says_an_arm_that_is_not_open_is_never_taken(value: Any) -> None:
    found = seen(value)
    assert isinstance(found, Passed | Fault) or 0 <= found.at < len(ARMS)


def test_a_router_sees_each_backend_and_strategy_once() -> None:
    twin = Arm(strategy="single", node="n2", backend="cheap", usd_per_1m=1.0)
    assert [each["backend"] for each in offered((CHEAP, twin, DEAR))] == ["cheap", "dear"]


# ── before it serves ────────────────────────────────────────────────────────────────────────────────────────────────────


def answered(first: Any, again: Any = ..., fault: Fault | None = None, wall_s: float = 0.0003) -> Answered:
    return Answered(first=first, again=first if again is ... else again, fault=fault, wall_s=wall_s)


def checked(answers: list[Answered]) -> tuple[bool, str]:
    found = check(answers, [ARMS] * len(answers), configured=KNOWN, most_p50_ms=5.0)
    return found.good, " ".join(found.faults)


def test_a_router_that_keeps_to_the_contract_is_good() -> None:
    assert checked([answered(says("cheap"))] * 10 + [answered(says("dear"))] + [answered(None)]) == (True, "")


@pytest.mark.parametrize(
    ("answers", "word"),
    [
        ([answered(says("cheap"))] * (LEAST_SAMPLES - 1), "needed"),
        ([answered(says("dear"))] * 20, "dearest"),
        ([answered(None)] * 20, "decides on 0"),
        ([answered(says("cheap"))] * 19 + [answered(says("cheap"), says("dear"))], "not deterministic"),
        ([answered(says("cheap"))] * 19 + [answered(says("nobody"))], "unknown_arm"),
        ([answered(says("cheap"))] * 19 + [answered(None, fault=Fault(kind="timed_out", why="a loop"))], "timed_out"),
        ([answered(says("cheap"), wall_s=0.02)] * 20, "median"),
    ],
)
def test_each_sort_of_bad_router_is_refused_with_its_reason(answers: list[Answered], word: str) -> None:
    good, why = checked(answers)
    assert not good
    assert word in why


# ── while it serves ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_three_faults_among_fifty_calls_are_too_many_and_old_ones_are_forgiven() -> None:
    fault, fine = Fault(kind="raised", why="KeyError"), Advice(at=0, confidence=0.9)
    conduct = Conduct()
    for what in (fault, fault, fine):
        conduct = conduct.seen(what, ARMS)
    assert not conduct.unfit
    assert "KeyError" in conduct.seen(fault, ARMS).unfit
    for _ in range(60):
        conduct = conduct.seen(fine, ARMS)
    assert not conduct.seen(fault, ARMS).unfit
    assert (conduct.calls, conduct.decided, conduct.faults) == (63, 61, 2)


def test_nothing_but_the_dearest_is_noticed_in_service() -> None:
    conduct = Conduct()
    for _ in range(DEAREST_IN_A_ROW):
        assert not conduct.unfit
        conduct = conduct.seen(Advice(at=1, confidence=0.9), ARMS)
    assert "dearest" in conduct.unfit
    alike = (CHEAP, Arm(strategy="single", node="n", backend="b", usd_per_1m=1.0))
    assert not Conduct(dearest_in_a_row=150).seen(Advice(at=1, confidence=1.0), alike).unfit


# ── steps ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

SHORT = 'def step(request):\n    if request["words"] < 10:\n        return {"backend": "cheap", "confidence": 0.8}\n'
REST = 'LIMIT = 3\n\ndef step(request):\n    return {"backend": "dear", "confidence": 0.6}\n'
STEPS = (Step(name="short", source=SHORT), Step(name="rest", source=REST))


def edit(op: Any, name: str, **more: Any) -> Edit:
    return Edit(op=op, name=name, **more)


def names(steps: tuple[Step, ...]) -> list[str]:
    return [step.name for step in steps]


def test_a_graph_is_inserted_into_reordered_rewritten_and_pruned_by_edits() -> None:
    assert names(edited((), [edit("insert", "rest", source=REST)])) == ["rest"]
    assert names(edited(STEPS, [edit("insert", "new", before="rest", source=REST)])) == ["short", "new", "rest"]
    assert names(edited(STEPS, [edit("move", "short")])) == ["rest", "short"]
    assert names(edited(STEPS, [edit("remove", "short")])) == ["rest"]
    rewritten = edited(STEPS, [edit("rewrite", "short", source=REST, why="simpler")])
    assert rewritten[0] == Step(name="short", source=REST, why="simpler")
    assert rewritten[1] == STEPS[1]


@pytest.mark.parametrize(
    ("edits", "field"),
    [
        ([edit("insert", "short", source=REST)], "edits.0.name"),
        ([edit("rewrite", "nobody", source=REST)], "edits.0.name"),
        ([edit("remove", "nobody")], "edits.0.name"),
        ([edit("insert", "new", before="nobody", source=REST)], "edits.0.before"),
        ([edit("insert", "new")], "edits.0.source"),
        ([edit("insert", "new", source="def other(request): pass")], "edits.0.source"),
        ([edit("insert", "new", source="def step(request) return 1")], "edits.0.source"),
        ([edit("remove", "short"), edit("remove", "rest")], "edits"),
        ([edit("move", "rest")], "edits"),
    ],
)
def test_an_edit_that_cannot_be_made_is_refused_by_its_field(edits: list[Edit], field: str) -> None:
    with pytest.raises(RoutingError) as error:
        edited(STEPS, edits)
    assert error.value.field == field


@given(JSON)
def test_a_models_answer_is_edits_or_is_refused(data: Any) -> None:
    with suppress(RoutingError):
        assert 1 <= len(edits_of({"edits": data})) <= 4


def test_a_router_has_a_bounded_number_of_steps() -> None:
    many = tuple(Step(name=f"s{number}", source=REST) for number in range(16))
    with pytest.raises(RoutingError):
        edited(many, [edit("insert", "one_more", source=REST)])


def test_the_program_and_its_graph_belong_together() -> None:
    program = compiled(STEPS)
    assert of_version(program, as_parameters(STEPS)) == STEPS
    assert names(of_version(program + "\nX = 1\n", as_parameters(STEPS))) == [WHOLE]
    hand_made = 'def run(request):\n    return {"backend": "cheap", "confidence": 1.0}\n'
    (whole,) = of_version(hand_made, {})
    assert "def step(request)" in whole.source
    compiled((whole,))


def test_what_one_step_defines_no_other_sees() -> None:
    scope: dict[str, Any] = {}
    exec(compiled(STEPS), scope)
    assert "LIMIT" not in scope
    assert scope["run"]({"words": 3}) == {"backend": "cheap", "confidence": 0.8, "step": "short"}
    assert scope["run"]({"words": 30}) == {"backend": "dear", "confidence": 0.6, "step": "rest"}


def test_a_step_may_add_a_feature_for_those_after_it() -> None:
    adds = Step(name="adds", source='def step(request):\n    return {"features": {"long": request["words"] > 5}}\n')
    source = 'def step(request):\n    return {"backend": "b", "confidence": 1.0} if request["long"] else None\n'
    asks = Step(name="asks", source=source)
    scope: dict[str, Any] = {}
    exec(compiled((adds, asks)), scope)
    request = {"words": 9}
    assert scope["run"](request)["step"] == "asks"
    assert request == {"words": 9}
    assert scope["run"]({"words": 2}) is None
