"""Merging answers by field: who wins where they differ, and what is said about it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.llm.chat import ChatRequest
from agents.records import Choice, Draft, Json, StructuredFailed, Work
from agents.shaping import ShapeLimits, parse_shape
from agents.strategies.compose import parse_strategy, run_strategy
from agents.strategies.merging import Merge, majority
from agents.strategy_specs import Conflict
from tests.fakes.toolbox import FakeToolbox

ASK = ({"role": "user", "content": "Describe the pier"},)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def merged(rule: Conflict, *values: Json) -> tuple[Json, Merge]:
    merge = Merge(rule)
    return merge.values(values), merge


@pytest.mark.parametrize(
    ("rule", "expected"),
    [("first", "pier"), ("last", "pier"), ("longest", "the stone pier"), ("vote", "pier"), ("fail", "pier")],
)
def test_who_wins(rule: Conflict, expected: str) -> None:
    data, merge = merged(rule, {"name": "pier"}, {"name": "the stone pier", "berths": 4}, {"name": "pier"})
    assert data == {"name": expected, "berths": 4}
    assert len(merge.conflicts) == 1
    assert merge.conflicts[0].startswith("name: ")
    assert merge.clashes == []


def test_last_wins_over_what_came_before() -> None:
    assert merged("last", {"a": 1, "b": [1, 2]}, {"a": 2, "b": [3]})[0] == {"a": 2, "b": [3, 2]}
    assert merged("first", {"a": None, "b": [1]}, {"a": 2, "b": [3, 4]})[0] == {"a": 2, "b": [1, 4]}


@pytest.mark.parametrize(("rule", "words"), [("first", "the earlier one"), ("last", "the later one"), ("vote", "the majority")])
def test_clashing_types_are_named_with_their_place(rule: Conflict, words: str) -> None:
    _, merge = merged(rule, {"users": [{"age": 4}]}, {"users": [{"age": "four"}]})
    assert merge.clashes == [f"users/0/age: integer and string; {words} counts"]
    assert merged(rule, {"a": 1}, {"a": 1.5})[1].clashes == []


def test_a_vote_counts_lists_of_plain_values_as_one_and_ties_go_to_the_first() -> None:
    assert merged("vote", {"tags": ["a", "b"]}, {"tags": ["c"]}, {"tags": ["c"]})[0] == {"tags": ["c"]}
    assert merged("vote", [{"n": 1}, {"n": 2}], [{"n": 1}], [{"n": 3}, {"n": 4}])[0] == [{"n": 1}, {"n": 2}]
    assert majority(["x", "y"]) == "x"
    assert majority([True, 1, 1]) == 1


@given(JSON, st.sampled_from(["first", "last", "longest", "vote", "fail"]))
def test_answers_that_agree_merge_to_themselves(value: Json, rule: Any) -> None:
    data, merge = merged(rule, value, value, value)
    assert data == value
    assert merge.conflicts == []


@given(st.lists(JSON, min_size=1, max_size=4), st.sampled_from(["first", "last", "longest", "vote", "fail"]))
def test_anything_can_be_merged_and_stays_json(values: list[Json], rule: Any) -> None:
    data, merge = merged(rule, *values)
    assert len(merge.clashes) <= len(merge.conflicts) <= 20
    assert data is not None or all(value is None for value in values)


# ── as a strategy ───────────────────────────────────────────────────────────────────────────────────────────────────────

BOTH = [{"name": "a", "tier": "cheap"}, {"name": "b", "tier": "quality"}, {"name": "c", "tier": "premium"}]


async def run(body: Json, shape: Json | None, **answers: Json) -> Draft:
    def answer(request: ChatRequest, choice: Choice) -> Json:
        return answers[choice.tier or ""]

    schema = parse_shape(shape, limits=ShapeLimits()) if shape is not None else None
    spec = parse_strategy({"parallel": {"aspects": BOTH, **body}}, named={})
    return await run_strategy(Work(messages=ASK, schema=schema), spec, FakeToolbox(answer), Choice(), visible=True)


async def test_aspects_vote() -> None:
    shape = {"name": "string", "berths": 0}
    draft = await run(
        {"merge": "vote"},
        shape,
        cheap={"name": "Old pier", "berths": 4},
        quality={"name": "Pier", "berths": 6},
        premium={"name": "Pier", "berths": 5},
    )
    assert draft.data == {"name": "Pier", "berths": 4}
    text = await run({"merge": "vote"}, None, cheap="A lake.", quality="A stone pier with six berths.", premium="A stone pier.")
    assert text.text == "A stone pier."


async def test_a_conflict_rule_holds_and_fail_names_the_place() -> None:
    said = {"cheap": {"name": "Pier"}, "quality": {"name": "Old pier"}, "premium": {"name": "Pier"}}
    assert (await run({"conflict": "longest"}, {"name": "string"}, **said)).data == {"name": "Old pier"}
    assert (await run({"conflict": "last"}, {"name": "string"}, **said)).data == {"name": "Pier"}
    with pytest.raises(StructuredFailed, match="disagree at name: pier and old pier") as caught:
        await run({"conflict": "fail"}, {"name": "string"}, **said)
    assert caught.value.partial == {"name": "Pier"}
