"""One OpenAI-compatible endpoint over HTTP: the only place that calls httpx for chat and embeddings.

Called by pool.py through ``agents.llm.chat.Backend``. Concurrency and rate are the desk's business, retries the pool's; this room
bounds time and size, translates every foreign error, and closes the connection as soon as nobody listens, so that the backend
sees the hang-up. ``import httpx2 as httpx`` is all that a change of library takes.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import suppress
from functools import lru_cache

import httpx

from agents.calls import Usage
from agents.llm import wire
from agents.llm.chat import BackendSpec, ChatReply, ChatRequest, Chunk
from agents.llm.sse import StreamReader
from agents.records import (
    AgentError,
    BackendError,
    BackendGarbled,
    BackendRejected,
    BackendTimeout,
    BackendUnreachable,
    StreamBroken,
)

MAX_REPLY_BYTES = 32 * 2**20
MAX_ERROR_BYTES = 64 * 2**10
POOL_TIMEOUT_S = 2.0
LANE_CALLS = 8
"""Calls at once on one client; one more gets another client. httpx walks over all connections and calls of a client whenever a
call begins or ends: with 64 on one client a call took 5.5 ms of CPU, with 8 each it takes 1.0 ms."""
DRAIN_S = 0.1
"""How long the end of a stream may take after ``[DONE]``, so that its connection can be used again."""


class _Lane:
    """A client and the calls on it. A retired lane takes no new calls and closes when its last one has ended."""

    __slots__ = ("calls", "client", "lost", "retired")

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self.calls = 0
        self.lost = 0
        self.retired = False


@lru_cache(maxsize=2)
def tls_context(*, checked: bool) -> ssl.SSLContext:
    """Reading the certificates takes some 20 ms: once a process, not for every client. A warm actor calls it ahead of time."""
    return httpx.create_ssl_context(verify=checked)


class HttpBackend:
    """``agents.llm.chat.Backend`` on httpx. ``transport`` replaces the network in tests."""

    def __init__(self, spec: BackendSpec, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self.spec = spec
        self._transport = transport
        self._chat_url = httpx.URL(f"{spec.base_url}/chat/completions")
        self._embed_url = httpx.URL(f"{spec.base_url}/embeddings")
        self._headers = _headers(spec)
        self._timeouts = httpx.Timeout(
            connect=spec.connect_timeout_s, read=spec.read_timeout_s, write=spec.read_timeout_s, pool=POOL_TIMEOUT_S
        ).as_dict()
        self._slots = min(spec.max_concurrency, LANE_CALLS)
        self._lanes: list[_Lane] = []
        self._closing: set[asyncio.Task[None]] = set()
        self._tls = tls_context(checked=self._chat_url.scheme == "https")
        self._new_lane()

    async def chat(self, request: ChatRequest, *, timeout_s: float) -> ChatReply:
        """One whole answer within ``timeout_s`` and the backend's own total. Raises BackendError or RateLimited."""
        body = wire.chat_body(self.spec, request, stream=False)
        return wire.parse_reply(self.spec, request, await self._whole(self._chat_url, body, timeout_s))

    async def embed(self, texts: Sequence[str], *, timeout_s: float) -> tuple[list[list[float]], Usage]:
        """Vectors ``(len(texts), d)`` and what they cost. Raises BackendError or RateLimited."""
        body = wire.embed_body(self.spec, texts)
        return wire.parse_embeddings(self.spec, texts, await self._whole(self._embed_url, body, timeout_s))

    async def stream(self, request: ChatRequest, *, timeout_s: float) -> AsyncIterator[Chunk]:
        """An answer piece by piece; the last chunk has the usage. Closing the iterator hangs up on the backend.

        Raises BackendError or RateLimited; StreamBroken when it ended before its end.
        """
        deadline = self._deadline(timeout_s)
        body = wire.chat_body(self.spec, request, stream=True)
        lane, response = await self._open(self._chat_url, body, deadline)
        try:
            if "json" in response.headers.get("content-type", ""):
                for chunk in _as_chunks(wire.parse_reply(self.spec, request, await self._read(lane, response, deadline))):
                    yield chunk
                return
            reader = StreamReader(self.spec, request)
            pieces = response.aiter_bytes().__aiter__()
            total = 0
            while not reader.done:
                piece = await self._next(lane, pieces, deadline, StreamBroken)
                if piece is None:
                    break
                total += len(piece)
                if total > MAX_REPLY_BYTES:
                    raise self._too_large()
                for chunk in reader.feed(piece):
                    yield chunk
            for chunk in reader.last():
                yield chunk
            yield reader.finish()
            await self._drain(lane, pieces)
        finally:
            await self._close(lane, response)

    async def aclose(self) -> None:
        """Close every connection. Idempotent; a later call would open a new one."""
        for lane in list(self._lanes):
            self._retire(lane)
        await asyncio.gather(*self._closing)

    # ── one exchange ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _whole(self, url: httpx.URL, body: bytes, timeout_s: float) -> bytes:
        deadline = self._deadline(timeout_s)
        lane, response = await self._open(url, body, deadline)
        try:
            return await self._read(lane, response, deadline)
        finally:
            await self._close(lane, response)

    async def _open(self, url: httpx.URL, body: bytes, deadline: float) -> tuple[_Lane, httpx.Response]:
        """Send, and read the head of the answer. What it returns must be given to ``_close``."""
        for last in (False, True):
            lane = self._enter()
            try:
                response = await self._send(lane, url, body, deadline)
            except httpx.PoolTimeout:
                # Nothing was sent. The desk never lets more calls out than there are slots, so slots have leaked.
                lane.retired = True
                self._leave(lane)
                if last:
                    raise self._timeout("had no free connection") from None
                continue
            except BaseException:
                self._leave(lane)
                raise
            try:
                if response.status_code != 200:
                    await self._refuse(lane, response, deadline)
                if response.headers.get("content-type", "").startswith("text/html"):
                    raise BackendGarbled(f"backend {self.spec.name!r} answered with an HTML page", backend=self.spec.name)
            except BaseException:
                await self._close(lane, response)
                raise
            return lane, response
        raise AssertionError("unreachable")

    async def _send(self, lane: _Lane, url: httpx.URL, body: bytes, deadline: float) -> httpx.Response:
        request = httpx.Request("POST", url, headers=self._headers, content=body, extensions={"timeout": self._timeouts})
        try:
            async with asyncio.timeout_at(deadline):
                return await lane.client.send(request, stream=True)
        except asyncio.CancelledError:
            self._suspect(lane)
            raise
        except TimeoutError:
            self._suspect(lane)
            raise self._timeout("did not answer in time") from None
        except httpx.PoolTimeout:
            raise
        except httpx.HTTPError as error:
            raise self._translate(error, BackendGarbled) from error
        except (httpx.InvalidURL, ValueError) as error:
            raise BackendRejected(
                f"backend {self.spec.name!r} cannot be called: {type(error).__name__}", backend=self.spec.name, status=404
            ) from None

    async def _read(self, lane: _Lane, response: httpx.Response, deadline: float) -> bytes:
        """The whole body, at most MAX_REPLY_BYTES."""
        parts: list[bytes] = []
        total = 0
        try:
            async with asyncio.timeout_at(deadline):
                async for part in response.aiter_bytes():
                    total += len(part)
                    if total > MAX_REPLY_BYTES:
                        raise self._too_large()
                    parts.append(part)
        except asyncio.CancelledError:
            self._suspect(lane)
            raise
        except TimeoutError:
            self._suspect(lane)
            raise self._timeout("did not finish its answer in time") from None
        except httpx.HTTPError as error:
            raise self._translate(error, BackendGarbled) from error
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def _next(self, lane: _Lane, pieces: AsyncIterator[bytes], deadline: float, broken: type[BackendError]) -> bytes | None:
        try:
            async with asyncio.timeout_at(deadline):
                return await anext(pieces, None)
        except asyncio.CancelledError:
            self._suspect(lane)
            raise
        except TimeoutError:
            self._suspect(lane)
            raise self._timeout("did not finish its stream in time") from None
        except httpx.HTTPError as error:
            raise self._translate(error, broken) from error

    async def _drain(self, lane: _Lane, pieces: AsyncIterator[bytes]) -> None:
        deadline = asyncio.get_running_loop().time() + DRAIN_S
        with suppress(AgentError):
            while await self._next(lane, pieces, deadline, StreamBroken) is not None:
                pass

    async def _refuse(self, lane: _Lane, response: httpx.Response, deadline: float) -> None:
        """Raise what a status other than 200 stands for, with the beginning of its body."""
        body = b""
        pieces = response.aiter_bytes().__aiter__()
        with suppress(BackendError):
            while len(body) < MAX_ERROR_BYTES and (piece := await self._next(lane, pieces, deadline, BackendGarbled)) is not None:
                body += piece
        raise wire.error_of(self.spec, response.status_code, response.headers, body[:MAX_ERROR_BYTES], now=time.time())

    async def _close(self, lane: _Lane, response: httpx.Response) -> None:
        """End the exchange. Where the answer was not read to its end this hangs up, whatever cancels us meanwhile."""
        try:
            if not response.is_closed:
                await asyncio.shield(self._in_background(_hang_up(response)))
        finally:
            self._leave(lane)

    # ── clients ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _new_lane(self) -> _Lane:
        limits = httpx.Limits(max_connections=self._slots, max_keepalive_connections=self._slots, keepalive_expiry=30.0)
        lane = _Lane(
            httpx.AsyncClient(
                transport=self._transport,
                limits=limits,
                verify=self._tls,
                http2=False,
                trust_env=not wire.is_loopback(self._chat_url.host),
                follow_redirects=False,
            )
        )
        self._lanes.append(lane)
        return lane

    def _enter(self) -> _Lane:
        """The first lane with room, so that few calls stay on few connections."""
        lane = next((lane for lane in self._lanes if not lane.retired and lane.calls < self._slots), None) or self._new_lane()
        lane.calls += 1
        return lane

    def _leave(self, lane: _Lane) -> None:
        lane.calls -= 1
        if lane.retired and lane.calls == 0:
            self._retire(lane)

    def _suspect(self, lane: _Lane) -> None:
        """A call was cancelled within httpx, which may have lost its slot for good. Do not wait until all are lost."""
        lane.lost += 1
        if 2 * lane.lost >= self._slots:
            lane.retired = True

    def _retire(self, lane: _Lane) -> None:
        lane.retired = True
        if lane in self._lanes:
            self._lanes.remove(lane)
            if self._transport is None:
                self._in_background(lane.client.aclose())

    def _in_background(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Closing must not be cut short by a cancellation: httpx would never take the slot back."""
        task = asyncio.get_running_loop().create_task(work)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
        return task

    # ── errors ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _deadline(self, timeout_s: float) -> float:
        return asyncio.get_running_loop().time() + min(timeout_s, self.spec.total_timeout_s)

    def _timeout(self, what: str) -> BackendTimeout:
        return BackendTimeout(f"backend {self.spec.name!r} {what}", backend=self.spec.name)

    def _too_large(self) -> BackendGarbled:
        text = f"the answer of backend {self.spec.name!r} is larger than {MAX_REPLY_BYTES} bytes"
        return BackendGarbled(text, backend=self.spec.name)

    def _translate(self, error: httpx.HTTPError, broken: type[BackendError]) -> AgentError:
        """Our error for httpx's. ``broken`` is what a broken exchange is called at this point."""
        name = self.spec.name
        words = wire.scrub(self.spec, str(error) or type(error).__name__)
        if isinstance(error, httpx.ConnectTimeout | httpx.ConnectError | httpx.ProxyError):
            return BackendUnreachable(f"no connection to backend {name!r}: {words}", backend=name)
        if isinstance(error, httpx.TimeoutException):
            return self._timeout("was silent for too long")
        if isinstance(error, httpx.LocalProtocolError | httpx.UnsupportedProtocol):
            # Its text may quote a header, and with it the key.
            return BackendRejected(f"backend {name!r} cannot be called: {type(error).__name__}", backend=name, status=404)
        if broken is not StreamBroken and _hung_up_silently(error):
            return BackendUnreachable(f"backend {name!r} hung up without an answer", backend=name)
        return broken(f"backend {name!r} broke off: {words}", backend=name)


async def _hang_up(response: httpx.Response) -> None:
    with suppress(httpx.HTTPError):
        await response.aclose()


def _headers(spec: BackendSpec) -> httpx.Headers:
    pairs = [(b"content-type", b"application/json"), (b"accept", b"application/json, text/event-stream")]
    pairs += [(b"user-agent", b"morphogen"), (b"accept-encoding", b"identity")]
    if spec.api_key:
        pairs.append((b"authorization", b"Bearer " + spec.api_key.encode()))
    return httpx.Headers(pairs)


def _hung_up_silently(error: httpx.HTTPError) -> bool:
    """The connection ended before an answer began: a kept-alive connection that the backend had just closed does this."""
    if isinstance(error, httpx.ReadError | httpx.WriteError):
        return True
    return isinstance(error, httpx.RemoteProtocolError) and "without sending a response" in str(error)


def _as_chunks(reply: ChatReply) -> list[Chunk]:
    """A whole answer of a backend that does not stream."""
    chunks = []
    for place, choice in enumerate(reply.choices):
        message = choice.get("message")
        delta = dict(message) if isinstance(message, dict) else {}
        finish = choice.get("finish_reason")
        text = wire.content_text(delta.get("content"))
        finish = finish if isinstance(finish, str) else "stop"
        chunks.append(Chunk(text=text, delta=delta, index=place, finish_reason=finish, model=reply.model))
    return [*chunks, Chunk(usage=reply.usage)]
