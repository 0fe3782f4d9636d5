"""One account of a budget: its limit, what was spent, what is held by calls under way. Pure; budget.py keeps the books over them.

Money is whole pico-USD (10⁻¹² USD), so that sums are exact. Imports nothing of runtime.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from agents.calls import CallCost, CallRecord
from agents.records import BudgetExceeded

PICO = 10**12
MAX_PICO = 2**63 - 1

Scope = Literal["request", "key", "day"]
Unit = Literal["usd", "tokens"]


class Amount(NamedTuple):
    """Money in pico-USD, and tokens."""

    usd: int
    tokens: int


NOTHING = Amount(0, 0)


def pico(usd: float) -> int:
    """USD as whole pico-USD, bounded to 64 bits."""
    return min(round(usd * PICO), MAX_PICO)


def amount_of(calls: Iterable[CallRecord]) -> Amount:
    """What ``calls`` took together."""
    usd = tokens = 0
    for call in calls:
        if call.cost_usd:
            usd += pico(call.cost_usd)
        tokens += call.usage.total_tokens
    return Amount(usd, tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Most that may be spent, in USD and tokens; None: no limit."""

    usd: float | None = None
    tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What a call may take at most, and its prices in pico-USD a token."""

    cost: CallCost
    input_price: int = 0
    output_price: int = 0

    def amount(self, completion_tokens: int) -> Amount:
        """The whole of it with an answer of ``completion_tokens``."""
        usd = self.cost.prompt_tokens * self.input_price + completion_tokens * self.output_price
        return Amount(usd, self.cost.prompt_tokens + completion_tokens)


@dataclass(slots=True, eq=False)
class Account:
    """One budget. ``subject`` is the key's id for a key's account ("" stands for callers without a key)."""

    scope: Scope
    subject: str = ""
    limit_usd: int | None = None
    limit_tokens: int | None = None
    spent_usd: int = 0
    spent_tokens: int = 0
    reserved_usd: int = 0
    reserved_tokens: int = 0
    queue: deque[Waiter] = field(default_factory=deque)

    @property
    def limited(self) -> bool:
        return self.limit_usd is not None or self.limit_tokens is not None

    def concerns(self, amount: Amount) -> bool:
        """Whether a limit of this account has a say: money only where the call costs any."""
        return self.limit_tokens is not None or (self.limit_usd is not None and amount.usd > 0)

    def affords(self, ask: Ask) -> tuple[int, Unit]:
        """The longest answer, up to the one asked for, that fits once all reservations are back; and which limit says so.

        -1 where not even the prompt fits.
        """
        most = ask.cost.completion_tokens
        unit: Unit = "usd"
        if self.limit_tokens is not None:
            left = self.limit_tokens - self.spent_tokens - ask.cost.prompt_tokens
            if left < most:
                most, unit = max(left, -1), "tokens"
        if self.limit_usd is not None and ask.amount(ask.cost.completion_tokens).usd > 0:
            left = self.limit_usd - self.spent_usd - ask.cost.prompt_tokens * ask.input_price
            fits = -1 if left < 0 else left // ask.output_price if ask.output_price else most
            if fits < most:
                most, unit = fits, "usd"
        return most, unit

    def lacks(self, amount: Amount) -> bool:
        """Whether ``amount`` does not fit beside what is reserved now."""
        if self.limit_tokens is not None and self.spent_tokens + self.reserved_tokens + amount.tokens > self.limit_tokens:
            return True
        return self.limit_usd is not None and 0 < amount.usd > self.limit_usd - self.spent_usd - self.reserved_usd

    def reserve(self, amount: Amount, sign: int = 1) -> None:
        self.reserved_usd += sign * amount.usd
        self.reserved_tokens += sign * amount.tokens

    def spend(self, amount: Amount) -> None:
        self.spent_usd += amount.usd
        self.spent_tokens += amount.tokens

    def left(self) -> tuple[int | None, int | None]:
        """What may still be reserved (pico-USD, tokens); None where there is no limit."""
        usd = None if self.limit_usd is None else max(0, self.limit_usd - self.spent_usd - self.reserved_usd)
        tokens = None if self.limit_tokens is None else max(0, self.limit_tokens - self.spent_tokens - self.reserved_tokens)
        return usd, tokens


Chain = tuple[Account, ...]


@dataclass(slots=True, eq=False)
class Reservation:
    """What is held for one call on every account of its chain. ``cost`` is what was granted. Ended once, by settle or cancel."""

    chain: Chain
    amount: Amount = NOTHING
    cost: CallCost | None = None
    open: bool = True


@dataclass(slots=True, eq=False)
class Waiter:
    chain: Chain
    ask: Ask
    future: asyncio.Future[Reservation]
    at: Account


def refusal(account: Account, unit: Unit, ask: Ask) -> BudgetExceeded:
    """The error of a call that does not fit, whatever comes back: which budget, what is left, what to change."""
    least = ask.amount(ask.cost.least_tokens)
    if unit == "usd":
        limit, left = account.limit_usd or 0, (account.limit_usd or 0) - account.spent_usd
        words = (_usd(limit), _usd(max(0, left)), _usd(least.usd))
    else:
        limit, left = account.limit_tokens or 0, (account.limit_tokens or 0) - account.spent_tokens
        words = (f"{limit} tokens", f"{max(0, left)} tokens", f"{least.tokens} tokens")
    about, change, param = _words(account, unit)
    return BudgetExceeded(f"{about} ({words[0]}) has {words[1]} left, and this call may take {words[2]}; {change}", param=param)


def held(account: Account, wait_s: float) -> BudgetExceeded:
    """The error of a call for which nothing came back in time."""
    about, change, param = _words(account, "usd" if account.limit_usd is not None else "tokens")
    message = (
        f"what {about} has left is held by running calls, and too little came back within {max(wait_s, 0.0):.1f} s; {change}"
    )
    return BudgetExceeded(message, param=param, retry_after_s=1.0)


def _words(account: Account, unit: Unit) -> tuple[str, str, str | None]:
    """How a budget is called, what may be done, and the field of the request that is at fault."""
    if account.scope == "request":
        change = f"raise budget_{unit} (default: budget.{unit}_per_request), lower max_tokens or name a cheaper model"
        return "the budget of this request", change, f"budget_{unit}"
    again = "it begins anew at 00:00 UTC, or an operator raises"
    if account.scope == "day":
        return "today's budget of this daemon", f"{again} budget.{unit}_per_day", None
    if not account.subject:
        return "today's budget of callers without a key", f"use a key; {again} budget.key_{unit}_per_day", None
    return "today's budget of this key", f"{again} it: morphogen keys limit {account.subject} --{unit}-per-day", None


def _usd(amount: int) -> str:
    return f"{amount / PICO:.9f}".rstrip("0").rstrip(".") + " USD"
