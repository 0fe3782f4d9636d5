"""Questions to a person: what clients see of them, and what an answer is held against."""

from __future__ import annotations

from typing import Any

import pytest

from agents.quality.constraints import parse_constraints
from agents.records import Escalated, RequestId
from agents.schema_check import ShapeLimits
from agents.shaping import parse_shape
from agents.strategies.compose import default_strategy
from agents.strategy_specs import CodeAugmented, Pipeline, Single, Stage, ValidationLoop
from runtime.api.errors import error_body, fault_headers, from_agent_error, problem_body
from runtime.escalations import problems_with
from runtime.jobs.plan import Stop, of_the_whole, on_failure
from runtime.records import Request

SCHEMA = parse_shape([{"age": "integer"}], limits=ShapeLimits())


def request(**fields: Any) -> Request:
    messages = ({"role": "user", "content": "ages"},)
    return Request(**{"request_id": RequestId("r1"), "source": "native", "messages": messages, **fields})


def escalated() -> Escalated:
    error = Escalated("no program passed", partial=[{"age": 1}])
    error.escalation_id = "esc-r1"
    return error


def test_clients_get_a_typed_error_that_they_do_not_repeat() -> None:
    fault = from_agent_error(escalated())
    assert (fault.status, fault.code) == (422, "escalated")
    assert fault_headers(fault) == {"x-morphogen-escalation-id": "esc-r1", "x-should-retry": "false"}
    assert error_body(fault)["error"]["escalation_id"] == problem_body(fault)["escalation_id"] == "esc-r1"


def test_a_job_stops_at_a_question() -> None:
    what = on_failure(escalated(), failures=1, refusals=0, attempts=9, base_pause_s=1, left_s=99, dice=0)
    assert what == Stop(reason="escalated")


def test_a_sample_is_never_cut_into_parts() -> None:
    assert not of_the_whole(request(), None)
    assert of_the_whole(request(), default_strategy("code_augmented"))
    assert of_the_whole(request(), Pipeline(stages=(Stage(name="s", strategy=ValidationLoop(generate=CodeAugmented())),)))
    assert not of_the_whole(request(), Pipeline(stages=(Stage(name="s", strategy=Single()),)))
    assert of_the_whole(request(constraints=parse_constraints([{"field": "[].age", "sum": 3}])), None)
    assert not of_the_whole(request(constraints=parse_constraints([{"field": "[].age", "range": [1, 3]}])), Single())


@pytest.mark.parametrize(
    ("data", "text", "words"),
    [
        ([{"age": 3}, {"age": 4}], None, None),
        ([{"age": 3}], None, "2"),
        ([{"age": "x"}, {"age": 4}], None, "integer"),
        ([{"age": 3}, {"age": 9}], None, "between"),
        (None, "three", "asks for data"),
    ],
)
def test_a_persons_answer_is_held_against_the_request(data: Any, text: str | None, words: str | None) -> None:
    constraints = parse_constraints([{"field": "[].age", "range": [1, 5]}])
    found = problems_with(data, text, schema=SCHEMA, count=2, constraints=constraints)
    assert (not found) if words is None else words in " ".join(found)
    assert problems_with(None, "words", schema=None) == ()
    assert problems_with([1], None, schema=None) == ("the request asks for words: give 'text'",)
