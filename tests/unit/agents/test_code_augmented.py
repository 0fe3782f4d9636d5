"""Code-augmented reasoning with scripted models and a scripted sandbox: what is asked, run, repaired, handed to a person."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.calls import Usage
from agents.llm.chat import BackendSpec, ChatReply, ChatRequest
from agents.quality.constraints import parse_constraints, to_json
from agents.records import BackendFailed, Choice, Escalated, Json, Work
from agents.schema_check import ShapeLimits
from agents.shaping import parse_shape
from agents.strategies.compose import default_strategy, parse_strategy, run_strategy
from agents.strategies.compose import to_json as strategy_json
from agents.strategies.extraction import completed, field_lines, made_up, read_extracted
from agents.strategies.problem import classify, layout_of
from agents.strategies.program import NoProgram, computed_schema, read_program
from agents.strategies.same_result import same_result
from agents.strategy_specs import CodeAugmented, Single
from sandbox.records import Problem, RunResult
from tests.fakes.toolbox import FakeToolbox, texts

CODER = BackendSpec(name="coder", output_usd_per_mtok=2.0, capabilities=frozenset({"words", "code", "json_schema"}))
MASTER = BackendSpec(name="master", output_usd_per_mtok=20.0, capabilities=frozenset({"words", "code", "json_schema"}))
PLAIN = BackendSpec(name="plain", capabilities=frozenset({"words", "json_schema"}))
PROGRAM = '```json\n{"parameters": {"mean": 40}}\n```\n```python\ndef run(inputs):\n    return {}\n```'
AGES = {"distribution": {"family": "normal", "mean": 40, "std": 10, "clip": [18, 90], "round": True}}


def work(prompt: str, shape: Json = None, count: int | None = None, constraints: Json = None) -> Work:
    schema = None if shape is None else parse_shape(shape, limits=ShapeLimits())
    messages = ({"role": "user", "content": prompt},)
    return Work(messages=messages, schema=schema, count=count, constraints=parse_constraints(constraints), index=5)


def ok(result: Json, **checks: bool) -> RunResult:
    return RunResult(value={"result": result, "checks": checks or {"held": True}})


def ages(seed: int = 1, n: int = 300, mean: float = 40, clip: tuple[int, int] = (18, 90)) -> list[Json]:
    drawn = np.clip(np.round(np.random.default_rng(seed).normal(mean, 10, n)), *clip)
    return [{"age": int(age)} for age in drawn]


def scripted(runs: list[RunResult], said: Any = PROGRAM, backends: Any = (PLAIN, CODER, MASTER)) -> FakeToolbox:
    """Models that answer programs and words; the sandbox answers ``runs`` in turn, the last one again and again."""
    left = list(runs)

    def answer(request: ChatRequest, choice: Choice) -> Json:
        if request.schema_name == "constraints":
            return {"constraints": []}
        if request.schema_name == "kind_of_problem":
            return {"kind": "computational", "reason": "it counts"}
        if request.schema is not None:
            items = request.schema.get("minItems")
            one = {name: f"a {name}" for name in (request.schema.get("items") or request.schema).get("properties", {})}
            return [dict(one) for _ in range(items)] if items is not None else one
        name = choice.backend or "coder"
        if isinstance(said, dict) and isinstance(said.get(name), Exception):
            return said[name]
        return ChatReply(text=said if isinstance(said, str) else said[name], model="m", usage=Usage(), backend=name)

    def runner(code: str, inputs: Json) -> RunResult:
        return left.pop(0) if len(left) > 1 else left[0]

    return FakeToolbox(answer=answer, backends=backends, runner=runner)


async def run(box: FakeToolbox, asked: Work, spec: CodeAugmented | None = None) -> Any:
    return await run_strategy(asked, spec or default_strategy("code_augmented"), box, Choice(), visible=False)


def steps(box: FakeToolbox) -> list[str]:
    return [data["step"] for kind, data in box.notes if kind == "code"]


# ── classification ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("asked", "kind", "sure"),
    [
        (work("Write a poem about rain"), "pattern", True),
        (work("Work out the standard deviation of 3, 5 and 9"), "computational", True),
        (work("Heights that are normally distributed", [{"height": "number"}]), "computational", True),
        (work("Heights that are normally distributed", [{"height": "number", "name": "string"}]), "hybrid", True),
        (work("People", [{"age": "integer", "name": "string"}], constraints=[{"field": "[].age", **AGES}]), "hybrid", True),
        (work("Some nice people", [{"age": "integer", "name": "string"}]), "pattern", True),
        (work("Names with a standard deviation", [{"name": "string"}]), "pattern", True),
        (work("How many days are there between the two?"), "pattern", False),
    ],
)
def test_kinds_by_words_and_form(asked: Work, kind: str, sure: bool) -> None:
    found = classify(asked)
    assert (found.kind, found.sure) == (kind, sure), found


def test_a_layout_says_what_code_can_fill() -> None:
    shape = {"title": "string", "n": "integer", "rows": [{"id": "string", "plan": "string", "note": "string", "v": "number"}]}
    schema = parse_shape(shape, limits=ShapeLimits())
    layout = layout_of(schema, parse_constraints([{"field": "rows[].plan", "ratios": {"a": 0.5, "b": 0.5}}]))
    assert (layout.computed, layout.words) == (("id", "plan", "v"), ("note",))
    assert (layout.frame_computed, layout.frame_words) == (("n",), ("title",))
    wanted = computed_schema(schema, layout)
    assert list(wanted["properties"]) == ["n", "rows"]
    assert list(wanted["properties"]["rows"]["items"]["properties"]) == ["id", "plan", "v"]


async def test_a_pattern_goes_to_a_model_alone() -> None:
    box = FakeToolbox(answer=lambda request, choice: "rain, rain")
    draft = await run(box, work("Write a poem about rain"))
    assert draft.text == "rain, rain"
    assert not box.runs
    assert box.notes[0] == ("stage", {"name": "classify", "state": "pattern", "score": -1.0, "why": ["but also 'poem'"]})


async def test_a_model_is_asked_where_it_is_not_clear() -> None:
    box = scripted([ok(42)])
    draft = await run(box, work("How many days are there between the two?"))
    assert draft.text == "42"
    assert box.notes[0][1]["why"][-1] == "a model says: it counts"


# ── a result that nothing of ours can check ─────────────────────────────────────────────────────────────────────────────

FIGURE = work("Calculate the median of 9, 2 and 40 exactly")


async def test_a_figure_is_given_when_two_programs_agree_on_it() -> None:
    box = scripted([ok(40), ok(40), ok(9), ok("9")])
    draft = await run(box, FIGURE)
    assert (draft.text, draft.complete) == ("9", True)
    assert steps(box) == ["write", "confirm", "confirm"]
    seeds = [inputs["seed"] for _, inputs in box.runs]
    assert seeds == [seeds[0], seeds[0] + 1, seeds[0], seeds[0]]
    assert [choice.backend for _, choice, _ in box.asked[:2]] == [None, "master"], "another model is asked where there is one"


async def test_a_figure_on_which_no_programs_agree_is_a_persons() -> None:
    box = scripted([ok(40), ok(40), ok(9), ok(2), ok(17)])
    with pytest.raises(Escalated) as error:
        await run(box, FIGURE)
    assert error.value.partial == 40
    assert steps(box) == ["write", "confirm", "confirm", "confirm"]


async def test_a_program_that_fails_confirms_nothing() -> None:
    broken = RunResult(problem=Problem.RAISED, error="ValueError: no", line=2)
    box = scripted([ok(9), ok(9), broken, broken, ok(9)])
    assert (await run(box, FIGURE)).text == "9"
    box = scripted([ok(9), ok(9), broken])
    with pytest.raises(Escalated):
        await run(box, FIGURE)


async def test_true_is_no_figure_unless_the_request_asks_for_it() -> None:
    box = scripted([ok(False), ok(9)])
    assert (await run(box, FIGURE)).text == "9"
    assert steps(box)[:2] == ["write", "repair"]
    assert "asks for no true or false" in texts(box.asked[1][0])
    assert (await run(scripted([ok(True)]), work("Compute exactly whether the sum of 91 and 9 is 100"))).text == "true"


async def test_what_was_drawn_at_random_is_not_held_against_another_draw() -> None:
    box = scripted([ok([3, 1, 6]), ok([2, 2, 5])])
    assert (await run(box, work("Simulate 3 throws of a die and compute them exactly"))).complete
    assert steps(box) == ["write"]


async def test_one_program_is_enough_where_that_is_wanted_or_a_constraint_holds_the_result() -> None:
    box = scripted([ok(40)])
    assert (await run(box, FIGURE, CodeAugmented(confirm=False))).text == "40"
    assert len(box.runs) == 1


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (3, 3.0, True),
        (3.14, 3.14159, True),
        (3, 3.4, False),
        (3.1, 3.2, False),
        ({"median": 31}, "31", True),
        ([1, {"a": 2, "b": "X "}], [1.0, {"b": "x", "a": 2}], True),
        ([1, 2], [2, 1], False),
        (True, 1, False),
        (None, 0, False),
        ("yes", "no", False),
        (10**400, 10**400 + 1, True),
        ("nan", "nan", True),
        ([[]], [{}], False),
    ],
)
def test_results_are_the_same_in_what_they_say(one: Json, other: Json, same: bool) -> None:
    assert same_result(one, other) is same
    assert same_result(other, one) is same


# ── the ladder ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_numbers_from_code_words_from_a_model() -> None:
    box = scripted([ok(ages())])
    asked = work("Members", [{"age": "integer", "name": "string"}], 300, [{"field": "[].age", **AGES}])
    draft = await run(box, asked)
    assert draft.complete
    assert not draft.issues
    assert [item["age"] for item in draft.data] == [item["age"] for item in ages()]
    assert {item["name"] for item in draft.data} == {"a name"}
    assert box.runs[0][1] == {"mean": 40, "count": 300, "seed": 5}
    words = [request for request, _, _ in box.asked if "The numbers of this list are worked out already" in texts(request)]
    assert len(words) == 60
    assert all(list(request.schema["items"]["properties"]) == ["name"] for request in words)


@pytest.mark.parametrize(
    ("first", "words"),
    [
        (
            RunResult(problem=Problem.RAISED, error="normal() got an unexpected keyword argument 'std'", line=6),
            "keyword argument 'std'",
        ),
        (RunResult(problem=Problem.REJECTED, error="import of os is not allowed", line=1), "not allowed"),
        (ok(ages(mean=47)), "Kolmogorov-Smirnov"),
        (ok(ages(n=299)), "300 items were asked"),
        (ok(ages(), size=False), "'size' does not hold"),
        (RunResult(value=ages()), '"checks"'),
        (ok([{"age": "x"}] * 300), "against the schema"),
    ],
)
async def test_what_fails_is_repaired_with_the_failing_check(first: RunResult, words: str) -> None:
    box = scripted([first, ok(ages())])
    draft = await run(box, work("Ages", [{"age": "integer"}], 300, [{"field": "[].age", **AGES}]))
    assert draft.complete
    assert steps(box) == ["write", "repair"]
    assert words in str(box.asked[-1][0].messages[-1]["content"])
    assert box.runs[0][1]["seed"] != box.runs[1][1]["seed"]


async def test_integer_ages_set_to_the_lowest_are_no_plain_normal_distribution() -> None:
    plain = [{"field": "[].age", "distribution": {"family": "normal", "mean": 40, "std": 10}}]
    drawn = np.random.default_rng(3).normal(40, 10, 1000)
    cut = [{"age": int(age)} for age in np.clip(drawn, 30, 90)]
    box = scripted([ok(cut), ok([{"age": age} for age in drawn.tolist()])])
    draft = await run(box, work("Ages", [{"age": "number"}], 1000, plain))
    assert draft.complete
    assert steps(box) == ["write", "repair"]


async def test_a_correlation_below_what_the_code_asserts_is_seen_by_us() -> None:
    rng = np.random.default_rng(8)
    worth = rng.lognormal(10, 1.2, 600)
    weak = np.log10(worth) * 30 + rng.normal(0, 11, 600)
    strong = np.log10(worth) * 30 + rng.normal(0, 2, 600)
    pair = [{"fields": ["[].worth", "[].size"], "correlation": {"r2_at_least": 0.8}}]

    def rows(sizes: Any) -> list[Json]:
        return [{"worth": math.log(a), "size": float(b)} for a, b in zip(worth, sizes, strict=True)]

    box = scripted([ok(rows(weak), correlated=True), ok(rows(strong))])
    draft = await run(box, work("Firms", [{"worth": "number", "size": "number"}], 600, pair))
    assert draft.complete
    assert "r² of at least 0.8 (r 0." in str(box.asked[-1][0].messages[-1]["content"])


async def test_the_ladder_goes_down_to_a_person() -> None:
    box = scripted([ok(ages(mean=60))])
    with pytest.raises(Escalated) as error:
        await run(box, work("Ages", [{"age": "integer"}], 300, [{"field": "[].age", **AGES}]))
    assert steps(box) == ["write", "repair", "repair", "simplify", "write", "repair"]
    assert [choice.backend for _, choice, _ in box.asked] == [None, "coder", "coder", "coder", "master", "master"]
    assert all("code" in choice.needs for _, choice, _ in box.asked)
    assert "simplest algorithm" in texts(box.asked[3][0])
    assert "Kolmogorov" in error.value.message
    assert len(error.value.partial) == 300


async def test_another_model_stands_in_for_one_that_fails() -> None:
    said = {"coder": BackendFailed("down"), "master": PROGRAM}
    box = scripted([ok(ages())], said=said)
    assert (await run(box, work("Ages", [{"age": "integer"}], 300, [{"field": "[].age", **AGES}]))).complete
    assert box.asked[-1][1].backend == "master"
    with pytest.raises(BackendFailed):
        await run(
            scripted([ok(1)], said=dict.fromkeys(("coder", "master"), BackendFailed("down"))), work("Calculate 3 primes exactly")
        )


async def test_without_a_sandbox_a_person_is_asked() -> None:
    box = scripted([ok(1)])
    box.runner = None
    with pytest.raises(Escalated, match="no sandbox"):
        await run(box, work("Work out the standard deviation of 3, 5 and 9"))


async def test_words_that_break_their_rule_leave_a_partial_answer() -> None:
    constraints = [{"field": "[].age", **AGES}, {"field": "[].name", "pattern": "^[A-Z]"}]
    draft = await run(scripted([ok(ages())]), work("Members", [{"age": "integer", "name": "string"}], 300, constraints))
    assert not draft.complete
    assert "must match the regular expression" in draft.issues[0]


# ── constraints in plain words ──────────────────────────────────────────────────────────────────────────────────────────

ASKED = work(
    "Ages of 40, standard deviation 10, 25% of them members", {"people": [{"age": "integer", "paid": "number", "kind": "string"}]}
)


def test_only_what_the_request_says_is_taken() -> None:
    normal = {"field": "people[].age", "distribution": {"family": "normal", "mean": 40, "std": 10}}
    read, problems = read_extracted(
        {
            "constraints": [
                normal,
                {"field": "people[].age", "distribution": {"family": "normal", "mean": 44, "std": 10}},
                {"field": "people[].height", "range": [10, 40]},
                {"field": "people[].kind", "ratios": {"member": 0.25, "guest": 0.75}},
                {"field": "people[].kind", "colour": 3},
                "x",
            ]
        },
        ASKED,
    )
    assert [one.kind for one in read] == ["distribution", "ratios"]
    assert read[0].value["round"] is True, "whole numbers of the form are rounded"
    assert [problem.split(": ", 1)[1][:26] for problem in problems] == [
        "the request does not say 4",
        "range of people[].height c",
        " there is no kind 'colour'"[:26],
        " a constraint must be an o"[:26],
    ]


def test_numbers_in_other_writings_are_no_inventions() -> None:
    assert made_up({"a": [0.25, 0.75, 12_500, 3e6]}, "25 %, 12,500 and 3M") == set()
    assert made_up({"a": 13}, "130 and 1.3") == {13.0}


def test_bounds_of_the_form_clip() -> None:
    schema = {
        "type": "array",
        "items": {"type": "object", "properties": {"age": {"type": "integer", "minimum": 18, "maximum": 60}}},
    }
    (constraint,) = parse_constraints([{"field": "[].age", "distribution": {"family": "normal", "mean": 40, "std": 10}}])
    done = completed(constraint, Work(messages=(), schema=schema))
    assert to_json([done])[0]["distribution"] == {
        "family": "normal",
        "mean": 40,
        "std": 10,
        "alpha": 0.01,
        "round": True,
        "clip": [18, 60],
    }
    assert list(field_lines(schema)) == ["- [].age: integer"]


async def test_conditions_that_no_model_could_read_are_said_to_be_unchecked() -> None:
    def answer(request: ChatRequest, choice: Choice) -> Json:
        if request.schema_name == "constraints":
            return BackendFailed("down")
        return ChatReply(text=PROGRAM, model="m", usage=Usage(), backend="coder")

    box = FakeToolbox(answer=answer, backends=(CODER,), runner=lambda code, inputs: ok(ages()))
    draft = await run(box, work("Normally distributed ages with a standard deviation of 10", [{"age": "integer"}], 300))
    assert not draft.complete
    assert "were not checked" in draft.issues[0]


# ── programs and the strategy as JSON ───────────────────────────────────────────────────────────────────────────────────


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


async def test_a_program_without_checks_of_its_own_is_told_all_that_is_wrong() -> None:
    box = scripted([RunResult(value=ages(mean=60)), ok(ages())])
    assert (await run(box, work("Ages", [{"age": "integer"}], 300, [{"field": "[].age", **AGES}]))).complete
    told = str(box.asked[-1][0].messages[-1]["content"])
    assert '"checks"' in told
    assert "Kolmogorov-Smirnov" in told


def test_the_strategy_is_read_and_written_back() -> None:
    value = {"code_augmented": {"code": {"backend": "coder"}, "words": "single", "classifier": False, "repairs": 1, "others": 0}}
    spec = parse_strategy(value, named={})
    assert spec == CodeAugmented(code=Single(backend="coder"), words=Single(), classifier=None, repairs=1, others=0)
    assert parse_strategy(strategy_json(spec), named={}) == spec
