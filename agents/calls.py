"""The words of one call to a backend: what it took, what was reserved for it, the right to make it, and the backend's health.

Used wherever calls are made, counted or booked: agents/llm, the toolbox, dispatch and the ledger; records.py builds on it. The
records are frozen and picklable, as those of records.py are. Imports nothing of the project.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one call or a sum of calls. ``estimated`` when any part was not reported by a backend."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    estimated: bool = False

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            estimated=self.estimated or other.estimated,
        )

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRecord:
    """One HTTP call to a backend, as the ledger and the trace show it. ``error`` is an error code or None.

    ``retry_after_s`` is what the backend asked for when it refused; the desk lets it rest for so long.
    """

    backend: str
    model: str
    started_at: float
    latency_s: float
    first_token_s: float | None = None
    usage: Usage = Usage()
    cost_usd: float = 0.0
    attempt: int = 1
    error: str | None = None
    detail: str = ""
    simulated: bool = False
    streamed: bool = False
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallCost:
    """The most that one call may take, all its choices together: what is reserved for it.

    Where so much cannot be had at all, it is granted with fewer completion tokens, down to ``least_tokens``.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    least_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Permit:
    """The right to one call in flight to ``backend``, leased from the daemon's desk.

    ``granted`` is what was reserved for the call; None where no budget is in force.
    """

    permit_id: str
    backend: str
    probe: bool = False
    granted: CallCost | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """A backend's breaker as it stood when the task left the daemon. ``retry_in_s`` while open."""

    state: Literal["closed", "open", "half_open"] = "closed"
    retry_in_s: float = 0.0


def usage_of(calls: Iterable[CallRecord]) -> Usage:
    """The tokens of all ``calls`` together, failed ones included."""
    return sum((call.usage for call in calls), Usage())


def cost_usd_of(calls: Iterable[CallRecord]) -> float:
    """What all ``calls`` cost together, failed ones included, in USD."""
    return sum(call.cost_usd for call in calls)
