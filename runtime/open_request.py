"""A request while it is worked on: what dispatch.py knows of it between opening and its one outcome."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from agents.calls import CallRecord
from agents.llm.chat import Chunk
from agents.programs import Known
from agents.records import DeadlineExceeded, Draft, Event, Json, Reply, TaskId
from runtime.learner.records import Route
from runtime.library.looked import Looked
from runtime.records import Request
from runtime.specialists.records import Taken

GRACE_S = 2.0
"""A node ends its work at the deadline by itself; this much later the daemon stops waiting for it."""
CLOSE_S = 5.0
"""How long a node that is hung up on may take to let go; then nobody waits for it any more."""
MAX_EVENTS = 2000
"""Trace events kept of one request."""


@dataclass(slots=True)
class Spent:
    """What a piece of work took that is booked by its caller: calls and trace events, known also when it failed."""

    calls: tuple[CallRecord, ...] = ()
    events: tuple[Event, ...] = ()


@dataclass(slots=True)
class OpenRequest:
    """A request while it is worked on. With ``spent`` it is a part of a job: no row and no outcome of its own.

    ``work_id`` (``request/boot.number``) differs for each part and each restart, so that a late word of an old node is nobody's.
    """

    request: Request
    started: float
    deadline_s: float
    number: int
    work_id: str
    spent: Spent | None = None
    events: list[Event] = field(default_factory=list)
    node: str | None = None
    locale: str = "root"
    strategy: str = "single"
    attempts: int = 1
    library: Looked | None = None
    known: tuple[Known, ...] = ()
    closed: bool = False
    left_alone: bool = False
    """Its node did not end in time: what it spent since its last word is not known."""
    calls: list[CallRecord] = field(default_factory=list)
    route: Route | None = None
    """Who was chosen for it, where it left that open."""
    embedding: npt.NDArray[np.floating] | None = None
    """Of its words, unit length, where something has needed it already."""
    pattern: str | None = None
    """The recurring kind of request that it is of."""
    taken: Taken | None = None
    """The specialist that said it is its own."""
    peer_calls: list[CallRecord] = field(default_factory=list)
    """Calls of nodes that were asked by the one that has the task; the replies do not have them."""

    def note(self, event: Event) -> None:
        if event.kind != "delta" and len(self.events) < MAX_EVENTS:
            self.events.append(event)


class SeenBefore(Protocol):
    """The library's part in a request: the answer where it was seen before, and what came of the look-up in ``run.library``."""

    async def __call__(self, run: OpenRequest) -> Draft | None: ...


async def never(run: OpenRequest) -> Draft | None:
    """Nothing was seen before."""
    return None


def looked(run: OpenRequest, draft: Draft) -> Looked | None:
    """What the look-up came to in the end: a stored program that was changed for this request is not a plain miss."""
    found, code = run.library, draft.code
    if found is None or found.is_hit or code is None or code.how == "new" or not code.artifact:
        return found
    return replace(found, result="adapted")


class Running:
    """The requests that are worked on now, by number (they count up from 1); ``by_task`` has those that are with a node."""

    def __init__(self) -> None:
        self.last = 0
        self.by_task: dict[TaskId, OpenRequest] = {}
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
    """``items``, but not beyond the deadline: a node that hangs is left alone, even where it does not take its cancellation."""
    iterator = items.__aiter__()
    step: asyncio.Future[Event | Reply] | None = None
    try:
        while True:
            step = asyncio.ensure_future(anext(iterator))
            await asyncio.wait({step}, timeout=max(0.0, left_s() + GRACE_S))
            if not step.done():
                run.left_alone = True
                raise DeadlineExceeded(f"no answer within {run.deadline_s:g} s", calls=tuple(run.calls))
            try:
                item = step.result()
            except StopAsyncIteration:
                return
            yield item
    finally:
        closing = asyncio.create_task(_close(iterator, step), name="close an ask")
        _closing.add(closing)
        closing.add_done_callback(_closing.discard)
        await asyncio.wait({closing}, timeout=CLOSE_S)


_closing: set[asyncio.Task[None]] = set()
"""Asks whose nodes take longer than CLOSE_S to let go."""


async def _close(iterator: AsyncIterator[Event | Reply], step: asyncio.Future[Event | Reply] | None) -> None:
    if step is not None and not step.done():
        step.cancel()
        await asyncio.wait({step})
    if step is not None and not step.cancelled():
        step.exception()  # seen: it was raised, or comes too late to matter
    if (close := getattr(iterator, "aclose", None)) is not None:
        await close()


async def in_time(chunks: AsyncIterator[Chunk], left_s: Callable[[], float]) -> AsyncGenerator[Chunk, None]:
    """``chunks`` of the daemon's own pool, but not beyond the deadline: the backstop behind the pool's own limits.

    Cheaper a chunk than ``bounded``, and enough where a cancellation is known to be taken. Raises DeadlineExceeded.
    """
    iterator = chunks.__aiter__()
    try:
        while True:
            try:
                async with asyncio.timeout(max(0.0, left_s() + GRACE_S)):
                    chunk = await anext(iterator)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise DeadlineExceeded("the time for this request is over") from None
            yield chunk
    finally:
        if (close := getattr(iterator, "aclose", None)) is not None:
            await close()
