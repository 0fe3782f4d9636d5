"""From configuration and a request's wishes to what one decision needs, and from a decision to its row.

Called by desk.py. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from agents.calls import CallRecord, cost_usd_of
from agents.records import AgentError
from runtime.config.routing import RoutingSettings
from runtime.learner.arms import Option
from runtime.learner.records import DecisionRow, Route, Wishes
from runtime.records import Answer
from runtime.routing.records import Candidate, Weights
from runtime.routing.settings import LearnerSettings, Manner

DAY_S: Final = 86_400.0
KNOWN: Final = 3
"""Before so many verdicts an arm, and at most MOST_UNKNOWN, the configured weights decide."""
MOST_UNKNOWN: Final = 30
_DEFAULTS: Final = {"difference": (2.0, 0.002), "ratio": (1.0, 1.0)}


def weights_of(settings: RoutingSettings, wishes: Wishes) -> Weights:
    """What quality may cost, by the request's own wishes where it has any."""
    objective = wishes.get("objective") or settings.objective
    same = objective == settings.objective
    cost, latency = _DEFAULTS[objective]
    if same:
        cost = cost if settings.cost_weight is None else settings.cost_weight
        latency = latency if settings.latency_weight is None else settings.latency_weight
    return Weights(
        objective=objective,
        per_usd=float(wishes.get("cost_weight", cost)),
        per_s=float(wishes.get("latency_weight", latency)),
        quality_power=float(wishes.get("quality_weight", settings.quality_weight)),
    )


def manner_of(
    settings: RoutingSettings, *, usual: tuple[float, ...] | None, advised: int | None = None, explore: float = 0.0
) -> Manner:
    """How the decision is made."""
    return Manner(
        floor=settings.exploration_floor,
        switch_margin=settings.switch_margin,
        usual=usual,
        advised=advised,
        advised_explore=explore,
    )


def learner_settings(settings: RoutingSettings) -> LearnerSettings:
    """The learner's part of the configuration."""
    return LearnerSettings(
        floor=settings.exploration_floor,
        explore_share=settings.exploration_cost_share,
        switch_margin=settings.switch_margin,
        half_life_s=settings.half_life_days * DAY_S,
    )


def usual_of(options: Sequence[Option], *, heard: int) -> tuple[float, ...] | None:
    """The configured weights, while too little is known to do better; None from then on."""
    if heard >= min(KNOWN * len(options), MOST_UNKNOWN):
        return None
    return tuple(option.weight for option in options)


def row_of(
    route: Route,
    request_id: str,
    *,
    answer: Answer | None,
    error: AgentError | None,
    calls: Sequence[CallRecord],
    latency_s: float,
    keep_text: bool = True,
) -> DecisionRow:
    """The decision and its outcome as the ledger keeps them."""
    decision, told = route.decision, route.told
    status = error.code if error is not None else "ok" if answer is not None and answer.draft.complete else "partial"
    return DecisionRow(
        decision_id=decision.decision_id,
        request_id=request_id,
        at=decision.at,
        strategy=decision.arm.strategy,
        node=decision.arm.node,
        backend=decision.arm.backend,
        propensity=decision.propensity,
        way=decision.way,
        reason=decision.reason,
        per_usd=decision.per_usd,
        regret=regret_of(route),
        candidates=[_compact(each) for each in decision.candidates],
        facts=route.facts,
        experiment_id=route.experiment_id,
        grp=route.group,
        status=status,
        served_by=answer.backend if answer is not None else "",
        cost_usd=cost_usd_of(calls),
        latency_s=max(0.0, latency_s),
        simulated=any(call.simulated for call in calls),
        features={} if told is None else {name: told.features[name] for name in told.features if keep_text or name != "text"},
        router=told.router if told is not None and decision.way == "router" else "",
        step=told.step if told is not None and decision.way == "router" else "",
    )


def regret_of(route: Route) -> float:
    """How much worse than the best estimate the chosen one was held to be: the price of trying, in utility."""
    candidates = route.decision.candidates
    return max(0.0, max(each.utility for each in candidates) - route.decision.chosen.utility)


def _compact(each: Candidate) -> list[object]:
    arm = each.arm
    numbers = (each.quality, each.low, each.high, each.cost_usd, each.latency_s, each.utility, each.share, each.seen)
    return [arm.strategy, arm.node, arm.backend, *(None if value is None else float(f"{value:.5g}") for value in numbers)]
