"""The operator's view of the router, its experiments, and the report.

Mounted by app.py; sees the daemon only through ``Service``.
All of it needs the operator key: decisions tell what clients asked for and what it cost.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from agents.records import Json, NotFound
from runtime.api.auth import require_operator
from runtime.api.body import read_model
from runtime.api.errors import ApiError, Fault, bad_request
from runtime.api.routes import Endpoint, RouteSpec, in_path, in_query
from runtime.api.wire import dumps
from runtime.learner.trials import ExperimentBusy
from runtime.ledger.records import LedgerError
from runtime.records import Service
from runtime.routing.records import RoutingError

_ERRORS = (400, 401, 403, 404, 409, 413, 429, 500, 503)
_MAX_ID_CHARS: Final = 128
_MAX_BODY_BYTES: Final = 65_536
_UNITS: Final = {"m": 60.0, "h": 3600.0, "d": 86_400.0}
_WINDOW: Final = re.compile(r"(\d{1,4})([mhd])")
MAX_WINDOW_S: Final = 366 * 86_400.0
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class NewExperiment(BaseModel):
    """The body of POST /v1/routes/experiments."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True)

    changes: dict[str, float | str] = Field(min_length=1, max_length=8)
    """The challenger's settings of [routing], where they differ."""
    share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Of the conversations, so many are the challenger's."""
    holdout: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """So many stay with the champion for good."""
    alpha: Annotated[float, Field(ge=1e-6, lt=1)] = 0.05
    """How often all its intervals together may be wrong."""
    min_gain: _NotNegative = 0.0
    """The gain that is worth a change."""
    min_requests: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    """Judged requests of each side before anything is adopted."""
    min_dwell_s: _NotNegative = 3600.0
    """Seconds before anything is adopted."""
    max_requests: Annotated[int, Field(ge=1, le=10_000_000)] = 5000
    """Requests of the challenger after which it is extended or given up."""
    max_s: _Positive = 7 * 86_400.0
    """Seconds after which it is extended or given up."""
    slow_s: _Positive = 30.0
    """The guard on latency: the champion answers 95 of 100 requests faster."""
    cost_cap_usd: _Positive = 0.1
    """The guard on cost: a request counts this much at the most."""


class NewStop(BaseModel):
    """The body of POST /v1/routes/experiments/{id}/stop."""

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True, hide_input_in_errors=True)

    why: Annotated[str, Field(max_length=500)] = ""
    """For the record."""


class RoutingSurface:
    """The endpoints. ``clock`` gives epoch seconds."""

    def __init__(self, service: Service, *, clock: Callable[[], float] = time.time) -> None:
        self._service = service
        self._clock = clock

    async def show(self, http: HttpRequest) -> Response:
        """GET /v1/routes."""
        return await self._answer(http, self._service.routing.routes)

    async def explain(self, http: HttpRequest) -> Response:
        """GET /v1/routes/decisions/{request_id}: candidates with estimates and intervals, and why this one."""
        name = str(http.path_params["request_id"])

        async def find() -> Json:
            found = await self._service.routing.explained(name) if len(name) <= _MAX_ID_CHARS else []
            if not found:
                raise NotFound(f"No decision of the router is known for {name[:_MAX_ID_CHARS]!r}", param="request_id")
            return {"data": found}

        return await self._answer(http, find)

    async def experiments(self, http: HttpRequest) -> Response:
        """GET /v1/routes/experiments: the newest first."""

        async def listed() -> Json:
            return {"data": await self._service.routing.experiments()}

        return await self._answer(http, listed)

    async def start(self, http: HttpRequest) -> Response:
        """POST /v1/routes/experiments: first in the shadow of the log, then on a share of the traffic."""
        require_operator(http)
        given = await read_model(http, NewExperiment, self._service.settings.server, most=_MAX_BODY_BYTES)
        terms = given.model_dump(exclude={"changes"})

        return await self._answer(http, lambda: self._service.routing.start_experiment(given.changes, terms), status=201)

    async def stop(self, http: HttpRequest) -> Response:
        """POST /v1/routes/experiments/{id}/stop: the champion stays."""
        require_operator(http)
        given = await read_model(http, NewStop, self._service.settings.server, most=_MAX_BODY_BYTES)
        name = str(http.path_params["experiment_id"])[:_MAX_ID_CHARS]

        async def ended() -> Json:
            found = await self._service.routing.stop_experiment(name, given.why)
            if found is None:
                raise NotFound(f"There is no experiment {name!r}", param="experiment_id")
            return found

        return await self._answer(http, ended)

    async def report(self, http: HttpRequest) -> Response:
        """GET /v1/report?window=24h: the measures of a window that ends now (minutes, hours or days: 30m, 24h, 7d)."""
        text = http.query_params.get("window") or "24h"
        found = _WINDOW.fullmatch(text)
        window_s = int(found[1]) * _UNITS[found[2]] if found else 0.0
        if not 0 < window_s <= MAX_WINDOW_S:
            require_operator(http)
            raise bad_request("'window' must be minutes, hours or days up to a year, as in 30m, 24h or 7d", param="window")
        now = self._clock()
        return await self._answer(http, lambda: self._service.routing.report(since=now - window_s, until=now))

    async def _answer(self, http: HttpRequest, act: Callable[[], Any], *, status: int = 200) -> Response:
        """What ``act`` gives as JSON, for an operator."""
        require_operator(http)
        try:
            return Response(dumps(await act()), status_code=status, media_type="application/json")
        except ExperimentBusy as error:
            fault = Fault(status=409, type="invalid_request_error", code="conflict", message=str(error), param=error.field)
            raise ApiError(fault) from error
        except RoutingError as error:
            raise bad_request(str(error), param=error.field) from error
        except LedgerError as error:
            fault = Fault(status=503, type="server_error", code="ledger_unavailable", message=str(error), retry_after_s=5.0)
            raise ApiError(fault) from error


def routing_routes(surface: RoutingSurface) -> Sequence[RouteSpec]:
    """Everything under /v1/routes, and the report."""
    window = in_query("window", {"type": "string", "pattern": "^[0-9]{1,4}[mhd]$", "default": "24h"})
    experiments = "/v1/routes/experiments"
    object_ = {"type": "object"}
    rows: list[tuple[str, str, Endpoint, str, dict[str, Any]]] = [
        ("GET", "/v1/routes", surface.show, "How the router stands, and its policy in a few rules", {}),
        (
            "GET",
            "/v1/routes/decisions/{request_id}",
            surface.explain,
            "Why a request went where it went",
            {"parameters": (in_path("request_id"),)},
        ),
        ("GET", experiments, surface.experiments, "Router settings that were tried", {}),
        (
            "POST",
            experiments,
            surface.start,
            "Try other settings against those in force",
            {"body": NewExperiment.model_json_schema(), "ok": {201: object_}},
        ),
        (
            "POST",
            f"{experiments}/{{experiment_id}}/stop",
            surface.stop,
            "End an experiment",
            {"parameters": (in_path("experiment_id"),), "body": NewStop.model_json_schema()},
        ),
        ("GET", "/v1/report", surface.report, "Measures of a window", {"parameters": (window,)}),
    ]
    return [
        RouteSpec(path=path, methods=(method,), endpoint=endpoint, summary=summary, tag="operator", errors=_ERRORS, **more)
        for method, path, endpoint, summary, more in rows
    ]
