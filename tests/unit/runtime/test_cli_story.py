"""How a trace is told, how figures are written, what the demo accepts as an answer."""

from __future__ import annotations

from collections import Counter

import pytest

from runtime.cli import tables
from runtime.cli.demo import new_lines, pool_config, summary
from runtime.cli.demo_asks import UNPLUGGED, missing_fields
from runtime.cli.demo_work import Done
from runtime.cli.show import breaker_words
from runtime.cli.story import story_of
from runtime.config.file import parse


def call(backend: str, error: str | None = None, **more: object) -> dict[str, object]:
    fixed = {"backend": backend, "model": f"{backend}-1", "started_at": 100.0, "latency_s": 0.5, "prompt_tokens": 10}
    return {**fixed, "completion_tokens": 20, "cost_usd": 0.001, "attempt": 1, "error": error, "simulated": True, **more}


TRACE = {
    "id": "req_1",
    "status": "ok",
    "request": {
        "at": 99.0,
        "source": "openai",
        "target": "auto",
        "streamed": True,
        "body": {"messages": [{"role": "user", "content": "Hi"}]},
    },
    "outcome": {
        "status": "ok",
        "node": "generalist",
        "strategy": "pipeline",
        "backend": "enricher",
        "attempts": 1,
        "latency_s": 1.2,
        "overhead_s": 0.003,
        "prompt_tokens": 30,
        "completion_tokens": 40,
        "cost_usd": 0.003,
        "simulated": True,
        "body": {"text": "Hello"},
    },
    "calls": [
        call("generator", "backend_failed", detail="500 from the backend"),
        call("generator", "backend_timeout", attempt=2, started_at=101.0),
        call("enricher", started_at=102.0),
    ],
    "events": [
        {"kind": "call", "at": 100.0, "data": {"backend": "generator"}},
        {"kind": "stage", "at": 101.0, "data": {"name": "enrich", "state": "begun"}},
    ],
}


def test_the_story_says_who_how_and_why() -> None:
    told = "\n".join(story_of(TRACE))
    assert "req_1: answered in 1.2 s for $0.0030" in told
    assert "SIMULATED" in told
    assert "node     generalist" in told
    assert "the daemon chose generalist" in told
    assert "✗ failed" in told
    assert "500 from the backend" in told
    assert "generator (generator-1), attempt 2: ✗ was too slow" in told
    assert "enricher (enricher-1), standing in for generator: ✓ answered" in told
    assert "3 calls, 2 of them failed" in told
    assert "stage enrich: begun" in told
    assert "3 ms outside the backends" in told
    assert told.endswith("The answer: Hello")


def test_the_score_is_told_with_what_keeps_it_down() -> None:
    checks = [{"name": "schema", "score": 1.0}, {"name": "range a", "score": 0.25, "detail": "a: 3 is above 2"}]
    outcome = {**TRACE["outcome"], "quality_score": 0.625, "quality_source": "checks", "quality_checks": checks}  # type: ignore[dict-item]
    told = "\n".join(story_of({**TRACE, "outcome": outcome}))
    assert "quality  0.625, by checks" in told
    assert "0.250 range a: a: 3 is above 2" in told
    assert "schema" not in told
    assert "quality" not in "\n".join(story_of(TRACE))
    assert "quality  0.999, by" in "\n".join(story_of({**TRACE, "outcome": {**outcome, "quality_score": 0.99996}}))


def test_a_real_answer_is_not_called_simulated() -> None:
    outcome = {**TRACE["outcome"], "simulated": False}  # type: ignore[dict-item]
    assert "SIMULATED" not in "\n".join(story_of({**TRACE, "outcome": outcome, "calls": [call("real", simulated=False)]}))


def test_a_failure_names_its_code_and_what_was_spent() -> None:
    outcome = {
        "status": "error",
        "error_code": "invalid_request",
        "error_param": "shape",
        "error_message": "no",
        "latency_s": 0.001,
    }
    told = "\n".join(story_of({"id": "r", "request": {}, "outcome": outcome}))
    assert "failed after 1 ms (invalid_request)" in told
    assert "The client got: invalid_request (field shape): no" in told


def test_a_running_request_and_an_empty_trace_can_be_told() -> None:
    assert story_of({"id": "r", "status": "running", "request": {"target": "node/a"}})[0] == "r: running"
    assert story_of({})


def test_a_story_holds_no_escape_codes() -> None:
    outcome = {**TRACE["outcome"], "body": {"text": "\x1b]0;title\x07"}}  # type: ignore[dict-item]
    assert "\x1b" not in "\n".join(story_of({**TRACE, "outcome": outcome}))


@pytest.mark.parametrize(
    ("amount", "text"),
    [(0, "$0"), (1234.5, "$1,234.50"), (0.25, "$0.25"), (0.0042, "$0.0042"), (0.000031, "$0.000031"), (None, "-")],
)
def test_money(amount: float | None, text: str) -> None:
    assert tables.usd(amount) == text


@pytest.mark.parametrize(
    ("value_s", "text"),
    [
        (0.00064, "640 µs"),
        (0.012, "12 ms"),
        (0.41, "0.41 s"),
        (3.21, "3.2 s"),
        (125, "2 min 05 s"),
        (12_000, "3 h 20 min"),
        (None, "-"),
    ],
)
def test_durations(value_s: float | None, text: str) -> None:
    assert tables.seconds(value_s) == text


def test_ago_and_size_and_clip() -> None:
    assert tables.ago(96.0, now=100.0) == "4 s ago"
    assert tables.ago(None, now=1.0) == "-"
    assert tables.size(83_100_000_000) == "83.1 GB"
    assert tables.clip("a\n b\x1b   c", 20) == "a b c"
    assert tables.clip("abcdef", 4) == "abc…"


def test_breaker_words() -> None:
    assert breaker_words({"state": "closed"}) == "closed"
    assert breaker_words({"state": "open", "retry_in_s": 3.0}) == "OPEN, probe in 3.0 s"


# ── the demo ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_demo_notices_what_a_reply_lacks() -> None:
    shape = {"$cache": 2, "a": "string", "list": [{"b": 0}]}
    assert missing_fields({"a": "x", "list": [{"b": 1}]}, shape) == []
    assert missing_fields({"list": [{"b": 1}, {}]}, shape) == ["a", "list[1].b"]
    assert missing_fields({"a": {}, "list": {}}, shape) == ["a", "list"]
    assert missing_fields(None, shape) == ["the answer"]


def test_the_demo_configuration_is_valid_and_no_tier_begins_with_the_broken_backend(tmp_path: object) -> None:
    from pathlib import Path

    settings = parse(pool_config(9), path=Path("demo.toml"), env={})
    by_price = sorted(settings.backends, key=lambda backend: backend.input_usd_per_mtok)
    names = [backend.name for backend in by_price]
    assert UNPLUGGED not in (names[0], names[2], names[-1])  # cheap, quality (the upper middle of four), premium
    assert UNPLUGGED not in settings.requests.fallback
    assert next(backend for backend in settings.backends if backend.name == UNPLUGGED).weight == 0


def done(what: str, problem: str = "", *, simulated: bool = True) -> Done:
    return Done(act="a", what=what, found="f", problem=problem, backend="b", simulated=simulated, latency_s=0.5, cost_usd=0.01)


def test_the_summary_counts_failures_and_says_what_is_simulated() -> None:
    lines = list(summary([done("x"), done("y", "broken")], took_s=61))
    assert lines[0] == "a: 1 of 2 requests answered (simulated answers): b 1; median 0.50 s, $0.010 at pretended prices."
    assert "real answers" in next(summary([done("x", simulated=False)], took_s=1))
    mixed = next(summary([done("x", simulated=False), done("y")], took_s=1))
    assert "(partly simulated answers)" in mixed
    assert "pretended prices" in mixed
    assert "(no answers)" in next(summary([done("x", "broken")], took_s=1))


def test_a_crowd_gets_three_lines_and_each_failure_one() -> None:
    shown: Counter[str] = Counter()
    first = [done("c") for _ in range(5)]
    assert len(list(new_lines(first, shown))) == 3
    assert list(new_lines(first, shown)) == []
    assert len(list(new_lines([*first, done("c"), done("c", "bad")], shown))) == 1


def test_messages_between_nodes_say_who_what_and_at_what_price() -> None:
    asked = {"message": "ask", "asking": "generalist", "asked": "legal", "characters": 6, "text": "May I?"}
    answered = {**asked, "message": "answer", "text": "You may.", "latency_s": 0.25, "calls": 1, "cost_usd": 0.5, "error": None}
    failed = {**answered, "text": "", "error": "node_lost"}
    told = {"message": "announce", "asking": "legal", "asked": None, "characters": 8, "text": "standard"}
    events = [{"kind": "peer", "at": 1.0, "data": data} for data in (asked, answered, failed, told)]
    lines = story_of({"id": "r1", "request": {"at": 1.0}, "events": events})
    said = [line.strip().split("  ", 1)[1] for line in lines[lines.index("What happened") + 1 :] if line.strip()]
    assert said == [
        "generalist asks legal: May I?",
        "legal answers generalist after 0.25 s, $0.50: You may.",
        "legal gives generalist no answer after 0.25 s, $0.50: node_lost",
        "legal tells all nodes: standard",
    ]
