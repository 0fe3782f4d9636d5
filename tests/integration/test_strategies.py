"""Every strategy through the daemon on the simulated pool: from the request's JSON to the answer and its trace."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.daemon_process import Running, running_daemon

pytestmark = pytest.mark.integration

SHIP = {"name": "string", "email": "string", "port": "string", "seats": 0}
NAMED = """
[strategies.careful]
[strategies.careful.routed]
thresholds = [2, 6]
low = "single"
mid = "layered"
high = { validation = {} }

[[strategies.layered.pipeline]]
name = "sketch"
tier = "cheap"

[[strategies.layered.pipeline]]
name = "widen"
[strategies.layered.pipeline.strategy.parallel]
conflict = "longest"
aspects = [
  { name = "who", fields = ["name", "email"], tier = "quality" },
  { name = "where", fields = ["port", "seats"], backend = "generator" },
]

[[strategies.layered.pipeline]]
name = "close"
tier = "premium"
gate = ["validate", "data.seats >= 0"]
"""


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running_daemon(tmp_path_factory.mktemp("strategies"), NAMED) as running:
        yield running


def ask(daemon: Running, strategy: Any, text: str = "A ferry for the bay", **own: Any) -> tuple[int, Any, list[Any]]:
    """(status, body, the trace's stage events)."""
    body = {
        "model": "auto",
        "messages": [{"role": "user", "content": text}],
        "morphogen": {"strategy": strategy, "shape": SHIP, **own},
    }
    status, reply, headers = daemon.call("POST", "/v1/chat/completions", body)
    request_id = headers["x-request-id"]
    _, trace, _ = daemon.call("GET", f"/v1/requests/{request_id}", operator=True)
    return status, reply, [event["data"] for event in trace.get("events", ()) if event["kind"] == "stage"]


def content(reply: Any) -> Any:
    return json.loads(reply["choices"][0]["message"]["content"])


def test_a_nested_strategy_from_the_configuration(named: Running) -> None:
    hard = "Compare two ferries for the bay, explain the trade-offs step by step, and design the better one: why this one?"
    status, reply, stages = ask(named, "careful", hard)
    assert status == 200, reply
    assert set(content(reply)) == set(SHIP)
    route = next(stage for stage in stages if stage["name"] == "route")
    assert route["level"] == "mid", route
    assert "reasoning" in route["reason"]
    done = [stage["name"] for stage in stages if stage.get("state") == "done"]
    assert done[0] == "route"
    assert set(done[2:4]) == {"who", "where"}
    assert [name for name in done if name not in ("who", "where")] == ["route", "sketch", "merge", "widen", "close"]
    assert any(stage["name"] == "close" and stage.get("state") == "gate" and stage["passed"] for stage in stages)
    easy, _, stages = ask(named, "careful", "A ship")
    assert easy == 200
    assert next(stage for stage in stages if stage["name"] == "route")["level"] == "low"


def test_configured_strategies_and_all_built_in_ones_are_models(named: Running) -> None:
    _, listed, _ = named.call("GET", "/v1/models")
    models = {model["id"] for model in listed["data"]}
    built_in = {"single", "pipeline", "parallel", "validation", "routed", "consensus", "self_dialogue", "self_healing"}
    assert {f"strategy/{name}" for name in (*built_in, "careful", "layered")} <= models


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("routed", {"route"}),
        ("consensus", {"member 1", "member 2", "member 3", "pick"}),
        ({"consensus": {"pick": "majority", "judge": {"tier": "premium"}}}, {"pick"}),
        ("self_dialogue", {"voices", "questions"}),
        ("self_healing", {"generate", "detect"}),
        ({"parallel": {"merge": "vote", "aspects": [{"tier": "cheap"}, {"tier": "quality"}, {"tier": "premium"}]}}, {"aspect 1"}),
        ({"validation": {"generate": {"consensus": {"k": 2}}}}, {"validate", "member 2"}),
    ],
)
def test_every_strategy_answers_and_leaves_its_trace(daemon: Running, strategy: Any, expected: set[str]) -> None:
    status, reply, stages = ask(daemon, strategy)
    assert status == 200, reply
    assert set(content(reply)) == set(SHIP)
    assert expected <= {stage["name"] for stage in stages}
    assert reply["usage"]["total_tokens"] > 0


def test_free_text_through_every_name(daemon: Running) -> None:
    for name in ("routed", "consensus", "self_dialogue", "self_healing"):
        status, reply, _ = daemon.chat(f"strategy/{name}", "Describe a lighthouse in two sentences.")
        assert status == 200, reply
        assert len(reply["choices"][0]["message"]["content"]) > 20


def test_only_every_fifth_item_costs_the_dear_model(daemon: Running) -> None:
    strategy = {
        "pipeline": [
            {"name": "list", "tier": "cheap"},
            {"name": "enrich", "tier": "premium", "per_item": True, "when": "index % 5 == 0"},
        ]
    }
    status, reply, stages = ask(daemon, strategy, "Ferries for the bay", shape=[SHIP], count=50)
    assert status == 200, reply
    assert len(content(reply)) == 50
    worked_on = sum(stage["worked_on"] for stage in stages if stage.get("state") == "items")
    assert worked_on == 10


def test_a_gate_that_cannot_be_passed_leaves_a_partial_answer_that_says_so(daemon: Running) -> None:
    gate = {"check": "data.seats < -1000000", "on_fail": "stop"}
    strategy = {"pipeline": [{"name": "sketch", "tier": "cheap", "gate": gate}, "single"]}
    status, reply, _ = ask(daemon, strategy)
    assert status == 200, reply
    assert reply["morphogen"]["complete"] is False
    assert any("partial" in issue and "sketch" in issue for issue in reply["morphogen"]["issues"])


def nested(depth: int) -> Any:
    value: Any = "single"
    for _ in range(depth):
        value = {"pipeline": [value]}
    return value


@pytest.mark.parametrize(
    ("strategy", "words"),
    [
        (nested(50), "nested deeper than 64 levels at morphogen.strategy.pipeline[0]"),
        (nested(12), "strategy.pipeline[0].strategy.pipeline[0].strategy.pipeline[0]"),
        ({"pipeline": [{"name": "polish", "strategy": "polish"}]}, "'polish' names itself"),
        ({"pipeline": [{"when": "1 / 0 >"}]}, "strategy.pipeline[0].when"),
        ({"pipeline": [{"when": "[x for x in data]"}]}, "strategy.pipeline[0].when"),
        ({"parallel": {"conflict": "duel"}}, "strategy.parallel.conflict"),
        ({"consensus": {"k": 3, "quorum": 9}}, "strategy.consensus.quorum"),
        ("committee of fools", "no strategy 'committee of fools'"),
    ],
)
def test_bad_strategies_are_a_400_that_names_the_place(daemon: Running, strategy: Any, words: str) -> None:
    body = {"model": "auto", "messages": [{"role": "user", "content": "x"}], "morphogen": {"strategy": strategy}}
    status, reply, _ = daemon.call("POST", "/v1/chat/completions", body)
    assert status in (400, 404), reply
    assert words in reply["error"]["message"]
    assert reply["error"]["param"] in ("morphogen.strategy", "model", "body")


def test_division_by_zero_in_a_condition_skips_nothing_and_is_said(daemon: Running) -> None:
    strategy = {"pipeline": ["single", {"name": "polish", "when": "index / 0 > 1"}]}
    status, reply, stages = ask(daemon, strategy)
    assert status == 200, reply
    assert any("polish" in issue and "could not be worked out" in issue for issue in reply["morphogen"]["issues"])
    assert any(stage["name"] == "polish" and stage.get("state") == "done" for stage in stages)


PATTERNS: dict[str, Any] = {
    "sequential": {"pipeline": [{"name": "draft", "tier": "cheap"}, {"name": "enrich", "tier": "quality"}, {"tier": "premium"}]},
    "divergent": {"parallel": [{"name": "who", "fields": ["name", "email"]}, {"name": "where", "fields": ["port", "seats"]}]},
    "loop": {"validation": {"generate": {"single": {"tier": "cheap"}}, "premium": {"single": {"tier": "premium"}}}},
    "routing": {"routed": {"mid": {"pipeline": ["single", {"parallel": ["single", "single"]}, "single"]}, "thresholds": [0, 10]}},
    "voting": {"consensus": {"pick": "majority", "members": [{"tier": "cheap"}, {"tier": "quality"}, {"tier": "premium"}]}},
    "healing": "self_healing",
    "talking": "self_dialogue",
}


def told_by_cli(daemon: Running, request_id: str) -> str:
    """What ``morphogen trace`` prints of a request."""
    argv = [sys.executable, "-m", "runtime.cli", "trace", request_id]
    env = {**os.environ, "MORPHOGEN_URL": daemon.url, "MORPHOGEN_KEY": daemon.operator_key, "COLUMNS": "200"}
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, env=env, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_pattern_is_one_native_request_with_its_trace(daemon: Running, pattern: str) -> None:
    body = {
        "prompt": "A ferry for the bay",
        "shape": SHIP,
        "strategy": PATTERNS[pattern],
        "constraints": [{"field": "seats", "range": [0, 100_000]}],
        "importance": "high",
    }
    status, reply, headers = daemon.call("POST", "/v1/requests", body)
    assert status == 200, reply
    _, trace, _ = daemon.call("GET", f"/v1/requests/{headers['x-request-id']}", operator=True)
    stages = [event["data"] for event in trace["events"] if event["kind"] == "stage"]
    assert stages, trace
    assert len(trace["calls"]) >= 2
    told = told_by_cli(daemon, headers["x-request-id"])
    assert "A ferry for the bay" in told
    for stage in {stage["name"] for stage in stages}:
        assert f"stage {stage}" in told
    if pattern == "routing":
        assert {"route", "stage 2", "aspect 1", "aspect 2", "stage 3"} <= {stage["name"] for stage in stages}


def test_importance_decides_over_the_premium_stage(daemon: Running) -> None:
    strategy = {"pipeline": [{"tier": "cheap"}, {"name": "review", "tier": "premium", "when": "importance == 'critical'"}]}
    for importance, state in (("critical", "done"), ("normal", "skipped")):
        body = {"prompt": "A ferry", "shape": SHIP, "strategy": strategy, "importance": importance}
        status, _, headers = daemon.call("POST", "/v1/requests", body)
        assert status == 200
        _, trace, _ = daemon.call("GET", f"/v1/requests/{headers['x-request-id']}", operator=True)
        assert any(
            event["kind"] == "stage" and event["data"]["name"] == "review" and event["data"].get("state") == state
            for event in trace["events"]
        )
