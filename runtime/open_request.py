"""A request while it is worked on: what dispatch.py knows of it between opening and its one outcome."""

from __future__ import annotations

from dataclasses import dataclass, field

from agents.llm.chat import Chunk
from agents.records import CallRecord, Event, Json
from runtime.records import Request

MAX_EVENTS = 2000
"""Trace events kept of one request."""


@dataclass(slots=True)
class OpenRequest:
    """A request while it is worked on."""

    request: Request
    started: float
    deadline_s: float
    number: int
    events: list[Event] = field(default_factory=list)
    node: str | None = None
    strategy: str = "single"
    attempts: int = 1
    closed: bool = False
    calls: list[CallRecord] = field(default_factory=list)

    def note(self, event: Event) -> None:
        if event.kind != "delta" and len(self.events) < MAX_EVENTS:
            self.events.append(event)


def delta_of(chunk: Chunk) -> dict[str, Json] | None:
    """The data of a ``delta`` event, None for a chunk that carries nothing for the client."""
    if chunk.delta is not None:
        return {"raw": chunk.delta, "index": chunk.index, "text": chunk.text}
    return {"text": chunk.text, "index": chunk.index} if chunk.text else None
