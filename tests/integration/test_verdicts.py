"""Verdicts through a running daemon: an answer in a shape is judged; the trace, the list, the story and the metrics show it."""

from __future__ import annotations

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


def trace_of(daemon: Running, request_id: str) -> Any:
    """The trace once its outcome is written, which happens a moment after the answer."""
    for _ in range(100):
        status, trace, _ = daemon.call("GET", f"/v1/requests/{request_id}", operator=True)
        if status == 200 and trace["outcome"] is not None:
            return trace
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
