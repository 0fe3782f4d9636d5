"""Server-sent events as a response, and their form.

Called by the surfaces. Imports no service.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from agents.records import Json
from runtime.api.body import unless_hung_up
from runtime.api.wire import dumps

MAX_KEPT_BYTES = 2**20
"""Of a reply so much is kept to be given again; a larger one is not kept."""


def sse(kind: str, data: Json, *, seq: int | None = None) -> bytes:
    """One event; ``seq`` becomes its id, at which a client picks the stream up again."""
    head = f"id: {seq}\n" if seq is not None else ""
    return f"{head}event: {kind}\ndata: ".encode() + dumps(data) + b"\n\n"


class Keeper(Protocol):
    """Whoever wants a stream whole, to give it again."""

    async def keep(self, body: bytes | None) -> None:
        """Called before the last chunk goes out; None: it is longer than ``max_bytes``."""
        ...

    def release(self) -> None:
        """Called when the stream is over, however it ended."""
        ...


class EventStream(Response):
    """Server-sent events. When the client hangs up, ``source`` is closed, which cancels the work behind it.

    ``final`` is how the chunk begins that only a stream that went well has. ``keeper`` may be set before it is sent.
    """

    media_type = "text/event-stream"

    def __init__(
        self, chunks: AsyncIterator[bytes], source: AsyncIterator[Any], headers: Mapping[str, str], *, final: bytes
    ) -> None:
        self.status_code = 200
        self.background = None
        self.charset = "utf-8"
        self._chunks = chunks
        self._source = source
        self._final = final
        self.keeper: Keeper | None = None
        self.init_headers(headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await unless_hung_up(receive, self._send(send))
        except ClientDisconnect:
            pass  # nobody is left to be told
        finally:
            if self.keeper is not None:
                self.keeper.release()
            await close_stream(self._chunks)
            await close_stream(self._source)

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        kept: list[bytes] = []
        size = 0
        async for chunk in self._chunks:
            if self.keeper is not None:
                size += len(chunk)
                if size <= MAX_KEPT_BYTES:
                    kept.append(chunk)
                if chunk.startswith(self._final):
                    await self.keeper.keep(b"".join(kept) if size <= MAX_KEPT_BYTES else None)
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def close_stream(events: AsyncIterator[Any]) -> None:
    close = getattr(events, "aclose", None)
    if close is not None:
        await close()
