"""The mock API over a fake service: who answers, in which form, what bad input is told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agents.llm.chat import BackendSpec
from agents.records import BackendTimeout, Draft
from runtime.records import Request, Target
from tests.fakes.http import client
from tests.fakes.service import FakeService

SHAPE = {"users": [{"name": "string", "age": 0}]}


TEXTS = {"type": "string"}


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
async def test_any_method_answers_with_the_json_of_the_shape_only(method: str) -> None:
    service = FakeService(reply=lambda request: Draft(text="", data={"users": []}), simulated=True)
    async with client(service) as http:
        reply = await http.request(method, "/api/mock/users/list", params={"shape": json.dumps(SHAPE), "page": "2"})
    assert (reply.status_code, reply.json()) == (200, {"users": []})
    assert reply.headers["x-backend-used"] == "fast"
    assert reply.headers["x-cache-hit"] == "false"
    assert reply.headers["x-morphogen-simulated"] == "true"
    request = service.asked[0]
    assert request.source == "mock"
    assert request.schema is not None
    text = request.messages[1]["content"]
    assert f"{method} /users/list" in text
    assert "page=2" in text


async def test_head_and_options_ask_no_model() -> None:
    service = FakeService()
    async with client(service) as http:
        head = await http.head("/api/mock/users")
        options = await http.options("/api/mock/users")
    assert (head.status_code, head.content) == (200, b"")
    assert options.status_code == 204
    assert "PATCH" in options.headers["allow"]
    assert service.asked == []


@pytest.mark.parametrize("kind", ["application/json", "text/plain;charset=UTF-8", "application/octet-stream", None])
async def test_a_body_is_json_whatever_its_content_type_says(kind: str | None) -> None:
    service = FakeService()
    async with client(service) as http:
        headers = {"content-type": kind} if kind else {}
        reply = await http.post("/api/mock/users", content=json.dumps({"shape": SHAPE, "count": 2}), headers=headers)
    assert reply.status_code == 200
    assert service.asked[0].count == 2


async def test_forms_are_fields() -> None:
    service = FakeService()
    async with client(service) as http:
        assert (await http.post("/api/mock/users", data={"count": "2", "tag": ["a", "b"]})).status_code == 200
        files: Any = {"photo": ("me.png", b"123", "image/png"), "shape": (None, json.dumps(SHAPE))}
        assert (await http.post("/api/mock/users", files=files)).status_code == 200
    first, second = service.asked
    assert first.count == 2
    assert '"tag":["a","b"]' in first.messages[1]["content"]
    assert second.schema is not None
    assert second.schema["required"] == ["users"]
    assert '"size_bytes":3' in second.messages[1]["content"]


async def test_the_header_names_the_backend_before_the_query() -> None:
    service = FakeService(backends=[BackendSpec(name="fast"), BackendSpec(name="good", aliases=("better",))])
    async with client(service) as http:
        reply = await http.get("/api/mock/x?backend=fast", headers={"X-LLM-Backend": "better"})
        assert reply.headers["x-backend-used"] == "good"
        assert (await http.get("/api/mock/x?backend=fast")).headers["x-backend-used"] == "fast"
        assert (await http.get("/api/mock/x?backend=node/first", headers={"X-LLM-Backend": " "})).status_code == 200
    assert [request.backend for request in service.asked] == ["good", "fast", None]
    assert service.asked[2].target == Target(kind="node", name="first")


BAD: list[tuple[str, dict[str, Any], int, str]] = [
    ("/api/mock/x?count=-1", {}, 400, "count"),
    ("/api/mock/x?count=0", {}, 400, "count"),
    ("/api/mock/x?count=NaN", {}, 400, "count"),
    ("/api/mock/x?count=1000000", {}, 400, "count"),
    ("/api/mock/x?count=99999999999999999999", {}, 400, "count"),
    ("/api/mock/x", {"json": {"count": -3}}, 400, "count"),
    ("/api/mock/x", {"json": {"count": 1.5}}, 400, "count"),
    ("/api/mock/x", {"json": {"count": True}}, 400, "count"),
    ("/api/mock/x", {"json": {"count": 1_000_000}}, 400, "count"),
    ("/api/mock/x", {"json": {"count": [3]}}, 400, "count"),
    ("/api/mock/x", {"content": b'{"count": NaN}'}, 400, "body"),
    ("/api/mock/x", {"content": b"{oops"}, 400, "body"),
    ("/api/mock/x", {"content": b"<html></html>", "headers": {"content-type": "text/html"}}, 400, "body"),
    ("/api/mock/x", {"content": b"[" * 10_000 + b"]" * 10_000}, 400, "body"),
    ("/api/mock/x", {"content": b"a" * 10_000_000}, 413, "body"),
    ("/api/mock/x", {"content": b"x", "headers": {"content-type": "multipart/form-data"}}, 400, "body"),
    ("/api/mock/x", {"content": b"a=%ff", "headers": {"content-type": "application/x-www-form-urlencoded"}}, 400, "body"),
    ("/api/mock/x?shape={oops", {}, 400, "shape"),
    ("/api/mock/x?shape=" + "[" * 100 + "]" * 100, {}, 400, "shape"),
    ("/api/mock/x", {"json": {}, "headers": {"X-Response-Shape": "{"}}, 400, "X-Response-Shape"),
    ("/api/mock/x", {"json": {}, "headers": {"X-Response-Shape": '"' + "a" * 20_000 + '"'}}, 400, "X-Response-Shape"),
    ("/api/mock/x", {"json": {"shape": ["string", 0]}}, 400, "shape"),
    ("/api/mock/x", {"json": {"shape": {"a": "x||y"}}}, 400, "shape"),
    ("/api/mock/x", {"json": {"shape": {"type": "object", "properties": {"a": {"type": "wat"}}}}}, 400, "shape"),
    ("/api/mock/x", {"json": {"shape": {f"f{index}": 0 for index in range(1000)}}}, 400, "shape"),
    ("/api/mock/x", {"json": {"shape": {"$cache": -1, "a": 0}}}, 400, "$cache"),
    ("/api/mock/x", {"json": {"shape": {"$cache": 100_000, "a": 0}}}, 400, "$cache"),
    ("/api/mock/x", {"json": {"targetSchema": {"a": [1, "x"]}}}, 400, "targetSchema"),
    ("/api/mock/x", {"json": {"rules": ["r"] * 1000, "a": 1}}, 400, "rules"),
    ("/api/mock/x", {"json": {}, "headers": {"X-LLM-Backend": "nobody"}}, 404, "X-LLM-Backend"),
    ("/api/mock/x?backend=nobody", {"json": {}}, 404, "backend"),
]


@pytest.mark.parametrize(("url", "request_", "status", "param"), BAD)
async def test_bad_input_is_refused_by_name_and_asks_nobody(url: str, request_: dict[str, Any], status: int, param: str) -> None:
    service = FakeService()
    async with client(service) as http:
        reply = await http.post(url, **request_)
    error = reply.json()["error"]
    assert (reply.status_code, error["param"], error["type"]) == (status, param, "invalid_request_error")
    if status == 404:
        assert "fast" in error["message"]
    assert service.asked == []


async def test_strange_paths_and_texts_are_harmless() -> None:
    service = FakeService()
    async with client(service) as http:
        for path in ("%00%07$method", "a%2Fb", "\u00fc/\u2028", "$cache", "..%2f..", "x" * 3000):
            assert (await http.post(f"/api/mock/{path}", json={"t": "\u0000\U0001f600 ${data}"})).status_code == 200
        assert (await http.get("/api/mock/a%0ab")).json()["error"]["code"] == "unknown_url"
    assert all("\x00" not in request.messages[1]["content"] for request in service.asked)


async def test_an_answer_without_data_is_read_from_its_text() -> None:
    drafts = iter([Draft(text='{"a": 1}'), Draft(text="plain"), Draft(text="", data=[1], issues=("few",), complete=False)])
    async with client(FakeService(reply=lambda request: next(drafts))) as http:
        assert (await http.get("/api/mock/x")).json() == {"a": 1}
        assert (await http.get("/api/mock/x")).json() == "plain"
        last = await http.get("/api/mock/x")
    assert (last.headers["x-morphogen-issues"], last.headers["x-morphogen-incomplete"]) == ("1", "true")


async def test_a_backends_failure_has_openais_error_shape() -> None:
    def fail(request: Request) -> Draft:
        raise BackendTimeout("too slow")

    async with client(FakeService(reply=fail)) as http:
        reply = await http.get("/api/mock/x")
    assert (reply.status_code, reply.json()["error"]["code"]) == (504, "backend_timeout")
