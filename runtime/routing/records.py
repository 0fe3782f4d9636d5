"""The words of learned routing: arms, contexts, weights, decisions and what is told of them, the error root.

Everything in this room speaks in these records. Imports the standard library and numpy's types alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

Way = Literal["best", "drawn", "floor", "held", "only", "usual", "router"]
"""How an arm came to be chosen: the best estimate, a draw from what it may be worth, the floor of exploration, the conversation
has it, no other was there, by the usual shares because nothing is known yet, a generated router said so."""


class RoutingError(Exception):
    """Root of this room's errors: something that was passed in cannot be. ``field`` names it."""

    def __init__(self, message: str, *, field: str) -> None:
        super().__init__(message)
        self.message = message
        self.field = field

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuilt, (type(self), self.message, self.field)


def _rebuilt(kind: type[RoutingError], message: str, name: str) -> RoutingError:
    return kind(message, field=name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One choice: strategy x node x backend. ``usd_per_1m`` is the backend's price now (None: unknown; 0: it costs nothing).

    The price is no part of what an arm is: what is learned of costs is learned in units of the price at that time.
    """

    strategy: str
    node: str
    backend: str
    usd_per_1m: float | None = None

    @property
    def key(self) -> str:
        """What the arm is: equal for equal strategy, node and backend, whatever the price."""
        return f"{self.strategy}\x1f{self.node}\x1f{self.backend}"

    @property
    def label(self) -> str:
        """For people."""
        return f"{self.strategy} x {self.node} x {self.backend}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What is known of a request before it is answered. ``point`` comes from features.py; ``locale`` and ``pattern`` may be
    unknown."""

    point: npt.NDArray[np.float32]
    locale: str | None = None
    pattern: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """What quality may cost: score points (1 is a perfect answer) given up for a US dollar and for a second.

    ``objective`` "ratio" takes ``quality^w / (cost^c latency^l)`` instead, with ``quality_power`` and the two weights as
    powers: a weight that multiplies a factor could not change an order.
    """

    per_usd: float = 0.0
    per_s: float = 0.0
    objective: Literal["difference", "ratio"] = "difference"
    quality_power: float = 1.0

    def __post_init__(self) -> None:
        for name in ("per_usd", "per_s", "quality_power"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise RoutingError(f"{name} must be a number of 0 or more", field=name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An arm as it was weighed. ``low`` to ``high`` holds its mean quality in 90 of 100 cases; ``share`` is the probability
    that it was given; ``seen`` the outcomes behind it, discounted. ``cost_usd`` and ``latency_s`` are None while nothing is
    known."""

    arm: Arm
    quality: float
    low: float
    high: float
    cost_usd: float | None
    latency_s: float | None
    utility: float
    share: float
    seen: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A choice and why. ``propensity`` is the probability with which the arm was chosen: the log's key to scoring others."""

    decision_id: str
    arm: Arm
    propensity: float
    way: Way
    reason: str
    at: float
    candidates: tuple[Candidate, ...]
    per_usd: float

    @property
    def chosen(self) -> Candidate:
        """The candidate that was taken, as it was weighed."""
        return next(each for each in self.candidates if each.arm.key == self.arm.key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What a request took, known when it ends, with or without a verdict."""

    cost_usd: float
    latency_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What became of a verdict: whether it was learned, and whether it gave the alarm that the arm has changed."""

    learned: bool
    changed: bool = False
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The learner at a glance, for metrics and the operator."""

    arms: int
    waiting: int
    learned: int
    alarms: Mapping[str, int] = field(default_factory=dict)
    trusts: Mapping[str, float] = field(default_factory=dict)
    per_usd: float = 0.0
    explored_usd: float = 0.0
