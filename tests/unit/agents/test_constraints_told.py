"""Constraints in the work: told to models, checked by the validation loop, and split between parts and the whole."""

from __future__ import annotations

from agents.llm.chat import ChatRequest
from agents.quality.constraints import parse_constraints
from agents.records import Choice, Json, Work
from agents.shaping import ShapeLimits, parse_shape
from agents.strategies.compose import run_strategy
from agents.strategy_specs import Aspect, Parallel, Single, ValidationLoop
from tests.fakes.toolbox import FakeToolbox, texts

ASK = ({"role": "user", "content": "Some sailors"},)


def work(shape: Json, *entries: Json, count: int | None = None) -> Work:
    schema = parse_shape(shape, limits=ShapeLimits())
    return Work(messages=ASK, schema=schema, count=count, constraints=parse_constraints(list(entries)))


async def test_the_model_is_told_rules_and_constraints() -> None:
    box = FakeToolbox(lambda request, choice: {"age": 30})
    await run_strategy(work({"age": 0}, {"field": "age", "range": [18, 99]}), Single(), box, Choice(), visible=False)
    assert "- age must be between 18 and 99" in texts(box.asked[0][0])


async def test_the_validation_loop_corrects_broken_constraints() -> None:
    given = iter([{"age": 17}, {"age": 18}])

    def answer(request: ChatRequest, choice: Choice) -> Json:
        return {"issues": []} if "critique" in choice.needs else next(given)

    box = FakeToolbox(answer)
    spec = ValidationLoop(generate=Single())
    draft = await run_strategy(work({"age": 0}, {"field": "age", "range": [18, 99]}), spec, box, Choice(), visible=False)
    assert draft.data == {"age": 18}
    assert not draft.issues
    assert any("age: 17 is below 18" in texts(request) for request, _, _ in box.asked)


async def test_parts_are_told_what_holds_for_parts() -> None:
    counter = iter(range(100))

    def answer(request: ChatRequest, choice: Choice) -> Json:
        assert request.schema is not None
        return {"crew": [{"age": 20 + next(counter)} for _ in range(request.schema["properties"]["crew"]["minItems"])]}

    box = FakeToolbox(answer, max_items_per_call=4)
    entries = ({"field": "crew[].age", "unique": True}, {"field": "crew", "count": 8}, {"expression": "sum(crew[].age) > 0"})
    draft = await run_strategy(work({"crew": [{"age": 0}]}, *entries, count=8), Single(), box, Choice(), visible=False)
    assert len(draft.data["crew"]) == 8
    for request, _, _ in box.asked:
        assert "crew[].age must be unique" in texts(request)
        assert "must have exactly 8" not in texts(request)
        assert "sum(crew" not in texts(request)


async def test_an_aspect_is_told_only_of_its_fields() -> None:
    def answer(request: ChatRequest, choice: Choice) -> Json:
        assert request.schema is not None
        return dict.fromkeys(request.schema["properties"], 5)

    box = FakeToolbox(answer)
    aspects = (Aspect(name="one", strategy=Single(), fields=("a",)), Aspect(name="two", strategy=Single(), fields=("b",)))
    entries = ({"field": "a", "range": [0, 9]}, {"field": "b", "range": [0, 8]}, {"expression": "a <= b"})
    await run_strategy(work({"a": 0, "b": 0}, *entries), Parallel(aspects=aspects), box, Choice(), visible=False)
    told = sorted(texts(request) for request, _, _ in box.asked)
    assert sum("a must be between" in text for text in told) == 1
    assert sum("b must be between" in text for text in told) == 1
    assert not any("a <= b" in text for text in told)
