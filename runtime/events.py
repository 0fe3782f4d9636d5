"""What happens in the daemon, told as it happens: the board that GET /v1/events reads.

Published to by dispatch.py, the hub and runtime/observing/; never waits and keeps a bounded number. Numbers grow over restarts
(they begin at the time of the start in microseconds), so that a client that comes back can say where it was.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Literal, get_args

from agents.records import Json

TidingKind = Literal["request", "node", "proposal", "pattern", "look", "peer", "breakthrough"]
KINDS: Final[tuple[TidingKind, ...]] = get_args(TidingKind)
MOST: Final = 2_000
MAX_FIELDS: Final = 32
MAX_CHARS: Final = 500
MAX_READERS: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiding:
    """One thing that happened, ``at`` Unix seconds; ``seq`` numbers it."""

    seq: int
    kind: TidingKind
    at: float
    data: Mapping[str, Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """``tidings`` in order; go on from ``following``. ``missed``: some between are not kept any more."""

    tidings: tuple[Tiding, ...]
    following: int
    missed: bool


class EventBoard:
    """``most`` tidings are kept. Lives in one event loop."""

    def __init__(self, *, most: int = MOST, wall: Callable[[], float] = time.time) -> None:
        self._kept: deque[Tiding] = deque(maxlen=most)
        self._wall = wall
        self.following = int(wall() * 1e6)
        self._bell = asyncio.Event()
        self.readers = 0

    def publish(self, kind: TidingKind, data: Mapping[str, Json]) -> None:
        """Never waits and never fails: what is long is cut."""
        kept = {name: _cut(value) for name, value in list(data.items())[:MAX_FIELDS]}
        self._kept.append(Tiding(seq=self.following, kind=kind, at=self._wall(), data=kept))
        self.following += 1
        if self.readers:
            self._bell.set()

    def since(self, seq: int, *, kinds: Collection[str] = (), limit: int = 200) -> Page:
        """From number ``seq`` on, of ``kinds`` (none named: all). A number that was never given counts as missed."""
        oldest = self._kept[0].seq if self._kept else self.following
        missed = seq < oldest or seq > self.following
        begin = oldest if missed else seq
        found: list[Tiding] = []
        for tiding in self._kept:
            if tiding.seq >= begin and (not kinds or tiding.kind in kinds):
                found.append(tiding)
                if len(found) >= limit:
                    break
        following = found[-1].seq + 1 if len(found) >= limit else self.following
        return Page(tidings=tuple(found), following=following, missed=missed)

    async def changed(self, *, seq: int, timeout_s: float) -> None:
        """Wait until something with number ``seq`` or later is there, or for so long."""
        if self.following > seq:
            return
        if self._bell.is_set():
            self._bell = asyncio.Event()  # those who wait for the old one are awake
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._bell.wait()


def _cut(value: Json) -> Json:
    """Texts to MAX_CHARS; lists and objects of any size are the publisher's own and small."""
    return value if not isinstance(value, str) or len(value) <= MAX_CHARS else value[: MAX_CHARS - 1] + "…"
