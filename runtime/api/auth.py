"""The gate in front of every route, as pure ASGI: a request id, who is calling, and how many at once.

Wrapped around the application by app.py. Must not import a surface; it decides nothing about what a request asks.
"""

from __future__ import annotations

import ipaddress
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agents.records import RequestId
from runtime.api.errors import ApiError, Fault, fault_response
from runtime.api.wire import usd
from runtime.records import Principal, Service

OPEN_PATHS = frozenset({"/healthz", "/readyz", "/docs", "/openapi.json"})
"""Answered to anybody, also when the daemon is full: probes and the description of the API."""

_PAYING = ("/v1/chat/", "/v1/models", "/v1/embeddings", "/api/mock", "/v1/requests")
_HEADERS = frozenset({b"authorization", b"x-api-key", b"host", b"x-forwarded-for", b"forwarded"})


def new_request_id() -> RequestId:
    """Sorts by time (ms), unique by 64 random bits."""
    return RequestId(f"req_{time.time_ns() // 1_000_000:012x}{os.urandom(8).hex()}")


def principal_of(request: Request) -> Principal:
    """Who the gate let in."""
    principal: Principal = request.scope["state"]["principal"]
    return principal


def request_id_of(request: Request) -> RequestId:
    """The id that the gate gave this request."""
    request_id: RequestId = request.scope["state"]["request_id"]
    return request_id


def require_operator(request: Request) -> Principal:
    """The caller, when it is an operator. Raises ApiError 403."""
    principal = principal_of(request)
    if not principal.operator:
        message = "This call needs the operator key: send it as 'Authorization: Bearer …'"
        raise ApiError(Fault(status=403, type="permission_error", code="operator_key_required", message=message))
    return principal


class Gate:
    """ASGI middleware. ``scope["state"]`` gets ``request_id`` and ``principal``; responses get ``x-request-id``.

    Replies to clients, errors included, say what is left of their budget."""

    def __init__(self, app: ASGIApp, *, service: Service, new_id: Callable[[], RequestId] = new_request_id) -> None:
        self._app = app
        self._service = service
        self._new_id = new_id
        self._inflight = 0

    @property
    def inflight(self) -> int:
        return self._inflight

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = self._new_id()
        # A copy: uvicorn hands every request the lifespan's own state.
        scope["state"] = {**(scope.get("state") or {}), "request_id": request_id}
        raw_id = request_id.encode()

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                more = [] if any(k == b"x-request-id" for k, _ in message["headers"]) else [(b"x-request-id", raw_id)]
                if scope["path"].startswith(_PAYING):
                    more += self._budget_left(scope["state"])
                message["headers"] = [*message["headers"], *more]
            await send(message)

        if scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send_with_id)
            return
        fault = self._refusal(scope)
        if fault is not None:
            await fault_response(fault, path=scope["path"], request_id=request_id)(scope, receive, send)
            return
        self._inflight += 1
        try:
            await self._app(scope, receive, send_with_id)
        finally:
            self._inflight -= 1

    def _budget_left(self, state: Mapping[str, Any]) -> list[tuple[bytes, bytes]]:
        """What the caller may still spend, where anything limits it."""
        principal: Principal | None = state.get("principal")
        if principal is None:
            return []
        left_usd, left_tokens = self._service.budget_left(state["request_id"], principal.key_id)
        headers = []
        if left_usd is not None:
            headers.append((b"x-morphogen-budget-remaining-usd", usd(left_usd).encode()))
        if left_tokens is not None:
            headers.append((b"x-morphogen-budget-remaining-tokens", str(left_tokens).encode()))
        return headers

    def _refusal(self, scope: Scope) -> Fault | None:
        """Why this request is not let in; None lets it in and leaves its principal in the scope's state."""
        headers = {name: value for name, value in scope["headers"] if name in _HEADERS}
        principal = self._principal(headers, scope)
        if principal is None:
            given = b"authorization" in headers or b"x-api-key" in headers
            message = "Incorrect API key provided" if given else "An API key is needed: send it as 'Authorization: Bearer …'"
            return Fault(status=401, type="authentication_error", code="invalid_api_key", message=message)
        scope["state"]["principal"] = principal
        limit = self._service.settings.server.max_inflight
        if self._inflight >= limit:
            message = f"{limit} requests are being worked on; try again shortly"
            return Fault(status=429, type="rate_limit_error", code="overloaded", message=message, retry_after_s=1.0)
        return None

    def _principal(self, headers: dict[bytes, bytes], scope: Scope) -> Principal | None:
        loopback = is_loopback(scope.get("client"), headers, own_host=self._service.settings.server.host)
        return self._service.authenticate(_bearer(headers), loopback=loopback)


def _bearer(headers: dict[bytes, bytes]) -> str | None:
    raw = headers.get(b"authorization")
    if raw is not None:
        scheme, _, value = raw.decode("latin-1").partition(" ")
        return value.strip() if scheme.lower() == "bearer" and value.strip() else None
    key = headers.get(b"x-api-key")
    return key.decode("latin-1").strip() or None if key is not None else None


def is_loopback(client: Any, headers: dict[bytes, bytes], *, own_host: str) -> bool:
    """True when the peer is this machine and speaks for itself.

    A forwarding header means that a proxy speaks for somebody else; a Host that is a foreign name means that a web page had its
    name resolved to this machine (DNS rebinding). Neither gets the trust that loopback has.
    """
    if client is None or b"x-forwarded-for" in headers or b"forwarded" in headers:
        return False
    if not _is_loopback_address(str(client[0])):
        return False
    host = _host_name(headers.get(b"host", b"").decode("latin-1"))
    return host in ("", "localhost", own_host.lower()) or host.endswith(".localhost") or _is_address(host)


def _host_name(host: str) -> str:
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if host.count(":") == 1 else host


def _is_loopback_address(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return text == "localhost"
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
