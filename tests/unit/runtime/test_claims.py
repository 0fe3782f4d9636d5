"""A specialist held against what went on without it by chance: what it brings, and when it should go."""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.topology.claims import Claims, Group, gain_of, held_out
from runtime.topology.payloads import Kind, Prune
from runtime.topology.propose import propose
from runtime.topology.records import Draft
from runtime.topology.situation import Memory
from tests.fakes.outcomes import Flow, member, shape, situation

CARDS = member("cards", "specialist", patterns=["p1"])
TRAFFIC = [Flow(n=150, node="cards", pattern="p1", score=0.95), Flow(n=400, pattern="p2", score=0.95)]


def group(
    n: int, quality: float, *, judged: bool = True, cost_usd: float = 0.001, latency_s: float = 0.5, seed: int = 1
) -> Group:
    """``n`` requests that are answered well so often."""
    dice = Random(seed)
    scores = [1.0 if dice.random() < quality else 0.6 for _ in range(n)]
    known = scores if judged else []
    return Group(
        count=n,
        answered=n,
        judged=len(known),
        scores=sum(known),
        squares=sum(score**2 for score in known),
        cost_usd=cost_usd,
        latency_s=latency_s,
    )


def proposed(claims: Claims | None, *, times: int = 4) -> list[Draft]:
    memory, found = Memory(), []
    for number in range(1, times + 1):
        held = {} if claims is None else {"cards": claims}
        topology, now = shape(member(), CARDS), 1_000.0 * number
        look = propose(situation(TRAFFIC, topology, number=number, memory=memory, now=now, seed=number, claims=held))
        memory = look.memory
        found += [draft for draft in look.drafts if draft.kind in (Kind.PRUNE, Kind.MERGE)]
    return found


def test_a_specialist_that_brings_nothing_any_more_is_pruned() -> None:
    claims = Claims(taken=group(6000, 0.95), held=group(400, 0.95, seed=2))
    gain = gain_of(claims, usd_weight=2.0, second_weight=0.002)
    assert gain is not None
    assert gain.low < 0.0 < gain.high < 0.02
    assert proposed(claims, times=2) == []  # hysteresis
    (draft,) = proposed(claims)
    assert draft.payload == Prune(node=CARDS.node_id)
    assert "400 that went on without it by chance were answered as well" in draft.reason
    (measured,) = [each for each in draft.evidence if each.metric == "gain"]
    assert (measured.source, measured.count, measured.value) == ("claims", 400, pytest.approx(gain.mean))
    assert proposed(None) == []  # nobody does its work beside it: without the comparison it stays


@pytest.mark.parametrize(
    "claims",
    [
        Claims(taken=group(6000, 0.95), held=group(400, 0.70, seed=2)),
        Claims(taken=group(6000, 0.95), held=group(400, 0.95, cost_usd=0.03, seed=2)),
        Claims(taken=group(600, 0.95), held=group(30, 0.95, seed=2)),
        Claims(taken=group(600, 0.95, judged=False), held=group(10, 0.95, judged=False)),
        Claims(taken=group(6000, 0.95), held=group(400, 0.95, judged=False)),
    ],
    ids=["its answers are better", "it is cheaper", "too few to be sure", "too few to say anything", "one side alone is scored"],
)
def test_one_that_may_bring_something_stays(claims: Claims) -> None:
    assert proposed(claims) == []


@given(st.lists(st.text(min_size=1, max_size=30), min_size=1, max_size=20), st.floats(0, 1), st.floats(0, 1))
def test_who_is_held_out_at_a_share_is_held_out_at_a_larger_one(names: Sequence[str], one: float, other: float) -> None:
    for name in names:
        assert held_out(name, max(one, other)) or not held_out(name, min(one, other))
        assert not held_out(name, 0.0)
        assert held_out(name, 1.0)


@given(
    counts=st.tuples(st.integers(0, 500), st.integers(0, 500)),
    means=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    judged=st.booleans(),
)
def test_whatever_was_measured_the_interval_is_one(counts: tuple[int, int], means: tuple[float, float], judged: bool) -> None:
    one, other = (group(n, mean, judged=judged) for n, mean in zip(counts, means, strict=True))
    gain = gain_of(Claims(taken=one, held=other), usd_weight=2.0, second_weight=0.002)
    assert (gain is None) is (min(counts) < 20)
    if gain is not None:
        assert gain.low < gain.mean < gain.high
        assert all(math.isfinite(value) for value in (gain.low, gain.high))
