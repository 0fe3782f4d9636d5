"""Joining streams: what the client has been given, and how another backend's stream goes on from there. Pure.

Called by pool.py when a stream breaks midway. The client gets one whole answer: continued, begun again after a ``restart``, or an
error; never two halves that do not belong together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from agents.llm.chat import ChatRequest, Chunk
from agents.llm.wire import CHARS_PER_TOKEN
from agents.records import Json

MIN_ECHO_CHARS = 16
"""A continuation that begins with all that was said, if that is at least so long, repeats it and is cut."""

_PLAIN_KEYS = frozenset({"role", "content"})

Mode = Literal["first", "continue", "compare"]


class CannotJoin(Exception):
    """The fresh answer differs from what the client has, and the client cannot begin again."""


class Told:
    """What the client has been given of the answer."""

    __slots__ = ("_parts", "_role", "_text", "finished", "model", "opaque")

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._text = ""
        self._role = False
        self.opaque = False
        self.finished = False
        self.model = ""

    @property
    def text(self) -> str:
        if self._parts:
            self._text += "".join(self._parts)
            self._parts.clear()
        return self._text

    @property
    def begun(self) -> bool:
        """Did a token go out?"""
        return bool(self._text or self._parts or self.opaque)

    def note(self, chunk: Chunk) -> bool:
        """Note a chunk on its way out. False: the client has it already (a role), leave it away."""
        if chunk.restart:
            self._parts.clear()
            self._text, self.opaque, self.finished, self._role = "", False, False, False
            return True
        if is_opaque(chunk):
            self.opaque = True
        elif chunk.text:
            self._parts.append(chunk.text)
        elif chunk.finish_reason is None and chunk.usage is None:
            if self._role:
                return False
            self._role = True
        if chunk.finish_reason is not None and chunk.index == 0:
            self.finished = True
        return True

    def can_continue(self, request: ChatRequest) -> bool:
        """May the text be given to a backend to go on? Only plain text of one choice, that no grammar governs."""
        params = request.params
        governed = request.schema is not None or params.get("response_format") or params.get("logprobs")
        return bool(self.text.strip()) and not self.opaque and not governed and params.get("n", 1) in (1, None)


def is_opaque(chunk: Chunk) -> bool:
    """Does it hold more than text of the first choice (tool calls, reasoning, another choice)?"""
    if chunk.index:
        return True
    if not chunk.delta:
        return False
    return any(value and key not in _PLAIN_KEYS for key, value in chunk.delta.items())


def continuation(request: ChatRequest, text: str) -> ChatRequest:
    """The request with what was said as the assistant's last message, and its token limit less what that took."""
    params: Mapping[str, Json] = request.params
    used = -(-len(text) // CHARS_PER_TOKEN)
    for key in ("max_tokens", "max_completion_tokens"):
        limit = params.get(key)
        if isinstance(limit, int):
            params = {**params, key: max(limit - used, 1)}
    return ChatRequest(messages=(*request.messages, {"role": "assistant", "content": text}), params=params)


class Joiner:
    """Chunks of one stream in, chunks for the client out.

    first: as they come. continue: they go on from ``told``; an echo of it is cut. compare: a fresh answer; while it agrees with
    ``told`` it is held, then only its remainder goes out, or a restart and all of it.
    """

    __slots__ = ("_held", "_held_text", "_may_restart", "_mode", "_said", "_settled")

    def __init__(self, told: Told, mode: Mode, *, may_restart: bool) -> None:
        self._mode = mode
        self._may_restart = may_restart
        self._said = told.text if mode != "first" else ""
        self._held: list[Chunk] = []
        self._held_text = ""
        self._settled = mode == "first" or (mode == "continue" and len(self._said) < MIN_ECHO_CHARS)
        if mode == "compare" and told.opaque:
            self._said = "\0"  # nothing begins with what cannot be compared

    def feed(self, chunk: Chunk) -> list[Chunk]:
        """What may go out now. Raises CannotJoin."""
        if self._settled:
            return [chunk]
        self._held.append(chunk)
        if is_opaque(chunk):
            return self._differs()
        self._held_text += chunk.text
        if self._held_text.startswith(self._said):
            return self._agrees(chunk)
        over = chunk.finish_reason is not None or chunk.usage is not None
        if over or not self._said.startswith(self._held_text):
            return self._differs()
        return []

    def _agrees(self, chunk: Chunk) -> list[Chunk]:
        self._settled = True
        if chunk.usage is not None:
            return [chunk]
        rest = self._held_text[len(self._said) :]
        self._held.clear()
        if not rest and chunk.finish_reason is None:
            return []
        delta = {"content": rest} if rest else {}
        return [Chunk(text=rest, delta=delta, finish_reason=chunk.finish_reason, model=chunk.model)]

    def _differs(self) -> list[Chunk]:
        self._settled = True
        held, self._held = self._held, []
        if self._mode == "continue":
            return held
        if not self._may_restart:
            raise CannotJoin
        return [Chunk(restart=True), *held]
