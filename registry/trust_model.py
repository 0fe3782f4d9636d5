"""How likely is it that a stored answer also answers this request? A Bayesian logistic model, learned one verified outcome at a
time.

Two levels: weights that all entries share (the prior of an entry nobody has tried yet), and one offset of each entry's own.
Called by trust.py alone. Pure: no I/O, no clock, no randomness. Imports numpy and wording.py.

The score is

    z(x, e) = w·φ(x) + u_e

φ holds the similarity (with hinges, so that the curve may bend), the agreement of the wordings, their products, and the distance
to the next other solution. ``w ~ N(m, Σ)`` and ``u_e ~ N(μ_e, v_e)`` are updated after each outcome y by one step of
assumed-density filtering (Spiegelhalter & Lauritzen 1990; the moderated output κ(v) = 1/√(1 + πv/8) is MacKay's, 1992). With the
variance of the score ``v = φᵀΣφ + v_e``, the chance of the label ``P = ε + (1 - 2ε)σ(z)`` where ε is the share of labels that
are wrong, its slope g = ∂log P(y)/∂z and information h = ((1 - 2ε)σ'(z))² / (P(1 - P)):

    m ← m + Σφ · g/(1 + h v)        Σ ← Σ - (Σφ)(Σφ)ᵀ · h/(1 + h v)
    μ_e ← μ_e + v_e · g/(1 + h v)   v_e ← v_e - v_e² · h/(1 + h v)

The ε keeps one wrong label from undoing many right ones: far from its expectation a label counts as probably mistaken.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import combinations_with_replacement
from typing import Final

import numpy as np
import numpy.typing as npt

from registry.wording import FEATURES

Floats = npt.NDArray[np.float64]

# Centre and scale of wording.FEATURES on short English questions, rounded: they only bring the weights to one size.
_CENTRE: Final = np.array(
    [0.4, 0.6, 0.4, 1.5, 2.8, 0.85, 0.6, 0.2, 0.25, 3.1, 0.1, 0.03, 0.1, 0.45, 0.8, 0.15, 0.4, 0.4, 0.1, 0.25, 2.0]
)
_SCALE: Final = np.array(
    [0.25, 0.27, 0.28, 1.5, 2.3, 0.26, 0.4, 0.22, 0.2, 0.5, 0.33, 0.17, 0.3, 0.5, 1.0, 0.36, 0.5, 0.23, 0.25, 0.43, 1.3]
)
_CROSSED: Final = tuple(
    FEATURES.index(name)
    for name in (
        "jaccard",
        "shared_content",
        "less_missing",
        "more_missing",
        "less_telling",
        "pairs",
        "log_length",
        "trigrams",
        "question",
        "numbers_differ",
        "names_missing",
    )
)
_CROSS_LEFT, _CROSS_RIGHT = (np.array(side) for side in zip(*combinations_with_replacement(range(len(_CROSSED)), 2), strict=True))
_CROSS_SCALE: Final = 0.3
_HINGES: Final = np.array([0.6, 0.7, 0.8, 0.87, 0.93, 0.97])
_MAX_GAP: Final = 0.3
_GRID: Final = np.array(
    [-1.0, 0.0, 0.4, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.84, 0.87, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99, 0.995, 1.0]
)
"""Similarities at which a score is taken; the hinges are among them."""

# Where things are in φ: 1 | similarity and the gap | entry's record | wording | products | closeness and its products.
_NEAR: Final = slice(1, 2 + len(_HINGES) + 3)
_RECORD: Final = slice(_NEAR.stop, _NEAR.stop + 2)
_WORDING: Final = slice(_RECORD.stop, _RECORD.stop + len(FEATURES))
_PRODUCTS: Final = slice(_WORDING.stop, _WORDING.stop + len(_CROSS_LEFT))
_SLOPE: Final = slice(_PRODUCTS.stop, _PRODUCTS.stop + 1 + len(_CROSSED))
SIZE: Final = _SLOPE.stop
"""d: how many shared weights there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known of one candidate before it is reused.

    ``similarity`` is the cosine of the request and the entry's nearest phrasing, ``runner_up`` that of the best phrasing of any
    *other* entry (None: there is none near), ``agreement`` what ``wording.agreement`` says of the two texts. ``same_words``: they
    are one text, but for what is a matter of taste in writing (same_words.py).
    """

    similarity: float
    agreement: tuple[float, ...]
    runner_up: float | None = None
    same_words: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryTrust:
    """What one entry has shown: its offset (mean and variance of the normal posterior), how often reuse held or failed, and how
    often it must hold before it may serve again. Of fixed size: five numbers.
    """

    offset: float = 0.0
    variance: float
    held: float = 0.0
    failed: float = 0.0
    suspended: int = 0


def vector(evidence: Evidence, entry: EntryTrust) -> Floats:
    """``(SIZE,) float64``: φ. Anything that is not finite is read as the worst (similarity -1, agreement 0)."""
    found: Floats = _vectors(np.array([_within(evidence.similarity)]), evidence, entry)[0]
    return found


def _vectors(similarities: Floats, evidence: Evidence, entry: EntryTrust) -> Floats:
    """``(k, SIZE)``: φ of ``evidence`` as it would be at each of ``similarities`` ``(k,)``."""
    agreement = np.nan_to_num(np.array(evidence.agreement, dtype=np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    centred = np.clip((np.clip(agreement, -100.0, 100.0) - _CENTRE) / _SCALE, -5.0, 5.0)
    crossed = centred[list(_CROSSED)]
    found = np.empty((len(similarities), SIZE))
    found[:, 0] = 1.0
    found[:, 1] = (similarities - 0.75) / 0.18
    hinges = slice(2, 2 + len(_HINGES))
    found[:, hinges] = 2.0 * np.maximum(0.0, similarities[:, None] - _HINGES) / (1.0 - _HINGES)
    alone = evidence.runner_up is None
    gap = _MAX_GAP if evidence.runner_up is None else np.clip(similarities - _within(evidence.runner_up), -_MAX_GAP, _MAX_GAP)
    found[:, hinges.stop] = 5.0 * gap
    found[:, hinges.stop + 1] = 20.0 * np.minimum(gap, 0.05)
    found[:, hinges.stop + 2] = float(alone)
    found[:, _RECORD] = math.log1p(entry.held), math.log1p(entry.failed)
    found[:, _WORDING] = centred
    found[:, _PRODUCTS] = _CROSS_SCALE * crossed[_CROSS_LEFT] * crossed[_CROSS_RIGHT]
    closeness = -np.log(1.0001 - similarities) - 1.5
    found[:, _SLOPE.start] = closeness
    found[:, _SLOPE.start + 1 : _SLOPE.stop] = _CROSS_SCALE * closeness[:, None] * crossed
    return found


def _within(similarity: float) -> float:
    return min(1.0, max(-1.0, similarity)) if math.isfinite(similarity) else -1.0


class SharedModel:
    """The weights that all entries share: ``mean`` (SIZE,) and ``covariance`` (SIZE, SIZE), both float64. Changed by ``learn``
    only.
    """

    def __init__(self, *, label_noise: float = 0.02, memory: float = 500_000.0) -> None:
        self._noise = label_noise
        self._fading = 1.0 / memory
        self.mean = _first_guess()
        self.covariance = np.diag(np.where(self.mean == 0.0, 1.0, 0.5))
        self._first_trace = float(np.trace(self.covariance))

    def score(self, evidence: Evidence, entry: EntryTrust) -> float:
        """The moderated log odds that reuse holds. Never falling in the similarity, whatever was learned.

        The raw score is taken on a grid of similarities; each point gets the least of all at or above it (a higher similarity
        would not score less than that), and what lies between is interpolated. Constraining the weights instead (tried) costs a
        tenth of the hits: the projection breaks the posterior.
        """
        similarity = _within(evidence.similarity)
        first = min(int(np.searchsorted(_GRID, similarity, side="right")) - 1, len(_GRID) - 2)
        phis = _vectors(_GRID[first:], evidence, entry)
        means = phis @ self.mean + entry.offset
        # The doubt about the shared weights only: an entry's own would press all new entries together at one score.
        variances = np.maximum(0.0, np.einsum("kd,kd->k", phis @ self.covariance, phis))
        zs = means / np.sqrt(1.0 + math.pi * variances / 8.0)
        low, high = float(zs.min()), float(zs[1:].min())
        part = (similarity - _GRID[first]) / (_GRID[first + 1] - _GRID[first])
        return float(low + part * (high - low))

    def learn(self, phi: Floats, entry: EntryTrust, held: bool, weight: float = 1.0) -> EntryTrust:
        """Take in one outcome; returns the entry's new entry. ``weight`` > 1 counts it as several, < 1 as less than one."""
        variance = max(0.0, float(phi @ self.covariance @ phi)) + entry.variance
        q = sigmoid(float(self.mean @ phi) + entry.offset)
        span = 1.0 - 2.0 * self._noise
        chance = min(1.0 - 1e-9, max(1e-9, self._noise + span * q))
        slope = span * q * (1.0 - q)
        gradient = weight * slope * (float(held) - chance) / (chance * (1.0 - chance))
        information = weight * slope * slope / (chance * (1.0 - chance))
        shrink = 1.0 + information * variance
        direction = self.covariance @ phi
        self.mean += direction * (gradient / shrink)
        self.covariance -= np.outer(direction, direction) * (information / shrink)
        # Slow forgetting, so that the model can follow a change; never wider in all than it began.
        if float(np.trace(self.covariance)) < self._first_trace:
            self.covariance *= 1.0 + self._fading
        return replace(
            entry,
            offset=entry.offset + entry.variance * gradient / shrink,
            variance=max(1e-4, entry.variance - entry.variance**2 * information / shrink),
            held=entry.held + weight * held,
            failed=entry.failed + weight * (not held),
        )


def _first_guess() -> Floats:
    """Weights before anything was seen: what an engineer would say, in round numbers."""
    mean = np.zeros(SIZE)
    mean[0] = -0.5
    mean[1] = 1.5
    mean[_SLOPE.start] = 0.5
    for name, value in {
        "numbers_differ": -0.5,
        "numbers_conflict": -0.3,
        "negation": -0.5,
        "question": -0.3,
        "names_conflict": -0.5,
        "order": -0.2,
        "trigrams": 0.5,
        "less_telling": -0.5,
    }.items():
        mean[_WORDING.start + FEATURES.index(name)] = value
    return mean


def sigmoid(z: float) -> float:
    """The chance that log odds of ``z`` stand for."""
    return 1.0 / (1.0 + math.exp(-z)) if z >= 0 else math.exp(z) / (1.0 + math.exp(z))
