"""The words between the router and the request path. Imports the words of runtime/routing and of strategies alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from agents.strategy_specs import StrategySpec
from runtime.routing.experiment import Group
from runtime.routing.records import Arm, Decision

OWN = "own"
"""Stands for the backend of an arm whose strategy picks its backends itself."""
Source = Literal["checks", "failure", "empty", "delivered", "judge", "feedback", "comparison"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What generated routers see of one request, and what the one in force said: ``arm`` None where it left the choice to the
    learner. ``router`` is its version."""

    features: Mapping[str, Any]
    arm: Arm | None = None
    router: str = ""
    step: str = ""
    reason: str = ""
    confidence: float = 0.0
    counted: bool = True
    """Whether the request says anything in an experiment between two routers: not where both say the same."""


class Advisor(Protocol):
    """Generated routers in service (runtime/routers/desk.py). ``counts`` of their calls: decided, passed, failed, unavailable,
    retired."""

    counts: Counter[str]

    @property
    def champion(self) -> str | None:
        """The version in force; None where the learner chooses alone."""
        ...

    @property
    def explore(self) -> float:
        """Share of the choices that are made as without a router."""
        ...

    def serves(self, router: str) -> bool:
        """Whether this version can be asked now."""
        ...

    async def advise(self, router: str | None, features: Mapping[str, Any], arms: Sequence[Arm]) -> Told:
        """What this version (None: the champion) says; never raises, and never takes longer than its time limit."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """What was chosen for one piece of work. ``backend`` None: the strategy picks; ``strategy`` None: what the request or its
    node says. ``nodes`` are alike: any may do it. ``facts`` are what the request looked like (routing/features.py);
    ``group`` is the side of a running experiment. ``told`` is what a generated router was shown and said."""

    decision: Decision
    backend: str | None
    strategy: StrategySpec | None
    nodes: tuple[str, ...]
    facts: tuple[float, ...] = ()
    told: Told | None = None
    experiment_id: str | None = None
    group: Group = "champion"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What one source says of an answer: ``score`` and ``reliability`` from 0 to 1."""

    score: float
    reliability: float
    source: Source


@dataclass(slots=True, kw_only=True)
class DecisionRow:
    """One decision with what came of it, as the ledger keeps it. ``candidates`` are compact lists in the order of
    ``CANDIDATE_COLUMNS``; ``score`` is what all verdicts so far come to, ``weight`` what they count for together."""

    decision_id: str
    request_id: str
    at: float
    strategy: str
    node: str
    backend: str
    propensity: float
    way: str
    reason: str
    per_usd: float
    regret: float
    candidates: Sequence[Sequence[Any]]
    facts: Sequence[float] = ()
    experiment_id: str | None = None
    grp: str = "champion"
    status: str = "running"
    served_by: str = ""
    cost_usd: float = 0.0
    latency_s: float = 0.0
    score: float | None = None
    weight: float = 0.0
    source: str = ""
    simulated: bool = False
    features: Mapping[str, Any] = field(default_factory=dict)
    """What a generated router was or would have been shown; without the text where bodies are not kept."""
    router: str = ""
    step: str = ""
    """The router that named an arm, and which of its steps; empty where none did."""


CANDIDATE_COLUMNS = (
    "strategy", "node", "backend", "quality", "low", "high", "cost_usd", "latency_s", "utility", "share", "seen",
)  # fmt: skip


class DecisionBook(Protocol):
    """Where decisions are kept. ``write`` and ``heard`` only queue."""

    def write(self, row: DecisionRow) -> None: ...

    def heard(self, decision_id: str, *, score: float, weight: float, source: str) -> None: ...

    async def of_request(self, request_id: str) -> list[dict[str, Any]]:
        """The decisions of a request, first first; empty where there is none."""
        ...

    async def newest(self, *, since: float, limit: int) -> list[dict[str, Any]]:
        """Finished decisions since Unix time ``since``, the newest first."""
        ...


@dataclass(slots=True, kw_only=True)
class Counts:
    """What was counted since the start, by bounded words, for metrics."""

    decisions: dict[tuple[str, str], int] = field(default_factory=dict)
    verdicts: dict[str, int] = field(default_factory=dict)
    judged: dict[str, int] = field(default_factory=dict)
    alarms: int = 0
    regret: float = 0.0

    @staticmethod
    def bump(table: dict[Any, int], key: object) -> None:
        table[key] = table.get(key, 0) + 1


Wishes = Mapping[str, Any]
"""A request's own weights: objective, quality_weight, cost_weight, latency_weight; validated at the border
(runtime/api/routing_wish.py)."""
