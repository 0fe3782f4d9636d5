"""How many blank nodes are kept ready: what the real pool says of its use, and what the rule makes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.cluster import WarmUse
from runtime.ray_cluster.warm import MAX_TAKEN, WATCH_S, WarmPool
from runtime.topology.payloads import Kind, Pool
from runtime.topology.propose import propose
from runtime.topology.records import Draft
from runtime.topology.situation import Memory
from runtime.topology.warming import best_size, cost_s, waits
from tests.fakes.outcomes import Flow, situation

HOUR = 3600.0
START_S = 1.5


@dataclass(eq=False, slots=True)
class Blank:
    """A host that can only be ended."""

    async def kill(self) -> None: ...


@dataclass(slots=True)
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was taken is made anew without a delay."""
    monkeypatch.setattr("runtime.ray_cluster.warm.REFILL_DELAY_S", 0.0)


async def played(bursts: Sequence[tuple[float, int]], *, size: int, until: float) -> WarmUse:
    """What a pool of ``size`` says when so many nodes were taken at these times, all of a burst at once."""
    clock = Clock()

    async def create() -> Any:
        await asyncio.sleep(0)
        clock.now += START_S
        return Blank()

    pool = WarmPool(size=size, create=create, clock=clock)
    await pool.start()
    for at, count in ((0.0, 0), *bursts):
        clock.now = max(clock.now, at)
        await asyncio.gather(*(pool.take() for _ in range(count)))
        while len(pool) < size:
            await asyncio.sleep(0)
        await asyncio.sleep(0)  # the refill has ended, too
    clock.now = max(clock.now, until)
    use = pool.use()
    await pool.stop()
    return use


def proposed(use: WarmUse | None, *, times: int = 3) -> list[Draft]:
    """What the rules propose when every window finds ``use``."""
    memory, found = Memory(), []
    for number in range(1, times + 1):
        look = propose(situation([Flow(n=100, score=0.95)], number=number, memory=memory, now=1e9 + 1000.0 * number, warm=use))
        memory = look.memory
        found += [draft for draft in look.drafts if draft.kind is Kind.POOL]
    return found


async def test_where_committees_take_more_than_is_ready_more_is_kept() -> None:
    use = await played([(1000.0 * n, 4) for n in range(1, 13)], size=2, until=4 * HOUR)
    assert (use.size, len(use.taken_s), use.cold) == (2, 48, 24)
    assert START_S <= use.start_s <= 4 * START_S
    assert proposed(use, times=2) == []
    (draft,) = proposed(use)
    assert draft.payload == Pool(name="nodes", size=4)
    assert "48 nodes were taken" in draft.reason
    assert "24 of them had to be started first; of 4 kept ready (now 2) 0 would have" in draft.reason
    assert {each.metric: each.value for each in draft.evidence}["cold_starts"] == 24
    after = await played([(1000.0 * n, 4) for n in range(1, 13)], size=4, until=4 * HOUR)
    assert after.cold == 0
    assert proposed(after) == []  # and there it rests


async def test_where_nobody_takes_any_for_a_day_fewer_are_kept_but_never_none() -> None:
    use = await played([(HOUR, 1)], size=6, until=23 * HOUR)
    assert use.idle_s > 22 * 6 * HOUR
    (draft,) = proposed(use)
    assert draft.payload == Pool(name="nodes", size=1)
    assert proposed(await played([(HOUR, 1)], size=6, until=2 * HOUR)) == []  # that is no day
    assert proposed(await played([], size=1, until=23 * HOUR)) == []


async def test_a_few_takings_or_a_small_gain_change_nothing() -> None:
    assert proposed(await played([(100.0, 4)], size=2, until=HOUR)) == []
    edge = WarmUse(size=2, span_s=4 * HOUR, taken_s=tuple(600.0 * n for n in range(1, 20)), start_s=START_S)
    assert proposed(edge) == []
    assert proposed(None) == []
    assert proposed(replace(edge, span_s=0.0)) == []


async def test_what_is_remembered_is_bounded() -> None:
    use = await played([(10.0 * n, 1) for n in range(1, 2 * MAX_TAKEN)], size=1, until=0.0)
    assert len(use.taken_s) <= MAX_TAKEN
    assert use.span_s <= 10.0 * MAX_TAKEN + 2 * START_S
    old = await played([(10.0, 3), (WATCH_S, 1)], size=1, until=WATCH_S + 100.0)
    assert len(old.taken_s) == 1
    assert old.span_s == WATCH_S


@given(
    taken=st.lists(st.floats(0, 1e5), max_size=60).map(sorted).map(tuple),
    span=st.floats(1, 1e5),
    start=st.floats(0, 100),
    size=st.integers(0, 20),
)
def test_a_larger_pool_never_lets_more_wait_and_the_best_costs_least(
    taken: tuple[float, ...], span: float, start: float, size: int
) -> None:
    assert waits(taken, size + 1, start) <= waits(taken, size, start) <= len(taken)
    assert waits(taken, 0, start) == len(taken)
    use = WarmUse(size=size, span_s=span, taken_s=taken, start_s=start)
    best = best_size(use)
    assert all(cost_s(use, best) <= cost_s(use, other) for other in range(1, 17))
