"""Phrasings of stored requests in memory: exact by hash, nearest by cosine within a partition. Called by solutions.py only.

Pure: no I/O. One matrix of unit vectors a partition, which grows by doubling; a look-up is one product with all of its rows,
exact and without tuning (20,000 rows of 384: about two milliseconds). Removal swaps the last row into the hole.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float32]
_FIRST_ROWS = 16
_LOOKED_AT = 64
_INLINE_ROWS = 20_000
"""So many take two or three milliseconds; more are compared off the event loop."""


@dataclass(frozen=True, slots=True)
class Near:
    """The nearest phrasing of one solution."""

    solution: str
    similarity: float
    text: str


@dataclass(slots=True)
class _Partition:
    rows: npt.NDArray[np.float32]
    keys: list[str] = field(default_factory=list)


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
            there = self._partitions[partition] = _Partition(np.empty((_FIRST_ROWS, len(vector)), dtype=np.float32))
        count = len(there.keys)
        if vector.shape != there.rows.shape[1:]:
            raise ValueError(f"a vector of {vector.shape} does not fit rows of {there.rows.shape[1:]}")
        if count == len(there.rows):
            there.rows = np.concatenate([there.rows, np.empty_like(there.rows)])
        there.rows[count] = vector
        there.keys.append(key)
        self._place[key] = count
        self._phrasings[key] = _Phrasing(solution, partition, text)
        self._of_solution[solution].add(key)

    def remove(self, key: str) -> None:
        """Forget one phrasing; idempotent."""
        found = self._phrasings.pop(key, None)
        if found is None:
            return
        there = self._partitions[found.partition]
        at, last = self._place.pop(key), len(there.keys) - 1
        if at != last:
            there.rows[at] = there.rows[last]
            there.keys[at] = there.keys[last]
            self._place[there.keys[at]] = at
        there.keys.pop()
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
        """The ``count`` nearest solutions of a partition, each by its nearest phrasing, nearest first.

        A large partition is compared in a thread; what changes meanwhile is seen or not, but never mixed up.
        """
        there = self._partitions.get(partition)
        if there is None or vector.shape != there.rows.shape[1:]:
            return []
        keys = list(there.keys)
        rows = there.rows[: len(keys)]
        similarity = rows @ vector if len(keys) <= _INLINE_ROWS else await asyncio.to_thread(np.matmul, rows, vector)
        some = np.arange(len(similarity))
        if len(similarity) > _LOOKED_AT:
            some = np.argpartition(similarity, -_LOOKED_AT)[-_LOOKED_AT:]
        found: dict[str, Near] = {}
        for at in some[np.argsort(-similarity[some], kind="stable")].tolist():
            phrasing = self._phrasings.get(keys[at])
            if phrasing is None or phrasing.partition != partition or phrasing.solution in found:
                continue
            now = float(there.rows[self._place[keys[at]]] @ vector)
            found[phrasing.solution] = Near(phrasing.solution, min(1.0, now), phrasing.text)
            if len(found) == count:
                break
        return list(found.values())
