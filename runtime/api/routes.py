"""The table of routes and what /docs says of each.

Called by app.py. Endpoints are plain Starlette routes, so that the hot path pays for no dependency injection; the OpenAPI
document is made from the same table, so that the two cannot drift apart. Pure but for building the table.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from runtime.api.config_routes import ConfigSurface
from runtime.api.errors import error_media_type, is_management
from runtime.api.health import HealthSurface
from runtime.api.idempotency import Idempotency
from runtime.api.mock import METHODS, MockSurface
from runtime.api.openai import OpenAISurface
from runtime.api.openai_models import CHAT_REQUEST, EMBEDDINGS_REQUEST
from runtime.api.operator import KeyLimits, NewKey, OperatorSurface

Endpoint = Callable[[HttpRequest], Awaitable[Response]]

ERROR_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
                "escalation_id": {"type": "string"},
                "simulated": {"const": True},
            },
        }
    },
}
PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "param": {"type": "string"},
        "partial": {},
        "escalation_id": {"type": "string"},
        "simulated": {"const": True},
    },
}

_DATA = {"type": "object", "required": ["data"], "properties": {"data": {"type": "array", "items": {"type": "object"}}}}
_OBJECT = {"type": "object"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteSpec:
    """One path: its endpoint, and its operation as OpenAPI says it. ``ok`` is status -> schema (None: no body).

    ``secret``: its reply is shown once and must not be kept for its idempotency key.
    """

    path: str
    methods: tuple[str, ...]
    endpoint: Endpoint
    summary: str
    tag: str
    body: dict[str, Any] | None = None
    ok: dict[int, dict[str, Any] | None] = field(default_factory=lambda: {200: _OBJECT})
    media_type: str = "application/json"
    parameters: tuple[dict[str, Any], ...] = ()
    secret: bool = False
    errors: tuple[int, ...] = ()


def route_table(
    openai: OpenAISurface,
    mock: MockSurface,
    native: Sequence[RouteSpec],
    operator: OperatorSurface,
    config: ConfigSurface,
    health: HealthSurface,
    keys: Idempotency,
) -> Sequence[RouteSpec]:
    """Every route; the hottest first, because matching is a walk down this list. Every POST takes an Idempotency-Key."""
    specs = (*_openai(openai), *_mock(mock), *native, *_operator(operator, config), *_health(health))
    return [_keyed(spec, keys) if "POST" in spec.methods else spec for spec in specs]


def _keyed(spec: RouteSpec, keys: Idempotency) -> RouteSpec:
    endpoint = keys.wrap(spec.endpoint, secret=spec.secret)
    return replace(
        spec, endpoint=endpoint, parameters=(*spec.parameters, _KEY), errors=tuple(sorted({*spec.errors, 400, 409, 422}))
    )


def _openai(surface: OpenAISurface) -> list[RouteSpec]:
    asks = (400, 401, 404, 413, 429, 500, 502, 503, 504)
    return [
        RouteSpec(
            path="/v1/chat/completions",
            methods=("POST",),
            endpoint=surface.chat,
            summary="Complete a conversation; 'stream' answers with server-sent events",
            tag="openai",
            body=CHAT_REQUEST,
            errors=asks,
        ),
        RouteSpec(
            path="/v1/embeddings",
            methods=("POST",),
            endpoint=surface.embeddings,
            summary="Vectors of texts",
            tag="openai",
            body=EMBEDDINGS_REQUEST,
            errors=asks,
        ),
        RouteSpec(
            path="/v1/models",
            methods=("GET",),
            endpoint=surface.models,
            summary="What 'model' may name",
            tag="openai",
            ok={200: _DATA},
            errors=(401, 429),
        ),
        RouteSpec(
            path="/v1/models/{model:path}",
            methods=("GET",),
            endpoint=surface.model,
            summary="One model",
            tag="openai",
            parameters=(in_path("model"),),
            errors=(401, 404, 429),
        ),
    ]


def _mock(surface: MockSurface) -> list[RouteSpec]:
    parameters = (
        in_query("shape", {"type": "string"}),
        in_query("count", {"type": "integer", "minimum": 1}),
        in_query("backend", {"type": "string"}),
        {"name": "X-Response-Shape", "in": "header", "schema": {"type": "string"}},
        {"name": "X-LLM-Backend", "in": "header", "schema": {"type": "string"}},
    )
    common: dict[str, Any] = {
        "methods": METHODS,
        "endpoint": surface.handle,
        "summary": "Plausible JSON in the shape that is asked for",
        "tag": "mock",
        "body": {},
        "ok": {200: {}},
        "errors": (400, 401, 404, 413, 429, 500, 502, 503, 504),
    }
    return [
        RouteSpec(path="/api/mock/{path:path}", parameters=(in_path("path"), *parameters), **common),
        RouteSpec(path="/api/mock", parameters=parameters, **common),
    ]


def _operator(surface: OperatorSurface, config: ConfigSurface) -> list[RouteSpec]:
    page = (in_query("limit", {"type": "integer", "minimum": 1, "maximum": 500}), in_query("before", {"type": "string"}))
    rows: list[tuple[str, str, Endpoint, str, dict[str, Any]]] = [
        ("GET", "/v1/status", surface.status, "Version, readiness, pool and cluster", {}),
        ("GET", "/v1/nodes", surface.nodes, "Nodes as they stand", {"ok": {200: _DATA}}),
        ("GET", "/v1/backends", surface.backends, "Backends as they stand", {"ok": {200: _DATA}}),
        (
            "GET",
            "/v1/requests",
            surface.requests,
            "The newest requests",
            {"ok": {200: _DATA}, "parameters": page, "errors": (400, 403)},
        ),
        ("GET", "/v1/keys", surface.list_keys, "Keys, without their secrets", {"ok": {200: _DATA}, "errors": (403,)}),
        (
            "POST",
            "/v1/keys",
            surface.create_key,
            "Make a key",
            {"ok": {201: _OBJECT}, "secret": True, "body": NewKey.model_json_schema(), "errors": (400, 403, 413)},
        ),
        (
            "PATCH",
            "/v1/keys/{key_id}",
            surface.limit_key,
            "Give a key another budget a day",
            {"parameters": (in_path("key_id"),), "body": KeyLimits.model_json_schema(), "errors": (400, 403, 404, 413)},
        ),
        ("GET", "/v1/budget", surface.budget, "What may be spent today, what was, what is held and what is left", {}),
        (
            "DELETE",
            "/v1/keys/{key_id}",
            surface.revoke_key,
            "Revoke a key",
            {"ok": {204: None}, "parameters": (in_path("key_id"),), "errors": (403, 404)},
        ),
        ("GET", "/v1/config", config.config, "The configuration as it stands, secrets masked", {"errors": (403,)}),
        ("POST", "/v1/config/reload", config.reload, "Read the configuration again", {"errors": (403, 422)}),
    ]
    specs = []
    for method, path, endpoint, summary, more in rows:
        errors = (*more.pop("errors", ()), 401, 429, 500)
        specs.append(
            RouteSpec(path=path, methods=(method,), endpoint=endpoint, summary=summary, tag="operator", errors=errors, **more)
        )
    return specs


def _health(surface: HealthSurface) -> list[RouteSpec]:
    return [
        RouteSpec(path="/healthz", methods=("GET",), endpoint=surface.alive, summary="The process answers", tag="health"),
        RouteSpec(
            path="/readyz",
            methods=("GET",),
            endpoint=surface.ready,
            summary="Ready for work",
            tag="health",
            ok={200: _OBJECT, 503: _OBJECT},
        ),
        RouteSpec(
            path="/metrics",
            methods=("GET",),
            endpoint=surface.metrics,
            summary="Prometheus measures",
            tag="health",
            ok={200: {"type": "string"}},
            media_type="text/plain",
            errors=(401, 429),
        ),
    ]


def describe(specs: Sequence[RouteSpec]) -> dict[str, Any]:
    """OpenAPI ``paths`` of the table."""
    paths: dict[str, Any] = {}
    for spec in specs:
        item = paths.setdefault(re.sub(r":path}", "}", spec.path), {})
        for method in spec.methods:
            item[method.lower()] = _operation(spec, method)
    return paths


def _operation(spec: RouteSpec, method: str) -> dict[str, Any]:
    bodiless = method in ("HEAD", "OPTIONS")
    responses: dict[str, Any] = {}
    for status, schema in ({204: None} if method == "OPTIONS" else spec.ok).items():
        responses[str(status)] = {"description": "OK" if status < 300 else "Not ready"}
        if schema is not None and not bodiless:
            responses[str(status)]["content"] = {spec.media_type: {"schema": schema}}
    if spec.path in ("/v1/chat/completions", "/v1/requests") and method == "POST":
        responses["200"]["content"]["text/event-stream"] = {"schema": {"type": "string"}}
    media_type = error_media_type(spec.path)
    reference = {"$ref": f"#/components/schemas/{'Problem' if is_management(spec.path) else 'Error'}"}
    for status in spec.errors:
        responses[str(status)] = {"description": "Error"}
        if not bodiless:
            responses[str(status)]["content"] = {media_type: {"schema": reference}}
    name = re.sub(r"\W+", "_", f"{method}_{spec.path}").strip("_").lower()
    operation: dict[str, Any] = {"summary": spec.summary, "tags": [spec.tag], "operationId": name, "responses": responses}
    if spec.parameters:
        operation["parameters"] = list(spec.parameters)
    if spec.body is not None and not bodiless and method not in ("GET", "DELETE"):
        operation["requestBody"] = {
            "required": bool(spec.body),
            "content": {"application/json": {"schema": spec.body}},
        }
    return operation


def in_path(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}


def in_query(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "schema": schema}


_KEY: dict[str, Any] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
}
