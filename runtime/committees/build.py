"""Committees of one daemon, put together: nodes for them, and whether they are worth it. Called by daemon.py."""

from __future__ import annotations

import asyncio
import random

from agents.committee.design import question_of
from agents.llm.pool import Pool
from agents.records import Work
from runtime.admission import Cashier
from runtime.clock import Clock
from runtime.committees.compare import Comparisons, Runs
from runtime.committees.desk import CommitteeDesk
from runtime.learner.build import judge_ask
from runtime.learner.desk import Router
from runtime.ledger.committees import ComparisonLedger
from runtime.ledger.store import Ledger
from runtime.metrics import Metrics
from runtime.open_request import OpenRequest
from runtime.records import Answer, Request


class Committees:
    """The desk, which the hub serves to nodes, and the comparisons."""

    def __init__(
        self,
        desk: CommitteeDesk,
        pool: Pool,
        ledger: Ledger,
        router: Router,
        cashier: Cashier,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self.desk = desk
        self.comparisons = Comparisons(
            settings=lambda: self.desk.settings,
            book=ComparisonLedger(ledger),
            ask=judge_ask(pool, cashier, metrics),
            backends=lambda: pool.specs,
            heard=router.compared,
            lost=self._lost,
            rng=random.Random(),
            wall=clock.wall,
        )
        counts = desk.counts
        metrics.present.committees = lambda: (desk.gauges(), counts.ended, counts.seats, self.comparisons.counts)
        self._comparing: asyncio.Task[None] | None = None

    def seen(self, run: OpenRequest, answer: Answer | None) -> None:
        """A request has ended."""
        self.desk.work_ended(run.work_id)
        self.comparisons.offer(run, answer)

    def begin(self, runs: Runs) -> None:
        """Compare from now on."""
        self._comparing = asyncio.create_task(self.comparisons.run(runs), name="compare committees")

    async def aclose(self) -> None:
        if self._comparing is not None:
            self._comparing.cancel()
            await asyncio.gather(self._comparing, return_exceptions=True)
        await self.desk.aclose()

    def _lost(self, request: Request) -> None:
        self.desk.designs.lost(question_of(Work(messages=request.messages)))
