"""Consensus: who is asked, what the answers are worth, and which is taken."""

from __future__ import annotations

from typing import Any

import pytest

from agents.llm.chat import BackendSpec, ChatRequest
from agents.records import BackendFailed, BackendTimeout, BudgetExceeded, Choice, DeadlineExceeded, Draft, Incomplete, Json, Work
from agents.shaping import ShapeLimits, parse_shape
from agents.strategies.agreement import agreement, likeness, overlap
from agents.strategies.compose import parse_strategy, run_strategy
from agents.strategies.consensus import default_members
from agents.strategy_specs import Single
from tests.fakes.toolbox import CHEAP, JUDGE, Answer, FakeToolbox, texts

ASK = ({"role": "user", "content": "How tall is the lighthouse at Loop Head?"},)
TOWER = {"name": "string", "metres": 0, "lit": 0}
MEMBERS = [{"backend": "a"}, {"backend": "b"}, {"backend": "c"}]


def pool(*names: str) -> tuple[BackendSpec, ...]:
    return tuple(BackendSpec(name=name, output_usd_per_mtok=float(price)) for price, name in enumerate(names))


def shaped(shape: Json = TOWER) -> Work:
    return Work(messages=ASK, schema=parse_shape(shape, limits=ShapeLimits()))


def by_backend(**answers: Json) -> Answer:
    def answer(request: ChatRequest, choice: Choice) -> Json:
        if request.schema_name == "judgement":
            said = answers["judge"]
            return said(texts(request)) if callable(said) else said
        return answers[choice.backend or "any"]

    return answer


async def run(work: Work, body: Json, answer: Answer, **more: Any) -> tuple[Draft, FakeToolbox]:
    box = FakeToolbox(answer, **more)
    return await run_strategy(work, parse_strategy({"consensus": body}, named={}), box, Choice(), visible=True), box


@pytest.mark.parametrize(
    ("backends", "k", "choice", "expected"),
    [
        (pool("a", "b", "c", "d", "e"), 3, Choice(), ["a", "c", "e"]),
        (pool("a", "b", "c"), 3, Choice(), ["a", "b", "c"]),
        (pool("a", "b"), 3, Choice(), ["a", "b"]),
        (pool("a"), 3, Choice(), ["a", "a", "a"]),
        (pool("a", "b", "c", "d"), 2, Choice(preferred=("d",)), ["d", "a"]),
    ],
)
def test_different_backends_spread_over_the_prices(backends: Any, k: int, choice: Choice, expected: list[str]) -> None:
    assert default_members(backends, k, choice) == tuple(Single(backend=name) for name in expected)


async def test_without_members_the_pool_is_asked_at_once() -> None:
    draft, box = await run(
        Work(messages=ASK), {}, by_backend(cheap="23 metres", judge="about 23 metres"), backends=(CHEAP, JUDGE)
    )
    assert [choice.backend for _, choice, _ in box.asked] == ["cheap", "judge"]
    assert box.peak == 2
    assert not any(choice.fallback for _, choice, _ in box.asked)
    assert not any(visible for _, _, visible in box.asked)
    assert draft.text == "23 metres"


async def test_the_majority_counts_field_by_field() -> None:
    said = by_backend(
        a={"name": "Loop Head", "metres": 23, "lit": 1854},
        b={"name": "loop head ", "metres": 25, "lit": 1854},
        c={"name": "Kilkee", "metres": 23, "lit": 1900},
    )
    draft, box = await run(shaped(), {"members": MEMBERS, "pick": "majority"}, said)
    assert draft.data["metres"] == 23
    assert draft.data["lit"] == 1854
    assert draft.data["name"].strip().casefold() == "loop head"
    assert draft.complete
    scores = {data["name"]: data["agreement"] for kind, data in box.notes if data.get("state") == "done" and "agreement" in data}
    assert scores["member 1"] > scores["member 3"]


async def test_the_majority_of_texts_is_the_one_closest_to_the_others() -> None:
    said = by_backend(a="It is made of cheese", b="The tower is 23 metres tall", c="The tower at Loop Head is 23 metres tall")
    draft, _ = await run(Work(messages=ASK), {"members": MEMBERS, "pick": "majority"}, said)
    assert "23 metres" in draft.text


async def test_the_best_answer_keeps_its_schema_and_agrees_with_others() -> None:
    said = by_backend(
        a={"name": "x", "metres": -4, "lit": 1, "email": "?"},
        b={"name": "Loop Head", "metres": 23, "lit": 1854},
        c={"name": "Loop Head", "metres": 23, "lit": 1772},
    )
    draft, _ = await run(shaped(), MEMBERS, said)
    assert draft.data["name"] == "Loop Head"


async def test_a_judge_outweighs_agreement() -> None:
    def judge(text: str) -> Json:
        return {"score": 1.0 if "lantern" in text else 0.1, "issues": []}

    said = by_backend(a="23 metres", b="23 metres", c="23 metres with its lantern", judge=judge)
    draft, box = await run(Work(messages=ASK), {"members": MEMBERS, "judge": {"tier": "premium"}}, said)
    assert draft.text == "23 metres with its lantern"
    assert sum(request.schema_name == "judgement" for request, _, _ in box.asked) == 3


async def test_a_failing_member_costs_nothing_while_there_is_a_quorum() -> None:
    said = by_backend(a=BackendFailed("down"), b="23 metres", c="23 metres")
    draft, box = await run(Work(messages=ASK), MEMBERS, said)
    assert (draft.text, draft.complete) == ("23 metres", True)
    assert [data["error"] for _, data in box.notes if data.get("state") == "failed"] == ["backend_failed"]


async def test_below_the_quorum_it_says_how_many_answered() -> None:
    said = by_backend(a=BackendFailed("down"), b="23 metres", c=BackendTimeout("slow"))
    with pytest.raises(Incomplete, match="1 of 3 members answered and 2 are needed") as caught:
        await run(Work(messages=ASK), MEMBERS, said)
    assert caught.value.partial == "23 metres"
    draft, _ = await run(Work(messages=ASK), {"members": MEMBERS, "quorum": 1}, said)
    assert draft.text == "23 metres"
    with pytest.raises(BackendFailed):
        await run(Work(messages=ASK), MEMBERS, by_backend(a=BackendFailed("x"), b=BackendFailed("y"), c=BackendFailed("z")))


async def test_time_that_ends_leaves_the_best_answer_as_partial() -> None:
    said = by_backend(a=DeadlineExceeded("no time"), b="23 metres", c=BudgetExceeded("no money"))
    draft, _ = await run(Work(messages=ASK), MEMBERS, said)
    assert (draft.text, draft.complete) == ("23 metres", False)
    assert "1 of 3 members answered" in draft.issues[0]
    with pytest.raises(DeadlineExceeded):
        await run(
            Work(messages=ASK), MEMBERS, by_backend(a=DeadlineExceeded("x"), b=DeadlineExceeded("y"), c=DeadlineExceeded("z"))
        )


async def test_a_majority_that_does_not_fit_together_gives_way_to_the_best_answer() -> None:
    work = shaped({"from": 0, "to": 0})
    assert work.schema is not None
    options = [{"from": 1, "to": 2}, {"from": 3, "to": 4}, {"from": 1, "to": 4}]
    whole = {**work.schema, "enum": [*options[:2], {"from": 1, "to": 9}]}
    said = by_backend(a={"from": 1, "to": 2}, b={"from": 3, "to": 4}, c={"from": 1, "to": 9})
    draft, _ = await run(Work(messages=ASK, schema=whole), {"members": MEMBERS, "pick": "majority"}, said)
    assert draft.data in whole["enum"]


def test_likeness() -> None:
    def of(data: Json) -> Draft:
        return Draft(text="", data=data)

    assert likeness(of({"a": 1, "b": [1, 2]}), of({"b": [1, 2.0], "a": 1})) == 1.0
    assert likeness(of({"a": 1, "b": 2}), of({"a": 1, "b": 3})) == 0.5
    assert likeness(of({"a": 1}), of({"b": 1})) == 0.0
    assert overlap("Loop Head, Clare", "clare LOOP head") == 1.0
    assert overlap("a b", "b c") == pytest.approx(1 / 3)
    assert agreement([Draft(text="x")]) == [1.0]
    assert agreement([Draft(text="x"), Draft(text="x"), Draft(text="y")]) == [0.5, 0.5, 0.0]
