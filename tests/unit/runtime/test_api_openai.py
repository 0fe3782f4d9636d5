"""OpenAI's surface over a fake service: what it passes on, what it answers, models, vectors."""

from __future__ import annotations

import base64
import struct
from typing import Any

import pytest

from agents.llm.chat import BackendSpec
from runtime.records import Target
from tests.fakes.http import HELLO, client
from tests.fakes.service import FakeService, fake_settings


async def test_a_completion_has_openais_form_and_says_how_it_came_about() -> None:
    service = FakeService(simulated=True)
    async with client(service, at=1234.5) as http:
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


async def test_an_unknown_model_is_a_404_that_names_what_is_known() -> None:
    async with client(FakeService()) as http:
        for name in ("gpt-unknown", "strategy/none", "node/none", "a\nb\u2028"):
            reply = await http.post("/v1/chat/completions", json={**HELLO, "model": name})
            error = reply.json()["error"]
            assert (reply.status_code, error["param"], error["code"]) == (404, "model", "model_not_found")
            assert "fast" in error["message"]


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
