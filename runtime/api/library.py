"""The library's endpoints, for operators: how it stands, what is in it, what would come of a request, and forgetting.

Mounted by app.py; sees the daemon only through ``Service``. All of them need the operator key, because solutions hold what
clients asked and were answered.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from agents.records import NotFound
from registry.solution_records import Solution
from runtime.api.errors import bad_request
from runtime.api.native_models import NativeRequest
from runtime.api.registry_params import answer, body_of, number_of
from runtime.api.routes import RouteSpec, in_path, in_query
from runtime.jobs.views import library_view
from runtime.records import Request, Service

MAX_LISTED = 500
_SHOWN_CHARS = 300
_Id = Annotated[str, StringConstraints(min_length=1, max_length=64)]


class Purge(BaseModel):
    """The body of POST /v1/library/purge: what any of the conditions holds for is forgotten."""

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)

    ids: Annotated[list[_Id], Field(max_length=10_000)] = []
    """Solutions by their ids."""
    tenant: Annotated[str, StringConstraints(min_length=1, max_length=128)] | None = None
    """All of one key's id, or of 'loopback'."""
    older_than_s: Annotated[float, Field(ge=0, le=1e10, allow_inf_nan=False)] | None = None
    """All that were made longer ago."""


class DryRun(NativeRequest):
    """The body of POST /v1/library/dry-run: a native request, and for whom."""

    tenant: Annotated[str, StringConstraints(min_length=1, max_length=128)] | None = None
    """A key's id, or 'loopback'; none: the caller's own key."""


class LibrarySurface:
    """The endpoints. ``read`` makes our request of a native one's body."""

    def __init__(
        self,
        service: Service,
        *,
        read: Callable[[HttpRequest, NativeRequest], Request],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._service, self._read, self._clock = service, read, clock

    async def stats(self, http: HttpRequest) -> Response:
        """GET /v1/library."""

        async def find() -> Any:
            return {"status": self._service.library.status(), **self._service.library.library.stats()}

        return await answer(http, find)

    async def solutions(self, http: HttpRequest) -> Response:
        """GET /v1/library/solutions: the newest first."""

        async def find() -> Any:
            limit = int(number_of(http, "limit", 50, 1, MAX_LISTED))
            found = self._service.library.library.solutions(limit=limit, tenant=http.query_params.get("tenant"))
            return {"data": [_row(each) for each in found]}

        return await answer(http, find)

    async def show(self, http: HttpRequest) -> Response:
        """GET /v1/library/solutions/{solution}: all that is kept of it."""

        async def find() -> Any:
            name = str(http.path_params["solution"])
            found = self._service.library.library.show(name)
            if found is None:
                raise NotFound(f"there is no solution {name[:64]!r}", param="solution")
            return {**_row(found, whole=True), "answer": found.answer, "checks": found.checks}

        return await answer(http, find)

    async def purge(self, http: HttpRequest) -> Response:
        """POST /v1/library/purge."""
        wanted = await body_of(http, Purge, self._service.settings.server)
        if not wanted.ids and wanted.tenant is None and wanted.older_than_s is None:
            raise bad_request("Say what to forget: 'ids', 'tenant' or 'older_than_s'", param="body")

        async def act() -> Any:
            before = None if wanted.older_than_s is None else self._clock() - wanted.older_than_s
            library = self._service.library.library
            return {"purged": library.purge(ids=frozenset(wanted.ids), tenant=wanted.tenant, older_than=before)}

        return await answer(http, act)

    async def dry_run(self, http: HttpRequest) -> Response:
        """POST /v1/library/dry-run: nothing is learned, counted or given; stored code runs, and is checked."""
        wanted = await body_of(http, DryRun, self._service.settings.server)
        request = self._read(http, wanted)
        if wanted.tenant is not None:
            request = replace(request, key_id=None if wanted.tenant == "loopback" else wanted.tenant)

        async def find() -> Any:
            looked, reason = await self._service.library.dry_run(request)
            shown = library_view(looked) or {"result": "not asked"}
            return {**shown, "reason": reason, "solution": looked.solution if looked else None}

        return await answer(http, find)


def _row(solution: Solution, *, whole: bool = False) -> dict[str, Any]:
    return {
        "id": solution.id,
        "tenant": solution.tenant,
        "kind": solution.kind,
        "request": solution.request if whole else solution.request[:_SHOWN_CHARS],
        "made_at": solution.made_at,
        "artifact": solution.artifact,
        "parameters": {each.name: each.value for each in solution.parameters},
        "metrics": dict(solution.metrics),
        "trust": asdict(solution.trust),
    }


_READS = (400, 401, 403, 404, 429, 500, 503)


def library_routes(surface: LibrarySurface) -> Sequence[RouteSpec]:
    """Everything under /v1/library."""
    base, reads = "/v1/library", {"tag": "operator", "errors": _READS}
    writes: dict[str, Any] = {"tag": "operator", "errors": (*_READS, 409, 413, 422)}
    listed = (
        in_query("tenant", {"type": "string", "maxLength": 128}),
        in_query("limit", {"type": "integer", "minimum": 1, "maximum": MAX_LISTED}),
    )
    rows: list[tuple[str, str, Any, str, dict[str, Any]]] = [
        ("GET", base, surface.stats, "How the library of solutions stands", reads),
        ("GET", f"{base}/solutions", surface.solutions, "Solutions, the newest first", {**reads, "parameters": listed}),
        (
            "GET",
            f"{base}/solutions/{{solution}}",
            surface.show,
            "One solution: request, answer, code, checks, trust",
            {**reads, "parameters": (in_path("solution"),)},
        ),
        ("POST", f"{base}/purge", surface.purge, "Forget solutions", {**writes, "body": Purge.model_json_schema()}),
        (
            "POST",
            f"{base}/dry-run",
            surface.dry_run,
            "What would come of a request now",
            {**writes, "body": DryRun.model_json_schema()},
        ),
    ]
    return [
        RouteSpec(path=path, methods=(method,), endpoint=endpoint, summary=summary, **more)
        for method, path, endpoint, summary, more in rows
    ]
