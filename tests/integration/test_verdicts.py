"""Verdicts through a running daemon: an answer in a shape is judged; the trace, the list, the story and the metrics show it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from runtime.cli.story import story_of
from tests.integration.daemon_process import Running, running_daemon

pytestmark = pytest.mark.integration

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 18}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running_daemon(tmp_path_factory.mktemp("verdicts")) as running:
        yield running


def trace_of(daemon: Running, request_id: str, *, tries: int = 100) -> Any:
    """The trace once its outcome is written, which for an answer happens a moment later."""
    for _ in range(tries):
        status, trace, _ = daemon.call("GET", f"/v1/requests/{request_id}", operator=True)
        if status == 200 and trace["outcome"] is not None:
            return trace
        time.sleep(0.02)
    raise AssertionError("the outcome never came")


def test_an_answer_in_a_shape_is_judged_and_a_free_one_is_not(daemon: Running) -> None:
    shape = {"type": "json_schema", "json_schema": {"name": "sailor", "schema": SCHEMA}}
    status, body, headers = daemon.chat("auto", "A sailor", response_format=shape)
    assert status == 200
    assert body["morphogen"]["quality"] == {"score": 1.0, "source": "checks"}
    request_id = headers["x-morphogen-request-id"]
    outcome = trace_of(daemon, request_id)["outcome"]
    assert (outcome["quality_score"], outcome["quality_source"]) == (1.0, "checks")
    assert [check["name"] for check in outcome["quality_checks"]] == ["schema", "completeness"]
    told = "\n".join(story_of(trace_of(daemon, request_id)))
    assert "quality  1.00, by checks" in told

    status, _, headers = daemon.chat("auto", "Hello")
    assert status == 200
    free = trace_of(daemon, headers["x-morphogen-request-id"])["outcome"]
    assert (free["quality_score"], free["quality_source"], free["quality_checks"]) == (None, None, None)

    rows = {row["id"]: row["quality"] for row in daemon.call("GET", "/v1/requests", operator=True)[1]["data"]}
    assert rows[request_id] == 1.0
    text = daemon.call("GET", "/metrics")[1]
    assert 'morphogen_answer_quality_score_count{quality_source="checks"} 1.0' in text


CREW = {"crew": [{"name": "string", "age": 0, "email": "name@example.org"}]}
RULES = [
    {"field": "crew[].age", "range": [30, 40]},
    {"field": "crew[].email", "format": "email"},
    {"field": "crew", "count": 6},
    {"expression": "max(crew[].age) < 35"},
]


def test_a_native_request_has_its_constraints_told_and_checked(daemon: Running) -> None:
    body = {"prompt": "Make up a crew of sailors", "shape": CREW, "count": 6, "constraints": RULES}
    status, reply, _ = daemon.call("POST", "/v1/requests", body)
    assert status == 200
    crew = reply["answer"]["data"]["crew"]
    checks = {check["name"]: check for check in reply["verdict"]["checks"]}
    # The simulated pool reads the rule in the prompt.
    assert all(30 <= one["age"] <= 40 for one in crew)
    assert checks["range crew[].age"]["score"] == 1.0
    assert checks["count crew"]["score"] == checks["count"]["score"] == 1.0
    kept = max(one["age"] for one in crew) < 35
    assert checks["expression answer"]["score"] == float(kept)
    assert any("max(crew[].age) < 35" in issue for issue in reply["issues"]) is not kept
    stored = trace_of(daemon, reply["id"])
    assert stored["outcome"]["quality_score"] == pytest.approx(reply["verdict"]["score"])
    assert stored["request"]["body"]["constraints"] == RULES


def test_what_a_person_says_is_the_score_and_the_checks_stay(daemon: Running) -> None:
    _, reply, _ = daemon.call("POST", "/v1/requests", {"prompt": "A sailor", "shape": {"name": "string"}})
    before = trace_of(daemon, reply["id"])["outcome"]
    for score in (0.9, 0.25):
        assert daemon.call("POST", f"/v1/requests/{reply['id']}/feedback", {"score": score, "comment": "no"})[0] < 300
    after = trace_of(daemon, reply["id"])["outcome"]
    assert (before["quality_score"], before["quality_source"]) == (1.0, "checks")
    assert (after["quality_score"], after["quality_source"]) == (0.25, "feedback")
    assert after["quality_checks"] == before["quality_checks"]


def test_a_batch_is_judged_as_a_whole(daemon: Running) -> None:
    rules = [
        {"field": "crew[].age", "range": [30, 40]},
        {"field": "crew", "count": [1, 100]},
        {"field": "crew[].id", "unique": True},
    ]
    shape = {"crew": [{"id": 1, "age": 0}]}
    body = {"prompt": "Make up a crew", "shape": shape, "count": 300, "mode": "async", "constraints": rules}
    status, reply, _ = daemon.call("POST", "/v1/requests", body)
    assert status == 202
    trace = trace_of(daemon, reply["id"], tries=600)
    checks = {check["name"]: check for check in trace["outcome"]["quality_checks"]}
    assert checks["count"]["score"] == 1.0
    assert checks["count crew"]["score"] == pytest.approx(1 / 3)
    assert "there are 300" in checks["count crew"]["detail"]
    items = [json.loads(line) for line in daemon.call("GET", f"/v1/requests/{reply['id']}/result")[1].splitlines()]
    assert checks["range crew[].age"]["score"] == pytest.approx(sum(30 <= item["age"] <= 40 for item in items) / 300)
    assert checks["range crew[].age"]["score"] > 0.9
    assert checks["unique crew[].id"]["score"] == pytest.approx(len({item["id"] for item in items}) / 300)


@pytest.mark.parametrize(
    ("constraints", "param"),
    [
        ([{"field": "age", "range": [9, 1]}], "constraints[0].range"),
        ([{"field": "age", "unique": True}, {"expression": "1 +"}], "constraints[1].expression"),
        ([{"pattern": "("}], "constraints[0].pattern"),
        ([3], "constraints[0]"),
        ([{"unique": True}] * 101, "constraints"),
    ],
)
def test_a_bad_constraint_is_named(daemon: Running, constraints: Any, param: str) -> None:
    status, problem, _ = daemon.call("POST", "/v1/requests", {"prompt": "x", "shape": {"age": 0}, "constraints": constraints})
    assert (status, problem["param"]) == (400, param)


def test_a_division_by_zero_and_a_bomb_cost_only_the_score(daemon: Running) -> None:
    rules = [{"expression": "age / 0 > 1"}, {"field": "name", "pattern": "^(a+)+$"}, {"expression": "nobody == 1"}]
    body = {"prompt": "A sailor", "shape": {"name": "string", "age": 0}, "constraints": rules}
    status, reply, _ = daemon.call("POST", "/v1/requests", body)
    assert status == 200
    # Half of the score is completeness; all three rules are broken.
    assert reply["verdict"]["score"] == pytest.approx(0.5)
    assert any("division by zero" in issue for issue in reply["issues"])
