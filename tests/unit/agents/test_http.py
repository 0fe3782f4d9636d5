"""The chat protocol: bytes written, replies, streams and errors read; the backend over a transport without a network."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.llm import http, wire
from agents.llm.chat import BackendSpec, ChatRequest, Chunk
from agents.llm.http import HttpBackend
from agents.llm.sse import StreamReader
from agents.llm.wire import is_loopback
from agents.records import (
    BackendError,
    BackendFailed,
    BackendGarbled,
    BackendRejected,
    BackendTimeout,
    BackendUnreachable,
    RateLimited,
    StreamBroken,
)

SPEC = BackendSpec(name="b", base_url="http://127.0.0.1:9/v1", model="m", api_key="sk-very-secret")
REQUEST = ChatRequest(messages=({"role": "user", "content": "12345678"},))
ANSWER: dict[str, Any] = {
    "model": "m-2",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 7, "completion_tokens": 2},
}


def spec(**fields: Any) -> BackendSpec:
    return BackendSpec(name="b", base_url="http://127.0.0.1:9/v1", model="m", **fields)


def body(request: ChatRequest = REQUEST, *, stream: bool = False, **fields: Any) -> dict[str, Any]:
    return orjson.loads(wire.chat_body(spec(**fields), request, stream=stream))  # type: ignore[no-any-return]


# ── requests ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_parameters_pass_and_the_backends_defaults_fill_in() -> None:
    request = ChatRequest(messages=REQUEST.messages, params={"seed": 4, "stream": True, "model": "x", "n": 2})
    got = body(request, max_output_tokens=50, temperature=0.3)
    assert got == {"model": "m", "messages": [{"role": "user", "content": "12345678"}], "seed": 4, "n": 2} | {
        "temperature": 0.3,
        "max_tokens": 50,
    }
    own = ChatRequest(messages=REQUEST.messages, params={"temperature": 1, "max_completion_tokens": 900})
    got = body(own, max_output_tokens=50, temperature=0.3)
    assert (got["temperature"], got["max_completion_tokens"], "max_tokens" in got) == (1, 50, False)


def test_a_stream_asks_for_its_usage() -> None:
    got = body(stream=True)
    assert got["stream"] is True
    assert got["stream_options"] == {"include_usage": True}


def test_a_schema_goes_the_way_the_backend_takes_it() -> None:
    schema = {"type": "object"}
    request = ChatRequest(messages=REQUEST.messages, schema=schema, schema_name="a b/ü")
    sent = body(request, schema_mode="json_schema")
    described = sent["response_format"]["json_schema"]
    assert described == {"name": "a_b__", "schema": schema, "strict": True}
    assert len(sent["messages"]) == 1
    sent = body(request, schema_mode="json_object")
    assert sent["response_format"] == {"type": "json_object"}
    assert '{"type":"object"}' in sent["messages"][0]["content"]
    sent = body(request, schema_mode="none")
    assert "response_format" not in sent
    assert sent["messages"][0]["role"] == "system"
    with_system = ChatRequest(messages=({"role": "system", "content": "Be brief."}, *REQUEST.messages), schema=schema)
    sent = body(with_system, schema_mode="none")
    assert [message["role"] for message in sent["messages"]] == ["system", "user"]
    assert sent["messages"][0]["content"].startswith("Be brief.")


def test_what_is_no_json_is_rejected_before_it_is_sent() -> None:
    for value in ("\ud800", object(), 2**70):
        with pytest.raises(BackendRejected):
            wire.chat_body(SPEC, ChatRequest(messages=({"role": "user", "content": value},)), stream=False)


# ── replies ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_reply_keeps_all_that_was_said() -> None:
    payload = {**ANSWER, "choices": [*ANSWER["choices"], {"index": 1, "message": {"content": None, "tool_calls": [{"id": "t"}]}}]}
    reply = wire.parse_reply(SPEC, REQUEST, orjson.dumps(payload))
    assert (reply.text, reply.model, reply.finish_reason, reply.backend) == ("hello", "m-2", "stop", "b")
    assert reply.choices[1]["message"]["tool_calls"] == [{"id": "t"}]
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens, reply.usage.estimated) == (7, 2, False)


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        {"prompt_tokens": -1, "completion_tokens": 2},
        {"prompt_tokens": "7"},
        {"prompt_tokens": 0, "completion_tokens": 0},
        {"prompt_tokens": True, "completion_tokens": 2},
        {"prompt_tokens": 10**12, "completion_tokens": 2},
        [1],
    ],
)
def test_a_usage_that_cannot_be_is_estimated_and_flagged(usage: Any) -> None:
    reply = wire.parse_reply(SPEC, REQUEST, orjson.dumps({**ANSWER, "usage": usage}))
    assert reply.usage.estimated
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (3, 2)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"<html>",
        b"[]",
        b"null",
        b'{"choices": []}',
        b'{"choices": [1]}',
        b'{"choices": [{}]}',
        b'{"choices": {"a": 1}}',
        b'{"choices": [{"message": "x"}]}',
        orjson.dumps(ANSWER)[:-10],
        b"[" * 5000,
        b"\xff\xfe",
    ],
)
def test_what_is_not_the_protocol_is_garbled(raw: bytes) -> None:
    with pytest.raises(BackendGarbled):
        wire.parse_reply(SPEC, REQUEST, raw)


@given(st.binary(max_size=200))
def test_no_bytes_make_it_fail_otherwise(raw: bytes) -> None:
    for read in (
        lambda: wire.parse_reply(SPEC, REQUEST, raw),
        lambda: StreamReader(SPEC, REQUEST).feed(b"data: " + raw + b"\n\n"),
    ):
        try:
            read()
        except (BackendError, RateLimited):
            continue


def test_an_error_in_a_200_is_an_error() -> None:
    with pytest.raises(BackendFailed):
        wire.parse_reply(SPEC, REQUEST, b'{"error": {"message": "out of memory"}}')
    with pytest.raises(RateLimited):
        wire.parse_reply(SPEC, REQUEST, b'{"error": {"message": "slow", "code": 429}}')


def test_embeddings_come_in_order_and_are_checked() -> None:
    rows = [{"index": 1, "embedding": [3, 4.0]}, {"index": 0, "embedding": [1.0, 2.0]}]
    vectors, usage = wire.parse_embeddings(SPEC, ["a", "b"], orjson.dumps({"data": rows}))
    assert vectors == [[1.0, 2.0], [3.0, 4.0]]
    assert usage.estimated
    for bad in ([], rows[:1], [rows[0], rows[0]], [rows[0], {"index": 0, "embedding": [1]}], [rows[0], {"embedding": None}]):
        with pytest.raises(BackendGarbled):
            wire.parse_embeddings(SPEC, ["a", "b"], orjson.dumps({"data": bad}))


# ── errors ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (408, BackendFailed),
        (409, BackendFailed),
        (425, BackendFailed),
        (429, RateLimited),
        (500, BackendFailed),
        (503, BackendFailed),
        (400, BackendRejected),
        (401, BackendRejected),
        (404, BackendRejected),
        (302, BackendRejected),
    ],
)
def test_each_status_has_its_error(status: int, kind: type[Exception]) -> None:
    raw = orjson.dumps({"error": {"message": "key sk-very-secret is " + "x" * 2000}})
    error = wire.error_of(SPEC, status, {"retry-after": "2"}, raw, now=0.0)
    assert type(error) is kind
    assert (error.status, error.backend) == (status, "b")
    assert "sk-very-secret" not in error.message
    assert len(error.message) < 600
    assert error.retry_after_s == (None if kind is BackendRejected else 2.0)


@pytest.mark.parametrize("raw", [b"", b"\xff\xff", b"null", b'{"error": "words"}', b'{"detail": [{"msg": "words"}]}'])
def test_any_error_body_gives_words(raw: bytes) -> None:
    assert len(wire.error_of(SPEC, 400, {}, raw, now=0.0).message) > 20


def test_only_faults_of_configuration_are_worth_another_backend() -> None:
    assert wire.is_config_fault(BackendRejected("x", status=401))
    assert wire.is_config_fault(BackendRejected("This model's maximum context length is 8 tokens", status=400))
    assert wire.is_config_fault(BackendRejected("the request exceeds the available context size", status=400))
    assert not wire.is_config_fault(BackendRejected("temperature must be a number", status=400))
    assert not wire.is_config_fault(BackendRejected("x", status=422))


# ── streams ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def event(content: str | None = None, finish: str | None = None, **more: Any) -> bytes:
    delta = {} if content is None else {"content": content}
    return b"data: " + orjson.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}) + b"\n\n"


USAGE = b'data: {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}\n\n'
DONE = b"data: [DONE]\n\n"


def read(*pieces: bytes) -> list[Chunk]:
    reader = StreamReader(SPEC, REQUEST)
    chunks = [chunk for piece in pieces for chunk in reader.feed(piece)]
    return [*chunks, *reader.last(), reader.finish()]


@given(st.lists(st.integers(1, 400), max_size=30), st.sampled_from([b"\n", b"\r\n"]))
def test_a_stream_reads_the_same_however_it_is_cut(cuts: list[int], end: bytes) -> None:
    whole = b": ping\n\n" + event("Hel") + b"event: ping\ndata:\n\n" + event("lö") + event(None, "stop") + USAGE + DONE
    whole = whole.replace(b"\n", end)
    places = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    chunks = read(*(whole[a:b] for a, b in itertools.pairwise(places)))
    assert "".join(chunk.text for chunk in chunks) == "Hello".replace("o", "ö")
    assert [chunk.finish_reason for chunk in chunks if chunk.finish_reason] == ["stop"]
    usage = chunks[-1].usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.estimated) == (3, 4, False)


def test_a_usage_that_is_missing_is_estimated() -> None:
    usage = read(event("12345678"), event(None, "stop"), DONE)[-1].usage
    assert usage is not None
    assert usage.estimated
    assert usage.completion_tokens == 2


def test_an_event_over_several_lines_and_an_end_without_line_end() -> None:
    chunks = read(b'data: {"choices": [{"delta":\ndata: {"content": "x"}, "finish_reason": "stop"}]}\n\ndata: [DONE]')
    assert chunks[0].text == "x"
    assert read(event("x", "stop").rstrip())[0].text == "x"


@pytest.mark.parametrize("pieces", [[], [event("x")], [event("x"), b'data: {"choices": [{"del'], [b": ping\n\n"]])
def test_an_end_that_is_no_end_is_a_broken_stream(pieces: list[bytes]) -> None:
    with pytest.raises(StreamBroken):
        read(*pieces)


def test_an_end_with_a_finish_but_no_done_is_an_end() -> None:
    assert read(event("x"), event(None, "length"))[1].finish_reason == "length"


def test_an_error_in_mid_stream() -> None:
    error = b'data: {"error": {"message": "overloaded", "code": 503}}\n\n'
    with pytest.raises(BackendFailed):
        read(error)
    with pytest.raises(StreamBroken, match="overloaded"):
        read(event("x"), error)


@pytest.mark.parametrize(
    "raw",
    [
        b"data: {\n\n",
        b"data: []\n\n",
        b'data: {"x": 1}\n\n',
        b'data: {"choices": [1]}\n\n',
        b'data: {"choices": [{"delta": "x"}]}\n\n',
        b'data: {"choices": [{"delta": {}, "index": -1}]}\n\n',
    ],
)
def test_garbage_in_a_stream_is_garbled(raw: bytes) -> None:
    with pytest.raises(BackendGarbled):
        read(raw)


def test_an_endless_line_is_refused() -> None:
    reader = StreamReader(SPEC, REQUEST)
    for _ in range(4):
        assert reader.feed(b"x" * 2**20) == []
    with pytest.raises(BackendGarbled):
        reader.feed(b"x")


# ── the backend ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def backend(handler: Callable[[httpx.Request], httpx.Response], **fields: Any) -> HttpBackend:
    return HttpBackend(spec(api_key="sk-very-secret", **fields), transport=httpx.MockTransport(handler))


async def collect(stream: AsyncIterator[Chunk]) -> list[Chunk]:
    return [chunk async for chunk in stream]


async def test_a_call_has_the_right_url_and_key() -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json=ANSWER)

    b = backend(handler)
    assert (await b.chat(REQUEST, timeout_s=5)).text == "hello"
    assert str(seen[0].url) == "http://127.0.0.1:9/v1/chat/completions"
    assert seen[0].headers["authorization"] == "Bearer sk-very-secret"
    assert orjson.loads(seen[0].content)["model"] == "m"
    await b.aclose()


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (httpx.ConnectError("refused"), BackendUnreachable),
        (httpx.ConnectTimeout("slow"), BackendUnreachable),
        (httpx.ReadTimeout("slow"), BackendTimeout),
        (httpx.ReadError("reset"), BackendUnreachable),
        (httpx.RemoteProtocolError("Server disconnected without sending a response."), BackendUnreachable),
        (httpx.RemoteProtocolError("illegal status line"), BackendGarbled),
        (httpx.LocalProtocolError("Illegal header value b'Bearer sk-very-secret'"), BackendRejected),
        (httpx.PoolTimeout("full"), BackendTimeout),
    ],
)
async def test_every_error_of_the_library_is_translated(error: Exception, kind: type[Exception]) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        raise error

    b = backend(handler)
    with pytest.raises(kind) as caught:
        await b.chat(REQUEST, timeout_s=5)
    assert "sk-very-secret" not in str(caught.value)
    with pytest.raises(kind):
        await collect(b.stream(REQUEST, timeout_s=5))
    await b.aclose()


async def test_html_is_garbled_and_a_large_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    b = backend(lambda request: httpx.Response(200, html="<html>hello</html>"))
    with pytest.raises(BackendGarbled, match="HTML"):
        await b.chat(REQUEST, timeout_s=5)
    monkeypatch.setattr(http, "MAX_REPLY_BYTES", 50)
    b = backend(lambda request: httpx.Response(200, json=ANSWER))
    with pytest.raises(BackendGarbled, match="larger"):
        await b.chat(REQUEST, timeout_s=5)
    stream = {"content-type": "text/event-stream"}
    b = backend(lambda request: httpx.Response(200, headers=stream, content=event("x" * 100) + DONE))
    with pytest.raises(BackendGarbled, match="larger"):
        await collect(b.stream(REQUEST, timeout_s=5))


async def test_a_backend_that_does_not_stream_is_read_all_the_same() -> None:
    b = backend(lambda request: httpx.Response(200, json=ANSWER))
    chunks = await collect(b.stream(REQUEST, timeout_s=5))
    assert [chunk.text for chunk in chunks] == ["hello", ""]
    assert chunks[0].finish_reason == "stop"
    assert chunks[-1].usage is not None


async def test_the_total_time_is_bounded() -> None:
    class Silent(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            await asyncio.Event().wait()
            raise AssertionError

    b = HttpBackend(spec(total_timeout_s=0.02), transport=Silent())
    with pytest.raises(BackendTimeout):
        await b.chat(REQUEST, timeout_s=5)
    with pytest.raises(BackendTimeout):
        await collect(b.stream(REQUEST, timeout_s=0.01))


async def test_a_pool_timeout_gets_a_new_client() -> None:
    calls = 0

    def handler(request: httpx.Request) -> httpx.Response:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise httpx.PoolTimeout("full")
        return httpx.Response(200, json=ANSWER)

    b = backend(handler)
    before = b._lanes[0].client
    assert (await b.chat(REQUEST, timeout_s=5)).text == "hello"
    assert [lane.client is before for lane in b._lanes] == [False]


def test_loopback() -> None:
    for host in ("localhost", "127.0.0.1", "127.9.9.9", "::1", "x.localhost"):
        assert is_loopback(host)
    for host in ("example.com", "10.0.0.1", "localhost.example.com", ""):
        assert not is_loopback(host)


def test_the_key_is_never_shown() -> None:
    assert "sk-very-secret" not in repr(SPEC)
