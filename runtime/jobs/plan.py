"""What is to be done with a job: pure decisions on records, without clock, randomness or I/O.

Called by runner.py. Every decision has a name and a reason.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from agents.quality.statistical_constraints import OF_THE_WHOLE
from agents.records import AgentError, BudgetExceeded, Escalated, InvalidRequest, Refused
from agents.strategy_specs import StrategySpec, draws_samples
from runtime.jobs.records import Job, Range
from runtime.records import Request

MAX_STARTS = 200
"""A job that was begun this often is given up: it may be what ends the daemon."""
MAX_REFUSALS = 30
"""How often a piece of work that nobody had room for is offered again."""
MAX_PROGRESS_EVENTS = 500
"""Progress events of one batch; those between are left out."""
_MAX_PAUSE_S = 30.0


def of_the_whole(request: Request, strategy: StrategySpec | None) -> bool:
    """Whether a request that ``strategy`` answers must not be cut into parts: a sample is drawn at once, and what is said of it
    holds for the whole."""
    return draws_samples(strategy) or any(one.kind in OF_THE_WHOLE for one in request.constraints)


def split(missing: Iterable[Range], size: int) -> list[Range]:
    """``missing`` in pieces of at most ``size`` items."""
    return [
        Range(first=first, count=min(size, gap.end - first))
        for gap in missing
        for first in range(gap.first, gap.end, max(1, size))
    ]


def gaps(total: int, done: Iterable[Range]) -> list[Range]:
    """What is missing of ``total`` items where ``done`` (in any order, overlaps allowed) is there, in order."""
    found: list[Range] = []
    place = 0
    for part in sorted(done, key=lambda part: part.first):
        start, end = (min(total, max(0, edge)) for edge in (part.first, part.end))
        if start > place:
            found.append(Range(first=place, count=start - place))
        place = max(place, end)
    if place < total:
        found.append(Range(first=place, count=total - place))
    return found


def tells(total: int, before: int, after: int) -> bool:
    """Whether going from ``before`` to ``after`` items is worth an event, so that a batch of any size has a bounded number."""
    return after >= total or after * MAX_PROGRESS_EVENTS // total > before * MAX_PROGRESS_EVENTS // total


@dataclass(frozen=True, slots=True, kw_only=True)
class Begin:
    """Work on it, for at most ``left_s``."""

    left_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """Nothing more can be done; ``code`` is the error code that stands for it."""

    code: str
    reason: str


def on_start(job: Job, *, now: float) -> Begin | End:
    """What to do with a job that was found open."""
    if now >= job.deadline_at:
        return End(code="deadline_exceeded", reason=f"its time was over after {job.deadline_at - job.at:g} s")
    if job.attempts >= MAX_STARTS:
        return End(code="node_lost", reason=f"it was begun {job.attempts} times and never came to its end")
    return Begin(left_s=job.deadline_at - now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """Offer the piece again after ``pause_s``."""

    pause_s: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """Leave this piece missing and go on with the others."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """No other piece would fare better: end the job with what there is."""

    reason: str


def on_failure(
    error: AgentError, *, failures: int, refusals: int, attempts: int, base_pause_s: float, left_s: float, dice: float
) -> Again | Drop | Stop:
    """What to do with a piece that failed ``failures`` times and was refused ``refusals`` times, this one counted.

    ``attempts`` is how many failures are taken; ``dice`` is uniform in 0 … 1 and spreads the pauses.
    """
    waits = error.retry_after_s is not None  # money that running calls hold comes back; money that is spent does not
    if isinstance(error, InvalidRequest | Escalated) or (isinstance(error, BudgetExceeded) and not waits):
        return Stop(reason=error.code)
    refused = isinstance(error, Refused)
    if (refusals >= MAX_REFUSALS) if refused else (failures >= attempts):
        return Drop(reason=f"{error.code} after {refusals if refused else failures} attempts")
    exponent = min(10, max(0, (refusals if refused else failures) - 1))
    pause_s = min(_MAX_PAUSE_S, base_pause_s * 2**exponent) * (0.5 + dice / 2)
    if error.retry_after_s is not None:
        pause_s = max(pause_s, min(_MAX_PAUSE_S, error.retry_after_s))
    if pause_s >= left_s:
        return Stop(reason="deadline_exceeded")
    return Again(pause_s=pause_s, reason=error.code)


def share_usd(left_usd: float | None, part: int, items_left: int) -> float | None:
    """What one part of ``part`` items may spend, where ``left_usd`` must do for ``items_left`` items, the part's included."""
    return None if left_usd is None else max(0.0, left_usd) * min(1.0, part / max(1, items_left))


def share_tokens(left_tokens: int | None, part: int, items_left: int) -> int | None:
    """The same in tokens."""
    return None if left_tokens is None else int(max(0, left_tokens) * min(1.0, part / max(1, items_left)))
