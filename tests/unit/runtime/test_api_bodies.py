"""What a body may be: wrong fields are named, and what is malformed, too large or too deep is refused before it is asked."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from agents.records import (
    Json,
)
from runtime.api.body import deeper_than, parse_json, twice
from runtime.api.errors import ApiError
from tests.fakes.http import HELLO, OPERATOR, client
from tests.fakes.service import FakeService, fake_settings

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


def test_depth_is_counted_exactly() -> None:
    assert not deeper_than([[1]], 2)
    assert deeper_than([[[1]]], 2)
    assert not deeper_than("[[[", 0)


def test_a_nesting_that_is_too_deep_is_named_by_its_place() -> None:
    deep: Json = 1
    for _ in range(30):
        deep = {"a": [deep]}
    raw = json.dumps({"flat": [[1], [2]], "odd": {"x": {"y": {}}, "deep": deep}}).encode()
    with pytest.raises(ApiError, match=r"deeper than 20 levels at odd\.deep\.a\[0\]$"):
        parse_json(raw, max_depth=20)


@pytest.mark.parametrize("body", ['{"name": "a", "scope": "client", "name": "b"}', '{"name": {"x": 1, "\\u0078": 2}}'])
async def test_a_key_that_stands_twice_is_refused_by_name(body: str) -> None:
    async with client(FakeService()) as http:
        reply = await http.post("/v1/keys", content=body, headers={**OPERATOR, "content-type": "application/json"})
    assert reply.status_code == 400
    assert reply.json()["param"] in ("name", "x")
    assert "twice" in reply.json()["detail"]


@pytest.mark.parametrize("body", [b'{"a": {"b": 1}, "b": [{"b": 2}, {"b": 3}]}', b"\xef\xbb\xbf{}", b"[" * 900 + b"]" * 900])
def test_the_same_key_in_different_objects_is_fine(body: bytes) -> None:
    assert twice(body) is None
