"""Durable work: accepts asynchronous requests and batches, works them off, and takes up after a restart what was not over.

Built by daemon.py, reached by the surfaces through ``runtime.jobs.records.Jobs``. What to do is decided in plan.py; this is the
shell around it. The order that makes it safe: a request is written before its id is given out, a part before it counts, an
outcome together with the state that ends the job. What is not written yet is done again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from agents.counting import part_schema
from agents.records import AgentError, Cancelled, DeadlineExceeded, Draining, Json, NodeLost, Overloaded, RequestId
from runtime.jobs import wire
from runtime.jobs.batch import Batch
from runtime.jobs.bell import Bell
from runtime.jobs.plan import End, of_the_whole, on_start
from runtime.jobs.records import Caller, Feedback, Job, JobEvent, Part, StoredReply
from runtime.jobs.single import run_single
from runtime.jobs.tools import Tools
from runtime.ledger.records import LedgerError
from runtime.records import Request

log = logging.getLogger(__name__)

PUT_OFF_S = 2.0
"""A job that cannot be read now is tried again after this."""
FULL_RETRY_S = 5.0
"""What a client is asked to wait for when the queue is full."""


@dataclass(slots=True)
class _Running:
    """A job that is worked on. ``cancelled``: a client ended it (and not the daemon's shutdown)."""

    cancelled: bool = False
    task: asyncio.Task[None] | None = field(default=None)


class JobRunner:
    """Implements ``runtime.jobs.records.Jobs``. ``start`` once the daemon can work, ``stop`` before it no longer can."""

    def __init__(self, tools: Tools, bell: Bell) -> None:
        """``bell`` is rung by the tools' ledger."""
        self._tools = tools
        self._bell = bell
        self._waiting: deque[str] = deque()
        self._running: dict[str, _Running] = {}
        self._accepting = 0
        self._started = False
        self._stopping = False

    @property
    def queued(self) -> int:
        return len(self._waiting)

    @property
    def running(self) -> int:
        return len(self._running)

    async def start(self) -> None:
        """Take up what an earlier daemon left."""
        found = await self._tools.ledger.requeue()
        if found:
            log.warning("%d accepted requests are taken up again", len(found))
        self._waiting.extendleft(reversed(found))
        self._started = True
        self._pump()

    async def stop(self) -> None:
        """Let go of all work; it is taken up at the next start. Idempotent."""
        self._stopping = True
        tasks = [running.task for running in self._running.values() if running.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # ── for the surfaces ────────────────────────────────────────────────────────────────────────────────────────────────

    async def submit(
        self, request: Request, *, deadline_s: float | None, caller: Caller | None = None, reply: StoredReply | None = None
    ) -> Job:
        """See ``runtime.jobs.records.Jobs``."""
        settings = self._tools.settings()
        if self._stopping:
            raise Draining("the daemon is shutting down", retry_after_s=FULL_RETRY_S)
        if len(self._waiting) + self._accepting >= settings.max_queued:
            raise Overloaded(f"{len(self._waiting)} requests are waiting (jobs.max_queued)", retry_after_s=FULL_RETRY_S)
        total = self._total(request)
        text = wire.encode(request)
        now = self._tools.wall()
        deadline_at = now + min(deadline_s or settings.default_deadline_s, settings.max_deadline_s)
        self._accepting += 1
        try:
            # Shielded: a client that hangs up now cannot know whether it was accepted, so it is either not written or worked on.
            await asyncio.shield(self._accept(request, text, now, deadline_at, total, caller, reply))
        finally:
            self._accepting -= 1
        return Job(
            request_id=request.request_id,
            state="queued",
            at=now,
            updated_at=now,
            deadline_at=deadline_at,
            attempts=0,
            total=total,
            done=0,
            request=text,
            key_id=request.key_id,
        )

    async def _accept(
        self,
        request: Request,
        text: str,
        now: float,
        deadline_at: float,
        total: int | None,
        caller: Caller | None,
        reply: StoredReply | None,
    ) -> None:
        ledger = self._tools.ledger
        await ledger.accept(request, text, at=now, deadline_at=deadline_at, total=total, caller=caller, reply=reply)
        self._waiting.append(request.request_id)
        self._pump()

    def _total(self, request: Request) -> int | None:
        """How many items, where it is a batch. Raises InvalidRequest where the schema forbids as many."""
        if request.count is None or request.schema is None or request.count <= self._tools.settings().items_per_part:
            return None
        if of_the_whole(request, self._tools.runs.strategy_ahead(request)):
            return None
        part_schema(request.schema, request.count)
        return request.count

    async def cancel(self, request_id: str) -> Job | None:
        running = self._running.get(request_id)
        if running is not None and running.task is not None:
            running.cancelled = True
            running.task.cancel()
            await asyncio.wait([running.task])
        job = await self.find(request_id)
        if job is None or not job.is_open:
            return job
        # It was waiting (its place in the queue is found empty later), or its task ended before it could write.
        await self._tools.finish(job, wire.decode(job.request), error=Cancelled("the client cancelled it"))
        return await self.find(request_id)

    async def find(self, request_id: str) -> Job | None:
        return await self._tools.ledger.find(request_id)

    async def events(self, request_id: str, *, from_seq: int, limit: int) -> Sequence[JobEvent]:
        return await self._tools.ledger.events(request_id, from_seq=from_seq, limit=limit)

    async def parts(self, request_id: str, *, first: int, limit: int) -> Sequence[Part]:
        return await self._tools.ledger.parts(request_id, first=first, limit=limit)

    async def changed(self, request_id: str, *, timeout_s: float) -> None:
        await self._bell.wait(request_id, timeout_s)

    async def feedback(self, request_id: str, key_id: str | None, feedback: Feedback) -> None:
        await self._tools.ledger.feedback(request_id, key_id, feedback)
        self._tools.heard(request_id, key_id, feedback.score)

    async def feedbacks(self, request_id: str) -> Sequence[Mapping[str, Json]]:
        return await self._tools.ledger.feedbacks(request_id)

    # ── the work ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _pump(self) -> None:
        most = self._tools.settings().max_running
        while self._started and not self._stopping and self._waiting and len(self._running) < most:
            request_id = self._waiting.popleft()
            if request_id in self._running:
                continue
            running = self._running[request_id] = _Running()
            running.task = asyncio.create_task(self._work(request_id, running), name=f"job-{request_id}")
            running.task.add_done_callback(partial(self._ended, request_id))

    def _ended(self, request_id: str, task: asyncio.Task[None]) -> None:
        self._running.pop(request_id, None)
        self._pump()

    async def _work(self, request_id: str, running: _Running) -> None:
        try:
            job = await self.find(request_id)
        except LedgerError as error:
            log.error("job %s is put off: %s", request_id, error)
            await self._tools.sleep(PUT_OFF_S)
            self._waiting.append(request_id)
            return
        if job is None or not job.is_open:
            return
        try:
            await self._begin(job)
        except asyncio.CancelledError:
            if running.cancelled:
                await self._end(job, Cancelled("the client cancelled it"))
                return
            raise
        except AgentError as error:
            if not self._stopping:
                await self._end(job, error)
        except LedgerError as error:
            log.error("job %s: what came of it cannot be stored: %s", request_id, error)
            await self._end(job, AgentError("what came of it cannot be stored"))
        except Exception:
            # A fault of ours at one job must not take the others along, nor leave this one open for ever.
            log.exception("job %s failed unexpectedly", request_id)
            self._tools.metrics.job_crashed()
            await self._end(job, AgentError("the daemon failed at this request"))

    async def _begin(self, job: Job) -> None:
        request = wire.decode(job.request)
        what = on_start(job, now=self._tools.wall())
        over = _error_of(what) if isinstance(what, End) else None
        if over is None:
            self._tools.ledger.start(job.request_id, at=self._tools.wall())
        if job.total is not None:
            await Batch(self._tools, job, request).run(over)
        elif over is not None:
            await self._tools.finish(job, request, error=over)
        else:
            await run_single(self._tools, job, request)

    async def _end(self, job: Job, error: AgentError) -> None:
        """Write the outcome of a job that cannot go on. One whose request cannot be read has one as well."""
        try:
            request = wire.decode(job.request)
        except AgentError:
            request = Request(request_id=RequestId(job.request_id), source="native", messages=())
        await self._tools.finish(job, request, error=error)


def _error_of(end: End) -> AgentError:
    return (DeadlineExceeded if end.code == "deadline_exceeded" else NodeLost)(end.reason)
