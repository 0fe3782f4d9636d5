"""Decisions about durable work: splitting, resuming, giving up, sharing money; and a request's way through JSON."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.counting import items_of, part_schema
from agents.records import AgentError, BackendFailed, BudgetExceeded, InvalidRequest, NotFound, Overloaded, Place, RequestId
from agents.strategy_specs import Parallel, Pipeline, Single, Stage
from agents.verdicts import Constraint
from runtime.jobs import wire
from runtime.jobs.plan import (
    MAX_PROGRESS_EVENTS,
    MAX_REFUSALS,
    MAX_STARTS,
    Again,
    Begin,
    Drop,
    End,
    Stop,
    gaps,
    on_failure,
    on_start,
    share_tokens,
    share_usd,
    split,
    tells,
)
from runtime.jobs.records import Job, Range
from runtime.records import Request, Target


def job(**changes: Any) -> Job:
    fields: dict[str, Any] = {"state": "queued", "at": 0.0, "updated_at": 0.0, "deadline_at": 100.0, "attempts": 0}
    return Job(request_id="r", **{**fields, "total": None, "done": 0, "request": "{}", **changes})


@given(st.integers(1, 500), st.integers(1, 60), st.sets(st.integers(0, 40)))
def test_what_is_left_covers_exactly_what_is_missing(total: int, size: int, done: set[int]) -> None:
    parts = split(gaps(total, []), size)
    finished = [part for place, part in enumerate(parts) if place in done]
    left = split(gaps(total, finished), size)
    covered = [item for part in (*finished, *left) for item in range(part.first, part.end)]
    assert sorted(covered) == list(range(total))
    assert all(0 < part.count <= size for part in left)


@given(st.integers(1, 200), st.lists(st.tuples(st.integers(0, 220), st.integers(1, 50)), max_size=8))
def test_gaps_hold_no_item_that_is_there_whatever_the_parts_look_like(total: int, ranges: list[tuple[int, int]]) -> None:
    done = [Range(first=first, count=count) for first, count in ranges]
    there = {item for part in done for item in range(part.first, part.end) if item < total}
    missing = [item for gap in gaps(total, done) for item in range(gap.first, gap.end)]
    assert sorted([*missing, *there]) == list(range(total))


@given(st.integers(1, 5_000), st.integers(1, 40))
def test_progress_is_told_a_bounded_number_of_times_and_at_the_end(total: int, size: int) -> None:
    steps = [*range(0, total, size), total]
    told = [after for before, after in itertools.pairwise(steps) if tells(total, before, after)]
    assert len(told) <= MAX_PROGRESS_EVENTS + 1
    assert told[-1] == total


@pytest.mark.parametrize(
    ("found", "now", "expected"),
    [
        (job(), 40.0, Begin(left_s=60.0)),
        (job(attempts=20, state="running"), 40.0, Begin(left_s=60.0)),
        (job(), 100.0, "deadline_exceeded"),
        (job(attempts=MAX_STARTS), 1.0, "node_lost"),
    ],
)
def test_a_job_found_open_is_begun_within_its_time(found: Job, now: float, expected: object) -> None:
    what = on_start(found, now=now)
    assert (what.code if isinstance(what, End) else what) == expected


def failed(error: AgentError, *, failures: int = 1, refusals: int = 0, left_s: float = 1000.0) -> object:
    return on_failure(error, failures=failures, refusals=refusals, attempts=3, base_pause_s=1.0, left_s=left_s, dice=1.0)


def test_a_failure_is_tried_again_with_growing_pauses_then_dropped() -> None:
    error = BackendFailed("no")
    pauses = [failed(error, failures=n) for n in (1, 2)]
    assert [what.pause_s for what in pauses if isinstance(what, Again)] == [1.0, 2.0]
    assert isinstance(failed(error, failures=3), Drop)


@pytest.mark.parametrize("error", [InvalidRequest("x"), NotFound("x"), BudgetExceeded("x")])
def test_what_no_attempt_would_change_stops_the_job(error: AgentError) -> None:
    assert isinstance(failed(error), Stop)


def test_money_that_running_calls_hold_is_waited_for() -> None:
    held = BudgetExceeded("held by running calls", retry_after_s=1.0)
    assert failed(held) == Again(pause_s=1.0, reason="budget_exceeded")
    assert isinstance(failed(held, failures=3), Drop)


def test_refusals_are_waited_for_longer_than_failures_and_not_for_ever() -> None:
    busy = Overloaded("full", retry_after_s=7.0)
    assert failed(busy, failures=99, refusals=1) == Again(pause_s=7.0, reason="overloaded")
    assert isinstance(failed(busy, failures=0, refusals=MAX_REFUSALS), Drop)


def test_no_pause_goes_beyond_the_deadline() -> None:
    assert failed(BackendFailed("no"), left_s=0.5) == Stop(reason="deadline_exceeded")


@given(st.floats(0, 100), st.lists(st.integers(1, 50), min_size=1, max_size=20))
def test_shares_of_a_budget_never_exceed_it(usd: float, parts: list[int]) -> None:
    left, items, given_out, tokens = usd, sum(parts), 0.0, 0
    for part in parts:
        share = share_usd(left, part, items)
        assert share is not None
        token_share = share_tokens(1000 - tokens, part, items)
        assert token_share is not None
        left, items, given_out, tokens = left - share, items - part, given_out + share, tokens + token_share
    assert given_out <= usd + 1e-6
    assert tokens <= 1000
    assert share_usd(None, 1, 1) is None


def test_a_request_survives_its_way_through_json() -> None:
    stages = (Stage(name="one", strategy=Parallel(aspects=())), Stage(name="two", strategy=Single(tier="premium"), prompt="p"))
    request = Request(
        request_id=RequestId("r"),
        source="native",
        target=Target(kind="node", name="n"),
        messages=({"role": "user", "content": "é" * 30_000},),
        params={"temperature": 0.5, "stop": ["x"]},
        schema={"type": "array", "items": {"type": "integer"}},
        count=7,
        place=Place(first=3, total=9),
        rules=("be kind",),
        constraints=(Constraint(kind="range", field="[].age", value=[0, None]),),
        quality=0.75,
        importance="critical",
        budget_usd=1.5,
        budget_tokens=99,
        strategy=Pipeline(stages=stages),
        backend="b",
        deadline_s=3.0,
        key_id="k",
        accept_partial=True,
    )
    assert wire.decode(wire.encode(request)) == request
    bare = Request(request_id=RequestId("r"), source="native", messages=({"role": "user", "content": "x"},))
    assert wire.decode(wire.encode(bare)) == bare


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"target": 3}', '{"target": {"kind": "auto", "name": null}}'])
def test_a_stored_request_that_cannot_be_read_is_an_error_of_ours(text: str) -> None:
    with pytest.raises(InvalidRequest):
        wire.decode(text)


def test_parts_of_a_list_have_the_lists_form_without_its_bounds() -> None:
    array = {"type": "array", "items": {"type": "integer"}, "minItems": 500, "maxItems": 500, "uniqueItems": True}
    schema = part_schema({"type": "object", "properties": {"title": {"type": "string"}, "ids": array}}, 500)
    assert schema["properties"]["ids"] == {"type": "array", "items": {"type": "integer"}}
    assert items_of(schema, {"title": "t", "ids": [1, 2]}) == ([1, 2], {"title": "t"})
    assert items_of(part_schema({"type": "object"}, 3), [{}, {}]) == ([{}, {}], None)
    with pytest.raises(InvalidRequest, match="count"):
        part_schema({"type": "array", "maxItems": 10}, 500)
