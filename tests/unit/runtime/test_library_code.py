"""Stored code with other values: which parameters a request may change, what its checks are then, when that is not certain."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.programs import CodeUsed
from agents.quality.constraints import parse_constraints
from agents.records import Json, RequestId
from agents.strategies.retune import Uncertain, retuned
from registry.alignment import align
from registry.solution_records import Request as Asked
from registry.solution_records import Solution
from registry.trust import EntryTrust
from runtime.library.code import CodeRunner, certain, checks_for, checks_of, constraints_for, held, inputs_of, parameters_of
from runtime.records import Request
from sandbox.records import Limits, Problem, RunResult

WORDS = "Ages of members with a mean of 44 and a standard deviation of 11, 60% of them women, between 16 and 85"
READ: list[Json] = [
    {"field": "members[].age", "distribution": {"family": "normal", "mean": 44, "std": 11, "clip": [16, 85], "round": True}},
    {"field": "members[].sex", "ratios": {"women": 0.6, "men": 0.4}},
]
BASE = {"age": {"mean": 44, "std": 11.0, "low": 16, "high": 85}, "share": [0.6, 0.4], "strict": True, "field": "age"}
SHAPE = (
    '{"type":"object","required":["members"],"properties":{"members":{"type":"array","items":{"type":"object",'
    '"required":["age","sex"],"properties":{"age":{"type":"integer"},"sex":{"enum":["women","men"]}}}}}}'
)


def solution(words: str = WORDS, read: list[Json] | None = None, **checks: Any) -> Solution:
    used = CodeUsed(code="", parameters=BASE, count=300, constraints=parse_constraints(READ if read is None else read))
    named = Request(request_id=RequestId("r"), source="native", messages=(), schema={"type": "object"})
    found = replace(checks_for(used, named, simulated=True, backend="b"), words=False, **checks)
    return Solution(
        id="s",
        partition="p",
        tenant="t",
        kind="data",
        request=f"{words} (300 items)",
        answer={"data": {"members": []}},
        made_at=0.0,
        artifact="ages@1.0.0",
        parameters=parameters_of(used, words, count=300, max_count=10_000),
        checks=found.to_json(),
        trust=EntryTrust(variance=1.0),
    )


ASKED = Asked(text=WORDS, tenant="t", shape=SHAPE)


def lined_up(new: str, stored: Solution | None = None) -> Mapping[str, Any]:
    stored = stored or solution()
    found = align(stored.request, new, stored.parameters)
    assert found.covered, found.reason
    return found.values


def test_a_request_changes_the_values_wherever_they_stand() -> None:
    values = lined_up(
        "Ages of members with a mean of 51 and a standard deviation of 9.5, 70% of them women, between 16 and 90 (250 items)"
    )
    inputs = inputs_of(checks_of(solution()), values, seed=3)
    assert inputs["age"] == {"mean": 51, "std": 9.5, "low": 16, "high": 90}
    assert inputs["share"] == [pytest.approx(0.7), 0.4]
    assert (inputs["strict"], inputs["count"], inputs["seed"]) == (True, 250, 3)
    assert BASE["age"] == {"mean": 44, "std": 11.0, "low": 16, "high": 85}


def test_the_checks_go_with_the_values() -> None:
    stored = solution()
    values = lined_up(
        "Ages of members with a mean of 51 and a standard deviation of 9, 70% of them women, between 16 and 90 (250 items)"
    )
    ages, ratios = constraints_for(stored, checks_of(stored), values)
    assert (ages.value["mean"], ages.value["std"], ages.value["clip"]) == (51, 9, [16, 90])
    assert ratios.value["shares"] == {"women": pytest.approx(0.7), "men": pytest.approx(0.3)}
    assert ages.value["alpha"] == 0.01
    assert certain(stored, ASKED, values) == ""


@pytest.mark.parametrize(
    ("words", "read", "changes"),
    [
        ("a mean of 44", [{"field": "[].age", "range": [0, 99]}], [(44.0, 50.0)]),  # no check mentions it
        ("a mean of 1", [{"field": "[].x", "distribution": {"family": "exponential", "mean": 1}}], [(1.0, 2.0)]),  # 1 is anything
        ("40% red, a weight of 0.4", [{"field": "[].c", "ratios": {"red": 0.4, "blue": 0.6}}], [(40.0, 50.0)]),  # of which?
        ("30% red, 70% blue", [{"field": "[].c", "ratios": {"red": 0.3, "blue": 0.7}}], [(30.0, 40.0)]),  # and the other 70?
        ("from 20 to 60", [{"field": "[].x", "range": [20, 60]}], [(20.0, 80.0)]),  # makes no range
        ("the plan gold", [{"field": "[].plan", "enum": ["silver"]}], [("gold", "iron")]),
    ],
)
def test_what_is_not_certain_is_not_run(words: str, read: list[Json], changes: list[Any]) -> None:
    with pytest.raises(Uncertain):
        retuned(parse_constraints(read), changes, words)


def test_texts_change_with_their_parameter() -> None:
    (found,) = retuned(
        parse_constraints([{"field": "[].plan", "enum": ["gold", "iron"]}]), [("gold", "tin")], "plans gold and iron"
    )
    assert found.value == ["tin", "iron"]


@given(st.integers(2, 400).filter(lambda n: n not in (11, 16, 85)))
def test_an_unchanged_value_never_moves(mean: int) -> None:
    """Whatever the mean becomes, what the request did not change stands in the checks as it did."""
    try:
        found = retuned(parse_constraints(READ), [(44.0, float(mean))], WORDS)
    except Uncertain:
        return
    assert found[0].value["mean"] == mean
    assert found[0].value["clip"] == [16, 85]
    assert found[0].value["std"] == 11
    assert found[1].value["shares"]["women"] == pytest.approx(0.6)


def test_code_that_is_not_the_whole_answer_or_that_nothing_checks_is_not_run() -> None:
    values = {each.name: each.value for each in solution().parameters}
    assert "model wrote" in certain(_with(words=True), ASKED, values)
    assert "nothing checks" in certain(solution(read=[]), ASKED, values)


def _with(**checks: Any) -> Solution:
    stored = solution()
    return replace(stored, checks={**stored.checks, **checks})


# ── running ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


class FakeSandbox:
    """Gives ``result`` for every run, and remembers what it was asked."""

    def __init__(self, result: RunResult) -> None:
        self.result = result
        self.runs: list[tuple[str, Json]] = []

    async def run(self, code: str, inputs: Json = None, limits: Limits | None = None) -> RunResult:
        self.runs.append((code, inputs))
        return self.result


async def source(version: str) -> tuple[str, str] | None:
    return ("ages@1.0.1", "def run(inputs): ...") if version == "ages@1.0.0" else None


def run(sandbox: FakeSandbox, stored: Solution, **values: Any) -> Any:
    runner = CodeRunner(sandbox, source, Limits, seed=lambda: 77)
    return asyncio.run(runner.run(stored, values))


def test_a_run_gets_the_values_and_a_new_seed() -> None:
    sandbox = FakeSandbox(RunResult(value={"result": [1], "checks": {"held": True}}))
    assert run(sandbox, solution(), count=9).answer == {"data": [1]}
    ((code, inputs),) = sandbox.runs
    assert code == "def run(inputs): ..."
    assert (inputs["count"], inputs["seed"]) == (9, 77)
    run(sandbox, solution(), count=9, seed=5)
    assert sandbox.runs[1][1]["seed"] == 5


@pytest.mark.parametrize(
    "result",
    [
        RunResult(value={"result": [1], "checks": {"held": False}}),
        RunResult(value=[1]),
    ],
)
def test_a_program_that_says_it_failed_has_failed(result: RunResult) -> None:
    assert run(FakeSandbox(result), solution()).error


def test_what_ran_is_named_and_what_could_not_run_is_not() -> None:
    good, bad = RunResult(value={"result": [1], "checks": {"held": True}}, wall_s=0.25), RunResult(value=[1], wall_s=0.5)
    assert [(each.version, each.wall_s) for each in (run(FakeSandbox(good), solution()), run(FakeSandbox(bad), solution()))] == [
        ("ages@1.0.1", 0.25),
        ("ages@1.0.1", 0.5),
    ]
    away = run(FakeSandbox(RunResult(problem=Problem.UNAVAILABLE, error="no sandbox")), solution())
    assert (away.version, "no sandbox" in away.error) == ("", True)


def test_code_that_is_gone_or_parameters_that_do_not_fit_are_errors() -> None:
    sandbox = FakeSandbox(RunResult(value={}))
    assert "cannot be had" in run(sandbox, replace(solution(), artifact="gone@1.0.0")).error
    assert "do not fit" in run(sandbox, solution(), **{"nowhere/at": 4.0}).error
    assert sandbox.runs == []


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({"data": {"members": [{"age": 40, "sex": "men"}] * 3}}, "3"),
        ({"data": {"members": [{"age": "x", "sex": "men"}] * 300}}, "age"),
        ({"data": {"members": [{"age": 40, "sex": "men"}] * 300}}, "members[].age"),
        ({"text": "no data"}, "not data"),
    ],
)
def test_a_poisoned_answer_fails_its_checks(answer: Json, says: str) -> None:
    values = {each.name: each.value for each in solution().parameters}
    assert says in asyncio.run(held(solution(), ASKED, values, answer))
