"""What other settings would have done on logged decisions: their choices, worked out from what each decision saw.

Called by trials.py. Pure; deterministic for the same rows.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from runtime.config.routing import RoutingSettings
from runtime.learner.policy import weights_of
from runtime.learner.records import CANDIDATE_COLUMNS
from runtime.routing.off_policy import Logged, OffPolicy, doubly_robust
from runtime.routing.records import Weights
from runtime.routing.weighing import Z_90

Vector = npt.NDArray[np.float64]

DRAWS: Final = 64
BOLDNESS: Final = 0.5
"""About the middle of what the learner draws with (settings.LearnerSettings.boldness)."""
LEAST: Final = 1e-6
CHOSEN_FREELY: Final = frozenset({"best", "drawn", "floor", "usual", "router"})
_AT: Final = {name: place for place, name in enumerate(CANDIDATE_COLUMNS)}


def worth(score: float, cost_usd: float, latency_s: float, weights: Weights) -> float:
    """What an outcome is worth by the champion's weights, 0 to 1: the same measure for both sides."""
    if weights.objective == "ratio":
        return score
    return min(max(score - weights.per_usd * cost_usd - weights.per_s * latency_s, 0.0), 1.0)


def shares(candidates: Sequence[Sequence[Any]], settings: RoutingSettings, *, seed: int) -> Vector:
    """``(n,)``: how often these settings would choose each candidate, by draws around what was estimated of it."""
    quality, low, high, cost, latency = (
        _column(candidates, name) for name in ("quality", "low", "high", "cost_usd", "latency_s")
    )
    weights = weights_of(settings, {})
    drawn = quality + BOLDNESS * (high - low) / (2 * Z_90) * np.random.default_rng(seed).standard_normal((DRAWS, len(quality)))
    if weights.objective == "difference":
        utility = drawn - weights.per_usd * cost - weights.per_s * latency
    else:
        costs = weights.per_usd * np.log(cost + LEAST) + weights.per_s * np.log(latency + LEAST)
        utility = weights.quality_power * np.log(np.maximum(drawn, 0.01)) - costs
    share = np.bincount(utility.argmax(axis=1), minlength=len(quality)) / DRAWS
    floor = settings.exploration_floor
    found: Vector = (1 - floor) * share + floor / len(quality)
    return found


def score(rows: Sequence[Mapping[str, Any]], champion: RoutingSettings, challenger: RoutingSettings) -> OffPolicy | None:
    """The challenger on logged decisions (as the ledger gives them); None where none of them can be used."""
    weights = weights_of(champion, {})
    logged = [each for row in rows if (each := _logged(row, weights, challenger)) is not None]
    return doubly_robust(logged) if logged else None


def _logged(row: Mapping[str, Any], weights: Weights, challenger: RoutingSettings) -> Logged | None:
    candidates = row["candidates"]
    usable = row["way"] in CHOSEN_FREELY and row["score"] is not None and row["weight"] > 0 and row["propensity"] > 0
    if not usable or len(candidates) < 2:
        return None
    arm = [row["strategy"], row["node"], row["backend"]]
    at = next((place for place, each in enumerate(candidates) if list(each[:3]) == arm), None)
    if at is None:
        return None
    target = shares(candidates, challenger, seed=zlib.crc32(str(row["decision_id"]).encode()))
    quality, cost, latency = (_column(candidates, name) for name in ("quality", "cost_usd", "latency_s"))
    guesses = [worth(q, c, s, weights) for q, c, s in zip(quality, cost, latency, strict=True)]
    return Logged(
        score=worth(row["score"], row["cost_usd"], row["latency_s"], weights),
        propensity=min(1.0, row["propensity"]),
        target=float(min(target[at], 1.0)),
        guess=guesses[at],
        target_guess=float(target @ np.array(guesses)),
    )


def _column(candidates: Sequence[Sequence[Any]], name: str) -> Vector:
    return np.array([each[_AT[name]] or 0.0 for each in candidates], dtype=np.float64)
