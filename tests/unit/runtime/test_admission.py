"""The cashier: each call is charged once, to the right accounts, whatever becomes of its node, its request and its record."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agents.calls import CallCost, CallRecord, Usage
from agents.llm.breaker import BreakerPolicy
from agents.llm.chat import BackendSpec, ChatRequest
from agents.llm.desk import Desk
from agents.llm.pool import Pool
from agents.llm.retry import RetryPolicy
from agents.records import BudgetExceeded, Choice, Overloaded
from runtime import admission
from runtime.accounts import PICO, Amount, Limits
from runtime.admission import Cashier
from runtime.budget import Purse
from runtime.config.settings import BudgetSettings
from tests.fakes.backends import HANG, USAGE, ScriptedBackend

DEAR = BackendSpec(name="dear", model="m", output_usd_per_mtok=1_000_000.0, max_output_tokens=100, max_concurrency=8)
FREE = BackendSpec(name="free", model="m", max_concurrency=8)
COST = CallCost(prompt_tokens=5, completion_tokens=100, least_tokens=25)
REQUEST = ChatRequest(messages=({"role": "user", "content": "hello"},))


class Book:
    def __init__(self) -> None:
        self.charged: list[tuple[str, Amount]] = []
        self.foreseen: list[tuple[str, Amount]] = []

    def charge(self, key_id: str, amount: Amount) -> None:
        self.charged.append((key_id, amount))

    def foresee(self, request_id: str, amount: Amount) -> None:
        self.foreseen.append((request_id, amount))


def record(tokens: int, *, error: str | None = None) -> CallRecord:
    usage = Usage(completion_tokens=tokens)
    return CallRecord(
        backend="dear", model="m", started_at=0, latency_s=1, usage=usage, cost_usd=DEAR.cost_usd(usage), error=error
    )


def make(**limits: Any) -> tuple[Cashier, Book]:
    book = Book()
    desk = Desk([DEAR, FREE], breaker=BreakerPolicy(enabled=False))
    return Cashier(desk, Purse(BudgetSettings(**limits), wall=lambda: 0.0), book=book), book


def books(cashier: Cashier) -> tuple[float, int, float]:
    day = cashier.purse.accounts()[0]
    return day.spent_usd / PICO, day.spent_tokens, day.reserved_usd / PICO


async def test_a_call_is_held_then_settled_and_the_ledger_is_told_nothing_twice() -> None:
    cashier, book = make(usd_per_day=150)
    cashier.open("r/1", key_id="k", limits=Limits())
    permit = await cashier.lease("dear", holder="r/1/1", wait_s=1, cost=COST)
    assert permit.granted == COST
    assert books(cashier) == (0.0, 0, 100.0)
    with pytest.raises(BudgetExceeded):
        await cashier.lease("dear", holder="r/1/1", wait_s=0.001, cost=COST)
    cashier.release(permit, record(40))
    cashier.release(permit, record(40))
    assert books(cashier) == (40.0, 40, 0.0)
    cashier.close("r/1", (record(40),))
    assert book.charged == []


async def test_what_a_kill_would_leave_unpaid_is_told_with_each_further_call() -> None:
    cashier, book = make(usd_per_day=1000)
    cashier.open("r/1", key_id="k", limits=Limits())
    cashier.foreseen("r/1", (DEAR,), REQUEST)
    first = await cashier.lease("dear", holder="r/1/1", wait_s=1, cost=COST)
    assert book.foreseen == [], "acceptance told that already"
    cashier.release(first, record(40))
    second = await cashier.lease("dear", holder="r/1/1/peer1", wait_s=1, cost=COST)
    third = cashier.try_lease("dear", holder="r/1/1", cost=COST)
    assert third is not None
    assert book.foreseen == [("r", Amount(140 * PICO, 145)), ("r", Amount(240 * PICO, 250))]
    for permit in (second, third):
        cashier.release(permit, record(1))
    cashier.close("r/1", (record(40), record(1), record(1)))
    await cashier.lease("dear", holder="r/1/1", wait_s=1, cost=COST)
    assert len(book.foreseen) == 2, "what comes later is nobody's"


async def test_parts_of_a_job_are_foreseen_together() -> None:
    cashier, book = make(usd_per_day=10_000)
    for part in ("job/1", "job/2"):
        cashier.open(part, key_id=None, limits=Limits())
        foreseen = cashier.foreseen(part, (DEAR,), REQUEST, at_once=2)
        cashier.foresee(part)
    assert foreseen.usd == 200 * PICO
    assert book.foreseen == [("job", foreseen)] * 2
    for _ in range(3):
        cashier.release(await cashier.lease("dear", holder="job/1/1", wait_s=1, cost=COST), record(90))
    await cashier.lease("dear", holder="job/2/1", wait_s=1, cost=COST)
    cashier.foresee("job/2")
    assert book.foreseen[-1] == ("job", Amount((270 + 100) * PICO, 270 + 105))
    cashier.close("job/1", [record(90)] * 3)
    cashier.foresee("job/2")
    assert book.foreseen[-1] == ("job", foreseen), "the ledger has what the first part took"


async def test_without_a_budget_nothing_is_foreseen() -> None:
    cashier, book = make()
    cashier.open("r/1", key_id=None, limits=Limits())
    for _ in range(3):
        cashier.release(await cashier.lease("dear", holder="r/1/1", wait_s=1), record(5))
    assert book.foreseen == []


async def test_the_desks_refusal_gives_the_money_back() -> None:
    cashier, _ = make(usd_per_day=1000)
    for _ in range(8):
        assert cashier.try_lease("dear", holder="x/1", cost=CallCost())
    assert cashier.try_lease("dear", holder="r/1", cost=COST) is None
    with pytest.raises(Overloaded):
        await cashier.lease("dear", holder="r/1", wait_s=0.001, cost=COST)
    assert books(cashier)[2] == 0.0


async def test_a_dead_nodes_calls_are_charged_in_full_and_the_ledger_is_told() -> None:
    cashier, book = make(usd_per_day=1000)
    cashier.open("r/1", key_id="k", limits=Limits())
    told = await cashier.lease("dear", holder="r/1/1", wait_s=1, cost=COST)
    await cashier.lease("dear", holder="r/1/1", wait_s=1, cost=COST)
    cashier.release(told, record(10))
    cashier.release_all("r/1/1")
    cashier.release_all("r/1/1")
    assert books(cashier) == (110.0, 115, 0.0)
    cashier.close("r/1", (record(10),))
    assert book.charged == [("k", Amount(100 * PICO, 105))]


async def test_an_answer_that_overtakes_its_releases_settles_them() -> None:
    cashier, book = make(usd_per_day=1000)
    cashier.open("r/1", key_id=None, limits=Limits())
    late = await cashier.lease("dear", holder="r/1/1", wait_s=1, cost=COST)
    cashier.release_all("r/1/1", (record(30),))
    cashier.close("r/1", (record(30),))
    cashier.release(late, record(30))
    assert books(cashier) == (30.0, 30, 0.0)
    assert book.charged == []


async def test_who_was_told_to_stop_may_still_say_what_it_took(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "GRACE_S", 0.01)
    cashier, book = make(usd_per_day=1000)
    for name in ("r", "s"):
        cashier.open(f"{name}/1", key_id=name, limits=Limits())
    told = await cashier.lease("dear", holder="r/1/1", wait_s=1, cost=COST)
    await cashier.lease("dear", holder="s/1/1", wait_s=1, cost=COST)
    for name in ("r", "s"):
        cashier.release_later(f"{name}/1/1")
        cashier.close(f"{name}/1", ())
    assert cashier.desk.inflight("dear") == 0
    cashier.release(told, record(7, error="cancelled"))
    assert books(cashier) == (7.0, 7, 100.0)
    await asyncio.sleep(0.03)
    assert books(cashier) == (107.0, 112, 0.0)
    assert book.charged == [("r", Amount(7 * PICO, 7)), ("s", Amount(100 * PICO, 105))]


async def test_without_limits_nothing_is_held_and_all_is_counted() -> None:
    cashier, book = make()
    cashier.open("r/1", key_id="k", limits=Limits())
    assert cashier.assumed_tokens("r/1/1") is None
    permit = await cashier.lease("dear", holder="r/1", wait_s=1)
    assert permit.granted is None
    cashier.release(permit, record(9))
    stray = await cashier.lease("dear", holder="nobody/1", wait_s=1)
    cashier.release(stray, record(1))
    assert books(cashier)[:2] == (10.0, 10)
    assert book.charged == [("", Amount(PICO, 1))]


async def test_what_is_left_is_the_least_of_the_three() -> None:
    cashier, _ = make(usd_per_day=100, key_usd_per_day=50, tokens_per_day=1000)
    assert cashier.left("r", "k") == (50.0, 1000)
    cashier.open("r/1", key_id="k", limits=Limits(usd=5, tokens=2000))
    assert cashier.left("r", "k") == (5.0, 1000)
    cashier.close("r/1", ())
    assert cashier.left("r", "k") == (5.0, 1000)
    assert make()[0].left("r", None) == (None, None)


# ── the pool over it ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_call_that_is_too_dear_goes_to_a_free_model_where_another_may_answer() -> None:
    cashier, _ = make(usd_per_day=10)
    backends = [ScriptedBackend(DEAR), ScriptedBackend(FREE)]
    pool = Pool(backends, admission=cashier, retry=RetryPolicy(enabled=False), fallback=("dear", "free"))
    given: dict[str, Any] = {"deadline_s": 5, "holder": "r/1", "on_call": lambda call: None, "assumed_tokens": 64}
    reply = await pool.chat(REQUEST, Choice(backend="dear"), **given)
    assert reply.backend == "free"
    assert backends[1].requests[0].params == {"max_tokens": 64}
    with pytest.raises(BudgetExceeded):
        await pool.chat(REQUEST, Choice(backend="dear", fallback=False), **given)
    assert backends[0].requests == []


@pytest.mark.parametrize(("params", "limit", "cap"), [({"max_tokens": 80}, 75, 75), ({"n": 2}, 150, 75), ({}, 500, 100)])
async def test_the_answer_is_capped_at_what_was_held(params: dict[str, Any], limit: float, cap: int) -> None:
    cashier, _ = make(usd_per_day=limit)
    backend = ScriptedBackend(DEAR)
    pool = Pool([backend], admission=cashier)
    given: dict[str, Any] = {"deadline_s": 5, "holder": "r/1", "on_call": lambda call: None, "assumed_tokens": 64}
    await pool.chat(ChatRequest(messages=REQUEST.messages, params=params), Choice(), **given)
    assert backend.requests[0].params == {**params, "max_tokens": cap}
    assert books(cashier) == (1.0 * USAGE.completion_tokens, USAGE.total_tokens, 0.0)
    cashier.purse.configure(BudgetSettings(usd_per_day=limit + USAGE.completion_tokens))
    request = ChatRequest(messages=REQUEST.messages, params=params)
    assert [chunk async for chunk in pool.stream(request, Choice(), **given)]
    assert backend.requests[1].params == {**params, "max_tokens": cap}


async def test_a_call_that_is_given_up_gives_back_what_it_held() -> None:
    cashier, _ = make(usd_per_day=1000)
    pool = Pool([ScriptedBackend(DEAR, HANG)], admission=cashier)
    work = asyncio.ensure_future(
        pool.chat(REQUEST, Choice(), deadline_s=5, holder="r/1", on_call=lambda call: None, assumed_tokens=64)
    )
    await asyncio.sleep(0.01)
    assert books(cashier)[2] == 100.0
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
    assert books(cashier) == (0.0, 0, 0.0)


async def test_a_permit_held_ahead_is_used_where_it_is_enough() -> None:
    cashier, _ = make(usd_per_day=1000)
    backend = ScriptedBackend(DEAR)
    pool = Pool([backend], admission=cashier)
    given: dict[str, Any] = {"deadline_s": 5, "on_call": lambda call: None, "assumed_tokens": 64}
    for cost in (CallCost(prompt_tokens=500, completion_tokens=70), CallCost(prompt_tokens=1, completion_tokens=70)):
        permit = cashier.try_lease("dear", holder="r/1", cost=cost)
        assert permit is not None
        await pool.chat(REQUEST, Choice(), holder="r/1", permits=[permit], **given)
    assert [request.params["max_tokens"] for request in backend.requests] == [70, 100]
    assert books(cashier) == (2.0 * USAGE.completion_tokens, 2 * USAGE.total_tokens, 0.0)
