"""The operator's view of generated routers: what there is, another attempt, a word on one that won, and back.

Mounted by app.py; sees the daemon only through ``Service``. All of it needs the operator key.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from agents.records import Json, NotFound
from registry.records import RegistryError, RegistryUnavailable
from runtime.api.auth import require_operator
from runtime.api.body import read_model
from runtime.api.errors import ApiError, Fault
from runtime.api.routes import Endpoint, RouteSpec, in_path
from runtime.api.wire import dumps
from runtime.learner.trials import ExperimentBusy
from runtime.ledger.records import LedgerError
from runtime.records import Service
from runtime.topology.records import TopologyError
from sandbox.records import SandboxUnavailable

_ERRORS: Final = (400, 401, 403, 404, 409, 413, 429, 500, 503)
_MAX_ID_CHARS: Final = 128
_MAX_BODY_BYTES: Final = 8_192
BASE: Final = "/v1/routes/routers"


class Word(BaseModel):
    """The body of POST /v1/routes/routers/{version}/decline; {} will do."""

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True, hide_input_in_errors=True)

    why: Annotated[str, Field(max_length=500)] = ""
    """For the record."""


class RoutersSurface:
    """The endpoints."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def all(self, http: HttpRequest) -> Response:
        """GET /v1/routes/routers."""
        return await self._answer(http, self._service.generated.all)

    async def one(self, http: HttpRequest) -> Response:
        """GET /v1/routes/routers/{version}."""
        return await self._about(http, self._service.generated.one)

    async def evolve(self, http: HttpRequest) -> Response:
        """POST /v1/routes/routers: one attempt at a better router, now."""
        return await self._answer(http, self._service.generated.evolve)

    async def adopt(self, http: HttpRequest) -> Response:
        """POST /v1/routes/routers/{version}/adopt: one that won its experiment comes into force."""
        return await self._about(http, self._service.generated.adopt)

    async def decline(self, http: HttpRequest) -> Response:
        """POST /v1/routes/routers/{version}/decline."""
        require_operator(http)
        given = await read_model(http, Word, self._service.settings.server, most=_MAX_BODY_BYTES)
        return await self._about(http, lambda version: self._service.generated.decline(version, given.why))

    async def back(self, http: HttpRequest) -> Response:
        """POST /v1/routes/routers/back: the router before the one in force, or the learner alone."""

        async def act() -> Json:
            found = await self._service.generated.back()
            if found is None:
                raise NotFound("No router is in force", param="version")
            return found

        return await self._answer(http, act)

    async def _about(self, http: HttpRequest, act: Callable[[str], Awaitable[Json]]) -> Response:
        name = str(http.path_params["version"])[:_MAX_ID_CHARS]

        async def find() -> Json:
            found = await act(name)
            if found is None:
                raise NotFound(f"There is no router {name!r}, or it does not wait for a word", param="version")
            return found

        return await self._answer(http, find)

    @staticmethod
    async def _answer(http: HttpRequest, act: Callable[[], Awaitable[Json]]) -> Response:
        """What ``act`` gives as JSON, for an operator."""
        require_operator(http)
        try:
            return Response(dumps(await act()), media_type="application/json")
        except ExperimentBusy as error:
            fault = Fault(status=409, type="invalid_request_error", code="conflict", message=str(error), param=error.field)
            raise ApiError(fault) from error
        except (RegistryUnavailable, SandboxUnavailable) as error:
            raise _away("registry_unavailable", error) from error
        except LedgerError as error:
            raise _away("ledger_unavailable", error) from error
        except (RegistryError, TopologyError) as error:
            fault = Fault(status=409, type="invalid_request_error", code="conflict", message=str(error), param="version")
            raise ApiError(fault) from error


def _away(code: str, error: Exception) -> ApiError:
    return ApiError(Fault(status=503, type="server_error", code=code, message=str(error), retry_after_s=5.0))


def router_routes(surface: RoutersSurface) -> Sequence[RouteSpec]:
    """Everything under /v1/routes/routers."""
    version = (in_path("version"),)
    rows: list[tuple[str, str, Endpoint, str, dict[str, Any]]] = [
        ("GET", BASE, surface.all, "Generated routers, attempts at better ones, and the prompts for them", {}),
        ("POST", BASE, surface.evolve, "One attempt at a better router, now", {}),
        ("POST", f"{BASE}/back", surface.back, "The router before the one in force, or the learner alone", {}),
        ("GET", f"{BASE}/{{version}}", surface.one, "A router with its steps and code", {"parameters": version}),
        ("POST", f"{BASE}/{{version}}/adopt", surface.adopt, "Put a router that won into force", {"parameters": version}),
        (
            "POST",
            f"{BASE}/{{version}}/decline",
            surface.decline,
            "Put a router that won away",
            {"parameters": version, "body": Word.model_json_schema()},
        ),
    ]
    return [
        RouteSpec(path=path, methods=(method,), endpoint=endpoint, summary=summary, tag="operator", errors=_ERRORS, **more)
        for method, path, endpoint, summary, more in rows
    ]
