"""Learns who answers what best at which price, from nothing, while it decides.

Called by dispatch (choose), and by whoever hears of costs and verdicts later (spent, learn). One Learner in the daemon; not
thread-safe. It does no I/O and reads no clock: ``now`` and ``rng`` are passed in. Imports numpy and this room alone.

A decision draws the arms' qualities from the model's posterior (quality.py) some dozens of times, as Thompson sampling does
(Thompson 1933; Agrawal and Goyal 2013), takes from each draw the arm of the best utility, and chooses with the frequencies
found. So the probability of every choice is known exactly, is logged, and a challenger can be scored on the log
(off_policy.py). Costs and latencies are expectations of a model of their own (costs.py): nothing is explored for the sake of
knowing a price, but an arm that was never asked is hoped to cost less. Exploration has a floor and a purse.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import sqrt

import numpy as np

from runtime.routing.costs import Logarithms, price_unit
from runtime.routing.features import SHAPE, TEXT_DIMENSIONS
from runtime.routing.levels import Slots, Vector
from runtime.routing.pacing import Pacer, Purse
from runtime.routing.quality import LEVELS, QualityModel, View
from runtime.routing.records import Arm, Context, Decision, Heard, RoutingError, Spent, Standing, Way, Weights
from runtime.routing.settings import LearnerSettings, Manner
from runtime.routing.weighing import Weighed, candidates_of, known, reason_of

DECAY_EVERY_S = 3600.0
MANY_ARMS = 3.0
SETTLING_OUTCOMES = 10
"""So many outcomes an arm make draws narrower by the root of two."""
RESTLESS_DRAWS, LEAST_RESTLESS, MOST_RESTLESS = 120, 24, 40
"""After an alarm the others' estimates are asked anew: some decisions draw with the posterior's full width, the fewer the more
arms there are: with 60 of them for ten arms, more went into trying than what was known already would have given (replay,
docs/adr/006-routing.md)."""
SETTLING, SETTLED_BOLDNESS = 100, 0.2
"""What is best by then serves for so many decisions almost alone: there is a loss to make good, and to look further can wait."""
HEARD_ENOUGH = 100.0
"""Outcomes beside its own that an arm is taken to have had, so that short streams are what they are."""
LEAST_QUALITY = 0.01
LEAST_USD = 1e-6
LEAST_S = 0.01


@dataclass(slots=True, kw_only=True)
class Waiting:
    """A decision whose verdict may still come; ``weight`` is what was heard so far."""

    arm: Arm
    context: Context
    at: float
    weight: float = 0.0
    spent: bool = False


class Learner:
    """Chooses arms and learns from what came of them."""

    def __init__(self, settings: LearnerSettings | None = None, *, rng: np.random.Generator) -> None:
        self.settings = settings or LearnerSettings()
        self._rng = rng
        n = self.settings.most_arms
        self.quality = QualityModel(slots=n, shape=SHAPE, text=TEXT_DIMENSIONS, settings=self.settings.quality, rng=rng)
        self.cost = Logarithms(slots=n)
        self.latency = Logarithms(slots=n)
        self.arms: OrderedDict[str, tuple[int, Arm]] = OrderedDict()
        self.waiting: OrderedDict[str, Waiting] = OrderedDict()
        self.pacer: Pacer | None = None
        self.purse = Purse(share=self.settings.explore_share, allowance_requests=self.settings.explore_allowance)
        self.aged_at: float | None = None
        self.restless = 0

    # ── deciding ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def choose(
        self,
        decision_id: str,
        context: Context,
        arms: Sequence[Arm],
        weights: Weights,
        *,
        now: float,
        held: Arm | None = None,
        manner: Manner | None = None,
    ) -> Decision:
        """Choose one of ``arms`` (1 to ``most_arms``, no two alike). ``held`` is the arm that the conversation has.

        In budget mode the price of a dollar comes on top of ``weights.per_usd``. Raises RoutingError for a list that is empty,
        too long or has an arm twice, and for a context of another size.
        """
        keys = [arm.key for arm in arms]
        self._check(context, keys)
        manner = manner or Manner(floor=self.settings.floor, switch_margin=self.settings.switch_margin)
        slots = np.array([self._slot(arm, key) for arm, key in zip(arms, keys, strict=True)], dtype=np.intp)
        per_usd = weights.per_usd + (self.pacer.per_usd if self.pacer and weights.objective == "difference" else 0.0)
        weighed = self._weigh(context, arms, slots, weights, per_usd, manner)
        self.restless = max(self.restless - 1, 0)
        at, way = self._pick(arms, weighed, held, manner)
        chosen = arms[at]
        usd = known(weighed.cost)
        best = int(weighed.utility.argmax())
        self.purse.pay(float(usd[at]), float(usd[at] - usd[best]) if way in ("drawn", "floor") else 0.0)
        self.waiting[decision_id] = Waiting(arm=chosen, context=context, at=now)
        if len(self.waiting) > self.settings.most_waiting:
            self.waiting.popitem(last=False)
        return Decision(
            decision_id=decision_id,
            arm=chosen,
            propensity=1.0 if way in ("held", "only") else float(weighed.share[at]),
            way=way,
            reason=reason_of(way, arms, weighed, at, best),
            at=now,
            candidates=candidates_of(arms, weighed, self.quality.ridge.counts[slots].tolist()),
            per_usd=per_usd,
        )

    def _check(self, context: Context, keys: Sequence[str]) -> None:
        if not 1 <= len(keys) <= self.settings.most_arms:
            raise RoutingError(f"there must be 1 to {self.settings.most_arms} arms, not {len(keys)}", field="arms")
        if len(set(keys)) < len(keys):
            raise RoutingError("an arm is named twice", field="arms")
        if context.point.shape != (SHAPE + TEXT_DIMENSIONS,) or not np.isfinite(context.point).all():
            raise RoutingError(f"a point has {SHAPE + TEXT_DIMENSIONS} finite numbers", field="context")

    def _weigh(
        self, context: Context, arms: Sequence[Arm], slots: Slots, weights: Weights, per_usd: float, manner: Manner
    ) -> Weighed:
        judged = self.quality.judge(_view(context), slots)
        # Only where money is short: without a budget, what an arm costs must not sway who is tried.
        untried = self.quality.ridge.counts[slots] <= 0 if self.pacer is not None else None
        cost = self.cost.expect(context.point, slots, untried=untried) * np.array([price_unit(arm) for arm in arms])
        latency = self.latency.expect(context.point, slots)
        usd, seconds = known(cost), known(latency)

        def utility(quality: Vector) -> Vector:
            if weights.objective == "difference":
                return quality - per_usd * usd - weights.per_s * seconds
            logs: Vector = weights.quality_power * np.log(np.maximum(quality, LEAST_QUALITY)) - (
                weights.per_usd * np.log(usd + LEAST_USD) + weights.per_s * np.log(seconds + LEAST_S)
            )
            return logs

        sd = self._boldness(len(arms)) * self._unheard(slots) * np.sqrt(judged.variance)
        drawn = judged.draw(sd, self.settings.draws, self._rng)
        share = np.bincount(utility(drawn).argmax(axis=1), minlength=len(arms)) / self.settings.draws
        expected = utility(judged.mean)
        share = self._affordable(share, usd, int(expected.argmax()), manner.floor)
        if manner.usual is not None and sum(manner.usual) > 0:
            share = np.array(manner.usual) / sum(manner.usual)
        if manner.advised is not None:
            share = manner.advised_explore * share
            share[manner.advised] += 1 - manner.advised_explore
        return Weighed(slots, judged, cost, latency, expected, share)

    def _boldness(self, arms: int) -> float:
        """How wide draws are, in the posterior's standard deviations.

        Less with many arms, of which some are good enough to stay with (Bayati, Hamidi, Johari, Khosravi, "Unreasonable
        Effectiveness of Greedy Algorithms in Multi-Armed Bandit with Many Arms", NeurIPS 2020), less as outcomes come in; all
        after an alarm, and then little for a while.
        """
        if self.restless > SETTLING:
            return 1.0
        if self.restless:
            return SETTLED_BOLDNESS
        begun = min(self.settings.boldness, MANY_ARMS / sqrt(arms))
        grown = self.quality.seen / (SETTLING_OUTCOMES * arms)
        return max(begun / sqrt(1 + grown), self.settings.least_boldness)

    def _unheard(self, slots: Slots) -> Vector:
        """How much wider draws are for arms that had little of a long stream, 1 or more.

        Narrow draws may keep to a merely good arm; over thousands of requests that costs more than it saves. As the stream grows
        beyond an arm's own outcomes, it is looked at again (the logarithm is that of MOSS: Audibert and Bubeck, "Minimax Policies
        for Adversarial and Stochastic Bandits", COLT 2009).
        """
        if self.restless:
            return np.ones(len(slots))
        part = self.quality.seen / (len(slots) * (self.quality.ridge.counts[slots] + HEARD_ENOUGH))
        found: Vector = np.sqrt(1.0 + 2.0 * np.log(np.maximum(part, 1.0)))
        return found

    def _affordable(self, share: Vector, usd: Vector, best: int, floor: float) -> Vector:
        """The shares with the floor mixed in, without what the purse does not pay for."""
        may = usd - usd[best] <= self.purse.room()
        allowed = np.where(may, share, 0.0)
        allowed[best] += share[~may].sum()
        found: Vector = (1 - floor) * allowed + floor / may.sum() * may
        return found

    def _pick(self, arms: Sequence[Arm], weighed: Weighed, held: Arm | None, manner: Manner) -> tuple[int, Way]:
        if len(arms) == 1:
            return 0, "only"
        best = int(weighed.utility.argmax())
        if held is not None:
            for at, arm in enumerate(arms):
                if arm.key == held.key and weighed.utility[best] - weighed.utility[at] < manner.switch_margin:
                    return at, "held"
        at = int(self._rng.choice(len(arms), p=weighed.share))
        if at == manner.advised:
            return at, "router"
        if manner.usual is not None:
            return at, "usual"
        if at == best:
            return at, "best"
        return at, "drawn" if weighed.share[at] > manner.floor / 2 else "floor"

    # ── learning ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def spent(self, decision_id: str, spent: Spent) -> bool:
        """What a request took; once a decision, whether or not a verdict ever comes. False for a decision that is not known
        (any more)."""
        waiting = self.waiting.get(decision_id)
        if waiting is None or waiting.spent:
            return False
        if not (0 <= spent.cost_usd < float("inf")) or not (spent.latency_s is None or 0 <= spent.latency_s < float("inf")):
            raise RoutingError("cost and latency must be numbers of 0 or more", field="spent")
        waiting.spent = True
        slot, point = self._slot(waiting.arm), waiting.context.point
        unit = price_unit(waiting.arm)
        if unit > 0:
            self.cost.learn(point, slot, spent.cost_usd / unit)
        if spent.latency_s is not None:
            self.latency.learn(point, slot, spent.latency_s)
        if self.pacer is not None:
            self.pacer.spent(spent.cost_usd)
        return True

    def given_to(self, decision_id: str, arm: Arm) -> None:
        """Another arm answered in the place of the chosen one: verdicts that are still to come are of that one."""
        waiting = self.waiting.get(decision_id)
        if waiting is not None:
            self.waiting[decision_id] = Waiting(arm=arm, context=waiting.context, at=waiting.at, spent=True)

    def drop(self, decision_id: str) -> None:
        """No verdict will come, or it would say nothing of the arm. Idempotent."""
        self.waiting.pop(decision_id, None)

    def learn(self, decision_id: str, score: float, *, now: float, reliability: float = 1.0) -> Heard:
        """A verdict: ``score`` and its ``reliability`` from 0 to 1. Several may come for one decision (checks, a judge, the
        user); together they count as one outcome at the most. A verdict that never comes costs nothing."""
        if not (0 <= score <= 1 and 0 <= reliability <= 1):
            raise RoutingError("score and reliability must lie between 0 and 1", field="score")
        self.age(now)
        while self.waiting and now - next(iter(self.waiting.values())).at > self.settings.waiting_s:
            self.waiting.popitem(last=False)
        waiting = self.waiting.get(decision_id)
        if waiting is None:
            return Heard(learned=False, why="the decision is not known, or was too long ago")
        weight = min(reliability, 1.0 - waiting.weight)
        if weight <= 0:
            return Heard(learned=False, why="enough was heard of this decision")
        waiting.weight += weight
        changed = self.quality.learn(_view(waiting.context), self._slot(waiting.arm), score, weight)
        if changed:
            self.restless = min(max(RESTLESS_DRAWS // len(self.arms), LEAST_RESTLESS), MOST_RESTLESS) + SETTLING
        return Heard(learned=True, changed=changed)

    def budget(self, usd_per_thousand: float | None) -> None:
        """Budget mode: the best quality at so many US dollars per thousand requests; None ends it. Idempotent."""
        if usd_per_thousand is None:
            self.pacer = None
            return
        if not 0 < usd_per_thousand < float("inf"):
            raise RoutingError("a budget must be a number greater than 0", field="usd_per_thousand")
        if self.pacer is None:
            self.pacer = Pacer(usd_per_thousand / 1000)
        elif self.pacer.target != usd_per_thousand / 1000:
            self.pacer.retarget(usd_per_thousand / 1000)

    def configure(self, settings: LearnerSettings) -> None:
        """Go by other settings from now on. Sizes (arms, memory) stay what they were at the start."""
        self.settings = replace(settings, most_arms=self.settings.most_arms, quality=self.settings.quality)
        self.purse.share = settings.explore_share

    def age(self, now: float) -> None:
        """Let evidence fade with the clock; does something once an hour at the most."""
        if self.aged_at is None or now < self.aged_at:
            self.aged_at = now
        elif now - self.aged_at >= DECAY_EVERY_S:
            self.quality.decay(0.5 ** ((now - self.aged_at) / self.settings.half_life_s))
            self.aged_at = now

    def standing(self) -> Standing:
        """The learner at a glance."""
        alarms = {arm.label: int(self.quality.drift.alarms[slot]) for slot, arm in self.arms.values()}
        return Standing(
            arms=len(self.arms),
            waiting=len(self.waiting),
            learned=self.quality.seen,
            alarms={name: count for name, count in alarms.items() if count},
            trusts={name: trust.value for name, trust in zip(LEVELS, self.quality.trusts, strict=True)},
            per_usd=self.pacer.per_usd if self.pacer else 0.0,
            explored_usd=self.purse.explored_usd,
        )

    def _slot(self, arm: Arm, key: str | None = None) -> int:
        """The arm's place; a new arm gets a free one, or that of the arm that was met longest ago."""
        key = key or arm.key
        found = self.arms.get(key)
        if found is not None:
            self.arms.move_to_end(key)
            return found[0]
        if len(self.arms) < self.settings.most_arms:
            slot = len(self.arms)
        else:
            _, (slot, _) = self.arms.popitem(last=False)
            self.quality.forget(slot)
            self.cost.forget(slot)
            self.latency.forget(slot)
        siblings = [place for place, other in self.arms.values() if other.backend == arm.backend]
        if siblings:
            self.quality.ridge.borrow(slot, np.array(siblings, dtype=np.intp), self.settings.borrow_worth)
            self.cost.ridge.borrow(slot, np.array(siblings, dtype=np.intp), self.settings.borrow_worth)
            self.latency.ridge.borrow(slot, np.array(siblings, dtype=np.intp), self.settings.borrow_worth)
        self.arms[key] = (slot, arm)
        return slot


def _view(context: Context) -> View:
    return View(point=context.point, locale=context.locale, pattern=context.pattern)
