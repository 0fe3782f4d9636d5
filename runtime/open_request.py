"""A request while it is worked on: what dispatch.py knows of it between opening and its one outcome."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass, field

from agents.llm.chat import Chunk
from agents.records import CallRecord, DeadlineExceeded, Event, Json, Reply
from runtime.records import Request

GRACE_S = 2.0
"""A node ends its work at the deadline by itself; this much later the daemon stops waiting for it."""
MAX_EVENTS = 2000
"""Trace events kept of one request."""


@dataclass(slots=True)
class Spent:
    """What a piece of work took that is booked by its caller: calls and trace events, known also when it failed."""

    calls: tuple[CallRecord, ...] = ()
    events: tuple[Event, ...] = ()


@dataclass(slots=True)
class OpenRequest:
    """A request while it is worked on. With ``spent`` it is a part of a job: no row and no outcome of its own."""

    request: Request
    started: float
    deadline_s: float
    number: int
    spent: Spent | None = None
    events: list[Event] = field(default_factory=list)
    node: str | None = None
    strategy: str = "single"
    attempts: int = 1
    closed: bool = False
    calls: list[CallRecord] = field(default_factory=list)

    def note(self, event: Event) -> None:
        if event.kind != "delta" and len(self.events) < MAX_EVENTS:
            self.events.append(event)


class Running:
    """The requests that are worked on now, by number; numbers count up from 1."""

    def __init__(self) -> None:
        self.last = 0
        self._numbers: set[int] = set()
        self._idle = asyncio.Event()
        self._idle.set()

    def __len__(self) -> int:
        return len(self._numbers)

    def began(self) -> int:
        """The number of one that begins."""
        self.last += 1
        self._numbers.add(self.last)
        self._idle.clear()
        return self.last

    def ended(self, number: int) -> None:
        self._numbers.discard(number)
        if not self._numbers:
            self._idle.set()

    def any_until(self, number: int) -> bool:
        """Does one with this number or a smaller one run still?"""
        return any(running <= number for running in self._numbers)

    async def all_ended(self, timeout_s: float) -> bool:
        """Wait until nothing runs. False when something still does after ``timeout_s``."""
        try:
            await asyncio.wait_for(self._idle.wait(), timeout_s)
        except TimeoutError:
            return self._idle.is_set()
        return True


def delta_of(chunk: Chunk) -> dict[str, Json] | None:
    """The data of a ``delta`` event, None for a chunk that carries nothing for the client."""
    if chunk.delta is not None:
        return {"raw": chunk.delta, "index": chunk.index, "text": chunk.text}
    return {"text": chunk.text, "index": chunk.index} if chunk.text else None


async def bounded(
    run: OpenRequest, items: AsyncIterator[Event | Reply], left_s: Callable[[], float]
) -> AsyncGenerator[Event | Reply, None]:
    """``items``, but not beyond the deadline: a node that hangs is left alone."""
    iterator = items.__aiter__()
    try:
        while True:
            try:
                item = await asyncio.wait_for(anext(iterator), max(0.0, left_s() + GRACE_S))
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise DeadlineExceeded(f"no answer within {run.deadline_s:g} s", calls=tuple(run.calls)) from None
            yield item
    finally:
        if (close := getattr(iterator, "aclose", None)) is not None:
            await close()
