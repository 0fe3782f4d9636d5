"""What was spent today, read and written: the purse's side of the ledger.

Built by daemon.py; ``Cashier`` tells it what no outcome tells. Sums of outcomes and jobs are written with their calls (spend.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from agents.llm.desk import Desk
from agents.records import AgentError
from runtime.accounts import Amount, Limits, Scope, Unit
from runtime.admission import Cashier
from runtime.budget import Purse
from runtime.clock import Clock
from runtime.config.settings import BudgetSettings
from runtime.ledger.batch import WritingConnection
from runtime.ledger.records import LedgerError
from runtime.ledger.spend import CHARGE_SQL, DAY_S, FORESEE_SQL, SPENT_SQL, UNFORESEE_SQL, charge_row, foresee_row
from runtime.ledger.store import Ledger

LAST_S = 5.0
"""How long the last word may take on a disk that refuses."""


class SpendBook:
    """Implements ``runtime.admission.Book``. ``charge`` and ``foresee`` never block; the ledger counts what it loses."""

    def __init__(self, ledger: Ledger, *, wall: Callable[[], float] = time.time) -> None:
        self._ledger = ledger
        self._wall = wall

    async def today(self) -> list[tuple[str, Amount]]:
        """(key id, what was spent) since midnight UTC; "" stands for callers without a key."""
        rows = await self._ledger.reader.execute_fetchall(SPENT_SQL, (int(self._wall() // DAY_S),))
        return [(row["key_id"], Amount(int(row["usd_pico"]), int(row["tokens"]))) for row in rows]

    def charge(self, key_id: str, amount: Amount) -> None:
        """Something was spent that no outcome tells of ("": no key)."""
        row = charge_row(key_id, amount, at=self._wall())

        def apply(connection: WritingConnection) -> None:
            connection.execute(CHARGE_SQL, row)

        self._ledger.act(apply, weight=100)

    def foresee(self, request_id: str, amount: Amount) -> None:
        """A request goes on: what is charged to it should the daemon be killed meanwhile."""
        row = foresee_row(request_id, amount)

        def apply(connection: WritingConnection) -> None:
            connection.execute(FORESEE_SQL, row)

        self._ledger.act(apply, weight=100)

    async def aclose(self) -> None:
        """After an orderly stop, before the ledger's: all calls are written, and nothing of a job is left to be guessed."""

        def apply(connection: WritingConnection) -> None:
            connection.execute(UNFORESEE_SQL)

        with contextlib.suppress(LedgerError, AgentError, TimeoutError):
            await asyncio.wait_for(self._ledger.act(apply), LAST_S)


@asynccontextmanager
async def books(
    ledger: Ledger,
    desk: Desk,
    settings: BudgetSettings,
    keys: Mapping[str, Limits],
    on_refused: Callable[[Scope, Unit], None],
    clock: Clock,
) -> AsyncIterator[Cashier]:
    """The desk with today's books, for as long as the block runs: the own limits of ``keys``, and what was spent so far."""
    book = SpendBook(ledger, wall=clock.wall)
    purse = Purse(settings, on_refused=on_refused, wall=clock.wall)
    for key_id, limits in keys.items():
        purse.limit_key(key_id, limits)
    purse.load(await book.today())
    yield Cashier(desk, purse, book=book)
    await book.aclose()
