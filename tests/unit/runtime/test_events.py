"""The board of events: order, numbers over restarts, bounds, and clients that come back."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from runtime.events import MAX_CHARS, MAX_FIELDS, EventBoard


def board(most: int = 5, at: float = 100.0) -> EventBoard:
    return EventBoard(most=most, wall=lambda: at)


def test_events_are_numbered_in_order_and_read_by_kind() -> None:
    one = board()
    first = one.following
    for n in range(3):
        one.publish("request" if n % 2 == 0 else "node", {"n": n})
    page = one.since(first)
    assert [tiding.data["n"] for tiding in page.tidings] == [0, 1, 2]
    assert [tiding.seq for tiding in page.tidings] == [first, first + 1, first + 2]
    assert page.following == first + 3
    assert not page.missed
    assert [tiding.data["n"] for tiding in one.since(first, kinds=("node",)).tidings] == [1]
    assert one.since(page.following).tidings == ()


def test_what_is_no_longer_kept_is_said_to_be_missed() -> None:
    one = board(most=5)
    first = one.following
    for n in range(20):
        one.publish("request", {"n": n})
    page = one.since(first)
    assert page.missed
    assert [tiding.data["n"] for tiding in page.tidings] == [15, 16, 17, 18, 19]


def test_numbers_grow_over_a_restart_and_a_stranger_to_them_missed_something() -> None:
    before = board(at=100.0)
    before.publish("request", {})
    after = board(at=200.0)
    after.publish("request", {"n": 1})
    assert after.following > before.following
    assert after.since(before.following).missed
    ahead = after.since(after.following + 1000)
    assert ahead.missed
    assert len(ahead.tidings) == 1


def test_what_is_long_is_cut() -> None:
    one = board()
    first = one.following
    one.publish("node", {"text": "x" * 10_000, **{f"f{n}": n for n in range(100)}})
    (tiding,) = one.since(first).tidings
    assert len(tiding.data["text"]) == MAX_CHARS
    assert len(tiding.data) == MAX_FIELDS


async def test_a_reader_waits_for_news_and_no_longer_than_it_says() -> None:
    one = board()
    one.readers = 1
    seq = one.following
    await one.changed(seq=seq, timeout_s=0.01)
    waiting = [asyncio.create_task(one.changed(seq=seq, timeout_s=30.0)) for _ in range(3)]
    await asyncio.sleep(0)
    one.publish("look", {})
    await asyncio.wait_for(asyncio.gather(*waiting), timeout=5.0)
    await asyncio.wait_for(one.changed(seq=seq, timeout_s=30.0), timeout=5.0)
    again = asyncio.create_task(one.changed(seq=one.following, timeout_s=30.0))
    await asyncio.sleep(0)
    assert not again.done()
    one.publish("look", {})
    await asyncio.wait_for(again, timeout=5.0)


@given(st.lists(st.integers(1, 7), max_size=30), st.integers(1, 4))
def test_a_reader_that_keeps_up_sees_each_event_once_in_order(bursts: list[int], limit: int) -> None:
    one = board(most=8)
    seq, seen, told = one.following, [], 0
    for burst in bursts:
        for _ in range(burst):
            one.publish("request", {"n": told})
            told += 1
        while seq < one.following:
            page = one.since(seq, limit=limit)
            assert not page.missed
            seen += [tiding.data["n"] for tiding in page.tidings]
            seq = page.following
    assert seen == list(range(told))
