"""What a committee may take: how large it may be for the money, tokens and time that are left. Pure.

Called by meeting.py. These are estimates that end a committee sooner; what binds is the reservation of each call
(runtime/admission.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from agents.calls import Usage
from agents.committee.records import Design
from agents.llm.chat import BackendSpec, ChatRequest
from agents.llm.wire import estimate_usage
from agents.records import Work
from agents.strategy_specs import Seat

LEAST_MEMBERS: Final = 2
CHAIR_CALLS: Final = 4
"""The answer, its gate, one revision and its gate."""
HEARD_TOKENS: Final = 1_200
"""What a call reads of the discussion, about, beside the request."""
SAID_TOKENS: Final = 350
KEPT_SHARE: Final = 0.4
"""Of the time that there is when the committee meets, so much is kept for the chairperson, the gate and a revision."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallEstimate:
    """One call of a committee: at an average backend, and at the dearest, which the chairperson may have."""

    usd: float
    chair_usd: float
    tokens: int


def call_estimate(work: Work, backends: Sequence[BackendSpec]) -> CallEstimate:
    """What one call about ``work`` takes, roughly."""
    read = estimate_usage(ChatRequest(messages=work.messages, schema=work.schema), 0).prompt_tokens + HEARD_TOKENS
    usage = Usage(prompt_tokens=read, completion_tokens=SAID_TOKENS)
    costs = [spec.cost_usd(usage) for spec in backends] or [0.0]
    return CallEstimate(usd=sum(costs) / len(costs), chair_usd=max(costs), tokens=usage.total_tokens)


def chairs_part(one: CallEstimate) -> tuple[float, int]:
    """(USD, tokens) that the discussion must leave for the answer and its gate."""
    return CHAIR_CALLS / 2 * one.chair_usd, CHAIR_CALLS // 2 * one.tokens


def afforded(design: Design, one: CallEstimate, left_usd: float | None, left_tokens: int | None) -> Design | None:
    """The design, with fewer rounds and then fewer members where it would not be paid; None where no committee would be."""
    found = design
    while not _paid(found, one, left_usd, left_tokens):
        if found.rounds > 0:
            found = replace(found, rounds=found.rounds - 1)
        elif len(found.members) > LEAST_MEMBERS:
            found = replace(found, members=_without_last(found.members))
        else:
            return None
    return found


def _without_last(members: tuple[Seat, ...]) -> tuple[Seat, ...]:
    """Without the last member that writes no program: what it computes, nobody else can say."""
    place = max(place for place, seat in enumerate(members) if not seat.code)
    return members[:place] + members[place + 1 :]


def _paid(design: Design, one: CallEstimate, left_usd: float | None, left_tokens: int | None) -> bool:
    calls = len(design.members) * (1 + design.rounds)
    usd = calls * one.usd + CHAIR_CALLS * one.chair_usd
    tokens = (calls + CHAIR_CALLS) * one.tokens
    return (left_usd is None or usd <= left_usd) and (left_tokens is None or tokens <= left_tokens)
