"""The simulated server's protocol, in process: bodies, streams, faults, failures, counts. No socket."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from agents.llm.simulated.app import create_app
from agents.llm.simulated.calls import ChatBody, prepare
from agents.llm.simulated.delivery import SimulatedAbort
from agents.llm.simulated.embeddings import embed
from agents.llm.simulated.faults import Fault, Faults
from agents.llm.simulated.profiles import PROFILES

SCHEMA = {"type": "object", "properties": {"isle": {"type": "string"}, "area": {"type": "number"}}, "required": ["isle", "area"]}
FORM = {"type": "json_schema", "json_schema": {"name": "isle", "schema": SCHEMA}}


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=create_app(seed=11, speed=0), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://sim") as inner:
        yield inner


def body(text: str = "Tell me of an isle.", **fields: Any) -> dict[str, Any]:
    return {"model": "validator", "messages": [{"role": "user", "content": text}], **fields}


async def ask(
    client: httpx.AsyncClient, fault: str | None = None, text: str = "Tell me of an isle.", **fields: Any
) -> httpx.Response:
    headers = {"x-sim-fault": fault} if fault else {}
    return await client.post("/v1/chat/completions", json=body(text, **fields), headers=headers)


def events(text: str) -> list[str]:
    return [line[6:] for line in text.split("\n\n") if line.startswith("data: ")]


def content(reply: httpx.Response) -> str:
    said: str = reply.json()["choices"][0]["message"]["content"]
    return said


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"n": 0}, "n"),
        ({"n": True}, "n"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"temperature": 9}, "temperature"),
        ({"model": ""}, "model"),
    ],
)
async def test_bad_fields_are_named(client: httpx.AsyncClient, fields: dict[str, Any], param: str) -> None:
    reply = await client.post("/v1/chat/completions", json=body(**fields))
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == param


@pytest.mark.parametrize("raw", [b"", b"{", b"[1]", b'{"a": NaN}', b"\xff\xfe", b"[" * 20_000])
async def test_what_is_no_json_object_is_refused(client: httpx.AsyncClient, raw: bytes) -> None:
    for path in ("/v1/chat/completions", "/v1/embeddings", "/sim/faults"):
        reply = await client.post(path, content=raw)
        assert reply.status_code == 400
        assert reply.json()["error"]["type"] == "invalid_request_error"


async def test_several_choices_differ(client: httpx.AsyncClient) -> None:
    choices = (await ask(client, n=3)).json()["choices"]
    assert [choice["index"] for choice in choices] == [0, 1, 2]
    assert len({choice["message"]["content"] for choice in choices}) == 3


async def test_what_a_schema_asks_for_comes_also_as_a_stream(client: httpx.AsyncClient) -> None:
    whole = content(await ask(client, response_format=FORM))
    lines = events((await ask(client, response_format=FORM, stream=True)).text)
    assert lines.pop() == "[DONE]"
    said = "".join(json.loads(line)["choices"][0]["delta"].get("content") or "" for line in lines)
    assert said == whole
    assert set(json.loads(whole)) == {"isle", "area"}
    assert {json.loads(line)["system_fingerprint"] for line in lines} == {"simulated"}


async def test_another_model_continues_what_one_began(client: httpx.AsyncClient) -> None:
    began = content(await ask(client, model="generator"))
    messages = [*body()["messages"], {"role": "assistant", "content": began[:-9]}]
    reply = await client.post("/v1/chat/completions", json=body(messages=messages))
    assert began[:-9] + content(reply) == began


async def test_a_tool_is_chosen_by_the_question_and_gets_its_arguments(client: httpx.AsyncClient) -> None:
    def tool(name: str, about: str, **fields: str) -> dict[str, Any]:
        properties = {key: {"type": kind} for key, kind in fields.items()}
        parameters = {"type": "object", "properties": properties, "required": list(fields)}
        return {"type": "function", "function": {"name": name, "description": about, "parameters": parameters}}

    tools = [
        tool("find_ferry", "finds a ferry", harbour="string"),
        tool("send_mail", "send a mail", email="string", age="integer"),
    ]
    text = "Send a mail to mia@isle.example, she is 40 years old"
    reply = (await ask(client, text=text, tools=tools, tool_choice="required")).json()["choices"][0]
    call = reply["message"]["tool_calls"][0]["function"]
    assert reply["finish_reason"] == "tool_calls"
    assert call["name"] == "send_mail"
    assert json.loads(call["arguments"]) == {"email": "mia@isle.example", "age": 40}
    named = {"type": "function", "function": {"name": "find_ferry"}}
    lines = events((await ask(client, text=text, tools=tools, tool_choice=named, stream=True)).text)
    assert json.loads(lines[0])["choices"][0]["delta"]["tool_calls"][0]["function"]["name"] == "find_ferry"
    assert json.loads(lines[-2])["choices"][0]["finish_reason"] == "tool_calls"
    assert (await ask(client, tools=tools, tool_choice="auto")).json()["choices"][0]["finish_reason"] == "stop"
    lost = {"type": "function", "function": {"name": "nobody"}}
    assert (await ask(client, tools=tools, tool_choice=lost)).status_code == 400


async def test_faults_of_structured_answers(client: httpx.AsyncClient) -> None:
    for fault in ("truncated_json", "invalid_json"):
        with pytest.raises(json.JSONDecodeError):
            json.loads(content(await ask(client, fault, response_format=FORM)))
    assert "isle" not in json.loads(content(await ask(client, "wrong_schema", response_format=FORM)))


async def test_faults_of_the_protocol_where_the_answer_is_text(client: httpx.AsyncClient) -> None:
    for fault in ("truncated_json", "invalid_json"):
        with pytest.raises(json.JSONDecodeError):
            (await ask(client, fault)).json()
    assert "choices" not in (await ask(client, "wrong_schema")).json()


@pytest.mark.parametrize("fault", ["error_in_stream", "broken_stream"])
async def test_streams_that_end_too_early(client: httpx.AsyncClient, fault: str) -> None:
    if fault == "broken_stream":
        transport = httpx.ASGITransport(app=create_app(seed=11, speed=0))
        async with httpx.AsyncClient(transport=transport, base_url="http://sim") as strict:
            with pytest.raises(BaseException) as caught:  # noqa: PT011 - a group or the error itself, as the framework likes
                await ask(strict, fault, stream=True)
        inner = caught.value.exceptions[0] if isinstance(caught.value, BaseExceptionGroup) else caught.value
        assert isinstance(inner, SimulatedAbort)
        return
    lines = events((await ask(client, fault, stream=True)).text)
    assert "error" in json.loads(lines[-1])
    assert 2 <= len(lines) <= 6


async def test_a_length_that_lies(client: httpx.AsyncClient) -> None:
    reply = await ask(client, "wrong_length")
    assert int(reply.headers["content-length"]) > len(reply.content)


async def test_orders_of_faults_are_counted_down_per_model(client: httpx.AsyncClient) -> None:
    order = {"model": "enricher", "fault": 429, "times": 2, "retry_after_s": 7}
    assert (await client.post("/sim/faults", json=order)).status_code == 200
    assert (await ask(client)).status_code == 200
    refused = await ask(client, model="enricher")
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "7")
    assert (await client.get("/sim/faults")).json() == {"faults": [{"model": "enricher", "fault": "429", "times": 1}]}
    await client.post("/sim/faults", json={"fault": None})
    assert (await ask(client, model="enricher")).status_code == 200
    for wrong in ({"fault": "flood"}, {"fault": "500", "times": 0}, {"fault": "500", "colour": 1}, {}):
        assert (await client.post("/sim/faults", json=wrong)).status_code == 400


async def test_faults_are_asked_for_in_three_ways(client: httpx.AsyncClient) -> None:
    assert (await ask(client, "500")).status_code == 500
    assert (await ask(client, model="validator!fault=429")).status_code == 429
    assert "text/html" in (await ask(client, metadata={"sim_fault": "html"})).headers["content-type"]
    assert (await ask(client, "no such fault")).status_code == 400


def test_the_orders_are_bounded() -> None:
    faults = Faults()
    for _ in range(500):
        faults.order(None, Fault(name="500"), 1)
    assert len(faults.pending()) == 100


async def test_a_model_that_fails_by_itself_answers_when_it_is_asked_again(client: httpx.AsyncClient) -> None:
    failed = 0
    for number in range(600):
        reply = await ask(client, text=f"isle {number}", model="generator", max_tokens=2)
        if reply.status_code != 200:
            failed += 1
            assert reply.status_code == 500
            again = [(await ask(client, text=f"isle {number}", model="generator", max_tokens=2)).status_code for _ in range(3)]
            assert 200 in again
    assert 0 < failed < 15


async def test_the_server_counts_its_calls(client: httpx.AsyncClient) -> None:
    await ask(client)
    await ask(client, stream=True)
    stats = (await client.get("/sim/stats")).json()
    assert stats["calls"]["validator"] == 2
    assert stats["in_flight"]["validator"] == 0
    assert stats["most_in_flight"]["validator"] == 1


async def test_embeddings(client: httpx.AsyncClient) -> None:
    texts = ["a stone harbour", "the stone harbours", "quarterly tax form"]
    reply = (await client.post("/v1/embeddings", json={"model": "generator", "input": texts})).json()
    one, near, far = (entry["embedding"] for entry in reply["data"])
    assert sum(x * x for x in one) == pytest.approx(1.0)
    assert sum(a * b for a, b in zip(one, near, strict=True)) > 0.3 > sum(a * b for a, b in zip(one, far, strict=True))
    packed = (await client.post("/v1/embeddings", json={"input": texts[0], "encoding_format": "base64"})).json()
    raw = base64.b64decode(packed["data"][0]["embedding"])
    assert struct.unpack(f"<{len(one)}f", raw) == pytest.approx(one, abs=1e-6)
    assert embed("") == [1.0] + [0.0] * (len(one) - 1)
    assert (await client.post("/v1/embeddings", json={"input": []})).status_code == 400


async def test_models_are_listed_and_marked(client: httpx.AsyncClient) -> None:
    reply = await client.get("/v1/models")
    assert [model["id"] for model in reply.json()["data"]] == list(PROFILES)
    for path in ("/v1/models", "/health"):
        assert (await client.get(path)).headers["x-morphogen-simulated"] == "true"


def test_the_pace_is_the_profiles() -> None:
    def median(name: str) -> float:
        calls = [prepare(ChatBody(**body(f"isle {n}", model=name)), PROFILES[name], None, 1) for n in range(99)]
        return sorted(call.first_token_s for call in calls)[49]

    assert median("generator") < median("enricher") < median("validator")
    assert median("generator") == pytest.approx(PROFILES["generator"].first_token_s, rel=0.35)
