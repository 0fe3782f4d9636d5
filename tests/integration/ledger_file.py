"""A ledger on a real file and what is put into it: for tests of the ledger."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agents.calls import CallRecord, Usage
from agents.records import AgentError, Draft, Event, RequestId
from runtime.ledger.store import Ledger
from runtime.records import Answer, Request

ROOT = Path(__file__).parents[2]


async def open_ledger(path: Path, **changes: Any) -> Ledger:
    settings: dict[str, Any] = {
        "flush_ms": 2.0,
        "retention_days": 30.0,
        "max_bytes": 2**30,
        "store_bodies": True,
        "max_stored_chars": 2000,
    }
    return await Ledger.open(path, **{**settings, **changes})


def request(name: str, text: str = "hello", **changes: Any) -> Request:
    fields: dict[str, Any] = {"source": "openai", "messages": ({"role": "user", "content": text},)}
    return Request(request_id=RequestId(name), **{**fields, **changes})


def call(backend: str = "fast", **changes: Any) -> CallRecord:
    fields: dict[str, Any] = {"model": "m", "started_at": 100.0, "latency_s": 0.5, "cost_usd": 0.25}
    usage = Usage(prompt_tokens=10, completion_tokens=5)
    return CallRecord(backend=backend, **{"usage": usage, **fields, **changes})


def answer(name: str, text: str = "world", *calls: CallRecord, complete: bool = True) -> Answer:
    draft = Draft(text=text, complete=complete)
    return Answer(request_id=RequestId(name), draft=draft, calls=calls, node="root", strategy="single", attempts=1, latency_s=0.6)


def finish(
    ledger: Ledger,
    name: str,
    *calls: CallRecord,
    error: AgentError | None = None,
    events: tuple[Event, ...] = (),
    text: str = "world",
) -> None:
    ledger.finish(
        name,
        answer=None if error else answer(name, text, *calls),
        error=error,
        calls=calls,
        events=events,
        at=101.0,
        latency_s=0.6,
        overhead_s=0.1,
    )
