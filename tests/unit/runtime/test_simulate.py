"""What a change would have done to logged traffic."""

import pytest

from agents.records import NodeId
from runtime.topology.payloads import AdoptRouter, Merge, Pool, Prune, Restore, Rewire, Spawn, Wake
from runtime.topology.shape import PatternId
from runtime.topology.simulate import simulate
from tests.fakes.outcomes import Flow, member, shape, stream

GENERAL = member()


def test_a_pruned_node_is_replaced_by_who_does_best_on_its_patterns() -> None:
    flows = [
        Flow(n=200, node="old", pattern="x", score=0.6, cost_usd=0.01, latency_s=2.0),
        Flow(n=200, pattern="x", score=0.8, cost_usd=0.001, latency_s=1.0),
        Flow(n=100, node="old", pattern="only-his", score=0.9),
        Flow(n=100, pattern="else", score=0.1),
    ]
    old = member("old", "specialist")
    found = simulate(Prune(node=old.node_id), stream(flows), shape(GENERAL, old))
    assert (found.requests, found.affected, found.covered) == (600, 300, 200)
    quality, cost, latency = (found.effects[name] for name in ("quality", "cost_usd", "latency_s"))
    assert quality.change == pytest.approx(0.2, abs=0.02)
    assert quality.low < quality.change < quality.high
    assert cost.change == pytest.approx(-0.009)
    assert latency.change == pytest.approx(-1.0, abs=0.1)
    assert any("100 of 300" in limit for limit in found.limits)


def test_a_new_specialist_is_estimated_by_the_best_way_that_was_there_without_taking_luck_for_skill() -> None:
    flows = [Flow(n=100, pattern="x", backend=f"b{i}", score=0.7, spread=0.3) for i in range(8)]
    spawn = Spawn(spec=member("new", "specialist").spec, patterns=(PatternId("x"),))
    found = simulate(spawn, stream(flows, seed=5), shape(GENERAL))
    quality = found.effects["quality"]
    assert quality.low <= 0.0 <= quality.high
    assert any("own prompt" in limit for limit in found.limits)
    better = [*flows[:2], Flow(n=100, pattern="x", backend="great", score=0.95)]
    assert simulate(spawn, stream(better), shape(GENERAL)).effects["quality"].low > 0.05


def test_a_merge_and_a_wake_give_the_work_to_one_named_node() -> None:
    one, two = member("one", "specialist"), member("two", "specialist", patterns=["x"], life="parked")
    flows = [Flow(n=100, node="one", pattern="x", score=0.9), Flow(n=100, node="two", pattern="x", score=0.5)]
    merged = simulate(Merge(into=one.node_id, gone=(two.node_id,)), stream(flows), shape(GENERAL, one, two))
    assert merged.affected == 100
    assert merged.effects["quality"].change == pytest.approx(0.4, abs=0.05)
    woken = simulate(Wake(node=two.node_id), stream(flows), shape(GENERAL, one, two))
    assert woken.effects["quality"].change == pytest.approx(-0.4, abs=0.05)


def test_a_backend_less_is_estimated_by_those_that_stay() -> None:
    node = member(backends=("good", "bad"))
    flows = [Flow(n=100, pattern="x", backend="good", score=0.9), Flow(n=100, pattern="x", backend="bad", score=0.4)]
    found = simulate(Rewire(spec=member(backends=("good",)).spec), stream(flows), shape(node))
    assert found.affected == 100
    assert found.effects["quality"].change == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    "payload",
    [
        Pool(name="committee:x", size=2),
        AdoptRouter(version="r@1"),
        Restore(revision=1),
        Prune(node=NodeId("id-never")),
        Spawn(spec=member("n").spec, patterns=(PatternId("unknown"),)),
    ],
)
def test_what_the_log_cannot_say_is_said(payload: object) -> None:
    found = simulate(payload, stream([Flow(n=50)]), shape(GENERAL))
    assert found.effects == {}
    assert found.covered == 0
    assert found.limits


def test_an_empty_log_and_unjudged_answers_have_no_quality() -> None:
    old = member("old", "specialist")
    assert simulate(Prune(node=old.node_id), stream([]), shape(GENERAL, old)).affected == 0
    flows = [Flow(n=100, node="old", pattern="x", score=None), Flow(n=100, pattern="x", score=None, latency_s=3.0)]
    found = simulate(Prune(node=old.node_id), stream(flows), shape(GENERAL, old))
    assert "quality" not in found.effects
    assert found.effects["latency_s"].change == pytest.approx(2.0, abs=0.2)
