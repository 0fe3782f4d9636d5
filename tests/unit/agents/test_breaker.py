"""The breaker's states."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agents.llm.breaker import Breaker, BreakerPolicy

POLICY = BreakerPolicy(failures=3, window=8, open_s=10.0)


def opened(now: float = 0.0) -> Breaker:
    breaker = Breaker(POLICY)
    for _ in range(3):
        breaker.record(False, now, False)
    return breaker


def test_it_opens_after_failures_in_a_row_and_says_for_how_long() -> None:
    breaker = Breaker(POLICY)
    breaker.record(False, 0.0, False)
    breaker.record(False, 0.0, False)
    breaker.record(True, 0.0, False)
    breaker.record(False, 0.0, False)
    breaker.record(False, 0.0, False)
    assert breaker.admit(0.0) == "yes"
    breaker.record(False, 1.0, False)
    assert breaker.admit(1.0) == "no"
    assert breaker.health(4.0).state == "open"
    assert breaker.health(4.0).retry_in_s == 7.0


def test_half_of_a_full_window_opens_it() -> None:
    breaker = Breaker(BreakerPolicy(failures=100, window=8))
    for place in range(7):
        breaker.record(place % 2 == 0, 0.0, False)
    assert breaker.health(0.0).state == "closed"
    breaker.record(False, 0.0, False)
    assert breaker.health(0.0).state == "open"


def test_one_probe_is_let_through_and_closes_it() -> None:
    breaker = opened()
    assert breaker.admit(9.9) == "no"
    assert breaker.admit(10.0) == "probe"
    assert breaker.admit(10.0) == "no"
    assert breaker.health(10.0).state == "half_open"
    breaker.record(True, 11.0, True)
    assert breaker.admit(11.0) == "yes"


def test_a_failed_probe_opens_it_again() -> None:
    breaker = opened()
    assert breaker.admit(10.0) == "probe"
    breaker.record(False, 12.0, True)
    assert breaker.admit(21.9) == "no"
    assert breaker.admit(22.0) == "probe"


def test_a_cancelled_probe_gives_its_slot_back() -> None:
    breaker = opened()
    assert breaker.admit(10.0) == "probe"
    breaker.cancelled(True)
    assert breaker.admit(10.0) == "probe"


def test_late_results_of_calls_from_before_change_nothing() -> None:
    breaker = opened()
    breaker.record(True, 5.0, False)
    breaker.record(False, 9.0, False)
    assert breaker.health(9.0).retry_in_s == 1.0


def test_switched_off_it_never_says_no() -> None:
    breaker = Breaker(BreakerPolicy(enabled=False, failures=1))
    breaker.record(False, 0.0, False)
    assert breaker.admit(0.0) == "yes"


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 20)), max_size=60))
def test_never_two_probes_at_once(steps: list[tuple[bool, float]]) -> None:
    breaker, now, probes = Breaker(POLICY), 0.0, 0
    for ok, pause in steps:
        now += pause
        verdict = breaker.admit(now)
        if verdict == "probe":
            probes += 1
            assert probes == 1
            if ok:
                breaker.record(ok, now, True)
                probes -= 1
        elif verdict == "yes":
            breaker.record(ok, now, False)
