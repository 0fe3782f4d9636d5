"""The words of durable work: jobs, their parts, their events, kept replies.

Called by the rest of runtime/jobs, by the ledger's tables for them and by the surfaces. Imports of the project only agents/.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from agents.records import Json

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
