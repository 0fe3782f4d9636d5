"""The port through which every change is made durable before a table sees it.

Called by writer.py and history.py; the daemon's ledger implements it (append-only, in SQLite). A ``Put`` is a whole row of one
table: the newest put of a key is what the table must hold, so that tables can be brought up to date, or rebuilt, from the
journal alone. Imports nothing of the project.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Put:
    """``row`` (JSON) replaces what ``table`` holds under ``key``. ``at`` is Unix time; ``seq`` counts all puts, 0 before it is
    kept."""

    table: str
    key: str
    row: Mapping[str, Any]
    at: float
    seq: int = 0


class Journal(Protocol):
    """Append-only. Raises RegistryUnavailable when the disk refuses."""

    async def append(self, puts: Sequence[Put]) -> Sequence[Put]:
        """Keep all of them or none, durable on return; the same puts with their ``seq``."""
        ...

    async def marks(self, table: str) -> Mapping[str, int]:
        """Key -> the seq of its newest put, for every key of ``table``."""
        ...

    async def newest(self, table: str, keys: Sequence[str] | None = None, *, before: float | None = None) -> Sequence[Put]:
        """The newest put of each key (of every key where None is given), of those not after ``before`` where that is given."""
        ...

    async def history(self, table: str, keys: Sequence[str], *, limit: int = 200) -> Sequence[Put]:
        """Every put of these keys, the newest first."""
        ...
