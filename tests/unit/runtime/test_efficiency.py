"""The efficiency score and the comparisons that it and the rules rest on."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.topology.compare import against_others, alternatives, answers_alike, twins, utility
from runtime.topology.efficiency import efficiency
from runtime.topology.observe import observe
from tests.fakes.outcomes import Flow, member, shape, situation, stream


def test_a_network_that_does_all_well_scores_near_a_hundred() -> None:
    found = efficiency(situation([Flow(n=500, score=1.0, spread=0.0)]))
    assert found.score == pytest.approx(100.0, abs=0.5)
    assert not found.asks_for_changes


def test_each_part_is_what_it_says() -> None:
    topology = shape(member(), member("idle", "specialist"))
    flows = [
        Flow(n=300, backend="thrifty", score=0.8, spread=0.0, cost_usd=0.001, latency_s=1.0),
        Flow(n=300, backend="dear", score=0.8, spread=0.0, cost_usd=0.003, latency_s=1.0),
    ]
    found = efficiency(situation(flows, topology))
    assert found.parts["quality"] == pytest.approx(0.8)
    assert found.parts["answered"] == 1.0
    assert found.parts["thrift"] == pytest.approx(0.5)
    assert found.parts["simplicity"] == 0.5
    assert found.score == pytest.approx(100 * (0.35 * 0.8 + 0.2 + 0.15 * 0.5 + 0.15 * found.parts["speed"] + 0.15 * 0.5))


def test_a_bad_network_asks_for_changes_and_an_empty_window_says_nothing() -> None:
    assert efficiency(situation([Flow(n=200, score=0.3, ok=0.6)])).asks_for_changes
    nothing = efficiency(situation([]))
    assert nothing.score is None
    assert not nothing.asks_for_changes


def test_what_nobody_knows_is_left_out_of_the_score() -> None:
    found = efficiency(situation([Flow(n=100, score=None, pattern=None, cost_usd=float("nan"))]))
    assert found.parts["quality"] is None
    assert found.score == pytest.approx(100.0)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(1, 40), st.sampled_from("abc"), st.sampled_from("xyz"), st.sampled_from([0.0, 0.1, 3.0, float("nan")])
        ),
        min_size=1,
        max_size=15,
    )
)
def test_scores_stay_between_0_and_100_and_alternatives_are_others_of_the_same_pattern(
    rows: list[tuple[int, str, str, float]],
) -> None:
    flows = [Flow(n=n, node=node, pattern=pattern, cost_usd=usd, latency_s=usd) for n, node, pattern, usd in rows]
    found = efficiency(situation(flows, shape(*map(member, "abc"))))
    assert found.score is not None
    assert 0.0 <= found.score <= 100.0
    cells = observe(stream(flows)).by_node
    worth = utility(cells.table, usd_weight=2.0, second_weight=0.002)
    for at, other in enumerate(alternatives(cells, worth).tolist()):
        rivals = [k for k in range(len(cells.left)) if k != at and cells.left[k] == cells.left[at] and cells.table.count[k] >= 5]
        if other == -1:
            assert not rivals
        else:
            assert worth[other] == max(worth[k] for k in rivals)


def test_a_node_is_held_against_others_on_its_own_patterns() -> None:
    flows = [
        Flow(n=300, node="a", pattern="easy", score=0.95, latency_s=1.0),
        Flow(n=300, node="b", pattern="hard", score=0.5, latency_s=1.0),
        Flow(n=300, node="c", pattern="hard", score=0.7, latency_s=2.0),
    ]
    window = observe(stream(flows))
    found = dict(
        zip(
            window.nodes.names,
            against_others(window.by_node, len(window.nodes.names), usd_weight=2.0, second_weight=0.002),
            strict=True,
        )
    )
    assert found["a"] is None
    b = found["b"]
    assert b is not None
    assert window.nodes.names[b.best] == "c"
    assert b.covered == 1.0
    assert b.quality == pytest.approx(0.2, abs=0.02)
    assert b.quality_low < b.quality < b.quality_high
    assert b.latency_ratio == pytest.approx(2.0, rel=0.05)


def test_twins_are_asked_the_same() -> None:
    flows = [Flow(n=50, node=node, pattern=p) for node in ("a", "b") for p in ("x", "y")] + [Flow(n=50, node="c", pattern="z")]
    window = observe(stream(flows))
    pairs = twins(window.by_node, len(window.nodes.names), least=20, overlap=0.9)
    assert [{window.nodes.names[a], window.nodes.names[b]} for a, b, _ in pairs] == [{"a", "b"}]


def test_answers_are_alike_where_two_nodes_differ_no_more_than_one_does_from_itself() -> None:
    rng = np.random.default_rng(0)
    words = [f"w{i}" for i in range(12)]

    def says(pool: list[str]) -> list[tuple[str, str]]:
        return [("x", " ".join(rng.choice(pool, 30))) for _ in range(10)]

    same = answers_alike(says(words), says(words))
    other = answers_alike(says(words), says([f"v{i}" for i in range(12)]))
    assert same is not None
    assert same > 0.9
    assert other == 0.0
    assert answers_alike(says(words)[:2], []) is None
