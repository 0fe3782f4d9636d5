"""Is a committee worth it? A share of what committees answered is asked again, of the best other way, with the same tokens.

Built by build.py; dispatch's ``learn`` offers answers, ``run`` works on them one after the other beside the requests. Everything
is bounded: the share, what waits, the tokens of each, the day's money (UTC), which the ledger knows over restarts. What comes out
goes into the ledger, to the router (desk.py: ``compared``), and to the pool of designs.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from agents.calls import CallRecord
from agents.llm.chat import BackendSpec
from agents.llm.costs import worst_case
from agents.llm.structured import ask_structured
from agents.records import AgentError, Json, RequestId
from runtime.accounts import PICO
from runtime.admission import ask_of
from runtime.committees.rules import COMMITTEE
from runtime.committees.verdict import MAX_TOKENS, SCORES, Compared, Outcome, by_checks, judge_of, of_judge, question
from runtime.config.committee import CommitteeSettings
from runtime.learner.judge import Ask
from runtime.ledger.records import LedgerError
from runtime.open_request import OpenRequest
from runtime.records import Answer, Request, Target

log = logging.getLogger(__name__)

MAX_WAITING: Final = 16
DAY_S: Final = 86_400.0
JUDGEMENTS: Final = 4
"""Calls of one comparison to a judge, at most: two orders, a repair round each."""
_FAILED_ITSELF: Final = frozenset({"budget_exceeded", "structured_failed", "incomplete", "escalated", "deadline_exceeded"})
"""Errors of the other way that say something of it: it had the same tokens and the same time."""


class Runs(Protocol):
    """What is needed of Dispatch."""

    async def run(self, request: Request) -> Answer: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonRow:
    """One comparison, as the ledger keeps it. ``other_id`` is the request that the other way answered."""

    request_id: str
    other_id: str
    at: float
    outcome: Outcome
    decided_by: str
    why: str
    other_strategy: str = ""
    other_backend: str = ""
    committee_usd: float = 0.0
    other_usd: float = 0.0
    judge_usd: float = 0.0
    committee_s: float = 0.0
    other_s: float = 0.0
    committee_tokens: int = 0
    other_tokens: int = 0
    simulated: bool = False


class ComparisonBook(Protocol):
    """Where comparisons are kept; ``write`` only queues."""

    def write(self, row: ComparisonRow) -> None: ...

    async def spent_since(self, since: float) -> float:
        """USD that comparisons have cost since a Unix time. Raises LedgerError."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """What a committee answered."""

    request: Request
    answer: Answer


class Comparisons:
    """``heard`` is told how an answer of a request did beside another (1, 0.5, 0); ``lost`` of a problem whose committee did
    worse."""

    def __init__(
        self,
        *,
        settings: Callable[[], CommitteeSettings],
        book: ComparisonBook,
        ask: Ask,
        backends: Callable[[], Sequence[BackendSpec]],
        heard: Callable[[str, float], None],
        lost: Callable[[Request], None],
        rng: random.Random,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._settings, self._book, self._ask, self._backends = settings, book, ask, backends
        self._heard, self._lost, self._rng, self._wall = heard, lost, rng, wall
        self._waiting: deque[Offered] = deque()
        self._bell = asyncio.Event()
        self._day, self._spent_usd = -1, 0.0
        self.counts: Counter[str] = Counter()

    def offer(self, run: OpenRequest, answer: Answer | None) -> None:
        """Take an answer for comparison, or do not. Never waits."""
        if answer is None or answer.strategy != COMMITTEE or run.request.place is not None or not answer.draft.text.strip():
            return
        formed = any(event.kind == COMMITTEE and event.data.get("state") == "formed" for event in run.events)
        if not formed or self._rng.random() >= self._settings().compare_share:
            return
        if len(self._waiting) >= MAX_WAITING:
            self.counts["dropped"] += 1
            return
        self._waiting.append(Offered(request=run.request, answer=answer))
        self._bell.set()

    async def run(self, runs: Runs) -> None:
        """Compare what waits. Until cancelled."""
        while True:
            while self._waiting:
                await self.compare(self._waiting.popleft(), runs)
            self._bell.clear()
            await self._bell.wait()

    async def compare(self, offered: Offered, runs: Runs) -> None:
        """One comparison, to its row. What goes wrong here costs nobody an answer."""
        try:
            left_usd = await self._left_usd()
        except LedgerError as error:
            log.info("no committee is compared while the ledger cannot be read: %s", error)
            return
        if left_usd <= 0 and not all(spec.is_free for spec in self._backends()):
            self.counts["no_money"] += 1
            return
        judge_usd: list[float] = [0.0]
        asked = self._other_request(offered, left_usd)
        other: Answer | None = None
        try:
            other = await runs.run(asked)
            found = by_checks(offered.answer, other) or await self._judged(offered, other, judge_usd, left_usd)
        except AgentError as error:
            # A judge that failed says nothing of either answer; a way that gave none had the committee's tokens.
            itself = other is None and error.code in _FAILED_ITSELF
            found = Compared(outcome="won" if itself else "none", by="failure" if itself else "nobody", why=error.code)
            spent_usd = sum(call.cost_usd for call in error.calls)
            self._told(offered, asked, other, found, judge_usd[0], other.cost_usd if other is not None else spent_usd)
            return
        self._told(offered, asked, other, found, judge_usd[0], other.cost_usd)

    def _other_request(self, offered: Offered, left_usd: float) -> Request:
        """The same request, left open, with no more tokens than the committee took."""
        name = f"cmp_{time.time_ns() // 1_000_000:012x}{os.urandom(8).hex()}"
        usage = offered.answer.usage
        return replace(
            offered.request,
            request_id=RequestId(name),
            source=COMMITTEE,
            target=Target(),
            strategy=None,
            stream=False,
            tell=False,
            key_id=None,
            library="off",
            accept_partial=True,
            budget_tokens=max(1, usage.total_tokens),
            budget_usd=max(0.0, left_usd),
        )

    async def _judged(self, offered: Offered, other: Answer, spent: list[float], left_usd: float) -> Compared:
        ours = offered.answer
        asked = (question(offered.request, ours, other), question(offered.request, other, ours))
        judge = judge_of(self._backends(), (ours, other))
        if judge is None:
            return Compared(outcome="none", by="nobody", why="no backend can judge")
        cost = worst_case(judge, asked[0], assumed_tokens=MAX_TOKENS)
        most_usd = JUDGEMENTS * ask_of(judge, cost).amount(cost.completion_tokens).usd / PICO
        if most_usd > left_usd - other.cost_usd and not judge.is_free:
            return Compared(outcome="none", by="nobody", why="the day's money does not pay for a judge")

        def booked(call: CallRecord) -> None:
            spent[0] += call.cost_usd

        said: list[Json] = []
        for one in asked:
            said.append((await ask_structured(lambda again: self._ask(again, judge, booked), one)).data)
        return of_judge(said[0], said[1])

    def _told(
        self, offered: Offered, asked: Request, other: Answer | None, found: Compared, judge_usd: float, other_usd: float
    ) -> None:
        """Into the book, to the router, to the pool of designs."""
        self._spent_usd += judge_usd + other_usd
        self.counts[found.outcome] += 1
        ours = offered.answer
        row = ComparisonRow(
            request_id=offered.request.request_id,
            other_id=asked.request_id,
            at=self._wall(),
            outcome=found.outcome,
            decided_by=found.by,
            why=found.why,
            other_strategy=other.strategy if other is not None else "",
            other_backend=other.backend if other is not None else "",
            committee_usd=ours.cost_usd,
            other_usd=other_usd,
            judge_usd=judge_usd,
            committee_s=ours.latency_s,
            other_s=other.latency_s if other is not None else 0.0,
            committee_tokens=ours.usage.total_tokens,
            other_tokens=other.usage.total_tokens if other is not None else 0,
            simulated=ours.simulated or (other is not None and other.simulated),
        )
        self._book.write(row)
        if (score := SCORES.get(found.outcome)) is not None:
            self._heard(offered.request.request_id, score)
            self._heard(asked.request_id, 1.0 - score)
        if found.outcome == "lost":
            self._lost(offered.request)

    async def _left_usd(self) -> float:
        day = int(self._wall() // DAY_S)
        if day != self._day:
            self._spent_usd, self._day = await self._book.spent_since(day * DAY_S), day
        return self._settings().compare_usd_per_day - self._spent_usd
