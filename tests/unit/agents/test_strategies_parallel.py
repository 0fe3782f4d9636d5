"""Aspects asked at once and merged: what each is asked, and what is said of those that fail or disagree."""

from __future__ import annotations

from typing import Any

import pytest

from agents.llm.chat import ChatRequest
from agents.records import BackendFailed, Choice, Json, Work
from agents.strategies.compose import default_strategy
from agents.strategy_specs import Aspect, Parallel, Single
from tests.fakes.strategies import ASK, run, says, shaped
from tests.fakes.toolbox import Answer

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
