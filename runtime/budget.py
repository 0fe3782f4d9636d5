"""Budgets: what may be spent, what is held by calls under way, and who waits for money to come back.

Called by admission.py for every call and by the surfaces that show what is left. Pure bookkeeping over an injected clock, and the
waiting; it knows no backend, no ledger and no HTTP.

A call is paid from a chain of accounts: its request's, its key's day, the daemon's day. It is held on all of them or on none.
What is held is an upper bound of what the call takes, so ``spent + reserved <= limit`` stays true whatever happens, but for a
backend that counts more tokens than its prompt was taken to have (docs/adr/002-budgets.md).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import replace

from agents.records import BudgetExceeded, Json
from runtime.accounts import (
    NOTHING,
    PICO,
    Account,
    Amount,
    Ask,
    Chain,
    Limits,
    Reservation,
    Scope,
    Unit,
    Waiter,
    held,
    pico,
    refusal,
)
from runtime.config.settings import BudgetSettings

DAY_S = 86_400


class Purse:
    """The accounts of one daemon. Single-threaded; days are UTC's."""

    def __init__(
        self,
        settings: BudgetSettings | None = None,
        *,
        wall: Callable[[], float] = time.time,
        on_refused: Callable[[Scope, Unit], None] = lambda scope, unit: None,
    ) -> None:
        self.settings = settings or BudgetSettings()
        self._wall = wall
        self._on_refused = on_refused
        self._own: dict[str, Limits] = {}
        self._keys: dict[str, Account] = {}
        self._whole = Account(scope="day")
        self._day = self._today()
        self.configure(self.settings)

    @property
    def assumed_tokens(self) -> int:
        """Completion tokens that are reserved where neither the request nor the backend caps them."""
        return self.settings.assumed_completion_tokens

    def configure(self, settings: BudgetSettings) -> None:
        """Take new limits. What is spent and reserved stays; those who wait are looked at again."""
        self.settings = settings
        self._limit(self._whole, Limits(usd=settings.usd_per_day, tokens=settings.tokens_per_day))
        for key_id, account in self._keys.items():
            self._limit(account, self.key_limits(key_id))
        self._wake([self._whole, *self._keys.values()])

    def limit_key(self, key_id: str, limits: Limits) -> None:
        """A key's own limits a day; where one is None the default of every key holds."""
        self._own[key_id] = limits
        if (account := self._keys.get(key_id)) is not None:
            self._limit(account, self.key_limits(key_id))
            self._wake([account])

    def key_limits(self, key_id: str) -> Limits:
        """What holds for a key: its own limits, else the defaults."""
        own = self._own.get(key_id, Limits())
        usd, tokens = self.settings.key_usd_per_day, self.settings.key_tokens_per_day
        return Limits(usd=usd if own.usd is None else own.usd, tokens=tokens if own.tokens is None else own.tokens)

    def load(self, spent: Iterable[tuple[str, Amount]]) -> None:
        """What the ledger says was spent today, by key; called once, at start."""
        for key_id, amount in spent:
            self.key(key_id).spend(amount)
            self._whole.spend(amount)

    def chain(self, key_id: str | None, own: Limits) -> Chain:
        """The accounts of a new request: its own (``own``, else the default of every request), its key's, the daemon's."""
        settings = self.settings
        usd = settings.usd_per_request if own.usd is None else own.usd
        tokens = settings.tokens_per_request if own.tokens is None else own.tokens
        request = Account(scope="request")
        if usd is not None or tokens is not None:
            self._limit(request, Limits(usd=usd, tokens=tokens))
        return (request, *self.day_chain(key_id))

    def day_chain(self, key_id: str | None) -> Chain:
        """The accounts that a caller with this key pays from: the key's and the daemon's."""
        self._roll()
        return (self.key(key_id or ""), self._whole)

    def key(self, key_id: str) -> Account:
        """A key's account of today; "" is the one of callers without a key."""
        account = self._keys.get(key_id)
        if account is None:
            account = self._keys[key_id] = Account(scope="key", subject=key_id)
            self._limit(account, self.key_limits(key_id))
        return account

    # ── reserving ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def reserve(self, chain: Chain, ask: Ask, *, wait_s: float) -> Reservation:
        """Hold what ``ask`` may take. Where running calls hold it now, wait for them, first come first served.

        Raises BudgetExceeded: at once where it would not fit if all of them gave everything back, else after ``wait_s``.
        Cancelling it leaves nothing behind.
        """
        found = self._try(chain, ask, queued=False)
        if isinstance(found, Reservation):
            return found
        if wait_s <= 0:
            raise self._held(found, ask, wait_s)
        waiter = Waiter(chain, ask, asyncio.get_running_loop().create_future(), found)
        found.queue.append(waiter)
        try:
            async with asyncio.timeout(wait_s):
                return await waiter.future
        except TimeoutError:
            self._forget(waiter)
            raise self._held(waiter.at, ask, wait_s) from None
        except asyncio.CancelledError:
            self._forget(waiter)
            raise

    def try_reserve(self, chain: Chain, ask: Ask) -> Reservation | None:
        """The same without waiting: None where it would have to wait. Raises BudgetExceeded, which counts as no refusal yet."""
        found = self._try(chain, ask, queued=False, counted=False)
        return found if isinstance(found, Reservation) else None

    def settle(self, reservation: Reservation, amount: Amount) -> None:
        """The call took ``amount``; the rest of what was held for it is free. Idempotent, as ``cancel`` is."""
        if reservation.open:
            reservation.open = False
            self._roll()
            chain, held = reservation.chain, reservation.amount
            for account in chain:
                if held is not NOTHING:
                    account.reserve(held, -1)
                account.spend(amount)
            self._wake(chain)

    def cancel(self, reservation: Reservation) -> None:
        """The call was not made."""
        self.settle(reservation, NOTHING)

    def charge(self, chain: Chain, amount: Amount) -> None:
        """Something was spent for which nothing was held."""
        self.settle(Reservation(chain), amount)

    # ── what is so ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def is_limited(self, chain: Chain) -> bool:
        """Whether any budget is in force."""
        return any(account.limited for account in chain)

    def accounts(self) -> list[Account]:
        """The daemon's day and the keys' days, as they stand; for showing only."""
        self._roll()
        for key_id in self._own:
            self.key(key_id)
        return [self._whole, *self._keys.values()]

    def gauges(self) -> dict[str, float]:
        """The day's account for metrics; what is left only where there is a limit."""
        day = self.accounts()[0]
        usd_left, tokens_left = day.left()
        shown: dict[str, float | None] = {
            "spent_usd": day.spent_usd / PICO,
            "reserved_usd": day.reserved_usd / PICO,
            "remaining_usd": None if usd_left is None else usd_left / PICO,
            "remaining_tokens": tokens_left,
        }
        return {name: value for name, value in shown.items() if value is not None}

    def resets_at(self) -> float:
        """Unix time at which the next day begins."""
        return float((self._today() + 1) * DAY_S)

    # ── inside ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    @staticmethod
    def _limit(account: Account, limits: Limits) -> None:
        account.limit_usd = None if limits.usd is None else pico(limits.usd)
        account.limit_tokens = limits.tokens

    def _try(self, chain: Chain, ask: Ask, *, queued: bool, counted: bool = True) -> Reservation | Account:
        """A reservation, or the account to wait at. Raises BudgetExceeded. ``queued``: it is this asker's turn."""
        self._roll()
        most = ask.cost.completion_tokens
        for account in chain:
            if account.limited:
                fits, unit = account.affords(ask)
                if fits < ask.cost.least_tokens:
                    if counted:
                        self._on_refused(account.scope, unit)
                    raise refusal(account, unit, ask)
                most = min(most, fits)
        amount = ask.amount(most)
        for account in chain:
            if account.lacks(amount) or (not queued and account.queue and account.concerns(amount)):
                return account
        for account in chain:
            account.reserve(amount)
        return Reservation(chain, amount, replace(ask.cost, completion_tokens=most))

    def _wake(self, accounts: Iterable[Account]) -> None:
        for account in accounts:
            if account.queue:
                self._advance(account)

    def _advance(self, account: Account) -> None:
        """Serve those who wait at ``account``, in order, until one lacks something here."""
        queue = account.queue
        while queue:
            waiter = queue[0]
            if waiter.future.done():
                queue.popleft()
                continue
            try:
                found = self._try(waiter.chain, waiter.ask, queued=True)
            except BudgetExceeded as error:
                queue.popleft()
                waiter.future.set_exception(error)
                continue
            if found is account:
                return
            queue.popleft()
            if isinstance(found, Account):
                waiter.at = found
                found.queue.append(waiter)
            else:
                waiter.future.set_result(found)

    def _forget(self, waiter: Waiter) -> None:
        """A waiter went away. What it was granted in the same tick goes to the next."""
        if waiter in waiter.at.queue:
            waiter.at.queue.remove(waiter)
        future = waiter.future
        if future.done() and not future.cancelled() and future.exception() is None:
            self.cancel(future.result())
        self._wake([waiter.at])

    def _today(self) -> int:
        return int(self._wall() // DAY_S)

    def _roll(self) -> None:
        """A new day begins with nothing spent. Calls under way count to the day on which they end."""
        day = self._today()
        if day == self._day:
            return
        self._day = day
        accounts = [self._whole, *self._keys.values()]
        for account in accounts:
            account.spent_usd = account.spent_tokens = 0
        self._wake(accounts)

    def _held(self, account: Account, ask: Ask, wait_s: float) -> BudgetExceeded:
        by_money = account.limit_usd is not None and ask.amount(ask.cost.completion_tokens).usd > 0
        self._on_refused(account.scope, "usd" if by_money else "tokens")
        return held(account, wait_s)


def statement(purse: Purse, *, key_id: str | None, whole: bool, name_of: Callable[[str], str]) -> dict[str, Json]:
    """The accounts of today as JSON: all of them (``whole``), or the day's and that of ``key_id`` (None: callers without one)."""
    day, *keys = purse.accounts()
    shown = [day, *(keys if whole else [purse.key(key_id or "")])]
    return {
        "resets_at": purse.resets_at(),
        "assumed_completion_tokens": purse.assumed_tokens,
        "per_request": {"usd": purse.settings.usd_per_request, "tokens": purse.settings.tokens_per_request},
        "data": [_view(account, name_of(account.subject) if account.scope == "key" else "") for account in shown],
    }


def _view(account: Account, name: str) -> dict[str, Json]:
    usd_left, tokens_left = account.left()
    return {
        "scope": account.scope,
        "key_id": account.subject or None,
        "name": name or ("(no key)" if account.scope == "key" and not account.subject else name) or None,
        "usd": {
            "limit": None if account.limit_usd is None else account.limit_usd / PICO,
            "spent": account.spent_usd / PICO,
            "reserved": account.reserved_usd / PICO,
            "left": None if usd_left is None else usd_left / PICO,
        },
        "tokens": {
            "limit": account.limit_tokens,
            "spent": account.spent_tokens,
            "reserved": account.reserved_tokens,
            "left": tokens_left,
        },
    }
