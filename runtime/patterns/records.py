"""What the desk of patterns speaks in, and what it needs of the ledger. Implemented by runtime/ledger/patterns.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from runtime.topology.clustering import Floats
from runtime.topology.pattern_records import Known, Slot


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Patterns as they are written and read back. ``slots``, ``labels`` and ``vectors (n, dimension)`` are of the same requests.
    ``model`` made the vectors. ``moved``: some slots were lost, and others are not where they were."""

    model: str
    dimension: int
    seen: int
    clustered: int
    next_id: int
    known: Mapping[int, Known]
    slots: Sequence[Slot]
    labels: Sequence[int]
    vectors: Floats
    moved: bool = False


class PatternBook(Protocol):
    """All of it raises LedgerError."""

    async def load(self, window: int) -> Kept | None:
        """What was written, slots of at most ``window``; None where nothing was."""
        ...

    async def requests(self, most: int) -> dict[str, str]:
        """The pattern of each of the newest requests that have one, the oldest of them first."""
        ...

    async def save(self, kept: Kept, places: list[int], of: Mapping[str, str]) -> None:
        """Write ``kept``: all patterns, and the slots at ``places``; and which request (id) was ``of`` which pattern."""
        ...

    async def reserve(self, model: str, dimension: int, next_id: int) -> None:
        """No id below ``next_id`` is given anew after a restart."""
        ...

    async def clear(self) -> None:
        """Forget patterns and window: they are of another embedding model."""
        ...
