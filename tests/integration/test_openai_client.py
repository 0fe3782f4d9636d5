"""The official OpenAI client against a daemon on the real Ray."""

from __future__ import annotations

import json

import openai
import pytest

from tests.integration.daemon_process import Running

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def client(ray_daemon: Running) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{ray_daemon.url}/v1", api_key="none", max_retries=0)


def question(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


@pytest.mark.parametrize("model", ["auto", "generator", "node/generalist", "strategy/pipeline", "fast"])
def test_every_kind_of_model_name_answers(client: openai.OpenAI, model: str) -> None:
    reply = client.chat.completions.create(model=model, messages=question("Name two rivers of Europe."))  # type: ignore[arg-type]
    assert reply.choices[0].message.content
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage is not None
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens > 0
    assert reply.system_fingerprint == "simulated"


@pytest.mark.parametrize("model", ["auto", "enricher"])
def test_streams_end_with_usage_and_say_the_same_as_whole_answers(client: openai.OpenAI, model: str) -> None:
    asked = question(f"Write three sentences about lighthouses for {model}.")
    stream = client.chat.completions.create(
        model=model,
        messages=asked,  # type: ignore[arg-type]
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    reasons = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices and chunk.choices[0].finish_reason]
    assert len(text) > 20
    assert reasons == ["stop"]
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens > 0


def test_structured_output_follows_its_schema(client: openai.OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}, "population": {"type": "integer", "minimum": 1}},
        "required": ["city", "population"],
        "additionalProperties": False,
    }
    reply = client.chat.completions.create(
        model="auto",
        messages=question("A large port."),  # type: ignore[arg-type]
        response_format={"type": "json_schema", "json_schema": {"name": "port", "schema": schema, "strict": True}},
    )
    data = json.loads(reply.choices[0].message.content or "")
    assert set(data) == {"city", "population"}
    assert data["population"] >= 1


def test_models_and_errors_have_openais_form(client: openai.OpenAI) -> None:
    names = {model.id for model in client.models.list()}
    assert {"auto", "generator", "enricher", "validator", "node/generalist"} <= names
    with pytest.raises(openai.NotFoundError) as wrong:
        client.chat.completions.create(model="no-such-model", messages=question("?"))  # type: ignore[arg-type]
    assert wrong.value.param == "model"
    with pytest.raises(openai.BadRequestError) as empty:
        client.chat.completions.create(model="auto", messages=[])
    assert empty.value.param == "messages"


def test_an_answer_can_be_explained(client: openai.OpenAI, ray_daemon: Running) -> None:
    raw = client.chat.completions.with_raw_response.create(model="auto", messages=question("Why is the sky blue?"))  # type: ignore[arg-type]
    status, trace, _ = ray_daemon.call("GET", f"/v1/requests/{raw.headers['x-request-id']}", operator=True)
    assert status == 200
    text = json.dumps(trace)
    assert "generalist" in text
    assert raw.headers["x-morphogen-backend"] in text
    assert raw.headers["x-morphogen-simulated"] == "true"
