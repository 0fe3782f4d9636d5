"""Patterns in the ledger's file: written, read back by another process's eyes, forgotten with their requests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from runtime.ledger.batch import WritingConnection
from runtime.ledger.patterns import PatternLedger
from runtime.patterns.records import Kept
from runtime.topology.pattern_records import Known, Slot
from tests.integration.ledger_file import open_ledger, request

pytestmark = pytest.mark.integration


def kept(*stamps: int, name: str = "a kind") -> Kept:
    return Kept(
        model="m",
        dimension=4,
        seen=9,
        clustered=7,
        next_id=3,
        known={2: Known(name=name, count=7, centroid=np.array([1, 0, 0, 0], dtype=np.float32))},
        slots=[Slot(stamp=stamp, request_id=f"r{stamp}", text=f"words {stamp}") for stamp in stamps],
        labels=[2 for _ in stamps],
        vectors=np.eye(4, dtype=np.float32)[: len(stamps)],
    )


async def test_what_was_written_is_read_back_after_a_restart(tmp_path: Path) -> None:
    ledger = await open_ledger(tmp_path / "l.sqlite")
    book = PatternLedger(ledger)
    assert await book.load(10) is None
    await ledger.accept(request("r1"), at=1.0)
    await book.save(kept(1, 2, 3), [0, 1, 2], {"r1": "p2"})
    await book.save(kept(4, name="another name"), [1], {})
    await book.reserve("m", 4, 50)
    await ledger.close()
    again = await open_ledger(tmp_path / "l.sqlite")
    found = await PatternLedger(again).load(10)
    assert found is not None
    assert (found.model, found.seen, found.clustered, found.next_id, found.moved) == ("m", 9, 7, 50, False)
    assert {i: (each.name, each.count, each.centroid.tolist()) for i, each in found.known.items()} == {
        2: ("another name", 7, [1, 0, 0, 0])
    }
    assert [slot.stamp for slot in found.slots] == [1, 4, 3]
    assert found.vectors.tolist() == [[1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0]]
    assert await PatternLedger(again).requests(10) == {"r1": "p2"}
    await again.close()


async def test_a_damaged_row_costs_itself_alone(tmp_path: Path) -> None:
    ledger = await open_ledger(tmp_path / "l.sqlite")
    book = PatternLedger(ledger)
    await book.save(kept(1, 2, 3), [0, 1, 2], {})

    def damage(connection: WritingConnection) -> None:
        connection.execute("UPDATE pattern_window SET vector = x'00' WHERE slot = 1")
        connection.execute("UPDATE patterns SET row = '{' WHERE pattern = 2")

    await ledger.act(damage, weight=1)
    found = await book.load(10)
    assert found is not None
    assert ([slot.stamp for slot in found.slots], dict(found.known), found.moved) == ([1, 3], {}, True)
    await book.clear()
    assert await book.load(10) is None
    await ledger.close()
