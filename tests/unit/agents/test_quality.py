"""Verdicts: completeness, validity, counts and constraints as one score; a judge; answers in parts."""

from __future__ import annotations

import time
import tracemalloc
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.quality import Tally, check, issues, with_judge
from agents.quality.constraints import parse_constraints
from agents.records import InvalidRequest, Json
from agents.verdicts import Check, Verdict

USER: dict[str, Json] = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer"},
        "nick": {"type": ["string", "null"]},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["name", "age"],
}
SCHEMA: dict[str, Json] = {
    "type": "object",
    "properties": {"users": {"type": "array", "items": USER}},
    "required": ["users"],
}
GOOD = {"name": "Ada", "age": 36, "nick": "A", "tags": ["x"]}


def by_name(verdict: Verdict) -> dict[str, Check]:
    return {one.name: one for one in verdict.checks}


def test_a_perfect_answer() -> None:
    constraints = parse_constraints([{"field": "users[].age", "range": [18, 99]}])
    verdict = check({"users": [GOOD] * 3}, schema=SCHEMA, count=3, constraints=constraints)
    assert verdict.score == 1.0
    assert verdict.source == "checks"
    assert set(by_name(verdict)) == {"schema", "count", "completeness", "range users[].age"}
    assert issues(verdict) == ()


def test_nothing_to_check_says_so() -> None:
    assert check(None, text="Hello") == Verdict(score=1.0, source="none")


def test_no_answer_is_the_worst() -> None:
    verdict = check(None, schema=SCHEMA, text="")
    assert verdict.score == 0.0
    assert issues(verdict) == ("there is no answer",)
    assert check(None, schema={"type": "null"}).score == 1.0


def test_free_text_has_constraints_too() -> None:
    constraints = parse_constraints([{"pattern": "^Dear", "expression": "len(value) < 20"}])
    assert check(None, constraints=constraints, text="Dear Ada").score == 1.0
    bad = check(None, constraints=constraints, text="Hello Ada")
    assert bad.score == pytest.approx(((0 + 1) / 2 + 0) / 2)
    assert "^Dear" in issues(bad)[0]


GAPS = ("", "  ", None, "N/A", "string", "TBD", "...", "<name>", "{{name}}", "[your name]", "Lorem ipsum dolor")


@pytest.mark.parametrize("empty", GAPS)
def test_a_placeholder_is_not_filled(empty: Json) -> None:
    found = by_name(check({"users": [{**GOOD, "name": empty}]}, schema=SCHEMA))["completeness"]
    # Two of three required fields; four of five fields (users itself is one).
    assert found.score == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert found.detail == "not filled: users[0].name"


@pytest.mark.parametrize("value", ["None", "unknown", "String theory", "Todo el mundo", "NA", "[1, 2]"])
def test_what_may_be_an_answer_is_one(value: str) -> None:
    assert by_name(check({"users": [{**GOOD, "name": value}]}, schema=SCHEMA))["completeness"].score == 1.0


def test_an_allowed_null_or_empty_list_is_half_filled() -> None:
    schema = {**USER, "required": ["name", "nick", "tags"]}
    found = by_name(check({**GOOD, "nick": None, "tags": []}, schema=schema))["completeness"]
    assert found.score == pytest.approx((1 + 2 / 4) / 2)
    assert found.detail == ""


def test_invalid_items_count_by_their_share() -> None:
    verdict = check({"users": [GOOD, {**GOOD, "age": "old"}, GOOD, GOOD]}, schema=SCHEMA)
    found = by_name(verdict)["schema"]
    assert found.score == 0.75
    assert "users/1/age" in found.detail
    assert verdict.score == pytest.approx(0.75)


def test_errors_outside_the_list_count_by_fields() -> None:
    assert by_name(check({"name": 3, "age": 1, "nick": None, "tags": []}, schema=USER))["schema"].score == 0.75
    assert check("nonsense", schema=USER).score == 0.0
    assert check([1, 2], schema=SCHEMA).score == 0.0


def test_a_count_is_a_check_of_its_own() -> None:
    short = check({"users": [GOOD] * 4}, schema=SCHEMA, count=5)
    assert by_name(short)["count"].score == 0.8
    assert by_name(short)["schema"].score == 1.0
    assert issues(short) == ("5 items were asked, 4 came",)
    flat = {"type": "object", "properties": {"name": {"type": "string"}}}
    assert check([{"name": "Ada"}] * 2, schema=flat, count=2).score == 1.0
    bounded = {"type": "array", "items": USER, "minItems": 2}
    assert issues(check([GOOD], schema=bounded)) == ("2 or more items were asked, 1 came",)


def test_one_rule_broken_everywhere_shows_among_many() -> None:
    kept = [{"field": "users[].age", "range": [0, most]} for most in range(100, 109)]
    broken = [{"field": "users[].age", "range": [90, 99]}]
    verdict = check({"users": [GOOD]}, schema=SCHEMA, constraints=parse_constraints(kept + broken))
    assert verdict.score == pytest.approx((1 + (0.9 + 0) / 2) / 2)
    assert issues(verdict, only_constraints=True) == ("users[].age must be between 90 and 99 (users[0].age: 36 is below 90)",)
    assert issues(verdict, 0) == ()


# ── opinions ────────────────────────────────────────────────────────────────────────────────────────────────────────────

BASE = check({"users": [GOOD] * 4}, schema=SCHEMA, count=5)


def test_a_judge_is_mixed_in_by_weight_and_replaced_by_the_next() -> None:
    once = with_judge(BASE, 0.4, 0.25, detail="dull")
    assert once.source == "judge"
    assert once.score == pytest.approx(0.75 * BASE.score + 0.25 * 0.4)
    again = with_judge(once, 1.0, 0.25)
    assert again.score == pytest.approx(0.75 * BASE.score + 0.25)
    assert [one.name for one in again.checks].count("judge") == 1
    assert with_judge(Verdict(score=1.0, source="none"), 0.3).score == 0.3
    assert issues(once) == issues(BASE)


def test_a_persons_word_stands_above_a_judges() -> None:
    person = replace(BASE, score=0.1, source="feedback")
    after = with_judge(person, 0.9)
    assert (after.score, after.source) == (0.1, "feedback")
    assert "judge" in by_name(after)
    assert issues(after) == issues(BASE)


@pytest.mark.parametrize("bad", [-0.1, 1.1, float("nan"), float("inf"), True, "1"])
def test_an_opinion_is_a_share(bad: Any) -> None:
    with pytest.raises(InvalidRequest):
        with_judge(BASE, bad)
    with pytest.raises(InvalidRequest):
        with_judge(BASE, 0.5, bad)


# ── parts ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

CONSTRAINTS = parse_constraints(
    [
        {"field": "users[].age", "range": [18, 99]},
        {"field": "users[].name", "unique": True},
        {"field": "users", "count": [1, 30]},
        {"field": "users[].tags", "count": [0, 2]},
        {"field": "users[]", "expression": "age > 0 and nick != 'x'"},
    ]
)
ITEMS = st.fixed_dictionaries(
    {"name": st.sampled_from(["Ada", "Bob", "Cy", ""]), "age": st.integers(0, 120) | st.just("old")},
    optional={"nick": st.none() | st.sampled_from(["x", "y"]), "tags": st.lists(st.just("t"), max_size=3)},
)


@given(st.lists(ITEMS, max_size=12), st.integers(1, 5), st.integers(1, 12))
def test_parts_give_what_the_whole_gives(items: list[Json], size: int, count: int) -> None:
    # ``nick`` is known from the first item that has it, so that it is given here to be the same in both.
    items = [{"nick": None, **item} for item in items]
    whole = check({"users": items}, schema=SCHEMA, count=count, constraints=CONSTRAINTS)
    tally = Tally(schema=SCHEMA, count=count, constraints=CONSTRAINTS)
    for first in range(0, len(items), size):
        tally.add({"users": items[first : first + size]})
    parts = tally.verdict()
    if len(items) <= size:
        tally_once = Tally(schema=SCHEMA, count=count, constraints=CONSTRAINTS)
        tally_once.add({"users": items})
        assert tally_once.verdict() == whole
    if items:
        for name in ("schema", "count", "range users[].age", "unique users[].name", "count users", "expression users[]"):
            assert by_name(parts)[name] == by_name(whole)[name]


def test_what_is_said_of_the_whole_is_left_out_of_parts() -> None:
    constraints = parse_constraints([{"expression": "len(users) == 2"}])
    tally = Tally(constraints=constraints)
    tally.add({"users": [1]})
    tally.add({"users": [2]})
    assert tally.verdict().source == "none"


def test_offenders_of_later_parts_are_named_by_their_place() -> None:
    tally = Tally(schema=SCHEMA, constraints=CONSTRAINTS[:2])
    tally.add({"users": [{**GOOD, "name": str(index)} for index in range(10)]})
    tally.add({"users": [{**GOOD, "name": "3", "age": "old"}]})
    told = " ".join(issues(tally.verdict()))
    assert "users/10/age" in told
    assert 'users[10].name: "3" occurs twice' in told
    assert 'users[10].age: "old" is not a number' in told


def test_ten_thousand_items_are_cheap_and_parts_small() -> None:
    items = [{"name": f"n{index}", "age": 20 + index % 50, "nick": "n", "tags": ["a"]} for index in range(10_000)]
    started = time.process_time()
    verdict = check({"users": items}, schema=SCHEMA, count=10_000, constraints=(*CONSTRAINTS[:2], *CONSTRAINTS[3:]))
    assert verdict.score == 1.0
    # Measured at 0.25 s.
    assert time.process_time() - started < 3
    tally = Tally(schema=SCHEMA, count=10_000, constraints=(*CONSTRAINTS[:2], *CONSTRAINTS[3:]))
    tracemalloc.start()
    for first in range(0, 10_000, 50):
        tally.add({"users": [dict(item) for item in items[first : first + 50]]})
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert tally.verdict().score == 1.0
    assert used < 3_000_000


# ── whatever comes ──────────────────────────────────────────────────────────────────────────────────────────────────────

NAMES = st.sampled_from(["users", "name", "age", "tags"])
JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=15,
)
SCHEMAS = st.sampled_from([None, SCHEMA, USER, {"type": "array", "items": USER, "maxItems": 2}, {}])


@given(JSON, SCHEMAS, st.none() | st.integers(0, 5))
def test_the_score_is_always_a_share(data: Json, schema: Any, count: int | None) -> None:
    verdict = check(data, schema=schema, count=count if schema else None, constraints=CONSTRAINTS, text="x")
    assert 0.0 <= verdict.score <= 1.0
    assert all(0.0 <= one.score <= 1.0 for one in verdict.checks)
    assert len(issues(verdict, 3)) <= 3


def test_an_answer_nested_deep_is_judged() -> None:
    deep: Json = []
    for _ in range(3000):
        deep = [deep]
    assert 0.0 <= check({"users": deep}, schema=SCHEMA, constraints=CONSTRAINTS).score <= 1.0
