"""Streams of OpenAI's surface over a fake service: their form, how they break off, clients that hang up."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from agents.records import (
    BackendTimeout,
    Draft,
    Event,
    Json,
    StreamBroken,
)
from runtime.api.app import create_app
from tests.fakes.http import HELLO, client
from tests.fakes.service import FakeService


def delta(text: str) -> Event:
    return Event(kind="delta", at=0.0, data={"text": text})


def events(text: str) -> list[Json]:
    blocks = [block for block in text.split("\n\n") if block]
    assert all(block.startswith("data: ") for block in blocks)
    return [block[6:] if block == "data: [DONE]" else json.loads(block[6:]) for block in blocks]


async def test_several_choices_and_tool_calls_come_through_as_the_backend_gave_them() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    choices = (
        {"index": 0, "message": {"role": "assistant", "content": None, "tool_calls": [call]}, "finish_reason": "tool_calls"},
        {"index": 1, "message": {"role": "assistant", "content": "b"}, "finish_reason": "stop"},
    )
    service = FakeService(reply=lambda request: Draft(text="", choices=choices))
    async with client(service) as http:
        whole = (await http.post("/v1/chat/completions", json={**HELLO, "n": 2})).json()
        streamed = events((await http.post("/v1/chat/completions", json={**HELLO, "n": 2, "stream": True})).text)
    assert whole["choices"] == list(choices)
    parts = [chunk["choices"][0] for chunk in streamed[:-1]]
    assert [part["index"] for part in parts if part["finish_reason"]] == [0, 1]
    assert next(part for part in parts if "tool_calls" in part["delta"])["delta"]["tool_calls"] == [{"index": 0, **call}]


async def test_a_stream_has_role_first_then_text_finish_usage_and_done() -> None:
    service = FakeService(script=[delta("Gr\u00fc\u00df "), Event(kind="stage", at=0.0), delta('"Gott"\n')], simulated=True)
    async with client(service) as http:
        body = {**HELLO, "stream": True, "stream_options": {"include_usage": True}}
        reply = await http.post("/v1/chat/completions", json=body)
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert reply.headers["x-morphogen-simulated"] == "true"
    assert reply.headers["x-morphogen-request-id"] == service.asked[0].request_id
    *chunks, done = events(reply.text)
    assert done == "[DONE]"
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks[:-1]) == 'Gr\u00fc\u00df "Gott"\n'
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-2]["morphogen"]["backend"] == "fast"
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["total_tokens"] == 7
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert service.asked[0].stream
    assert service.closed_streams == 1


async def test_raw_deltas_keep_their_index_and_lose_their_role() -> None:
    raw = [
        Event(kind="delta", at=0.0, data={"raw": {"role": "assistant", "content": "a"}, "index": 1}),
        Event(kind="delta", at=0.0, data={"raw": {"tool_calls": [{"index": 0, "id": "x"}]}}),
    ]
    async with client(FakeService(script=raw)) as http:
        chunks = events((await http.post("/v1/chat/completions", json={**HELLO, "stream": True})).text)
    parts = [chunk["choices"][0] for chunk in chunks[:-1]]
    assert [(part["index"], part["delta"]) for part in parts[:4]] == [
        (1, {"role": "assistant", "content": ""}),
        (1, {"content": "a"}),
        (0, {"role": "assistant", "content": ""}),
        (0, {"tool_calls": [{"index": 0, "id": "x"}]}),
    ]


async def test_a_stream_of_a_checked_answer_is_sent_as_one_piece() -> None:
    async with client(FakeService()) as http:
        chunks = events((await http.post("/v1/chat/completions", json={**HELLO, "stream": True})).text)
    assert [chunk["choices"][0]["delta"].get("content") for chunk in chunks[:2]] == ["", "hello"]
    assert chunks[-1] == "[DONE]"


async def test_an_error_before_the_first_delta_has_its_own_status() -> None:
    service = FakeService(script=[BackendTimeout("too slow", backend="fast")])
    async with client(service) as http:
        reply = await http.post("/v1/chat/completions", json={**HELLO, "stream": True})
    assert reply.status_code == 504
    assert reply.json()["error"]["code"] == "backend_timeout"
    assert service.closed_streams == 1


@pytest.mark.parametrize("broken", [StreamBroken("cut"), Event(kind="restart", at=0.0)])
async def test_an_error_in_mid_stream_is_told_and_done_is_not_sent(broken: Event | Exception) -> None:
    service = FakeService(script=[delta("half"), broken])
    async with client(service) as http:
        reply = await http.post("/v1/chat/completions", json={**HELLO, "stream": True})
    assert reply.status_code == 200
    assert events(reply.text)[-1]["error"]["code"] == "stream_broken"
    assert "[DONE]" not in reply.text
    assert service.closed_streams == 1


class HangingUp:
    """Raw ASGI client: sends one body, then hangs up as soon as ``when`` says so."""

    def __init__(self, body: dict[str, Any], when: asyncio.Event) -> None:
        self._body: bytes | None = json.dumps(body).encode()
        self._when = when
        self.sent: list[Any] = []

    async def receive(self) -> dict[str, Any]:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._when.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.sent.append(message)
        if message["type"] == "http.response.body":
            self._when.set()

    async def call(self, service: FakeService) -> None:
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "path": "/v1/chat/completions",
            "raw_path": b"/v1/chat/completions",
            "query_string": b"",
            "headers": [(b"host", b"127.0.0.1")],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 5116),
            "scheme": "http",
        }
        await create_app(service)(scope, self.receive, self.send)


async def test_a_client_that_hangs_up_cancels_the_work() -> None:
    service = FakeService()
    service.release = asyncio.Event()
    when = asyncio.Event()
    call = asyncio.create_task(HangingUp(HELLO, when).call(service))
    await asyncio.wait_for(service.arrived.wait(), 5)
    when.set()
    await asyncio.wait_for(call, 5)
    assert service.cancelled == 1


async def test_a_client_that_hangs_up_in_mid_stream_closes_the_stream() -> None:
    service = FakeService(script=[delta("a")])
    service.release = asyncio.Event()
    hanging_up = HangingUp({**HELLO, "stream": True}, asyncio.Event())
    await asyncio.wait_for(hanging_up.call(service), 5)
    assert service.closed_streams == 1
    assert not any(b"[DONE]" in message.get("body", b"") for message in hanging_up.sent)
