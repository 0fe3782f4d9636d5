"""Recorded question pairs as the reuse bench needs them: read, embedded, and as a stream in which questions are asked again.

Called by ops/bench/solutions.py.
"""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ops.bench.embedded import embedded
from ops.bench.report import NoData
from registry.embedding import Vectors


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """``texts`` (n), their ``vectors`` ``(n, d) float32``, and pairs of them: ``left``, ``right`` ``(m,)`` indices, ``same``
    ``(m,)``.
    """

    texts: Sequence[str]
    vectors: Vectors
    left: npt.NDArray[np.int64]
    right: npt.NDArray[np.int64]
    same: npt.NDArray[np.bool_]

    @property
    def similarity(self) -> npt.NDArray[np.float64]:
        """``(m,)``: cosine of each pair."""
        found: npt.NDArray[np.float64] = np.einsum("nd,nd->n", self.vectors[self.left], self.vectors[self.right]).astype(
            np.float64
        )
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """Requests in order: ``texts`` is an index into ``Pairs.texts``, ``answers`` says which answer each wants; both ``(n,)``."""

    texts: npt.NDArray[np.int64]
    answers: npt.NDArray[np.int64]

    @property
    def possible(self) -> int:
        """How many requests want an answer that was wanted before."""
        return len(self.answers) - len(np.unique(self.answers))


def read_pairs(folder: Path | None, limit: int | None = None) -> Pairs:
    """The pairs under ``folder``/qqp (the first ``limit``), with embeddings. Raises NoData that says what is missing."""
    if folder is None:
        raise NoData("it needs --data DIR")
    path = folder / "qqp" / "pairs.jsonl.gz"
    if not path.is_file():
        raise NoData(f"{path} is missing")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines][:limit]
    texts = sorted({row[side] for row in rows for side in ("a", "b")})
    place = {text: at for at, text in enumerate(texts)}
    return Pairs(
        texts=texts,
        vectors=embedded(texts),
        left=np.array([place[row["a"]] for row in rows]),
        right=np.array([place[row["b"]] for row in rows]),
        same=np.array([bool(row["same"]) for row in rows]),
    )


def groups(size: int, links: Iterable[tuple[int, int]]) -> npt.NDArray[np.int64]:
    """``(size,)``: the smallest member of the group that links join each of 0..size-1 to."""
    parent = list(range(size))

    def root(at: int) -> int:
        while parent[at] != at:
            parent[at] = parent[parent[at]]
            at = parent[at]
        return at

    for a, b in links:
        low, high = sorted((root(a), root(b)))
        parent[high] = low
    return np.array([root(at) for at in range(size)])


def repeating_stream(pairs: Pairs, rng: np.random.Generator, *, least: int = 3, exponent: float = 1.0) -> Stream:
    """Questions asked again in other words, the most asked first by a Zipf law.

    Questions that pairs say may share an answer want the same answer. Taken are all questions that are linked, by either kind of
    pair, to an answer that at least ``least`` phrasings want: so look-alikes that want other answers are among them. The answer
    with the r-th most phrasings is asked for at a rate of ``1/r**exponent``, in phrasings drawn without return: what is asked in
    the same words again is an exact hit, which needs no judgement. Two questions that no pair joins count as different, although
    some are not.
    """
    linked = groups(len(pairs.texts), zip(pairs.left.tolist(), pairs.right.tolist(), strict=True))
    joined = [(int(a), int(b)) for a, b, same in zip(pairs.left, pairs.right, pairs.same, strict=True) if same]
    answer = groups(len(pairs.texts), joined)
    members: dict[int, list[int]] = defaultdict(list)
    for text, wanted in enumerate(answer.tolist()):
        members[wanted].append(text)
    kept = {int(linked[wanted]) for wanted, phrasings in members.items() if len(phrasings) >= least}
    wanted_by_size = sorted((w for w in members if int(linked[w]) in kept), key=lambda w: (-len(members[w]), w))
    asked: list[tuple[float, int, int]] = []
    for rank, wanted in enumerate(wanted_by_size, start=1):
        phrasings = rng.permutation(members[wanted])
        # Waiting times of a Poisson process of that rate: the order in which a Zipf-weighted draw without return takes them.
        times = np.cumsum(rng.exponential(rank**exponent, len(phrasings)))
        asked += [(float(time), int(text), wanted) for time, text in zip(times, phrasings, strict=True)]
    asked.sort()
    return Stream(texts=np.array([text for _, text, _ in asked]), answers=np.array([wanted for _, _, wanted in asked]))
