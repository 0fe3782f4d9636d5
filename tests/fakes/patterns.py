"""A book of patterns in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from runtime.patterns.records import Kept


class MemoryPatterns:
    """``kept`` is what was written last; ``slots`` all that were ever written, by place; ``reserved`` the ids that are taken."""

    def __init__(self) -> None:
        self.kept: Kept | None = None
        self.slots: dict[int, tuple[Any, int, Any]] = {}
        self.of: dict[str, str] = {}
        self.reserved = 0
        self.cleared = 0

    async def load(self, window: int) -> Kept | None:
        if self.kept is None:
            return None
        rows = [self.slots[place] for place in sorted(self.slots)]
        vectors = np.array([row[2] for row in rows], dtype=np.float32).reshape(len(rows), self.kept.dimension)
        slots, labels = [row[0] for row in rows], [row[1] for row in rows]
        return replace(self.kept, slots=slots, labels=labels, vectors=vectors, next_id=max(self.kept.next_id, self.reserved))

    async def requests(self, most: int) -> dict[str, str]:
        return dict(list(self.of.items())[-most:])

    async def save(self, kept: Kept, places: list[int], of: Mapping[str, str]) -> None:
        known = {i: replace(each) for i, each in kept.known.items()}
        self.kept = replace(kept, known=known)
        self.slots |= dict(zip(places, zip(kept.slots, kept.labels, kept.vectors, strict=True), strict=True))
        self.of |= of

    async def reserve(self, model: str, dimension: int, next_id: int) -> None:
        self.reserved = max(self.reserved, next_id)

    async def clear(self) -> None:
        self.kept, self.slots, self.cleared = None, {}, self.cleared + 1
