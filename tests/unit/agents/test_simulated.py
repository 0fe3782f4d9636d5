"""The simulated pool: deterministic, valid, dependent on the question, marked, and faulty on demand. In process, no socket."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.llm.simulated.answers import answer
from agents.llm.simulated.app import create_app
from agents.llm.simulated.profiles import PROFILES
from agents.llm.simulated.reading import Reading
from agents.llm.simulated.shapes import Context, make
from agents.schema_check import compile_schema

GOOD = PROFILES["validator"]


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=create_app(seed=1, speed=0), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://sim") as inner:
        yield inner


def asked(text: str, **fields: Any) -> dict[str, Any]:
    return {"model": "validator", "messages": [{"role": "user", "content": text}], **fields}


async def chat(client: httpx.AsyncClient, body: dict[str, Any], **headers: str) -> httpx.Response:
    return await client.post("/v1/chat/completions", json=body, headers={k.replace("_", "-"): v for k, v in headers.items()})


def names() -> st.SearchStrategy[str]:
    return st.sampled_from(["email", "total_price", "age", "createdAt", "tags", "isActive", "company", "x9", "naïve"])


def schemas() -> st.SearchStrategy[dict[str, Any]]:
    numbers = st.tuples(st.integers(-1000, 1000), st.integers(0, 500)).map(lambda p: {"minimum": p[0], "maximum": p[0] + p[1]})
    leaves = st.one_of(
        st.sampled_from([{"type": "string"}, {"type": "boolean"}, {"type": "null"}, {"type": "number"}, {"type": "integer"}]),
        numbers.map(lambda bounds: {"type": "integer", **bounds}),
        numbers.map(lambda bounds: {"type": "number", **bounds}),
        st.sampled_from(["date-time", "date", "email", "uuid", "uri", "ipv4"]).map(
            lambda form: {"type": "string", "format": form}
        ),
        st.lists(st.text(max_size=5), min_size=1, max_size=4, unique=True).map(lambda options: {"enum": options}),
        st.tuples(st.integers(0, 30), st.integers(0, 30)).map(
            lambda p: {"type": "string", "minLength": p[0], "maxLength": p[0] + p[1]}
        ),
        st.sampled_from([r"^[A-Z]{3}-\d{4}$", r"^\+?\d{7,12}$", "^(a|b)c*$"]).map(lambda p: {"type": "string", "pattern": p}),
    )

    def nested(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
        objects = st.dictionaries(names(), inner, min_size=1, max_size=4).map(
            lambda p: {"type": "object", "properties": p, "required": sorted(p), "additionalProperties": False}
        )
        arrays = st.tuples(inner, st.integers(0, 4), st.integers(0, 3)).map(
            lambda p: {"type": "array", "items": p[0], "minItems": p[1], "maxItems": p[1] + p[2]}
        )
        return st.one_of(objects, arrays, inner.map(lambda one: {"anyOf": [one, {"type": "null"}]}))

    return st.recursive(leaves, nested, max_leaves=8)


@settings(max_examples=150, deadline=None)
@given(schemas(), st.integers(0, 2**32))
def test_data_for_any_schema_is_valid(schema: dict[str, Any], seed: int) -> None:
    made = make(schema, Context(), seed=seed)
    assert compile_schema(schema).errors(made) == []


async def test_the_same_question_gets_the_same_answer_and_another_one_another(client: httpx.AsyncClient) -> None:
    first = (await chat(client, asked("How do tides come about?"))).json()
    again = (await chat(client, asked("How do tides come about?"))).json()
    other = (await chat(client, asked("How do volcanoes come about?"))).json()
    assert first == again
    assert first["choices"] != other["choices"]
    assert "ides" in first["choices"][0]["message"]["content"]


async def test_every_reply_says_that_it_is_simulated(client: httpx.AsyncClient) -> None:
    reply = await chat(client, asked("hello"))
    assert reply.headers["x-morphogen-simulated"] == "true"
    assert reply.json()["system_fingerprint"] == "simulated"


async def test_a_stream_says_the_same_as_the_whole_answer(client: httpx.AsyncClient) -> None:
    whole = (await chat(client, asked("Describe a harbour town."))).json()
    lines = (
        await chat(client, asked("Describe a harbour town.", stream=True, stream_options={"include_usage": True}))
    ).text.split("\n\n")
    events = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    said = "".join(c["delta"].get("content") or "" for event in events for c in event["choices"])
    assert said == whole["choices"][0]["message"]["content"]
    assert events[-1]["usage"] == whole["usage"]
    assert lines[-2] == "data: [DONE]"


async def test_an_assistant_message_at_the_end_is_continued(client: httpx.AsyncClient) -> None:
    body = asked("Describe a harbour town.")
    full = (await chat(client, body)).json()["choices"][0]["message"]["content"]
    body["messages"] = [*body["messages"], {"role": "assistant", "content": full[:20]}]
    assert (await chat(client, body)).json()["choices"][0]["message"]["content"] == full[20:]


def test_data_of_the_conversation_is_kept_and_completed() -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "email": {"type": "string"}, "city": {"type": "string"}},
        "required": ["name", "email", "city"],
    }
    data = json.dumps({"user": {"name": "Ines Roth", "email": "ines@roth.example"}})
    made = answer(Reading([{"role": "user", "content": f"Enrich this: {data}"}], schema, "answer"), GOOD, 5).data
    assert made["name"] == "Ines Roth"
    assert made["email"] == "ines@roth.example"
    assert made["city"]


@pytest.mark.parametrize(
    ("record", "word"),
    [
        ({"email": "ines.example", "age": 30}, "e-mail"),
        ({"email": "ines@roth.example", "age": -4}, "negative"),
        ({"email": "ines@roth.example", "age": 200}, "rule"),
        ({"email": "", "age": 30}, "empty"),
    ],
)
def test_a_critique_really_looks(record: dict[str, Any], word: str) -> None:
    schema = {"type": "object", "properties": {"issues": {"type": "array", "items": {"type": "string"}}}, "required": ["issues"]}

    def issues(data: dict[str, Any], seed: int) -> list[str]:
        text = f"Rules:\n- The age must be at most 120.\n\nData:\n{json.dumps(data)}"
        said = answer(Reading([{"role": "user", "content": text}], schema, "critique"), GOOD, seed).data
        return list(said["issues"]) if said is not None else []

    found = [issues(record, seed) for seed in range(20)]
    assert sum(any(word in issue for issue in one) for one in found) >= 15
    fine = [issues({"email": "ines@roth.example", "age": 30}, seed) for seed in range(20)]
    assert not any(fine)


@pytest.mark.parametrize(("question", "result"), [("What is 19 * 21?", "399"), ("Compute (8 + 4) / 3 please", "4")])
def test_sums_are_right_as_often_as_the_profile_is_skilled(question: str, result: str) -> None:
    def right(name: str) -> int:
        reading = Reading([{"role": "user", "content": question}])
        return sum(answer(reading, PROFILES[name], seed).text == result for seed in range(200))

    assert right("validator") > right("generator") > 20


@pytest.mark.parametrize(("fault", "status"), [("429", 429), ("500", 500), ("html", 200)])
async def test_faults_that_replace_the_answer(client: httpx.AsyncClient, fault: str, status: int) -> None:
    reply = await chat(client, asked("x"), x_sim_fault=fault)
    assert reply.status_code == status
    if fault == "429":
        assert int(reply.headers["retry-after"]) >= 1
    if fault == "html":
        assert "html" in reply.headers["content-type"]
    assert (await chat(client, asked("x"))).status_code == 200


async def test_faults_can_be_set_for_the_next_calls(client: httpx.AsyncClient) -> None:
    await client.post("/sim/faults", json={"model": "validator", "fault": "500", "times": 2})
    assert [(await chat(client, asked("x"))).status_code for _ in range(3)] == [500, 500, 200]
    assert (await client.post("/sim/faults", json={"fault": "sabotage"})).status_code == 400


async def test_unknown_models_and_bad_bodies_are_refused(client: httpx.AsyncClient) -> None:
    assert (await chat(client, {**asked("x"), "model": "nobody"})).status_code == 404
    for body in ({"model": "validator"}, {"model": "validator", "messages": []}, {"model": "validator", "messages": [1]}):
        assert (await chat(client, body)).status_code == 400


async def test_max_tokens_cuts_and_says_so(client: httpx.AsyncClient) -> None:
    choice = (await chat(client, asked("Describe a harbour town.", max_tokens=3))).json()["choices"][0]
    assert choice["finish_reason"] == "length"
    assert len(choice["message"]["content"]) <= 12


async def test_a_required_tool_is_called_with_arguments_of_its_schema(client: httpx.AsyncClient) -> None:
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    tool = {"type": "function", "function": {"name": "weather", "parameters": parameters}}
    choice = (await chat(client, asked("Weather?", tools=[tool], tool_choice="required"))).json()["choices"][0]
    call = choice["message"]["tool_calls"][0]["function"]
    assert choice["finish_reason"] == "tool_calls"
    assert call["name"] == "weather"
    assert set(json.loads(call["arguments"])) == {"city"}
