"""The simulated pool as one that writes programs: what it reads in plain words, what its programs do, its mistakes."""

from __future__ import annotations

import ast
from random import Random
from typing import Any

import orjson
import pytest

from agents.llm.chat import ChatRequest
from agents.llm.prompts import render
from agents.llm.simulated.answers import answer
from agents.llm.simulated.conditions import Field, conditions
from agents.llm.simulated.datacode import spoiled, write_program
from agents.llm.simulated.profiles import PROFILES
from agents.llm.simulated.reading import Reading
from agents.programs import Candidate, CodeFound
from agents.quality.constraints import parse_constraints
from agents.records import Json, Work
from agents.schema_check import ShapeLimits
from agents.shaping import parse_shape, with_count
from agents.strategies.problem import layout_of
from agents.strategies.program import Program, problem_of, read_program, repair_request, write_request

PEOPLE = (
    Field(path="p[].height_cm", kind="number"),
    Field(path="p[].weight", kind="number"),
    Field(path="p[].steps", kind="integer"),
    Field(path="p[].team", kind="string"),
    Field(path="p[].level", kind="string", options=("low", "high")),
)


@pytest.mark.parametrize(
    ("words", "entry"),
    [
        (
            "Heights in cm are normally distributed with a mean of 171 and a standard deviation of 7.5",
            {"field": "p[].height_cm", "distribution": {"family": "normal", "mean": 171.0, "std": 7.5}},
        ),
        (
            "Steps: Gaussian, average 8,000, std 1500, between 1000 and 20k",
            {
                "field": "p[].steps",
                "distribution": {"family": "normal", "mean": 8000.0, "std": 1500.0, "clip": [1000.0, 20000.0], "round": True},
            },
        ),
        (
            "weight is log-normal with a median of 70 and sigma 0.2",
            {"field": "p[].weight", "distribution": {"family": "lognormal", "median": 70.0, "sigma": 0.2}},
        ),
        (
            "weight is uniformly distributed between 50 and 90",
            {"field": "p[].weight", "distribution": {"family": "uniform", "low": 50.0, "high": 90.0}},
        ),
        (
            "weight has two peaks at 55 and 82 with standard deviations 4 and 6",
            {
                "field": "p[].weight",
                "distribution": {
                    "family": "bimodal",
                    "components": [{"mean": 55.0, "std": 4.0, "weight": 0.5}, {"mean": 82.0, "std": 6.0, "weight": 0.5}],
                },
            },
        ),
        (
            "weight correlates with height with r² above 0.6",
            {"fields": ["p[].weight", "p[].height_cm"], "correlation": {"r2_at_least": 0.6}},
        ),
        (
            "Steps correlate negatively with weight: correlation of at least 0.4",
            {"fields": ["p[].steps", "p[].weight"], "correlation": {"r": [-1.0, -0.4]}},
        ),
        ("60% red, 25% blue and 15% green in team", {"field": "p[].team", "ratios": {"red": 0.6, "blue": 0.25, "green": 0.15}}),
        ("30% are high and 70% are low", {"field": "p[].level", "ratios": {"high": 0.3, "low": 0.7}}),
        ("the steps add up to 100,000", {"field": "p[].steps", "sum": 100000.0}),
        ("with strictly increasing steps", {"field": "p[].steps", "monotonic": "strictly_increasing"}),
        ("teams are unique", {"field": "p[].team", "unique": True}),
        ("weight from 40 to 120", {"field": "p[].weight", "range": [40.0, 120.0]}),
    ],
)
def test_conditions_in_plain_words(words: str, entry: Json) -> None:
    assert conditions(PEOPLE, words) == [entry]
    assert parse_constraints([entry])


def test_nothing_is_read_where_nothing_is_said() -> None:
    assert conditions(PEOPLE, "Some nice people with a height and a weight, please") == []


def _problem(constraints: list[Json], fields: Json = None) -> Any:
    shape = {"p": [fields or {"weight": "number", "team": "string"}]}
    schema = with_count(parse_shape(shape, limits=ShapeLimits()), 50)
    work = Work(messages=({"role": "user", "content": "Fifty people"},), schema=schema)
    read = parse_constraints(constraints)
    return problem_of(work, layout_of(schema, read), read)


def _reading(request: ChatRequest) -> Reading:
    return Reading(request.messages, request.schema, request.schema_name if request.schema is not None else "")


WEIGHT = {"field": "p[].weight", "distribution": {"family": "gamma", "shape": 3, "scale": 8}}


def test_a_program_follows_the_question() -> None:
    request = write_request(_problem([WEIGHT]))
    program = read_program(answer(_reading(request), PROFILES["validator"], 3).text)
    assert program.parameters == {"weight_shape": 3.0, "weight_scale": 8.0}
    assert "rng.gamma(" in program.code
    assert "team" not in program.code, "words are somebody else's"
    shares = write_request(_problem([{"field": "p[].team", "ratios": {"x": 0.4, "y": 0.6}}]))
    assert read_program(answer(_reading(shares), PROFILES["validator"], 3).text).parameters["team_shares"] == {"x": 0.4, "y": 0.6}


def test_weak_models_are_wrong_in_usual_ways_and_learn_from_a_failing_check() -> None:
    problem = _problem([WEIGHT])
    reading = _reading(write_request(problem))
    right = write_program(reading, 1.0, Random(1))
    wrong = [write_program(reading, 0.0, Random(seed)) for seed in range(20)]
    assert right not in wrong
    assert len(set(wrong)) > 2
    for text in wrong:
        ast.parse(read_program(text).code)
    told = _reading(repair_request(problem, wrong[0], ["the mean is wrong"]))
    repaired = [write_program(told, 0.0, Random(seed)) == right for seed in range(60)]
    assert 20 < sum(repaired) < 50


def test_the_pool_takes_up_programs_that_it_is_shown() -> None:
    problem = _problem([{"field": "p[].weight", "distribution": {"family": "exponential", "mean": 4}}])
    own = read_program(write_program(_reading(write_request(problem)), 1.0, Random(1)))
    other = _problem([{"field": "p[].weight", "distribution": {"family": "exponential", "mean": 9}}])

    def shown(*codes: str) -> CodeFound:
        return CodeFound(
            candidates=tuple(
                Candidate(version=f"c{n}@1.0.0", code=code, parameters={}, author="x") for n, code in enumerate(codes)
            )
        )

    found = shown("def run(inputs):\n    return 1\n", own.code)
    used = read_program(write_program(_reading(write_request(other, found=found)), 1.0, Random(1)), found)
    assert (used.how, used.artifact, used.parameters) == ("used", "c1@1.0.0", {"weight_mean": 9.0})
    near = shown(own.code.replace("exponential", "standard_exponential"), "def run(inputs):\n    return 1\n")
    changed = read_program(write_program(_reading(write_request(other, found=near)), 1.0, Random(1)), near)
    assert (changed.how, changed.artifact, changed.code) == ("modified", "c0@1.0.0", own.code)
    assert changed.improvements
    far = shown("def run(inputs):\n    return 1\n")
    assert read_program(write_program(_reading(write_request(other, found=far)), 1.0, Random(1)), far).how == "new"


def test_the_pool_says_which_two_its_program_is_made_of() -> None:
    heavy = {"field": "p[].weight", "distribution": {"family": "exponential", "mean": 4}}
    tall = {"field": "p[].height", "distribution": {"family": "normal", "mean": 170, "std": 9}}

    def written(found: CodeFound, *fields: Json) -> Program:
        names = {each["field"].rpartition(".")[2]: "number" for each in fields}
        asked = write_request(_problem(list(fields), names), found=found)
        return read_program(write_program(_reading(asked), 1.0, Random(1)), found)

    parts = [written(CodeFound(), heavy), written(CodeFound(), tall)]
    found = CodeFound(
        candidates=tuple(
            Candidate(version=f"c{n}@1.0.0", code=each.code, parameters={}, author="x") for n, each in enumerate(parts)
        )
    )
    made = written(found, heavy, tall)
    assert made.how == "modified"
    assert {made.artifact, *made.also} == {"c0@1.0.0", "c1@1.0.0"}


def test_every_mistake_changes_the_code() -> None:
    code = 'values = rng.normal(inputs["a_mean"], inputs["a_std"], n)\nvalues = np.clip(values, 1, 2)\n[1 for i in range(n)]\n'
    assert all(spoiled(code, Random(seed)) != code for seed in range(30))


def test_the_pool_reads_the_prompt_for_conditions() -> None:
    question = render(
        "code_constraints_question", fields="- [].wait: number", request="user: wait is exponential with a mean of 4"
    )
    messages = ({"role": "system", "content": render("code_constraints")}, {"role": "user", "content": question})
    schema = {"type": "object", "properties": {"constraints": {"type": "array"}}}
    said = answer(Reading(messages, schema, "constraints"), PROFILES["validator"], 1)
    assert orjson.loads(said.text) == {
        "constraints": [{"field": "[].wait", "distribution": {"family": "exponential", "mean": 4.0}}]
    }
