"""Questions to a person in memory, for tests of dispatch and the surfaces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from agents.records import Escalated, Json
from runtime.escalations import Escalation, EscalationState, id_of


class FakeEscalations:
    """``held`` by id, in the order in which they were opened."""

    def __init__(self) -> None:
        self.held: dict[str, Escalation] = {}

    async def open(self, request_id: str, request: str, error: Escalated) -> str:
        name = id_of(request_id)
        fresh = Escalation(
            escalation_id=name,
            request_id=request_id,
            state="open",
            at=float(len(self.held)),
            reason=error.message,
            request=request,
            partial=error.partial,
        )
        self.held.setdefault(name, fresh)
        error.escalation_id = name
        return name

    async def list(self, *, state: EscalationState | None, limit: int) -> Sequence[Escalation]:
        return [one for one in reversed(self.held.values()) if state in (None, one.state)][:limit]

    async def find(self, escalation_id: str) -> Escalation | None:
        return self.held.get(escalation_id)

    async def answer(self, escalation_id: str, answer: Json, comment: str) -> bool:
        return self._end(escalation_id, state="answered", answer=answer, comment=comment)

    async def close(self, escalation_id: str, comment: str) -> bool:
        return self._end(escalation_id, state="closed", comment=comment)

    def _end(self, escalation_id: str, **fields: Json) -> bool:
        found = self.held[escalation_id]
        if found.state != "open":
            return False
        self.held[escalation_id] = replace(found, ended_at=9.0, **fields)
        return True
