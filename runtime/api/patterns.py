"""The operator's view of patterns: which recurring kinds of requests there are, and requests of each.

Mounted by app.py; sees the daemon only through ``Service``. All of it needs the operator key: examples are words of clients.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, get_args

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from agents.records import Json, NotFound
from runtime.api.auth import require_operator
from runtime.api.query import choice, whole_number
from runtime.api.routes import RouteSpec, in_path, in_query
from runtime.api.wire import json_response
from runtime.records import Service
from runtime.topology.pattern_records import Pattern, State

MAX_LISTED: Final = 2_000
MAX_EXAMPLES: Final = 100
STATES: Final[tuple[State, ...]] = get_args(State)


class PatternSurface:
    """The endpoints."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def list(self, http: HttpRequest) -> Response:
        """GET /v1/patterns: the largest share first; found ones and candidates where no ``state`` is named."""
        require_operator(http)
        limit = whole_number(http, "limit", low=1, high=MAX_LISTED, default=100)
        state = choice(http, "state", STATES)
        desk = self._service.patterns
        wanted = (state,) if state is not None else ("found", "candidate")
        found = [each for each in desk.all() if each.state in wanted]
        states, counts = desk.gauges()
        body = {
            "status": desk.status(),
            "states": dict(states),
            "counts": dict(counts),
            "data": [row(each) for each in found[:limit]],
        }
        return json_response(body)

    async def show(self, http: HttpRequest) -> Response:
        """GET /v1/patterns/{pattern}: one of them, with requests that are typical of it."""
        require_operator(http)
        name = str(http.path_params["pattern"])
        most = whole_number(http, "examples", low=0, high=MAX_EXAMPLES, default=10)
        patterns = self._service.patterns.found
        found = patterns.get(name) if patterns is not None else None
        if patterns is None or found is None:
            raise NotFound(f"there is no pattern {name[:64]!r}", param="pattern")
        examples = [
            {"request_id": each.request_id, "text": each.text, "similarity": round(each.similarity, 4)}
            for each in patterns.examples(found.pattern_id, most)
        ]
        return json_response({**row(found), "examples": examples})


def row(pattern: Pattern) -> dict[str, Json]:
    """One pattern as JSON. ``share`` and ``trend`` are parts of all requests; times are Unix seconds."""
    return {
        "id": pattern.pattern_id,
        "name": pattern.name,
        "named_by": pattern.named_by,
        "state": pattern.state,
        "count": pattern.count,
        "share": round(pattern.share, 4),
        "trend": round(pattern.trend, 4),
        "first_at": pattern.first_at,
        "last_at": pattern.last_at,
        "merged_into": pattern.merged_into,
    }


_ERRORS = (400, 401, 403, 404, 429, 500, 503)


def pattern_routes(surface: PatternSurface) -> Sequence[RouteSpec]:
    """Everything under /v1/patterns."""
    more: dict[str, Any] = {"tag": "operator", "errors": _ERRORS}
    listed = (
        in_query("state", {"type": "string", "enum": list(STATES)}),
        in_query("limit", {"type": "integer", "minimum": 1, "maximum": MAX_LISTED}),
    )
    shown = (in_path("pattern"), in_query("examples", {"type": "integer", "minimum": 0, "maximum": MAX_EXAMPLES}))
    rows: list[tuple[str, Any, str, tuple[Json, ...]]] = [
        ("/v1/patterns", surface.list, "Recurring kinds of requests", listed),
        ("/v1/patterns/{pattern}", surface.show, "One pattern with typical requests", shown),
    ]
    return [
        RouteSpec(path=path, methods=("GET",), endpoint=endpoint, summary=summary, parameters=parameters, **more)
        for path, endpoint, summary, parameters in rows
    ]
