"""Programs in a model's answer: what is one, and what is told of the others."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.records import Json
from agents.schema_check import ShapeLimits
from agents.shaping import parse_shape
from agents.strategies.givens import given_parameters, sketch
from agents.strategies.program import NoProgram, Problem, Program, judge_run, problem_of, read_program, with_given
from sandbox.records import RunResult
from tests.fakes.programs import AGES, ok, work


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Sure! The mean is 40.", "no ```python block"),
        ("```python\ndef run(inputs):\n  return (\n```\n```json\n{}\n```", "does not parse"),
        ("```python\ndef run(inputs): return 1\n```\n```json\n[1]\n```", "one JSON object"),
        ('```python\ndef run(inputs): return 1\n```\n```json\n{"a b": 1}\n```', "cannot be the name"),
        ("```python\ndef run(inputs):\n" + " #" * 40_000 + "\n return 1\n```\n```json\n{}\n```", "longer than"),
    ],
)
def test_what_is_no_program_is_told_to_its_author(text: str, words: str) -> None:
    with pytest.raises(NoProgram, match=words):
        read_program(text)


def test_what_the_constraints_say_is_given_under_names_where_the_program_reads_it() -> None:
    asked = work("Ages", [{"age": "integer", "plan": "string"}], 300, [{"field": "[].age", **AGES}])
    problem = problem_of(asked, None, asked.constraints)
    assert given_parameters(asked.constraints) == {"age_mean": 40, "age_std": 10, "age_low": 18, "age_high": 90}
    program = Program(
        code="def run(i):\n    return [i['age_mean'] + i['seed'], i['more']]\n", parameters={"more": 2, "age_mean": 7}
    )
    asking = replace(problem, constraints=asked.constraints)
    assert with_given(program, asking).parameters == {"more": 2, "age_mean": 40}, "our number is the checked one"


@pytest.mark.parametrize(
    ("code", "missing"),
    [
        ("def run(inputs):\n    return inputs['std'] + inputs['count']", "std"),
        ("def run(i):\n    def of():\n        return i['deep']\n    return of()", "deep"),
        ("def run(i):\n    return i['a'] if 'a' in i else 1", ""),
        ("def run(i):\n    i['a'] = 1\n    return i['a']", ""),
        ("def run(i):\n    other = {}\n    return other['a']", ""),
        ("def run():\n    return 1", ""),
    ],
)
def test_a_program_that_reads_what_nobody_gives_is_told_so_before_it_runs(code: str, missing: str) -> None:
    problem = problem_of(work("Compute it"), None, ())
    if not missing:
        assert with_given(Program(code=code, parameters={}), problem).parameters == {}
        return
    with pytest.raises(NoProgram, match=f"reads inputs\\['{missing}'\\]"):
        with_given(Program(code=code, parameters={}), problem)


@pytest.mark.parametrize(
    ("shape", "told"),
    [
        ({"users": [{"age": "integer", "name": "string"}]}, '{"users": [{"age": int, "name": str}, …]}'),
        ([{"plan": "free|paid", "v": "number"}], "[{\"plan\": 'free' | 'paid', \"v\": float}, …]"),
    ],
)
def test_a_form_in_terms_of_python(shape: Json, told: str) -> None:
    assert sketch(parse_shape(shape, limits=ShapeLimits())) == told


@pytest.mark.parametrize(
    ("checks", "failures"),
    [
        ({"size": True, "distribution": {"mean": 3}}, 0),
        ({"size": True, "range": False}, 1),
        ({"distribution": {"mean": 3}}, 1),
        ({"count": 3}, 1),
        ([True], 1),
    ],
)
def test_what_is_neither_true_nor_false_is_no_check(checks: Json, failures: int) -> None:
    problem = problem_of(work("Compute it"), None, ())
    judged = judge_run(problem, RunResult(value={"result": 3, "checks": checks}))
    assert (judged.value, len(judged.failures)) == (3, failures)


def test_a_bare_list_is_put_where_the_form_has_nothing_else() -> None:
    schema = {"type": "object", "properties": {"users": {"type": "array", "items": {"type": "integer"}}}, "required": ["users"]}
    problem = Problem(work=work("x"), layout=None, schema=schema, constraints=(), total=None)
    assert judge_run(problem, ok([1, 2])).value == {"users": [1, 2]}
    judged = judge_run(problem, ok(["x"]))
    assert judged.failures[-1] == 'the result must look like {"users": [int, …]}'


def test_the_count_that_a_model_repeats_is_no_parameter() -> None:
    text = '```json\n{"mean": 3, "count": 9, "seed": 1}\n```\n```python\ndef run(inputs): return 1\n```'
    assert read_program(text).parameters == {"mean": 3}


@given(st.text(max_size=400))
@settings(max_examples=100)
def test_any_text_is_a_program_or_told_why_not(text: str) -> None:
    with suppress(NoProgram):
        assert "def run(" in read_program(f"```python\n{text}\n```\n```json\n{{}}\n```").code


def test_a_program_without_parameters_is_one() -> None:
    assert read_program("```python\ndef run(inputs): return 1\n```").parameters == {}
