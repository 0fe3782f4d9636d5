"""From which score on may answers be reused, so that the share of wrong ones among those served stays under a bound?

The score orders candidates; how often one of a given score is wrong is counted here, not believed. Called by trust.py alone.
Pure: no I/O, no clock. Imports numpy only.

Scores fall into bins. Of each bin three numbers are kept: how many candidates came (``traffic``), of how many the truth was
learned (``labels``), of how many of those reuse would have been wrong (``wrong``). A label is learned when a candidate is not
served, and for a small share of those that would be served (audits), drawn at random: so within a bin the labels are a fair
sample, although over all they are not. The error above a threshold c is the stratified estimate

    ê(c) = Σ_b t_b ê_b / Σ_b t_b,   ê_b = (wrong_b + κ p_b) / (labels_b + κ)      over bins b ≥ c

with p_b the error that the model itself expects at the bin's score and κ its weight in labels, which grows with what the model
was tested on, κ = κ_max L/(L + 3000) for L labels in all (with a fixed weight an immature model served too early, and over the
bound). Its variance ``Σ t_b² ê_b(1 - ê_b)/(labels_b + κ) / (Σ t_b)²`` gives the number of labels it is worth, n = ê(1 -
ê)/variance, and Chernoff's bound in its Kullback-Leibler form the upper limit U with ``n · KL(ê ‖ U) = log(1/(1 - confidence))``
(Hoeffding 1963; stated for learned decision rules by Langford 2005). Served is what scores at or above the lowest c with U(c) ≤
bound. Thresholds are nested, so that the search over them is a fixed sequence of tests, as in «Learn then Test» (Angelopoulos et
al. 2021), without a correction for its length.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_LOWEST: Final = -4.0
_WIDTH: Final = 0.25
BINS: Final = 48
"""Scores from -4 to 8 (a chance of 2 % to 99.97 %) in steps of 0.25; the outer bins take what lies beyond."""
_MIN_LABELS: Final = 20.0
"""Nothing is served on fewer real labels than these at or above the threshold, whatever the model expects."""

_MATURE_LABELS: Final = 3000.0
_AIM: Final = 0.9
"""What is counted must stay under this share of the bound: requests change between the counting and the serving."""


class ErrorBound:
    """The counts of all bins and the threshold that follows from them. Changed by ``came``, ``label`` and ``refresh`` only.

    ``prior_held``: in each bin it counts as if that many labels had come before, all of them right. For reuse that something else
    vouches for; 0 where nothing does.
    """

    def __init__(
        self,
        *,
        bound: float,
        confidence: float = 0.95,
        model_weight: float = 100.0,
        bin_memory: float = 1000.0,
        prior_held: float = 0.0,
        memory: float = 20_000.0,
    ) -> None:
        self.bound = bound
        self.counts = np.zeros((3, BINS))
        """``(3, BINS) float64``: traffic, labels, wrong."""
        self.threshold: float | None = None
        """The lowest score that may be served; None: nothing may."""
        self._need = -math.log(1.0 - confidence)
        self._model_weight = model_weight
        self._prior_held = prior_held
        self._bin_memory = bin_memory
        self._memory = memory
        if prior_held > 0.0:  # what was vouched for is vouched for at every score
            self.counts[0] = 1.0
            self.refresh()

    def came(self, z: float) -> None:
        """A candidate with score ``z`` was decided on."""
        traffic = self.counts[0]
        traffic[bin_of(z)] += 1.0
        if traffic.sum() > self._memory:  # halved, so that old traffic fades
            traffic *= 0.5

    def label(self, z: float, held: bool, weight: float = 1.0) -> None:
        """The truth of a candidate with score ``z`` was learned."""
        at = bin_of(z)
        self.counts[1, at] += weight
        self.counts[2, at] += weight * (not held)
        if self.counts[1, at] > self._bin_memory:
            self.counts[1:, at] *= 0.5

    def refresh(self) -> None:
        """Work the threshold out anew."""
        above = self.limits()
        # From the top down: the labels at or above each bin, so that a threshold never rests on the model's word alone.
        labels = np.cumsum((self.counts[1] + self._prior_held)[::-1])[::-1]
        good = np.flatnonzero((above <= _AIM * self.bound) & (labels >= _MIN_LABELS) & (self.counts[0] > 0))
        self.threshold = None if len(good) == 0 else _LOWEST + _WIDTH * float(good[0])

    def limits(self) -> Floats:
        """``(BINS,)``: the upper limit of the error at or above each bin; 1 where nothing came."""
        traffic, labels, wrong = self.counts
        expected = 1.0 / (1.0 + np.exp(_LOWEST + _WIDTH * (np.arange(BINS) + 0.5)))
        weight = self._weight()
        size = labels + weight + self._prior_held + 1e-9
        error = (wrong + weight * expected + 1e-9) / size
        came = np.cumsum(traffic[::-1])[::-1]
        weighted = np.cumsum((traffic * error)[::-1])[::-1]
        spread = np.cumsum((traffic**2 * error * (1.0 - error) / size)[::-1])[::-1]
        safe = np.maximum(came, 1e-9)
        mean = np.clip(weighted / safe, 1e-9, 1.0 - 1e-9)
        worth = mean * (1.0 - mean) / np.maximum(spread / safe**2, 1e-12)
        return np.where(came > 0, _kl_upper(mean, self._need / np.maximum(worth, 1e-9)), 1.0)

    def error_near(self, z: float) -> float:
        """The calibrated chance that reuse at score ``z`` is wrong: that of its bin."""
        at = bin_of(z)
        expected = 1.0 / (1.0 + math.exp(_LOWEST + _WIDTH * (at + 0.5)))
        weight = self._weight() + 1e-9
        return float((self.counts[2, at] + weight * expected) / (self.counts[1, at] + weight + self._prior_held))

    def _weight(self) -> float:
        """κ: how many labels the model's own expectation is worth in each bin."""
        labels = float(self.counts[1].sum())
        return self._model_weight * labels / (labels + _MATURE_LABELS)


class Vouched:
    """A class of candidates that something else than a score vouches for, counted by itself: it is open to be served, or not.

    Vouching stands for labels that were right and never came: as many as let the class open after ``_MIN_LABELS`` real ones with
    at most one failure among them, since labels are noisy; but at most ``per_percent`` for each percent of the bound. So at a
    narrow bound it only shortens the wait, and a class that is not what it was thought to be is found out by its first real
    labels, or by audits later, and closes.
    """

    def __init__(self, *, bound: float, confidence: float = 0.95, per_percent: float = 150.0, memory: float = 1000.0) -> None:
        self.counts = np.zeros(2)
        """``(2,) float64``: labels, wrong."""
        self._aim = _AIM * bound
        self._need = -math.log(1.0 - confidence)
        # With one failure among n labels Chernoff's bound is m / n, where m - 1 - ln(m) = need (for small shares).
        m = self._need + 1.0
        for _ in range(30):
            m = self._need + 1.0 + math.log(m)
        wanted = math.ceil(m / max(1e-9, self._aim)) - _MIN_LABELS
        self._prior = max(0.0, min(100.0 * bound * per_percent, wanted))
        self._memory = memory

    def label(self, held: bool) -> None:
        """The truth of a member was learned."""
        self.counts += (1.0, float(not held))
        if self.counts[0] > self._memory:
            self.counts *= 0.5

    @property
    def error(self) -> float:
        """The share of members that are wrong, as far as is known."""
        labels, wrong = self.counts
        return float(wrong / max(1.0, labels + self._prior))

    @property
    def is_open(self) -> bool:
        """Whether the upper limit of its error is within the bound."""
        labels = float(self.counts[0])
        if labels < _MIN_LABELS:
            return False
        mean = np.array([min(1.0 - 1e-9, max(1e-9, self.error))])
        return bool(_kl_upper(mean, np.array([self._need / (labels + self._prior)]))[0] <= self._aim)


def bin_of(z: float) -> int:
    """Which bin ``z`` falls into; not a number counts as the lowest."""
    return 0 if math.isnan(z) else int(min(BINS - 1.0, max(0.0, (z - _LOWEST) // _WIDTH)))


def _kl_upper(mean: Floats, room: Floats) -> Floats:
    """The largest U with ``KL(mean ‖ U) <= room`` for Bernoulli distributions, by bisection; elementwise."""
    low, high = mean.copy(), np.ones_like(mean)
    for _ in range(40):
        middle = np.clip((low + high) / 2.0, 1e-12, 1.0 - 1e-12)
        distance = mean * np.log(mean / middle) + (1.0 - mean) * np.log((1.0 - mean) / (1.0 - middle))
        inside = distance <= room
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    return high
