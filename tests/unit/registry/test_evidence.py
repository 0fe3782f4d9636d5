"""What executions prove, and how rarely they prove what is not so."""

import math
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.evidence import (
    LUCK,
    MIN_RUNS,
    Run,
    Usage,
    add,
    gains,
    is_bad,
    no_worse,
    p_value,
    share_interval,
    success_floor,
    supersedes,
    usage_of,
)
from registry.records import VersionId

V = VersionId("a@1.0.0")


def runs(count: int, *, good: float, latency_s: float, rng: random.Random, quality: float | None = None) -> list[Run]:
    return [
        Run(
            version_id=V,
            node=f"n{i % 3}",
            at=float(i),
            ok=rng.random() < good,
            latency_s=latency_s * math.exp(rng.gauss(0, 0.5)),
            quality=None if quality is None else min(1.0, max(0.0, rng.gauss(quality, 0.1))),
        )
        for i in range(count)
    ]


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 100), st.none() | st.floats(0, 1)), max_size=30), st.integers(0, 30))
def test_batches_add_up_to_the_same_sums(items: list[tuple[bool, float, float | None]], cut: int) -> None:
    all_runs = [
        Run(version_id=V, node="n", at=float(n), ok=ok, latency_s=took, quality=quality)
        for n, (ok, took, quality) in enumerate(items)
    ]
    whole = usage_of(V, all_runs)
    parts = add(usage_of(V, all_runs[:cut]), usage_of(V, all_runs[cut:]))
    for name in Usage.__slots__:
        assert getattr(parts, name) == pytest.approx(getattr(whole, name)), name


def test_bounds_hold_what_is_measured() -> None:
    assert success_floor(Usage(version_id=V)) == 0.0
    assert share_interval(0, 0) == (0.0, 1.0)
    usage = Usage(version_id=V, runs=100, successes=90)
    assert success_floor(usage) == pytest.approx(0.8256, abs=1e-3)  # the Wilson interval's textbook value
    assert share_interval(90, 100)[1] == pytest.approx(0.9448, abs=1e-3)


@pytest.mark.parametrize(("count", "good", "bad"), [(4, 0, False), (5, 0, True), (10, 5, True), (10, 6, False)])
def test_bad_is_half_or_more_failing(count: int, good: int, bad: bool) -> None:
    assert is_bad(Usage(version_id=V, runs=count, successes=good)) is bad
    assert is_bad(None) is False


def test_a_large_gain_is_seen() -> None:
    rng = random.Random(1)
    slow, fast = (usage_of(V, runs(100, good=0.95, latency_s=took, rng=rng)) for took in (0.1, 0.01))
    found = gains(fast, slow)
    assert [gain.measure for gain in found] == ["speed"]
    assert 7 < found[0].size < 14
    assert gains(slow, fast) == []
    assert supersedes(fast, slow) is not None
    assert supersedes(slow, fast) is None
    bad, good = (usage_of(V, runs(200, good=share, latency_s=0.1, rng=rng)) for share in (0.6, 0.95))
    assert [gain.measure for gain in gains(good, bad)] == ["success"]
    poor, fine = (usage_of(V, runs(100, good=1.0, latency_s=0.1, rng=rng, quality=q)) for q in (0.6, 0.9))
    assert "quality" in [gain.measure for gain in gains(fine, poor)]


def test_faster_but_wrong_is_no_gain() -> None:
    rng = random.Random(2)
    old = usage_of(V, runs(200, good=0.95, latency_s=0.1, rng=rng))
    wrong = usage_of(V, runs(200, good=0.80, latency_s=0.01, rng=rng))
    assert not no_worse(wrong, old)
    assert gains(wrong, old) == []
    assert supersedes(wrong, old) is None


def test_right_but_far_slower_does_not_take_over() -> None:
    rng = random.Random(3)
    old = usage_of(V, runs(300, good=0.80, latency_s=0.01, rng=rng))
    slow = usage_of(V, runs(300, good=0.99, latency_s=0.1, rng=rng))
    assert supersedes(slow, old) is None


def test_few_runs_prove_nothing() -> None:
    rng = random.Random(4)
    old = usage_of(V, runs(1000, good=0.5, latency_s=1.0, rng=rng))
    new = usage_of(V, runs(MIN_RUNS - 1, good=1.0, latency_s=0.001, rng=rng))
    assert gains(new, old) == []
    assert supersedes(new, old) is None


def test_looking_after_every_batch_seldom_takes_luck_for_a_gain() -> None:
    """Two equal versions, looked at forty times each: without a test that allows for it, every tenth pair would be called."""
    called = 0
    pairs = 100
    for seed in range(pairs):
        rng = random.Random(seed)
        one, other = Usage(version_id=V), Usage(version_id=V)
        for _ in range(40):
            one = add(one, usage_of(V, runs(10, good=0.8, latency_s=0.1, rng=rng)))
            other = add(other, usage_of(V, runs(10, good=0.8, latency_s=0.1, rng=rng)))
            if supersedes(one, other):
                called += 1
                break
    assert called / pairs <= 3 * LUCK  # three measures, each bounded


def test_p_values_fall_with_evidence() -> None:
    values = [p_value(0.1, 0.25 / n, 0.1) for n in (10, 100, 1000, 10_000)]
    assert values == sorted(values, reverse=True)
    assert values[0] == 1.0
    assert values[-1] < 1e-6
    assert p_value(0.0, 0.0, 0.1) == 1.0
    assert p_value(1.0, 1e-300, 0.1) == pytest.approx(0.0)
    assert replace(Usage(version_id=V), runs=3).quality == 0.0
