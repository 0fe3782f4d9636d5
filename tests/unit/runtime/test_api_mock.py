"""The mock API over a fake service: which form is asked for, who answers, what is kept ready."""

from __future__ import annotations

import asyncio
import itertools
import json
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from agents.llm.chat import BackendSpec
from agents.records import BackendTimeout, Draft, Json
from agents.shaping import compile_schema
from runtime.api.app import create_app
from runtime.api.mock_cache import VariantCache
from runtime.api.mock_shape import ANY_OBJECTS, Plan, read_plan
from runtime.config import RequestSettings
from runtime.records import Request, Target
from tests.fakes.service import FakeService, fake_settings

SHAPE = {"users": [{"name": "string", "age": 0}]}
TEXTS = {"type": "string"}


def client(service: FakeService) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(create_app(service), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://localhost:5116")


def plan(path: str, body: Json = None, **given: Any) -> Plan:
    given = {"query_shape": None, "header_shape": None, "query_count": None} | given
    return read_plan(path, body=body, requests=RequestSettings(), max_json_depth=64, **given)


def required(schema: Any) -> list[str]:
    return list(schema["required"])


# ── forms ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_explicit_shape_is_kept_exactly() -> None:
    found = plan("users", {"count": 4, "shape": SHAPE, "tone": "dry"})
    assert (found.count, found.cache, found.data) == (4, 0, {"tone": "dry"})
    assert found.schema["additionalProperties"] is False
    assert found.schema["properties"]["users"]["items"]["properties"] == {"name": TEXTS, "age": {"type": "integer"}}


def test_the_query_comes_before_the_header_and_that_before_the_body() -> None:
    body = {"shape": {"c": 0}}
    assert required(plan("x", body, query_shape='{"a": 0}', header_shape='{"b": 0}').schema) == ["a"]
    assert required(plan("x", body, header_shape='{"b": 0}').schema) == ["b"]
    assert required(plan("x", body, query_shape="", header_shape=" ").schema) == ["c"]
    assert required(plan("x", {"shape": '{"d": 0}'}).schema) == ["d"]


def test_a_target_schema_is_what_a_transformation_reaches() -> None:
    body = {"legacyRecord": {"nm": "A"}, "targetSchema": {"fullName": "string"}}
    assert required(plan("transform", body).schema) == ["fullName"]
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    assert plan("transform", {"targetSchema": schema}).schema == schema


def test_test_cases_are_lists_held_to_the_schema_only_when_they_are_to_be_valid() -> None:
    body = {"endpoint": "/orders", "schema": {"sku": "string"}, "count": 5}
    valid = plan("cases/valid", {**body, "type": "valid"})
    assert (valid.count, valid.schema["type"], required(valid.schema["items"])) == (5, "array", ["sku"])
    for path, kind in (("cases/invalid", None), ("cases", "invalid"), ("cases", "edge")):
        assert plan(path, {**body, "type": kind}).schema == ANY_OBJECTS
    assert plan("cases/valid", {**body, "schema": "see the wiki"}).schema == ANY_OBJECTS
    assert plan("cases/valid", {**body, "schema": {"role": ["admin", 7]}}).schema == ANY_OBJECTS


def test_validating_a_record_gives_a_verdict_to_which_the_rules_do_not_apply() -> None:
    found = plan("orders/validate", {"record": {"id": 1}, "rules": ["ids are positive"]})
    assert required(found.schema) == ["passed", "issues"]
    assert found.rules == ()
    assert found.data == {"record": {"id": 1}, "rules": ["ids are positive"]}


def test_data_to_work_over_gives_its_form_and_may_grow() -> None:
    found = plan("validate", {"data": {"name": "A", "when": "2020-01-02T03:04:05Z"}, "validationRules": ["no nulls", " "]})
    assert required(found.schema) == ["name", "when"]
    assert found.rules == ("no nulls",)
    assert compile_schema(found.schema)
    assert "additionalProperties" not in found.schema
    assert required(plan("heal", {"data": {"a": 1}, "issues": ["a is odd"]}).schema) == ["a"]
    assert required(plan("refine", {"previous": {"b": 1}}).schema) == ["b"]


def test_a_whole_body_to_enrich_keeps_its_form_and_the_number_of_its_items() -> None:
    found = plan("customers/enrich", {"customers": [{"id": "a"}, {"id": "b"}, {"id": "c"}]})
    assert found.count == 3
    assert required(found.schema["properties"]["customers"]["items"]) == ["id"]
    assert plan("enrich", [{"id": 1}, {"id": 2}]).count == 2
    assert required(plan("validate", {"id": 1}).schema) == ["id"]


def test_a_count_alone_asks_for_that_many_objects_and_nothing_asks_for_one() -> None:
    assert (plan("things", {"count": 3}).schema, plan("things", {"count": 3}).count) == (ANY_OBJECTS, 3)
    assert plan("things", None, query_count="2").count == 2
    assert plan("things", {"count": "2"}).count == 2
    assert plan("things").schema == {"type": "object"}
    assert plan("things", {"prompt": "a boat", "shape": None}).schema == {"type": "object"}


def test_data_that_is_too_large_to_describe_gets_any_object() -> None:
    wide = {f"f{index}": 1 for index in range(1000)}
    assert plan("enrich", wide).schema == {"type": "object"}


# ── over HTTP ───────────────────────────────────────────────────────────────────────────────────────────────────────────


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
    assert required(second.schema) == ["users"]
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


# ── variants ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def counting(**kwargs: Any) -> FakeService:
    numbers = itertools.count()
    return FakeService(reply=lambda request: Draft(text="", data={"n": next(numbers)}), **kwargs)


async def test_variants_are_primed_served_in_turn_and_refilled() -> None:
    service = counting()
    app = create_app(service)
    cache = app.state.mock.cache
    body = {"shape": {"$cache": 3, "n": 0}}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as http:
        first = await http.post("/api/mock/x", json=body)
        await cache.idle()
        assert len(service.asked) == 3
        hits = [await http.post("/api/mock/x", json=body) for _ in range(2)]
        await cache.idle()
        later = await http.post("/api/mock/x", json=body)
        other = await http.post("/api/mock/y", json=body)
        await cache.idle()
    assert (first.json(), first.headers["x-cache-hit"]) == ({"n": 0}, "false")
    assert [(hit.json()["n"], hit.headers["x-cache-hit"], hit.headers["x-morphogen-cost-usd"]) for hit in hits] == [
        (1, "true", "0"),
        (2, "true", "0"),
    ]
    assert (later.json(), later.headers["x-cache-hit"]) == ({"n": 3}, "true")
    assert other.headers["x-cache-hit"] == "false"
    assert service.looked_up == [False, True, True, True, False]
    ids = [request.request_id for request in service.asked]
    assert len(set(ids)) == len(ids)
    assert hits[0].headers["x-morphogen-request-id"] == ids[1]
    assert len({request.messages[1]["content"] for request in service.asked[:3]}) == 3
    assert service.asked[0].schema is not None
    assert "$cache" not in service.asked[0].schema["properties"]


async def test_method_backend_count_and_data_are_part_of_the_key() -> None:
    service = counting(backends=[BackendSpec(name="fast"), BackendSpec(name="good")])
    app = create_app(service)
    body = {"shape": {"$cache": 1, "list": [{"n": 0}]}}
    calls: list[dict[str, Any]] = [
        {"method": "POST", "json": body},
        {"method": "PUT", "json": body},
        {"method": "POST", "json": body, "headers": {"x-llm-backend": "good"}},
        {"method": "POST", "json": {**body, "count": 2}},
        {"method": "POST", "json": {**body, "user": {"id": 7}}},
    ]
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as http:
        for expected in ("false", "true"):
            for call in calls:
                reply = await http.request(url="/api/mock/x", **call)
                assert reply.headers["x-cache-hit"] == expected
            await app.state.mock.cache.idle()
    await app.state.mock.aclose()


@dataclass(frozen=True)
class Piece:
    name: str
    size_bytes: int = 10


async def test_the_first_answer_does_not_wait_for_the_others() -> None:
    gate = asyncio.Event()
    made: list[str] = []

    async def make() -> Piece:
        made.append("x")
        if len(made) > 1:
            await gate.wait()
        return Piece(str(len(made)))

    cache: VariantCache[Piece] = VariantCache()
    assert await asyncio.wait_for(cache.get(b"k", 3, make), 1) == (Piece("1"), False)
    await cache.aclose()
    await cache.idle()
    assert len(made) <= 2


async def test_keys_and_bytes_are_bounded_and_the_least_used_go() -> None:
    numbers = itertools.count()

    async def make() -> Piece:
        return Piece(str(next(numbers)))

    cache: VariantCache[Piece] = VariantCache(max_keys=2, max_bytes=35)
    for key in (b"a", b"b", b"a", b"c"):
        await cache.get(key, 2, make)
        await cache.idle()
    assert len(cache) == 2
    assert (await cache.get(b"b", 2, make))[1] is False
    await cache.idle()
    small: VariantCache[Piece] = VariantCache(max_bytes=15)
    for key in (b"a", b"b"):
        await small.get(key, 2, make)
        await small.idle()
    assert [(await small.get(key, 2, make))[1] for key in (b"b", b"a")] == [True, False]
    await small.aclose()


async def test_a_failing_backend_is_not_asked_again_and_again_to_prime() -> None:
    asked = 0

    async def make() -> Piece:
        nonlocal asked
        asked += 1
        if asked > 1:
            raise BackendTimeout("too slow")
        return Piece("1")

    cache: VariantCache[Piece] = VariantCache()
    await cache.get(b"k", 50, make)
    await cache.idle()
    assert asked == 2
    with pytest.raises(BackendTimeout):
        await cache.get(b"k", 50, make)
    assert asked == 3


def test_settings_bound_what_is_asked() -> None:
    assert fake_settings(requests={"max_count": 5}).requests.max_count == 5
