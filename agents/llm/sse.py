"""A streamed chat answer, read: bytes of server-sent events in, Chunks out. Pure; no I/O, no httpx.

Called by http.py. Bounded: a line of more than MAX_LINE_BYTES is refused; the whole stream is bounded by http.py.
"""

from __future__ import annotations

from typing import Any

from agents.calls import Usage
from agents.llm.chat import BackendSpec, ChatRequest, Chunk
from agents.llm.wire import content_text, error_object, estimate_usage, garbled, load, message_chars, read_usage
from agents.records import BackendGarbled, StreamBroken

MAX_LINE_BYTES = 4 * 2**20


class StreamReader:
    """Server-sent events of one chat call, fed as bytes, read as Chunks.

    ``done`` after ``[DONE]``; ``finish`` says at the end what was used, or raises StreamBroken when the end was no end.
    """

    def __init__(self, spec: BackendSpec, request: ChatRequest) -> None:
        self.done = False
        self._spec = spec
        self._request = request
        self._rest = b""
        self._usage: Usage | None = None
        self._chars = 0
        self._open: set[int] = set()
        self._finished = False
        self._begun = False
        self._lines: list[bytes] = []

    def feed(self, data: bytes) -> list[Chunk]:
        """Chunks of one piece. Comments and pings give none. Raises what an error in mid-stream stands for."""
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) > MAX_LINE_BYTES:
            raise garbled(self._spec, "has an event that is too large")
        chunks: list[Chunk] = []
        for ended in lines:
            if self.done:
                break
            line = ended.rstrip(b"\r")
            if line.startswith(b"data:"):
                self._lines.append(line[5:].strip())
                self.done = self._lines[0] == b"[DONE]"
            elif not line and self._lines:
                self._event(b"\n".join(self._lines), chunks)
                self._lines.clear()
        return chunks

    def finish(self) -> Chunk:
        """The last chunk, with the usage. Raises StreamBroken when the stream ended before its end."""
        if not self.done and (self._open or not self._finished):
            raise StreamBroken(f"the stream of backend {self._spec.name!r} ended before its end", backend=self._spec.name)
        return Chunk(usage=self._usage or estimate_usage(self._request, self._chars))

    def last(self) -> list[Chunk]:
        """What a final event without its empty line held."""
        if self.done or not (self._rest or self._lines):
            return []
        try:
            return self.feed(b"\n\n")
        except BackendGarbled:
            raise StreamBroken(
                f"the stream of backend {self._spec.name!r} ended within an event", backend=self._spec.name
            ) from None

    def _event(self, data: bytes, chunks: list[Chunk]) -> None:
        if not data:
            return
        payload = load(self._spec, data)
        if payload.get("error"):
            error = error_object(self._spec, payload["error"])
            if self._begun:
                raise StreamBroken(error.message, backend=self._spec.name, status=error.status) from error
            raise error
        self._usage = read_usage(payload.get("usage")) or self._usage
        choices = payload.get("choices")
        if choices is None and ("usage" in payload or "object" in payload):
            return
        if not isinstance(choices, list):
            raise garbled(self._spec, "has an event without choices")
        model = payload.get("model")
        for choice in choices:
            chunks.append(self._chunk(choice, model if isinstance(model, str) and model else self._spec.model))

    def _chunk(self, choice: Any, model: str) -> Chunk:
        delta = choice.get("delta") if isinstance(choice, dict) else None
        if delta is None and isinstance(choice, dict):
            delta = {}
        if not isinstance(delta, dict):
            raise garbled(self._spec, "has a choice without a delta")
        index, finish = choice.get("index", 0), choice.get("finish_reason")
        if type(index) is not int or not 0 <= index < 1024:
            raise garbled(self._spec, "has a choice with an impossible index")
        text = content_text(delta.get("content"))
        if text or delta.get("tool_calls"):
            self._begun = True
            self._chars += message_chars(delta)
            self._open.add(index)
        if isinstance(finish, str):
            self._finished = True
            self._open.discard(index)
        else:
            finish = None
        return Chunk(text=text, delta=delta, index=index, finish_reason=finish, model=model, logprobs=choice.get("logprobs"))
