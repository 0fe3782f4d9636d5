"""What reaches the ledger's rows: cut, marked, storable, and without credentials."""

from __future__ import annotations

import math
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from agents.calls import CallRecord
from agents.records import Draft, Event, RequestId
from agents.strategy_specs import Single
from agents.verdicts import Check, Constraint, Verdict
from runtime.ledger.clipping import scrub, to_json
from runtime.ledger.desired import encode_single
from runtime.ledger.rows import (
    MAX_CHECKS,
    MAX_CHECKS_CHARS,
    MAX_EVENTS,
    Keeping,
    call_rows,
    event_rows,
    outcome_row,
    request_row,
)
from runtime.records import Answer, Request

KEEPING = Keeping(bodies=True, max_chars=1000, strategy=encode_single)
MEASURES = Keeping(bodies=False, max_chars=1000, strategy=encode_single)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


@given(json_values, st.integers(0, 200))
def test_any_json_is_stored_within_its_limit(value: object, limit: int) -> None:
    text = to_json(value, limit=limit, redact=True)
    text.encode("utf-8")
    orjson.loads(text)


def test_a_long_text_is_cut_and_marked() -> None:
    kept = orjson.loads(to_json([{"role": "user", "content": "x" * 5000}], limit=100, redact=False))
    content = kept[0]["content"]
    assert len(content) < 200
    assert "[cut:" in content
    assert "of 5000 characters" in content


def test_many_items_and_deep_nesting_are_cut_and_marked() -> None:
    assert "more items" in to_json(["ab"] * 10_000, limit=100, redact=False)
    deep: list[object] = []
    for _ in range(5000):
        deep = [deep]
    assert "nested deeper" in to_json(deep, limit=100_000, redact=False)


def test_credentials_are_left_out() -> None:
    params = {
        "tools": [{"type": "mcp", "headers": {"Authorization": "Bearer abcdefgh12345678"}, "authorization": "tok-9"}],
        "Api_Key": "k-123",
        "note": "sent with Bearer abcdefgh12345678 and mg-client-0a0b-" + "s" * 43,
        "temperature": 0.5,
    }
    text = to_json(params, limit=10_000, redact=True)
    for secret in ("abcdefgh12345678", "tok-9", "k-123", "s" * 43):
        assert secret not in text
    assert orjson.loads(text)["temperature"] == 0.5


def test_our_own_keys_are_left_out_of_messages_but_prose_stays() -> None:
    assert (
        scrub("a basic understanding of bearer certificates", credentials=False) == "a basic understanding of bearer certificates"
    )
    assert "secretsecret" not in scrub("mg-operator-12ab-secretsecret", credentials=False)


def test_measures_only_keeps_no_text() -> None:
    request = Request(
        request_id=RequestId("r"),
        source="openai",
        messages=({"role": "user", "content": "private words"},),
        params={"user": "private words"},
        strategy=Single(prompt="private words"),
    )
    call = CallRecord(backend="b", model="m", started_at=1.0, latency_s=1.0, detail="private words")
    event = Event(kind="note", at=1.0, data={"text": "private words", "count": 3, "backend": "b"})
    rows = [request_row(request, 1.0, MEASURES), *call_rows("r", [call], MEASURES), *event_rows("r", [event], MEASURES)]
    assert "private words" not in repr(rows)
    assert orjson.loads(rows[-1][-1]) == {"count": 3, "backend": "b"}
    assert "private words" in repr(request_row(request, 1.0, KEEPING))


def test_numbers_that_no_column_takes_are_brought_into_range() -> None:
    request = Request(request_id=RequestId("r\ud800"), source="mock", messages=(), count=10**30, deadline_s=math.nan)
    row = request_row(request, math.inf, KEEPING)
    assert row[0] == "r?"
    assert row[1] == 0.0
    assert row[8] == 2**63 - 1
    assert row[9] == 0.0


def test_events_are_bounded_and_deltas_left_out() -> None:
    events = [Event(kind="delta", at=0.0, data={"text": "x"})] * 10
    events += [Event(kind="progress", at=float(n), data={"n": n}) for n in range(MAX_EVENTS + 50)]
    rows = event_rows("r", events, KEEPING)
    assert len(rows) == MAX_EVENTS + 1
    assert [row[1] for row in rows] == list(range(MAX_EVENTS + 1))
    assert orjson.loads(rows[MAX_EVENTS // 2][-1]) == {"events_left_out": 50}
    assert orjson.loads(rows[-1][-1]) == {"n": MAX_EVENTS + 49}


def outcome(verdict: Verdict | None, keeping: Keeping) -> tuple[Any, ...]:
    """The columns of quality in an outcome's row."""
    answer = Answer(
        request_id=RequestId("r"),
        draft=Draft(text="t"),
        calls=(),
        node="n",
        strategy="single",
        attempts=1,
        latency_s=1,
        verdict=verdict,
    )
    return outcome_row("r", answer, None, (), 1.0, 1.0, 0.1, keeping)[-4:-1]


def test_a_verdict_is_kept_with_its_checks() -> None:
    checks = (Check(name="schema", score=1.0), Check(name="range users[].age", score=math.nan, detail="private words"))
    verdict = Verdict(score=0.5, source="checks", checks=checks)
    score, source, text = outcome(verdict, KEEPING)
    assert (score, source) == (0.5, "checks")
    assert orjson.loads(text) == [
        {"name": "schema", "score": 1.0},
        {"name": "range users[].age", "score": 0.0, "detail": "private words"},
    ]
    assert orjson.loads(outcome(verdict, MEASURES)[2]) == [{"name": "schema", "score": 1.0}, {"name": "range", "score": 0.0}]
    assert outcome(None, KEEPING) == (None, None, None)
    assert outcome(Verdict(score=1.0, source="none"), KEEPING) == (1.0, "none", None)


def test_the_checks_of_a_verdict_are_bounded() -> None:
    checks = tuple(Check(name=f"range f{n}", score=0.0, detail="x" * 1000) for n in range(500))
    text = outcome(
        Verdict(score=0.0, source="checks", checks=checks), Keeping(bodies=True, max_chars=10**6, strategy=encode_single)
    )[2]
    assert len(orjson.loads(text)) <= MAX_CHECKS
    assert len(text) < 2 * MAX_CHECKS_CHARS


def test_the_constraints_of_a_request_are_kept() -> None:
    constraint = Constraint(kind="range", field="users[].age", value=[1, None])
    request = Request(request_id=RequestId("r"), source="native", messages=(), constraints=(constraint,))
    assert orjson.loads(request_row(request, 1.0, KEEPING)[10])["constraints"] == [{"field": "users[].age", "range": [1, None]}]
    assert request_row(request, 1.0, MEASURES)[-1] is None
