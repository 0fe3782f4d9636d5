"""May this entry answer this request? Reuse under an error rate that the operator sets, learned from verified outcomes.

Called by the solution library (solutions.py) and the bench. Pure: no I/O and no clock; randomness is injected. Imports
trust_model.py (how likely reuse holds) and error_bound.py (from which score on it is served).

Requests that say the same words in another spelling (``Evidence.same_words``) are a class of their own, with counts of its own:
that they mean the same is known from grammar and not from a score. While the class keeps the bound its members are served
whatever they score; while it does not, they are candidates like all others.

The idea that a cache should learn, entry by entry, when it may answer, and explore where it is not sure, is that of vCache
(Schroeder et al., arXiv 2502.03771): a logistic curve over the similarity for each stored text, its confidence band, and a
chance to explore that keeps the error under δ. What differs here: (1) all entries share a model, so that a new entry begins with
what was learned of others rather than with nothing; (2) the evidence is more than one similarity; (3) labels may be wrong; (4)
the bound is on wrong / served, which is stricter than on wrong / asked, and is checked against counted outcomes instead of the
model's own band; (5) an entry that was found wrong while it served is out until it has held again several times.

What is promised, with the stated confidence, as long as outcomes come as they came before: over all, wrong / served <= bound. Of
one entry: its own outcomes move its offset, and once it was found wrong while it served, it is out until it has held ``redeem``
times. (Tried: to refuse an entry whose share of failures, of all its outcomes, exceeds a multiple of the bound. That shuts out
entries for what they failed at far below the threshold, and cost two fifths of the hits of a repeating stream for no lower
error.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final, Protocol

import numpy as np

from registry.arrays import packed, unpacked
from registry.error_bound import BINS, ErrorBound, Vouched
from registry.records import TrustStateUnreadable
from registry.trust_model import SIZE, EntryTrust, Evidence, SharedModel, sigmoid, vector

__all__ = ["Decision", "EntryTrust", "Evidence", "Explore", "Serve", "Trust", "TrustSettings"]

_STATE_VERSION: Final = 2
_WITHOUT_SAME_WORDS: Final = 1
"""The version of states that know no class of the same words."""
_REFRESH_EVERY: Final = 20


class Random(Protocol):
    """random.Random, or what draws like it."""

    def random(self) -> float:
        """In [0, 1), evenly."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustSettings:
    """``error_bound``: the share of served answers that may be wrong. ``confidence``: that this holds, given what was counted.

    ``audit_share`` of what could be served is solved all the same, to learn whether it should have been. ``label_noise`` is the
    share of verified outcomes that are thought to be wrong. ``redeem``: how often an entry must hold after it was found wrong
    while it served. ``same_words_held``: with up to so many right answers for each percent of the bound the class of the
    same words begins.
    """

    error_bound: float = 0.01
    confidence: float = 0.95
    audit_share: float = 0.05
    label_noise: float = 0.02
    entry_variance: float = 2.0
    redeem: int = 3
    model_weight: float = 100.0
    prior_held: float = 0.0
    same_words_held: float = 150.0

    def __post_init__(self) -> None:
        for name, low, high in (
            ("error_bound", 0.0, 0.5),
            ("confidence", 0.5, 0.9999),
            ("audit_share", 0.001, 1.0),
            ("label_noise", 0.0, 0.3),
            ("entry_variance", 0.0, 100.0),
            ("redeem", 0, 1000),
            ("model_weight", 0.0, 10_000.0),
            ("prior_held", 0.0, 1_000_000.0),
            ("same_words_held", 0.0, 10_000.0),
        ):
            value = getattr(self, name)
            if not (math.isfinite(value) and low <= value <= high):
                raise ValueError(f"{name} must be between {low:g} and {high:g}, not {value!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Serve:
    """The entry may answer. ``error`` is the calibrated chance that this is wrong, ``score`` the log odds that it holds."""

    score: float
    error: float
    reason: str = "trusted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Explore:
    """The request goes on to be solved, and what comes of it should be learned. ``audit``: it could have been served."""

    score: float
    error: float
    reason: str
    audit: bool = False


Decision = Serve | Explore


class Trust:
    """What is known about reuse in one library. ``decide`` and ``learn`` change it; use it from one thread."""

    def __init__(self, settings: TrustSettings | None = None) -> None:
        self.settings = settings or TrustSettings()
        self._model = SharedModel(label_noise=self.settings.label_noise)
        self._bound = ErrorBound(
            bound=self.settings.error_bound,
            confidence=self.settings.confidence,
            model_weight=self.settings.model_weight,
            prior_held=self.settings.prior_held,
        )
        self._same_words = Vouched(
            bound=self.settings.error_bound, confidence=self.settings.confidence, per_percent=self.settings.same_words_held
        )
        self._since_refresh = 0

    @property
    def serves_same_words(self) -> bool:
        """Whether requests that say the same words are served now, whatever they score."""
        return self._same_words.is_open

    @property
    def threshold(self) -> float | None:
        """The score from which on entries are served now; None: none are."""
        return self._bound.threshold

    def new_entry(self) -> EntryTrust:
        """The state of an entry that was never tried."""
        return EntryTrust(variance=self.settings.entry_variance)

    def probability(self, evidence: Evidence, entry: EntryTrust) -> float:
        """That reuse holds, by the model alone; never falls when the similarity rises."""
        return sigmoid(self._model.score(evidence, entry))

    def decide(self, evidence: Evidence, entry: EntryTrust, rng: Random) -> Decision:
        """Whether ``entry`` may answer. Counts the candidate; everything else stays as it is."""
        if not self._vouched(evidence):
            self._bound.came(self._model.score(evidence, entry))
        self._refresh_at_times()
        decided = self.would_serve(evidence, entry)
        if isinstance(decided, Serve) and rng.random() < self.settings.audit_share:
            return Explore(score=decided.score, error=decided.error, reason="audited", audit=True)
        return decided

    def would_serve(self, evidence: Evidence, entry: EntryTrust) -> Decision:
        """As ``decide`` without the audits, and without counting anything: for dry runs."""
        score = self._model.score(evidence, entry)
        vouched = self._vouched(evidence)
        error = self._same_words.error if vouched else self._bound.error_near(score)
        if (reason := self._why_not(score, entry, vouched)) is not None:
            return Explore(score=score, error=error, reason=reason)
        return Serve(score=score, error=error, reason="the same words" if vouched else "trusted")

    def learn(self, evidence: Evidence, entry: EntryTrust, *, held: bool, top: bool = True) -> EntryTrust:
        """Take in a verified outcome: whether the entry's answer was right for the request. Returns the entry's new state.

        ``top`` is False for a candidate that was compared beside the one that would have answered: the model learns from it, the
        bound counts only what could have been served.
        """
        score = self._model.score(evidence, entry)
        tested = top and self._why_not(score, replace(entry, suspended=0), self._vouched(evidence)) is None
        if top:
            self._label(evidence, score, held)
        found = self._model.learn(vector(evidence, entry), entry, held)
        if held:
            return replace(found, suspended=max(0, entry.suspended - 1))
        return replace(found, suspended=self.settings.redeem if tested else entry.suspended)

    def refute(self, entry: EntryTrust, evidence: Evidence | None = None) -> EntryTrust:
        """A served answer was wrong, or a stored one failed a check. The entry is out at once, and its offset falls for sure.

        With the ``evidence`` it was served on, everything learns from it. Such reports are of failures only, which makes the
        bound stricter than it must be, never laxer. Without, it is a matter of this entry alone.
        """
        found = entry
        if evidence is not None:
            self._label(evidence, self._model.score(evidence, entry), False)
            found = self._model.learn(vector(evidence, entry), entry, False)
            self._bound.refresh()
        else:
            found = replace(entry, failed=entry.failed + 1.0)
        fall = min(found.offset, entry.offset - math.sqrt(entry.variance))
        return replace(found, offset=max(-20.0, fall), suspended=max(1, self.settings.redeem))

    def _vouched(self, evidence: Evidence) -> bool:
        return evidence.same_words and self._same_words.is_open

    def _label(self, evidence: Evidence, score: float, held: bool) -> None:
        """Count the truth where it belongs: what is served for its words is no sample of what is served for its score."""
        if not self._vouched(evidence):
            self._bound.label(score, held)
        if evidence.same_words:
            self._same_words.label(held)

    def _why_not(self, score: float, entry: EntryTrust, vouched: bool) -> str | None:
        if entry.suspended:
            return f"found wrong; must hold {entry.suspended} more times"
        if vouched:
            return None
        if self._bound.threshold is None:
            return "too little is known to keep the bound"
        if score < self._bound.threshold:
            return f"score {score:.2f} is under {self._bound.threshold:.2f}"
        return None

    def _refresh_at_times(self) -> None:
        self._since_refresh += 1
        if self._since_refresh >= _REFRESH_EVERY:
            self._since_refresh = 0
            self._bound.refresh()

    # ── state ───────────────────────────────────────────────────────────────────────────────────────────────────────────

    def dump(self) -> bytes:
        """What was learned (without the entries, which keep their own), up to 100 kB. Settings are not in it."""
        version, model = np.array(_STATE_VERSION), self._model
        found = {"version": version, "mean": model.mean, "covariance": model.covariance, "counts": self._bound.counts}
        return packed({**found, "same_words": self._same_words.counts})

    def load(self, state: bytes) -> None:
        """Go on from what ``dump`` gave. Raises TrustStateUnreadable, and then nothing has changed."""
        try:
            found = unpacked(state)
            version = int(found["version"])
            mean, covariance, counts = found["mean"], found["covariance"], found["counts"]
            same_words = np.zeros(2) if version == _WITHOUT_SAME_WORDS else found["same_words"]
        except (ValueError, KeyError, TypeError) as error:
            raise TrustStateUnreadable(f"{type(error).__name__}: {error}") from error
        arrays = (mean, covariance, counts, same_words)
        shapes = tuple(each.shape for each in arrays)
        fitting = ((SIZE,), (SIZE, SIZE), (3, BINS), (2,))
        if version not in (_STATE_VERSION, _WITHOUT_SAME_WORDS) or shapes != fitting:
            raise TrustStateUnreadable(f"version {version} with shapes {', '.join(map(str, shapes))}")
        if not all(each.dtype == np.float64 and np.isfinite(each).all() for each in arrays):
            raise TrustStateUnreadable("it holds values that are not finite numbers")
        self._model.mean, self._model.covariance, self._bound.counts = mean.copy(), covariance.copy(), counts.copy()
        self._same_words.counts = same_words.copy()
        self._bound.refresh()
