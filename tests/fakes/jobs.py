"""Durable work in memory, for tests of the surfaces: what was submitted, and what each job is told to hold."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

from agents.records import AgentError, Json
from runtime.jobs.records import Caller, Feedback, Job, JobEvent, Part, StoredReply
from runtime.records import Request


class FakeJobs:
    """``held`` by id; ``refuse`` is raised by the next submit."""

    def __init__(self) -> None:
        self.submitted: list[tuple[Request, float | None]] = []
        self.held: dict[str, Job] = {}
        self.told: dict[str, list[JobEvent]] = {}
        self.made: dict[str, list[Part]] = {}
        self.given: dict[tuple[str, str | None], Feedback] = {}
        self.refuse: AgentError | None = None
        self.replies = FakeReplies()

    async def submit(
        self, request: Request, *, deadline_s: float | None, caller: Caller | None = None, reply: StoredReply | None = None
    ) -> Job:
        if self.refuse is not None:
            raise self.refuse
        self.submitted.append((request, deadline_s))
        job = Job(
            request_id=request.request_id,
            state="queued",
            at=0.0,
            updated_at=0.0,
            deadline_at=deadline_s or 60.0,
            attempts=0,
            total=None,
            done=0,
            request="{}",
            key_id=request.key_id,
        )
        self.held[request.request_id] = job
        if caller is not None and reply is not None:
            await self.replies.keep(caller, reply)
        return job

    async def cancel(self, request_id: str) -> Job | None:
        job = self.held.get(request_id)
        if job is not None and job.is_open:
            job = self.held[request_id] = replace(job, state="cancelled")
        return job

    async def find(self, request_id: str) -> Job | None:
        return self.held.get(request_id)

    async def events(self, request_id: str, *, from_seq: int, limit: int) -> Sequence[JobEvent]:
        return [event for event in self.told.get(request_id, ()) if event.seq >= from_seq][:limit]

    async def parts(self, request_id: str, *, first: int, limit: int) -> Sequence[Part]:
        return [part for part in self.made.get(request_id, ()) if part.range.end > first][:limit]

    async def changed(self, request_id: str, *, timeout_s: float) -> None:
        await asyncio.sleep(0)

    async def feedback(self, request_id: str, key_id: str | None, feedback: Feedback) -> None:
        self.given[(request_id, key_id)] = feedback

    async def feedbacks(self, request_id: str) -> Sequence[Mapping[str, Json]]:
        return [{"key_id": key_id, "score": given.score} for (of, key_id), given in self.given.items() if of == request_id]


class FakeReplies:
    """``kept`` by caller."""

    def __init__(self) -> None:
        self.kept: dict[Caller, StoredReply] = {}

    async def find(self, caller: Caller) -> StoredReply | None:
        return self.kept.get(caller)

    async def keep(self, caller: Caller, reply: StoredReply) -> None:
        self.kept[caller] = reply
