"""The strategies over a fake toolbox: what they ask, what they make of it, and what they admit."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from agents.calls import Usage
from agents.llm.chat import ChatReply, ChatRequest
from agents.records import (
    BackendFailed,
    BudgetExceeded,
    Choice,
    DeadlineExceeded,
    Incomplete,
    InvalidRequest,
    Json,
    StructuredFailed,
    Work,
)
from agents.shaping import ShapeLimits, compile_schema, parse_shape
from agents.strategies.compose import default_strategy, run_strategy
from agents.strategy_specs import Aspect, Parallel, Pipeline, Single, Stage, StrategySpec, ValidationLoop
from agents.verdicts import Constraint
from tests.fakes.toolbox import CHEAP, JUDGE, Answer, FakeToolbox, texts

ANY = Choice()
ASK = ({"role": "user", "content": "Describe the ferry to Inis Oirr"},)


def shaped(shape: Json, **more: Any) -> Work:
    return Work(messages=ASK, schema=parse_shape(shape, limits=ShapeLimits()), **more)


async def run(
    work: Work, spec: StrategySpec, answer: Answer, choice: Choice = ANY, visible: bool = True, **more: Any
) -> tuple[Any, FakeToolbox]:
    box = FakeToolbox(answer, **more)
    return await run_strategy(work, spec, box, choice, visible=visible), box


def says(value: Json) -> Answer:
    return lambda request, choice: value


# ── single ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_single_keeps_all_that_the_backend_said() -> None:
    message = {"role": "assistant", "content": None, "tool_calls": [{"id": "c1"}]}
    reply = ChatReply(text="", model="m", usage=Usage(), finish_reason="tool_calls", message=message, choices=({"index": 0},))
    work = Work(messages=ASK, params={"tools": [1], "n": 2}, rules=("Be brief",))
    draft, box = await run(work, Single(prompt="You are a harbour master"), says(reply))
    assert (draft.message, draft.choices, draft.finish_reason, draft.complete) == (message, ({"index": 0},), "tool_calls", True)
    request, _, visible = box.asked[0]
    assert visible
    assert request.params == work.params
    assert request.messages[0]["role"] == "system"
    assert "harbour master" in request.messages[0]["content"]
    assert "Be brief" in request.messages[0]["content"]
    assert request.messages[-1] == ASK[0]


async def test_a_cut_answer_is_said_to_be_cut() -> None:
    reply = ChatReply(text="The fer", model="m", usage=Usage(), finish_reason="length")
    draft, _ = await run(Work(messages=ASK), Single(), says(reply))
    assert not draft.complete
    assert draft.issues


async def test_a_shaped_answer_is_corrected_harmlessly_or_fails() -> None:
    draft, box = await run(shaped({"seats": 0}), Single(), says({"seats": "80", "extra": 1}))
    assert draft.data == {"seats": 80}
    assert draft.text == '{"seats":80}'
    assert not box.asked[0][2]
    with pytest.raises(StructuredFailed):
        await run(shaped({"seats": 0}), Single(), says({"seats": "many"}))


@pytest.mark.parametrize(
    ("spec", "choice", "expected"),
    [
        (Single(backend="b"), Choice(backend="a"), Choice(backend="b")),
        (Single(backend="b"), Choice(backend="a", fallback=False), Choice(backend="a", fallback=False)),
        (Single(tier="premium"), Choice(preferred=("x",)), Choice(tier="premium")),
        (Single(tier="premium"), Choice(backend="a"), Choice(backend="a")),
        (Single(), Choice(preferred=("x",)), Choice(preferred=("x",))),
    ],
)
async def test_who_is_asked(spec: Single, choice: Choice, expected: Choice) -> None:
    _, box = await run(Work(messages=ASK), spec, says("x"), choice)
    assert box.asked[0][1] == expected


# ── pipeline ────────────────────────────────────────────────────────────────────────────────────────────────────────────

STAGES = Pipeline(
    stages=(
        Stage(name="draft", strategy=Single(tier="cheap")),
        Stage(name="enrich", strategy=Single(tier="quality"), prompt="Add the timetable"),
        Stage(name="check", strategy=Single(tier="premium")),
    )
)


async def test_each_stage_sees_the_request_and_what_came_before() -> None:
    def answer(request: ChatRequest, choice: Choice) -> str:
        return f"<by {choice.tier}>"

    draft, box = await run(Work(messages=ASK, params={"n": 2, "temperature": 0.1}), STAGES, answer)
    first, second, third = [request for request, _, _ in box.asked]
    assert draft.text == "<by premium>"
    assert all(ASK[0] in request.messages for request in (first, second, third))
    assert "<by cheap>" in texts(second)
    assert "Add the timetable" in texts(second)
    assert "<by cheap>" in texts(third)
    assert "<by quality>" in texts(third)
    assert [visible for _, _, visible in box.asked] == [False, False, True]
    assert first.params == {"temperature": 0.1}
    assert third.params == {"n": 2, "temperature": 0.1}
    assert [data["name"] for kind, data in box.notes if data.get("state") == "done"] == ["draft", "enrich", "check"]


async def test_a_failed_stage_hands_over_what_there_was() -> None:
    def answer(request: ChatRequest, choice: Choice) -> Json:
        return BackendFailed("down") if choice.tier == "premium" else {"seats": 3}

    with pytest.raises(BackendFailed) as caught:
        await run(shaped({"seats": 0}), STAGES, answer)
    assert caught.value.partial == {"seats": 3}


# ── parallel ────────────────────────────────────────────────────────────────────────────────────────────────────────────

SHIP = {"name": "string", "price": 0.0, "seats": 0}


def by_fields(values: dict[str, Json]) -> Answer:
    """Answers exactly the fields that the schema asks for."""

    def answer(request: ChatRequest, choice: Choice) -> Json:
        assert request.schema is not None
        found = {name: values[name] for name in request.schema["properties"]}
        return next((value for value in found.values() if isinstance(value, BaseException)), found)

    return answer


def two(**more: Any) -> Parallel:
    return Parallel(
        aspects=(
            Aspect(name="who", strategy=Single(tier="quality"), fields=("name",)),
            Aspect(name="how much", strategy=Single(tier="cheap"), fields=("price", "seats")),
        ),
        **more,
    )


async def test_aspects_are_asked_at_once_for_their_fields_only() -> None:
    draft, box = await run(shaped(SHIP), two(), by_fields({"name": "Ebb", "price": 4.5, "seats": 9}))
    assert draft.data == {"name": "Ebb", "price": 4.5, "seats": 9}
    assert draft.complete
    assert draft.issues == ()
    assert box.peak == 2
    assert [sorted(request.schema["properties"]) for request, _, _ in box.asked if request.schema] == [
        ["name"],
        ["price", "seats"],
    ]


async def test_a_failed_aspect_is_an_issue_and_leaves_its_fields_missing() -> None:
    draft, _ = await run(shaped(SHIP), two(), by_fields({"name": "Ebb", "price": BackendFailed("down"), "seats": 1}))
    assert draft.data == {"name": "Ebb"}
    assert not draft.complete
    assert any("how much" in issue and "backend_failed" in issue for issue in draft.issues)
    assert any("price" in issue for issue in draft.issues)


async def test_other_aspects_can_fill_what_a_failed_one_left() -> None:
    spec = Parallel(aspects=(*two().aspects, Aspect(name="all", strategy=Single())))

    def answer(request: ChatRequest, choice: Choice) -> Json:
        whole = {"name": "Flow", "price": 1.5, "seats": 2}
        assert request.schema is not None
        if set(request.schema["properties"]) == {"price", "seats"}:
            return BackendFailed("down")
        return {name: whole[name] for name in request.schema["properties"]}

    draft, _ = await run(shaped(SHIP), spec, answer)
    assert draft.data == {"name": "Flow", "price": 1.5, "seats": 2}
    assert draft.complete
    assert len(draft.issues) == 1


async def test_when_types_clash_the_earlier_aspect_wins_and_says_so() -> None:
    spec = Parallel(aspects=(Aspect(name="a", strategy=Single(tier="cheap")), Aspect(name="b", strategy=Single(tier="premium"))))

    def answer(request: ChatRequest, choice: Choice) -> str:
        return '{"seats": 4, "deck": "upper"}' if choice.tier == "cheap" else '{"seats": "four", "crew": 2}'

    draft, _ = await run(Work(messages=ASK), spec, answer)
    assert draft.data == {"seats": 4, "deck": "upper", "crew": 2}
    assert any("seats: integer and string" in issue for issue in draft.issues)


async def test_by_key_asks_each_aspect_for_its_own_part() -> None:
    spec = Parallel(aspects=(Aspect(name="hull", strategy=Single()), Aspect(name="fares", strategy=Single())), merge="by_key")

    def answer(request: ChatRequest, choice: Choice) -> Json:
        assert request.schema is not None
        return {"length": 20} if "length" in request.schema["properties"] else {"adult": 3.5}

    draft, _ = await run(shaped({"hull": {"length": 0}, "fares": {"adult": 0.0}}), spec, answer)
    assert draft.data == {"hull": {"length": 20}, "fares": {"adult": 3.5}}
    assert draft.complete


async def test_concatenate_shares_a_fixed_length_out() -> None:
    spec = Parallel(
        aspects=(Aspect(name="a", strategy=Single(tier="cheap")), Aspect(name="b", strategy=Single(tier="premium"))),
        merge="concatenate",
    )

    def answer(request: ChatRequest, choice: Choice) -> Json:
        assert request.schema is not None
        return [{"by": choice.tier}] * request.schema["minItems"]

    draft, _ = await run(shaped([{"by": "string"}], count=5), spec, answer)
    assert [item["by"] for item in draft.data] == ["cheap"] * 3 + ["premium"] * 2
    text, _ = await run(Work(messages=ASK), spec, lambda request, choice: f"{choice.tier}")
    assert text.text == "cheap\n\npremium"


async def test_bare_parallel_splits_the_fields_itself() -> None:
    draft, box = await run(shaped(SHIP), default_strategy("parallel"), by_fields({"name": "x", "price": 1.0, "seats": 1}))
    assert draft.complete
    assert sorted(name for request, _, _ in box.asked if request.schema for name in request.schema["properties"]) == sorted(SHIP)
    rows = shaped({"ships": [SHIP]}, count=2)

    def answer(request: ChatRequest, choice: Choice) -> Json:
        assert request.schema is not None
        fields = request.schema["properties"]["ships"]["items"]["properties"]
        return {"ships": [{name: {"name": f"s{i}", "price": 2.5, "seats": i}[name] for name in fields} for i in range(2)]}

    draft, box = await run(rows, default_strategy("parallel"), answer)
    assert draft.data == {"ships": [{"name": f"s{i}", "price": 2.5, "seats": i} for i in range(2)]}
    assert len(box.asked) == 2
    draft, _ = await run(Work(messages=ASK), default_strategy("parallel"), says("text"))
    assert draft.text == "text\n\ntext"


async def test_when_every_aspect_fails_so_does_the_request() -> None:
    with pytest.raises(BackendFailed):
        await run(shaped(SHIP), two(), says(BackendFailed("down")))


# ── validation ──────────────────────────────────────────────────────────────────────────────────────────────────────────

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


# ── counts ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

ROWS = {"title": "string", "rows": [{"no": 0}]}


def numbered(request: ChatRequest, n: int | None = None) -> Json:
    """Rows numbered by the offset that the batch was told."""
    told = re.findall(r"the items number (\d+) to (\d+)", texts(request))
    assert request.schema is not None
    count = request.schema["properties"]["rows"]["minItems"] if n is None else n
    first = int(told[-1][0]) if told else 1
    return {"title": "t", "rows": [{"no": first + i} for i in range(count)]}


@pytest.mark.parametrize("spec", [Single(), STAGES, ValidationLoop(generate=Single())])
async def test_many_items_come_in_order_whatever_the_strategy(spec: StrategySpec) -> None:
    def answer(request: ChatRequest, choice: Choice) -> Json:
        return {"issues": []} if request.schema_name == "critique" else numbered(request)

    draft, box = await run(shaped(ROWS, count=23), spec, answer)
    assert [row["no"] for row in draft.data["rows"]] == list(range(1, 24))
    assert draft.data["title"] == "t"
    assert draft.complete
    assert box.peak == 3
    assert [data["total"] for kind, data in box.notes if kind == "progress"] == [23] * 5
    assert max(data["done"] for kind, data in box.notes if kind == "progress") == 23


async def test_short_batches_are_asked_again_for_the_missing_only() -> None:
    sizes: list[int] = []

    def answer(request: ChatRequest, choice: Choice) -> Json:
        assert request.schema is not None
        size = request.schema["properties"]["rows"]["minItems"]
        sizes.append(size)
        return numbered(request, max(1, size - 1))

    draft, _ = await run(shaped(ROWS, count=10), Single(), answer)
    assert [row["no"] for row in draft.data["rows"]] == list(range(1, 11))
    assert sizes == [5, 5, 1, 1]


async def test_what_is_missing_in_the_end_is_counted() -> None:
    with pytest.raises(Incomplete, match="5 of 12 items are missing") as caught:
        await run(shaped(ROWS, count=12), Single(), stuck_from(8))
    assert len((caught.value.partial or {})["rows"]) == 7


async def test_where_no_item_came_the_error_has_no_data_and_says_why() -> None:
    aspects = Parallel(aspects=tuple(Aspect(name=name, strategy=Single()) for name in "ab"), merge="by_key")
    with pytest.raises(Incomplete, match=r"12 of 12 items are missing \(.+rows") as caught:
        await run(shaped(ROWS, count=12), aspects, lambda request, choice: {"rows": []})
    assert caught.value.partial is None


def stuck_from(limit: int) -> Answer:
    """A model that never gives an item with this number or a higher one."""

    def answer(request: ChatRequest, choice: Choice) -> Json:
        data = numbered(request)
        return {**data, "rows": [row for row in data["rows"] if row["no"] < limit]}

    return answer


async def test_nothing_at_all_is_the_backends_own_error() -> None:
    with pytest.raises(BackendFailed):
        await run(shaped(ROWS, count=12), Single(), says(BackendFailed("down")))


async def test_spent_money_ends_the_rounds_and_keeps_what_came() -> None:
    asked = 0

    def answer(request: ChatRequest, choice: Choice) -> Json:
        nonlocal asked
        asked += 1
        return BudgetExceeded("spent") if asked > 1 else numbered(request)

    with pytest.raises(Incomplete, match="budget_exceeded") as caught:
        await run(shaped(ROWS, count=50), Single(), answer, max_parallel=1)
    assert len((caught.value.partial or {})["rows"]) == 5
    assert asked == 2


async def test_a_schema_that_wants_many_items_is_split_without_a_count() -> None:
    schema = {"type": "array", "items": {"type": "integer"}, "minItems": 12, "maxItems": 40}

    def answer(request: ChatRequest, choice: Choice) -> Json:
        assert request.schema is not None
        return [1] * request.schema["minItems"]

    draft, box = await run(Work(messages=ASK, schema=schema), Single(), answer)
    assert len(draft.data) == 12
    assert len(box.asked) == 3
    assert compile_schema(schema).is_valid(draft.data)


async def test_an_object_without_a_list_becomes_a_list_of_it() -> None:
    def answer(request: ChatRequest, choice: Choice) -> Json:
        assert request.schema is not None
        return [{"x": 1}] * request.schema["minItems"]

    draft, _ = await run(shaped({"x": 0}, count=7), Single(), answer)
    assert draft.data == [{"x": 1}] * 7


@pytest.mark.parametrize("work", [Work(messages=ASK, count=3), shaped([0], count=0), shaped([0], count=-1)])
async def test_counts_that_mean_nothing_are_refused(work: Work) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await run(work, Single(), says([]))
    assert caught.value.param == "count"


async def test_cancelling_ends_every_batch() -> None:
    held = asyncio.Event()

    class Stuck(FakeToolbox):
        async def _answered(self, request: ChatRequest, choice: Choice, visible: bool) -> Json:
            self.active += 1
            try:
                await held.wait()
            finally:
                self.active -= 1

    box = Stuck(says(None))
    task = asyncio.create_task(run_strategy(shaped(ROWS, count=50), Single(), box, Choice(), visible=False))
    for _ in range(20):
        await asyncio.sleep(0)
    assert box.active == 3
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert box.active == 0
