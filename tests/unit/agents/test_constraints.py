"""Constraints: what is read, what is refused and where, what models are told, and which values break them."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.expressions import Steps
from agents.quality.constraint_checks import check_of, share_of_count
from agents.quality.constraints import FORMATS, MAX_CONSTRAINTS, of_parts, parse_constraints, rule_of, to_json, to_rules, within
from agents.quality.fields import MISSING, digest, parse_field, spelled, spots
from agents.records import InvalidRequest, Json
from agents.verdicts import Check, Constraint

ALL: list[Json] = [
    {"field": "users[].age", "range": [18, 99]},
    {"field": "users[].since", "range": ["2020-01-01", None]},
    {"field": "users[].sku", "pattern": "^[A-Z]+$"},
    {"field": "users[].email", "unique": True, "format": "email"},
    {"field": "state", "enum": ["open", "paid", None]},
    {"field": "users", "count": [1, 5]},
    {"field": "users", "expression": "len(value) > 0"},
    {"expression": "total == sum(users[].age)"},
    {"field": "", "count": 3},
]


def found(entry: Json, data: Json) -> Check:
    """The first check of one constraint over one answer."""
    check = check_of(parse_constraints([entry])[0], Steps(100_000))
    check.add(data, 0)
    result = check.result()
    assert result is not None
    return result


def test_every_kind_is_read_and_written_back() -> None:
    constraints = parse_constraints(ALL)
    assert [one.kind for one in constraints] == [
        *("range", "range", "pattern", "unique", "format", "enum", "count", "expression", "expression", "count")
    ]
    assert constraints[0] == Constraint(kind="range", field="users[].age", value=[18, 99])
    assert parse_constraints(to_json(constraints)) == constraints
    assert parse_constraints(None) == parse_constraints([]) == ()


def test_models_are_told_in_words() -> None:
    assert to_rules(parse_constraints(ALL)) == (
        "users[].age must be between 18 and 99",
        "users[].since must be at least 2020-01-01",
        "users[].sku must match the regular expression ^[A-Z]+$",
        "users[].email must be unique: no value may occur twice",
        "users[].email must be a valid e-mail address",
        'state must be one of: "open", "paid", null',
        "users must have 1 to 5 items",
        "for each of users this must hold: len(value) > 0",
        "this must hold: total == sum(users[].age)",
        "the answer must have exactly 3 items",
    )


@pytest.mark.parametrize(
    ("entry", "param", "words"),
    [
        (3, "", "an object"),
        ({}, "", "needs a kind"),
        ({"field": "a"}, "", "needs a kind"),
        ({"field": "a", "size": 3}, "", "no kind 'size'"),
        ({"field": 3, "unique": True}, ".field", "a text"),
        ({"field": "a..b", "unique": True}, ".field", "not a path"),
        ({"field": ".a", "unique": True}, ".field", "not a path"),
        ({"field": "a.", "unique": True}, ".field", "not a path"),
        ({"field": "a[", "unique": True}, ".field", "not a path"),
        ({"field": "a[x]", "unique": True}, ".field", "not a path"),
        ({"field": "a[]b", "unique": True}, ".field", "not a path"),
        ({"field": "$.a[*]", "unique": True}, ".field", "not a path"),
        ({"field": "a" * 300, "unique": True}, ".field", "longer"),
        ({"field": "a" + "[]" * 40, "unique": True}, ".field", "more than 16"),
        ({"range": [99, 18]}, ".range", "above"),
        ({"range": [float("nan"), 1]}, ".range", "finite"),
        ({"range": [0, float("inf")]}, ".range", "finite"),
        ({"range": [0, 10**400]}, ".range", "finite"),
        ({"range": [None, None]}, ".range", "two numbers"),
        ({"range": [True, 2]}, ".range", "two numbers"),
        ({"range": [1, "z"]}, ".range", "two numbers"),
        ({"range": 3}, ".range", "[low, high]"),
        ({"pattern": "("}, ".pattern", "not a regular expression"),
        ({"pattern": 3}, ".pattern", "must be a regular expression"),
        ({"pattern": "a" * 5000}, ".pattern", "at most"),
        ({"pattern": "\ud800"}, ".pattern", "not a regular expression"),
        ({"unique": False}, ".unique", "must be true"),
        ({"enum": []}, ".enum", "1 to 500"),
        ({"enum": "open"}, ".enum", "1 to 500"),
        ({"enum": ["x" * 30_000]}, ".enum", "bytes"),
        ({"enum": [float("nan")]}, ".enum", "finite"),
        ({"enum": [10**30]}, ".enum", "64 bits"),
        ({"count": -1}, ".count", "whole number"),
        ({"count": 1.5}, ".count", "whole number"),
        ({"count": True}, ".count", "whole number"),
        ({"count": [5, 1]}, ".count", "above"),
        ({"count": [1]}, ".count", "whole number"),
        ({"format": "shoe-size"}, ".format", "no format 'shoe-size'"),
        ({"format": None}, ".format", "no format"),
        ({"expression": "a <"}, ".expression", "at character 4"),
        ({"expression": 3}, ".expression", "must be a text"),
    ],
)
def test_what_is_wrong_is_named(entry: Json, param: str, words: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_constraints([{"unique": True}, entry])
    assert caught.value.param == f"constraints[1]{param}"
    assert words in caught.value.message


def test_the_list_itself_is_bounded() -> None:
    for bad in ({"range": [1, 2]}, "unique", 3):
        with pytest.raises(InvalidRequest, match="list"):
            parse_constraints(bad)
    for many in ([{"unique": True}] * (MAX_CONSTRAINTS + 1), [{"unique": True, "count": 3}] * (MAX_CONSTRAINTS // 2 + 1)):
        with pytest.raises(InvalidRequest, match="more than") as caught:
            parse_constraints(many)
        assert caught.value.param == "constraints"


USERS = [
    {"age": 17, "email": "a@b.de", "tags": ["x"], "start": 3, "end": 5},
    {"age": 40, "email": "a@b.de", "tags": [], "start": 3, "end": 1},
    {"age": "40", "email": "nobody", "tags": None, "start": 1},
    {"age": None},
]
DATA = {"users": USERS, "total": 4, "state": "gone"}


@pytest.mark.parametrize(
    ("entry", "data", "score", "words"),
    [
        ({"field": "users[].age", "range": [18, 99]}, DATA, 1 / 3, "users[0].age: 17 is below 18"),
        ({"field": "users[].age", "range": [18, 99]}, DATA, 1 / 3, 'users[2].age: "40" is not a number'),
        ({"field": "users[].age", "range": [None, 30]}, DATA, 1 / 3, "users[1].age: 40 is above 30"),
        ({"field": "total", "range": [float(5), None]}, DATA, 0, "total: 4 is below 5"),
        ({"field": "d", "range": ["2024-01-01", "2024-12-31"]}, {"d": "2025-01-01"}, 0, "above 2024-12-31"),
        ({"field": "n", "range": [0, 1]}, {"n": True}, 0, "not a number"),
        ({"field": "n", "range": [0, 1]}, {"n": float("nan")}, 0, "below"),
        ({"field": "users[].email", "unique": True}, DATA, 2 / 3, 'users[1].email: "a@b.de" occurs twice'),
        ({"field": "users[].tags[]", "unique": True}, DATA, 1, ""),
        ({"field": "tags", "unique": True}, {"tags": [1, 1.0, True, "1"]}, 3 / 4, "tags[1]: 1.0 occurs twice"),
        ({"unique": True}, [{"a": 1, "b": 2}, {"b": 2, "a": 1}], 1 / 2, "[1]: dict occurs twice"),
        ({"field": "users[].email", "format": "email"}, DATA, 2 / 3, "users[2].email"),
        ({"field": "state", "enum": ["open"]}, DATA, 0, 'state: "gone" is not one of the values'),
        ({"field": "n", "enum": [1]}, {"n": True}, 0, "not one of"),
        ({"field": "n", "enum": [1]}, {"n": 1.0}, 1, ""),
        ({"field": "users", "count": 4}, DATA, 1, ""),
        ({"field": "users[]", "count": 8}, DATA, 0.5, "there are 4"),
        ({"field": "users[].tags", "count": [1, 3]}, DATA, 0.5, "users[1].tags: 0 items"),
        ({"count": [0, 2]}, DATA, 0.5, "there are 4"),
        ({"count": 2}, [1, 2], 1, ""),
        ({"field": "state", "count": 2}, DATA, 0, "not a list"),
        ({"field": "users[]", "expression": "end > start"}, DATA, 1 / 4, "users[1]: does not hold"),
        ({"field": "users[]", "expression": "nobody > 1"}, DATA, 0, "there is no 'nobody'"),
        ({"expression": "total == len(users)"}, DATA, 1, ""),
        ({"expression": "total / (total - 4) > 0"}, DATA, 0, "division by zero"),
        ({"expression": "unique(items[].a)"}, [{"a": 1}, {"a": 2}], 1, ""),
        ({"field": "items[].a", "range": [0, 1]}, [{"a": 1}, {"a": 2}], 1 / 2, "items[1].a: 2 is above 1"),
        ({"field": "[].a", "range": [0, 1]}, [{"a": 1}, {"a": 2}], 1 / 2, "[1].a: 2 is above 1"),
        ({"pattern": "^ok"}, "not ok", 0, "does not match"),
        ({"field": "user[].age", "range": [0, 1]}, DATA, 0, "is not in the answer"),
        ({"field": "users[].nick", "pattern": "a"}, DATA, 0, "is not in the answer"),
        ({"field": "users[].nick", "pattern": "a"}, {"users": []}, 1, ""),
        ({"field": "users[].tags[1]", "pattern": "a"}, {"users": [{"tags": ["x", "ab"]}]}, 1, ""),
    ],
)
def test_what_breaks_a_constraint(entry: Json, data: Json, score: float, words: str) -> None:
    check = found(entry, data)
    assert check.score == pytest.approx(score)
    assert words in check.detail
    assert bool(check.detail) == (score < 1)


def test_only_the_first_few_are_named() -> None:
    check = found({"field": "n[]", "range": [0, 1]}, {"n": [9] * 1000})
    assert check.detail.count("is above") == 5
    assert "and 995 more" in check.detail
    assert len(check.detail) < 1000


def test_a_hostile_value_breaks_it_and_nothing_else() -> None:
    deep: Json = []
    for _ in range(3000):
        deep = [deep]
    for entry in (
        {"unique": True},
        {"field": "[]", "enum": [1]},
        {"field": "[]", "range": [0, 1]},
        {"expression": "items == items"},
    ):
        assert found(entry, [deep, deep]).score < 1
    assert found({"field": "[]", "pattern": "a"}, ["\ud800"]).score == 0
    assert found({"unique": True}, ["\ud800", "\ud800"]).score == 0.5
    assert found({"unique": True}, [10**40, 10**40]).score == 0.5


def test_expressions_share_one_budget() -> None:
    check = check_of(parse_constraints([{"field": "[]", "expression": "sum(n) > 0"}])[0], Steps(1000))
    check.add([{"n": [1] * 100}] * 100, 0)
    result = check.result()
    assert result is not None
    assert "too many steps" in result.detail


def test_a_regex_bomb_costs_little() -> None:
    started = time.process_time()
    assert found({"field": "[]", "pattern": "^(a+)+$"}, ["a" * 5000 + "b"] * 1000).score == 0
    assert found({"field": "[]", "pattern": r"^(a|a)*(?=c)\1$"}, ["a" * 5000 + "b"] * 1000).score == 0
    assert time.process_time() - started < 5


def test_patterns_that_backtrack_share_the_budget() -> None:
    steps = Steps(20_000)
    bombs = [check_of(one, steps) for one in parse_constraints([{"field": "[]", "pattern": r"^(a|a)*(?=c)\1$"}] * 50)]
    started = time.process_time()
    for bomb in bombs:
        bomb.add(["a" * 500] * 1000, 0)
    assert time.process_time() - started < 3
    first, last = bombs[0].result(), bombs[-1].result()
    assert first is not None
    assert last is not None
    assert "900 values were not checked" in first.detail
    assert (last.score, last.detail) == (0.0, "[] was not checked: that takes too many steps")


def test_what_holds_for_parts() -> None:
    assert {rule_of(one) for one in of_parts(parse_constraints(ALL))} == {
        "users[].age must be between 18 and 99",
        "users[].since must be at least 2020-01-01",
        "users[].sku must match the regular expression ^[A-Z]+$",
        "users[].email must be unique: no value may occur twice",
        "users[].email must be a valid e-mail address",
    }
    kept = of_parts(parse_constraints([{"field": "u[].tags", "count": 2}, {"field": "u[]", "count": 2, "expression": "a > 1"}]))
    assert [(one.field, one.kind) for one in kept] == [("u[].tags", "count"), ("u[]", "expression")]


def test_what_a_schema_knows() -> None:
    item = {"type": "object", "properties": {"age": {"type": "integer"}, "start": {}}}
    schema = {"type": "object", "properties": {"users": {"type": "array", "items": {"$ref": "#/$defs/u"}}}, "$defs": {"u": item}}
    entries = [
        {"field": "users[].age", "range": [1, 2]},
        {"field": "users[].email", "format": "email"},
        {"field": "total", "range": [1, 2]},
        {"field": "users[]", "expression": "end > start"},
        {"field": "users[]", "expression": "age > start"},
        {"expression": "len(users) > 1"},
        {"expression": "total > 1"},
    ]
    kept = within(parse_constraints(entries), schema)
    assert to_json(kept) == [entries[0], entries[4], entries[5]]
    assert len(within(parse_constraints(entries), None)) == len(entries)
    rows = {"type": "array", "items": item}
    assert len(within(parse_constraints([{"field": "items[].age", "count": 1}, {"field": "[].age", "count": 1}]), rows)) == 2
    assert within(parse_constraints([{"field": "age", "count": 1}]), rows) == ()


# ── paths and digests ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_paths() -> None:
    assert parse_field("") == ()
    assert parse_field("a[].b c.d-e[2][]") == ("a", None, "b c", "d-e", 2, None)
    assert parse_field("[].a") == (None, "a")
    assert list(spots({"a": [{"b": 1}, {}, 3]}, ("a", None, "b"))) == [((0,), 1), ((1,), MISSING), ((2,), MISSING)]
    assert spelled(("a", None, "b", 2, None, "c"), (7, 1)) == "a[7].b[2][1].c"
    assert spelled((), ()) == "the answer"


def test_digests_tell_values_apart() -> None:
    different = [1, "1", True, None, [], {}, [1], {"a": 1}, 1.5, "", 0, False, [[1]], {"a": None}]
    assert len({digest(value) for value in different}) == len(different)
    assert digest({"a": 1, "b": [2.0]}) == digest({"b": [2], "a": 1.0})


JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "items", "field"]), inner, max_size=3),
    max_leaves=10,
)
FIELDS = st.sampled_from(["", "a", "a[]", "[]", "a[].b", "items[]", "a.b[0]", "a[][]"])
RULES = st.sampled_from(["a > b", "len(items) > 1", "value == 1", "true"])
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
ENTRIES = st.one_of(
    st.builds(lambda f, v: {"field": f, "range": sorted(v)}, FIELDS, st.tuples(NUMBERS, NUMBERS)),
    st.builds(lambda f, v: {"field": f, "enum": v}, FIELDS, st.lists(JSON, min_size=1, max_size=3)),
    st.builds(lambda f, v: {"field": f, "count": sorted(v)}, FIELDS, st.tuples(st.integers(0, 9), st.integers(0, 9))),
    st.builds(lambda f, v: {"field": f, "pattern": v, "unique": True}, FIELDS, st.sampled_from(["a", "^$", r"(.)\1", "[a-z]+"])),
    st.builds(lambda f, v: {"field": f, "format": v}, FIELDS, st.sampled_from(sorted(FORMATS))),
    st.builds(
        lambda f, v: {"field": f, "expression": v}, FIELDS, st.sampled_from(["a > b", "len(items) > 1", "value == 1", "true"])
    ),
)


@given(
    st.lists(JSON | ENTRIES | st.dictionaries(st.sampled_from(["field", "range", "enum", "count", "pattern"]), JSON), max_size=4)
)
def test_reading_raises_nothing_but_invalid_request_and_round_trips(entries: list[Json]) -> None:
    try:
        constraints = parse_constraints(entries)
    except InvalidRequest as error:
        named = error.param or ""
        assert named.startswith("constraints")
        return
    assert parse_constraints(to_json(constraints)) == constraints
    assert all(isinstance(rule, str) for rule in to_rules(constraints))


@given(ENTRIES, JSON)
def test_a_check_gives_a_score_for_any_answer(entry: Json, data: Json) -> None:
    try:
        constraints = parse_constraints([entry])
    except InvalidRequest:
        return
    for constraint in constraints:
        check = check_of(constraint, Steps(10_000))
        check.add(data, 0)
        result = check.result()
        assert result is not None
        assert 0.0 <= result.score <= 1.0
        assert (result.score == 1.0) == (not result.detail)


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))
def test_the_share_of_a_count(n: int, a: int, b: int) -> None:
    low, high = sorted((a, b))
    assert 0.0 <= share_of_count(n, low, high) <= 1.0
    assert (share_of_count(n, low, high) == 1.0) == (low <= n <= high)
