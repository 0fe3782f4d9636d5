"""A toolbox that answers from a function, and a pool that answers from another: strategies and nodes without a backend."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from agents.calls import CallRecord, Health, Permit, Usage
from agents.committee.records import Convened, Design, PeerAnswer, Taken
from agents.llm.chat import BackendSpec, ChatReply, ChatRequest, Chunk
from agents.programs import CodeFound
from agents.records import Choice, EventKind, Json, StructuredFailed
from agents.shaping import compile_schema
from agents.strategy_specs import Seat
from agents.toolbox import Structured
from sandbox.records import Limits, Problem, RunResult

CHEAP = BackendSpec(name="cheap", capabilities=frozenset({"words", "json_schema"}))
JUDGE = BackendSpec(name="judge", output_usd_per_mtok=9.0, capabilities=frozenset({"words", "critique", "json_schema"}))

Answer = Callable[[ChatRequest, Choice], Json]
"""What a model says: text for an ask, data for a structured one, or an error to raise."""


@dataclass
class FakeToolbox:
    """``agents.toolbox.Toolbox``; ``checks`` makes ask_structured refuse data that breaks its schema, as the real one does."""

    answer: Answer
    backends: Sequence[BackendSpec] = (CHEAP, JUDGE)
    max_items_per_call: int = 5
    max_parallel: int = 3
    checks: bool = True
    asked: list[tuple[ChatRequest, Choice, bool]] = field(default_factory=list)
    notes: list[tuple[str, dict[str, Json]]] = field(default_factory=list)
    active: int = 0
    peak: int = 0
    delivered: bool = False
    usd: float | None = None
    runner: Callable[[str, Json], RunResult] | None = None
    """What the sandbox says of code and its inputs; None: there is no sandbox."""
    runs: list[tuple[str, Json]] = field(default_factory=list)
    code_limits: Limits = field(default_factory=Limits)

    found: CodeFound = field(default_factory=CodeFound)
    """What the registry offers."""
    searched: list[str] = field(default_factory=list)

    left_s: float | Callable[[], float] = 60.0
    tokens: int | None = None
    peers: dict[str, Callable[[str], Any]] = field(default_factory=dict)
    """What nodes say to a question, or raise, by name; seats get them in order."""
    design: Design | None = None
    """The pooled design."""
    dissolved: list[tuple[Convened, bool]] = field(default_factory=list)

    async def ask_peer(
        self, peer: str, question: str, *, instructions: str = "", max_tokens: int | None = None, within_s: float | None = None
    ) -> PeerAnswer:
        said = self.peers[peer](question)
        if asyncio.isfuture(said) or asyncio.iscoroutine(said):
            said = await said
        if isinstance(said, BaseException):
            raise said
        return PeerAnswer(text=said, backend="theirs")

    async def pooled_design(self, problem: str) -> Design | None:
        return self.design

    async def convene(self, problem: str, seats: Sequence[Seat]) -> Convened:
        names = [*self.peers, *(None for _ in seats)]
        taken = (
            Taken(speciality=seat.speciality, node=name, by="warm" if name else "role")
            for seat, name in zip(seats, names, strict=False)
        )
        return Convened(committee_id="c1", seats=tuple(taken))

    async def dissolve(self, committee: Convened, *, design: Design, problem: str, passed: bool) -> None:
        self.dissolved.append((committee, passed))

    def remaining_tokens(self) -> int | None:
        return self.tokens

    async def search_code(self, problem: str) -> CodeFound:
        self.searched.append(problem)
        return self.found

    async def run_code(self, code: str, inputs: Json, limits: Limits | None = None) -> RunResult:
        self.runs.append((code, inputs))
        if self.runner is None:
            return RunResult(problem=Problem.UNAVAILABLE, error="there is no sandbox here")
        return self.runner(code, inputs)

    def remaining_usd(self) -> float | None:
        return self.usd

    def remaining_s(self) -> float:
        return self.left_s() if callable(self.left_s) else self.left_s

    async def ask(self, request: ChatRequest, choice: Choice, *, visible: bool = False) -> ChatReply:
        value = await self._answered(request, choice, visible)
        if isinstance(value, ChatReply):
            return value
        return ChatReply(text=str(value), model="m", usage=Usage(), message={"role": "assistant", "content": str(value)})

    async def ask_structured(self, request: ChatRequest, choice: Choice) -> Structured:
        assert request.schema is not None
        data = await self._answered(request, choice, False)
        if self.checks and (errors := compile_schema(request.schema).errors(data)):
            raise StructuredFailed("; ".join(errors), partial=data)
        reply = ChatReply(text=orjson.dumps(data).decode(), model="m", usage=Usage())
        return Structured(data=data, reply=reply)

    def note(self, kind: EventKind, **data: Json) -> None:
        self.notes.append((kind, data))

    async def _answered(self, request: ChatRequest, choice: Choice, visible: bool) -> Json:
        self.asked.append((request, choice, visible))
        self.active += 1
        self.peak = max(self.peak, self.active)
        try:
            await asyncio.sleep(0)
            value = self.answer(request, choice)
        finally:
            self.active -= 1
        if asyncio.iscoroutine(value):
            value = await value
        if isinstance(value, BaseException):
            raise value
        return value


def texts(request: ChatRequest) -> str:
    """Everything that a request says."""
    return "\n".join(str(message.get("content")) for message in request.messages)


class FakePool:
    """``agents.task_toolbox.PoolPort``: ``steps`` are texts, lists of Chunks, errors, or events to wait for."""

    def __init__(self, *steps: Any, cost_usd: float = 0.01) -> None:
        self.specs: tuple[BackendSpec, ...] = (CHEAP, JUDGE)
        self.steps = list(steps)
        self.cost_usd = cost_usd
        self.calls: list[tuple[ChatRequest, Choice, dict[str, Any]]] = []
        self.active = 0
        self.peak = 0
        self.cancelled = 0
        self.closed = False

    async def chat(self, request: ChatRequest, choice: Choice, **given: Any) -> ChatReply:
        step = await self._step(request, choice, given)
        return ChatReply(text=step, model="m", usage=_USAGE, message={"role": "assistant", "content": step})

    async def stream(
        self,
        request: ChatRequest,
        choice: Choice,
        *,
        deadline_s: float,
        holder: str,
        permits: Sequence[Permit] = (),
        health: Mapping[str, Health] | None = None,
        on_call: Callable[[CallRecord], None],
        may_restart: bool = True,
        assumed_tokens: int | None = None,
    ) -> AsyncGenerator[Chunk, None]:
        given = {"deadline_s": deadline_s, "permits": permits, "on_call": on_call, "may_restart": may_restart}
        step = await self._step(request, choice, given)
        for piece in [step] if isinstance(step, str) else step:
            try:
                if isinstance(piece, asyncio.Event):
                    await piece.wait()
                elif isinstance(piece, BaseException):
                    raise piece
                else:
                    yield piece if isinstance(piece, Chunk) else Chunk(text=piece, delta={"content": piece})
            except (asyncio.CancelledError, GeneratorExit):
                self.cancelled += 1
                raise

    async def aclose(self) -> None:
        self.closed = True

    async def _step(self, request: ChatRequest, choice: Choice, given: dict[str, Any]) -> Any:
        self.calls.append((request, choice, given))
        step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        self.active += 1
        self.peak = max(self.peak, self.active)
        error = None
        try:
            await asyncio.sleep(0)
            if isinstance(step, asyncio.Event):
                await step.wait()
                step = "late"
            if isinstance(step, BaseException):
                error = getattr(step, "code", "error")
                raise step
        except asyncio.CancelledError:
            self.cancelled += 1
            error = "cancelled"
            raise
        finally:
            self.active -= 1
            given["on_call"](
                CallRecord(
                    backend="cheap", model="m", started_at=0.0, latency_s=0.1, usage=_USAGE, cost_usd=self.cost_usd, error=error
                )
            )
        return step


_USAGE = Usage(prompt_tokens=10, completion_tokens=5)
