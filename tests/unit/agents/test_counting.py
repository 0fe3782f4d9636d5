"""Long lists, split and joined: order, what is missing, and where the rounds end."""

from __future__ import annotations

import asyncio
import re

import pytest

from agents.llm.chat import ChatRequest
from agents.records import BackendFailed, BudgetExceeded, Choice, Incomplete, InvalidRequest, Json, Work
from agents.shaping import compile_schema
from agents.strategies.compose import run_strategy
from agents.strategy_specs import Aspect, Parallel, Single, StrategySpec, ValidationLoop
from tests.fakes.strategies import ASK, STAGES, run, says, shaped
from tests.fakes.toolbox import Answer, FakeToolbox, texts

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
