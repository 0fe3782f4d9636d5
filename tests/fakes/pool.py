"""A pool over scripted backends, with all that went on: for the tests of what the pool does."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

from agents.calls import CallRecord
from agents.llm.chat import BackendSpec, ChatReply, ChatRequest, Chunk
from agents.llm.pool import Pool
from agents.llm.retry import RetryPolicy
from agents.records import BackendFailed, Choice, StreamBroken
from tests.fakes.backends import OpenAdmission, ScriptedBackend

REQUEST = ChatRequest(messages=({"role": "user", "content": "What is a fjord?"},))
FAILED = BackendFailed("no", backend="a", status=500)
BROKEN = StreamBroken("cut")


class Bench:
    """A pool over scripted backends with all that went on."""

    def __init__(self, *backends: ScriptedBackend, admission: Any = None, **options: Any) -> None:
        self.admission = admission or OpenAdmission()
        self.records: list[CallRecord] = []
        self.slept: list[float] = []
        options.setdefault("retry", RetryPolicy(max_attempts=2, base_delay_s=0.1, max_delay_s=1.0))
        self.pool = Pool(backends, admission=self.admission, sleep=self.sleep, rng=random.Random(3), **options)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)

    async def chat(self, choice: Choice | None = None, *, deadline_s: float = 5.0, **more: Any) -> ChatReply:
        return await self.pool.chat(
            REQUEST, choice or Choice(), deadline_s=deadline_s, holder="t", on_call=self.records.append, **more
        )

    def stream(
        self, choice: Choice | None = None, request: ChatRequest = REQUEST, deadline_s: float = 5.0, **more: Any
    ) -> AsyncIterator[Chunk]:
        return self.pool.stream(
            request, choice or Choice(), deadline_s=deadline_s, holder="t", on_call=self.records.append, **more
        )

    async def seen(self, *args: Any, **more: Any) -> tuple[str, list[Chunk]]:
        """The text that the client ends up with, and all chunks."""
        text, chunks = "", []
        async for chunk in self.stream(*args, **more):
            text = "" if chunk.restart else text + chunk.text
            chunks.append(chunk)
        return text, chunks

    @property
    def errors(self) -> list[tuple[str, str | None]]:
        return [(record.backend, record.error) for record in self.records]


def spec(name: str, **fields: Any) -> BackendSpec:
    return BackendSpec(**{"name": name, "model": f"{name}-model", **fields})


def named(*names: str) -> Choice:
    return Choice(preferred=names)
