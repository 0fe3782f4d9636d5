"""Phrasings of stored requests in memory: exact by hash, nearest by cosine within a partition. Called by solutions.py only.

Pure: no I/O. One matrix of unit vectors a partition, which grows by doubling. Removal swaps the last row into the hole.

A look-up is one product with all rows, and reading them is what it costs: 20,000 of 384 are 30 MB. So in a large partition the
rows are read in short first: ``_SHORT`` coordinates after one random rotation, which is the same for all. Rotated, every
coordinate is as good as any other, and the short product is the cosine up to an error of some hundredths that gets smaller the
nearer two vectors are (Johnson & Lindenstrauss 1984). The ``_SHORTLISTED`` best of them are then compared whole. For 2,000
recorded questions among 20,000 others the nearest was found each time, and all with a cosine of 0.6 or more; 99.8 % of the five
nearest.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float32]
_FIRST_ROWS = 16
_LOOKED_AT = 64
_SHORT = 128
_SHORTLISTED = 512
_WHOLE_ROWS = 4096
"""So many are compared whole: that takes half a millisecond."""
_INLINE_ROWS = 60_000
"""So many take two or three milliseconds in short; more are compared off the event loop."""


@dataclass(frozen=True, slots=True)
class Near:
    """The nearest phrasing of one solution."""

    solution: str
    similarity: float
    text: str


@dataclass(slots=True)
class _Partition:
    """``rows`` ``(room, d)``; ``short`` ``(room, _SHORT)``, empty while the partition is small. The first ``len(keys)`` count."""

    rows: npt.NDArray[np.float32]
    short: npt.NDArray[np.float32]
    keys: list[str] = field(default_factory=list)

    def put(self, key: str, vector: Vector) -> None:
        """Behind the last row."""
        at = len(self.keys)
        if at == len(self.rows):
            self.rows = np.concatenate([self.rows, np.empty_like(self.rows)])
            self.short = np.concatenate([self.short, np.empty_like(self.short)])
        self.rows[at] = vector
        self.keys.append(key)
        if len(self.short):
            self.short[at] = vector @ _rotation(len(vector))
        elif at == _WHOLE_ROWS and len(vector) > _SHORT:
            self.short = np.empty((len(self.rows), _SHORT), dtype=np.float32)
            self.short[: at + 1] = self.rows[: at + 1] @ _rotation(len(vector))

    def take(self, at: int) -> str | None:
        """Take row ``at`` away; the key of the last row, which comes in its place."""
        moved = self.keys.pop()
        if at == len(self.keys):
            return None
        self.keys[at] = moved
        self.rows[at] = self.rows[len(self.keys)]
        if len(self.short):
            self.short[at] = self.short[len(self.keys)]
        return moved


@dataclass(frozen=True, slots=True)
class _Phrasing:
    solution: str
    partition: str
    text: str


class Index:
    """All phrasings. ``key`` is the exact hash of a phrasing."""

    def __init__(self) -> None:
        self._partitions: dict[str, _Partition] = {}
        self._place: dict[str, int] = {}
        self._phrasings: dict[str, _Phrasing] = {}
        self._of_solution: dict[str, set[str]] = defaultdict(set)

    def __len__(self) -> int:
        return len(self._phrasings)

    def exact(self, key: str) -> str | None:
        """The solution that has this very phrasing."""
        found = self._phrasings.get(key)
        return found.solution if found else None

    def phrasings(self, solution: str) -> frozenset[str]:
        """Keys of what a solution answers."""
        return frozenset(self._of_solution.get(solution, ()))

    def add(self, key: str, partition: str, solution: str, text: str, vector: Vector) -> None:
        """Add a phrasing or move it to another solution. ``vector`` ``(d,)`` of unit length; ValueError when d differs."""
        self.remove(key)
        there = self._partitions.get(partition)
        if there is None:
            rows, short = (np.empty((size, len(vector)), dtype=np.float32) for size in (_FIRST_ROWS, 0))
            there = self._partitions[partition] = _Partition(rows, short)
        if vector.shape != there.rows.shape[1:]:
            raise ValueError(f"a vector of {vector.shape} does not fit rows of {there.rows.shape[1:]}")
        self._place[key] = len(there.keys)
        there.put(key, vector)
        self._phrasings[key] = _Phrasing(solution, partition, text)
        self._of_solution[solution].add(key)

    def remove(self, key: str) -> None:
        """Forget one phrasing; idempotent."""
        found = self._phrasings.pop(key, None)
        if found is None:
            return
        there = self._partitions[found.partition]
        at = self._place.pop(key)
        if (moved := there.take(at)) is not None:
            self._place[moved] = at
        if not there.keys:
            del self._partitions[found.partition]
        keys = self._of_solution[found.solution]
        keys.discard(key)
        if not keys:
            del self._of_solution[found.solution]

    def has(self, partition: str) -> bool:
        """Whether anything is stored there, so that it is worth an embedding."""
        return partition in self._partitions

    async def nearest(self, partition: str, vector: Vector, count: int) -> list[Near]:
        """The ``count`` nearest solutions of a partition, each by its nearest phrasing, nearest first. In one of more than 4,096
        phrasings one that is far may be missed.

        A very large partition is compared in a thread; what changes meanwhile is seen or not, but never mixed up.
        """
        there = self._partitions.get(partition)
        if there is None or vector.shape != there.rows.shape[1:]:
            return []
        keys, rows, short = there.keys, there.rows, there.short
        if len(keys) > _INLINE_ROWS:
            keys = list(keys)
            best = await asyncio.to_thread(_best, rows, short, len(keys), vector)
        else:
            best = _best(rows, short, len(keys), vector)
        found: dict[str, Near] = {}
        for at in best:
            phrasing = self._phrasings.get(keys[at])
            if phrasing is None or phrasing.partition != partition or phrasing.solution in found:
                continue
            now = float(there.rows[self._place[keys[at]]] @ vector)
            found[phrasing.solution] = Near(phrasing.solution, min(1.0, now), phrasing.text)
            if len(found) == count:
                break
        return list(found.values())


def _best(rows: npt.NDArray[np.float32], short: npt.NDArray[np.float32], count: int, vector: Vector) -> list[int]:
    """Which of the first ``count`` rows are nearest, nearest first: up to ``_LOOKED_AT`` of them."""
    some = np.arange(count)
    if len(short) and count > _SHORTLISTED:
        some = _top(short[:count] @ (vector @ _rotation(len(vector))), _SHORTLISTED)
        similarity = rows[some] @ vector
    else:
        similarity = rows[:count] @ vector
    best = _top(similarity, _LOOKED_AT)
    found: list[int] = some[best[np.argsort(-similarity[best], kind="stable")]].tolist()
    return found


def _top(values: npt.NDArray[np.float32], count: int) -> npt.NDArray[np.intp]:
    """Where the ``count`` largest are, in no order."""
    return np.argpartition(values, -count)[-count:] if len(values) > count else np.arange(len(values))


@lru_cache(maxsize=8)
def _rotation(size: int) -> npt.NDArray[np.float32]:
    """``(size, _SHORT)``: orthonormal columns in random directions, the same ones in every process."""
    drawn = np.random.default_rng(0).normal(size=(size, _SHORT))
    return np.ascontiguousarray(np.linalg.qr(drawn)[0], dtype=np.float32)
