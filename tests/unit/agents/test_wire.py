"""The chat protocol, pure: bytes written, replies and errors read."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.llm import wire
from agents.llm.chat import ChatRequest
from agents.llm.sse import StreamReader
from agents.llm.wire import is_loopback
from agents.records import BackendError, BackendFailed, BackendGarbled, BackendRejected, RateLimited
from tests.fakes.protocol import ANSWER, REQUEST, SPEC, spec


def body(request: ChatRequest = REQUEST, *, stream: bool = False, **fields: Any) -> dict[str, Any]:
    return orjson.loads(wire.chat_body(spec(**fields), request, stream=stream))


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


def test_loopback() -> None:
    for host in ("localhost", "127.0.0.1", "127.9.9.9", "::1", "x.localhost"):
        assert is_loopback(host)
    for host in ("example.com", "10.0.0.1", "localhost.example.com", ""):
        assert not is_loopback(host)
