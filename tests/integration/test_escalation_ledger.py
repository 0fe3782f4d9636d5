"""Questions to a person in the real ledger."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents.records import Escalated, RequestId
from agents.strategies.compose import parse_strategy, to_json
from runtime.jobs import wire
from runtime.ledger.escalations import EscalationLedger
from runtime.ledger.store import Ledger
from runtime.records import Request

pytestmark = pytest.mark.integration


async def open_ledger(folder: Path) -> Ledger:
    return await Ledger.open(
        folder / "ledger.sqlite",
        flush_ms=1,
        retention_days=1,
        max_bytes=2**30,
        store_bodies=True,
        max_stored_chars=10_000,
        encode=to_json,
        decode=lambda value: parse_strategy(value, named={}),
    )


async def test_a_question_is_kept_once_answered_once_and_forgotten_with_its_request(tmp_path: Path) -> None:
    ledger = await open_ledger(tmp_path)
    try:
        asked = Request(request_id=RequestId("r1"), source="native", messages=({"role": "user", "content": "ages"},))
        await ledger.accept(asked, at=1.0)
        queue = EscalationLedger(ledger, wall=lambda: 5.0)
        for _ in range(2):
            error = Escalated("no program passed", partial=[{"age": 1}])
            assert await queue.open(asked.request_id, wire.encode(asked), error) == error.escalation_id == "esc-r1"
        assert queue.open_count == 1
        ledger.finish("r1", answer=None, error=error, calls=(), events=(), at=2.0, latency_s=1.0, overhead_s=0.0)
        found = await queue.find("esc-r1")
        assert found is not None
        assert (found.state, found.partial, wire.decode(found.request)) == ("open", [{"age": 1}], asked)
        assert await queue.answer("esc-r1", {"data": [{"age": 2}]}, "looked it up")
        assert not await queue.answer("esc-r1", {"data": []}, "")
        assert not await queue.close("esc-r1", "")
        assert not await queue.close("esc-none", "")
        assert queue.open_count == 0
        trace = await ledger.trace("r1")
        assert trace is not None
        assert (trace["status"], trace["outcome"]["error_code"]) == ("ok", None)
        assert trace["outcome"]["body"] == {"data": [{"age": 2}]}
        assert [one.state for one in await queue.list(state="answered", limit=9)] == ["answered"]
        assert not await queue.list(state="open", limit=9)
        await ledger.act(lambda connection: connection.execute("DELETE FROM requests"))
        assert await queue.find("esc-r1") is None
    finally:
        await ledger.close()
