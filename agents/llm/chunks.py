"""Iterating what a backend streams: closed whatever happens, and not waited for beyond its share of the time.

Used by pool.py alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType

from agents.llm.chat import BackendSpec, Chunk
from agents.records import BackendTimeout


class Closing:
    """``contextlib.aclosing`` for iterators that may have no aclose."""

    __slots__ = ("_chunks",)

    def __init__(self, chunks: AsyncIterator[Chunk]) -> None:
        self._chunks = chunks

    async def __aenter__(self) -> AsyncIterator[Chunk]:
        return self._chunks

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        close = getattr(self._chunks, "aclose", None)
        if close is not None:
            await close()


async def first_of(chunks: AsyncIterator[Chunk], spec: BackendSpec, within_s: float) -> Chunk | None:
    """The first chunk, None where there is none. Raises BackendTimeout when it does not come ``within_s`` seconds."""
    try:
        async with asyncio.timeout(within_s):
            return await anext(chunks, None)
    except TimeoutError:
        raise BackendTimeout(f"backend {spec.name!r} did not begin within its {within_s:.1f} s", backend=spec.name) from None
