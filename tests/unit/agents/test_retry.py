"""Waits between attempts, and what Retry-After says."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.llm.retry import MAX_RETRY_AFTER_S, RetryPolicy, next_delay_s, parse_retry_after, share_s

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "-4"}, 0.0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "99999999"}, MAX_RETRY_AFTER_S),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after-ms": "x", "retry-after": "9"}, 9.0),
        ({"retry-after": "Tue, 14 Nov 2023 22:13:30 GMT"}, 10.0),
        ({"retry-after": "Tue, 14 Nov 2000 22:13:30 GMT"}, 0.0),
    ],
)
def test_retry_after_is_read_in_every_form(headers: dict[str, str], expected: float | None) -> None:
    assert parse_retry_after(headers, now=NOW) == expected


@given(st.text(max_size=40))
def test_no_header_makes_it_fail_or_leave_its_bounds(value: str) -> None:
    seconds = parse_retry_after({"retry-after": value, "retry-after-ms": value}, now=NOW)
    assert seconds is None or 0.0 <= seconds <= MAX_RETRY_AFTER_S


@given(st.integers(1, 100), st.integers(0, 2**32))
def test_the_wait_is_full_jitter_within_bounds(attempt: int, seed: int) -> None:
    policy = RetryPolicy(max_attempts=1000, base_delay_s=0.2, max_delay_s=5.0)
    delay = next_delay_s(policy, attempt, None, random.Random(seed))
    assert delay is not None
    assert 0.0 <= delay <= min(5.0, 0.2 * 2**attempt)


def test_it_stops_after_the_last_attempt_and_when_switched_off() -> None:
    rng = random.Random(1)
    assert next_delay_s(RetryPolicy(max_attempts=2), 1, None, rng) is not None
    assert next_delay_s(RetryPolicy(max_attempts=2), 2, None, rng) is None
    assert next_delay_s(RetryPolicy(enabled=False), 1, None, rng) is None


def test_retry_after_is_a_floor_and_a_long_one_moves_on() -> None:
    policy = RetryPolicy(max_delay_s=4.0)
    for seed in range(50):
        delay = next_delay_s(policy, 1, 3.9, random.Random(seed))
        assert delay is not None
        assert 3.9 <= delay <= 4.0
    assert next_delay_s(policy, 1, 4.1, random.Random(1)) is None


def test_a_call_leaves_time_for_the_others_and_takes_all_where_there_are_none() -> None:
    assert share_s(10.0, others=0, connect_timeout_s=5.0) == 10.0
    assert share_s(10.0, others=1, connect_timeout_s=5.0) == 6.0
    assert share_s(10.0, others=4, connect_timeout_s=5.0) == 6.0
    assert share_s(6.0, others=1, connect_timeout_s=5.0) == 5.0, "never less than it may need to connect"
    assert share_s(2.0, others=1, connect_timeout_s=5.0) == 2.0, "nor more than there is"
