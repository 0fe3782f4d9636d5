"""OpenAI's chat protocol as bytes: requests written, replies and errors read. Pure; no I/O, no httpx.

Called by http.py for every call, so it works on plain dicts and orjson; sse.py reads streams with it, pool.py
estimates with it. Raises the BackendError tree.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from ipaddress import ip_address

import orjson

from agents.calls import Usage
from agents.llm import prompts
from agents.llm.chat import BackendSpec, ChatReply, ChatRequest
from agents.llm.retry import parse_retry_after
from agents.records import AgentError, BackendFailed, BackendGarbled, BackendRejected, Json, RateLimited

MAX_MESSAGE_CHARS = 500
CHARS_PER_TOKEN = 4
_MAX_TOKENS = 10**9
_OURS = frozenset({"model", "messages", "stream", "stream_options"})
_LIMITS = ("max_tokens", "max_completion_tokens")
_NOT_A_NAME = re.compile(r"[^A-Za-z0-9_-]")
_CONTEXT = re.compile(r"context.{0,24}(length|window|size|limit|exceed)|exceed.{0,40}context|too many tokens", re.I | re.S)
_PASSING = frozenset({408, 409, 425})


# ── requests ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def chat_body(spec: BackendSpec, request: ChatRequest, *, stream: bool) -> bytes:
    """The JSON body of a chat call. Raises BackendRejected when the request cannot be written as JSON."""
    body: dict[str, Json] = {"model": spec.model, "messages": request.messages}
    for key, value in request.params.items():
        if key not in _OURS:
            body[key] = value
    if spec.temperature is not None:
        body.setdefault("temperature", spec.temperature)
    if spec.max_output_tokens is not None:
        _cap_tokens(body, spec.max_output_tokens)
    if request.schema is not None:
        _add_schema(body, spec, request, request.schema)
    if stream:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}
    return _dump(spec, body)


def embed_body(spec: BackendSpec, texts: Sequence[str]) -> bytes:
    """The JSON body of an embeddings call."""
    return _dump(spec, {"model": spec.model, "input": list(texts)})


def _dump(spec: BackendSpec, body: dict[str, Json]) -> bytes:
    try:
        return orjson.dumps(body, default=_plain)
    except TypeError as error:
        raise BackendRejected(
            f"the request cannot be written as JSON: {error}"[:MAX_MESSAGE_CHARS], backend=spec.name, status=400
        ) from None


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


def _cap_tokens(body: dict[str, Json], cap: int) -> None:
    named = False
    for key in _LIMITS:
        value = body.get(key)
        if value is not None:
            named = True
            if isinstance(value, int) and value > cap:
                body[key] = cap
    if not named:
        body["max_tokens"] = cap


def _add_schema(body: dict[str, Json], spec: BackendSpec, request: ChatRequest, schema: Mapping[str, Json]) -> None:
    name = _NOT_A_NAME.sub("_", request.schema_name)[:64] or "answer"
    if spec.schema_mode == "json_schema":
        described = {"name": name, "schema": schema, "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": described}
        return
    if spec.schema_mode == "json_object":
        body["response_format"] = {"type": "json_object"}
    else:
        body.pop("response_format", None)
    text = prompts.render("structured", schema_name=name, schema=orjson.dumps(schema, default=_plain).decode())
    body["messages"] = with_instruction(request.messages, text)


def with_instruction(messages: Sequence[Mapping[str, Json]], text: str) -> tuple[Mapping[str, Json], ...]:
    """The messages with a system instruction added to the first system message, because many templates allow only one."""
    if messages and messages[0].get("role") == "system" and isinstance(messages[0].get("content"), str):
        first = {**messages[0], "content": f"{messages[0]['content']}\n\n{text}"}
        return (first, *messages[1:])
    return ({"role": "system", "content": text}, *messages)


# ── replies ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def parse_reply(spec: BackendSpec, request: ChatRequest, raw: bytes) -> ChatReply:
    """A whole chat completion. Raises BackendGarbled, or what an error object in a 200 says."""
    payload = load(spec, raw)
    choices = payload.get("choices")
    if not isinstance(choices, list) or not choices or not all(isinstance(choice, dict) for choice in choices):
        if payload.get("error"):
            raise error_object(spec, payload["error"])
        raise garbled(spec, "has no choices")
    message = choices[0].get("message")
    if not isinstance(message, dict):
        raise garbled(spec, "has a choice without a message")
    model, finish = payload.get("model"), choices[0].get("finish_reason")
    usage = read_usage(payload.get("usage"))
    if usage is None:
        usage = estimate_usage(request, sum(message_chars(choice.get("message")) for choice in choices))
    return ChatReply(
        text=content_text(message.get("content")),
        model=model if isinstance(model, str) and model else spec.model,
        usage=usage,
        finish_reason=finish if isinstance(finish, str) else "stop",
        message=message,
        choices=tuple(choices),
        backend=spec.name,
    )


def parse_embeddings(spec: BackendSpec, texts: Sequence[str], raw: bytes) -> tuple[list[list[float]], Usage]:
    """Vectors ``(len(texts), d)`` in the order of ``texts``. Raises BackendGarbled."""
    payload = load(spec, raw)
    rows = payload.get("data")
    if not isinstance(rows, list) and payload.get("error"):
        raise error_object(spec, payload["error"])
    if not isinstance(rows, list) or len(rows) != len(texts) or not all(isinstance(row, dict) for row in rows):
        raise garbled(spec, f"does not hold {len(texts)} embeddings")
    indices = [row.get("index", place) for place, row in enumerate(rows)]
    vectors = [row.get("embedding") for row in rows]
    if sorted(map(str, indices)) != sorted(map(str, range(len(rows)))) or not all(map(_is_vector, vectors)):
        raise garbled(spec, "holds something that is no embedding")
    if len({len(vector) for vector in vectors}) > 1:
        raise garbled(spec, "holds embeddings of several lengths")
    ordered = [[float(x) for x in vector] for _, vector in sorted(zip(map(int, indices), vectors, strict=True))]
    tokens = sum(map(len, texts)) // CHARS_PER_TOKEN + len(texts)
    return ordered, read_usage(payload.get("usage")) or Usage(prompt_tokens=tokens, estimated=True)


def _is_vector(value: Json) -> bool:
    return isinstance(value, list) and bool(value) and all(type(x) in (float, int) for x in value)


def load(spec: BackendSpec, raw: bytes) -> dict[str, Json]:
    """A JSON object. Raises BackendGarbled."""
    try:
        payload = orjson.loads(raw)
    except orjson.JSONDecodeError:
        start = raw[:60].decode("utf-8", "replace")
        raise garbled(spec, f"is not JSON ({len(raw)} bytes, beginning with {start!r})") from None
    if not isinstance(payload, dict):
        raise garbled(spec, "is not a JSON object")
    return payload


def garbled(spec: BackendSpec, what: str) -> BackendGarbled:
    """The error for an answer that is not the protocol."""
    return BackendGarbled(f"the answer of backend {spec.name!r} {scrub(spec, what)}", backend=spec.name)


def content_text(content: Json) -> str:
    """The text of a message's content: a string, or the text parts of a list."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str))
    return ""


def message_chars(message: Json) -> int:
    """Characters of a message or delta: its text and its tool calls."""
    if not isinstance(message, Mapping):
        return 0
    chars = len(content_text(message.get("content")))
    tools = message.get("tool_calls")
    return chars + (len(orjson.dumps(tools, default=_plain)) if tools else 0)


def estimate_usage(request: ChatRequest, completion_chars: int) -> Usage:
    """About four characters a token, for backends that do not count; flagged as estimated."""
    prompt = sum(message_chars(message) + CHARS_PER_TOKEN for message in request.messages)
    return Usage(
        prompt_tokens=-(-prompt // CHARS_PER_TOKEN),
        completion_tokens=-(-completion_chars // CHARS_PER_TOKEN),
        estimated=True,
    )


def read_usage(value: Json) -> Usage | None:
    """What the backend counted, or None when it did not count or its numbers cannot be."""
    if not isinstance(value, dict):
        return None
    prompt, completion = value.get("prompt_tokens"), value.get("completion_tokens", 0)
    for number in (prompt, completion):
        if type(number) is not int or not 0 <= number <= _MAX_TOKENS:
            return None
    if prompt == 0 and completion == 0:
        return None
    return Usage(prompt_tokens=prompt or 0, completion_tokens=completion)


# ── errors ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def scrub(spec: BackendSpec, text: str) -> str:
    """Bounded, and without the API key, should a backend repeat it."""
    if spec.api_key:
        text = text.replace(spec.api_key, "***")
    return text if len(text) <= MAX_MESSAGE_CHARS else text[: MAX_MESSAGE_CHARS - 1] + "…"


def error_of(spec: BackendSpec, status: int, headers: Mapping[str, str], body: bytes, *, now: float) -> AgentError:
    """The error that an HTTP status other than 2xx stands for. ``body`` may be cut; ``now`` is seconds since the epoch."""
    return _error(spec, status, _error_message(body), parse_retry_after(headers, now=now))


def error_object(spec: BackendSpec, error: Json) -> AgentError:
    """The error that ``{"error": …}`` stands for where no HTTP status says so."""
    if not isinstance(error, dict):
        return _error(spec, 500, str(error), None)
    message = str(error.get("message") or error.get("type") or error)
    status = next((code for code in (error.get("code"), error.get("status")) if _is_status(code)), None)
    if status is None:
        words = f"{error.get('type')} {error.get('code')}".lower()
        status = 429 if "rate_limit" in words else 400 if "invalid" in words or "context" in words else 500
    return _error(spec, status, message, None)


def _is_status(code: Json) -> bool:
    return type(code) is int and 400 <= code < 600


def _error(spec: BackendSpec, status: int, message: str, retry_after_s: float | None) -> AgentError:
    message = scrub(spec, message)
    if status == 429:
        text = f"backend {spec.name!r} limits its rate: {message}"
        return RateLimited(text, retry_after_s=retry_after_s, backend=spec.name, status=status)
    if status >= 500 or status in _PASSING:
        text = f"backend {spec.name!r} failed with {status}: {message}"
        return BackendFailed(text, retry_after_s=retry_after_s, backend=spec.name, status=status)
    return BackendRejected(f"backend {spec.name!r} refused with {status}: {message}", backend=spec.name, status=status)


def _error_message(body: bytes) -> str:
    try:
        payload = orjson.loads(body)
    except orjson.JSONDecodeError:
        return " ".join(body[:2000].decode("utf-8", "replace").split()) or "no words"
    found = payload
    for key in ("error", "message", "detail"):
        if isinstance(found, dict) and found.get(key):
            found = found[key]
    return found if isinstance(found, str) else orjson.dumps(found).decode("utf-8", "replace")


def is_config_fault(error: BackendRejected) -> bool:
    """Would another backend perhaps take it? Yes for a wrong key, model, URL or too small a context; no for a bad request."""
    status = error.status or 400
    return 300 <= status < 400 or status in (401, 402, 403, 404, 405, 410, 413) or _CONTEXT.search(error.message) is not None


def is_loopback(host: str) -> bool:
    """Does ``host`` name this machine? Then no proxy of the environment is used."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
