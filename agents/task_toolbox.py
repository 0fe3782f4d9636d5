"""The Toolbox of one task: what its strategy may ask, bounded by its budget and written into its trace.

Built by node.py for each task. Reaches models through ``PoolPort`` (llm/pool.py) and nothing else.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Protocol

from agents.llm.chat import BackendSpec, ChatReply, ChatRequest, Chunk
from agents.llm.structured import ask_structured
from agents.records import (
    BudgetExceeded,
    CallRecord,
    Choice,
    DeadlineExceeded,
    Event,
    EventKind,
    Health,
    Json,
    Permit,
    Task,
    Usage,
)
from agents.toolbox import Structured

EventSink = Callable[[Event], None]
OnCall = Callable[[CallRecord], None]


class PoolPort(Protocol):
    """What a task needs of ``agents.llm.pool.Pool``; see there."""

    specs: tuple[BackendSpec, ...]

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
    ) -> AsyncGenerator[Chunk, None]: ...

    async def aclose(self) -> None: ...


class TaskToolbox:
    """Implements ``agents.toolbox.Toolbox``. ``calls`` are all calls so far; ``unused`` permits are the node's to give back."""

    def __init__(
        self,
        task: Task,
        *,
        pool: PoolPort,
        sink: EventSink,
        preferred: tuple[str, ...] = (),
        max_items_per_call: int,
        max_parallel: int,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._task = task
        self._pool = pool
        self._sink = sink
        self._preferred = preferred
        self._max_items = max_items_per_call
        self._max_parallel = max_parallel
        self._clock = clock
        self._wall = wall
        self._deadline = clock() + task.budget.deadline_s
        self._permits = task.permits
        self._delivered = False
        self.calls: list[CallRecord] = []

    @property
    def backends(self) -> Sequence[BackendSpec]:
        return self._pool.specs

    @property
    def max_items_per_call(self) -> int:
        return self._max_items

    @property
    def max_parallel(self) -> int:
        return self._max_parallel

    @property
    def unused(self) -> tuple[Permit, ...]:
        """Permits that came with the task and were never handed to the pool."""
        return self._permits

    def remaining_s(self) -> float:
        return max(0.0, self._deadline - self._clock())

    def note(self, kind: EventKind, **data: Json) -> None:
        self._sink(Event(kind=kind, at=self._wall(), data=data))

    async def ask(self, request: ChatRequest, choice: Choice, *, visible: bool = False) -> ChatReply:
        self._check_budget()
        choice = self._filled(choice)
        permits, self._permits = self._permits, ()
        if visible and self._task.stream:
            return await self._ask_streaming(request, choice, permits)
        return await self._pool.chat(
            request,
            choice,
            deadline_s=self.remaining_s(),
            holder=self._task.task_id,
            permits=permits,
            health=self._task.health,
            on_call=self._called,
        )

    async def ask_structured(self, request: ChatRequest, choice: Choice) -> Structured:
        async def ask(again: ChatRequest) -> ChatReply:
            return await self.ask(again, choice)

        answer = await ask_structured(ask, request)
        if answer.repaired:
            self.note("structured", repaired=True, schema=request.schema_name)
        return answer

    async def _ask_streaming(self, request: ChatRequest, choice: Choice, permits: tuple[Permit, ...]) -> ChatReply:
        """Stream to the client what the model says; the reply is put together from the same chunks."""
        text: list[str] = []
        usage, finish, model = Usage(), "stop", ""
        chunks = self._pool.stream(
            request,
            choice,
            deadline_s=self.remaining_s(),
            holder=self._task.task_id,
            permits=permits,
            health=self._task.health,
            on_call=self._called,
            may_restart=not self._delivered,
        )
        async with aclosing(chunks):
            async for chunk in chunks:
                if chunk.restart:
                    text.clear()
                    self.note("restart")
                    continue
                if chunk.index == 0:
                    text.append(chunk.text)
                    finish = chunk.finish_reason or finish
                usage, model = chunk.usage or usage, chunk.model or model
                self._deliver(chunk)
        return ChatReply(text="".join(text), model=model, usage=usage, finish_reason=finish)

    def _deliver(self, chunk: Chunk) -> None:
        if chunk.delta is not None:
            self.note("delta", raw=dict(chunk.delta), index=chunk.index, text=chunk.text)
        elif chunk.text:
            self.note("delta", text=chunk.text, index=chunk.index)
        else:
            return
        self._delivered = True

    def _called(self, record: CallRecord) -> None:
        self.calls.append(record)
        self.note("call", record=record)

    def _filled(self, choice: Choice) -> Choice:
        """The strategy's wishes, completed by the task's and the node's."""
        task = self._task.choice
        return Choice(
            backend=choice.backend or task.backend,
            preferred=choice.preferred or task.preferred or self._preferred,
            tier=choice.tier,
            needs=choice.needs,
            fallback=choice.fallback and task.fallback,
        )

    def _check_budget(self) -> None:
        """Raises DeadlineExceeded or BudgetExceeded before anything is spent that was not reserved."""
        budget = self._task.budget
        if self.remaining_s() <= 0:
            raise DeadlineExceeded(f"no time is left of {budget.deadline_s:g} s")
        if budget.usd is not None and sum(call.cost_usd for call in self.calls) >= budget.usd > 0:
            raise BudgetExceeded(f"the {budget.usd:g} USD reserved are spent", param="budget_usd")
        if budget.tokens is not None and sum(call.usage.total_tokens for call in self.calls) >= budget.tokens:
            raise BudgetExceeded(f"the {budget.tokens} tokens reserved are spent", param="budget_tokens")
