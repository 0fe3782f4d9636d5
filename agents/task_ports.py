"""What one task needs of what its node holds: models and a sandbox, as ports. Used by task_toolbox.py and node.py."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Protocol

from agents.calls import CallRecord, Health, Permit
from agents.llm.chat import BackendSpec, ChatReply, ChatRequest, Chunk
from agents.records import Choice, Json
from sandbox.records import Limits, RunResult

OnCall = Callable[[CallRecord], None]


class PoolPort(Protocol):
    """What a task needs of ``agents.llm.pool.Pool``; see there."""

    @property
    def specs(self) -> tuple[BackendSpec, ...]: ...

    async def chat(
        self,
        request: ChatRequest,
        choice: Choice,
        *,
        deadline_s: float,
        holder: str,
        permits: Sequence[Permit] = (),
        health: Mapping[str, Health] | None = None,
        on_call: OnCall,
        assumed_tokens: int | None = None,
    ) -> ChatReply: ...

    def stream(
        self,
        request: ChatRequest,
        choice: Choice,
        *,
        deadline_s: float,
        holder: str,
        permits: Sequence[Permit] = (),
        health: Mapping[str, Health] | None = None,
        on_call: OnCall,
        may_restart: bool = True,
        assumed_tokens: int | None = None,
    ) -> AsyncGenerator[Chunk, None]: ...

    async def aclose(self) -> None: ...


class CodeRunner(Protocol):
    """What a task needs of ``sandbox.runner.Sandbox``; see there."""

    async def run(self, code: str, inputs: Json = None, limits: Limits | None = None) -> RunResult: ...

    async def aclose(self) -> None: ...
