"""Questions to a person: requests of which no machine's answer passed its checks, and what the person says. Words and pure rules.

``Escalations`` is what dispatch and the surfaces see; ledger/escalations.py keeps them. Imports nothing of the daemon.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from agents import quality
from agents.records import Escalated, Json
from agents.shaping import compile_schema, with_count
from agents.verdicts import Constraint

EscalationState = Literal["open", "answered", "closed"]
STATES: Final[tuple[EscalationState, ...]] = ("open", "answered", "closed")
NEEDS_PERSON: Final = "needs_person"
"""The status of a request that waits for a person."""
_PREFIX: Final = "esc-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Escalation:
    """One question. ``request`` is the whole request as JSON text (jobs/wire.py); ``partial`` what the machines made of it, and
    ``answer`` what the person said (``{"data"}`` or ``{"text"}``). Times are Unix seconds."""

    escalation_id: str
    request_id: str
    state: EscalationState
    at: float
    reason: str
    request: str
    partial: Json = None
    answer: Json = None
    comment: str = ""
    ended_at: float | None = None


class Escalations(Protocol):
    """The queue of questions. What is awaited is durable on return."""

    async def open(self, request_id: str, request: str, error: Escalated) -> str:
        """Put the question; its id, which is in ``error`` as well. Asked again for the same request it is the same question.

        ``request`` is the request as JSON text.
        """
        ...

    async def list(self, *, state: EscalationState | None, limit: int) -> Sequence[Escalation]:
        """The newest first, without partial answers."""
        ...

    async def find(self, escalation_id: str) -> Escalation | None: ...

    async def answer(self, escalation_id: str, answer: Json, comment: str) -> bool:
        """Make ``answer`` the request's. False where the question is not open (any more)."""
        ...

    async def close(self, escalation_id: str, comment: str) -> bool:
        """End the question without an answer. False where it is not open (any more)."""
        ...


def id_of(request_id: str) -> str:
    """The id of the one question that a request can lead to."""
    return _PREFIX + request_id


def pointer(request_id: str) -> dict[str, Json]:
    """What a client is told of the question."""
    name = id_of(request_id)
    return {"id": name, "answered_at": f"/v1/requests/{request_id}"}


def problems_with(
    data: Json,
    text: str | None,
    *,
    schema: Mapping[str, Json] | None,
    count: int | None = None,
    constraints: Iterable[Constraint] = (),
) -> tuple[str, ...]:
    """What of a person's answer does not keep to what the request asked for. Linear in the answer. Pure."""
    if schema is None:
        return () if text else ("the request asks for words: give 'text'",)
    if text is not None:
        return ("the request asks for data: give 'data'",)
    whole = schema if count is None else with_count(schema, count)
    found = quality.issues(quality.check(data, schema=whole, constraints=constraints))
    return tuple(dict.fromkeys((*compile_schema(whole).errors(data)[:5], *found)))
