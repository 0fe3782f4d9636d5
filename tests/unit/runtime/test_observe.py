"""Windows over outcomes: counts, intervals, quantiles, and what damaged rows may not do."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.topology.observe import MEASURES, due, observe, wilson
from runtime.topology.outcomes import MAX_OUTCOMES, empty, outcomes_of
from tests.fakes.outcomes import Flow, stream


def test_each_dimension_has_its_counts_and_means() -> None:
    window = observe(
        stream(
            [Flow(n=60, node="a", pattern="x", score=0.9), Flow(n=40, node="b", pattern="y", score=None, ok=0.5, cost_usd=0.01)]
        )
    )
    a, b = window.nodes.get("a"), window.nodes.get("b")
    assert a is not None
    assert b is not None
    assert (a.count, a.judged, a.success) == (60, 60, 1.0)
    assert a.share == pytest.approx(0.6)
    assert a.quality == pytest.approx(0.9, abs=0.03)
    assert a.quality_low < a.quality < a.quality_high
    assert b.judged == 0
    assert math.isnan(b.quality)
    assert (b.quality_low, b.quality_high) == (0.0, 1.0)
    assert b.success_low < b.success < b.success_high
    assert b.cost_usd == pytest.approx(0.01)
    assert window.total.row(0).count == window.requests == 100
    assert window.arms.get("single x a x b") is not None
    assert window.nodes.get("nobody") is None
    assert window.locales.row(0).count == 100


def test_quantiles_are_those_of_numpy_and_unknown_latencies_do_not_count() -> None:
    rng = np.random.default_rng(3)
    latency = rng.exponential(2.0, 500)
    latency[::7] = np.nan
    nodes = [f"n{i}" for i in rng.integers(0, 5, 500)]
    window = observe(
        outcomes_of(
            at=np.arange(500),
            ok=[True] * 500,
            score=[None] * 500,
            latency_s=latency,
            cost_usd=[None] * 500,
            labels={"node": nodes},
        )
    )
    for name in set(nodes):
        mine = latency[[each == name for each in nodes]]
        row = window.nodes.get(name)
        assert row is not None
        expected = np.quantile(mine[np.isfinite(mine)], (0.5, 0.95), method="lower")
        assert (row.latency_p50_s, row.latency_p95_s) == pytest.approx(tuple(expected))
        assert math.isnan(row.cost_usd)
        assert row.measures()["cost_usd"] is None


def test_cells_cross_patterns_with_nodes_and_arms() -> None:
    flows = [Flow(n=10, node="a", pattern="x"), Flow(n=20, node="b", pattern="x"), Flow(n=5, node="b", pattern=None)]
    window = observe(stream(flows))
    cells = window.by_node
    found = {
        (window.patterns.names[left], window.nodes.names[right]): count
        for left, right, count in zip(cells.left, cells.right, cells.table.count, strict=True)
    }
    assert found == {("x", "a"): 10.0, ("x", "b"): 20.0}
    assert window.nodes.get("b").count == 25
    assert window.by_arm.table.count.sum() == 30


def test_new_patterns_are_those_that_nobody_knew() -> None:
    outcomes = stream([Flow(n=5, pattern="old"), Flow(n=5, pattern="new")])
    assert observe(outcomes, known_patterns=frozenset({"old"})).new_patterns == 1


def test_no_outcomes_are_a_window_too() -> None:
    window = observe(empty())
    assert window.requests == 0
    assert list(window.nodes.rows()) == []


def test_the_newest_outcomes_are_kept() -> None:
    n = MAX_OUTCOMES + 10
    found = outcomes_of(
        at=np.arange(n), ok=np.ones(n), score=np.ones(n), latency_s=np.ones(n), cost_usd=np.ones(n), labels={"node": ["a"] * n}
    )
    assert len(found) == MAX_OUTCOMES
    assert found.at[0] == 10


@pytest.mark.parametrize(
    ("requests", "elapsed_s", "over"),
    [(1000, 1.0, True), (999, 599.0, False), (1, 600.0, True), (0, 9e9, False), (5, -9e9, False)],
)
def test_a_window_is_over_by_count_or_by_time(requests: int, elapsed_s: float, over: bool) -> None:
    assert due(requests=requests, elapsed_s=elapsed_s) is over


def test_wilson_is_never_sure_of_little() -> None:
    low, high = wilson(np.array([0.0, 1.0, 50.0]), np.array([0.0, 1.0, 100.0]))
    assert (low[0], high[0]) == (0.0, 1.0)
    assert low[1] < 0.3
    assert (low[2], high[2]) == pytest.approx((0.4038, 0.5962), abs=1e-3)


_ODD = st.one_of(st.floats(allow_nan=True, allow_infinity=True), st.none())


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.floats(allow_nan=True),
            st.booleans(),
            _ODD,
            _ODD,
            _ODD,
            st.sampled_from(["a", "b", "", None]),
            st.sampled_from("xy"),
        ),
        max_size=40,
    )
)
def test_damaged_rows_never_break_a_window(rows: list[tuple[float, bool, float, float, float, str, str]]) -> None:
    columns = list(zip(*rows, strict=True)) or [()] * 7
    outcomes = outcomes_of(
        at=columns[0], ok=columns[1], score=columns[2], latency_s=columns[3], cost_usd=columns[4],
        labels={"node": columns[5], "pattern": columns[6], "strategy": columns[6], "backend": columns[6]},
    )  # fmt: skip
    window = observe(outcomes)
    assert sum(row.count for row in window.patterns.rows()) == len(rows)
    for table in (window.nodes, window.patterns, window.arms, window.total):
        for row in table.rows():
            assert 0.0 <= row.success_low <= row.success_high <= 1.0
            assert 0.0 <= row.quality_low <= row.quality_high <= 1.0
            assert all(value is None or math.isfinite(value) for value in row.measures().values())
            assert set(row.measures()) == set(MEASURES)
