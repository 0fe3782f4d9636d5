"""Lining up requests: which differences the parameters of stored code can take up, and which never."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.alignment import Parameter, Tiers, align, pieces

USERS = "Generate 1000 users with normal age distribution between 18 and 65"
PARAMETERS = (
    Parameter(name="count", value=1000, minimum=1, maximum=100_000),
    Parameter(name="field", value="age", choices=("age", "salary", "height")),
    Parameter(name="low", value=18),
    Parameter(name="high", value=65),
)


@pytest.mark.parametrize(
    ("new", "changed"),
    [
        ("Generate 500 users with normal age distribution between 18 and 65", {"count": 500}),
        ("Generate 2k users with normal age distribution between 18 and 65", {"count": 2000}),
        (
            "Generate 2,500 users with normal salary distribution between 20 and 90",
            {"count": 2500, "field": "salary", "low": 20, "high": 90},
        ),
        ("generate twelve users with normal age distribution between 18 and 65", {"count": 12}),
        (USERS, {}),
    ],
)
def test_numbers_and_field_names_become_parameters(new: str, changed: dict[str, object]) -> None:
    found = align(USERS, new, PARAMETERS)
    assert found.reason == ""
    assert found.covered
    assert found.values == {parameter.name: parameter.value for parameter in PARAMETERS} | changed


@pytest.mark.parametrize(
    ("new", "reason"),
    [
        ("Generate 1000 users with bimodal age distribution between 18 and 65", "no parameter holds «normal»"),
        ("Generate 1000 users without normal age distribution between 18 and 65", "negates"),
        ("Generate 1000 users with normal age distribution", "became"),
        ("Generate 1000 users with normal age distribution between 18 and 65 and their addresses", "became"),
        ("Generate 0 users with normal age distribution between 18 and 65", "at least 1"),
        ("Generate 1.5 users with normal age distribution between 18 and 65", "whole number"),
        ("Generate 1000 users with normal shoe distribution between 18 and 65", "cannot be «shoe»"),
        ("Generate 999999999 users with normal age distribution between 18 and 65", "at most"),
    ],
)
def test_what_no_parameter_can_take_up_is_not_covered(new: str, reason: str) -> None:
    found = align(USERS, new, PARAMETERS)
    assert not found.covered
    assert reason in found.reason
    assert found.values == {parameter.name: parameter.value for parameter in PARAMETERS}


def test_a_value_that_two_parameters_hold_is_nobodys() -> None:
    twins = (Parameter(name="rows", value=10), Parameter(name="columns", value=10))
    assert "several" in align("a table of 10 by 10", "a table of 10 by 20", twins).reason


def test_a_value_that_stands_twice_must_change_alike() -> None:
    one = (Parameter(name="n", value=5),)
    assert align("5 users, yes 5", "7 users, yes 7", one).values == {"n": 7}
    assert not align("5 users, yes 5", "7 users, yes 8", one).covered
    assert not align("5 users, yes 5", "7 users, yes 5", one).covered


def test_quoted_texts_are_values() -> None:
    found = align(
        'count rows where city is "Oslo"', 'count rows where city is "New York"', [Parameter(name="city", value="Oslo")]
    )
    assert found.covered
    assert found.values == {"city": "New York"}


@given(old=st.text(max_size=120), new=st.text(max_size=120), value=st.integers(-5, 5))
def test_any_texts_line_up_or_are_refused(old: str, new: str, value: int) -> None:
    found = align(old, new, [Parameter(name="n", value=value)])
    assert found.covered == (found.reason == "")
    assert set(found.values) == {"n"}


@given(text=st.text(max_size=200))
def test_a_request_is_covered_by_itself(text: str) -> None:
    found = align(text, text, ())
    assert found.covered
    assert found.changes == ()


@given(count=st.integers(0, 10**9))
def test_every_number_comes_through(count: int) -> None:
    assert align("give me 3 rows", f"give me {count} rows", [Parameter(name="n", value=3)]).values == {"n": count}


def test_pieces_know_numbers_units_and_signs() -> None:
    assert [piece.value for piece in pieces("-2.5 to 1e3 at 15% of 3m")] == [-2.5, "to", 1000, "at", 15, "%", "of", 3_000_000]


@pytest.mark.parametrize(
    ("similarity", "tier", "steps"),
    [
        (1.0, "parameter_tuning", 3),
        (0.92, "field_substitution", 3),
        (0.85, "field_substitution", 4),
        (0.75, "logic_adaptation", 4),
        (0.65, "combination", 5),
        (0.4, "generation", 6),
        (math.nan, "generation", 6),
    ],
)
def test_tiers_and_paths(similarity: float, tier: str, steps: int) -> None:
    assert (Tiers().name(similarity), Tiers().steps(similarity)) == (tier, steps)


def test_tiers_must_fall() -> None:
    with pytest.raises(ValueError, match="must fall"):
        Tiers(field_substitution=0.99)
    with pytest.raises(ValueError, match="paths"):
        Tiers(paths=(0.5, 0.7, 0.9))
