"""The words of the ledger's room: its errors, what a key looks like at rest, what its queue is doing.

Called by the rest of runtime/ledger/, keys.py, metrics.py and daemon.py. Imports nothing of the project.

The error tree::

    LedgerError                   the ledger cannot do what was asked (message says which file and what to do)
    ├── LedgerTooNew              the file was written by a newer version of Morphogen
    ├── LedgerForeign             the file is a SQLite database of somebody else
    ├── LedgerBusy                another daemon holds the file
    └── LedgerUnavailable         the disk or its permissions stand in the way
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

KeyScope = Literal["client", "operator"]


class LedgerError(Exception):
    """Root of this room's errors."""


class LedgerTooNew(LedgerError):
    """``found`` is the version of the file, ``known`` the newest that this program understands."""

    def __init__(self, message: str, *, found: int = 0, known: int = 0) -> None:
        super().__init__(message)
        self.found = found
        self.known = known


class LedgerForeign(LedgerError):
    pass


class LedgerBusy(LedgerError):
    pass


class LedgerUnavailable(LedgerError):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRow:
    """A key at rest. ``digest`` is the SHA-256 of the whole key (32 bytes); times are Unix seconds.

    ``usd_per_day`` and ``tokens_per_day`` are its own budget; None: the default of every key.
    """

    key_id: str
    name: str
    scope: KeyScope
    digest: bytes = field(repr=False)
    created_at: float
    revoked_at: float | None = None
    usd_per_day: float | None = None
    tokens_per_day: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerLoad:
    """The writer's state for metrics. ``lag_s`` is the age of the oldest write that is not durable yet.

    ``waiting`` are accepts that wait for room, ``over_limit`` finishes that were queued beyond it, ``lost`` writes that found
    no room at all or that no database would take.
    """

    queued: int
    waiting: int
    lag_s: float
    over_limit: int
    lost: int
    commits: int
    healthy: bool
