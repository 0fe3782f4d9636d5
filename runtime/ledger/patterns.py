"""Patterns in the ledger. Implements ``runtime.patterns.records.PatternBook``; built by runtime/patterns/work.py.

What changed is written in one piece: the window's slots, all patterns, and which request was of which. A row that cannot be read
is left out.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, Final

import aiosqlite
import numpy as np
import orjson

from runtime.ledger.batch import WritingConnection
from runtime.ledger.records import LedgerUnavailable
from runtime.ledger.store import Ledger
from runtime.patterns.records import Kept
from runtime.topology.pattern_records import Known, Slot

log = logging.getLogger(__name__)

_STATE: Final = "INSERT OR REPLACE INTO pattern_state VALUES (1, ?, ?, ?, ?, ?)"
_PATTERN: Final = "INSERT OR REPLACE INTO patterns VALUES (?, ?, ?)"
_SLOT: Final = "INSERT OR REPLACE INTO pattern_window VALUES (?, ?, ?, ?, ?, ?)"
_OF: Final = "INSERT OR REPLACE INTO pattern_requests VALUES (?, ?)"
_RECENT: Final = """
SELECT p.request_id, p.pattern FROM requests r JOIN pattern_requests p ON p.request_id = r.request_id
ORDER BY r.seq DESC LIMIT ?
"""


class PatternLedger:
    """See ``PatternBook``."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def load(self, window: int) -> Kept | None:
        try:
            read = self._ledger.reader.execute_fetchall
            states = list(await read("SELECT * FROM pattern_state"))
            if not states:
                return None
            state = dict(states[0])
            known = [_known(dict(row), int(state["dimension"])) for row in await read("SELECT * FROM patterns")]
            slots = list(await read("SELECT * FROM pattern_window WHERE slot < ? ORDER BY slot", (window,)))
            rows = [each for each in (_slot(dict(row), int(state["dimension"])) for row in slots) if each is not None]
        except (aiosqlite.Error, ValueError) as error:  # ValueError: the connection is closed
            raise LedgerUnavailable(f"the ledger cannot be read: {error}") from error
        return Kept(
            model=str(state["model"]),
            dimension=int(state["dimension"]),
            seen=int(state["seen"]),
            clustered=int(state["clustered"]),
            next_id=int(state["next_id"]),
            known=dict(pair for pair in known if pair is not None),
            slots=[row[0] for row in rows],
            labels=[row[1] for row in rows],
            moved=bool(slots) and int(slots[-1]["slot"]) >= len(rows),
            vectors=np.array([row[2] for row in rows], dtype=np.float32).reshape(len(rows), int(state["dimension"])),
        )

    async def requests(self, most: int) -> dict[str, str]:
        try:
            rows = await self._ledger.reader.execute_fetchall(_RECENT, (most,))
        except (aiosqlite.Error, ValueError) as error:
            raise LedgerUnavailable(f"the ledger cannot be read: {error}") from error
        return {str(row["request_id"]): str(row["pattern"]) for row in reversed(list(rows))}

    async def save(self, kept: Kept, places: list[int], of: Mapping[str, str]) -> None:
        state = (kept.model, kept.dimension, kept.seen, kept.clustered, kept.next_id)
        known = [(i, replace(each)) for i, each in kept.known.items()]
        slots = [
            (place, slot.stamp, label, slot.request_id, slot.text, _packed(vector))
            for place, slot, label, vector in zip(places, kept.slots, kept.labels, kept.vectors, strict=True)
        ]

        def apply(connection: WritingConnection) -> None:
            connection.execute(_STATE, state)
            connection.execute("DELETE FROM patterns")
            connection.executemany(_PATTERN, [(i, _row(each), _packed(each.centroid)) for i, each in known])
            connection.executemany(_SLOT, slots)
            connection.executemany(_OF, list(of.items()))

        await self._ledger.act(apply, weight=1000 + 2000 * (len(known) + len(slots)))

    async def reserve(self, model: str, dimension: int, next_id: int) -> None:
        def apply(connection: WritingConnection) -> None:
            connection.execute(
                "INSERT INTO pattern_state VALUES (1, ?, ?, 0, 0, ?) ON CONFLICT (one) DO UPDATE SET next_id = excluded.next_id",
                (model, dimension, next_id),
            )

        await self._ledger.act(apply, weight=100)

    async def clear(self) -> None:
        def apply(connection: WritingConnection) -> None:
            for table in ("pattern_state", "patterns", "pattern_window"):
                connection.execute(f"DELETE FROM {table}")

        await self._ledger.act(apply, weight=100)


def _row(known: Known) -> str:
    return orjson.dumps({each.name: getattr(known, each.name) for each in fields(known) if each.name != "centroid"}).decode()


def _packed(vector: Any) -> bytes:
    return np.asarray(vector, dtype=np.float16).tobytes()


def _unpacked(blob: bytes, dimension: int) -> Any:
    found = np.frombuffer(blob, dtype=np.float16).astype(np.float32)
    if len(found) not in (0, dimension) or not np.isfinite(found).all():
        raise ValueError("the vector is damaged")
    return found


def _known(row: Mapping[str, Any], dimension: int) -> tuple[int, Known] | None:
    try:
        told = orjson.loads(row["row"])
        return int(row["pattern"]), Known(**told, centroid=_unpacked(row["centroid"], dimension))
    except (ValueError, TypeError) as error:
        log.error("the pattern p%s cannot be read and is left out: %s", row["pattern"], error)
        return None


def _slot(row: Mapping[str, Any], dimension: int) -> tuple[Slot, int, Any] | None:
    try:
        vector = _unpacked(row["vector"], dimension)
        slot = Slot(stamp=int(row["stamp"]), request_id=str(row["request_id"]), text=str(row["text"]))
        return (slot, int(row["label"]), vector) if len(vector) else None
    except (ValueError, TypeError) as error:
        log.error("a request in the window of patterns cannot be read and is left out: %s", error)
        return None
