"""What the endpoints of the registry and the library share: their parameters, their bodies, and its errors as problem documents.

Called by registry.py, registry_reads.py and library.py of this room.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar, get_args

from pydantic import BaseModel
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from registry.records import (
    KINDS,
    STATES,
    CheckFailed,
    Conflict,
    InvalidArtifact,
    LineageCycle,
    NotAllowed,
    RegistryError,
    UnknownArtifact,
)
from registry.search import By, Query
from runtime.api.auth import require_operator
from runtime.api.body import read_model
from runtime.api.errors import ApiError, ErrorType, Fault, bad_request
from runtime.api.query import choice
from runtime.api.wire import json_response
from runtime.config.settings import ServerSettings

B = TypeVar("B", bound=BaseModel)
_STATUS: dict[type[RegistryError], tuple[int, str]] = {
    InvalidArtifact: (400, "invalid_request"),
    UnknownArtifact: (404, "not_found"),
    Conflict: (409, "conflict"),
    NotAllowed: (409, "not_allowed"),
    CheckFailed: (422, "check_failed"),
    LineageCycle: (422, "lineage_cycle"),
}
"""Everything else is 503: the registry cannot be used now."""


async def answer(http: HttpRequest, act: Callable[[], Awaitable[Any]], *, status: int = 200) -> Response:
    """What ``act`` gives, as JSON, for an operator. Raises ApiError."""
    require_operator(http)
    with _translated():
        return json_response(await act(), status=status)


async def body_of(http: HttpRequest, model: type[B], server: ServerSettings) -> B:
    """The body of an operator's call. Raises ApiError that names the field."""
    require_operator(http)
    return await read_model(http, model, server)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except RegistryError as error:
        status, code = next((known for cls, known in _STATUS.items() if isinstance(error, cls)), (503, "registry_unavailable"))
        param = error.field if isinstance(error, InvalidArtifact) else None
        wait_s = 5.0 if status == 503 else None
        kind: ErrorType = "invalid_request_error" if status < 500 else "server_error"
        raise ApiError(
            Fault(status=status, type=kind, code=code, message=str(error), param=param, retry_after_s=wait_s)
        ) from error


def reference_of(http: HttpRequest) -> str:
    return str(http.path_params["reference"])


def query_of(http: HttpRequest) -> Query | None:
    asked = http.query_params
    text = asked.get("query")
    if text is None:
        return None
    return Query(
        text=text,
        by=choice(http, "by", get_args(By)) or "text",
        kind=choice(http, "kind", KINDS),
        state=None if asked.get("state") == "any" else choice(http, "state", STATES) or "published",
        author=asked.get("author"),
        locale=asked.get("locale"),
        min_quality=number_of(http, "min_quality", None, 0, 1),
        every_version=asked.get("versions") == "all",
        limit=int(number_of(http, "limit", 10, 1, 50)),
    )


def number_of(http: HttpRequest, name: str, default: float | None, least: float, most: float) -> Any:
    text = http.query_params.get(name)
    if text is None:
        return default
    try:
        value = float(text[:40])
    except ValueError:
        value = math.nan
    if not least <= value <= most or (name == "limit" and value != int(value)):
        raise bad_request(f"'{name}' must be a number from {least:g} to {most:g}", param=name)
    return value


def time_of(http: HttpRequest) -> float:
    """Unix seconds or ISO 8601; without an offset it is UTC."""
    text = http.query_params.get("time", "")[:64]
    try:
        value = float(text)
    except ValueError:
        try:
            read = datetime.fromisoformat(text)
            value = (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            value = math.nan
    if not 0 <= value <= 1e11:
        raise bad_request("'time' must be Unix seconds or a date like 2026-11-23T10:00:00", param="time")
    return value


def state_of(registry: Any, name: str) -> str:
    """The best state that one of its versions has."""
    states = {registry.catalog.standings[each.version_id].state for each in registry.versions_of(name)}
    return next((state for state in ("published", "draft", "deprecated", "archived") if state in states), "archived")
