"""The simulated server: OpenAI's protocol in front of answers.py, at the pace of a profile, with faults on demand.

Run by __main__.py as a child of the daemon, and by tests in process. Every reply says that it is simulated.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from agents.llm.simulated.answers import Answer, answer, seed_of
from agents.llm.simulated.faults import BROKEN_AFTER_CHUNKS, DRIP_S, HANG_S, Faults
from agents.llm.simulated.profiles import PROFILES, Profile
from agents.llm.simulated.reading import Reading
from agents.records import Json

CREATED = 1_760_000_000
MARK = {"x-morphogen-simulated": "true"}
FINGERPRINT = "simulated"
MAX_BODY_BYTES = 32 * 2**20
MAX_N = 8
CHARS_PER_TOKEN = 4
CHUNK_CHARS = 24
EMBEDDING_SIZE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """One chat call, read."""

    model: str
    profile: Profile
    body: Mapping[str, Any]
    seed: int
    first_s: float
    tokens_per_s: float
    fault: str | None
    answers: tuple[tuple[str, str], ...]
    tool: Mapping[str, Json] | None
    prompt_tokens: int

    @property
    def usage(self) -> dict[str, int]:
        completion = sum(tokens(text) for text, _ in self.answers)
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": completion,
            "total_tokens": self.prompt_tokens + completion,
        }

    def head(self, kind: str) -> dict[str, Json]:
        return {
            "id": f"chatcmpl-sim-{self.seed:016x}",
            "object": kind,
            "created": CREATED,
            "model": self.model,
            "system_fingerprint": FINGERPRINT,
        }


def tokens(text: str) -> int:
    """About four characters each; at least one for a text that is not empty."""
    return math.ceil(len(text) / CHARS_PER_TOKEN)


def create_app(*, seed: int, speed: float) -> FastAPI:
    """The server. ``speed`` multiplies latencies; 0 answers at once."""
    app = FastAPI(title="Simulated LLM pool", docs_url=None, redoc_url=None)
    faults = Faults()

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok", "kind": FINGERPRINT}

    @app.get("/v1/models")
    async def models() -> JSONResponse:
        data = [{"id": name, "object": "model", "created": CREATED, "owned_by": FINGERPRINT} for name in PROFILES]
        return JSONResponse({"object": "list", "data": data}, headers=MARK)

    @app.post("/sim/faults")
    async def set_faults(request: Request) -> Response:
        try:
            body = await _body(request)
            faults.set(body.get("model"), body.get("fault"), int(body.get("times", 1)))
        except (ValueError, TypeError) as error:
            return _error(400, str(error))
        return JSONResponse({"ok": True})

    @app.post("/v1/embeddings")
    async def embeddings(request: Request) -> Response:
        try:
            body = await _body(request)
        except ValueError as error:
            return _error(400, str(error))
        given = body.get("input", "")
        texts = [str(text) for text in (given if isinstance(given, list) else [given])][:2048]
        data = [{"object": "embedding", "index": i, "embedding": embed(text)} for i, text in enumerate(texts)]
        count = sum(tokens(text) for text in texts)
        usage = {"prompt_tokens": count, "total_tokens": count}
        return JSONResponse({"object": "list", "data": data, "model": body.get("model"), "usage": usage}, headers=MARK)

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        try:
            body = await _body(request)
            model, fault = faults.take(str(body.get("model", "")), request.headers, body)
            if model not in PROFILES:
                return _error(404, f"The model '{model[:80]}' does not exist", code="model_not_found")
            call = _read(body, model, fault, seed)
        except (ValueError, TypeError) as error:
            return _error(400, str(error))
        if (refusal := await _refused(call)) is not None:
            return refusal
        await asyncio.sleep(call.first_s * speed)
        if body.get("stream"):
            return StreamingResponse(_stream(call, speed), media_type="text/event-stream", headers=MARK)
        await asyncio.sleep(call.usage["completion_tokens"] / call.tokens_per_s * speed)
        return await _whole(call)

    return app


async def _body(request: Request) -> dict[str, Any]:
    raw = await request.body()
    if len(raw) > MAX_BODY_BYTES:
        raise ValueError("the body is too large")
    body = json.loads(raw)
    if not isinstance(body, dict):
        raise ValueError("the body must be a JSON object")
    return body


def _read(body: Mapping[str, Any], model: str, fault: str | None, seed: int) -> _Call:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(message, dict) for message in messages):
        raise ValueError("messages must be a non-empty list of objects")
    profile = PROFILES[model]
    schema, name = _schema(body.get("response_format"))
    partial = messages[-1].get("content") if messages[-1].get("role") == "assistant" and len(messages) > 1 else None
    asked = messages[:-1] if isinstance(partial, str) else messages
    params = {key: body.get(key) for key in ("temperature", "seed", "top_p") if key in body}
    own = seed_of(seed, model, asked, params, schema)
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    answers = []
    for number in range(min(max(1, int(body.get("n") or 1)), MAX_N)):
        made = answer(Reading(asked, schema, name), profile, own + number)
        answers.append(_cut(_faulty(made, fault), partial if isinstance(partial, str) else "", limit))
    first_s, rate = profile.latency(Random(own))
    return _Call(
        model=model,
        profile=profile,
        body=body,
        seed=own,
        first_s=first_s,
        tokens_per_s=rate,
        fault=fault or ("500" if Random(own ^ 1).random() < profile.failure_rate else None),
        answers=tuple(answers),
        tool=_tool(body, own),
        prompt_tokens=sum(tokens(str(message.get("content") or "")) + 4 for message in messages),
    )


def _schema(form: Json) -> tuple[Json, str]:
    if not isinstance(form, dict):
        return None, ""
    inner = form.get("json_schema")
    if form.get("type") == "json_schema" and isinstance(inner, dict):
        return inner.get("schema"), str(inner.get("name", ""))
    return ({"type": "object"}, "") if form.get("type") == "json_object" else (None, "")


def _cut(text: str, partial: str, limit: Json) -> tuple[str, str]:
    """(text, finish reason): without what was said already, within the limit of tokens."""
    if partial:
        text = text[len(partial) :] if text.startswith(partial) else f" {text}"
    if isinstance(limit, int) and limit > 0 and tokens(text) > limit:
        return text[: limit * CHARS_PER_TOKEN], "length"
    return text, "stop"


def _faulty(made: Answer, fault: str | None) -> str:
    if fault == "truncated_json":
        return made.text[: max(1, len(made.text) // 2)]
    if fault == "invalid_json":
        return made.text.replace('"', "'") + ","
    return json.dumps({"unexpected": [1, 2]}) if fault == "wrong_schema" else made.text


def _tool(body: Mapping[str, Any], seed: int) -> Mapping[str, Json] | None:
    """A call of the first tool where one is required."""
    tools, choice = body.get("tools"), body.get("tool_choice")
    if not isinstance(tools, list) or not tools or (choice != "required" and not isinstance(choice, dict)):
        return None
    named = choice.get("function", {}).get("name") if isinstance(choice, dict) else None
    functions = [tool.get("function", {}) for tool in tools if isinstance(tool, dict)]
    function = next((one for one in functions if one.get("name") == named), functions[0] if functions else {})
    schema = function.get("parameters") or {"type": "object", "properties": {}}
    made = answer(Reading([{"role": "user", "content": ""}], schema, ""), PROFILES["validator"], seed)
    arguments = json.dumps(made.data if made.data is not None else {})
    return {"id": f"call_{seed:016x}", "type": "function", "function": {"name": function.get("name"), "arguments": arguments}}


async def _refused(call: _Call) -> Response | None:
    """The faults that come instead of an answer."""
    if call.fault == "hang":
        await asyncio.sleep(HANG_S)
    if call.fault == "429":
        return _error(429, "Rate limit reached (simulated)", code="rate_limit_exceeded", retry_after="1")
    if call.fault in ("500", "hang"):
        return _error(500, "The server had an error (simulated)")
    if call.fault == "html":
        return Response("<html><body><h1>502 Bad Gateway</h1></body></html>", media_type="text/html", headers=MARK)
    return None


def _error(status: int, message: str, *, code: str | None = None, retry_after: str | None = None) -> JSONResponse:
    kind = "invalid_request_error" if status < 429 else "rate_limit_error" if status == 429 else "server_error"
    headers = {**MARK, **({"retry-after": retry_after} if retry_after else {})}
    return JSONResponse({"error": {"message": message, "type": kind, "param": None, "code": code}}, status, headers)


async def _whole(call: _Call) -> Response:
    choices = [_choice(index, text, finish, call.tool) for index, (text, finish) in enumerate(call.answers)]
    body = json.dumps({**call.head("chat.completion"), "choices": choices, "usage": call.usage}).encode()
    if call.fault == "wrong_length":
        return StreamingResponse(
            _once(body), media_type="application/json", headers={**MARK, "content-length": str(len(body) + 100)}
        )
    if call.fault == "drip":
        return StreamingResponse(_dripping(body), media_type="application/json", headers=MARK)
    return Response(body, media_type="application/json", headers=MARK)


def _choice(index: int, text: str, finish: str, tool: Mapping[str, Json] | None) -> dict[str, Json]:
    message: dict[str, Json] = {"role": "assistant", "content": text, "refusal": None}
    if tool is not None:
        message, finish = {"role": "assistant", "content": None, "tool_calls": [tool]}, "tool_calls"
    return {"index": index, "message": message, "logprobs": None, "finish_reason": finish}


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body


async def _dripping(body: bytes) -> AsyncIterator[bytes]:
    size = max(1, len(body) // 20)
    for start in range(0, len(body), size):
        yield body[start : start + size]
        await asyncio.sleep(DRIP_S)


class _Abort(Exception):
    """Ends a stream without its end, as a crashed backend does."""


async def _stream(call: _Call, speed: float) -> AsyncIterator[bytes]:
    head = call.head("chat.completion.chunk")
    sent = 0
    for index, (said, ended) in enumerate(call.answers):
        first: dict[str, Json] = {"role": "assistant", "content": ""}
        text, finish = said, ended
        if call.tool is not None:
            first, text, finish = {"role": "assistant", "tool_calls": [{"index": 0, **call.tool}]}, "", "tool_calls"
        yield _event({**head, "choices": [{"index": index, "delta": first, "finish_reason": None}]})
        for start in range(0, len(text), CHUNK_CHARS):
            if sent == BROKEN_AFTER_CHUNKS and call.fault == "broken_stream":
                raise _Abort("simulated")
            if sent == BROKEN_AFTER_CHUNKS and call.fault == "error_in_stream":
                yield _event({"error": {"message": "The server had an error (simulated)", "type": "server_error"}})
                return
            piece = text[start : start + CHUNK_CHARS]
            yield _event({**head, "choices": [{"index": index, "delta": {"content": piece}, "finish_reason": None}]})
            sent += 1
            pause_s = tokens(piece) / call.tokens_per_s * speed
            await asyncio.sleep(DRIP_S if call.fault == "drip" else pause_s)
        yield _event({**head, "choices": [{"index": index, "delta": {}, "finish_reason": finish}]})
    options = call.body.get("stream_options")
    if isinstance(options, dict) and options.get("include_usage"):
        yield _event({**head, "choices": [], "usage": call.usage})
    yield b"data: [DONE]\n\n"


def _event(value: Mapping[str, Json]) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def embed(text: str) -> list[float]:
    """A unit vector ``(64,)`` from the hashes of the text's words: equal words, near vectors. No meaning beyond that."""
    vector = [0.0] * EMBEDDING_SIZE
    for word in text.lower().split()[:4096] or [""]:
        digest = hashlib.blake2b(word.encode(), digest_size=8).digest()
        vector[digest[0] % EMBEDDING_SIZE] += 1.0 if digest[1] & 1 else -1.0
    norm = math.sqrt(sum(x * x for x in vector)) or 1.0
    return [x / norm for x in vector]
