"""The Toolbox of one task: what its strategy may ask, bounded by its budget and written into its trace.

Built by node.py for each task. Reaches models through ``PoolPort`` (llm/pool.py) and nothing else.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace

from agents.calls import CallRecord, Permit, cost_usd_of, usage_of
from agents.committee.records import Convened, Design, PeerAnswer, Taken
from agents.llm.chat import BackendSpec, ChatReply, ChatRequest, Chunk
from agents.llm.heard import PLAIN, Heard
from agents.llm.selection import carries
from agents.llm.structured import ask_structured
from agents.llm.wire import estimate_usage
from agents.peers import Peers
from agents.programs import CodeFound
from agents.records import (
    AgentError,
    BudgetExceeded,
    Capability,
    Choice,
    DeadlineExceeded,
    Event,
    EventKind,
    Json,
    NotFound,
    Task,
)
from agents.strategy_specs import Seat
from agents.task_ports import CodeRunner, OnCall, PoolPort
from agents.toolbox import Structured
from sandbox.records import Limits, Problem, RunResult

EventSink = Callable[[Event], None]

MAX_NOTES = 1_000
"""Longest trace of one task, deltas and calls aside; the rest is left out."""
DEFAULT_LIMITS = Limits()
RUN_TRIES = 3
SEARCH_S = 2.0
"""Longest wait for the registry; at most a quarter of the time that is left."""
MIN_RUN_S = 0.01
_ALWAYS = frozenset({"delta", "call", "run", "restart"})
MAX_ERROR_CHARS = 500


class TaskToolbox:
    """Implements ``agents.toolbox.Toolbox``. ``calls`` are all calls so far; unused permits are the node's to give back."""

    def __init__(
        self,
        task: Task,
        *,
        pool: PoolPort,
        sink: EventSink,
        max_items_per_call: int,
        max_parallel: int,
        runner: CodeRunner | None = None,
        code_limits: Limits = DEFAULT_LIMITS,
        search: Callable[[str], Awaitable[CodeFound]] | None = None,
        peers: Peers | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._runner = runner
        self._code_limits = code_limits
        self._search = search
        self._peers = peers
        self._task = task
        self._pool = pool
        self._sink = sink
        self._max_items = max_items_per_call
        self._max_parallel = max_parallel
        self._clock = clock
        self._wall = wall
        self._deadline = clock() + task.budget.deadline_s
        self._permits = task.permits
        self._delivered = False
        self._slots = asyncio.Semaphore(max(1, max_parallel))
        self._notes = 0
        self._unmet: set[frozenset[Capability]] = set()
        self._spent_usd = 0.0
        self._spent_tokens = 0
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
    def code_limits(self) -> Limits:
        return self._code_limits

    async def run_code(self, code: str, inputs: Json, limits: Limits | None = None) -> RunResult:
        """What the sandbox says. A sandbox that is starting or full is asked again while there is time; that is not the code's
        fault. Raises DeadlineExceeded where no time is left."""
        if self._runner is None:
            return RunResult(problem=Problem.UNAVAILABLE, error="this node has no sandbox")
        limits = limits or self._code_limits
        result = RunResult(problem=Problem.UNAVAILABLE, error="it was not tried")
        for _ in range(RUN_TRIES):
            left_s = self.remaining_s()
            if left_s <= MIN_RUN_S:
                raise DeadlineExceeded(f"no time is left of {self._task.budget.deadline_s:g} s")
            result = await self._runner.run(code, inputs, replace(limits, wall_s=min(limits.wall_s, left_s)))
            self._ran(result)
            if result.problem is not Problem.UNAVAILABLE:
                break
        return result

    async def search_code(self, problem: str) -> CodeFound:
        """See the port. A registry that fails or is slow is as good as an empty one, and that is noted."""
        if self._search is None:
            return CodeFound()
        try:
            async with asyncio.timeout(min(SEARCH_S, self.remaining_s() / 4)):
                return await self._search(problem)
        except (AgentError, TimeoutError) as error:
            self.note("note", text="the registry was not searched", error=str(error) or "it took too long")
            return CodeFound()

    def _ran(self, result: RunResult) -> None:
        """Told for every run, also where nobody reads the trace: the daemon counts them."""
        self.note(
            "run",
            outcome=str(result.problem or "ok"),
            error=result.error[:MAX_ERROR_CHARS],
            line=result.line,
            cpu_s=round(result.cpu_s, 4),
            wall_s=round(result.wall_s, 4),
        )

    def take_unused(self) -> tuple[Permit, ...]:
        """Permits that came with the task and were never handed to the pool; they are the caller's now."""
        unused, self._permits = self._permits, ()
        return unused

    @property
    def delivered(self) -> bool:
        return self._delivered

    def remaining_s(self) -> float:
        return max(0.0, self._deadline - self._clock())

    def remaining_usd(self) -> float | None:
        limit = self._task.budget.usd
        return None if limit is None else max(0.0, limit - self._spent_usd)

    def remaining_tokens(self) -> int | None:
        limit = self._task.budget.tokens
        return None if limit is None else max(0, limit - self._spent_tokens)

    async def ask_peer(
        self, peer: str, question: str, *, instructions: str = "", max_tokens: int | None = None, within_s: float | None = None
    ) -> PeerAnswer:
        """See the port. What the peer spent counts here as well, so that the strategy sees what is left."""
        if self._peers is None:
            raise NotFound("this node has no peers", param="peer")
        async with self._slots:
            self._within_budget(ChatRequest(messages=({"role": "user", "content": question},)))
            left_s = self.remaining_s()
            try:
                answer = await self._peers.ask(
                    peer,
                    question,
                    deadline_s=left_s if within_s is None else min(within_s, left_s),
                    instructions=instructions,
                    max_tokens=max_tokens,
                )
            except AgentError as error:
                self._spent_usd += cost_usd_of(error.calls)
                self._spent_tokens += usage_of(error.calls).total_tokens
                raise
            self._spent_usd += answer.cost_usd
            self._spent_tokens += answer.tokens
            return answer

    async def pooled_design(self, problem: str) -> Design | None:
        return None if self._peers is None else await self._peers.pooled_design(problem, self._tell)

    async def convene(self, problem: str, seats: Sequence[Seat]) -> Convened:
        if self._peers is None:
            return Convened(committee_id="", seats=tuple(Taken(speciality=seat.speciality) for seat in seats))
        return await self._peers.convene(problem, seats, self._tell)

    async def dissolve(self, committee: Convened, *, design: Design, problem: str, passed: bool) -> None:
        if self._peers is not None:
            await self._peers.dissolve(committee, design=design, problem=problem, passed=passed, tell=self._tell)

    def _tell(self, words: str) -> None:
        self.note("note", text=words)

    def note(self, kind: EventKind, **data: Json) -> None:
        if kind not in _ALWAYS:
            self._notes += 1
            if self._notes > MAX_NOTES:
                return
        self._sink(Event(kind=kind, at=self._wall(), data=data))

    async def ask(self, request: ChatRequest, choice: Choice, *, visible: bool = False) -> ChatReply:
        """One model's answer, at most ``max_parallel`` of a task at once. Raises DeadlineExceeded, BudgetExceeded, and what the
        pool raises."""
        async with self._slots:
            request = self._within_budget(request)
            self._tell_unmet(choice)
            permits, self._permits = self._permits, ()
            answered: list[str] = []

            def called(record: CallRecord) -> None:
                self._called(record)
                if record.error is None:
                    answered.append(record.backend)

            if visible and self._task.stream:
                reply = await self._ask_streaming(request, choice, permits, called)
            else:
                reply = await self._pool.chat(
                    request,
                    choice,
                    deadline_s=self.remaining_s(),
                    holder=self._task.task_id,
                    permits=permits,
                    health=self._task.health,
                    on_call=called,
                    assumed_tokens=self._task.budget.assumed_tokens,
                )
            return replace(reply, backend=answered[-1]) if answered else reply

    def _tell_unmet(self, choice: Choice) -> None:
        """Note in the trace, once for each set of needs, that no backend declares what is needed, so that any is asked."""
        if choice.needs and choice.backend is None and choice.needs not in self._unmet and not carries(self.backends, choice):
            self._unmet.add(choice.needs)
            self.note("note", no_backend_declares=sorted(choice.needs), asked="any")

    async def ask_structured(self, request: ChatRequest, choice: Choice) -> Structured:
        async def ask(again: ChatRequest) -> ChatReply:
            return await self.ask(again, choice)

        answer = await ask_structured(ask, request)
        if answer.repaired:
            self.note("structured", repaired=True, schema=request.schema_name)
        return answer

    async def _ask_streaming(
        self, request: ChatRequest, choice: Choice, permits: tuple[Permit, ...], called: OnCall
    ) -> ChatReply:
        """Stream to the client what the model says; the reply is put together from the same chunks.

        An answer that follows another one on the client's screen must not begin again: that would void both.
        """
        heard = Heard()
        chunks = self._pool.stream(
            request,
            choice,
            deadline_s=self.remaining_s(),
            holder=self._task.task_id,
            permits=permits,
            health=self._task.health,
            on_call=called,
            may_restart=not self._delivered,
            assumed_tokens=self._task.budget.assumed_tokens,
        )
        async with aclosing(chunks):
            async for chunk in chunks:
                if chunk.restart:
                    heard = Heard()
                    if self._delivered:
                        self.note("restart")
                    self._delivered = False
                heard.feed(chunk)
                self._deliver(chunk)
        return heard.reply()

    def _deliver(self, chunk: Chunk) -> None:
        """Plain text goes out as text, everything else (tool calls, other choices, log probabilities) as the raw delta."""
        delta = chunk.delta or {}
        if chunk.index == 0 and set(delta) <= PLAIN:
            if not chunk.text:
                return
            self.note("delta", text=chunk.text, index=0)
        else:
            self.note("delta", raw=dict(delta), index=chunk.index, text=chunk.text)
        self._delivered = True

    def _called(self, record: CallRecord) -> None:
        self.calls.append(record)
        self._spent_usd += record.cost_usd
        self._spent_tokens += record.usage.total_tokens
        self.note("call", record=record)

    def _within_budget(self, request: ChatRequest) -> ChatRequest:
        """``request``, cut to the tokens that are left. Raises before an ask that cannot be paid any more.

        The daemon's account binds (runtime/admission.py), also over asks that run at once; this ends a strategy sooner, without a
        hop. A model that costs nothing is never refused for money.
        """
        budget = self._task.budget
        if self.remaining_s() <= 0:
            raise DeadlineExceeded(f"no time is left of {budget.deadline_s:g} s")
        spent_up = budget.usd is not None and self._spent_usd > 0 and self._spent_usd >= budget.usd
        if spent_up and not any(spec.is_free for spec in self._pool.specs):
            raise BudgetExceeded(f"the {budget.usd:g} USD of this request are spent (budget_usd)", param="budget_usd")
        if budget.tokens is None:
            return request
        left = budget.tokens - self._spent_tokens - estimate_usage(request, 0).prompt_tokens
        if left < 1:
            raise BudgetExceeded(
                f"of the {budget.tokens} tokens of this request too few are left (budget_tokens)", param="budget_tokens"
            )
        key = "max_completion_tokens" if "max_completion_tokens" in request.params else "max_tokens"
        given = request.params.get(key)
        return replace(request, params={**request.params, key: min(given, left) if isinstance(given, int) else left})
