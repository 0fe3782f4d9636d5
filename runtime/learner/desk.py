"""The router of the daemon: chooses the arm of a request, hears what came of it, keeps what was learned.

Called by dispatch (``choose``, ``ended``), by the jobs (``feedback``) and by build.py, which runs ``run``. All of it lives in the
event loop; a choice takes about a millisecond at the most and waits for nothing: an embedding is used where it is there already.
What goes wrong here never costs a request its answer: without a choice the backends' weights decide, as without a router.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from agents.calls import CallRecord, Health, cost_usd_of
from agents.llm.chat import BackendSpec
from agents.records import AgentError, Event, Json
from runtime.cluster import NodeStatus
from runtime.committees.rules import COMMITTEE
from runtime.config.routing import RoutingSettings
from runtime.config.settings import Settings
from runtime.learner import keeping
from runtime.learner.advice import consult, place_of, reasoned
from runtime.learner.arms import Option
from runtime.learner.choices import Choices
from runtime.learner.evidence import KeyTrust, of_answer, of_failure
from runtime.learner.features import context_of, conversation_of, facts_of, locale_of
from runtime.learner.judge import Ask, JudgeDesk
from runtime.learner.policy import learner_settings, manner_of, row_of, usual_of, weights_of
from runtime.learner.records import OWN, Advisor, Counts, DecisionBook, Evidence, Route, Told
from runtime.learner.trials import TrialBook, Trials
from runtime.learner.tuning import laid_over
from runtime.ledger.records import LedgerError
from runtime.open_request import OpenRequest
from runtime.records import Answer
from runtime.routing import state
from runtime.routing.bandit import Learner
from runtime.routing.records import Arm, RoutingError, Spent
from runtime.topology.shape import Member

log = logging.getLogger(__name__)

MAX_CONVERSATIONS: Final = 4096
MAX_REQUESTS: Final = 8192
MAX_PARTS: Final = 16
"""Of a long list, so many of its newest parts hear of the feedback on the whole."""
COMPARED: Final = 0.6
"""How far a comparison may be believed: as far as a judge."""
REAL: Final = frozenset({"checks", "failure", "empty", "judge", "feedback", "comparison"})
"""Sources that say something of one answer."""


class Router:
    """``ask`` reaches a judge; ``load`` says how busy the daemon is, 0 to 1; ``folder`` is where it keeps what it learned."""

    def __init__(
        self,
        *,
        settings: Settings,
        backends: Callable[[], Sequence[BackendSpec]],
        health: Callable[[], Mapping[str, Health]],
        nodes: Callable[[], Sequence[NodeStatus]],
        book: DecisionBook,
        trial_book: TrialBook,
        folder: Path,
        ask: Ask,
        load: Callable[[], float] = lambda: 0.0,
        rng: np.random.Generator | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._settings, self._strategies, self._committee = settings.routing, settings.strategies, settings.committee
        self._file = settings.routing
        self.tuned: tuple[str, ...] = ()
        """Settings that hold instead of the file's."""
        self._keep_text = settings.data.store_bodies
        self.advisor: Advisor | None = None
        self.members: Callable[[], Iterable[Member]] = tuple
        """Whose patterns and locales are known."""
        self._backends, self._health, self._nodes, self._load = backends, health, nodes, load
        self._choices = Choices(backends=backends, health=health, nodes=nodes)
        self._folder, self._wall = folder, wall
        self._rng = rng or np.random.default_rng()
        self.book = book
        self.counts = Counts()
        self.learner = Learner(learner_settings(settings.routing), rng=self._rng)
        self.heard = 0
        self.heard_committees = 0
        self.trials = Trials(book=trial_book, decisions=book, settings=lambda: self._settings, wall=wall)
        self.judge = JudgeDesk(ask=ask, hear=self.hear, backends=backends, counts=self.counts, rng=self._rng, wall=wall)
        self.judge.settings = settings.routing
        self._trust = KeyTrust()
        self._conversations: OrderedDict[str, Arm] = OrderedDict()
        self._of_request: OrderedDict[str, list[str]] = OrderedDict()
        self._said: OrderedDict[str, float] = OrderedDict()
        self._voted: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._dirty = False
        self._trouble = ""

    @property
    def settings(self) -> RoutingSettings:
        """Those that hold now."""
        return self._settings

    def renew(self, settings: Settings) -> None:
        """Choices from now on go by ``settings``."""
        self._file, self._strategies, self._committee = settings.routing, settings.strategies, settings.committee
        self.tune(self.tuned)

    def tune(self, tuned: tuple[str, ...]) -> None:
        """Let these settings hold instead of the file's. Raises RoutingError where they cannot; the file's hold then."""
        self.tuned, self._settings = (), self._file
        try:
            self.tuned, self._settings = tuned, laid_over(self._file, tuned)
        finally:
            self.trials.settled = True
            self.judge.settings = self._settings

    # ── choosing ────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def route(self, run: OpenRequest) -> None:
        """``choose``, with the word of the generated router in force."""
        told = None
        if self.advisor is not None and self._settings.enabled and run.route is None and len(open_ := self.options_of(run)) > 1:
            arms = [option.arm for option in open_]
            told = await consult(self.advisor, self.trials, run, arms, load=self._load(), now=self._wall())
        self.choose(run, told)

    def choose(self, run: OpenRequest, told: Told | None = None) -> None:
        """Lay a route into ``run`` where there is something to choose; None stays where there is not."""
        settings = self._settings
        if not settings.enabled or run.route is not None:
            return
        open_ = self.options_of(run)
        if len(open_) < 2:
            return
        try:
            run.route = self._decide(run, open_, settings, told)
        except RoutingError as error:
            log.error("a request is routed by weight: %s", error)
            return
        decision = run.route.decision
        self.counts.bump(self.counts.decisions, (decision.arm.backend, decision.way))
        said: dict[str, Json] = {"strategy": decision.arm.strategy, "node": decision.arm.node, "backend": decision.arm.backend}
        said |= {"way": decision.way, "share": round(decision.propensity, 4), "reason": decision.reason}
        run.note(Event(kind="route", at=decision.at, data=said))

    def options_of(self, run: OpenRequest) -> list[Option]:
        """What the request leaves open now."""
        return self._choices.of(run.request, self._settings, self._strategies, self._committee)

    def _decide(self, run: OpenRequest, open_: Sequence[Option], settings: RoutingSettings, told: Told | None) -> Route:
        now = self._wall()
        self._follow(settings)
        name, goes_on = conversation_of(run.request)
        held = self._conversations.get(name) if goes_on else None
        experiment_id, group, side = self.trials.side(name)
        if told is not None and not told.counted:
            experiment_id, group = None, "champion"
        context = context_of(run, load=self._load(), now=now, locale=locale_of(run, self.members()))
        arms, explore = [option.arm for option in open_], self.advisor.explore if self.advisor is not None else 0.0
        advised = place_of(told, arms)
        decision = self.learner.choose(
            run.work_id,
            context,
            arms,
            weights_of(side, run.request.routing),
            now=now,
            held=held,
            manner=manner_of(side, usual=usual_of(open_, heard=self._heard_of(open_)), advised=advised, explore=explore),
        )
        decision = reasoned(decision, told)
        _keep(self._conversations, name, decision.arm, MAX_CONVERSATIONS)
        ids = self._of_request.setdefault(run.request.request_id, [])
        ids.append(run.work_id)
        del ids[:-MAX_PARTS]
        _keep(self._of_request, run.request.request_id, ids, MAX_REQUESTS)
        option = next(each for each in open_ if each.arm.key == decision.arm.key)
        return Route(
            decision=decision,
            backend=option.backend,
            strategy=option.strategy,
            nodes=option.nodes,
            facts=facts_of(context.point),
            told=told,
            experiment_id=experiment_id,
            group=group,
        )

    def _heard_of(self, open_: Sequence[Option]) -> int:
        """Verdicts that say something of such a choice: whether a committee is worth it, only those on committees say."""
        return self.heard_committees if open_[0].arm.strategy == COMMITTEE else self.heard

    def _follow(self, settings: RoutingSettings) -> None:
        """What a reload may have changed."""
        wanted = learner_settings(settings)
        if wanted != self.learner.settings:
            self.learner.configure(wanted)
        self.learner.budget(settings.usd_per_thousand if settings.objective == "difference" else None)

    # ── hearing ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def ended(
        self, run: OpenRequest, *, answer: Answer | None, error: AgentError | None, calls: Sequence[CallRecord], latency_s: float
    ) -> None:
        """What came of a piece of work with a route: cost, latency and what the outcome says by itself."""
        route = run.route
        if route is None:
            return
        arm, name = route.decision.arm, route.decision.decision_id
        served = answer.backend if answer is not None else ""
        own = arm.backend in (OWN, served)
        evidence = of_failure(error, calls, arm.backend, deadline_s=run.deadline_s) if error is not None or not own else None
        if own and answer is not None:
            evidence = of_answer(answer, usual=self._usual())
            self.learner.spent(name, Spent(cost_usd=cost_usd_of(calls), latency_s=max(0.0, latency_s)))
        name_ = run.request.request_id
        row = row_of(route, name_, answer=answer, error=error, calls=calls, latency_s=latency_s, keep_text=self._keep_text)
        self.book.write(row)
        self.counts.regret += row.regret
        said = evidence.score if evidence is not None and evidence.source in REAL else None
        failed = evidence is not None and evidence.source in ("failure", "empty")
        self.trials.ended(route, score=said, failed=failed, cost_usd=row.cost_usd, latency_s=row.latency_s)
        if evidence is not None:
            self.hear(name, evidence)
        if own and answer is not None and run.request.place is None:
            self.judge.offer(name, run.request, answer)
        if answer is None:
            self.learner.drop(name)
        elif not own:
            self._stood_in(name, arm, answer)
        self._dirty = True

    def _stood_in(self, name: str, arm: Arm, answer: Answer) -> None:
        """Another backend answered: what its answer is worth is its own."""
        spec = next((spec for spec in self._backends() if spec.name == answer.backend), None)
        if spec is None:
            self.learner.drop(name)
            return
        price = (spec.input_usd_per_mtok + spec.output_usd_per_mtok) / 2
        self.learner.given_to(name, Arm(strategy=arm.strategy, node=arm.node, backend=spec.name, usd_per_1m=price))
        self.hear(name, of_answer(answer, usual=self._usual()), logged=False)

    def hear(self, name: str, evidence: Evidence, *, logged: bool = True) -> bool:
        """A verdict on a decision; whether anything was learned of it. ``logged``: it is of the arm that was chosen."""
        waiting = self.learner.waiting.get(name)
        if waiting is None:
            return False
        weight = min(evidence.reliability, 1.0 - waiting.weight)
        heard = self.learner.learn(name, evidence.score, now=self._wall(), reliability=evidence.reliability)
        if not heard.learned:
            return False
        self.counts.bump(self.counts.verdicts, evidence.source)
        self.counts.alarms += heard.changed
        if evidence.source in REAL:
            self.heard += 1
            self.heard_committees += waiting.arm.strategy == COMMITTEE
        if logged and evidence.source in ("judge", "feedback", "comparison"):
            self.trials.heard(name, evidence.score)
        if evidence.source in ("checks", "judge"):
            _keep(self._said, name, evidence.score, MAX_REQUESTS)
        if logged and evidence.source in REAL:
            self.book.heard(name, score=evidence.score, weight=weight, source=evidence.source)
        self._dirty = True
        return True

    def feedback(self, request_id: str, key_id: str | None, score: float) -> None:
        """A client's word on its request; each key is heard once of each."""
        names = [name for name in self._of_request.get(request_id, ()) if name in self.learner.waiting]
        voter = (request_id, key_id or "")
        if not names or voter in self._voted:
            return
        _keep(self._voted, voter, None, MAX_REQUESTS)
        reliability = self._trust.admit(voter[1], now=self._wall())
        if reliability <= 0:
            return
        for name in names:
            if (other := self._said.get(name)) is not None:
                self._trust.compare(voter[1], score, other)
            self.hear(name, Evidence(score=score, reliability=reliability / len(names), source="feedback"))

    def compared(self, request_id: str, score: float) -> None:
        """How an answer did beside another one to the same request: 1 better, 0 worse, 0.5 as good."""
        for name in self._of_request.get(request_id, ()):
            self.hear(name, Evidence(score=score, reliability=COMPARED, source="comparison"))

    def _usual(self) -> float:
        """What an answer of the pool is worth on average, as far as is known."""
        return float(min(max(self.learner.quality.ridge.pool[0], 0.3), 0.9))

    # ── keeping ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def load(self) -> None:
        """Take up what was learned before. A file that cannot be read is set aside and said so; learning begins anew."""
        found = await asyncio.to_thread(keeping.taken_up, self._folder, self.learner.settings, self._rng)
        if found is None:
            return
        header, self.learner = found
        heard, committees = header.get("heard"), header.get("heard_committees")
        self.heard = heard if isinstance(heard, int) and heard >= 0 else self.learner.quality.seen
        self.heard_committees = committees if isinstance(committees, int) and committees >= 0 else 0
        try:
            self.judge.load(header["judge"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            log.error("what is known of judges cannot be read, and begins anew: %s", error)
        for name in self.learner.waiting:
            self._of_request.setdefault(name.partition("/")[0], []).append(name)

    async def run(self) -> None:
        """Write what was learned, every ``save_every_s``. Until cancelled."""
        while True:
            await asyncio.sleep(self._settings.save_every_s)
            await self.save()
            try:
                await self.trials.tick()
            except (LedgerError, RoutingError, AgentError) as error:
                log.error("the experiment is put off: %s", error)

    async def save(self) -> None:
        """Write what was learned since the last time."""
        if not self._dirty:
            return
        self._dirty = False
        header = {"heard": self.heard, "heard_committees": self.heard_committees, "judge": self.judge.dump()}
        arrays = state.gather(self.learner)
        try:
            await asyncio.to_thread(lambda: keeping.write(self._folder, header, state.pack(arrays)))
        except OSError as error:
            self._dirty = True
            if not self._trouble:
                log.error("what was learned of routing cannot be written, trying again: %s", error)
            self._trouble = str(error)
        else:
            self._trouble = ""

    async def close(self) -> None:
        """Write what is not written."""
        await self.save()


def _keep(table: OrderedDict[Any, Any], key: Any, value: Any, most: int) -> None:
    table[key] = value
    table.move_to_end(key)
    if len(table) > most:
        table.popitem(last=False)
