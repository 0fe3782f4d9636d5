"""Who may make a call, and who pays for it: the desk's permits and the purse's reservations as one step.

Built by daemon.py; used by the daemon's own pool, by dispatch.py for the first call of a task, and by nodes through the hub (it
implements ``agents.toolbox.Admission``). Money is held before the permit is waited for and settled when the permit comes back;
whatever happens between, each call is charged exactly once. Lives in one event loop, does no I/O.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from agents.calls import CallCost, CallRecord, Health, Permit
from agents.llm.chat import BackendSpec, ChatRequest
from agents.llm.costs import worst_case
from agents.llm.desk import Desk
from agents.records import NotFound
from runtime.accounts import NOTHING, PICO, Amount, Ask, Chain, Limits, Reservation, amount_of
from runtime.budget import Purse

GRACE_S = 5.0
"""What a node that was told to stop spent may take so long to be reported; what is still held then is charged in full."""
KEPT_TABS = 2048
"""Requests with a budget of their own of which it is known what is left, also when they have ended: for their reply's headers."""


class Book(Protocol):
    """What the ledger is told beside outcomes and jobs; ``runtime.ledger.spending.SpendBook`` is one."""

    def charge(self, key_id: str, amount: Amount) -> None:
        """Something was spent that no outcome tells of."""
        ...

    def foresee(self, request_id: str, amount: Amount) -> None:
        """A request goes on, and would be charged so much should the daemon be killed meanwhile."""
        ...


@dataclass(slots=True, eq=False)
class _Holder:
    """One task (or one straight request): its permits that are out, and what its calls took so far."""

    name: str
    tab: _Tab
    permits: dict[str, Reservation] = field(default_factory=dict)
    usd: int = 0
    tokens: int = 0


@dataclass(slots=True, eq=False)
class _Tab:
    """What one piece of work (a request, or a part of a job) runs up. ``out`` counts its permits that are out.

    ``foreseen`` is the least that a kill is charged for it, ``calls`` counts those that began. ``durable`` is what the ledger has
    of it; ``closed`` when it has ended.
    """

    key_id: str
    chain: Chain
    request_id: str = ""
    foreseen: Amount = NOTHING
    calls: int = 0
    holders: list[_Holder] = field(default_factory=list)
    out: int = 0
    durable: Amount = NOTHING
    closed: bool = False


class Cashier:
    """The desk and the purse behind one counter."""

    def __init__(
        self,
        desk: Desk,
        purse: Purse | None = None,
        *,
        book: Book | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.desk = desk
        self.purse = purse or Purse()
        self._book = book
        self._clock = clock
        self._tabs: dict[str, _Tab] = {}
        self._work: dict[str, list[_Tab]] = {}
        self._holders: dict[str, _Holder] = {}
        self._out: dict[str, _Holder] = {}
        self._own: OrderedDict[str, Chain] = OrderedDict()
        self._strays = _Tab("", self.purse.chain(None, Limits()), closed=True)

    # ── work ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def open(self, work_id: str, *, key_id: str | None, limits: Limits) -> None:
        """Work begins (``request`` or ``request/number``); what its calls take is charged to it, its key and the day."""
        request_id = work_id.partition("/")[0]
        tab = self._tabs[work_id] = _Tab(key_id or "", self.purse.chain(key_id, limits), request_id)
        self._work.setdefault(request_id, []).append(tab)
        if tab.chain[0].limited:
            self._own[request_id] = tab.chain
            if len(self._own) > KEPT_TABS:
                self._own.popitem(last=False)

    def close(self, work_id: str, calls: Iterable[CallRecord]) -> None:
        """Work has ended, and the ledger is told of ``calls``. What comes to light later goes into the book."""
        tab = self._tabs.pop(work_id, None)
        if tab is not None:
            self._work[tab.request_id].remove(tab)
            if not self._work[tab.request_id]:
                del self._work[tab.request_id]
            tab.closed, tab.durable = True, amount_of(calls)
            self._reconcile(tab)

    def assumed_tokens(self, holder: str) -> int | None:
        """``Budget.assumed_tokens`` of a work's tasks: None while no budget is in force."""
        return self.purse.assumed_tokens if self.purse.is_limited(self._tab(holder).chain) else None

    def worst_case(self, spec: BackendSpec, request: ChatRequest) -> CallCost:
        """What ``request`` may take at ``spec``."""
        return worst_case(spec, request, assumed_tokens=self.purse.assumed_tokens)

    def foreseen(self, work_id: str, specs: Sequence[BackendSpec], request: ChatRequest, *, at_once: int = 1) -> Amount:
        """The most that ``at_once`` calls of ``request`` take, each at the dearest of ``specs`` and within the work's own budget.

        The ledger charges it should the daemon be killed; with each further call it is told what all of them took and hold.
        """
        tab, usd, tokens = self._tab(work_id), 0, 0
        for spec in specs:
            cost = self.worst_case(spec, request)
            amount = ask_of(spec, cost).amount(cost.completion_tokens)
            usd, tokens = max(usd, amount.usd), max(tokens, amount.tokens)
        most_usd, most_tokens = tab.chain[0].left()
        usd, tokens = usd if most_usd is None else min(usd, most_usd), tokens if most_tokens is None else min(tokens, most_tokens)
        tab.foreseen = Amount(usd * at_once, tokens * at_once)
        return tab.foreseen

    def foresee(self, work_id: str) -> None:
        """A part of a job begins: the ledger is told what ``foreseen`` gave, or more where other parts took more already."""
        self._foresee(self._tab(work_id))

    def own_left(self, work_id: str) -> tuple[float | None, int | None]:
        """(USD, tokens) left of the work's own budget; None where it has none."""
        usd, tokens = self._tab(work_id).chain[0].left()
        return (None if usd is None else usd / PICO), tokens

    def left(self, request_id: str, key_id: str | None) -> tuple[float | None, int | None]:
        """(USD, tokens): the least that is left of the request's, its key's and the day's budget; None where none is limited."""
        chain = self._own.get(request_id) or self.purse.day_chain(key_id)
        if not self.purse.is_limited(chain):
            return None, None
        lefts = [account.left() for account in chain if account.limited]
        usd = min((left[0] for left in lefts if left[0] is not None), default=None)
        tokens = min((left[1] for left in lefts if left[1] is not None), default=None)
        return (None if usd is None else usd / PICO), tokens

    # ── permits ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def lease(self, backend: str, *, holder: str, wait_s: float, cost: CallCost | None = None) -> Permit:
        """A permit, with ``cost`` held on the holder's budgets. Raises BudgetExceeded, and what ``Desk.lease`` raises."""
        if cost is None:
            return self._note(await self.desk.lease(backend, holder=holder, wait_s=wait_s), holder, None)
        ask, until = self._ask(backend, cost), self._clock() + wait_s
        held = await self.purse.reserve(self._tab(holder).chain, ask, wait_s=wait_s)
        try:
            permit = await self.desk.lease(backend, holder=holder, wait_s=max(0.0, until - self._clock()))
        except BaseException:
            self.purse.cancel(held)
            raise
        return self._note(permit, holder, held)

    def try_lease(self, backend: str, *, holder: str, cost: CallCost | None = None) -> Permit | None:
        """A permit at once, or None when it would have to wait or is refused. Raises BudgetExceeded, NotFound."""
        if cost is None:
            permit = self.desk.try_lease(backend, holder=holder)
            return permit and self._note(permit, holder, None)
        held = self.purse.try_reserve(self._tab(holder).chain, self._ask(backend, cost))
        if held is None:
            return None
        permit = self.desk.try_lease(backend, holder=holder)
        if permit is None:
            self.purse.cancel(held)
            return None
        return self._note(permit, holder, held)

    def release(self, permit: Permit, record: CallRecord | None) -> None:
        """Give a permit back and settle with what the call took (None: it was not made). Idempotent."""
        self.desk.release(permit, record)
        holder = self._out.get(permit.permit_id)
        if holder is not None:
            self._settle(holder, permit.permit_id, amount_of((record,)) if record else NOTHING)
            self._reconcile(holder.tab)

    def release_all(self, holder: str, calls: Iterable[CallRecord] | None = None) -> None:
        """The holder has ended. ``calls`` are all it made: what was not told of each is settled by them.

        None: it died, and what is still held for it is charged in full. Idempotent.
        """
        self.desk.release_all(holder)
        found = self._holders.pop(holder, None)
        if found is None:
            return
        for permit_id, held in list(found.permits.items()):
            self._settle(found, permit_id, held.amount if calls is None else NOTHING)
        if calls is not None:
            known = amount_of(calls)
            if known.usd > found.usd or known.tokens > found.tokens:
                missing = Amount(max(0, known.usd - found.usd), max(0, known.tokens - found.tokens))
                self.purse.charge(found.tab.chain, missing)
        self._reconcile(found.tab)

    def release_later(self, holder: str) -> None:
        """The holder was told to stop: its last word on what it spent is awaited for GRACE_S, then it counts as dead."""
        self.desk.release_all(holder)
        found = self._holders.get(holder)
        if found is not None and found.permits:
            asyncio.get_running_loop().call_later(GRACE_S, self.release_all, holder)

    def health(self) -> Mapping[str, Health]:
        """``Desk.health``."""
        return self.desk.health()

    # ── inside ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _foresee(self, tab: _Tab) -> None:
        """What the request's open work took and holds is known to nobody else until it has ended: the book keeps it meanwhile."""
        if self._book is None or tab.closed:
            return
        accounts = [one.chain[0] for one in self._work[tab.request_id]]
        usd = sum(account.spent_usd + account.reserved_usd for account in accounts)
        tokens = sum(account.spent_tokens + account.reserved_tokens for account in accounts)
        self._book.foresee(tab.request_id, Amount(max(usd, tab.foreseen.usd), max(tokens, tab.foreseen.tokens)))

    def _tab(self, holder: str) -> _Tab:
        """The work that a holder (``request/number/…``) is at. Calls of nobody's work are charged to no key and the day."""
        return self._tabs.get(holder) or self._tabs.get("/".join(holder.split("/", 2)[:2])) or self._strays

    def _ask(self, backend: str, cost: CallCost) -> Ask:
        """``cost`` at the prices of today, which the node may not know yet."""
        spec = self.desk.spec(backend)
        if spec is None:
            raise NotFound(f"there is no backend {backend!r}", param="model", backend=backend)
        return ask_of(spec, cost)

    def _note(self, permit: Permit, holder: str, held: Reservation | None) -> Permit:
        noted = self._holders.get(holder)
        if noted is None:
            noted = self._holders[holder] = _Holder(holder, self._tab(holder))
            noted.tab.holders.append(noted)
        noted.permits[permit.permit_id] = held or Reservation(noted.tab.chain)
        noted.tab.out += 1
        self._out[permit.permit_id] = noted
        if held is None:
            return permit
        noted.tab.calls += 1
        if noted.tab.calls > 1:
            self._foresee(noted.tab)
        return replace(permit, granted=held.cost)

    def _settle(self, holder: _Holder, permit_id: str, amount: Amount) -> None:
        del self._out[permit_id]
        self.purse.settle(holder.permits.pop(permit_id), amount)
        holder.tab.out -= 1
        holder.usd += amount.usd
        holder.tokens += amount.tokens

    def _reconcile(self, tab: _Tab) -> None:
        """Once nothing is out, the books and the ledger must agree: each is told what only the other one knows."""
        if not tab.closed or tab.out:
            return
        for holder in tab.holders:
            self._holders.pop(holder.name, None)
        tab.holders.clear()
        spent, durable = Amount(tab.chain[0].spent_usd, tab.chain[0].spent_tokens), tab.durable
        if spent == durable:
            return
        unheard = Amount(max(0, durable.usd - spent.usd), max(0, durable.tokens - spent.tokens))
        if unheard != NOTHING:
            self.purse.charge(tab.chain, unheard)
        late = Amount(max(0, spent.usd - durable.usd), max(0, spent.tokens - durable.tokens))
        if late != NOTHING and self._book is not None:
            self._book.charge(tab.key_id, late)
        tab.durable = Amount(tab.chain[0].spent_usd, tab.chain[0].spent_tokens)


def ask_of(spec: BackendSpec, cost: CallCost) -> Ask:
    """``cost`` at the prices of ``spec``: USD per million tokens, times a million, is pico-USD a token."""
    return Ask(
        cost=cost,
        input_price=round(spec.input_usd_per_mtok * 1_000_000),
        output_price=round(spec.output_usd_per_mtok * 1_000_000),
    )
