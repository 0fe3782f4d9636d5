"""The purse: what is held and spent never exceeds a limit, whatever the order; nothing leaks; who waits is served in order."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.calls import CallCost
from agents.records import BudgetExceeded
from runtime.accounts import NOTHING, PICO, Account, Amount, Ask, Limits, Reservation, pico
from runtime.budget import DAY_S, Purse, statement
from runtime.config.settings import BudgetSettings


def ask(completion: int = 100, *, prompt: int = 0, least: int | None = None, price: float = 1.0) -> Ask:
    """A call of ``completion`` tokens at ``price`` USD a token (prompt tokens cost the same)."""
    cost = CallCost(prompt_tokens=prompt, completion_tokens=completion, least_tokens=completion if least is None else least)
    return Ask(cost=cost, input_price=pico(price), output_price=pico(price))


def purse_of(*, wall: Any = None, **limits: Any) -> Purse:
    return Purse(BudgetSettings(**limits), wall=wall or (lambda: 0.0))


async def test_what_fits_is_held_and_settled() -> None:
    purse = purse_of(usd_per_day=300)
    chain = purse.chain("k", Limits())
    one = await purse.reserve(chain, ask(), wait_s=0)
    two = await purse.reserve(chain, ask(), wait_s=0)
    assert purse.accounts()[0].left() == (100 * PICO, None)
    purse.settle(one, Amount(pico(10), 7))
    purse.settle(one, Amount(pico(10), 7))
    purse.cancel(two)
    day, key = purse.accounts()
    assert (day.spent_usd, day.spent_tokens, day.reserved_usd) == (10 * PICO, 7, 0)
    assert (key.subject, key.spent_usd) == ("k", 10 * PICO)


@pytest.mark.parametrize(
    ("limits", "own", "words", "param"),
    [
        (
            {},
            Limits(usd=50),
            "(50 USD) has 50 USD left, and this call may take 100 USD; raise budget_usd",
            "budget_usd",
        ),
        ({}, Limits(tokens=50), "this request (50 tokens)", "budget_tokens"),
        ({"usd_per_request": 50}, Limits(), "budget.usd_per_request", "budget_usd"),
        ({"key_usd_per_day": 50}, Limits(), "morphogen keys limit k --usd-per-day", None),
        ({"key_tokens_per_day": 50}, Limits(), "morphogen keys limit k --tokens-per-day", None),
        ({"usd_per_day": 50}, Limits(), "budget.usd_per_day", None),
        ({"tokens_per_day": 50}, Limits(), "budget.tokens_per_day", None),
    ],
)
async def test_what_can_never_fit_is_refused_at_once_and_says_what_to_change(
    limits: dict[str, Any], own: Limits, words: str, param: str | None
) -> None:
    refused: list[tuple[str, str]] = []
    purse = Purse(BudgetSettings(**limits), wall=lambda: 0.0, on_refused=lambda scope, unit: refused.append((scope, unit)))
    with pytest.raises(BudgetExceeded) as caught:
        await purse.reserve(purse.chain("k", own), ask(), wait_s=60)
    assert words in caught.value.message
    assert (caught.value.param, caught.value.retry_after_s) == (param, None)
    assert len(refused) == 1
    assert purse.accounts()[0].reserved_usd == 0


async def test_a_request_of_zero_budget_and_a_spent_day_leave_the_free_models() -> None:
    purse = purse_of(usd_per_day=0)
    chain = purse.chain(None, Limits(usd=0.0))
    held = await purse.reserve(chain, ask(price=0), wait_s=0)
    purse.settle(held, Amount(0, 100))
    with pytest.raises(BudgetExceeded):
        await purse.reserve(chain, ask(price=1e-6), wait_s=0)
    with pytest.raises(BudgetExceeded, match="tokens"):
        await purse.reserve(purse.chain(None, Limits(tokens=50)), ask(price=0), wait_s=0)


async def test_an_answer_is_cut_to_what_is_left_but_not_below_its_least() -> None:
    purse = purse_of()
    held = await purse.reserve(purse.chain(None, Limits(usd=60)), ask(prompt=10, least=40), wait_s=0)
    assert held.cost == CallCost(prompt_tokens=10, completion_tokens=50, least_tokens=40)
    assert held.amount == Amount(60 * PICO, 60)
    held = await purse.reserve(purse.chain(None, Limits(tokens=50, usd=1000)), ask(prompt=10, least=40), wait_s=0)
    assert held.cost is not None
    assert held.cost.completion_tokens == 40
    with pytest.raises(BudgetExceeded):
        await purse.reserve(purse.chain(None, Limits(tokens=49)), ask(prompt=10, least=40), wait_s=0)


async def test_who_could_still_be_paid_waits_in_order() -> None:
    purse = purse_of(usd_per_day=100)
    chain = purse.chain(None, Limits())
    first = await purse.reserve(chain, ask(), wait_s=0)
    assert purse.try_reserve(chain, ask(1)) is None
    waiting = [asyncio.ensure_future(purse.reserve(chain, ask(n), wait_s=60)) for n in (70, 20, 20)]
    await asyncio.sleep(0)
    assert purse.try_reserve(chain, ask(price=0)) is not None  # a free call does not queue for money
    purse.settle(first, Amount(5 * PICO, 5))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [task.done() for task in waiting] == [True, True, False]
    purse.settle(waiting[0].result(), Amount(70 * PICO, 70))
    purse.settle(waiting[1].result(), Amount(20 * PICO, 20))
    with pytest.raises(BudgetExceeded):
        await waiting[2]
    assert purse.accounts()[0].left()[0] == 5 * PICO


async def test_a_wait_ends_in_an_error_that_may_be_tried_again_and_leaves_nothing() -> None:
    purse = purse_of(usd_per_day=100)
    chain = purse.chain(None, Limits())
    held = await purse.reserve(chain, ask(), wait_s=0)
    with pytest.raises(BudgetExceeded, match="held by running calls") as caught:
        await purse.reserve(chain, ask(10), wait_s=0.001)
    assert caught.value.retry_after_s == 1.0
    gone = asyncio.ensure_future(purse.reserve(chain, ask(10), wait_s=60))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    purse.cancel(held)
    assert purse.accounts()[0].left()[0] == 100 * PICO


async def test_one_who_waits_at_another_account_does_not_hold_up_the_rest() -> None:
    purse = purse_of(usd_per_day=1000)
    purse.limit_key("small", Limits(usd=100))
    small, large = purse.chain("small", Limits()), purse.chain("large", Limits())
    held = await purse.reserve(small, ask(), wait_s=0)
    waits = asyncio.ensure_future(purse.reserve(small, ask(50), wait_s=60))
    await asyncio.sleep(0)
    assert purse.try_reserve(large, ask(500)) is not None
    purse.cancel(held)
    assert isinstance(await waits, Reservation)


async def test_larger_limits_wake_those_who_wait() -> None:
    purse = purse_of(usd_per_day=100, key_usd_per_day=100)
    chain = purse.chain("k", Limits())
    await purse.reserve(chain, ask(), wait_s=0)
    waits = asyncio.ensure_future(purse.reserve(chain, ask(50), wait_s=60))
    await asyncio.sleep(0)
    purse.configure(BudgetSettings(usd_per_day=200, key_usd_per_day=100))
    purse.limit_key("k", Limits(usd=150))
    assert isinstance(await waits, Reservation)


async def test_a_new_day_begins_with_nothing_spent() -> None:
    now = [DAY_S - 1.0]
    purse = purse_of(wall=lambda: now[0], usd_per_day=100)
    purse.load([("k", Amount(60 * PICO, 60)), ("", Amount(40 * PICO, 40))])
    chain = purse.chain("k", Limits())
    with pytest.raises(BudgetExceeded):
        await purse.reserve(chain, ask(1), wait_s=0)
    assert purse.resets_at() == DAY_S
    now[0] = DAY_S + 1.0
    held = await purse.reserve(chain, ask(), wait_s=0)
    purse.settle(held, Amount(PICO, 1))
    assert purse.accounts()[0].spent_usd == PICO


def test_the_statement_shows_a_client_its_own() -> None:
    purse = purse_of(usd_per_day=10)
    purse.limit_key("a", Limits(usd=2))
    purse.limit_key("b", Limits(tokens=5))
    whole = statement(purse, key_id="a", whole=True, name_of=lambda key_id: f"name of {key_id}")
    assert [row["key_id"] for row in whole["data"]] == [None, "a", "b"]
    own = statement(purse, key_id="a", whole=False, name_of=lambda key_id: f"name of {key_id}")
    assert [(row["scope"], row["name"]) for row in own["data"]] == [("day", None), ("key", "name of a")]
    assert own["data"][1]["usd"] == {"limit": 2.0, "spent": 0.0, "reserved": 0.0, "left": 2.0}


STEP = st.tuples(
    st.sampled_from(["reserve", "settle", "cancel", "give up", "charge less"]),
    st.integers(0, 9),
    st.integers(0, 60),
    st.sampled_from(["a", "b", ""]),
)


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(STEP, max_size=60),
    day=st.integers(0, 200),
    key=st.integers(0, 120),
    tokens=st.integers(0, 300),
    own=st.one_of(st.none(), st.integers(0, 100)),
)
def test_nothing_is_ever_overdrawn_and_nothing_leaks(
    steps: list[tuple[str, int, int, str]], day: int, key: int, tokens: int, own: int | None
) -> None:
    asyncio.run(_play(steps, day=day, key=key, tokens=tokens, own=own))


async def _play(steps: list[tuple[str, int, int, str]], *, day: int, key: int, tokens: int, own: int | None) -> None:
    purse = purse_of(usd_per_day=day, key_usd_per_day=key, tokens_per_day=tokens)
    chains = {name: purse.chain(name, Limits(usd=own)) for name in ("a", "b", "")}
    seen = {id(account): account for chain in chains.values() for account in chain}
    out: list[asyncio.Task[Reservation]] = []
    dice = random.Random(1)
    for what, place, size, name in steps:
        if what == "reserve":
            wanted = ask(size, least=min(size, 3), price=dice.choice([0.0, 1.0, 1.0]))
            out.append(asyncio.ensure_future(purse.reserve(chains[name], wanted, wait_s=60)))
        elif out:
            task = out.pop(place % len(out))
            if not task.done():
                task.cancel()
            elif task.exception() is None and what == "cancel":
                purse.cancel(task.result())
            elif task.exception() is None:
                amount = task.result().amount
                purse.settle(task.result(), amount if what == "settle" else Amount(amount.usd // 2, amount.tokens // 2))
        for _ in range(3):
            await asyncio.sleep(0)
            assert not [account for account in seen.values() if _overdrawn(account)]
    while out:
        done = [task for task in out if task.done()]
        for task in done:
            if task.exception() is None:
                purse.settle(task.result(), NOTHING)
        out = [task for task in out if task not in done]
        assert done, "somebody waits though nothing is held"
        for _ in range(3):
            await asyncio.sleep(0)
    for account in seen.values():
        assert (account.reserved_usd, account.reserved_tokens, len(account.queue)) == (0, 0, 0)


def _overdrawn(account: Account) -> bool:
    usd, tokens = account.spent_usd + account.reserved_usd, account.spent_tokens + account.reserved_tokens
    over_usd = account.limit_usd is not None and usd > account.limit_usd
    return over_usd or (account.limit_tokens is not None and tokens > account.limit_tokens)
