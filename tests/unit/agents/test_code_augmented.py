"""Code-augmented reasoning with scripted models and a scripted sandbox: what is asked, run, repaired, handed to a person."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from agents.records import BackendFailed, Escalated, Json
from agents.strategies.compose import parse_strategy
from agents.strategies.compose import to_json as strategy_json
from agents.strategy_specs import CodeAugmented, Single
from sandbox.records import Problem, RunResult
from tests.fakes.programs import AGES, PROGRAM, ages, ok, run, scripted, steps, work
from tests.fakes.toolbox import FakeToolbox, texts


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


async def test_a_model_that_gives_the_same_program_again_is_not_shown_it_a_third_time() -> None:
    box = scripted([ok(ages(mean=60)), ok(ages(mean=60)), ok(ages())])
    assert (await run(box, work("Ages", [{"age": "integer"}], 300, [{"field": "[].age", **AGES}]))).complete
    assert [PROGRAM in texts(request) for request, _, _ in box.asked] == [False, True, False]
    assert "Kolmogorov" in texts(box.asked[2][0]), "what failed is told all the same"


async def test_a_programs_own_check_against_every_constraint_is_worth_one_repair() -> None:
    box = scripted([ok(ages(), size=False), ok(ages(2), size=False)])
    draft = await run(box, work("Ages", [{"age": "integer"}], 300, [{"field": "[].age", **AGES}]))
    assert draft.complete
    assert steps(box) == ["write", "repair"]
    assert "checked from outside holds" in texts(box.asked[1][0])
    assert any("overruled" in str(data.get("text")) for kind, data in box.notes if kind == "note")
    with pytest.raises(Escalated):
        await run(scripted([ok(40, size=False)]), work("Calculate the median of 9, 40 and 62 exactly"))


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
