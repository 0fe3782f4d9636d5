"""What an arm's answer to a request will be worth: the quality model, from the pool down to the neighbours of a request.

Called by bandit.py. Imports numpy and this room alone; no I/O, no clock.

Levels, each of which explains what the ones before it leave over: the pool -> the arm -> the arm's slopes over shape and its
lean to kinds of requests -> the locale -> the pattern -> the neighbours. The first two are always believed; each of the others
for as much as its past predictions were worth (``levels.Trust``). That is what lets one learner serve requests in which the
context says nothing and requests in which it says everything. Embeddings enter through kinds and neighbours: a slope for each
of their dimensions was tried and cost more in noise than it told (replay, docs/adr/006-routing.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from runtime.routing import kinds
from runtime.routing.doubts import LEAST_KNOWN, Doubt, Outcome
from runtime.routing.drift import Drift
from runtime.routing.features import SHAPE_SCALE, Point
from runtime.routing.levels import Groups, Neighbours, Slots, Trust, Vector
from runtime.routing.linear import HierarchicalRidge


@dataclass(frozen=True, slots=True, kw_only=True)
class QualitySettings:
    """How the model shares and forgets. Standard deviations are of scores from 0 to 1.

    ``arm_sd`` is how far arms lie from each other, ``shape_sd`` and ``kind_sd`` how far a request moves an arm, ``noise_sd`` an
    outcome's own scatter. ``own_keep`` is what an arm's evidence keeps at each of its outcomes.
    """

    prior_mean: float = 0.6
    arm_sd: float = 0.15
    shape_sd: float = 0.05
    kind_sd: float = 0.1
    noise_sd: float = 0.38
    own_keep: float = 0.9995
    most_kinds: int = 16
    group_shrink: float = 6.0
    group_limit: int = 512
    memory: int = 2048
    neighbour_shrink: float = 2.0
    neighbour_width: float = 0.1
    trust_worth: float = 0.5
    drift_threshold: float = 5.0
    fall_threshold: float = 4.0
    sharpen: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A request as the model sees it: its ``point (d,)`` (scaled shape, then projected embedding) and its groups."""

    point: Point
    locale: str | None = None
    pattern: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """Means and variances of the arms asked for, ``(n,)`` each; ``parts (4, n)`` are the levels' effects before trust.
    ``doubted``: of arms that may have fallen (their place) the chance that they have not, and what is expected of them then;
    ``mean`` is that of both cases."""

    x: Vector
    mean: Vector
    variance: Vector
    parts: Vector
    shared: float
    doubted: tuple[tuple[int, float, float], ...] = ()

    def draw(self, sd: Vector, count: int, rng: np.random.Generator) -> Vector:
        """``(count, n)`` draws around the means, with the standard deviations ``sd (n,)``; of doubted arms from both cases."""
        means = np.tile(self.mean, (count, 1))
        for at, chance, before in self.doubted:
            holds = rng.random(count) < chance
            means[:, at] = np.where(holds, before, (self.mean[at] - chance * before) / (1 - chance))
        drawn: Vector = means + sd * rng.standard_normal(means.shape)
        return drawn


LEVELS = ("slopes", "locale", "pattern", "neighbours")


class QualityModel:
    """Scores of ``slots`` arms over points of ``shape`` + ``text`` dimensions. Not thread-safe."""

    def __init__(self, *, slots: int, shape: int, text: int, settings: QualitySettings, rng: np.random.Generator) -> None:
        self._slots = slots
        self._shape = shape
        self._settings = settings
        self._rng = rng
        self.seen = 0
        self.centres = np.zeros((0, shape + text), dtype=np.float32)
        spread = [settings.shape_sd**2] * shape + [settings.kind_sd**2] * settings.most_kinds
        self.ridge = HierarchicalRidge(
            slots=slots,
            tau2=np.array([settings.arm_sd**2, *spread]),
            pool_tau2=np.array([settings.arm_sd**2, *spread]),
            noise2=settings.noise_sd**2,
            prior_mean=settings.prior_mean,
            own_discount=settings.own_keep,
        )
        self.locales, self.patterns = (
            Groups(slots=slots, shrink=settings.group_shrink, keep=settings.own_keep, limit=settings.group_limit)
            for _ in range(2)
        )
        self.neighbours = Neighbours(
            size=settings.memory, d=shape + text, shrink=settings.neighbour_shrink, width=settings.neighbour_width
        )
        self.trusts = [Trust(prior=0.5, worth=settings.trust_worth) for _ in LEVELS]
        self.drift = Drift(slots=slots, threshold=settings.drift_threshold, fall_threshold=settings.fall_threshold)
        self.doubts: dict[int, Doubt] = {}

    def features(self, points: Point) -> Vector:
        """``(n, d)``: 1, the shape, the kind as one of ``most_kinds`` columns. ``points (n, d')``."""
        found = np.zeros((len(points), 1 + self._shape + self._settings.most_kinds))
        found[:, 0] = 1.0
        found[:, 1 : 1 + self._shape] = points[:, : self._shape] / SHAPE_SCALE
        if len(self.centres):
            found[np.arange(len(points)), 1 + self._shape + kinds.assign(points, self.centres)] = 1.0
        return found

    def judge(self, view: View, slots: Slots) -> Judgement:
        """What is expected of the arms ``slots`` on this request."""
        x = self.features(view.point[None])[0]
        weights = self.ridge.weights[slots]
        pool = self.ridge.pool
        shared = float(pool[1:] @ x[1:])
        parts = np.stack(
            (
                (weights[:, 1:] - pool[1:]) @ x[1:],
                self.locales.effects(view.locale, slots),
                self.patterns.effects(view.pattern, slots),
                self.neighbours.effects(view.point, slots, self._slots),
            )
        )
        trust = np.array([each.value for each in self.trusts])
        mean = weights[:, 0] + shared + trust @ parts
        doubted = []
        for at, slot in enumerate(slots.tolist() if self.doubts else ()):
            if (found := self.doubts.get(slot)) is not None:
                doubted.append((at, chance := found.chance, before := found.before(x)))
                mean[at] = chance * before + (1 - chance) * mean[at]
        return Judgement(x=x, mean=mean, variance=self.ridge.spread(x, slots), parts=parts, shared=shared, doubted=tuple(doubted))

    def learn(self, view: View, slot: int, score: float, weight: float) -> bool:
        """One verdict (0 to 1) of ``slot``; True where it gave the alarm that the arm has changed."""
        judged = self.judge(view, np.array([slot]))
        left = score - float(self.ridge.weights[slot, 0]) - judged.shared
        lefts = []
        for trust, part in zip(self.trusts, judged.parts[:, 0], strict=True):
            lefts.append(left)
            trust.learn(float(part), left, weight)
            left -= trust.value * float(part)
        changed = self._changed(slot, judged, score, weight)
        self.ridge.learn(slot, judged.x, score, weight * self._sharpness(float(judged.mean[0])))
        self.locales.learn(view.locale, slot, lefts[1], weight)
        self.patterns.learn(view.pattern, slot, lefts[2], weight)
        self.neighbours.learn(view.point, slot, score, lefts[3], weight)
        self.drift.remember(slot, judged.x, score, weight, float(judged.mean[0]))
        self.seen += 1
        if kinds.due(self.seen):
            self._find_kinds()
        return changed

    def _sharpness(self, mean: float) -> float:
        """How much more than an average one an outcome about ``mean`` tells: scores near 0 and 1 scatter less (``m (1 - m)``)."""
        if not self._settings.sharpen:
            return 1.0
        m = min(max(mean, 0.1), 0.9)
        return self._settings.noise_sd**2 / (m * (1 - m))

    def _find_kinds(self) -> None:
        """Look for kinds among the remembered requests and learn the remembered outcomes anew in their terms."""
        for slot, each in list(self.doubts.items()):
            # What was laid aside is in terms that end here: the likelier of the two is taken.
            if each.log_odds > 0:
                each.bring_back()
            del self.doubts[slot]
        ring = self.neighbours
        points = ring.points[: ring.filled]
        k = kinds.how_many(self.seen, self._settings.most_kinds)
        self.centres = kinds.find(points, k, self._rng)
        x = self.features(points)
        slots, weights, scores = ring.slots[: ring.filled], ring.weights[: ring.filled], ring.scores[: ring.filled]
        for slot in np.unique(slots):
            own = slots == slot
            self.ridge.replace(int(slot), x[own], scores[own], weights[own])
        self.ridge.refresh_pool()
        trust = self.trusts[0].value
        pool, arms = self.ridge.pool, self.ridge.weights[slots]
        slopes = ((arms[:, 1:] - pool[1:]) * x[:, 1:]).sum(axis=1)
        ring.left[: ring.filled] = scores - arms[:, 0] - x[:, 1:] @ pool[1:] - trust * slopes
        self.drift.forget_features()

    def _changed(self, slot: int, judged: Judgement, score: float, weight: float) -> bool:
        """Look whether the arm has changed; one that surely has starts over from what came since."""
        known = self.doubts.get(slot)
        if known is not None:
            known.hear(judged.x, score, weight)
            if known.verdict is None:
                return False
            del self.doubts[slot]
            if known.verdict:
                known.bring_back()
                self._learn_again(slot, known.after[:-1])
                return False
            self.drift.alarms[slot] += 1
            return True
        expected = float(judged.mean[0])
        if not self.drift.learn(slot, score - expected, weight):
            return False
        fell, since = self.drift.fell(slot), self.drift.since_change(slot)
        if fell and self.ridge.counts[slot] >= LEAST_KNOWN:
            found = self._doubt(slot, [*since, (judged.x, score, weight, expected)])
            if found.verdict:
                return False
            if found.verdict is None:
                self.doubts[slot] = found
        self._forget_evidence(slot)
        self._learn_again(slot, since)
        if slot in self.doubts:
            return False
        self.drift.alarms[slot] += 1
        return True

    def _doubt(self, slot: int, run: list[Outcome]) -> Doubt:
        """Lay aside what is known of the arm now; ``run`` gave the alarm."""
        gram, moment, count = self.ridge.gram[slot].copy(), self.ridge.moment[slot].copy(), float(self.ridge.counts[slot])
        levels = [level.kept(slot) for level in (self.locales, self.patterns, self.neighbours)]

        def bring_back() -> None:
            self.ridge.gram[slot], self.ridge.moment[slot], self.ridge.counts[slot] = gram, moment, count
            for level in levels:
                level()
            self.drift.begin(slot)

        return Doubt(weights=self.ridge.weights[slot].copy(), bring_back=bring_back, outcomes=run, run=len(run))

    def _learn_again(self, slot: int, outcomes: Sequence[Outcome]) -> None:
        for x, score, weight, _ in outcomes:
            self.ridge.learn(slot, x, score, weight)
        self.ridge.scale(slot, 1.0)

    def forget(self, slot: int) -> None:
        """Drop all that is known of an arm: the slot is given away."""
        self.doubts.pop(slot, None)
        self._forget_evidence(slot)

    def _forget_evidence(self, slot: int) -> None:
        self.ridge.scale(slot, 0.0)
        for level in (self.locales, self.patterns, self.neighbours):
            level.forget(slot)
        self.drift.forget(slot)

    def decay(self, factor: float) -> None:
        """Keep ``factor`` of all evidence: time has passed."""
        self.ridge.decay(factor)
        for level in (self.locales, self.patterns, self.neighbours):
            level.decay(factor)
