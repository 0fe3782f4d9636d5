"""The language of rules: what it gives, what it refuses, and that nothing makes it fail in any other way or cost too much."""

from __future__ import annotations

import pickle
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.expressions import MAX_STEPS, Expression, Steps, parse
from agents.records import ExpressionFailed, InvalidRequest, Json

NAMES: dict[str, Json] = {
    "order": {"total": 3.3, "lines": [{"price": 1.1, "qty": 2, "ok": True}, {"price": 2.2, "qty": 1, "ok": True}]},
    "start": "2024-01-01",
    "end": "2024-02-01T00:00:00Z",
    "items": [{"tags": ["a", "b"], "n": 1}, {"tags": [], "n": 2}, {"n": None}],
    "flags": [True, True, False],
    "paid": True,
    "gone": None,
    "name": "Ada Lovelace",
    "n": 7,
    "big": 10**30,
    "nan": float("nan"),
    "odd": {"unit-price": 5, "in": 1, "": 0},
}

GIVES: list[tuple[str, Json]] = [
    ("1 + 2 * 3", 7),
    ("(1 + 2) * 3", 9),
    ("7 // 2 + 7 % 4 - -1", 7),
    ("-7 // 2", -4),
    ("7 / 2", 3.5),
    ("10 - 3 - 2", 5),
    ("'a' + \"b\"", "ab"),
    (r"'it\'s'", "it's"),
    (r"'\d\\'", "\\d\\"),
    ("[1, 'a', null, [true]]", [1, "a", None, [True]]),
    ("order.total == sum(order.lines[].price)", True),
    ("0.1 + 0.2 == 0.3 and 0.1 + 0.2 <= 0.3 and not 0.1 + 0.2 > 0.3", True),
    ("order.lines[0].price", 1.1),
    ("order.lines[9].price", None),
    ("order.lines[].nothing", [None, None]),
    ("order.nothing.at.all", None),
    ("name.first", None),
    ("gone[]", []),
    ("items[].tags[]", ["a", "b"]),
    ('odd["unit-price"] + odd.in', 6),
    ("1 == true or 0 == false", False),
    ("1 == 1.0", True),
    ("'1' == 1", False),
    ("[1, [2.0]] == [1, [2]]", True),
    ("null == gone and items[2].n != 3", True),
    ("paid and not gone == 1", True),
    ("n in [1, 7]", True),
    ("true in [1]", False),
    ("'Love' in name and 'x' not in name and 'total' in order", True),
    ("'a' < 'b' and n >= 7 and n <= 7 and not n < 7 and not n > 7", True),
    ("false and nothing_known", False),
    ("true or 1 / 0 == 1", True),
    ("all(order.lines[].price * order.lines[].qty < 2.3)", True),
    ("any(items[].n == 2)", True),
    ("all(gone[].x > 3) and not any(gone[].x > 3)", True),
    ("all(flags)", False),
    ("any(flags)", True),
    ("all([n > 1, paid])", True),
    ("len('abc') + len([1]) + len(order)", 6),
    ("min(3, 1.5, 2)", 1.5),
    ("max([1, 9, 3])", 9),
    ("max('a', 'c', 'b')", "c"),
    ("sum([])", 0),
    ("abs(-3)", 3),
    ("round(2.567, 2)", 2.57),
    ("round(2.5)", 2),
    ("round(1234, -2)", 1200),
    ("lower('ABC') + upper('def')", "abcDEF"),
    ("contains(name, 'Ada') and starts_with(name, 'Ada') and ends_with(name, 'lace')", True),
    ("contains([1, 2], 2)", True),
    (r"matches('AB-123', '^[A-Z]{2}-\d+$')", True),
    (r"matches('abab', '^(ab)\1$')", True),
    ("count(items[].n)", 2),
    ("count([1, 2, 1.0], 1)", 2),
    ("unique(items[].n)", True),
    ("unique([1, 2, 1])", False),
    ("unique([0.3, 1, 0.1 + 0.2])", False),
    ("unique(['a', 1, 'a'])", False),
    ("date('1970-01-02')", 86400.0),
    ("days(start, end)", 31.0),
    ("days('2024-01-01T00:00:00+02:00', '2024-01-01')", 2 / 24),
]


@pytest.mark.parametrize(("text", "result"), GIVES, ids=[text for text, _ in GIVES])
def test_what_an_expression_gives(text: str, result: Json) -> None:
    found = parse(text).value(NAMES)
    assert found == pytest.approx(result) if isinstance(result, float) else found == result
    assert type(found) is type(result)


@pytest.mark.parametrize(
    ("text", "at", "words"),
    [
        ("", 1, "a value is missing"),
        ("1 +", 4, "a value is missing"),
        ("1 < 2 < 3", 7, "chained"),
        ("a = 3", 3, "use =="),
        ("'abc", 1, "does not end"),
        ("2 ** 3", 4, "before '*'"),
        ("a.b(1)", 4, "unexpected '('"),
        ("__import__('os')", 1, "no function"),
        ("a..b", 3, "name is missing"),
        ("a[-1]", 3, "whole number"),
        ("a[1.5]", 3, "whole number"),
        ("a[b]", 3, "whole number"),
        ("(1", 3, "')' is missing"),
        ("len()", 1, "takes 1 argument, not 0"),
        ("round(1, 2, 3)", 1, "1 to 2 arguments"),
        ("1e999", 1, "too large"),
        ("9" * 30, 1, "64 bits"),
        ("matches(a, '(')", 1, "not a regular expression"),
        ("matches(a, b)", 1, "quoted text"),
        ("all(a[].b == c[].d)", 1, "one list only"),
        ("all(any(a[].b))", 1, "inside"),
        ("a; b", 2, "unexpected ';'"),
        ("lambda: 1", 7, "unexpected ':'"),
        ("and", 1, "before 'and'"),
        ("a b", 3, "unexpected 'b'"),
        ("'it''s'", 5, "unexpected"),
        ("(" * 40 + "1" + ")" * 40, 34, "nested deeper"),
        ("not " * 100 + "a", 133, "nested deeper"),
        ("- " * 100 + "a", 67, "nested deeper"),
        ("+".join(["1"] * 600), None, "more than 500 parts"),
        ("[" * 900, 34, "nested deeper"),
    ],
)
def test_what_cannot_be_read_says_where_and_what(text: str, at: int | None, words: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(text, param="constraints[3].expression")
    assert caught.value.param == "constraints[3].expression"
    assert words in caught.value.message
    if at is not None:
        assert f"at character {at}:" in caught.value.message


def test_a_text_that_is_too_long_or_no_text_is_refused() -> None:
    for bad in ("1" + " " * 2000, None, 3, ["1"]):
        with pytest.raises(InvalidRequest):
            parse(bad)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nobody", "there is no 'nobody'"),
        ("count", "there is no 'count'"),
        ("1 / 0", "division by zero"),
        ("1.5 % 0", "division by zero"),
        ("1 // 0", "division by zero"),
        ("9223372036854775807 + 1", "64 bits"),
        ("big + 1", "64 bits"),
        ("1e308 * 10", "not finite"),
        ("nan > 1", "not finite"),
        ("sum([1e308, 1e308])", "too large"),
        ("'a' * 1000000000", "needs a number"),
        ("'a' + 1", "needs a number"),
        ("paid + 1", "needs a number"),
        ("1 < 'a'", "cannot be compared"),
        ("gone > 1", "null"),
        ("true < false", "cannot be compared"),
        ("1 and true", "true or false"),
        ("not 1", "true or false"),
        ("all(items[].n > 0)", "null"),
        ("all(items[].n)", "true or false"),
        ("all([1])", "true or false"),
        ("name[]", "needs a list"),
        ("sum('abc')", "needs a list"),
        ("sum(items[].n)", "not null"),
        ("min([])", "nothing"),
        ("len(3)", "len needs"),
        ("round(1, 99)", "digits"),
        ("date('soon')", "ISO 8601"),
        ("date('0001-01-01T00:00:00+23:00') > 0 or date(3) > 0", "needs a text"),
        ("1 in 3", "in needs"),
        ("1 in 'a'", "needs a text"),
        ("matches(3, 'a')", "needs a text"),
    ],
)
def test_what_cannot_be_worked_out_is_one_error(text: str, words: str) -> None:
    with pytest.raises(ExpressionFailed, match=words.replace("(", r"\(")) as caught:
        parse(text).value(NAMES)
    assert caught.value.code == "expression_failed"


def test_only_true_or_false_holds() -> None:
    assert parse("n == 7").holds(NAMES) is True
    with pytest.raises(ExpressionFailed, match="a number"):
        parse("n").holds(NAMES)


def test_an_expression_is_a_value() -> None:
    one, other = parse("n > 1"), pickle.loads(pickle.dumps(parse("n > 1")))
    assert one == other
    assert one is parse("n > 1")
    assert other.holds(NAMES)
    assert parse("sum(items[].n) + order.total > all(flags[].x)").names == {"items", "order", "flags"}


# ── nothing else ever comes of it, and not for long ─────────────────────────────────────────────────────────────────────

SIGNS = "( ) [ ] , . + - * / // % == != < <= > >= in not and or"
CALLS = "len( sum( min( max( abs( round( lower( upper( matches( count( unique( all( any( date( days( contains("
ATOMS = "a b.c items[] items[].n n name 1 2.5 9e307 'x' \"y\" true false null big nan"
WORDS = st.sampled_from(f"{SIGNS} {CALLS} {ATOMS}".split())
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abcn"), inner, max_size=4),
    max_leaves=12,
)


@given(st.text(max_size=200) | st.lists(WORDS, max_size=25).map(" ".join))
def test_reading_raises_nothing_but_invalid_request(text: str) -> None:
    try:
        found = parse(text)
    except InvalidRequest:
        return
    assert isinstance(found, Expression)


TEMPLATES = st.sampled_from(
    [
        *("{} + {}", "{} - {}", "{} * {}", "{} / {}", "{} // {}", "{} % {}", "{} == {}", "{} < {}", "{} >= {}", "{} in {}"),
        *("{} and {}", "{} or {}", "round({}, {})", "min({}, {})", "max({}, {})", "count({}, {})", "contains({}, {})"),
        *("days({}, {})", "starts_with({}, {})", "[{}, {}]", "sum([{}, {}])", "unique([{}, {}])", "len({}) + abs({})"),
        *("all(items[] == {}) or any({})", "not {} or - {}", "date({}) + sum({})", "lower({}) + upper({})", "{}[] == {}.n"),
    ]
)


@given(
    st.lists(TEMPLATES, min_size=1, max_size=4),
    st.lists(st.sampled_from(["a", "b", "items", "items[].n", "a.n[]", "3", "-1.5e300", "'x'", "null", "true"]), min_size=8),
    st.fixed_dictionaries({"a": VALUES, "b": VALUES, "items": VALUES}),
)
def test_working_out_raises_nothing_but_expression_failed(templates: list[str], atoms: list[str], names: dict[str, Any]) -> None:
    text, rest = atoms[0], iter(atoms[1:])
    for template in templates:
        # A path takes ``[]`` only directly, so that what is not an atom stays on its own side.
        text = template.format(f"({text})" if "{}[]" not in template else atoms[0], next(rest, "a"))
    try:
        expression = parse(text)
    except InvalidRequest:
        return
    try:
        result = expression.value(names)
    except ExpressionFailed:
        return
    assert result is None or isinstance(result, bool | int | float | str | list | dict)


@pytest.mark.parametrize(
    "text",
    [
        "all(len(items[].n) * sum(items[].n) > 0)",
        "count(big, 3) == 0 and unique(big)",
        "big == other",
        "len(x[][]) + len(x[][][]) + len(x[][][]) + len(x[][][]) > 0",
    ],
)
def test_the_cost_is_bounded(text: str) -> None:
    big = [{"n": index} for index in range(60_000)]
    names = {
        "items": [{"n": list(range(300))}] * 3000,
        "big": big,
        "other": [dict(item) for item in big],
        "x": [[[1] * 200] * 200],
    }
    steps = Steps(MAX_STEPS)
    started = time.process_time()
    with pytest.raises(ExpressionFailed, match="too many steps"):
        parse(text).value(names, steps=steps)
    assert time.process_time() - started < 2


def test_patterns_do_not_spin() -> None:
    names = {"items": ["a" * 3000 + "b"] * 2000, "x": "a" * 50_000}
    started = time.process_time()
    assert parse("matches(x, '^(a+)+$')").holds(names)
    with pytest.raises(ExpressionFailed, match="steps"):
        parse(r"any(matches(items[], '^(a|a)*(?=c)\1$'))").holds(names)
    assert time.process_time() - started < 3


def test_values_too_deep_to_compare_are_an_error_and_not_a_crash() -> None:
    deep: Json = []
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(ExpressionFailed, match="nested"):
        parse("a == b").value({"a": deep, "b": deep})
    with pytest.raises(ExpressionFailed, match="nested"):
        parse("unique(a)").value({"a": [deep, deep]})
