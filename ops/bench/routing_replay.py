"""Replays recorded outcomes through routers: each decides, then sees the outcome of what it chose and of nothing else.

Called by ops/bench/routing.py. The baselines that see more (the oracle, the best in hindsight, the fitted routers) say so in
their names.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ops.bench.routing_data import Matrix, Set
from runtime.routing.bandit import Learner
from runtime.routing.features import SHAPE, TEXT_DIMENSIONS
from runtime.routing.records import Arm, Context, Spent, Weights


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One pass over a stream: what each request gave ``(n,)`` and cost, which model was asked, how long the decisions took."""

    score: Matrix
    cost: Matrix | None
    chosen: npt.NDArray[np.intp]
    decide_ms: Matrix


def ours(
    stream: Set,
    seed: int,
    *,
    usd_per_thousand: float | None = None,
    fails_at: int | None = None,
    until: int | None = None,
) -> Run:
    """The learner, from nothing. From ``fails_at`` on, the model that was asked most in the 200 requests before it scores 0."""
    rng = np.random.default_rng(seed)
    learner = Learner(rng=rng)
    learner.budget(usd_per_thousand)
    arms = [Arm(strategy="single", node="replay", backend=model) for model in stream.models]
    place = {arm.key: index for index, arm in enumerate(arms)}
    n = until or stream.n
    score, took = np.zeros(n), np.zeros(n)
    chosen = np.zeros(n, dtype=np.intp)
    broken = -1
    for at in range(n):
        if at == fails_at:
            broken = int(np.bincount(chosen[max(0, at - 200) : at]).argmax())
        context = Context(point=stream.point[at], pattern=stream.pattern[at] if stream.pattern else None)
        began = time.perf_counter()
        decision = learner.choose(str(at), context, arms, Weights(), now=float(at))
        took[at] = (time.perf_counter() - began) * 1000
        index = place[decision.arm.key]
        chosen[at] = index
        score[at] = 0.0 if index == broken else stream.score[at, index]
        if stream.cost is not None and not np.isnan(stream.cost[at, index]):
            latency = None if stream.latency is None else float(stream.latency[at, index])
            learner.spent(
                str(at), Spent(cost_usd=float(stream.cost[at, index]), latency_s=None if latency != latency else latency)
            )
        learner.learn(str(at), float(score[at]), now=float(at))
    cost = None if stream.cost is None else stream.cost[np.arange(n), chosen]
    return Run(score=score, cost=cost, chosen=chosen, decide_ms=took)


def thompson(stream: Set, seed: int) -> Matrix:
    """Thompson sampling without context: a Beta(1, 1) a model, fractions of scores counted as fractions of successes."""
    rng = np.random.default_rng(seed)
    good, bad = np.ones(len(stream.models)), np.ones(len(stream.models))
    found = np.zeros(stream.n)
    for at in range(stream.n):
        index = int(rng.beta(good, bad).argmax())
        found[at] = stream.score[at, index]
        good[index] += found[at]
        bad[index] += 1 - found[at]
    return found


def uniformly(stream: Set, seed: int) -> Matrix:
    """A model at random."""
    rng = np.random.default_rng(seed)
    found: Matrix = stream.score[np.arange(stream.n), rng.integers(len(stream.models), size=stream.n)]
    return found


def per_task(stream: Set) -> float:
    """The best model of each task, in hindsight and knowing the task."""
    tasks = np.array(stream.task)
    return float(
        sum(stream.score[tasks == task].mean(axis=0).max() * (tasks == task).sum() for task in set(stream.task)) / stream.n
    )


def mixing(stream: Set, usd: float) -> float | None:
    """The quality of the best random mixture of single models at ``usd`` a request: the upper hull over (mean cost, mean score).

    Both are those of ``stream`` itself, so that this baseline knows in hindsight which models to mix. None without costs.
    """
    if stream.cost is None:
        return None
    known = ~np.isnan(stream.cost).any(axis=0)
    cost, score = stream.cost[:, known].mean(axis=0), stream.score[:, known].mean(axis=0)
    within = cost <= usd
    best = float(score[within].max()) if within.any() else 0.0
    for low in np.flatnonzero(within):
        for high in np.flatnonzero(~within):
            part = (usd - cost[low]) / (cost[high] - cost[low])
            best = max(best, float((1 - part) * score[low] + part * score[high]))
    return best


def fitted(stream: Set) -> dict[str, float]:
    """Routers that see every model's answer on the first half, scored on the second: kNN and ridge. Reported, not a goal."""
    half = stream.n // 2
    points = stream.point if stream.embedding is None else np.hstack((stream.point[:, :SHAPE], stream.embedding))
    known, asked = points[:half].astype(np.float64), points[half:].astype(np.float64)
    mean = stream.score[:half].mean(axis=0)
    left = stream.score[:half] - mean
    far2 = (asked**2).sum(axis=1)[:, None] + (known**2).sum(axis=1) - 2 * asked @ known.T
    kernel = np.exp(far2 / -0.2)
    neighbours = mean + kernel @ left / (kernel.sum(axis=1, keepdims=True) + 2.0)
    weights = np.linalg.solve(known.T @ known + 5.0 * np.eye(known.shape[1]), known.T @ left)
    rows = np.arange(stream.n - half)
    second = stream.score[half:]
    return {
        "offline_knn_full_information": float(second[rows, neighbours.argmax(axis=1)].mean()),
        "offline_ridge_full_information": float(second[rows, (mean + asked @ weights).argmax(axis=1)].mean()),
        "best_of_first_half": float(second[:, mean.argmax()].mean()),
    }


def decision_ms(seed: int, *, arms: int = 50, learned: int = 1500, timed: int = 400) -> Matrix:
    """How long one decision takes with so many arms and a memory that is in use, ``(timed,)``."""
    rng = np.random.default_rng(seed)
    learner = Learner(rng=rng)
    pool = [Arm(strategy="single", node=f"n{index % 5}", backend=f"b{index}", usd_per_1m=1.0 + index) for index in range(arms)]
    points = rng.standard_normal((learned + timed, SHAPE + TEXT_DIMENSIONS)).astype(np.float32) * 0.1
    took = []
    for at, drawn in enumerate(points):
        context = Context(point=drawn, locale="l", pattern=f"p{at % 20}")
        began = time.perf_counter()
        learner.choose(str(at), context, pool, Weights(per_usd=1.0, per_s=0.001), now=float(at))
        took.append((time.perf_counter() - began) * 1000)
        learner.spent(str(at), Spent(cost_usd=float(rng.uniform(0, 0.01)), latency_s=1.0))
        learner.learn(str(at), float(rng.random() < 0.6), now=float(at))
    return np.array(took[learned:])
