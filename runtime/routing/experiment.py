"""Champion against challenger on a share of the traffic, judged so that nobody is fooled by looking often.

Called by the controller and by dispatch (assignment). Pure: ``now`` and outcomes are passed in, states are values that the ledger
keeps; an experiment that is cut short by a kill goes on from its last state. Imports this room alone.

- Who is asked is decided by a hash of the experiment's salt and the unit (a conversation, a user, a request), so that it needs
no memory
  and never changes. A frozen holdout keeps the champion of the beginning for as long as the experiment's record lives, and shows
  afterwards whether what was adopted is still worth it.
- Quality, error rate, capped cost and slow answers are bounded means with confidence sequences (sequential.py): they may be
read after every
  outcome. ``alpha`` is shared: half for the verdict on quality, half for the guards.
- Guards stop a bad challenger at any time. Everything else waits for the minimum dwell.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

from runtime.routing.records import RoutingError
from runtime.routing.sequential import Interval, Mean

Group = Literal["champion", "challenger", "holdout"]
GROUPS: tuple[Group, ...] = ("champion", "challenger", "holdout")
Action = Literal["go_on", "adopt", "keep", "extend", "inconclusive"]
MEASURES = ("quality", "failed", "cost", "slow")
GUARDS = len(MEASURES) - 1


class BadExperiment(RoutingError):
    """A plan or a stored state that makes no sense; names the field."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is compared, on how much traffic, and when it is over. Fixed before the first request.

    ``share`` of the units go to the challenger, ``holdout`` are frozen on the champion, the rest are the champion's.
    ``min_gain`` is the difference in quality that is worth a change. ``cost_cap_usd`` is the most that one request counts in
    the comparison of costs; ``slow_s`` the latency that the champion keeps to in 95 of 100 requests. ``worse_failures`` and
    ``worse_slow`` are the rises that the guards allow (shares of requests), ``worse_cost`` the allowed factor.
    """

    experiment_id: str
    champion: str
    challenger: str
    salt: str
    began_at: float
    share: float = 0.2
    holdout: float = 0.05
    alpha: float = 0.05
    min_gain: float = 0.0
    min_requests: int = 100
    min_dwell_s: float = 3600.0
    max_requests: int = 5000
    max_s: float = 7 * 86400.0
    max_extensions: int = 2
    cost_cap_usd: float = 0.1
    slow_s: float = 30.0
    worse_failures: float = 0.02
    worse_cost: float = 1.5
    worse_slow: float = 0.05

    def __post_init__(self) -> None:
        positive = ("min_requests", "max_requests", "max_s", "cost_cap_usd", "slow_s", "worse_cost", "alpha", "share")
        for name in positive:
            if not getattr(self, name) > 0:
                raise BadExperiment(f"{name} must be greater than 0", field=name)
        for name in ("holdout", "min_gain", "min_dwell_s", "max_extensions", "worse_failures", "worse_slow"):
            if not getattr(self, name) >= 0:
                raise BadExperiment(f"{name} must be 0 or more", field=name)
        if self.alpha >= 1:
            raise BadExperiment("alpha must be less than 1", field="alpha")
        if self.share + self.holdout >= 1:
            raise BadExperiment("share and holdout together must leave something to the champion", field="share")
        if self.max_requests < self.min_requests:
            raise BadExperiment("max_requests must not be less than min_requests", field="max_requests")
        if self.champion == self.challenger:
            raise BadExperiment("the challenger must be another than the champion", field="challenger")


def assign(plan: Plan, unit: str) -> Group:
    """The group of a unit: always the same for the same plan and unit."""
    digest = hashlib.sha256(f"{plan.salt}\x1f{plan.experiment_id}\x1f{unit}".encode("utf-8", "replace")).digest()
    at = int.from_bytes(digest[:8], "big") / 2**64
    if at < plan.holdout:
        return "holdout"
    return "challenger" if at < plan.holdout + plan.share else "champion"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of one request. ``quality`` None: no verdict (yet), which is no failure."""

    quality: float | None
    failed: bool = False
    cost_usd: float = 0.0
    latency_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One group's measures, each a mean of values from 0 to 1, and how many requests it had."""

    requests: int
    quality: Mean
    failed: Mean
    cost: Mean
    slow: Mean


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """All that an experiment has seen; bounded, however long it runs."""

    sides: Mapping[str, Side]
    extensions: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """What to do, why, and on which numbers. ``gain`` is the challenger's quality minus the champion's."""

    action: Action
    reason: str
    gain: Interval
    guard: str | None = None
    intervals: Mapping[str, Interval] = field(default_factory=dict)


def begin(plan: Plan) -> State:
    """Before the first request."""
    # Two sides each, so that both intervals of a difference hold together.
    quality, guard = plan.alpha / 4, plan.alpha / (4 * GUARDS)
    empty = Side(
        requests=0, quality=Mean(alpha=quality), failed=Mean(alpha=guard), cost=Mean(alpha=guard), slow=Mean(alpha=guard)
    )
    return State(sides=dict.fromkeys(GROUPS, empty))


def observe(plan: Plan, state: State, group: Group, result: Result) -> State:
    """With one result more. Raises BadExperiment for a value that is out of bounds."""
    if result.quality is not None and not 0 <= result.quality <= 1:
        raise BadExperiment(f"quality must lie between 0 and 1, not {result.quality}", field="quality")
    for name, value in (("cost_usd", result.cost_usd), ("latency_s", result.latency_s)):
        if not value >= 0:
            raise BadExperiment(f"{name} must be 0 or more, not {value}", field=name)
    side = state.sides[group]
    side = replace(
        side,
        requests=side.requests + 1,
        quality=side.quality if result.quality is None else side.quality.seen(result.quality),
        failed=side.failed.seen(float(result.failed)),
        cost=side.cost.seen(min(result.cost_usd / plan.cost_cap_usd, 1.0)),
        slow=side.slow.seen(float(result.latency_s > plan.slow_s)),
    )
    return replace(state, sides={**state.sides, group: side})


def rule(plan: Plan, state: State, now: float) -> Ruling:
    """The verdict as it stands; may be asked after every result. ``extend`` and ``inconclusive`` leave the champion in place."""
    champion, challenger = state.sides["champion"], state.sides["challenger"]
    gain = challenger.quality.interval.minus(champion.quality.interval)
    intervals = {
        f"{name}.{group}": getattr(state.sides[group], name).interval for name in MEASURES for group in ("champion", "challenger")
    }

    def found(action: Action, reason: str, guard: str | None = None) -> Ruling:
        return Ruling(action=action, reason=reason, gain=gain, guard=guard, intervals=intervals)

    if (broken := _broken_guard(plan, champion, challenger)) is not None:
        return found("keep", f"stopped early: the challenger's {broken[0]} is worse than allowed ({broken[1]})", broken[0])
    fewest = min(champion.quality.n, challenger.quality.n)
    dwelt_s = now - plan.began_at
    if gain.high < 0:
        # Harm needs no dwell: waiting would only cost users.
        return found("keep", f"the challenger is worse: its gain is at most {gain.high:+.3f}")
    if fewest < plan.min_requests or dwelt_s < plan.min_dwell_s:
        return _within_bounds(plan, state, now, found, "too early to say")
    if gain.low > plan.min_gain:
        return found("adopt", f"the gain is at least {gain.low:+.3f}, and {plan.min_gain:+.3f} was asked for")
    if gain.high < plan.min_gain:
        return found("keep", f"the gain is at most {gain.high:+.3f}, and {plan.min_gain:+.3f} was asked for")
    return _within_bounds(plan, state, now, found, f"the gain lies between {gain.low:+.3f} and {gain.high:+.3f}")


def _within_bounds(plan: Plan, state: State, now: float, found: Any, why: str) -> Ruling:
    rounds = state.extensions + 1
    requests = state.sides["challenger"].requests
    over = requests >= plan.max_requests * rounds or now - plan.began_at >= plan.max_s * rounds
    ruling: Ruling
    if not over:
        ruling = found("go_on", why)
    elif state.extensions < plan.max_extensions:
        ruling = found("extend", f"{why}; extension {rounds} of {plan.max_extensions}")
    else:
        ruling = found("inconclusive", f"{why}; {requests} requests and {plan.max_extensions} extensions did not settle it")
    return ruling


def extend(plan: Plan, state: State) -> State:
    """After a ruling of ``extend``. Raises BadExperiment when no extension is left."""
    if state.extensions >= plan.max_extensions:
        raise BadExperiment("no extension is left", field="extensions")
    return replace(state, extensions=state.extensions + 1)


def _broken_guard(plan: Plan, champion: Side, challenger: Side) -> tuple[str, str] | None:
    failed = challenger.failed.interval.low, champion.failed.interval.high
    if failed[0] > failed[1] + plan.worse_failures:
        return "error rate", f"at least {failed[0]:.3f} against at most {failed[1]:.3f}"
    slow = challenger.slow.interval.low, champion.slow.interval.high
    if slow[0] > slow[1] + plan.worse_slow:
        return (
            "p95 latency",
            f"slower than {plan.slow_s:g} s in at least {slow[0]:.3f} of requests, the champion in at most {slow[1]:.3f}",
        )
    cost = challenger.cost.interval.low * plan.cost_cap_usd, champion.cost.interval.high * plan.cost_cap_usd
    if cost[0] > cost[1] * plan.worse_cost:
        return "cost", f"at least {cost[0]:.6f} USD a request against at most {cost[1]:.6f}"
    return None


def lasting_gain(state: State) -> Interval:
    """After an adoption: the adopted challenger's quality minus the frozen holdout's."""
    return state.sides["challenger"].quality.interval.minus(state.sides["holdout"].quality.interval)


def to_json(state: State) -> dict[str, Any]:
    """For the ledger."""
    return {"extensions": state.extensions, "sides": {name: asdict(side) for name, side in state.sides.items()}}


def from_json(plan: Plan, data: Mapping[str, Any]) -> State:
    """What ``to_json`` wrote. Raises BadExperiment for anything else."""
    fresh = begin(plan).sides["champion"]
    try:
        sides: dict[str, Side] = {}
        for name in GROUPS:
            told = data["sides"][name]
            means = {measure: _mean(told[measure], getattr(fresh, measure).alpha, measure) for measure in MEASURES}
            sides[name] = Side(requests=int(told["requests"]), **means)
        return State(sides=sides, extensions=int(data["extensions"]))
    except (KeyError, TypeError, ValueError) as error:
        raise BadExperiment(f"the stored state cannot be read ({type(error).__name__}: {error})", field="state") from error


def _mean(told: Mapping[str, Any], alpha: float, name: str) -> Mean:
    values = {each.name: float(told[each.name]) for each in fields(Mean) if each.name != "n"}
    if values["alpha"] != alpha:
        raise BadExperiment("the stored state belongs to another alpha", field=name)
    return Mean(n=int(told["n"]), **values)
