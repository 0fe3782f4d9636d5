"""Routers that a model wrote: what they are given, what they may say, and which of them may not serve.

Called by runtime/routers (the shell) and by ops/bench/routers.py. Pure; imports pydantic and this room alone. A router is a
program with ``run(request)``; it sees what FEATURES names and says ``{"backend", "strategy", "confidence", "reason"}``, or None,
which leaves the choice to whoever stands behind it. What it says is hostile input: read by a strict schema, held against the
arms that are open, counted (``Conduct``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from runtime.routing.records import Arm

Json = Any

FEATURES: Final[Mapping[str, str]] = {
    "text": "str: the last user message in lower case, its first 1000 characters",
    "words": "int: words of that message",
    "numbers": "int: numbers in it",
    "lines": "int: its lines",
    "question": "bool: it has a question mark",
    "messages": "int: messages of the conversation",
    "goes_on": "bool: a model has spoken in this conversation already",
    "kind": "str: pattern (nothing in it is to be computed), computational or hybrid (computed, with words)",
    "complexity": "float: how hard it looks, 0 to 10",
    "schema": "bool: JSON of a given shape is asked for",
    "count": "int: items asked for, 0 where no number is named",
    "rules": "int: rules and constraints that the answer must keep",
    "tools": "int: tools offered",
    "library_similarity": "float: how near the nearest solved request is, 0 to 1; 0 where there is none",
    "pattern": "str: the recurring kind of request that it belongs to; empty where none is known",
    "load": "float: how busy the daemon is, 0 to 1",
    "hour": "int: hour of the day (UTC), 0 to 23",
    "arms": "list of {backend, strategy, usd_per_1m}: what may be chosen; the price is None where unknown",
}
MAX_TEXT_CHARS: Final = 1_000
MAX_REASON_CHARS: Final = 200
MAX_STEP_CHARS: Final = 64


class Words(BaseModel):
    """What a router returns."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    backend: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    strategy: Annotated[str, StringConstraints(max_length=64)] = ""
    confidence: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
    reason: Annotated[str, StringConstraints(max_length=MAX_REASON_CHARS)] = ""
    step: Annotated[str, StringConstraints(max_length=MAX_STEP_CHARS)] = ""


FaultKind = Literal["shape", "unknown_arm", "raised", "timed_out", "out_of_memory", "crashed", "too_large", "rejected"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """One of the open arms: its place among them, how sure the router is, which of its steps decided, and why."""

    at: int
    confidence: float
    step: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """The router leaves it to the incumbent."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """The router did what it may not; ``why`` in words that its author can act on."""

    kind: FaultKind
    why: str


def read(
    value: Json, arms: Sequence[Arm], *, configured: frozenset[str], least_confidence: float = 0.0
) -> Advice | Passed | Fault:
    """What a router's answer means. ``arms`` are open now, the incumbent's own strategy first; ``configured`` are all backends
    there are: one that only rests now is no mistake."""
    if value is None:
        return Passed(why="it has no opinion")
    try:
        said = Words.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the result"
        return Fault(kind="shape", why=f"{place}: {first['msg']}"[:300])
    if said.confidence < least_confidence:
        return Passed(why=f"it is {said.confidence:.2f} sure, and {least_confidence:g} is asked for")
    for at, arm in enumerate(arms):
        if arm.backend == said.backend and said.strategy in ("", arm.strategy):
            return Advice(at=at, confidence=said.confidence, step=said.step, reason=said.reason)
    if said.backend in configured:
        return Passed(why=f"{said.backend} cannot be chosen now")
    named = f"{said.strategy} x {said.backend}" if said.strategy else said.backend
    return Fault(kind="unknown_arm", why=f"{named!r} is none of the arms that it was given"[:300])


def offered(arms: Sequence[Arm]) -> list[dict[str, Json]]:
    """The arms as a router sees them: each backend and strategy once."""
    found: dict[tuple[str, str], dict[str, Json]] = {}
    for arm in arms:
        told = {"backend": arm.backend, "strategy": arm.strategy, "usd_per_1m": arm.usd_per_1m}
        found.setdefault((arm.backend, arm.strategy), told)
    return list(found.values())


def dearest(arms: Sequence[Arm]) -> frozenset[str]:
    """The backends of the highest price; none where all cost the same, or nothing is known of prices."""
    prices = {arm.backend: arm.usd_per_1m for arm in arms if arm.usd_per_1m is not None}
    if len(set(prices.values())) < 2:
        return frozenset()
    most = max(prices.values())
    return frozenset(name for name, price in prices.items() if price == most)


# ── before it serves ────────────────────────────────────────────────────────────────────────────────────────────────────

MAX_SAMPLES: Final = 200
LEAST_SAMPLES: Final = 8
MOST_PASSED: Final = 0.98
"""A router that decides on less than two of a hundred requests is no router."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What a router said of one sample, once in a process of its own order and once in another; ``wall_s`` of the call."""

    first: Json
    again: Json
    fault: Fault | None
    wall_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """The verdict before anything is served: ``faults`` is empty where it may go on."""

    samples: int
    decided: int
    backends: Mapping[str, int]
    p50_ms: float
    faults: tuple[str, ...] = ()

    @property
    def good(self) -> bool:
        return not self.faults


def check(
    answers: Sequence[Answered], arms: Sequence[Sequence[Arm]], *, configured: frozenset[str], most_p50_ms: float
) -> Checked:
    """Hold answers on sampled requests against the contract: schema and known arms on each, the same answer twice, neither always
    silent nor always the dearest, fast enough. ``arms[i]`` were open for sample ``i``."""
    faults: dict[str, None] = {}
    backends: dict[str, int] = {}
    always_dear = True
    for number, (answer, open_) in enumerate(zip(answers, arms, strict=True), start=1):
        if answer.fault is not None:
            faults[f"sample {number}: {answer.fault.kind}: {answer.fault.why}"] = None
            continue
        if answer.first != answer.again:
            faults[f"sample {number}: not deterministic: two calls on the same request gave different answers"] = None
        found = read(answer.first, open_, configured=configured)
        if isinstance(found, Fault):
            faults[f"sample {number}: {found.kind}: {found.why}"] = None
        elif isinstance(found, Advice):
            backend = open_[found.at].backend
            backends[backend] = backends.get(backend, 0) + 1
            always_dear = always_dear and backend in dearest(open_)
    decided = sum(backends.values())
    if len(answers) < LEAST_SAMPLES:
        faults[f"only {len(answers)} requests to check it on; {LEAST_SAMPLES} are needed"] = None
    elif not faults:
        if len(answers) - decided > MOST_PASSED * len(answers):
            faults[f"it decides on {decided} of {len(answers)} requests"] = None
        elif decided == len(answers) and always_dear:
            faults["it always says the dearest backend: that takes no router"] = None
    times = sorted(answer.wall_s for answer in answers)
    p50_ms = 1000 * times[len(times) // 2] if times else 0.0
    if p50_ms > most_p50_ms:
        faults[f"a call takes {p50_ms:.2f} ms at the median; {most_p50_ms:g} ms are allowed"] = None
    return Checked(samples=len(answers), decided=decided, backends=backends, p50_ms=p50_ms, faults=tuple(faults)[:5])


# ── while it serves ─────────────────────────────────────────────────────────────────────────────────────────────────────

FAULTS_IN: Final = 50
MOST_FAULTS: Final = 3
DEAREST_IN_A_ROW: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Conduct:
    """How a router behaves in service: its last calls (True: a fault), and how often in a row it chose nothing but the
    dearest."""

    calls: int = 0
    decided: int = 0
    faults: int = 0
    recent: tuple[bool, ...] = ()
    dearest_in_a_row: int = 0
    last_fault: str = ""

    def seen(self, what: Advice | Passed | Fault, arms: Sequence[Arm]) -> Conduct:
        """With one call more."""
        fault = what if isinstance(what, Fault) else None
        dear = isinstance(what, Advice) and arms[what.at].backend in dearest(arms)
        return replace(
            self,
            calls=self.calls + 1,
            decided=self.decided + isinstance(what, Advice),
            faults=self.faults + (fault is not None),
            recent=(*self.recent, fault is not None)[-FAULTS_IN:],
            dearest_in_a_row=self.dearest_in_a_row + 1 if dear else 0,
            last_fault=f"{fault.kind}: {fault.why}" if fault is not None else self.last_fault,
        )

    @property
    def unfit(self) -> str:
        """Why it may not go on; empty where it may."""
        failed = sum(self.recent)
        if failed >= MOST_FAULTS:
            return f"{failed} of its last {len(self.recent)} calls failed ({self.last_fault})"
        if self.dearest_in_a_row >= DEAREST_IN_A_ROW:
            return f"it chose the dearest backend {self.dearest_in_a_row} times in a row"
        return ""
