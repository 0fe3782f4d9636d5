"""Constraints on all values of a field together: what is read and refused, that true samples pass and wrong ones do not."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents import quality
from agents.expressions import Steps
from agents.quality.constraint_checks import check_of
from agents.quality.constraints import of_parts, parse_constraints, rule_of, to_json, within
from agents.quality.statistical_checks import MAX_SAMPLE
from agents.records import InvalidRequest, Json
from agents.verdicts import Check

Draw = Callable[[np.random.Generator, int], Any]

ALL: list[Json] = [
    {"field": "[].age", "distribution": {"family": "normal", "mean": 35, "std": 12, "clip": [18, None], "round": True}},
    {"field": "[].price", "distribution": {"family": "lognormal", "round": 0.01, "alpha": 0.05}},
    {"field": "[].wait", "distribution": {"family": "exponential", "mean": 4}},
    {"field": "[].size", "distribution": {"family": "bimodal", "components": [{"mean": 1, "std": 1}, {"mean": 9, "std": 2}]}},
    {"fields": ["[].a", "[].b"], "correlation": {"r2_at_least": 0.5, "scale": "log"}},
    {"fields": ["[].a", "[].c"], "correlation": {"r": [-0.9, -0.2]}},
    {"field": "[].plan", "ratios": {"free": 60, "paid": 40}},
    {"field": "[].at", "monotonic": "strictly_increasing"},
    {"field": "[].amount", "sum": 100},
    {"field": "[].amount", "sum": [None, 120]},
]


def found(entry: Json, *parts: Json) -> Check:
    check = check_of(parse_constraints([entry])[0], Steps(100_000))
    offset = 0
    for part in parts:
        check.add(part, offset)
        offset += len(part)
    result = check.result()
    assert result is not None
    return result


def column(values: Any, name: str = "v") -> list[Json]:
    return [{name: value} for value in np.asarray(values).tolist()]


def test_every_kind_is_read_and_written_back() -> None:
    constraints = parse_constraints(ALL)
    assert [one.kind for one in constraints] == [
        *("distribution",) * 4,
        *("correlation", "correlation", "ratios", "monotonic", "sum", "sum"),
    ]
    assert parse_constraints(to_json(constraints)) == constraints


def test_models_are_told_in_words() -> None:
    told = [rule_of(one) for one in parse_constraints(ALL)]
    assert told[0] == (
        "the values of [].age must follow a normal distribution (mean 35, std 12), clipped to 18 … open, rounded to whole numbers"
    )
    assert told[4] == "[].a and [].b must correlate on a logarithmic scale with r² of at least 0.5"
    assert told[6] == "the values of [].plan must occur in these shares: free 0.6, paid 0.4"
    assert told[7] == "the values of [].at must be strictly increasing from item to item"
    assert told[8:] == ["the values of [].amount must sum to 100", "the sum of [].amount must be at most 120"]


@pytest.mark.parametrize(
    ("entry", "param"),
    [
        ({"field": "[].a", "distribution": {"family": "zeta"}}, ".distribution.family"),
        ({"field": "[].a", "distribution": []}, ".distribution"),
        ({"field": "[].a", "distribution": {"family": "normal", "mean": 1}}, ".distribution"),
        ({"field": "[].a", "distribution": {"family": "normal", "mean": 1, "std": 0}}, ".distribution.std"),
        ({"field": "[].a", "distribution": {"family": "normal", "mean": 1, "std": 1, "sd": 1}}, ".distribution"),
        ({"field": "[].a", "distribution": {"family": "normal", "alpha": 0.5}}, ".distribution.alpha"),
        ({"field": "[].a", "distribution": {"family": "normal", "clip": [3, 3]}}, ".distribution.clip"),
        ({"field": "[].a", "distribution": {"family": "normal", "truncate": [1, 2]}}, ".distribution.truncate"),
        ({"field": "[].a", "distribution": {"family": "uniform", "low": 2, "high": 1}}, ".distribution.low"),
        ({"field": "[].a", "distribution": {"family": "exponential", "mean": -1}}, ".distribution.mean"),
        ({"field": "[].a", "distribution": {"family": "gamma"}}, ".distribution"),
        ({"field": "[].a", "distribution": {"family": "mixture", "components": [{}]}}, ".distribution.components"),
        ({"field": "[].a", "distribution": {"family": "normal", "round": 0}}, ".distribution.round"),
        ({"field": "[].a", "correlation": {"r2_at_least": 0.5}}, ".fields"),
        ({"fields": ["[].a"], "correlation": {"r2_at_least": 0.5}}, ".fields"),
        ({"fields": ["a[].x", "b[].y"], "correlation": {"r2_at_least": 0.5}}, ".fields"),
        ({"fields": ["[].a", "[]..b"], "correlation": {"r2_at_least": 0.5}}, ".fields[1]"),
        ({"fields": ["[].a", "[].b"], "correlation": {"r2_at_least": 2}}, ".correlation.r2_at_least"),
        ({"fields": ["[].a", "[].b"], "correlation": {"r": [0.5, 0.1]}}, ".correlation.r"),
        ({"fields": ["[].a", "[].b"], "correlation": {}}, ".correlation"),
        ({"fields": ["[].a", "[].b"], "correlation": {"r": [0, 1]}, "unique": True}, ""),
        ({"field": "[].a", "ratios": {"x": 0.5, "y": 0.1}}, ".ratios"),
        ({"field": "[].a", "ratios": {"x": -1, "y": 2}}, ".ratios.x"),
        ({"field": "[].a", "ratios": {"shares": {"x": 1}, "alpha": 9}}, ".ratios.alpha"),
        ({"field": "[].a", "monotonic": "up"}, ".monotonic"),
        ({"field": "[].a", "sum": "much"}, ".sum"),
        ({"field": "[].a", "sum": {"equals": 1, "tolerance": -1}}, ".sum.tolerance"),
        ({"field": "[].a", "sum": [2, 1]}, ".sum"),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(entry: Json, param: str) -> None:
    with pytest.raises(InvalidRequest) as error:
        parse_constraints([entry])
    assert error.value.param == f"constraints[0]{param}"


SAMPLES: list[tuple[dict[str, Json], Draw]] = [
    ({"family": "normal", "mean": 35, "std": 12}, lambda rng, n: rng.normal(35, 12, n)),
    (
        {"family": "normal", "mean": 35, "std": 12, "clip": [18, 80], "round": True},
        lambda rng, n: np.clip(np.round(rng.normal(35, 12, n)), 18, 80),
    ),
    (
        {"family": "normal", "mean": 35, "std": 12, "clip": [18, 80], "round": "floor"},
        lambda rng, n: np.clip(np.floor(rng.normal(35, 12, n)), 18, 80),
    ),
    ({"family": "normal", "mean": 2, "std": 1, "round": True}, lambda rng, n: np.round(rng.normal(2, 1, n))),
    ({"family": "lognormal", "mu": 2, "sigma": 0.5, "round": 0.1}, lambda rng, n: np.round(rng.lognormal(2, 0.5, n), 1)),
    ({"family": "uniform", "low": 1, "high": 6, "round": True}, lambda rng, n: rng.integers(1, 7, n)),
    ({"family": "exponential", "mean": 4, "clip": [None, 9]}, lambda rng, n: np.minimum(rng.exponential(4, n), 9)),
    ({"family": "gamma", "shape": 2, "scale": 3}, lambda rng, n: rng.gamma(2, 3, n)),
    ({"family": "poisson", "mean": 3}, lambda rng, n: rng.poisson(3, n)),
    (
        {"family": "bimodal", "components": [{"mean": 0, "std": 1}, {"mean": 6, "std": 2, "weight": 2}]},
        lambda rng, n: np.where(rng.random(n) < 1 / 3, rng.normal(0, 1, n), rng.normal(6, 2, n)),
    ),
    (
        {"family": "normal", "mean": 10, "std": 5, "truncate": [5, 20]},
        lambda rng, n: (lambda drawn: drawn[(drawn >= 5) & (drawn <= 20)][:n])(rng.normal(10, 5, 4 * n)),
    ),
]


@pytest.mark.parametrize(("spec", "draw"), SAMPLES, ids=lambda part: str(part)[:60] if isinstance(part, dict) else "")
def test_a_true_sample_is_refused_about_as_often_as_alpha_says(spec: dict[str, Json], draw: Draw) -> None:
    rng = np.random.default_rng(11)
    alpha, runs = 0.1, 300
    entry = {"field": "[].v", "distribution": {**spec, "alpha": alpha}}
    refused = sum(found(entry, column(draw(rng, 150))).score < 1 for _ in range(runs))
    assert 0.055 <= refused / runs <= 0.155, "four standard errors around alpha, and a margin for Stephens' approximation"


@pytest.mark.parametrize(
    ("spec", "draw"),
    [
        ({"family": "normal"}, lambda rng, n: rng.normal(5, 3, n)),
        ({"family": "normal", "clip": [18, 80], "round": True}, lambda rng, n: np.clip(np.round(rng.normal(35, 12, n)), 18, 80)),
        ({"family": "lognormal"}, lambda rng, n: rng.lognormal(3, 1.5, n)),
        ({"family": "uniform"}, lambda rng, n: rng.uniform(3, 9, n)),
        ({"family": "uniform", "round": True}, lambda rng, n: rng.integers(3, 60, n)),
        ({"family": "exponential"}, lambda rng, n: rng.exponential(7, n)),
    ],
)
def test_without_parameters_the_level_holds_as_well(spec: dict[str, Json], draw: Draw) -> None:
    rng = np.random.default_rng(12)
    entry = {"field": "[].v", "distribution": {**spec, "alpha": 0.1}}
    refused = sum(found(entry, column(draw(rng, 60))).score < 1 for _ in range(60))
    assert 0 < refused <= 14


@given(seed=st.integers(0, 2**32), shift=st.sampled_from([-0.4, 0.4]), clip=st.booleans())
@settings(max_examples=25, deadline=None)
def test_another_mean_is_seen(seed: int, shift: float, clip: bool) -> None:
    drawn = np.random.default_rng(seed).normal(50 + shift * 10, 10, 800)
    spec: dict[str, Json] = {"family": "normal", "mean": 50, "std": 10}
    if clip:
        drawn, spec = np.clip(np.round(drawn), 30, 80), {**spec, "clip": [30, 80], "round": True}
    check = found({"field": "[].v", "distribution": spec}, column(drawn))
    assert check.score < 1
    assert "Kolmogorov" in check.detail


@pytest.mark.parametrize(
    ("spec", "draw"),
    [
        ({"family": "normal"}, lambda rng, n: rng.exponential(5, n)),
        ({"family": "lognormal"}, lambda rng, n: rng.uniform(1, 9, n)),
        ({"family": "exponential"}, lambda rng, n: rng.normal(30, 2, n)),
        ({"family": "uniform"}, lambda rng, n: rng.normal(30, 2, n)),
        ({"family": "normal", "mean": 40, "std": 10}, lambda rng, n: np.clip(rng.normal(40, 10, n), 30, 80)),
        ({"family": "normal", "mean": 40, "std": 10}, lambda rng, n: rng.normal(40, 14, n)),
        ({"family": "poisson", "mean": 4}, lambda rng, n: rng.integers(0, 9, n)),
        ({"family": "uniform", "low": 1, "high": 6, "round": True}, lambda rng, n: np.round(rng.uniform(1, 6, n))),
    ],
)
def test_another_family_or_an_undeclared_clip_is_seen(spec: dict[str, Json], draw: Draw) -> None:
    values = draw(np.random.default_rng(3), 1000)
    assert found({"field": "[].v", "distribution": spec}, column(values)).score < 1


def test_values_that_cannot_be_are_named() -> None:
    spec = {"family": "normal", "mean": 35, "std": 12, "clip": [18, 80], "round": True}
    check = found({"field": "[].v", "distribution": spec}, column([30, 41, 17, 33.5, 40, 41, 42, 43, 44, 45]))
    assert check.score == pytest.approx(0.8)
    assert "2 of 10 values cannot be: 17, 33.5" in check.detail
    assert found({"field": "[].v", "distribution": spec}, [{"v": "x"}, {"v": 30}]).score == 0.5
    assert found({"field": "[].v", "distribution": spec}, [{"v": 10**400}] * 9).score == 0.0
    assert found({"field": "[].w", "distribution": spec}, [{"v": 1}]).score == 0.0


def test_little_is_said_of_few_values() -> None:
    spec = {"family": "normal", "mean": 0, "std": 1}
    check = found({"field": "[].v", "distribution": spec}, column([900.0, 901.0]))
    assert (check.score, check.detail) == (1.0, "2 values are too few to tell")
    assert found({"field": "[].v", "distribution": spec}, []).score == 1.0


def test_a_long_list_in_parts_costs_a_bounded_sample_and_little_time() -> None:
    rng = np.random.default_rng(1)
    entry = {"field": "[].v", "distribution": {"family": "normal"}}
    check = check_of(parse_constraints([entry])[0], Steps(1))
    began = time.perf_counter()
    for part in range(6):
        check.add(column(rng.normal(0, 1, 10_000)), part * 10_000)
    result = check.result()
    assert time.perf_counter() - began < 5.0
    assert result is not None
    assert result.score == 1.0
    assert f"n {MAX_SAMPLE}" in result.detail


def test_correlations() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(0, 1, 500)
    data = [{"a": a, "b": b, "c": c} for a, b, c in zip(x, x + rng.normal(0, 0.5, 500), rng.normal(0, 1, 500), strict=True)]
    pair = {"fields": ["[].a", "[].b"]}
    assert found({**pair, "correlation": {"r2_at_least": 0.7}}, data[:200], data[200:]).score == 1.0
    weak = found({**pair, "correlation": {"r2_at_least": 0.95}}, data)
    assert weak.score < 1
    assert weak.name == "correlation [].a ~ [].b"
    assert found({**pair, "correlation": {"r": [-1, 0]}}, data).score < 1
    assert found({"fields": ["[].a", "[].c"], "correlation": {"r": [-0.2, 0.2]}}, data).score == 1.0
    assert "has no logarithm" in found({**pair, "correlation": {"r2_at_least": 0.1, "scale": "log"}}, data).detail
    assert "does not vary" in found({**pair, "correlation": {"r2_at_least": 0.1}}, [{"a": 1, "b": 2}] * 20).detail


@given(st.integers(0, 2**32))
@settings(max_examples=20, deadline=None)
def test_shares_are_tested_with_their_chance(seed: int) -> None:
    entry = {"field": "[].v", "ratios": {"a": 0.5, "b": 0.3, "c": 0.2}}
    rng = np.random.default_rng(seed)
    wrong = rng.choice(["a", "b", "c"], 600, p=[0.3, 0.3, 0.4])
    assert found(entry, column(wrong)).score < 1
    exact = ["a"] * 300 + ["b"] * 180 + ["c"] * 120
    assert found(entry, column(rng.permutation(exact))).score == 1.0
    assert "not one of the categories" in found(entry, column([*exact, "d"])).detail


def test_true_shares_are_refused_about_as_often_as_alpha_says() -> None:
    rng = np.random.default_rng(4)
    entry = {"field": "[].v", "ratios": {"shares": {"a": 0.6, "b": 0.39, "c": 0.01}, "alpha": 0.1}}
    refused = sum(found(entry, column(rng.choice(["a", "b", "c"], 200, p=[0.6, 0.39, 0.01]))).score < 1 for _ in range(300))
    assert 0.055 <= refused / 300 <= 0.155


def test_order_over_parts_and_sums() -> None:
    order = {"field": "[].v", "monotonic": "increasing"}
    assert found(order, column([1, 2, 2]), column([3])).score == 1.0
    broken = found(order, column([1, 5]), column([4, 6]))
    assert broken.score == 0.75
    assert "[2].v: 4 comes after 5" in broken.detail
    assert "comes twice" in found({**order, "monotonic": "strictly_increasing"}, column([1, 1])).detail
    assert found({**order, "monotonic": "decreasing"}, column(["2024-03", "2024-02"])).score == 1.0
    assert found({"field": "[].l[]", "monotonic": "increasing"}, [{"l": [3, 4]}, {"l": [1, 2]}]).score == 1.0
    assert found({"field": "[].v", "sum": 0.6}, column([0.1, 0.2]), column([0.3])).score == 1.0
    short = found({"field": "[].v", "sum": {"equals": 100, "tolerance": 0.5}}, column([50, 49.4]))
    assert 0.9 < short.score < 1
    assert "the sum is 99.4" in short.detail
    assert found({"field": "[].v", "sum": [90, None]}, column([50, 49.4])).score == 1.0


def test_parts_and_other_schemas_leave_out_what_only_the_whole_shows() -> None:
    constraints = parse_constraints(ALL)
    assert [one.kind for one in of_parts(constraints)] == ["monotonic"]
    schema = {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "number"}, "c": {"type": "number"}}}}
    assert [one.value["with"] for one in within(constraints, schema)] == ["[].c"]


@given(
    st.lists(
        st.one_of(st.floats(), st.integers(), st.text(max_size=3), st.none(), st.booleans(), st.lists(st.integers())), max_size=30
    )
)
@settings(max_examples=60, deadline=None)
def test_nothing_is_ever_raised_for_an_answer(values: list[Json]) -> None:
    data = [dict.fromkeys(("age", "price", "wait", "size", "a", "b", "c", "plan", "at", "amount"), value) for value in values]
    for one in quality.check(data, constraints=parse_constraints(ALL)).checks:
        assert 0.0 <= one.score <= 1.0
