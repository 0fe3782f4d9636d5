"""Who may answer from what is stored: trust.py, a static threshold, and a plain GPTCache-style cache, on pairs and on a stream.

Called by ops/bench/solutions.py. An answer counts as a hit when it is served from the store, as wrong when the labels say that
it does not answer. Truth is shown to trust.py only for what it did not serve.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from ops.bench.reuse_data import Pairs, Stream
from registry.embedding import Vectors
from registry.evidence import share_interval
from registry.same_words import same_words
from registry.trust import EntryTrust, Evidence, Serve, Trust, TrustSettings
from registry.wording import Wording, agreement, read

GPTCACHE_THRESHOLD = 0.8
"""The similarity that GPTCache asks for unless told otherwise."""
NEIGHBOURS = 3
_CURVE_POINTS = 10


@dataclass(slots=True)
class Tally:
    """Hits, wrong hits, requests; ``curve`` has hits and wrong hits after each tenth."""

    hits: int = 0
    wrong: int = 0
    asked: int = 0
    audits: int = 0
    curve: list[tuple[int, int, int]] = field(default_factory=list)

    @property
    def error(self) -> float:
        """Wrong / served; 0 where nothing was served."""
        return self.wrong / self.hits if self.hits else 0.0

    def served(self, right: bool) -> None:
        """One answer was given from the store."""
        self.hits += 1
        self.wrong += not right

    def report(self) -> dict[str, object]:
        """For the bench's JSON; ``error`` with its 95 % interval."""
        low, high = share_interval(self.wrong, self.hits)
        return {
            "asked": self.asked,
            "hits": self.hits,
            "hit_rate": self.hits / max(1, self.asked),
            "wrong": self.wrong,
            "error": self.error if self.hits else None,
            "error_low": low,
            "error_high": high,
            "audits": self.audits,
            "curve": [{"asked": a, "hits": h, "wrong": w} for a, h, w in self.curve],
        }


@lru_cache(maxsize=200_000)
def _read(text: str) -> Wording:
    return read(text)


def evidence_of(similarity: float, request: str, stored: str, runner_up: float | None = None) -> Evidence:
    """What trust.py is shown of a request and the stored phrasing that is nearest to it."""
    return Evidence(
        similarity=similarity,
        agreement=agreement(_read(request), _read(stored)),
        runner_up=runner_up,
        same_words=same_words(request, stored),
    )


# ── pairs: one question is stored, the other asked ──────────────────────────────────────────────────────────────────────


def trust_on_pairs(pairs: Pairs, evidence: Sequence[Evidence], order: npt.NDArray[np.int64], bound: float, seed: int) -> Tally:
    """Each pair once, in ``order``."""
    trust, rng, tally = Trust(TrustSettings(error_bound=bound)), random.Random(seed), Tally()
    same = pairs.same.tolist()
    for at in order.tolist():
        decision = trust.decide(evidence[at], trust.new_entry(), rng)
        tally.asked += 1
        if isinstance(decision, Serve):
            tally.served(same[at])
        else:
            tally.audits += decision.audit
            trust.learn(evidence[at], trust.new_entry(), held=same[at])
        if tally.asked % max(1, len(order) // _CURVE_POINTS) == 0:
            tally.curve.append((tally.asked, tally.hits, tally.wrong))
    return tally


@dataclass(frozen=True, slots=True, kw_only=True)
class Static:
    """What every static threshold would do: ``thresholds``, ``hits`` and ``wrong`` ``(k,)``, strictest first."""

    thresholds: npt.NDArray[np.float64]
    hits: npt.NDArray[np.int64]
    wrong: npt.NDArray[np.int64]

    def best(self, error: float) -> tuple[int, float]:
        """The most hits that any threshold gets at an error of at most ``error``, and that threshold (1.01: none)."""
        fine = np.flatnonzero(self.wrong <= error * self.hits + 1e-9)
        if len(fine) == 0:
            return 0, 1.01
        at = fine[int(np.argmax(self.hits[fine]))]
        return int(self.hits[at]), float(self.thresholds[at])

    def at(self, threshold: float) -> Tally:
        """The strictest threshold that is not above ``threshold``."""
        where = min(int(np.searchsorted(-self.thresholds, -threshold + 1e-9)), len(self.thresholds) - 1)
        return Tally(hits=int(self.hits[where]), wrong=int(self.wrong[where]))


def static_on_pairs(pairs: Pairs) -> Static:
    """Every threshold there is: one between any two similarities."""
    similarity = pairs.similarity
    order = np.argsort(-similarity, kind="stable")
    return Static(
        thresholds=similarity[order], hits=np.arange(1, len(order) + 1), wrong=np.cumsum(~pairs.same[order]).astype(np.int64)
    )


# ── stream: every request looks for the nearest of those before it ──────────────────────────────────────────────────────


class _Stored:
    """Phrasings with the solution that each belongs to; nearest neighbours by dot product."""

    def __init__(self, size: int, vectors: Vectors) -> None:
        self._vectors = np.empty((size, vectors.shape[1]), dtype=np.float32)
        self._texts = np.empty(size, dtype=np.int64)
        self.owner = np.empty(size, dtype=np.int64)
        self.count = 0

    def add(self, text: int, vector: npt.NDArray[np.float32], owner: int) -> None:
        self._vectors[self.count], self._texts[self.count], self.owner[self.count] = vector, text, owner
        self.count += 1

    def nearest(self, vector: npt.NDArray[np.float32], count: int) -> list[tuple[int, float, int]]:
        """The best phrasing of each of the ``count`` + 1 nearest solutions: (solution, similarity, text), nearest first."""
        similarity = self._vectors[: self.count] @ vector
        found: list[tuple[int, float, int]] = []
        some = np.argpartition(-similarity, min(64, self.count - 1))[:64] if self.count else np.empty(0, dtype=np.int64)
        for at in some[np.argsort(-similarity[some])].tolist():
            if all(int(self.owner[at]) != solution for solution, _, _ in found):
                found.append((int(self.owner[at]), float(similarity[at]), int(self._texts[at])))
            if len(found) > count:
                break
        return found


def trust_on_stream(pairs: Pairs, stream: Stream, bound: float, seed: int, *, per_entry: bool = True) -> Tally:
    """With ``per_entry`` False entries keep no state of their own: what the shared model alone would do."""
    trust, rng, tally = Trust(TrustSettings(error_bound=bound)), random.Random(seed), Tally()
    stored = _Stored(len(stream.texts), pairs.vectors)
    entries: list[EntryTrust] = []
    answers: list[int] = []
    for text, wanted in zip(stream.texts.tolist(), stream.answers.tolist(), strict=True):
        vector = pairs.vectors[text]
        near = stored.nearest(vector, NEIGHBOURS)
        tally.asked += 1
        owner: int | None = None
        for rank, (solution, similarity, phrasing) in enumerate(near[:NEIGHBOURS]):
            others = [each for other, each, _ in near if other != solution]
            evidence = evidence_of(similarity, pairs.texts[text], pairs.texts[phrasing], others[0] if others else None)
            if rank == 0:
                decision = trust.decide(evidence, entries[solution], rng)
                if isinstance(decision, Serve):
                    tally.served(answers[solution] == wanted)
                    break
                tally.audits += decision.audit
            # It was solved: the new answer is compared with those of the nearest solutions.
            held = answers[solution] == wanted
            learned = trust.learn(evidence, entries[solution], held=held, top=rank == 0)
            entries[solution] = learned if per_entry else trust.new_entry()
            owner = solution if held and owner is None else owner
        else:
            if owner is None:
                owner = len(entries)
                entries.append(trust.new_entry())
                answers.append(wanted)
            stored.add(text, vector, owner)
        if tally.asked % max(1, len(stream.texts) // _CURVE_POINTS) == 0:
            tally.curve.append((tally.asked, tally.hits, tally.wrong))
    return tally


def static_on_stream(pairs: Pairs, stream: Stream, thresholds: Sequence[float]) -> Static:
    """One cache a threshold: at or above it the nearest stored question answers, below it the question is stored with its
    answer.
    """
    tallies = [_static_stream(pairs, stream, threshold) for threshold in thresholds]
    return Static(
        thresholds=np.array(thresholds),
        hits=np.array([tally.hits for tally in tallies]),
        wrong=np.array([tally.wrong for tally in tallies]),
    )


def _static_stream(pairs: Pairs, stream: Stream, threshold: float) -> Tally:
    tally = Tally()
    stored = np.empty((len(stream.texts), pairs.vectors.shape[1]), dtype=np.float32)
    answers = np.empty(len(stream.texts), dtype=np.int64)
    count = 0
    for text, wanted in zip(stream.texts.tolist(), stream.answers.tolist(), strict=True):
        vector = pairs.vectors[text]
        similarity = stored[:count] @ vector
        best = int(np.argmax(similarity)) if count else -1
        tally.asked += 1
        if count and similarity[best] >= threshold:
            tally.served(bool(answers[best] == wanted))
        else:
            stored[count], answers[count] = vector, wanted
            count += 1
    return tally
