"""What was spent, in a real ledger: summed with the calls, kept over kill -9, and guessed on the safe side where nobody knows."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from agents.calls import CallCost, CallRecord, Usage
from agents.llm.breaker import BreakerPolicy
from agents.llm.chat import BackendSpec
from agents.llm.desk import Desk
from agents.records import Draft, RequestId
from runtime.accounts import PICO, Amount, Limits
from runtime.admission import Cashier
from runtime.budget import Purse
from runtime.config.settings import BudgetSettings
from runtime.jobs.records import Part, Range
from runtime.ledger.jobs import JobLedger
from runtime.ledger.spending import SpendBook
from runtime.ledger.store import Ledger
from runtime.records import Answer, Request

pytestmark = pytest.mark.integration

DAY = 20_000
NOW = DAY * 86_400 + 500.0


async def opened(path: Path) -> tuple[Ledger, SpendBook]:
    ledger = await Ledger.open(
        path, flush_ms=2, retention_days=30, max_bytes=2**30, store_bodies=True, max_stored_chars=1000, clock=lambda: NOW
    )
    return ledger, SpendBook(ledger, wall=lambda: NOW)


def request(name: str, key_id: str | None = None) -> Request:
    return Request(request_id=RequestId(name), source="native", messages=({"role": "user", "content": "hi"},), key_id=key_id)


def call(usd: float, tokens: int, *, at: float = NOW) -> CallRecord:
    usage = Usage(completion_tokens=tokens)
    return CallRecord(backend="b", model="m", started_at=at, latency_s=1, usage=usage, cost_usd=usd)


def finish(ledger: Ledger, name: str, *calls: CallRecord, at: float = NOW) -> None:
    given: dict[str, Any] = {"request_id": RequestId(name), "node": None, "strategy": "single", "attempts": 1, "latency_s": 1}
    answer = Answer(draft=Draft(text="x"), calls=calls, **given)
    ledger.finish(name, answer=answer, error=None, calls=calls, events=(), at=at, latency_s=1, overhead_s=0)


def killed(path: Path) -> Path:
    """A copy of the file as a kill leaves it, log of writes included."""
    copy = path.parent / "killed" / path.name
    copy.parent.mkdir(exist_ok=True)
    for suffix in ("", "-wal"):
        if (found := path.with_name(path.name + suffix)).exists():
            shutil.copy(found, copy.with_name(copy.name + suffix))
    return copy


async def test_outcomes_of_a_day_add_up_by_key_and_once(tmp_path: Path) -> None:
    ledger, book = await opened(tmp_path / "ledger.sqlite")
    for name, key in (("a", "k"), ("b", "k"), ("c", None), ("old", "k")):
        ledger.accept(request(name, key), at=NOW)
    finish(ledger, "a", call(0.1, 10), call(0.2, 20))
    finish(ledger, "a", call(0.1, 10))
    finish(ledger, "b", call(0.000000000001, 1))
    finish(ledger, "c", call(0.0, 7))
    finish(ledger, "old", call(5.0, 5), at=NOW - 86_400)
    book.charge("k", Amount(3, 4))
    await ledger.flush()
    assert await book.today() == [("", Amount(0, 7)), ("k", Amount(3 * PICO // 10 + 1 + 3, 35))]
    await ledger.close()


async def test_what_ran_at_a_kill_is_charged_what_was_foreseen_and_only_once(tmp_path: Path) -> None:
    ledger, _ = await opened(tmp_path / "ledger.sqlite")
    for name in ("running", "done"):
        ledger.accept(request(name, "k"), at=NOW, foreseen=Amount(50, 60))
    ledger.accept(request("free"), at=NOW)
    finish(ledger, "done", call(0.0, 5))
    await ledger.flush()
    copy = killed(ledger.path)
    await ledger.close()
    for _ in range(2):
        again, book = await opened(copy)
        assert await book.today() == [("k", Amount(50, 65))]
        await again.close()


async def test_calls_before_the_one_that_runs_at_a_kill_are_charged_as_well(tmp_path: Path) -> None:
    ledger, book = await opened(tmp_path / "ledger.sqlite")
    spec = BackendSpec(name="b", model="m", output_usd_per_mtok=1_000_000.0)
    purse = Purse(BudgetSettings(usd_per_day=1000), wall=lambda: NOW)
    cashier = Cashier(Desk([spec], breaker=BreakerPolicy(enabled=False)), purse, book=book)
    ledger.accept(request("r", "k"), at=NOW, foreseen=Amount(1, 1))
    cashier.open("r/1", key_id="k", limits=Limits())
    cost = CallCost(prompt_tokens=5, completion_tokens=100)
    for _ in range(2):
        cashier.release(await cashier.lease("b", holder="r/1/1", wait_s=1, cost=cost), call(40.0, 40))
    await cashier.lease("b", holder="r/1/1", wait_s=1, cost=cost)
    await ledger.flush()
    copy = killed(ledger.path)
    await ledger.close()
    again, book = await opened(copy)
    assert await book.today() == [("k", Amount((40 + 40 + 100) * PICO, 40 + 40 + 105))]
    await again.close()


async def test_a_job_is_charged_for_its_parts_and_for_each_kill_under_which_it_ran(tmp_path: Path) -> None:
    ledger, book = await opened(tmp_path / "ledger.sqlite")
    jobs = JobLedger(ledger)
    for name in ("job", "queued"):
        await jobs.accept(request(name, "k"), "{}", at=NOW, deadline_at=NOW + 100, total=4)
    jobs.start("job", at=NOW)
    book.foresee("job", Amount(40, 50))
    book.foresee("queued", Amount(1000, 1000))
    part = Part(range=Range(first=0, count=2), items="[1,2]", frame=None, issues=(), complete=True)
    await jobs.add_part("job", part, (call(0.5, 9),), (), at=NOW, tell=False)
    jobs.spend("job", (call(0.25, 1),), ())
    await ledger.flush()
    spent = Amount(3 * PICO // 4, 10)
    assert await book.today() == [("k", spent)]
    copy = killed(ledger.path)
    await book.aclose()
    await ledger.close()
    after_stop, book = await opened(tmp_path / "ledger.sqlite")
    assert await book.today() == [("k", spent)]
    await after_stop.close()
    after_kill, book = await opened(copy)
    assert await book.today() == [("k", Amount(spent.usd + 40, spent.tokens + 50))]
    await after_kill.close()
