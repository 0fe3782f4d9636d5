"""Every reply that a simulated backend had a part in says so: errors, streams, what is read later, questions to a person."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import pytest

from agents.calls import CallRecord
from agents.llm.chat import BackendSpec
from agents.records import BackendFailed, Draft, Escalated, Event, Json, RequestId, StreamBroken
from runtime.jobs import wire
from runtime.jobs.records import Job, JobEvent, Part, Range
from runtime.records import Request
from tests.fakes.http import HELLO, OPERATOR, client
from tests.fakes.service import FakeService

MARK = "x-morphogen-simulated"
DELTA = Event(kind="delta", at=0.0, data={"text": "half"})
MIXED = (BackendSpec(name="real", kind="openai", model="m"), BackendSpec(name="pretender", kind="simulated", model="m"))


async def post(service: FakeService, path: str, body: Json) -> httpx.Response:
    async with client(service, headers=OPERATOR) as http:
        return await http.post(path, json=body)


def calls(*simulated: bool) -> tuple[CallRecord, ...]:
    return tuple(CallRecord(backend="b", model="m", started_at=0.0, latency_s=0.1, simulated=each) for each in simulated)


def failing(error: Exception) -> Callable[[Request], Draft]:
    def fail(request: Request) -> Draft:
        raise error

    return fail


def last_event(reply: httpx.Response) -> Mapping[str, Any]:
    told: Mapping[str, Any] = json.loads(reply.text.strip().rpartition("data: ")[2])
    return told


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/requests", "/api/mock/things"])
@pytest.mark.parametrize(("made_by", "marked"), [((False, True), True), ((False,), False), ((), False)])
async def test_an_error_says_whether_a_simulated_backend_had_a_part_in_it(
    path: str, made_by: tuple[bool, ...], marked: bool
) -> None:
    service = FakeService(reply=failing(BackendFailed("it broke", partial="made up", calls=calls(*made_by))))
    reply = await post(service, path, {"prompt": "x"} if path == "/v1/requests" else HELLO)
    body = reply.json()
    assert reply.status_code == 502
    assert reply.headers.get(MARK) == ("true" if marked else None)
    assert body.get("error", body).get("simulated") == (True if marked else None)


async def test_an_error_in_mid_stream_says_so_also_where_the_pool_is_mixed() -> None:
    script = [DELTA, StreamBroken("cut", calls=calls(True))]
    chat = await post(FakeService(script=script, backends=MIXED), "/v1/chat/completions", {**HELLO, "stream": True})
    assert last_event(chat)["error"]["simulated"] is True
    native = await post(FakeService(script=script, backends=MIXED), "/v1/requests", {"prompt": "x", "mode": "stream"})
    assert last_event(native)["simulated"] is True


@pytest.mark.parametrize(
    ("model", "marked"), [("auto", False), ("real", False), ("pretender", True)], ids=["any of two", "the real one", "the other"]
)
async def test_a_stream_says_so_before_it_begins_where_nobody_else_can_answer(model: str, marked: bool) -> None:
    chat = await post(
        FakeService(script=[DELTA], backends=MIXED), "/v1/chat/completions", {**HELLO, "model": model, "stream": True}
    )
    asked = {"prompt": "x", "model": model, "mode": "stream"}
    native = await post(FakeService(script=[DELTA], backends=MIXED), "/v1/requests", asked)
    first = json.loads(native.text.partition("data: ")[2].partition("\n")[0])
    assert [reply.headers.get(MARK) for reply in (chat, native)] == ["true" if marked else None] * 2
    assert first.get("simulated") == (True if marked else None)


async def test_vectors_say_so() -> None:
    spec = BackendSpec(name="built-in", kind="simulated", model="m", capabilities=frozenset({"embeddings"}))
    asked = {"model": "built-in", "input": "a"}
    assert (await post(FakeService(backends=[spec]), "/v1/embeddings", asked)).headers[MARK] == "true"
    assert MARK not in (await post(FakeService(), "/v1/embeddings", {**asked, "model": "auto"})).headers


async def test_a_request_that_waits_for_a_person_says_so() -> None:
    reply = await post(
        FakeService(reply=failing(Escalated("nothing passed", calls=calls(True)))), "/v1/requests", {"prompt": "x"}
    )
    assert (reply.status_code, reply.headers[MARK]) == (202, "true")
    assert reply.json()["simulated"] is True


def with_job(*, simulated: bool) -> FakeService:
    service = FakeService()
    service.jobs.held["j"] = Job(
        request_id="j",
        state="done",
        at=0.0,
        updated_at=0.0,
        deadline_at=9.0,
        attempts=1,
        total=1,
        done=1,
        request="{}",
        key_id=None,
        simulated=simulated,
    )
    service.jobs.made["j"] = [Part(range=Range(first=0, count=1), items="[10]")]
    service.jobs.told["j"] = [JobEvent(seq=1, kind="outcome", at=1.0, data={})]
    service.traces["j"] = {"id": "j", "status": "done", "request": {"key_id": None}, "outcome": None, "events": []}
    return service


def with_trace(*, simulated: bool) -> FakeService:
    service = FakeService()
    outcome = {"status": "ok", "body": {"text": "made up"}, "simulated": simulated}
    service.traces["j"] = {"id": "j", "request": {"key_id": None}, "outcome": outcome, "events": []}
    return service


@pytest.mark.parametrize("make", [with_job, with_trace])
@pytest.mark.parametrize("simulated", [True, False])
@pytest.mark.parametrize("call", ["GET ", "GET /items", "GET /result", "GET /stream", "DELETE "])
async def test_what_is_read_later_says_so(make: Callable[..., FakeService], simulated: bool, call: str) -> None:
    method, _, path = call.partition(" ")
    async with client(make(simulated=simulated), headers=OPERATOR) as http:
        reply = await http.request(method, f"/v1/requests/j{path}")
    assert reply.status_code == 200
    assert reply.headers.get(MARK) == ("true" if simulated else None)
    if path == "/stream":
        assert last_event(reply)["simulated"] is simulated
    elif path != "/result":
        assert reply.json()["simulated"] is simulated


@pytest.mark.parametrize("simulated", [True, False])
async def test_a_question_to_a_person_says_so(simulated: bool) -> None:
    service = with_trace(simulated=simulated)
    messages = ({"role": "user", "content": "two ages"},)
    asked = Request(request_id=RequestId("j"), source="native", messages=messages)
    await service.escalations.open("j", wire.encode(asked), Escalated("nothing passed", partial=[{"age": 0}]))
    async with client(service, headers=OPERATOR) as http:
        reply = await http.get("/v1/escalations/esc-j")
    assert (reply.json()["partial"], reply.json()["simulated"]) == ([{"age": 0}], simulated)
    assert reply.headers.get(MARK) == ("true" if simulated else None)
