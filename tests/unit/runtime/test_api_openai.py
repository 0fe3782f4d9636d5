"""OpenAI's surface over a fake service: what it passes on, what it answers, how it streams."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from agents.llm.chat import BackendSpec
from agents.records import (
    AgentError,
    BackendRejected,
    BackendTimeout,
    BudgetExceeded,
    Draft,
    Event,
    Incomplete,
    Json,
    Overloaded,
    RateLimited,
    StreamBroken,
    StructuredFailed,
)
from runtime.api.app import create_app
from runtime.records import Request, Target
from tests.fakes.service import CLIENT_KEY, FakeService, fake_settings

HELLO = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}


def client(service: FakeService, **kwargs: Any) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(create_app(service, clock=lambda: 1234.5), raise_app_exceptions=False, **kwargs)
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:5116")


def delta(text: str) -> Event:
    return Event(kind="delta", at=0.0, data={"text": text})


def events(text: str) -> list[Json]:
    blocks = [block for block in text.split("\n\n") if block]
    assert all(block.startswith("data: ") for block in blocks)
    return [block[6:] if block == "data: [DONE]" else json.loads(block[6:]) for block in blocks]


async def test_a_completion_has_openais_form_and_says_how_it_came_about() -> None:
    service = FakeService(simulated=True)
    async with client(service) as http:
        reply = await http.post(
            "/v1/chat/completions", json={**HELLO, "temperature": 0.5, "tools": [{"type": "function"}], "x": 1}
        )
    body = reply.json()
    assert reply.status_code == 200
    assert body["object"] == "chat.completion"
    assert body["created"] == 1234
    assert body["model"] == "auto"
    assert body["choices"][0]["message"]["content"] == "hello"
    assert body["choices"][0]["finish_reason"] == "stop"
    assert body["usage"] == {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    assert body["system_fingerprint"] == "simulated"
    assert body["morphogen"]["backend"] == "fast"
    assert body["morphogen"]["cost_usd"] == 0.00025
    assert reply.headers["x-morphogen-cost-usd"] == "0.00025"
    assert reply.headers["x-morphogen-simulated"] == "true"
    assert reply.headers["x-morphogen-node"] == "first"
    assert reply.headers["x-morphogen-strategy"] == "single"
    assert reply.headers["x-request-id"] == reply.headers["x-morphogen-request-id"] == service.asked[0].request_id
    assert service.asked[0].params == {"temperature": 0.5, "tools": [{"type": "function"}], "x": 1}
    assert service.asked[0].source == "openai"


async def test_a_real_backend_is_not_called_simulated() -> None:
    async with client(FakeService()) as http:
        reply = await http.post("/v1/chat/completions", json=HELLO)
    assert "x-morphogen-simulated" not in reply.headers
    assert reply.json()["system_fingerprint"] is None


async def test_model_formats_and_extensions_reach_the_request() -> None:
    service = FakeService()
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    body = {
        **HELLO,
        "model": "quick",
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}},
        "morphogen": {"deadline_s": 7, "count": 3},
    }
    async with client(service) as http:
        assert (await http.post("/v1/chat/completions", json=body)).status_code == 200
        shaped = {**HELLO, "morphogen": {"shape": {"name": "string"}, "strategy": "single"}}
        assert (await http.post("/v1/chat/completions", json=shaped)).status_code == 200
    first, second = service.asked
    assert first.target == Target(kind="backend", name="fast")
    assert (first.schema, first.count, first.deadline_s) == (schema, 3, 7.0)
    assert "response_format" not in first.params
    assert second.schema is not None
    assert list(second.schema["properties"]) == ["name"]
    assert second.target == Target(kind="strategy", name="single")


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


MESSAGES: list[tuple[Any, str]] = [
    (None, "messages"),
    ([], "messages"),
    ("hi", "messages"),
    (["hi"], "messages[0]"),
    ([{"role": "king", "content": "x"}], "messages[0].role"),
    ([{"role": ["user"], "content": "x"}], "messages[0].role"),
    ([{"role": "user", "content": None}], "messages[0].content"),
    ([{"role": "user", "content": 5}], "messages[0].content"),
    ([{"role": "user", "content": []}], "messages[0].content"),
    ([{"role": "user", "content": [{"type": "text"}]}], "messages[0].content[0].text"),
    ([{"role": "tool", "content": "x"}], "messages[0].tool_call_id"),
    ([{"role": "assistant", "tool_calls": 3}], "messages[0].tool_calls"),
]
FIELDS: list[tuple[dict[str, Any], str]] = [
    *(({"messages": value}, param) for value, param in MESSAGES),
    ({"model": None}, "model"),
    ({"model": 3}, "model"),
    ({"model": "x" * 300}, "model"),
    ({"stream": "yes"}, "stream"),
    ({"stream_options": {"include_usage": 1}}, "stream_options"),
    ({"temperature": "hot"}, "temperature"),
    ({"temperature": True}, "temperature"),
    ({"temperature": 3}, "temperature"),
    ({"n": -1}, "n"),
    ({"n": 1.5}, "n"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"stop": [1]}, "stop"),
    ({"tools": ["x"]}, "tools[0]"),
    ({"response_format": "json"}, "response_format.type"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.schema"),
    ({"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "wat"}}}}, "response_format"),
    ({"morphogen": []}, "morphogen"),
    ({"morphogen": {"speed": 1}}, "morphogen"),
    ({"morphogen": {"deadline_s": -1}}, "morphogen.deadline_s"),
    ({"morphogen": {"deadline_s": 1e9}}, "morphogen.deadline_s"),
    ({"morphogen": {"count": 2}}, "morphogen.count"),
    ({"morphogen": {"count": 1_000_000, "shape": ["string"]}}, "morphogen.count"),
    ({"morphogen": {"shape": ["string", 0]}}, "morphogen.shape"),
    ({"morphogen": {"strategy": "nonsense"}}, "morphogen.strategy"),
    ({"morphogen": {"strategy": {"kind": "nonsense"}}}, "morphogen.strategy"),
    ({f"p{index}": 1 for index in range(100)}, "body"),
]


@pytest.mark.parametrize(("change", "param"), FIELDS)
async def test_a_wrong_field_is_a_400_that_names_it_and_asks_nobody(change: dict[str, Any], param: str) -> None:
    service = FakeService()
    async with client(service) as http:
        reply = await http.post("/v1/chat/completions", json={**HELLO, **change})
    error = reply.json()["error"]
    assert (reply.status_code, error["type"], error["param"]) == (400, "invalid_request_error", param)
    assert set(error) == {"message", "type", "param", "code"}
    assert service.asked == []


BODIES = {
    "malformed": (b'{"model": ', 400),
    "empty": (b"", 400),
    "a list": (b"[]", 400),
    "NaN": (b'{"model": "auto", "temperature": NaN}', 400),
    "Infinity": (b'{"model": "auto", "temperature": Infinity}', 400),
    "beyond a double": (b'{"model": "auto", "temperature": 1e999}', 400),
    "not UTF-8": (b'{"model": "\xff"}', 400),
    "a lone surrogate": (b'{"model": "\\ud800"}', 400),
    "a control character": (b'{"model": "a\x00"}', 400),
    "10,000 deep": (b"[" * 10_000 + b"]" * 10_000, 400),
    "100 deep": (b'{"a":' * 100 + b"1" + b"}" * 100, 400),
    "10 MB": (b'"' + b"a" * 10_000_000 + b'"', 413),
}


@pytest.mark.parametrize("name", BODIES)
async def test_bad_bodies_are_refused_and_the_next_request_is_served(name: str) -> None:
    raw, status = BODIES[name]
    service = FakeService()
    async with client(service) as http:
        for path in ("/v1/chat/completions", "/v1/embeddings"):
            reply = await http.post(path, content=raw)
            assert reply.status_code == status
            assert reply.json()["error"]["type"] == "invalid_request_error"
            assert reply.json()["error"]["param"] in ("body", "model")
        assert service.asked == []
        assert (await http.post("/v1/chat/completions", json=HELLO)).status_code == 200


async def test_a_body_without_a_length_is_cut_off_while_it_is_read() -> None:
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        for _ in range(1000):
            taken += 1
            yield b" " * 65_536

    service = FakeService(settings=fake_settings(server={"max_body_bytes": 200_000}))
    async with client(service) as http:
        reply = await http.post("/v1/chat/completions", content=endless())
    assert reply.status_code == 413
    assert taken < 10


async def test_brackets_inside_texts_are_not_nesting() -> None:
    async with client(FakeService()) as http:
        reply = await http.post("/v1/chat/completions", json={**HELLO, "messages": [{"role": "user", "content": "[{" * 5000}]})
    assert reply.status_code == 200


async def test_unicode_and_control_characters_in_a_message_pass_through() -> None:
    service = FakeService()
    text = "\u0000\u0007 \U0001f600 \u202e \u00e9"
    async with client(service) as http:
        reply = await http.post("/v1/chat/completions", json={**HELLO, "messages": [{"role": "user", "content": text}]})
    assert reply.status_code == 200
    assert service.asked[0].messages[0]["content"] == text


async def test_an_unknown_model_is_a_404_that_names_what_is_known() -> None:
    async with client(FakeService()) as http:
        for name in ("gpt-unknown", "strategy/none", "node/none", "a\nb\u2028"):
            reply = await http.post("/v1/chat/completions", json={**HELLO, "model": name})
            error = reply.json()["error"]
            assert (reply.status_code, error["param"], error["code"]) == (404, "model", "model_not_found")
            assert "fast" in error["message"]


FAILURES: list[tuple[AgentError, int, str]] = [
    (Overloaded("full", retry_after_s=2.2), 429, "rate_limit_error"),
    (RateLimited("slow down"), 429, "rate_limit_error"),
    (BudgetExceeded("spent"), 429, "insufficient_quota"),
    (BackendRejected("context overflow", status=400), 400, "invalid_request_error"),
    (BackendRejected("bad key", status=401), 502, "server_error"),
    (StructuredFailed("no valid answer"), 502, "server_error"),
    (Incomplete("3 of 10 are missing"), 502, "server_error"),
    (AgentError("?"), 500, "server_error"),
]


@pytest.mark.parametrize(("error", "status", "kind"), FAILURES)
async def test_errors_from_below_have_their_status(error: AgentError, status: int, kind: str) -> None:
    def fail(request: Request) -> Draft:
        raise error

    async with client(FakeService(reply=fail)) as http:
        reply = await http.post("/v1/chat/completions", json=HELLO)
    assert (reply.status_code, reply.json()["error"]["type"]) == (status, kind)
    assert reply.json()["error"]["message"] == error.message
    if kind == "rate_limit_error":
        assert reply.headers["retry-after"] == ("3" if error.retry_after_s else "1")


async def test_an_unexpected_error_is_a_500_without_details(caplog: pytest.LogCaptureFixture) -> None:
    def fail(request: Request) -> Draft:
        raise ZeroDivisionError("secret detail")

    async with client(FakeService(reply=fail)) as http:
        reply = await http.post("/v1/chat/completions", json=HELLO)
    assert reply.status_code == 500
    assert "secret detail" not in reply.text
    assert reply.json()["error"]["type"] == "server_error"
    assert any(reply.headers["x-request-id"] in record.message for record in caplog.records)


async def test_rate_limits_are_shown_where_the_backend_has_them() -> None:
    limited = {"name": "fast", "kind": "simulated", "requests_per_minute": 10}
    service = FakeService(settings=fake_settings(backends=[limited]), backends=[BackendSpec(name="fast", requests_per_minute=10)])
    async with client(service) as http:
        reply = await http.post("/v1/chat/completions", json=HELLO)
    assert reply.headers["x-ratelimit-limit-requests"] == "10"
    assert reply.headers["x-ratelimit-remaining-requests"] == "9"


async def test_models_are_listed_and_found() -> None:
    async with client(FakeService()) as http:
        listed = (await http.get("/v1/models")).json()
        one = await http.get("/v1/models/node/first")
        missing = await http.get("/v1/models/nothing")
    assert [model["id"] for model in listed["data"]] == ["auto", "fast", "quick", "node/first", "strategy/single"]
    assert (one.json()["id"], one.json()["object"]) == ("node/first", "model")
    assert missing.status_code == 404
    assert missing.json()["error"]["code"] == "model_not_found"


async def test_embeddings_come_as_numbers_and_as_base64() -> None:
    async with client(FakeService()) as http:
        numbers = (await http.post("/v1/embeddings", json={"model": "auto", "input": ["a", "b"]})).json()
        packed = (await http.post("/v1/embeddings", json={"model": "auto", "input": "a", "encoding_format": "base64"})).json()
    assert [row["embedding"] for row in numbers["data"]] == [[0.6, 0.8], [0.6, 0.8]]
    assert numbers["usage"] == {"prompt_tokens": 2, "total_tokens": 2}
    assert struct.unpack("<2f", base64.b64decode(packed["data"][0]["embedding"])) == pytest.approx((0.6, 0.8))


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"input": []}, "input"),
        ({"input": ""}, "input"),
        ({"input": [1, 2]}, "input"),
        ({"input": None}, "input"),
        ({"input": ["a"] * 3000}, "input"),
        ({"encoding_format": "hex"}, "encoding_format"),
        ({"dimensions": 7}, "dimensions"),
        ({"dimensions": -1}, "dimensions"),
        ({"model": ""}, "model"),
    ],
)
async def test_wrong_embeddings_fields_are_named(change: dict[str, Any], param: str) -> None:
    async with client(FakeService()) as http:
        reply = await http.post("/v1/embeddings", json={"model": "auto", "input": "a", **change})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)


async def test_any_key_serves_on_loopback_until_keys_are_required() -> None:
    dummy = {"authorization": "Bearer whatever"}
    async with client(FakeService()) as http:
        assert (await http.post("/v1/chat/completions", json=HELLO, headers=dummy)).status_code == 200
        revoked = {"authorization": "Bearer mg-client-0011-revoked"}
        assert (await http.post("/v1/chat/completions", json=HELLO, headers=revoked)).status_code == 401
    strict = FakeService(settings=fake_settings(server={"require_client_key": True}))
    async with client(strict) as http:
        refused = await http.post("/v1/chat/completions", json=HELLO, headers=dummy)
        missing = await http.post("/v1/chat/completions", json=HELLO)
        served = await http.post("/v1/chat/completions", json=HELLO, headers={"authorization": f"Bearer {CLIENT_KEY}"})
    assert refused.status_code == missing.status_code == 401
    assert refused.json()["error"]["type"] == "authentication_error"
    assert served.status_code == 200
    assert strict.asked[0].key_id == "client"


async def test_who_is_not_on_loopback_needs_a_key() -> None:
    async with client(FakeService(), client=("10.0.0.9", 1)) as http:
        assert (await http.post("/v1/chat/completions", json=HELLO)).status_code == 401
        assert (await http.get("/healthz")).status_code == 200
    async with client(FakeService()) as http:
        for headers in ({"x-forwarded-for": "1.2.3.4"}, {"host": "evil.example:5116"}):
            assert (await http.post("/v1/chat/completions", json=HELLO, headers=headers)).status_code == 401


async def test_more_than_max_inflight_is_refused_with_a_429() -> None:
    service = FakeService(settings=fake_settings(server={"max_inflight": 1}))
    service.release = asyncio.Event()
    async with client(service) as http:
        first = asyncio.create_task(http.post("/v1/chat/completions", json=HELLO))
        await asyncio.wait_for(service.arrived.wait(), 5)
        second = await http.post("/v1/chat/completions", json=HELLO)
        assert (await http.get("/healthz")).status_code == 200
        service.release.set()
        assert (await first).status_code == 200
        assert second.status_code == 429
        assert second.headers["retry-after"] == "1"
        assert (await http.post("/v1/chat/completions", json=HELLO)).status_code == 200
