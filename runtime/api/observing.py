"""The network's analysis of itself, and what a proposal would have done. Mounted by app.py; sees the daemon only through
``Service``.

Needs the operator key: what is measured of patterns and nodes tells what clients ask for.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from agents.records import Json, NotFound
from runtime.api.auth import require_operator
from runtime.api.errors import ApiError, Fault
from runtime.api.routes import RouteSpec, in_path
from runtime.api.wire import json_response, mark
from runtime.ledger.records import LedgerError
from runtime.records import Service
from runtime.topology.records import UnknownProposal

_ERRORS: Final = (401, 403, 404, 429, 500, 503)
_MAX_ID_CHARS: Final = 128


class ObservingSurface:
    """The endpoints."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def analysis(self, http: HttpRequest) -> Response:
        """GET /v1/topology/analysis."""
        return await self._answer(http, self._service.observing.analysis)

    async def analyse(self, http: HttpRequest) -> Response:
        """POST /v1/topology/analysis: look now, and ask a model as well."""
        return await self._answer(http, self._service.observing.analyse)

    async def simulate(self, http: HttpRequest) -> Response:
        """POST /v1/proposals/{id}/simulate: nothing changes by it."""
        name = str(http.path_params["proposal_id"])[:_MAX_ID_CHARS]
        return await self._answer(http, lambda: self._service.observing.simulated(name))

    async def _answer(self, http: HttpRequest, work: Callable[[], Awaitable[dict[str, Json]]]) -> Response:
        require_operator(http)
        try:
            found = await work()
        except UnknownProposal as error:
            raise NotFound(error.message, param=error.param) from error
        except LedgerError as error:
            fault = Fault(status=503, type="server_error", code="ledger_unavailable", message=str(error), retry_after_s=5.0)
            raise ApiError(fault) from error
        return json_response(found, headers=mark(simulated=bool(found.get("simulated"))))


def observing_routes(surface: ObservingSurface) -> Sequence[RouteSpec]:
    """Under /v1/topology/analysis and /v1/proposals."""
    analysis, one = "/v1/topology/analysis", "/v1/proposals/{proposal_id}/simulate"
    return [
        RouteSpec(
            path=analysis,
            methods=("GET",),
            endpoint=surface.analysis,
            summary="The network's analysis of itself: efficiency, what is wrong, what changes brought",
            tag="operator",
            errors=_ERRORS,
        ),
        RouteSpec(
            path=analysis,
            methods=("POST",),
            endpoint=surface.analyse,
            summary="Analyse now, and ask a model for recommendations",
            tag="operator",
            errors=_ERRORS,
        ),
        RouteSpec(
            path=one,
            methods=("POST",),
            endpoint=surface.simulate,
            summary="What a proposal would have done to the logged traffic",
            tag="operator",
            parameters=(in_path("proposal_id"),),
            errors=_ERRORS,
        ),
    ]
