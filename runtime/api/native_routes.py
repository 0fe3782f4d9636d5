"""The native surface's part of the table of routes.

Called by app.py. Pure but for building the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from runtime.api.native import NativeSurface
from runtime.api.native_models import NativeRequest, NewFeedback
from runtime.api.native_reads import DEFAULT_ITEMS, MAX_ITEMS, NativeReads
from runtime.api.routes import Endpoint, RouteSpec, in_path, in_query

_OBJECT: dict[str, Any] = {"type": "object"}
_ID = in_path("request_id")
_ASKS = (400, 401, 404, 413, 429, 500, 502, 503, 504)
_READS = (400, 401, 404, 409, 429, 500)


def native_routes(surface: NativeSurface, reads: NativeReads) -> Sequence[RouteSpec]:
    """POST /v1/requests and everything under its id. (The list of all requests is the operator's.)"""
    one = "/v1/requests/{request_id}"
    rows: list[tuple[str, str, Endpoint, str, dict[str, Any]]] = [
        (
            "POST",
            "/v1/requests",
            surface.create,
            "Ask; answered at once, streamed, or later (mode)",
            {
                "body": NativeRequest.model_json_schema(),
                "ok": {200: _OBJECT, 202: _OBJECT},
                "errors": _ASKS,
            },
        ),
        ("GET", one, reads.show, "State, progress, answer and trace of one request", {}),
        ("DELETE", one, reads.cancel, "End an asynchronous request; what is done of it stays", {}),
        (
            "GET",
            f"{one}/items",
            reads.items,
            "Items of a list, with their places",
            {
                "parameters": (
                    _ID,
                    in_query("from", {"type": "integer", "minimum": 0}),
                    in_query("limit", {"type": "integer", "minimum": 1, "maximum": MAX_ITEMS, "default": DEFAULT_ITEMS}),
                )
            },
        ),
        ("GET", f"{one}/result", reads.result, "The items as lines of JSON", {"media_type": "application/x-ndjson"}),
        (
            "GET",
            f"{one}/stream",
            reads.stream,
            "Events of a request from any number on",
            {
                "media_type": "text/event-stream",
                "parameters": (_ID, in_query("from_seq", {"type": "integer", "minimum": 0})),
                "ok": {200: {"type": "string"}, 204: None},
            },
        ),
        (
            "POST",
            f"{one}/feedback",
            reads.feedback,
            "Say how good an answer was",
            {"body": NewFeedback.model_json_schema(), "errors": (*_READS, 413)},
        ),
    ]
    specs = []
    for method, path, endpoint, summary, more in rows:
        if path != "/v1/requests":
            more.setdefault("parameters", (_ID,))
        more.setdefault("errors", _READS)
        specs.append(RouteSpec(path=path, methods=(method,), endpoint=endpoint, summary=summary, tag="native", **more))
    return specs
