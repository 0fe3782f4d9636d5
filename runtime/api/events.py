"""GET /v1/events: what happens, as server-sent events. Mounted by app.py; sees the daemon only through ``Service``.

Needs the operator key: events tell who asks what of whom and what it costs. A client that comes back says where it was
(``Last-Event-ID``, or ``from_seq``); what is no longer kept is told as one ``gap``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Final

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from agents.records import Overloaded
from runtime.api.auth import require_operator
from runtime.api.errors import bad_request
from runtime.api.routes import RouteSpec, in_query
from runtime.api.streams import EventStream, sse
from runtime.events import KINDS, MAX_READERS, EventBoard
from runtime.records import Service

PING_S: Final = 15.0
_MAX_DIGITS: Final = 18


class EventSurface:
    """The endpoint."""

    def __init__(self, service: Service, *, ping_s: float = PING_S) -> None:
        self._service, self._ping_s = service, ping_s

    async def stream(self, http: HttpRequest) -> Response:
        """GET /v1/events?kinds=request,node&from_seq=: from now on, or from a number on. Ends when the client hangs up."""
        require_operator(http)
        kinds = _kinds(http.query_params.get("kinds"))
        board = self._service.board
        if board.readers >= MAX_READERS:
            raise Overloaded(f"{MAX_READERS} clients read the events already", retry_after_s=5.0)
        seq = _from(http, board)
        chunks = self._chunks(board, seq, kinds)
        headers = {"cache-control": "no-cache", "x-accel-buffering": "no"}
        return EventStream(chunks, chunks, headers, final=b"event: end")

    async def _chunks(self, board: EventBoard, seq: int, kinds: tuple[str, ...]) -> AsyncIterator[bytes]:
        board.readers += 1
        try:
            yield b"retry: 1000\n: what happens from now on\n\n"
            while True:
                page = board.since(seq, kinds=kinds)
                if page.missed:
                    yield sse("gap", {"from": seq}, seq=(page.tidings[0].seq if page.tidings else page.following) - 1)
                for tiding in page.tidings:
                    yield sse(tiding.kind, {**tiding.data, "at": tiding.at}, seq=tiding.seq)
                seq = page.following
                if board.following <= seq:
                    await board.changed(seq=seq, timeout_s=self._ping_s)
                    if board.following <= seq:
                        yield b": still here\n\n"
        finally:
            board.readers -= 1


def _kinds(text: str | None) -> tuple[str, ...]:
    found = tuple(word.strip() for word in (text or "").split(",") if word.strip())
    if any(word not in KINDS for word in found):
        raise bad_request(f"'kinds' must be some of {', '.join(KINDS)}, with commas between", param="kinds")
    return found


def _from(http: HttpRequest, board: EventBoard) -> int:
    """The number to begin with. Raises ApiError 400 for a ``from_seq`` that is none; a ``Last-Event-ID`` of others is ignored."""
    given = http.query_params.get("from_seq")
    if given is not None and not _is_number(given):
        raise bad_request("'from_seq' must be a whole number", param="from_seq")
    last = http.headers.get("last-event-id", "").strip()
    if _is_number(last):
        return int(last) + 1
    return int(given) if given else board.following


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS


def event_routes(surface: EventSurface) -> Sequence[RouteSpec]:
    """GET /v1/events."""
    return [
        RouteSpec(
            path="/v1/events",
            methods=("GET",),
            endpoint=surface.stream,
            summary="What happens in the network, as server-sent events",
            tag="operator",
            ok={200: {"type": "string"}},
            media_type="text/event-stream",
            parameters=(in_query("kinds", {"type": "string"}), in_query("from_seq", {"type": "integer", "minimum": 0})),
            errors=(400, 401, 403, 429),
        )
    ]
