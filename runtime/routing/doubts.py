"""Arms that seem to have fallen: what was known of each is laid aside until it is clear whether they have.

Called by quality.py. Imports numpy alone; no I/O, no clock.

The sums of drift.py give an alarm after a handful of bad outcomes, and a run of bad luck looks the same. An arm that is given up
for it is hardly asked again, and so never shows that it was luck. Here both are weighed, "as before" and "fallen": the odds begin
with how often arms die and how often they get worse, and with how much likelier the run is then than under what was expected
(the case of one change of Adams and MacKay, "Bayesian Online Changepoint Detection", 2007), and every later outcome moves them.
Choices are drawn from both in proportion: a favourite under suspicion is asked until it is clear, which takes a few requests, and
one that died is hardly doubted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import exp, log

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]
Outcome = tuple[Vector, float, float, float]
"""Features, score, weight, and the score that was expected."""

DIES_ONCE_IN, WORSENS_ONCE_IN = 100.0, 50_000.0
"""Outcomes of an arm. What breaks mostly breaks wholly."""
SURE = 2.5
"""Log odds at which one of the two is taken for true."""
LEAST_KNOWN = 10.0
"""Of an arm with fewer outcomes too little is known to hold on to."""
MOST_AFTER = 200
"""After so many outcomes the likelier of the two is taken."""
_NEVER_SURE = 0.02


@dataclass(slots=True, kw_only=True)
class Doubt:
    """What was known of an arm (``weights (d,)``, and ``bring_back``, which puts all of it back), and all outcomes since it seems
    to have fallen; the first ``run`` of them gave the alarm."""

    weights: Vector
    bring_back: Callable[[], None]
    outcomes: list[Outcome]
    run: int
    log_odds: float = field(init=False)
    """That what was known still holds."""

    def __post_init__(self) -> None:
        self.log_odds = _log_odds(self.outcomes)

    @property
    def chance(self) -> float:
        """That the arm is as before, from 0 to 1."""
        return 1.0 / (1.0 + exp(-min(max(self.log_odds, -30.0), 30.0)))

    @property
    def after(self) -> Sequence[Outcome]:
        """What came after the alarm."""
        return self.outcomes[self.run :]

    def before(self, x: Vector) -> float:
        """What was expected of the arm."""
        return float(self.weights @ x)

    def hear(self, x: Vector, score: float, weight: float) -> None:
        """One outcome more."""
        self.outcomes.append((x, score, weight, self.before(x)))
        self.log_odds = _log_odds(self.outcomes)

    @property
    def verdict(self) -> bool | None:
        """True: as before; False: fallen; None: not clear yet."""
        if abs(self.log_odds) < SURE and len(self.outcomes) < self.run + MOST_AFTER:
            return None
        return self.log_odds > 0


def _log_odds(outcomes: Sequence[Outcome]) -> float:
    """Of "as before" against "dead" or "worse", of which the latter takes the mean of what came."""
    total = sum(weight for _, _, weight, _ in outcomes)
    worse = (sum(score * weight for _, score, weight, _ in outcomes) + 0.25) / (total + 0.5)
    as_before, as_worse, as_dead = (
        sum(weight * likelihood(score, expected if mean is None else mean) for _, score, weight, expected in outcomes)
        for mean in (None, worse, 0.0)
    )
    return as_before - float(np.logaddexp(as_worse - log(WORSENS_ONCE_IN), as_dead - log(DIES_ONCE_IN)))


def likelihood(score: float, mean: float) -> float:
    """The logarithm of a score's likelihood, taken for a share of successes."""
    sure = min(max(mean, _NEVER_SURE), 1 - _NEVER_SURE)
    return score * log(sure) + (1 - score) * log(1 - sure)
