"""``Idempotency-Key``: a POST that is sent again gets the first one's reply, and the work is done once.

Wrapped around every POST by routes.py. What is kept is in the ledger, so that it holds over a restart; what is being worked on is
in memory, because work that the daemon's end cut off was never answered and is done again. (Accepted asynchronous requests are
written together with their reply, by the native surface.)

Only replies that went well are kept, for 24 hours: a refused or failed POST may be sent again with the same key. A streamed reply
is kept as its bytes and comes again at once, as a short stream.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.types import Receive

from runtime.api.auth import principal_of, request_id_of
from runtime.api.body import read_body, unless_hung_up
from runtime.api.errors import ApiError, Fault, bad_request
from runtime.api.streams import MAX_KEPT_BYTES, EventStream
from runtime.jobs.records import Caller, StoredReply
from runtime.records import Service

Endpoint = Callable[[HttpRequest], Awaitable[Response]]

MAX_KEY_CHARS: Final = 255
RETRY_S: Final = 2.0
_SHAPING_HEADERS: Final = ("x-response-shape", "x-llm-backend", "accept")
_NOT_KEPT: Final = frozenset({"content-length", "date", "connection", "x-request-id"})


@dataclass(slots=True)
class Claim:
    """A key whose request is being worked on. ``settled``: its reply is written."""

    caller: Caller
    digest: bytes
    settled: bool = False
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def reply(self, *, request_id: str, status: int, headers: dict[str, str], body: bytes | None, at: float) -> StoredReply:
        """What is kept of the reply."""
        return StoredReply(digest=self.digest, at=at, status=status, headers=headers, body=body, request_id=request_id)


def claim_of(http: HttpRequest) -> Claim | None:
    """The claim under which an endpoint works; None where the client sent no key."""
    claim: Claim | None = http.scope["state"].get("idempotency")
    return claim


def read_key(value: str) -> str:
    """Raises ApiError 400 unless it is 1 to 255 printable ASCII characters."""
    if not 1 <= len(value) <= MAX_KEY_CHARS or not all(" " <= char <= "~" for char in value):
        raise bad_request(f"'Idempotency-Key' must be 1 to {MAX_KEY_CHARS} printable characters", param="Idempotency-Key")
    return value


def digest_of(method: str, target: str, shaping: tuple[str | None, ...], raw: bytes) -> bytes:
    """What makes two requests the same: method, path and query, what shapes the answer, and the body whatever its spacing."""
    try:
        body = orjson.dumps(orjson.loads(raw), option=orjson.OPT_SORT_KEYS)
    except (orjson.JSONDecodeError, TypeError):  # no JSON, or nested deeper than it can be written
        body = raw
    return hashlib.sha256(orjson.dumps([method, target, *shaping]) + b"\0" + body).digest()


def check_same(digest: bytes, other: bytes) -> None:
    """Raises ApiError 422 where one key came with two requests."""
    if digest != other:
        message = "This Idempotency-Key was used for another request; a new request needs a new key"
        fault = Fault(
            status=422, type="invalid_request_error", code="idempotency_key_reused", message=message, param="Idempotency-Key"
        )
        raise ApiError(fault)


class Idempotency:
    """One daemon's keys. ``clock`` gives epoch seconds."""

    def __init__(self, service: Service, *, clock: Callable[[], float] = time.time) -> None:
        self._service = service
        self._clock = clock
        self._claims: dict[Caller, Claim] = {}

    def wrap(self, endpoint: Endpoint, *, secret: bool = False) -> Endpoint:
        """``endpoint`` with keys. ``secret``: its reply must not be kept; a second POST is refused, and does nothing."""

        async def handle(http: HttpRequest) -> Response:
            key = http.headers.get("idempotency-key")
            if key is None or http.method != "POST":
                return await endpoint(http)
            return await self._handle(http, read_key(key), endpoint, secret)

        return handle

    async def _handle(self, http: HttpRequest, key: str, endpoint: Endpoint, secret: bool) -> Response:
        raw = await read_body(http, max_bytes=self._service.settings.server.max_body_bytes)
        target = f"{http.url.path}?{http.url.query}"
        digest = digest_of(http.method, target, tuple(http.headers.get(name) for name in _SHAPING_HEADERS), raw)
        claim = Claim(Caller(key_id=principal_of(http).key_id, key=key), digest)
        await unless_hung_up(http.receive, self._claim(claim))
        streaming = False
        try:
            kept = await self._service.replies.find(claim.caller)
            if kept is not None:
                check_same(digest, kept.digest)
                self._service.replayed()
                return _again(kept)
            http.scope["state"]["idempotency"] = claim
            response = await endpoint(HttpRequest(http.scope, _replayed(raw, http.receive)))
            if isinstance(response, EventStream):
                response.keeper, streaming = _Keeper(self, claim, response, request_id_of(http)), True
            elif 200 <= response.status_code < 300 and not claim.settled:
                body = bytes(response.body)
                await self.settle(claim, response, request_id_of(http), None if secret or len(body) > MAX_KEPT_BYTES else body)
            return response
        finally:
            if not streaming:
                self.release(claim)

    async def _claim(self, claim: Claim) -> None:
        """Wait until nobody else works under this key. Raises ApiError 409 when that takes longer than a request may."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._service.settings.requests.default_deadline_s
        while (other := self._claims.get(claim.caller)) is not None:
            check_same(claim.digest, other.digest)
            try:
                await asyncio.wait_for(other.ended.wait(), max(0.0, until - loop.time()))
            except TimeoutError:
                message = "The first request with this Idempotency-Key is still being worked on"
                fault = Fault(
                    status=409, type="invalid_request_error", code="still_running", message=message, retry_after_s=RETRY_S
                )
                raise ApiError(fault) from None
        self._claims[claim.caller] = claim

    async def settle(self, claim: Claim, response: Response, request_id: str, body: bytes | None) -> None:
        """Keep the reply; durable on return."""
        headers = {name: value for name, value in response.headers.items() if name not in _NOT_KEPT}
        reply = claim.reply(request_id=request_id, status=response.status_code, headers=headers, body=body, at=self._clock())
        await self._service.replies.keep(claim.caller, reply)
        claim.settled = True

    def release(self, claim: Claim) -> None:
        """Let the next one with this key in."""
        if self._claims.get(claim.caller) is claim:
            del self._claims[claim.caller]
        claim.ended.set()


@dataclass(frozen=True, slots=True)
class _Keeper:
    """Keeps a streamed reply when it has gone well."""

    keys: Idempotency
    claim: Claim
    response: Response
    request_id: str

    async def keep(self, body: bytes | None) -> None:
        await self.keys.settle(self.claim, self.response, self.request_id, body)

    def release(self) -> None:
        self.keys.release(self.claim)


def _again(kept: StoredReply) -> Response:
    if kept.body is None:
        message = f"This was done once, as {kept.request_id}; its reply is too large, or too secret, to be given again"
        raise ApiError(Fault(status=409, type="invalid_request_error", code="reply_not_kept", message=message))
    return Response(kept.body, status_code=kept.status, headers={**kept.headers, "idempotent-replayed": "true"})


def _replayed(raw: bytes, receive: Receive) -> Receive:
    """The body again, which has been read, and then what the client really does."""
    first: list[dict[str, Any]] = [{"type": "http.request", "body": raw, "more_body": False}]

    async def again() -> Any:
        return first.pop() if first else await receive()

    return again
