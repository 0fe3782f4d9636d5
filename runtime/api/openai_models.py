"""What OpenAI's requests may hold: checks of a chat or embeddings body, and the schemas that /docs shows of them.

Called by openai.py. The checks are written by hand because they stand on the hottest path of the daemon; the JSON Schemas below
describe the same fields for people. Pure: must not import a service.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agents.records import Json
from runtime.api.errors import bad_request

ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
_MAX_MESSAGES = 10_000
_MAX_PARAMS = 64
_MAX_NAME_CHARS = 64
_MAX_MODEL_CHARS = 256
_MAX_INPUTS = 2048
MAX_BUDGET_USD = 1_000_000
MAX_BUDGET_TOKENS = 10**15
_OWN = frozenset({"model", "messages", "stream", "stream_options", "response_format", "morphogen"})
_MORPHOGEN = frozenset({"strategy", "deadline_s", "count", "shape", "budget_usd", "budget_tokens", "cache", "routing"})

_NUMBERS: Mapping[str, tuple[float, float]] = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "frequency_penalty": (-2, 2),
    "presence_penalty": (-2, 2),
}
_INTEGERS: Mapping[str, tuple[int, int]] = {
    "n": (1, 128),
    "max_tokens": (1, 10_000_000),
    "max_completion_tokens": (1, 10_000_000),
    "top_logprobs": (0, 20),
    "seed": (-(2**63), 2**63 - 1),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """A chat request whose fields are known to have the right types. ``morphogen`` holds our own optional fields."""

    model: str
    messages: tuple[Mapping[str, Json], ...]
    params: Mapping[str, Json]
    stream: bool
    include_usage: bool
    schema: Mapping[str, Json] | None
    morphogen: Mapping[str, Json]


def read_chat(body: Json) -> Chat:
    """Check a chat body. Raises ApiError 400 that names the first field that is wrong."""
    if not isinstance(body, dict):
        raise bad_request("The body must be a JSON object", param="body")
    stream = body.get("stream") or False
    if not isinstance(stream, bool):
        raise bad_request("'stream' must be true or false", param="stream")
    response_format = body.get("response_format")
    options = body.get("stream_options")
    own = body.get("morphogen")
    return Chat(
        model=read_model(body),
        messages=read_messages(body.get("messages")),
        params=read_params(body),
        stream=stream,
        include_usage=_include_usage(options) if options is not None else False,
        schema=_schema(response_format) if response_format is not None else None,
        morphogen=_morphogen(own) if own is not None else {},
    )


def read_model(body: Mapping[str, Json]) -> str:
    """The ``model`` field. Raises ApiError 400."""
    model = body.get("model")
    if not isinstance(model, str) or not model or len(model) > _MAX_MODEL_CHARS:
        raise bad_request("'model' must be a model's name ('auto' lets the daemon choose)", param="model")
    return model


def read_messages(value: Json) -> tuple[Mapping[str, Json], ...]:
    if not isinstance(value, list) or not value:
        raise bad_request("'messages' must be a list with at least one message", param="messages")
    if len(value) > _MAX_MESSAGES:
        raise bad_request(f"'messages' holds more than {_MAX_MESSAGES} messages", param="messages")
    for index, message in enumerate(value):
        if not isinstance(message, dict):
            raise bad_request("A message must be an object", param=f"messages[{index}]")
        role = message.get("role")
        if not isinstance(role, str) or role not in ROLES:
            raise bad_request(f"A message's role must be one of {', '.join(sorted(ROLES))}", param=f"messages[{index}].role")
        content = message.get("content")
        if not isinstance(content, str):
            _check_content(content, role, index)
        if role == "assistant":
            _check_tool_calls(message.get("tool_calls"), index)
        elif role == "tool" and not isinstance(message.get("tool_call_id"), str):
            raise bad_request("A tool's message needs its tool_call_id", param=f"messages[{index}].tool_call_id")
    return tuple(value)


def _check_content(content: Json, role: str, index: int) -> None:
    param = f"messages[{index}].content"
    if content is None:
        if role not in ("assistant", "function"):
            raise bad_request(f"The content of a message of role {role} must be text or a list of parts", param=param)
        return
    if not isinstance(content, list) or not content:
        raise bad_request("A message's content must be text or a list of parts", param=param)
    for number, part in enumerate(content):
        if not isinstance(part, dict) or not isinstance(part.get("type"), str):
            raise bad_request("A part of a message must be an object with a type", param=f"{param}[{number}]")
        if part["type"] == "text" and not isinstance(part.get("text"), str):
            raise bad_request("A text part must hold text", param=f"{param}[{number}].text")


def _check_tool_calls(calls: Json, index: int) -> None:
    if calls is None:
        return
    if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
        raise bad_request("'tool_calls' must be a list of objects", param=f"messages[{index}].tool_calls")


def read_params(body: Mapping[str, Json]) -> dict[str, Json]:
    """What goes to the backend as it is. Known numbers are checked; unknown names are kept, bounded in number and length."""
    params = {name: value for name, value in body.items() if name not in _OWN and value is not None}
    if len(params) > _MAX_PARAMS:
        raise bad_request(f"More than {_MAX_PARAMS} parameters", param="body")
    for name, value in params.items():
        if len(name) > _MAX_NAME_CHARS:
            raise bad_request(f"A parameter's name is longer than {_MAX_NAME_CHARS} characters", param="body")
        if name in _NUMBERS:
            low, high = _NUMBERS[name]
            if not is_number(value) or not low <= value <= high:
                raise bad_request(f"'{name}' must be a number from {low:g} to {high:g}", param=name)
        elif name in _INTEGERS:
            least, most = _INTEGERS[name]
            if not is_integer(value) or not least <= value <= most:
                raise bad_request(f"'{name}' must be a whole number from {least} to {most}", param=name)
        elif name == "stop":
            _check_stop(value)
        elif name == "tools":
            _check_tools(value)
    return params


def _check_stop(value: Json) -> None:
    texts = value if isinstance(value, list) else [value]
    if len(texts) > 16 or not all(isinstance(text, str) for text in texts):
        raise bad_request("'stop' must be a text or a list of at most 16 texts", param="stop")


def _check_tools(value: Json) -> None:
    if not isinstance(value, list) or len(value) > 1024:
        raise bad_request("'tools' must be a list of at most 1024 tools", param="tools")
    for index, tool in enumerate(value):
        if not isinstance(tool, dict) or not isinstance(tool.get("type"), str):
            raise bad_request("A tool must be an object with a type", param=f"tools[{index}]")


def _include_usage(options: Json) -> bool:
    include = options.get("include_usage", False) if isinstance(options, dict) else None
    if not isinstance(include, bool):
        raise bad_request("'stream_options' must be an object with include_usage true or false", param="stream_options")
    return include


def _schema(response_format: Json) -> Mapping[str, Json] | None:
    """The JSON Schema that ``response_format`` asks for; None for text."""
    kind = response_format.get("type") if isinstance(response_format, dict) else None
    if kind == "text":
        return None
    if kind == "json_object":
        return {"type": "object"}
    if kind != "json_schema":
        raise bad_request("'response_format.type' must be text, json_object or json_schema", param="response_format.type")
    named = response_format.get("json_schema")
    schema = named.get("schema") if isinstance(named, dict) else None
    if not isinstance(schema, dict):
        raise bad_request(
            "'response_format.json_schema.schema' must be a JSON Schema", param="response_format.json_schema.schema"
        )
    return schema


def _morphogen(value: Json) -> Mapping[str, Json]:
    if not isinstance(value, dict):
        raise bad_request("'morphogen' must be an object", param="morphogen")
    for name in value:
        if name not in _MORPHOGEN:
            raise bad_request(
                f"'morphogen' has no field {name[:64]!r}; it has {', '.join(sorted(_MORPHOGEN))}", param="morphogen"
            )
    return {name: field for name, field in value.items() if field is not None}


def read_count(value: Json, *, most: int, param: str) -> int:
    """A number of items. Raises ApiError 400 unless it is a whole number from 1 to ``most``."""
    if not is_integer(value) or not 1 <= value <= most:
        raise bad_request(f"'{param}' must be a whole number from 1 to {most}", param=param)
    return int(value)


def read_seconds(value: Json, *, most: float, param: str) -> float:
    """A duration in seconds, over 0 and at most ``most``. Raises ApiError 400."""
    if not is_number(value) or not 0 < value <= most:
        raise bad_request(f"'{param}' must be a number of seconds, over 0 and at most {most:g}", param=param)
    return float(value)


def read_usd(value: Json, *, param: str) -> float:
    """A budget in USD, from 0 (only models that cost nothing) to a million. Raises ApiError 400."""
    if not is_number(value) or not 0 <= value <= MAX_BUDGET_USD:
        raise bad_request(f"'{param}' must be an amount of USD from 0 to {MAX_BUDGET_USD:g}", param=param)
    return float(value)


def read_flag(value: Json, *, param: str) -> bool:
    """Raises ApiError 400 unless it is true or false."""
    if not isinstance(value, bool):
        raise bad_request(f"'{param}' must be true or false", param=param)
    return value


def read_tokens(value: Json, *, param: str) -> int:
    """A budget in tokens, prompts and answers together. Raises ApiError 400."""
    if not is_integer(value) or not 0 <= value <= MAX_BUDGET_TOKENS:
        raise bad_request(f"'{param}' must be a whole number of tokens from 0 to {MAX_BUDGET_TOKENS}", param=param)
    return int(value)


def read_inputs(value: Json) -> list[str]:
    """The texts of an embeddings request. Raises ApiError 400."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts:
        raise bad_request("'input' must be a text or a list of texts", param="input")
    if len(texts) > _MAX_INPUTS:
        raise bad_request(f"'input' holds more than {_MAX_INPUTS} texts", param="input")
    for text in texts:
        if not isinstance(text, str):
            raise bad_request("'input' must be a text or a list of texts; token numbers are not supported", param="input")
        if not text:
            raise bad_request("'input' must not hold an empty text", param="input")
    return texts


def is_integer(value: Json) -> bool:
    """A JSON whole number (``true`` is none; ``3.0`` is one, as in JSON Schema)."""
    return (isinstance(value, int) and not isinstance(value, bool)) or (isinstance(value, float) and value.is_integer())


def is_number(value: Json) -> bool:
    """A finite JSON number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


# ── for /docs ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


CHAT_REQUEST: dict[str, Any] = {
    "type": "object",
    "required": ["model", "messages"],
    "properties": {
        "model": {"type": "string", "minLength": 1, "maxLength": _MAX_MODEL_CHARS},
        "messages": {
            "type": "array",
            "minItems": 1,
            "maxItems": _MAX_MESSAGES,
            "items": {
                "type": "object",
                "required": ["role", "content"],
                "properties": {
                    "role": {"enum": sorted(ROLES)},
                    "content": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "object"}}, {"type": "null"}]},
                },
            },
        },
        "stream": _nullable({"type": "boolean"}),
        "stream_options": _nullable({"type": "object", "properties": {"include_usage": {"type": "boolean"}}}),
        "response_format": _nullable({"type": "object", "required": ["type"]}),
        **{name: _nullable({"type": "number", "minimum": low, "maximum": high}) for name, (low, high) in _NUMBERS.items()},
        **{name: _nullable({"type": "integer", "minimum": low, "maximum": high}) for name, (low, high) in _INTEGERS.items()},
        "morphogen": _nullable(
            {
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    "strategy": {"description": "A strategy's name, or a strategy as JSON"},
                    "deadline_s": {"type": "number", "exclusiveMinimum": 0},
                    "count": {"type": "integer", "minimum": 1},
                    "budget_usd": {"type": "number", "minimum": 0, "maximum": MAX_BUDGET_USD},
                    "budget_tokens": {"type": "integer", "minimum": 0, "maximum": MAX_BUDGET_TOKENS},
                    "cache": {
                        "type": "boolean",
                        "description": "Whether a stored answer will do; false keeps it out of the library",
                    },
                    "routing": {"type": "object", "description": "Weights of this request: see [routing]"},
                    "shape": {"description": "An example of the answer, or a JSON Schema of it"},
                },
            }
        ),
    },
}

EMBEDDINGS_REQUEST: dict[str, Any] = {
    "type": "object",
    "required": ["model", "input"],
    "properties": {
        "model": {"type": "string", "minLength": 1, "maxLength": _MAX_MODEL_CHARS},
        "input": {"anyOf": [{"type": "string", "minLength": 1}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]},
        "encoding_format": _nullable({"enum": ["float", "base64"]}),
        "dimensions": _nullable({"type": "integer", "minimum": 1}),
    },
}
