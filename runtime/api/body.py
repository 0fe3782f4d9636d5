"""Request bodies: bounded while they are read, parsed once, and given up when the client hangs up.

Called by the surfaces of this room. Must not import a service or a route.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable
from typing import TypeVar

import orjson
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive

from agents.records import Json
from runtime.api.errors import ApiError, Fault, bad_request
from runtime.config.settings import ServerSettings

_Result = TypeVar("_Result")
_Model = TypeVar("_Model", bound=BaseModel)
MAX_CHECKED_BYTES = 256 * 1024
SMALL_BYTES = 65_536
"""Enough for a body that holds no data of its own: a key, feedback."""
_BOM = b"\xef\xbb\xbf"
PLACE_STEPS = 4
"""So many steps name the place of a nesting that is too deep,"""
PLACE_LOOKS = 20_000
"""and so many values are looked at for it."""


def too_large(max_bytes: int) -> ApiError:
    """The 413 of a body over ``max_bytes``."""
    message = f"The request body is larger than {max_bytes} bytes"
    return ApiError(Fault(status=413, type="invalid_request_error", code="body_too_large", message=message, param="body"))


async def read_body(request: Request, *, max_bytes: int) -> bytes:
    """The whole body. Raises ApiError 413 as soon as it is known to be too large, ClientDisconnect when it is cut short."""
    declared = request.headers.get("content-length")
    if declared is not None and declared.isdecimal() and int(declared[:20]) > max_bytes:
        raise too_large(max_bytes)
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > max_bytes:
            raise too_large(max_bytes)
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def parse_json(raw: bytes, *, max_depth: int, param: str = "body") -> Json:
    """The JSON value of ``raw``. Raises ApiError 400 for malformed JSON, NaN or Infinity, and nesting over ``max_depth``."""
    raw = raw.removeprefix(_BOM)
    try:
        value = orjson.loads(raw)  # refuses NaN, Infinity, lone surrogates and, before it recurses far, nesting over 1024
    except orjson.JSONDecodeError as error:
        raise bad_request(f"The {param} is not valid JSON: {error}", param=param, code="invalid_json") from None
    # Nesting needs that many opening brackets: most bodies are cleared by two counts that run at memory speed.
    if raw.count(b"[") + raw.count(b"{") > max_depth and deeper_than(value, max_depth):
        message = f"The JSON is nested deeper than {max_depth} levels{_deep_place(value, max_depth)}"
        raise bad_request(message, param=param, code="json_too_deep")
    return value


def deeper_than(value: Json, levels: int) -> bool:
    """Whether objects and arrays are nested more than ``levels`` deep. Walks level by level: never recurses."""
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(levels):
        if not level:
            return False
        level = [
            child
            for parent in level
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, dict | list)
        ]
    return bool(level)


def _deep_place(value: Json, levels: int) -> str:
    """`` at`` the first steps of a way that is deeper than ``levels``; "" where none was found among ``PLACE_LOOKS`` values."""
    stack: list[tuple[Json, tuple[str, ...], int]] = [(value, (), 1)]
    for _ in range(PLACE_LOOKS):
        if not stack:
            break
        one, way, depth = stack.pop()
        if depth > levels:
            return f" at {''.join(way).lstrip('.')}"
        parts = one.items() if isinstance(one, dict) else enumerate(one)
        for key, part in parts:
            if isinstance(part, dict | list):
                step = f"[{key}]" if isinstance(key, int) else f".{key}"[:40]
                stack.append((part, way if len(way) >= PLACE_STEPS else (*way, step), depth + 1))
    return ""


async def read_json_object(request: Request, *, max_bytes: int, max_depth: int) -> dict[str, Json]:
    """The body as a JSON object; anything else is a 400, and so is a key that an object has twice.

    Keys are checked in bodies of up to 256 KiB: the second parse that finds them would hold up the daemon in larger ones.
    """
    raw = await read_body(request, max_bytes=max_bytes)
    value = parse_json(raw, max_depth=max_depth)
    if not isinstance(value, dict):
        raise bad_request("The body must be a JSON object", param="body")
    if len(raw) <= MAX_CHECKED_BYTES and (key := twice(raw)) is not None:
        raise bad_request(f"The JSON has the key {key[:64]!r} twice in one object", param=key[:64], code="invalid_json")
    return value


async def read_model(request: Request, model: type[_Model], server: ServerSettings, *, most: int | None = None) -> _Model:
    """The body as ``model``; of at most ``most`` bytes where the server would take more. Raises ApiError that names the field."""
    max_bytes = min(most or server.max_body_bytes, server.max_body_bytes)
    body = await read_json_object(request, max_bytes=max_bytes, max_depth=server.max_json_depth)
    try:
        return model.model_validate(body)
    except ValidationError as error:
        raise first_wrong(error) from None


def first_wrong(error: ValidationError, *, within: str = "") -> ApiError:
    """The first thing that is wrong, as a 400 that names the field; ``within`` is where the object stands."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = [part for part in first["loc"] if part not in ("str", "dict[str,any]", "dict[str,Any]")]
    field = ".".join(str(part) for part in (within, *place) if part != "")[:120] or "body"
    if first["type"] == "extra_forbidden":
        return bad_request(f"There is no field '{field}'", param=field)
    return bad_request(f"'{field}': {first['msg']}", param=field)


def twice(raw: bytes) -> str | None:
    """A key that stands twice in one object of ``raw``, which is valid JSON; None where there is none."""
    found: list[str] = []

    def note(pairs: list[tuple[str, Json]]) -> None:
        if len({key for key, _ in pairs}) < len(pairs):
            keys = Counter(key for key, _ in pairs)
            found.append(keys.most_common(1)[0][0])

    try:
        json.loads(raw.removeprefix(_BOM), object_pairs_hook=note)
    except RecursionError:
        return None
    return found[0] if found else None


async def unless_hung_up(receive: Receive, work: Awaitable[_Result]) -> _Result:
    """``await work``, cancelled when the client disconnects (raises ClientDisconnect). The body must have been read."""
    task = asyncio.current_task()
    assert task is not None
    gone = False

    async def watch() -> None:
        nonlocal gone
        while (await receive())["type"] != "http.disconnect":
            pass
        gone = True
        task.cancel()

    watcher = asyncio.create_task(watch())
    try:
        return await work
    except asyncio.CancelledError:
        if gone and task.uncancel() == 0:
            raise ClientDisconnect from None
        raise
    finally:
        watcher.cancel()
