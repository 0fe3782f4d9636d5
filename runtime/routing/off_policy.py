"""What a challenger would have done on logged traffic, before it touches a request.

Called by shadow mode. Pure. Imports numpy and this room alone.

The doubly robust estimator of Dudík, Langford, Li, "Doubly Robust Policy Evaluation and Learning" (ICML 2011): the model's
guess for what the challenger would choose, corrected where the logged choice is one that it would have made, by the error of
the guess over the logged propensity. It is right when either the propensities or the guesses are. The daemon logs true
propensities (``Decision.propensity``), so that the first holds by construction. Weights are clipped (Ionides 2008), which can
only make the challenger look more like the model's guess; the share of clipped rows and the effective sample size say how much
to believe.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from runtime.routing.records import RoutingError
from runtime.routing.sequential import Interval, asymptotic_radius

MIN_EFFECTIVE = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """One logged decision with its outcome.

    ``propensity`` is the probability with which the logged arm was chosen, ``target`` the one with which the challenger would
    choose it; ``guess`` is the model's score for the logged arm, ``target_guess`` its score for the challenger's choice (the
    mean over the challenger's probabilities). The guesses must not have seen this outcome.
    """

    score: float
    propensity: float
    target: float
    guess: float
    target_guess: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OffPolicy:
    """``value`` of the challenger and its ``gain`` over what was done, with intervals that hold at every moment.

    ``enough`` is False where too little of the log says anything about the challenger: then the numbers must not be used.
    """

    value: Interval
    gain: Interval
    n: int
    effective_n: float
    clipped: float
    enough: bool


def doubly_robust(rows: Sequence[Logged], *, alpha: float = 0.05, most_weight: float = 20.0) -> OffPolicy:
    """Score a challenger on a log. Raises RoutingError for an empty log or a row that cannot be."""
    if not rows:
        raise RoutingError("the log is empty", field="rows")
    table = np.array([(row.score, row.propensity, row.target, row.guess, row.target_guess) for row in rows])
    if not np.isfinite(table).all() or (table[:, 1] <= 0).any() or (table[:, 1:3] > 1 + 1e-9).any() or (table[:, 2] < 0).any():
        raise RoutingError("scores must be finite, propensities in (0, 1], targets in [0, 1]", field="rows")
    score, propensity, target, guess, target_guess = table.T
    raw = target / propensity
    weight = np.minimum(raw, most_weight)
    values = target_guess + weight * (score - guess)
    squares = float((weight**2).sum())
    effective = float(weight.sum()) ** 2 / squares if squares else 0.0
    return OffPolicy(
        value=_interval(values, alpha / 2),
        gain=_interval(values - score, alpha / 2),
        n=len(rows),
        effective_n=effective,
        clipped=float((raw > most_weight).mean()),
        enough=effective >= MIN_EFFECTIVE,
    )


def _interval(values: np.ndarray[tuple[int], np.dtype[np.float64]], alpha: float) -> Interval:
    mean = float(values.mean())
    radius = asymptotic_radius(len(values), float(values.std(ddof=1)) if len(values) > 1 else 0.0, alpha)
    return Interval(mean=mean, low=mean - radius, high=mean + radius)
