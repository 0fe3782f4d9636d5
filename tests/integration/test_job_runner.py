"""The runner over a real ledger and scripted work: failures, money, crashes of ours, and one outcome whatever comes twice."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from agents.calls import CallRecord, Usage
from agents.records import AgentError, BackendFailed, BudgetExceeded, Draft, Event, Incomplete, RequestId
from agents.strategy_specs import StrategySpec
from runtime.config.settings import JobSettings
from runtime.jobs.bell import Bell
from runtime.jobs.records import Job
from runtime.jobs.runner import JobRunner
from runtime.jobs.tools import Tools
from runtime.ledger.jobs import JobLedger
from runtime.ledger.store import Ledger
from runtime.metrics import Metrics
from runtime.open_request import Spent
from runtime.records import Answer, Request

pytestmark = pytest.mark.integration

SCHEMA = {"type": "array", "items": {"type": "integer"}}


class Script:
    """Stands for dispatch: ``work`` makes the data of each request, or raises; each costs 1 USD, unless its budget refuses it."""

    def __init__(self, work: Callable[[Request], Any]) -> None:
        self.work = work
        self.asked: list[Request] = []

    def strategy_ahead(self, request: Request) -> StrategySpec | None:
        return request.strategy

    async def stream(self, request: Request, spent: Spent | None = None) -> AsyncGenerator[Event | Answer, None]:
        self.asked.append(request)
        assert spent is not None
        usage = Usage(prompt_tokens=10)
        await asyncio.sleep(0)
        call = CallRecord(backend="b", model="m", started_at=1.0, latency_s=0.1, cost_usd=1.0, usage=usage)
        spent.calls = (call,)
        try:
            data = self.work(request)
        except BudgetExceeded:
            spent.calls = ()
            raise
        if asyncio.iscoroutine(data):
            data = await data
        yield Answer(
            request_id=request.request_id,
            draft=Draft(text="", data=data),
            calls=spent.calls,
            node="n",
            strategy="single",
            attempts=1,
            latency_s=0.1,
        )


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    found = await Ledger.open(
        tmp_path / "ledger.sqlite",
        flush_ms=1.0,
        retention_days=1.0,
        max_bytes=2**30,
        store_bodies=True,
        max_stored_chars=2000,
    )
    yield found
    await found.close()


async def runner(ledger: Ledger, script: Script, **settings: Any) -> JobRunner:
    bell = Bell()
    chosen = JobSettings(items_per_part=10, max_parallel_parts=2, part_attempts=2, retry_pause_s=0.0, **settings)
    jobs = JobLedger(ledger, on_written=bell.ring)
    metrics = Metrics(version="1", process=False)
    made = JobRunner(Tools(runs=script, ledger=jobs, settings=lambda: chosen, metrics=metrics), bell)
    await made.start()
    return made


def request(name: str = "r", **changes: Any) -> Request:
    fields: dict[str, Any] = {"schema": SCHEMA, "count": 50, **changes}
    return Request(request_id=RequestId(name), source="native", messages=({"role": "user", "content": "x"},), **fields)


async def ended(jobs: JobRunner, name: str = "r") -> Job:
    async with asyncio.timeout(10):
        while (job := await jobs.find(name)) is None or job.is_open:
            await jobs.changed(name, timeout_s=0.05)
    return job


def numbers(wanted: Request) -> list[int]:
    assert wanted.place is not None
    assert wanted.count is not None
    return list(range(wanted.place.first, wanted.place.first + wanted.count))


async def outcomes(ledger: Ledger) -> list[Any]:
    return [tuple(row) for row in await ledger.reader.execute_fetchall("SELECT request_id, status, cost_usd FROM outcomes")]


async def items(jobs: JobRunner) -> list[int]:
    return [number for part in await jobs.parts("r", first=0, limit=1000) for number in json.loads(part.items)]


async def test_parts_are_told_their_places_and_merge_in_order(ledger: Ledger) -> None:
    script = Script(numbers)
    jobs = await runner(ledger, script)
    await jobs.submit(request(), deadline_s=None)
    job = await ended(jobs)
    assert (job.state, job.done, job.cost_usd) == ("done", 50, 5.0)
    assert await items(jobs) == list(range(50))
    assert {(asked.place.first, asked.place.total) for asked in script.asked if asked.place} == {
        (n, 50) for n in range(0, 50, 10)
    }
    assert await outcomes(ledger) == [("r", "ok", 5.0)]


async def test_a_part_that_comes_short_is_asked_for_its_rest_alone(ledger: Ledger) -> None:
    def short(wanted: Request) -> list[int]:
        found = numbers(wanted)
        if len(found) == 10:
            raise Incomplete("3 of 10 items are missing", partial=found[:7])
        return found

    jobs = await runner(ledger, Script(short))
    await jobs.submit(request(), deadline_s=None)
    assert (await ended(jobs)).state == "done"
    assert await items(jobs) == list(range(50))


async def test_a_part_that_never_comes_makes_the_batch_partial(ledger: Ledger) -> None:
    def work(wanted: Request) -> list[int]:
        if wanted.place is not None and wanted.place.first == 20:
            raise BackendFailed("never")
        return numbers(wanted)

    script = Script(work)
    jobs = await runner(ledger, script)
    await jobs.submit(request(), deadline_s=None)
    job = await ended(jobs)
    assert (job.state, job.done) == ("partial", 40)
    assert job.reply is not None
    assert "10 of 50 items are missing (backend_failed: never)" in job.reply
    assert len(script.asked) == 6
    assert job.cost_usd == 6.0


async def test_parts_at_once_never_reserve_more_than_the_budget(ledger: Ledger) -> None:
    def work(wanted: Request) -> list[int]:
        assert wanted.budget_usd is not None
        if wanted.budget_usd < 0.99:
            raise BudgetExceeded("too little is left")
        return numbers(wanted)

    script = Script(work)
    jobs = await runner(ledger, script)
    await jobs.submit(request(budget_usd=5.0, budget_tokens=1000), deadline_s=None)
    job = await ended(jobs)
    assert (job.state, job.cost_usd) == ("done", 5.0)
    assert [asked.budget_usd for asked in script.asked] == pytest.approx([1.0] * 5)
    assert script.asked[0].budget_tokens == 200


async def test_a_budget_too_small_for_every_share_is_spent_on_one_part_after_the_other(ledger: Ledger) -> None:
    working = most = 0

    async def work(wanted: Request) -> list[int]:
        nonlocal working, most
        working += 1
        most = max(most, working)
        await asyncio.sleep(0.002)
        working -= 1
        return numbers(wanted)

    def refuse(wanted: Request) -> Any:
        assert wanted.budget_usd is not None
        if wanted.budget_usd < 1:
            raise BudgetExceeded(f"{wanted.budget_usd} USD are too little", param="budget_usd")
        return work(wanted)

    jobs = await runner(ledger, Script(refuse))
    await jobs.submit(request(budget_usd=2.5), deadline_s=None)
    job = await ended(jobs)
    assert (job.state, job.done, job.cost_usd, most) == ("partial", 20, 2.0, 1)
    assert "30 of 50 items are missing (budget_exceeded: 2 of 2.5 USD are spent" in (job.reply or "")
    await jobs.submit(request("s", budget_usd=0.5), deadline_s=None)
    job = await ended(jobs, "s")
    assert (job.state, job.done, job.cost_usd) == ("failed", 0, 0.0)
    assert "0 of 0.5 USD are spent, and what is left is too little" in (job.reply or "")


async def test_a_single_request_is_tried_again_and_all_of_it_is_accounted(ledger: Ledger) -> None:
    failures: list[AgentError] = [BackendFailed("once")]

    def work(wanted: Request) -> list[int]:
        if failures:
            raise failures.pop()
        return [1]

    jobs = await runner(ledger, Script(work))
    await jobs.submit(request(count=None), deadline_s=None)
    job = await ended(jobs)
    assert (job.state, job.cost_usd, job.calls) == ("done", 2.0, 2)
    assert [event.kind for event in await jobs.events("r", from_seq=0, limit=9)] == ["accepted", "started", "retry", "outcome"]
    assert await outcomes(ledger) == [("r", "ok", 2.0)]


async def test_a_fault_of_ours_ends_that_job_and_no_other(ledger: Ledger) -> None:
    def work(wanted: Request) -> list[int]:
        if wanted.request_id == "r":
            raise RuntimeError("a bug")
        return [1]

    jobs = await runner(ledger, Script(work))
    for name in ("r", "s"):
        await jobs.submit(request(name, count=None), deadline_s=None)
    assert ((await ended(jobs)).state, (await ended(jobs, "s")).state) == ("failed", "done")


async def test_cancelling_at_any_moment_leaves_one_outcome(ledger: Ledger) -> None:
    jobs = await runner(ledger, Script(numbers))
    for number in range(30):
        name = f"r{number}"
        await jobs.submit(request(name), deadline_s=None)
        await asyncio.sleep(number / 2000)
        states = {job.state for job in await asyncio.gather(*(jobs.cancel(name) for _ in range(3))) if job is not None}
        assert states <= {"cancelled", "done"}
        assert len(states) == 1
    found = await outcomes(ledger)
    assert len(found) == len({row[0] for row in found}) == 30


async def test_what_was_left_is_taken_up_and_what_was_done_is_not_made_again(ledger: Ledger) -> None:
    gate = asyncio.Event()

    async def slow(wanted: Request) -> list[int]:
        if wanted.place is not None and wanted.place.first >= 20:
            await gate.wait()
        return numbers(wanted)

    first = await runner(ledger, Script(slow))
    await first.submit(request(), deadline_s=None)
    async with asyncio.timeout(10):
        while (job := await first.find("r")) is None or job.done < 20:
            await first.changed("r", timeout_s=0.05)
    await first.stop()
    assert await outcomes(ledger) == []
    script = Script(numbers)
    second = await runner(ledger, script)
    job = await ended(second)
    assert (job.state, job.done, job.attempts) == ("done", 50, 2)
    assert sorted(asked.place.first for asked in script.asked if asked.place) == [20, 30, 40]
    assert job.cost_usd == 7.0  # the two that were cut off were paid as well
    assert await items(second) == list(range(50))
