"""Did a change do what it promised? Predicted against measured, by a test that may be looked at any time. Pure.

Called by the controller with every request that ended after a change. Each prediction has a confidence sequence of the mean
(runtime/routing/sequential.py: no assumption on the distribution, valid at every moment at once), with the error shared among
the predictions. All of them hold: kept. One of them does not: rolled back. Where the time is over and neither is sure, the
probation is extended a bounded number of times, and then the means decide as they are; a change of which nothing was seen stays
where it can do no harm, and goes where it is there for a gain.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from runtime.routing.sequential import Mean
from runtime.topology.payloads import Kind
from runtime.topology.records import HIGHER_IS_BETTER, Draft, Prediction

FOR_A_GAIN: Final = frozenset({Kind.SPAWN, Kind.SPLIT, Kind.REWIRE, Kind.ADOPT_ROUTER, Kind.TUNE})
"""Kinds that are undone where nothing was seen of the gain; an operator's wish is not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """``error``: how often a change that keeps its promise may be rolled back by the test. A change is on probation for
    ``probation_s`` seconds, at most ``extensions`` times prolonged by as much; it is not kept before ``least`` requests of each
    prediction."""

    error: float = 0.05
    probation_s: float = 3600.0
    extensions: int = 2
    least: int = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """One prediction and what was measured of it: values as a share of its bound, those that are none counted in ``odd``."""

    prediction: Prediction
    mean: Mean
    odd: int = 0

    @property
    def measured(self) -> float | None:
        """The mean so far, in the prediction's units; None before the first value."""
        return self.mean.total / self.mean.n * self.prediction.bound if self.mean.n else None

    @property
    def interval(self) -> tuple[float, float]:
        """What the mean may be, in the prediction's units."""
        return self.mean.low * self.prediction.bound, self.mean.high * self.prediction.bound

    @property
    def holds(self) -> bool:
        """Surely."""
        low, high = self.interval
        limit = self.prediction.limit
        return self.mean.n > 0 and (low >= limit if self.prediction.metric in HIGHER_IS_BETTER else high <= limit)

    @property
    def fails(self) -> bool:
        """Surely."""
        low, high = self.interval
        limit = self.prediction.limit
        return self.mean.n > 0 and (high < limit if self.prediction.metric in HIGHER_IS_BETTER else low > limit)

    @property
    def looks_good(self) -> bool:
        """By the mean as it is."""
        measured, limit = self.measured, self.prediction.limit
        if measured is None:
            return False
        return measured >= limit if self.prediction.metric in HIGHER_IS_BETTER else measured <= limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Undo:
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Extend:
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    reason: str


Ruling = Keep | Undo | Extend | Wait


def begin(predictions: Sequence[Prediction], terms: Terms) -> tuple[Watch, ...]:
    """Nothing measured yet."""
    alpha = terms.error / max(1, len(predictions))
    return tuple(Watch(prediction=each, mean=Mean(alpha=alpha)) for each in predictions)


def seen(watch: Watch, values: Iterable[float]) -> Watch:
    """With further requests; values that are not finite or negative count as odd and for nothing else."""
    mean, odd, bound = watch.mean, watch.odd, watch.prediction.bound
    for value in values:
        if not math.isfinite(value) or value < 0:
            odd += 1
            continue
        mean = mean.seen(min(value / bound, 1.0))
    return replace(watch, mean=mean, odd=odd)


def rule(draft: Draft, watches: Sequence[Watch], terms: Terms, *, over: bool, extended: int) -> Ruling:
    """What follows now. ``over``: the probation's time has passed; ``extended``: how often it was prolonged."""
    failing = next((each for each in watches if each.fails), None)
    if failing is not None:
        return Undo(reason=f"refuted: {told(failing)}")
    enough = all(each.mean.n >= terms.least for each in watches)
    if watches and enough and all(each.holds for each in watches):
        return Keep(reason=f"confirmed: {'; '.join(map(told, watches))}")
    if not over:
        return Wait(reason="; ".join(map(told, watches)) or "nothing is measured")
    if watches and extended < terms.extensions:
        return Extend(reason=f"undecided: {'; '.join(map(told, watches))}")
    return _last(draft, watches, terms)


def _last(draft: Draft, watches: Sequence[Watch], terms: Terms) -> Ruling:
    bad = next((each for each in watches if each.mean.n >= terms.least and not each.looks_good), None)
    if bad is not None:
        return Undo(reason=f"the time is over, and it does not look as predicted: {told(bad)}")
    unseen = next((each for each in watches if each.mean.n < terms.least), None)
    if unseen is not None and draft.origin != "operator" and draft.kind in FOR_A_GAIN:
        return Undo(reason=f"the time is over, and too little was seen of its gain: {told(unseen)}")
    return Keep(
        reason=f"the time is over, and nothing speaks against it: {'; '.join(map(told, watches)) or 'nothing is measured'}"
    )


def told(watch: Watch) -> str:
    """One prediction and what was measured of it, in words."""
    each, (low, high) = watch.prediction, watch.interval
    of = "" if each.scope.kind == "all" else f" of {each.scope.kind} {', '.join(each.scope.names[:3])}"
    promise = f"{each.metric}{of} from {each.baseline:.4g} to {each.expected:.4g} {each.units} (at worst {each.limit:.4g})"
    if watch.measured is None:
        return f"{promise}, and no request was seen"
    return f"{promise}, measured {watch.measured:.4g} ({low:.4g} to {high:.4g}) over {watch.mean.n} requests"
