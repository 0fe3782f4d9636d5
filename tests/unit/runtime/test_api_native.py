"""The native surface over a fake service: what it passes on, what it answers, whose requests are shown to whom."""

from __future__ import annotations

import json
from typing import Any

import httpx
import orjson
import pytest

from agents.records import BackendFailed, DeadlineExceeded, Draft, Event, Json, Overloaded
from agents.strategy_specs import Pipeline
from runtime.jobs.records import Job, JobEvent, Part, Range
from runtime.records import Request
from tests.fakes.http import CLIENT, OPERATOR, client
from tests.fakes.service import FakeService, fake_settings


async def post(service: FakeService, body: Json, **headers: str) -> httpx.Response:
    async with client(service) as http:
        return await http.post("/v1/requests", json=body, headers=headers)


async def test_all_fields_reach_the_request() -> None:
    service = FakeService()
    body = {
        "prompt": "users",
        "system": "be brief",
        "model": "auto",
        "backend": "quick",
        "strategy": {"pipeline": [{"single": {}}, {"parallel": [{"single": {}}]}]},
        "shape": {"users": [{"age": 0}]},
        "count": 3,
        "rules": ["adults only"],
        "constraints": [{"field": "users[].age", "range": [18, None]}],
        "quality": 1,
        "importance": "critical",
        "budget_usd": 2,
        "budget_tokens": 500,
        "deadline_s": 9,
        "temperature": 0.5,
        "params": {"min_p": 0.1},
    }
    reply = await post(service, body)
    assert reply.status_code == 200, reply.text
    [request] = service.asked
    assert [message["role"] for message in request.messages] == ["system", "user"]
    assert (request.source, request.backend, request.count, request.rules) == ("native", "fast", 3, ("adults only",))
    assert (request.quality, request.importance, request.budget_usd, request.budget_tokens) == (1.0, "critical", 2.0, 500)
    assert (request.deadline_s, request.params) == (9.0, {"min_p": 0.1, "temperature": 0.5})
    assert isinstance(request.strategy, Pipeline)
    assert [(one.kind, one.field, one.value) for one in request.constraints] == [("range", "users[].age", [18, None])]
    told = reply.json()
    assert (told["status"], told["answer"], told["complete"]) == ("done", {"data": {"ok": True}}, True)
    assert told["usage"]["total_tokens"] == 7
    assert told["trace"] == f"/v1/requests/{told['id']}"
    assert reply.headers["x-morphogen-request-id"] == told["id"]


async def test_a_partial_answer_says_so() -> None:
    service = FakeService(reply=lambda request: Draft(text="", data=[1], issues=("2 are missing",), complete=False))
    told = (await post(service, {"prompt": "x"})).json()
    assert (told["status"], told["complete"], told["issues"]) == ("partial", False, ["2 are missing"])


async def test_an_error_carries_the_work_so_far() -> None:
    def fail(request: Request) -> Draft:
        raise BackendFailed("stage 'c' (3 of 3): down", partial="what b wrote")

    service = FakeService(reply=fail)
    told, streamed = await post(service, {"prompt": "x"}), await post(service, {"prompt": "x", "mode": "stream"})
    assert (told.status_code, streamed.status_code) == (502, 502)
    assert [reply.json()["partial"] for reply in (told, streamed)] == ["what b wrote"] * 2


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": "x", "messages": [{"role": "user", "content": "x"}]}, "prompt"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "king", "content": "x"}]}, "messages[0].role"),
        ({"prompt": "x", "promt": "y"}, "promt"),
        ({"prompt": "x", "model": "nobody"}, "model"),
        ({"prompt": "x", "backend": "nobody"}, "backend"),
        ({"prompt": "x", "backend": "node/first"}, "backend"),
        ({"prompt": "x", "strategy": "nothing"}, "strategy"),
        ({"prompt": "x", "strategy": {"pipeline": []}}, "strategy"),
        ({"prompt": "x", "strategy": 3}, "strategy"),
        ({"prompt": "x", "strategy": {"pipeline": [{"name": "a"}, {"name": "b", "backend": "nobody"}]}}, "strategy"),
        ({"prompt": "x", "shape": {"a": 0}, "schema": {"type": "object"}}, "shape"),
        ({"prompt": "x", "schema": {"type": "nonsense"}}, "schema"),
        ({"prompt": "x", "count": 3}, "count"),
        ({"prompt": "x", "shape": [0], "count": 0}, "count"),
        ({"prompt": "x", "shape": [0], "count": 10_001}, "count"),
        ({"prompt": "x", "budget_usd": -1}, "budget_usd"),
        ({"prompt": "x", "budget_usd": "1"}, "budget_usd"),
        ({"prompt": "x", "budget_tokens": 0}, "budget_tokens"),
        ({"prompt": "x", "deadline_s": 0}, "deadline_s"),
        ({"prompt": "x", "deadline_s": -5}, "deadline_s"),
        ({"prompt": "x", "deadline_s": 901}, "deadline_s"),
        ({"prompt": "x", "deadline_s": 1e9, "mode": "async"}, "deadline_s"),
        ({"prompt": "x", "quality": 1.1}, "quality"),
        ({"prompt": "x", "importance": "vital"}, "importance"),
        ({"prompt": "x", "mode": "later"}, "mode"),
        ({"prompt": "x", "temperature": 9}, "temperature"),
        ({"prompt": "x", "params": {"stream": True}}, "params.stream"),
        ({"prompt": "x", "rules": ["x" * 2001]}, "rules.0"),
        ({"prompt": "x", "constraints": [{"field": "a", "range": "wide"}]}, "constraints[0].range"),
        ({"prompt": "x", "constraints": {}}, "constraints"),
        ([], "body"),
    ],
)
async def test_what_is_wrong_is_refused_by_name_and_nothing_is_asked(body: Json, param: str) -> None:
    service = FakeService()
    reply = await post(service, body)
    assert reply.status_code in (400, 404), reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.json()["param"] == param
    assert not service.asked
    assert not service.jobs.submitted


async def test_a_strategy_that_names_a_backend_that_is_not_there_is_refused_with_its_place() -> None:
    aspects = [{"name": "a", "backend": "fast"}, {"name": "b", "strategy": {"validation": {"critic": {"backend": "gone"}}}}]
    told = (await post(FakeService(), {"prompt": "x", "mode": "async", "strategy": {"parallel": aspects}})).json()
    assert told["detail"] == ("strategy.parallel[1].strategy.validation.critic.single.backend: there is no backend 'gone'")


async def test_a_budget_of_nothing_is_one_and_the_default_holds_where_none_is_named() -> None:
    service = FakeService(settings=fake_settings(budget={"usd_per_request": 0.5, "tokens_per_request": 900}))
    service.left = (0.25, 12)
    replies = [await post(service, {"prompt": "x", "budget_usd": 0}), await post(service, {"prompt": "x"})]
    assert [(asked.budget_usd, asked.budget_tokens) for asked in service.asked] == [(0.0, 900), (0.5, 900)]
    names = ("x-morphogen-budget-remaining-usd", "x-morphogen-budget-remaining-tokens")
    assert [reply.headers[name] for reply in replies for name in names] == ["0.25", "12"] * 2
    assert (await post(service, {"prompt": 7})).headers[names[0]] == "0.25"  # errors say it as well


async def test_nan_is_no_budget() -> None:
    async with client(FakeService()) as http:
        reply = await http.post("/v1/requests", content=b'{"prompt": "x", "budget_usd": NaN}')
    assert reply.status_code == 400


async def test_a_configured_strategy_is_taken_along_by_what_is_done_later() -> None:
    service = FakeService(settings=fake_settings(strategies={"mine": {"pipeline": [{"name": "a"}, {"name": "b"}]}}))
    await post(service, {"prompt": "x", "strategy": "mine", "mode": "async"})
    await post(service, {"prompt": "x", "model": "strategy/mine"})
    assert isinstance(service.jobs.submitted[0][0].strategy, Pipeline)
    assert service.jobs.submitted[0][0].target.name == "mine"
    assert service.asked[0].strategy is None


async def test_an_asynchronous_request_is_accepted_with_its_place() -> None:
    service = FakeService()
    reply = await post(service, {"prompt": "x", "mode": "async", "deadline_s": 5000})
    told = reply.json()
    assert (reply.status_code, told["status"]) == (202, "queued")
    assert reply.headers["location"] == told["trace"] == f"/v1/requests/{told['id']}"
    [(request, deadline_s)] = service.jobs.submitted
    assert (request.request_id, deadline_s, request.stream) == (told["id"], 5000, False)
    service.jobs.refuse = Overloaded("full", retry_after_s=5.0)
    refused = await post(service, {"prompt": "x", "mode": "async"})
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "5")


async def test_a_stream_tells_what_happens_and_ends_with_the_outcome() -> None:
    script = [Event(kind="stage", at=0.0, data={"name": "one"}), Event(kind="delta", at=0.0, data={"text": "hel"})]
    service = FakeService(script=script)
    reply = await post(service, {"prompt": "x", "mode": "stream"})
    kinds = [line[7:] for line in reply.text.splitlines() if line.startswith("event: ")]
    assert kinds == ["accepted", "stage", "delta", "outcome"]
    assert json.loads(reply.text.strip().rpartition("data: ")[2])["answer"] == {"text": "hello"}
    broken = FakeService(script=[*script, DeadlineExceeded("too slow")])
    reply = await post(broken, {"prompt": "x", "mode": "stream"})
    assert reply.text.strip().splitlines()[-2] == "event: error"
    early = FakeService(script=[DeadlineExceeded("too slow")])
    assert (await post(early, {"prompt": "x", "mode": "stream"})).status_code == 504


# ── by id ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def with_job(key_id: str | None = None, **changes: Any) -> FakeService:
    service = FakeService()
    fields: dict[str, Any] = {"state": "running", "at": 0.0, "updated_at": 0.0, "deadline_at": 9.0, "attempts": 1}
    fields |= {"total": 5, "done": 4, "request": "{}", "key_id": key_id}
    service.jobs.held["j"] = Job(request_id="j", **{**fields, **changes})
    service.traces["j"] = {"id": "j", "status": "running", "request": {"key_id": key_id}, "outcome": None, "events": []}
    service.jobs.made["j"] = [
        Part(range=Range(first=0, count=2), items="[10, 11]"),
        Part(range=Range(first=3, count=2), items="[13, 14]"),
    ]
    return service


@pytest.mark.parametrize("path", ["", "/items", "/result", "/stream?from_seq=9"])
async def test_a_request_is_shown_to_its_key_and_to_operators_alone(path: str) -> None:
    other, own, anybody = with_job("other", state="done"), with_job("client", state="done"), with_job(None, state="done")
    for service, headers, status in (
        (other, CLIENT, 404),
        (other, {}, 404),
        (other, OPERATOR, 200),
        (own, CLIENT, 200),
        (own, {}, 404),
        (anybody, {}, 200),
        (anybody, CLIENT, 404),
    ):
        async with client(service) as http:
            reply = await http.get(f"/v1/requests/j{path}", headers=headers)
        # This job's stream is over before event 9.
        assert reply.status_code == (204 if status == 200 and "from_seq" in path else status)


async def test_items_come_in_pages_with_their_places() -> None:
    service = with_job()
    async with client(service) as http:
        first = (await http.get("/v1/requests/j/items?limit=3")).json()
        second = (await http.get(f"/v1/requests/j/items?from={first['next']}")).json()
        beyond = (await http.get("/v1/requests/j/items?from=5")).json()
        lines = await http.get("/v1/requests/j/result")
    assert first["data"] == [{"index": 0, "item": 10}, {"index": 1, "item": 11}, {"index": 3, "item": 13}]
    assert (first["next"], first["total"], first["done"], first["status"]) == (4, 5, 4, "running")
    assert (second["data"], second["next"]) == ([{"index": 4, "item": 14}], None)
    assert (beyond["data"], beyond["next"]) == ([], None)
    assert lines.text == "10\n11\n13\n14\n"
    assert (lines.headers["x-morphogen-status"], lines.headers["x-morphogen-missing"]) == ("running", "1")


@pytest.mark.parametrize("query", ["items?limit=0", "items?limit=5001", "items?from=-1", "items?from=x", "stream?from_seq=²"])
async def test_a_wrong_page_is_refused_by_name(query: str) -> None:
    async with client(with_job()) as http:
        reply = await http.get(f"/v1/requests/j/{query}")
    assert (reply.status_code, reply.json()["param"]) == (400, query.partition("?")[2].partition("=")[0])


async def test_a_stream_is_picked_up_at_any_number() -> None:
    reply_text = orjson.dumps({"id": "j", "status": "done", "answer": None}).decode()
    service = with_job(state="done", reply=reply_text)
    kinds = ("accepted", "started", "progress", "outcome")
    service.jobs.told["j"] = [JobEvent(seq=n, kind=kind, at=1.0, data={}) for n, kind in enumerate(kinds, 1)]

    async def seqs(query: str = "", **headers: str) -> list[int]:
        async with client(service) as http:
            reply = await http.get(f"/v1/requests/j/stream{query}", headers=headers)
        return [int(line[4:]) for line in reply.text.splitlines() if line.startswith("id: ")]

    assert await seqs() == [1, 2, 3, 4]
    assert await seqs("?from_seq=3") == [3, 4]
    assert await seqs(**{"last-event-id": "3"}) == [4]
    assert await seqs("?from_seq=2", **{"last-event-id": "1"}) == [2, 3, 4]
    assert await seqs("?from_seq=5") == []


@pytest.mark.parametrize(
    ("kept", "status", "lines"),
    [
        ({"text": '{"users":[{"a":1},{"a":2}]}'}, 200, b'{"a":1}\n{"a":2}\n'),
        ({"text": '{"users":[{"a":1},{"a"… (cut)'}, 200, '{"text":"{\\"users\\":[{\\"a\\":1},{\\"a\\"… (cut)"}\n'.encode()),
        (None, 409, b"answers are not kept (data.store_bodies)"),
    ],
)
async def test_what_the_trace_kept_of_a_synchronous_answer_is_shown_as_it_was(kept: Json, status: int, lines: bytes) -> None:
    service = FakeService()
    request = {"key_id": None, "body": {"schema": {"type": "object"}}} if kept else {"key_id": None, "body": None}
    service.traces["s"] = {"id": "s", "request": request, "outcome": {"status": "ok", "body": kept}, "events": []}
    async with client(service) as http:
        result = await http.get("/v1/requests/s/result")
        items = await http.get("/v1/requests/s/items")
        shown = (await http.get("/v1/requests/s")).json()
    assert (result.status_code, items.status_code, shown["status"]) == (status, status, "done")
    assert lines in result.content
    assert (shown["answer"] is None) == (kept is None)


async def test_cancelling_is_for_jobs_and_may_be_repeated() -> None:
    service = with_job()
    service.traces["s"] = {"id": "s", "request": {"key_id": None}, "outcome": None, "events": []}
    async with client(service) as http:
        replies = [await http.delete("/v1/requests/j") for _ in range(2)]
        running = await http.delete("/v1/requests/s")
    assert [(reply.status_code, reply.json()["status"]) for reply in replies] == [(200, "cancelled")] * 2
    assert (running.status_code, running.json()["code"]) == (409, "not_a_job")


async def test_feedback_is_kept_by_key_and_shown() -> None:
    service = with_job()
    async with client(service) as http:
        for score in (0.2, 0.9):
            assert (await http.post("/v1/requests/j/feedback", json={"score": score, "comment": "hm"})).status_code == 200
        long = "x" * 2001
        for wrong in ({"score": 1.5}, {"score": -0.1}, {"score": "1"}, {}, {"score": 1, "comment": long}, {"score": 1, "x": 1}):
            assert (await http.post("/v1/requests/j/feedback", json=wrong)).status_code == 400
        assert (await http.post("/v1/requests/nobody/feedback", json={"score": 1})).status_code == 404
        shown = (await http.get("/v1/requests/j")).json()
    assert [row["score"] for row in shown["feedback"]] == [0.9]
    assert (shown["status"], shown["progress"]) == ("running", {"done": 4, "total": 5})


async def test_the_list_is_still_the_operators() -> None:
    async with client(FakeService(settings=fake_settings())) as http:
        assert (await http.get("/v1/requests")).status_code == 403
        assert (await http.get("/v1/requests", headers=OPERATOR)).status_code == 200
