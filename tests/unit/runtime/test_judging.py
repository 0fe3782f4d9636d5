"""The verdict of an answer on its way to the client: who gets one, and that dispatch passes it on."""

from __future__ import annotations

from typing import Any

import pytest

from agents.quality.constraints import parse_constraints
from agents.records import Draft, Incomplete, Place, RequestId
from agents.strategies.runner import to_text
from agents.verdicts import Check, Constraint
from runtime.dispatch import Dispatch
from runtime.judging import INLINE_CHARS, judged
from runtime.records import Answer, Request, Target
from tests.fakes.backends import ScriptedBackend
from tests.fakes.cluster import ScriptedCluster
from tests.fakes.request_path import World
from tests.fakes.service import fake_settings

SCHEMA = {"type": "object", "properties": {"users": {"type": "array", "items": {"type": "object"}}}, "required": ["users"]}
ADULTS = parse_constraints([{"field": "users[].age", "range": [18, 99]}])


def request(**fields: Any) -> Request:
    return Request(request_id=RequestId("r"), source="native", messages=({"role": "user", "content": "hi"},), **fields)


def answer(data: Any = None, text: str = "hello", **fields: Any) -> Answer:
    draft = Draft(text=text if data is None else to_text(data), data=data, **fields)
    return Answer(request_id=RequestId("r"), draft=draft, calls=(), node="n", strategy="single", attempts=1, latency_s=1.0)


async def test_only_who_says_what_it_wants_gets_a_verdict() -> None:
    plain = answer()
    assert await judged(request(), plain) is plain
    part = answer({"users": []})
    assert await judged(request(schema=SCHEMA, place=Place(first=0, total=9)), part) is part
    found = await judged(request(schema=SCHEMA, count=1), answer({"users": [{"age": 20}]}))
    assert found.verdict is not None
    assert (found.verdict.score, found.verdict.source) == (1.0, "checks")
    text = await judged(request(constraints=parse_constraints([{"pattern": "^hell"}])), plain)
    assert text.verdict is not None
    assert text.verdict.checks == (Check(name="pattern answer", score=1.0),)


@pytest.mark.parametrize("users", [3, INLINE_CHARS])
async def test_broken_constraints_join_the_issues_of_short_and_of_long_answers(users: int) -> None:
    data = {"users": [{"age": 17}] * users}
    found = await judged(request(schema=SCHEMA, constraints=ADULTS), answer(data, issues=("known before",)))
    assert found.draft.issues[0] == "known before"
    assert "users[0].age: 17 is below 18" in found.draft.issues[1]
    assert not found.draft.complete
    assert found.draft.data == data
    assert found.verdict is not None
    # Half of it is completeness, which is whole; the constraint is broken everywhere.
    assert found.verdict.score == 0.5


def world(*attempts: Any, **sections: Any) -> World:
    return World(ScriptedCluster(*attempts), [ScriptedBackend("a"), ScriptedBackend("b")], fake_settings(**sections))


async def test_dispatch_writes_counts_and_gives_the_verdict() -> None:
    data = {"users": [{"age": 17}, {"age": 30}]}
    w = world([Draft(text=to_text(data), data=data)])
    assert isinstance(w.dispatch, Dispatch)
    found = await w.dispatch.run(request(schema=SCHEMA, constraints=ADULTS))
    assert found.verdict is not None
    assert found.verdict.score == pytest.approx(0.75)
    assert w.settled()["answer"].verdict == found.verdict
    assert w.metrics.finished[0]["verdict"] == found.verdict
    assert w.cluster.tasks[0].work.constraints == ADULTS


async def test_a_partial_answer_is_judged_as_what_it_is() -> None:
    w = world([Incomplete("1 of 2 items are missing", param="count", partial={"users": [{"age": 20}]})])
    found = await w.dispatch.run(request(schema=SCHEMA, count=2, accept_partial=True))
    assert found.verdict is not None
    assert found.verdict.score == 0.5
    assert not found.draft.complete


async def test_a_partial_text_stays_a_text() -> None:
    w = world([Incomplete("1 of 3 members answered", partial="23 metres")])
    found = await w.dispatch.run(request(accept_partial=True))
    assert (found.draft.text, found.draft.data, found.draft.complete) == ("23 metres", None, False)


async def test_a_named_backend_with_constraints_is_asked_through_a_node_which_tells_them() -> None:
    w = world(["Hello"])
    found = await w.dispatch.run(
        request(target=Target(kind="backend", name="a"), constraints=parse_constraints([{"pattern": "x"}]))
    )
    assert found.verdict is not None
    assert found.verdict.score == 0.0
    assert len(w.cluster.tasks) == 1


async def test_an_answer_is_not_lost_over_a_constraint_that_cannot_be_read() -> None:
    plain = answer()
    assert await judged(request(constraints=(Constraint(kind="pattern", value="("),)), plain) is plain
