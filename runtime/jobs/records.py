"""The words of durable work: jobs, their parts, their events, kept replies, and the ports through which surfaces reach them.

Called by the rest of runtime/jobs, by the ledger's tables for them and by the API. Imports no database and no HTTP.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from agents.records import Json
from runtime.records import Request

JobState = Literal["queued", "running", "done", "partial", "failed", "cancelled"]
OPEN_STATES: frozenset[JobState] = frozenset({"queued", "running"})
STATE_OF_STATUS: Mapping[str, JobState] = {"ok": "done", "partial": "partial", "error": "failed", "cancelled": "cancelled"}
"""What a job's state is called where its outcome has this status."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Items ``first`` … ``first + count - 1`` of a batch, counted from 0."""

    first: int
    count: int

    @property
    def end(self) -> int:
        return self.first + self.count


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One accepted request as the ledger has it. Times are Unix seconds; ``total`` is None where it is no batch.

    ``request`` and ``reply`` are JSON texts; ``reply`` is what the client gets when it is over. The sums are over all calls that
    were booked, those of interrupted attempts included as far as they are known.
    """

    request_id: str
    state: JobState
    at: float
    updated_at: float
    deadline_at: float
    attempts: int
    total: int | None
    done: int
    request: str
    reply: str | None = None
    key_id: str | None = None
    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    estimated: bool = False
    cost_usd: float = 0.0
    simulated: bool = False

    @property
    def is_open(self) -> bool:
        return self.state in OPEN_STATES


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEvent:
    """Something that a watcher of a job is told; ``seq`` counts from 1 without gaps."""

    seq: int
    kind: str
    at: float
    data: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Items of a batch that are there for good. ``items`` is a JSON array as text."""

    range: Range
    items: str
    frame: str | None = None
    issues: tuple[str, ...] = ()
    complete: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Whose word an idempotency key is: the caller's key id (None: loopback without a key) and what it sent."""

    key_id: str | None
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredReply:
    """A reply as it is given again. ``digest`` is of the request it answered; ``body`` None: it is too large or secret."""

    digest: bytes
    at: float
    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = b""
    request_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """What a client thinks of an answer: ``score`` from 0 to 1."""

    score: float
    comment: str = ""
    at: float


class Replies(Protocol):
    """Kept replies by idempotency key."""

    async def find(self, caller: Caller) -> StoredReply | None: ...

    async def keep(self, caller: Caller, reply: StoredReply) -> None:
        """Durable on return."""
        ...


class Jobs(Protocol):
    """Durable work as the surfaces see it."""

    async def submit(
        self, request: Request, *, deadline_s: float | None, caller: Caller | None = None, reply: StoredReply | None = None
    ) -> Job:
        """Accept a request; durable on return, together with the ``reply`` that its idempotency key gives again.

        Raises Overloaded (the queue is full), Draining, InvalidRequest.
        """
        ...

    async def cancel(self, request_id: str) -> Job | None:
        """End a job now; one that is over stays as it is. None: there is no such job."""
        ...

    async def find(self, request_id: str) -> Job | None: ...

    async def events(self, request_id: str, *, from_seq: int, limit: int) -> Sequence[JobEvent]:
        """Events from ``from_seq`` on, in order."""
        ...

    async def parts(self, request_id: str, *, first: int, limit: int) -> Sequence[Part]:
        """At most ``limit`` parts that reach beyond item ``first``, in order."""
        ...

    async def changed(self, request_id: str, *, timeout_s: float) -> None:
        """Wait until something is written of this job, or for so long."""
        ...

    async def feedback(self, request_id: str, key_id: str | None, feedback: Feedback) -> None:
        """Keep it; durable on return. A later one of the same key takes its place."""
        ...

    async def feedbacks(self, request_id: str) -> Sequence[Mapping[str, Json]]: ...
