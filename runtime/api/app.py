"""The HTTP application: routes, the gate in front of them, and what every error looks like.

``create_app`` is called by daemon.py (and by tests with a fake service). Sees the daemon only through ``Service``.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import HTMLResponse, Response

from agents.records import AgentError, RequestId
from runtime.api.auth import Gate, new_request_id
from runtime.api.config_routes import ConfigSurface
from runtime.api.docs import docs_page
from runtime.api.errors import ApiError, Fault, fault_response, from_agent_error, from_http_status
from runtime.api.escalations import EscalationSurface, escalation_routes
from runtime.api.events import EventSurface, event_routes
from runtime.api.health import HealthSurface
from runtime.api.idempotency import Idempotency
from runtime.api.library import LibrarySurface, library_routes
from runtime.api.mock import MockSurface
from runtime.api.native import NativeSurface
from runtime.api.native_reads import NativeReads
from runtime.api.native_routes import native_routes
from runtime.api.observing import ObservingSurface, observing_routes
from runtime.api.openai import OpenAISurface
from runtime.api.operator import OperatorSurface, product_version
from runtime.api.patterns import PatternSurface, pattern_routes
from runtime.api.registry import RegistrySurface
from runtime.api.registry_reads import RegistryReads
from runtime.api.registry_routes import registry_routes
from runtime.api.routers import RoutersSurface, router_routes
from runtime.api.routes import ERROR_SCHEMA, PROBLEM_SCHEMA, RouteSpec, describe, route_table
from runtime.api.routing import RoutingSurface, routing_routes
from runtime.api.topology import TopologySurface, topology_routes
from runtime.records import Service

log = logging.getLogger(__name__)

_CLIENT_CLOSED = 499
"""What proxies log for a client that hung up; nobody receives it."""


class Api(FastAPI):
    """FastAPI whose /openapi.json holds the table's routes besides those that other rooms may add with its decorators."""

    specs: Sequence[RouteSpec] = ()

    def openapi(self) -> dict[str, Any]:
        """The document; made once."""
        if self.openapi_schema is None:
            document = get_openapi(title=self.title, version=self.version, routes=self.routes)
            document["paths"] = {**describe(self.specs), **document.get("paths", {})}
            components = document.setdefault("components", {})
            components.setdefault("schemas", {}).update({"Error": ERROR_SCHEMA, "Problem": PROBLEM_SCHEMA})
            components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
            document["security"] = [{"key": []}, {}]
            self.openapi_schema = document
        return self.openapi_schema


def create_app(
    service: Service,
    *,
    clock: Callable[[], float] = time.time,
    new_id: Callable[[], RequestId] = new_request_id,
) -> FastAPI:
    """The application over ``service``. ``clock`` gives epoch seconds, ``new_id`` a fresh request id."""
    mock = MockSurface(service)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await mock.aclose()

    app = Api(
        title="Morphogen",
        version=product_version(),
        lifespan=lifespan,
        docs_url=None,  # FastAPI's page loads its script from another host; ours is in docs.py
        redoc_url=None,
        redirect_slashes=False,
        # runtime/telemetry.py makes our spans; FastAPI's own would cost every request and say the same again.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.service = service
    app.state.mock = mock
    native_surface = NativeSurface(service, clock=clock)
    native = native_routes(native_surface, NativeReads(service, clock=clock))
    registry = registry_routes(RegistrySurface(service), RegistryReads(service))
    operator, health = OperatorSurface(service, clock=clock), HealthSurface(service)
    keys = Idempotency(service, clock=clock)
    openai, more = OpenAISurface(service, clock=clock), [*native, *registry, *escalation_routes(EscalationSurface(service))]
    more += library_routes(LibrarySurface(service, clock=clock, read=native_surface.request_of))
    more += pattern_routes(PatternSurface(service))
    more += routing_routes(RoutingSurface(service, clock=clock))
    more += [*router_routes(RoutersSurface(service)), *topology_routes(TopologySurface(service))]
    more += [*observing_routes(ObservingSurface(service)), *event_routes(EventSurface(service))]
    app.specs = route_table(openai, mock, more, operator, ConfigSurface(service), health, keys)
    for spec in app.specs:
        app.add_route(spec.path, spec.endpoint, methods=list(spec.methods), include_in_schema=False)
    # Docs come last in the walk down the routes: they are asked for least.
    app.add_route("/docs", _docs(app), methods=["GET"], include_in_schema=False)
    app.router.routes.sort(key=lambda route: getattr(route, "path", "") in ("/docs", "/openapi.json"))
    app.add_middleware(Gate, service=service, new_id=new_id)
    _handle_errors(app)
    return app


def _docs(app: FastAPI) -> Callable[[HttpRequest], Awaitable[Response]]:
    async def docs(http: HttpRequest) -> Response:
        return HTMLResponse(docs_page(app.openapi(), base_url=str(http.base_url)))

    return docs


def _handle_errors(app: FastAPI) -> None:
    async def api_error(http: HttpRequest, error: Exception) -> Response:
        assert isinstance(error, ApiError)
        return _respond(http, error.fault)

    async def agent_error(http: HttpRequest, error: Exception) -> Response:
        assert isinstance(error, AgentError)
        return _respond(http, from_agent_error(error))

    async def http_error(http: HttpRequest, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        fault = from_http_status(error.status_code, method=http.method, path=http.url.path)
        return _respond(http, fault, error.headers)

    async def hung_up(http: HttpRequest, error: Exception) -> Response:
        return Response(status_code=_CLIENT_CLOSED)

    async def unexpected(http: HttpRequest, error: Exception) -> Response:
        # Starlette sends this and raises the error again, so that the server logs it with its traceback as well.
        log.error("Request %s failed unexpectedly", _request_id(http), exc_info=error)
        message = "The server had an error while processing the request; its log says more under this request's id"
        return _respond(http, Fault(status=500, type="server_error", code="internal_error", message=message))

    app.add_exception_handler(ApiError, api_error)
    app.add_exception_handler(AgentError, agent_error)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(ClientDisconnect, hung_up)
    app.add_exception_handler(Exception, unexpected)


def _respond(http: HttpRequest, fault: Fault, headers: Mapping[str, str] | None = None) -> Response:
    response = fault_response(fault, path=http.url.path, request_id=_request_id(http))
    for name, value in (headers or {}).items():
        response.headers[name] = value
    return response


def _request_id(http: HttpRequest) -> str | None:
    request_id: str | None = (http.scope.get("state") or {}).get("request_id")
    return request_id
