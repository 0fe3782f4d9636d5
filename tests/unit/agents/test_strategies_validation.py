"""The validation loop: what is found wrong, corrected, and admitted where it stays."""

from __future__ import annotations

import pytest

from agents.llm.chat import ChatRequest
from agents.records import BackendFailed, Choice, DeadlineExceeded, Json, StructuredFailed, Work
from agents.strategy_specs import Aspect, Parallel, Single, ValidationLoop
from agents.verdicts import Constraint
from tests.fakes.strategies import ASK, run, says, shaped
from tests.fakes.toolbox import CHEAP, JUDGE, Answer, texts

LOOP = ValidationLoop(
    generate=Single(tier="cheap"), correct=Single(tier="quality"), premium=Single(tier="premium"), max_attempts=2
)


def loop_answer(answers: dict[str, list[Json]], critiques: list[list[str]]) -> Answer:
    def answer(request: ChatRequest, choice: Choice) -> Json:
        if request.schema_name == "critique":
            return {"issues": critiques.pop(0) if critiques else []}
        return answers[choice.tier or ""].pop(0)

    return answer


async def test_rules_find_what_needs_no_model_and_the_corrector_is_told() -> None:
    work = shaped({"email": "string", "age": 0})
    answers = {"cheap": [{"email": "nobody", "age": -5}], "quality": [{"email": "a@b.example", "age": 25}]}
    draft, box = await run(work, LOOP, loop_answer(answers, []))
    assert draft.data == {"email": "a@b.example", "age": 25}
    assert draft.issues == ()
    names = [(request.schema_name, choice.tier) for request, choice, _ in box.asked]
    assert names == [("answer", "cheap"), ("answer", "quality"), ("critique", "quality")]
    correction = texts(box.asked[1][0])
    assert "email" in correction
    assert "must not be negative" in correction
    assert "nobody" in correction
    assert box.asked[2][1].needs == {"critique"}
    assert not any(visible for _, _, visible in box.asked)


async def test_the_critic_drives_corrections_then_premium_and_what_is_left_is_said() -> None:
    answers: dict[str, list[Json]] = {"cheap": ["v1"], "quality": ["v2", "v3"], "premium": ["v4"]}
    critiques = [["too short"], ["no prices"], ["no prices", "wrong pier"], ["wrong pier"]]
    draft, box = await run(Work(messages=ASK, rules=("Name the pier",)), LOOP, loop_answer(answers, critiques))
    assert draft.text == "v4"
    assert draft.issues == ("wrong pier",)
    assert "no prices" in texts(box.asked[4][0])
    assert "Name the pier" in texts(box.asked[1][0])
    assert [data["name"] for kind, data in box.notes if data.get("name") != "validate"] == [
        "generate",
        "correct",
        "correct",
        "premium",
    ]


async def test_a_worse_correction_does_not_replace_a_better_draft() -> None:
    spec = ValidationLoop(generate=Single(tier="cheap"), correct=Single(tier="quality"), max_attempts=1)
    draft, _ = await run(Work(messages=ASK), spec, loop_answer({"cheap": ["v1"], "quality": ["v2"]}, [["a"], ["a", "b"]]))
    assert (draft.text, draft.issues) == ("v1", ("a",))


async def test_constraints_are_corrected_and_those_left_are_said() -> None:
    seats = Constraint(kind="range", field="seats", value=[10, 20])
    answers: dict[str, list[Json]] = {"cheap": [{"seats": 4}], "quality": [{"seats": 7}], "premium": [{"seats": 9}]}
    loop = ValidationLoop(
        generate=Single(tier="cheap"), correct=Single(tier="quality"), premium=Single(tier="premium"), max_attempts=1
    )
    draft, box = await run(shaped({"seats": 0}, constraints=(seats,)), loop, loop_answer(answers, [[]]))
    assert draft.data == {"seats": 9}
    assert not draft.complete
    assert any("seats" in issue and "9" in issue for issue in draft.issues)
    assert "seats" in texts(box.asked[1][0]).split("The defects:")[1]
    answers = {"cheap": [{"seats": 4}], "quality": [{"seats": 12}], "premium": [{"seats": 9}]}
    draft, _ = await run(shaped({"seats": 0}, constraints=(seats,)), loop, loop_answer(answers, [[]]))
    assert (draft.data, draft.issues, draft.complete) == ({"seats": 12}, (), True)


async def test_nothing_that_is_known_to_be_wrong_gets_lost_in_the_loop() -> None:
    def answer(request: ChatRequest, choice: Choice) -> Json:
        if request.schema_name == "critique":
            return BackendFailed("down")
        return {"premium": {"name": 4}, "cheap": {"name": "Ebb"}}[choice.tier or ""]

    both = Parallel(aspects=(Aspect(name="a", strategy=Single(tier="cheap")), Aspect(name="b", strategy=Single(tier="premium"))))
    work = Work(messages=ASK, schema={"type": "object", "properties": {"name": {}}})
    draft, _ = await run(work, ValidationLoop(generate=both), answer)
    assert draft.data == {"name": "Ebb"}
    assert draft.complete
    assert any("the aspects disagree at name" in issue for issue in draft.issues)
    assert any("could be heard for the critique" in issue for issue in draft.issues)


async def test_without_a_judge_only_rules_count() -> None:
    draft, box = await run(Work(messages=ASK), LOOP, says("fine"), backends=(CHEAP,))
    assert draft.issues == ()
    assert len(box.asked) == 1
    assert box.notes[-1][1]["critic"] == "not available"


async def test_a_strict_choice_of_backend_holds_for_the_critic_too() -> None:
    strict = Choice(backend="cheap", fallback=False)
    _, box = await run(Work(messages=ASK), LOOP, says("fine"), strict)
    assert [choice for _, choice, _ in box.asked] == [strict]
    able = Choice(backend=JUDGE.name, fallback=False)
    _, box = await run(Work(messages=ASK), LOOP, loop_answer({"": ["fine"]}, []), able)
    assert {choice.backend for _, choice, _ in box.asked} == {JUDGE.name}


async def test_an_invalid_first_answer_is_corrected_and_a_hopeless_one_fails() -> None:
    def answer(request: ChatRequest, choice: Choice) -> Json:
        return (
            {"seats": "many"} if choice.tier == "cheap" else {"issues": []} if request.schema_name == "critique" else {"seats": 4}
        )

    draft, _ = await run(shaped({"seats": 0}), LOOP, answer)
    assert draft.data == {"seats": 4}
    assert draft.complete
    with pytest.raises(StructuredFailed):
        await run(shaped({"seats": 0}), LOOP, says(StructuredFailed("nothing")))


async def test_time_that_ends_in_the_loop_leaves_the_draft_with_its_issues() -> None:
    def answer(request: ChatRequest, choice: Choice) -> Json:
        return DeadlineExceeded("over") if choice.tier == "quality" else {"email": "nobody"}

    draft, _ = await run(shaped({"email": "string"}), LOOP, answer)
    assert draft.data == {"email": "nobody"}
    assert draft.issues
