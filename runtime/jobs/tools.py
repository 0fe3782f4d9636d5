"""What single.py and batch.py have in common: one attempt at a piece of work, patience with failures, and the end of a job.

Built by runner.py.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Protocol

from agents.calls import cost_usd_of, usage_of
from agents.records import AgentError, Event, Json, Refused
from agents.strategy_specs import StrategySpec
from runtime.config.settings import JobSettings
from runtime.ended import tell_end
from runtime.events import EventBoard
from runtime.jobs.plan import Again, Drop, Stop, on_failure
from runtime.jobs.records import Job
from runtime.jobs.views import job_body
from runtime.ledger.jobs import JobLedger
from runtime.metrics import Metrics
from runtime.open_request import Spent
from runtime.records import Answer, Request

_TOLD = frozenset({"stage", "progress", "node_lost", "restart"})
_MAX_TOLD = 200
"""Events of one attempt that watchers are told; a model in a loop must not fill the ledger."""


class Runs(Protocol):
    """What is needed of ``runtime.dispatch.Dispatch``."""

    def strategy_ahead(self, request: Request) -> StrategySpec | None: ...

    def stream(self, request: Request, spent: Spent | None = None) -> AsyncGenerator[Event | Answer, None]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """The parts of the daemon that jobs need. ``heard`` is told of feedback once it is written: request, key,
    score. ``dice`` gives numbers in 0 … 1; ``wall`` Unix seconds."""

    runs: Runs
    ledger: JobLedger
    settings: Callable[[], JobSettings]
    metrics: Metrics
    board: EventBoard | None = None
    heard: Callable[[str, str | None, float], None] = lambda request_id, key_id, score: None
    wall: Callable[[], float] = time.time
    dice: Callable[[], float] = random.random
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def finish(
        self,
        job: Job,
        request: Request,
        *,
        answer: Answer | None = None,
        error: AgentError | None = None,
        spent: Spent | None = None,
        frame: Json = None,
    ) -> None:
        """Write the one outcome. Nothing happens where there is one already."""
        now = self.wall()
        spent = spent or Spent()
        cost_usd, simulated = 0.0, False

        def reply(ended: Job) -> Json:
            nonlocal cost_usd, simulated
            cost_usd, simulated = ended.cost_usd, ended.simulated
            return job_body(ended, answer=answer, error=error, frame=frame)

        written = await self.ledger.finish(
            job.request_id,
            answer=answer,
            error=error,
            calls=spent.calls,
            events=spent.events,
            reply=reply,
            at=now,
            latency_s=max(0.0, now - job.at),
        )
        if written:
            tell_end(
                request,
                answer=answer,
                error=error,
                metrics=self.metrics,
                board=self.board,
                node=answer.node if answer else None,
                strategy=answer.strategy if answer else "none",
                latency_s=max(0.0, now - job.at),
                overhead_s=0.0,
                cost_usd=cost_usd,
                simulated=simulated,
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What one attempt came to: an answer or an error, and what it took in either case."""

    answer: Answer | None
    error: AgentError | None
    spent: Spent

    @property
    def cost_usd(self) -> float:
        return cost_usd_of(self.spent.calls)

    @property
    def tokens(self) -> int:
        return usage_of(self.spent.calls).total_tokens


async def attempt(tools: Tools, request: Request, *, tell: bool = False) -> Attempt:
    """One attempt, with its events told to watchers where ``tell``. Cut off, it books what it took and passes the cancel on."""
    spent, told = Spent(), 0
    try:
        async with aclosing(tools.runs.stream(request, spent)) as items:
            async for item in items:
                if isinstance(item, Answer):
                    return Attempt(answer=item, error=None, spent=spent)
                if tell and item.kind in _TOLD and told < _MAX_TOLD:
                    told += 1
                    tools.ledger.tell(request.request_id, item.kind, item.data, at=item.at)
        return Attempt(answer=None, error=AgentError("the work ended without an answer"), spent=spent)
    except AgentError as error:
        return Attempt(answer=None, error=error, spent=spent)
    except asyncio.CancelledError:
        tools.ledger.spend(request.request_id, spent.calls, spent.events)
        raise


@dataclass(slots=True, kw_only=True)
class Patience:
    """How often one piece has failed, and what follows from that."""

    tools: Tools
    deadline_at: float
    failures: int = field(default=0)
    refusals: int = field(default=0)

    def left_s(self) -> float:
        return self.deadline_at - self.tools.wall()

    def renewed(self) -> None:
        """It got on: the count begins anew."""
        self.failures = self.refusals = 0

    def after(self, error: AgentError) -> Again | Drop | Stop:
        """What to do now; see ``plan.on_failure``."""
        from_refusal = isinstance(error, Refused)
        self.refusals += from_refusal
        self.failures += not from_refusal
        settings = self.tools.settings()
        return on_failure(
            error,
            failures=self.failures,
            refusals=self.refusals,
            attempts=settings.part_attempts,
            base_pause_s=settings.retry_pause_s,
            left_s=self.left_s(),
            dice=self.tools.dice(),
        )
