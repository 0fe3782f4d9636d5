"""What the CLI and the console read, and keys: requests, traces, nodes, backends, status.

Mounted by app.py; sees the daemon only through ``Service``. Traces and keys need the operator key, because they hold what other
clients said; nodes, backends and status are for any client. Errors are RFC 9457 problem documents.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Literal
from urllib.parse import urlsplit, urlunsplit

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from agents.records import Json, NotFound
from agents.strategies.compose import strategy_name
from runtime.accounts import Limits
from runtime.api.auth import principal_of, require_operator
from runtime.api.body import SMALL_BYTES, read_model
from runtime.api.errors import bad_request
from runtime.api.openai_models import MAX_BUDGET_TOKENS, MAX_BUDGET_USD
from runtime.api.query import whole_number
from runtime.api.wire import json_response
from runtime.cluster import NodeStatus
from runtime.records import BackendStatus, Service

_DEFAULT_LIMIT = 50
_MAX_LIMIT = 500
_MAX_ID_CHARS = 128


class NewKey(BaseModel):
    """The body of POST /v1/keys."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$")]
    scope: Literal["client", "operator"] = "client"
    usd_per_day: Annotated[float, Field(ge=0, le=MAX_BUDGET_USD, allow_inf_nan=False)] | None = None
    tokens_per_day: Annotated[int, Field(ge=0, le=MAX_BUDGET_TOKENS)] | None = None


class KeyLimits(BaseModel):
    """The body of PATCH /v1/keys/{id}: a field that is not there stays, null takes the limit away (the default holds)."""

    model_config = ConfigDict(extra="forbid", strict=True)

    usd_per_day: Annotated[float, Field(ge=0, le=MAX_BUDGET_USD, allow_inf_nan=False)] | None = None
    tokens_per_day: Annotated[int, Field(ge=0, le=MAX_BUDGET_TOKENS)] | None = None


class OperatorSurface:
    """The endpoints. ``clock`` gives epoch seconds."""

    def __init__(self, service: Service, *, clock: Callable[[], float] = time.time) -> None:
        self._service = service
        self._clock = clock

    async def requests(self, http: HttpRequest) -> Response:
        """GET /v1/requests?limit=&before=: the newest first; ``before`` is the last id of the page before."""
        require_operator(http)
        limit = whole_number(http, "limit", low=1, high=_MAX_LIMIT, default=_DEFAULT_LIMIT)
        before = http.query_params.get("before") or None
        if before is not None and len(before) > _MAX_ID_CHARS:
            raise bad_request("'before' is not a request's id", param="before")
        rows = await self._service.requests(limit=limit, before=before)
        return json_response({"data": rows})

    async def nodes(self, http: HttpRequest) -> Response:
        """GET /v1/nodes."""
        return json_response({"data": [node_view(node) for node in self._service.nodes()]})

    async def backends(self, http: HttpRequest) -> Response:
        """GET /v1/backends."""
        return json_response({"data": [backend_view(backend) for backend in self._service.backends()]})

    async def status(self, http: HttpRequest) -> Response:
        """GET /v1/status: version, uptime, readiness, the pool and why, the cluster."""
        service = self._service
        parts = dict(service.readiness())
        cluster = service.cluster()
        backends = service.backends()
        return json_response(
            {
                "version": product_version(),
                "started_at": service.started_at,
                "uptime_s": max(0.0, self._clock() - service.started_at),
                "ready": all(state == "ok" for state in parts.values()),
                "readiness": parts,
                "pool_reason": service.pool_reason,
                "registry": service.registry.status(),
                "sandbox": dict(service.sandbox()),
                "simulated": bool(backends) and all(backend.spec.simulated for backend in backends),
                "backends": [backend.spec.name for backend in backends],
                "strategies": list(service.strategies()),
                "cluster": {
                    "kind": cluster.kind,
                    "live": cluster.live,
                    "warm": cluster.warm,
                    "restarts": cluster.restarts,
                    "detail": cluster.detail,
                },
            }
        )

    async def list_keys(self, http: HttpRequest) -> Response:
        """GET /v1/keys: never a secret."""
        require_operator(http)
        return json_response({"data": await self._service.list_keys()})

    async def create_key(self, http: HttpRequest) -> Response:
        """POST /v1/keys ``{"name", "scope", "usd_per_day", "tokens_per_day"}``: 201 with the secret, which is shown this once."""
        require_operator(http)
        wanted = await read_model(http, NewKey, self._service.settings.server, most=SMALL_BYTES)
        limits = Limits(usd=wanted.usd_per_day, tokens=wanted.tokens_per_day)
        key_id, secret = await self._service.create_key(name=wanted.name, scope=wanted.scope, limits=limits)
        body: Json = {"id": key_id, "name": wanted.name, "scope": wanted.scope, "secret": secret}
        return json_response(body, status=201, headers={"cache-control": "no-store"})

    async def limit_key(self, http: HttpRequest) -> Response:
        """PATCH /v1/keys/{id} ``{"usd_per_day", "tokens_per_day"}``: its budget a day, from the next call on."""
        require_operator(http)
        key_id = http.path_params["key_id"]
        wanted = await read_model(http, KeyLimits, self._service.settings.server, most=SMALL_BYTES)
        row = next((row for row in await self._service.list_keys() if row["id"] == key_id), None)
        if row is not None:
            given = {name: getattr(wanted, name) for name in wanted.model_fields_set}
            usd, tokens = ({**row, **given}.get(name) for name in ("usd_per_day", "tokens_per_day"))
            if await self._service.limit_key(key_id, Limits(usd=usd, tokens=tokens)):
                return json_response({"id": key_id, "name": row["name"], "usd_per_day": usd, "tokens_per_day": tokens})
        raise NotFound(f"No key {key_id[:_MAX_ID_CHARS]!r} is in use", param="id")

    async def budget(self, http: HttpRequest) -> Response:
        """GET /v1/budget: an operator sees every account of today, a client the day's and its own."""
        principal = principal_of(http)
        return json_response(self._service.budget(key_id=principal.key_id, whole=principal.operator))

    async def revoke_key(self, http: HttpRequest) -> Response:
        """DELETE /v1/keys/{id}."""
        require_operator(http)
        key_id = http.path_params["key_id"]
        if len(key_id) > _MAX_ID_CHARS or not await self._service.revoke_key(key_id):
            raise NotFound(f"No key {key_id[:_MAX_ID_CHARS]!r} is known", param="id")
        return Response(status_code=204)


def node_view(node: NodeStatus) -> dict[str, Json]:
    """A node as JSON."""
    spec = node.spec
    return {
        "id": spec.node_id,
        "name": spec.name,
        "role": spec.role,
        "speciality": spec.speciality,
        "locale": spec.locale,
        "strategy": strategy_name(spec.strategy),
        "backends": list(spec.backends),
        "state": node.state,
        "inflight": node.inflight,
        "max_concurrency": spec.max_concurrency,
        "handled": node.handled,
        "failed": node.failed,
        "restarts": node.restarts,
        "started_at": node.started_at,
        "pid": node.pid,
        "host": node.host,
    }


def backend_view(backend: BackendStatus) -> dict[str, Json]:
    """A backend as JSON, without its key and without credentials in its URL."""
    spec = backend.spec
    return {
        "name": spec.name,
        "kind": spec.kind,
        "model": spec.model,
        "base_url": _bare_url(spec.base_url),
        "aliases": list(spec.aliases),
        "simulated": spec.simulated,
        "weight": spec.weight,
        "capabilities": sorted(spec.capabilities),
        "schema_mode": spec.schema_mode,
        "max_concurrency": spec.max_concurrency,
        "requests_per_minute": spec.requests_per_minute,
        "input_usd_per_mtok": spec.input_usd_per_mtok,
        "output_usd_per_mtok": spec.output_usd_per_mtok,
        "health": {"state": backend.health.state, "retry_in_s": backend.health.retry_in_s},
        "inflight": backend.inflight,
        "queued": backend.queued,
        "remaining_requests": backend.remaining_requests,
        "reset_s": backend.reset_s,
    }


@lru_cache(maxsize=1)
def product_version() -> str:
    """The installed distribution's version."""
    try:
        return version("morphogen")
    except PackageNotFoundError:
        return "unknown"


def _bare_url(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))
