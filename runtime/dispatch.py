"""One request, end to end: who answers, with what budget, what came of it.

Called by the surfaces through service.py. The daemon chooses here itself; a request makes at most one hop to a node before a
model is asked, and none where the client named a backend. Only this module writes outcomes.

The ledger's row of a synchronous request is written in a group with others, and its answer does not wait for that: what the
client was promised is the answer. A kill of the daemon can therefore cost the last few milliseconds of traces.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing

from agents.calls import CallRecord, cost_usd_of
from agents.llm.desk import Desk
from agents.llm.pool import Pool
from agents.records import (
    AgentError,
    Cancelled,
    DeadlineExceeded,
    Draft,
    Draining,
    Escalated,
    Event,
    Incomplete,
    NodeLost,
    Overloaded,
    Reply,
    StreamBroken,
    TaskId,
)
from agents.strategies.runner import to_text
from agents.strategy_specs import StrategySpec
from runtime.accounts import Limits
from runtime.admission import Cashier
from runtime.choosing import busy_s, choice_of, choose_node, goes_straight, strategy_ahead, taking_node
from runtime.cluster import Cluster
from runtime.config.settings import Settings
from runtime.ended import tell_end
from runtime.escalations import Escalations
from runtime.events import EventBoard
from runtime.jobs import wire
from runtime.judging import judged
from runtime.learner.desk import Router
from runtime.ledger.batch import look_away
from runtime.ledger.rows import Took
from runtime.ledger.store import Ledger
from runtime.messages import Message, in_trace, on_board
from runtime.metrics import Metrics
from runtime.open_request import OpenRequest, Running, SeenBefore, Spent, bounded, looked, never
from runtime.records import Answer, Request
from runtime.straight import straight
from runtime.tasks import Tasks

FIRST_PAUSE_S = 0.02


class Dispatch:
    """Runs requests. ``run`` and ``stream`` raise AgentError; whatever happens, one outcome is written for each request."""

    def __init__(
        self,
        *,
        settings: Settings,
        pool: Pool,
        desk: Desk,
        cluster: Cluster,
        ledger: Ledger,
        metrics: Metrics,
        cashier: Cashier | None = None,
        escalations: Escalations | None = None,
        seen_before: SeenBefore = never,
        learn: Callable[[OpenRequest, Answer | None], None] = lambda run, answer: None,
        router: Router | None = None,
        board: EventBoard | None = None,
        specialist: Callable[[OpenRequest], Awaitable[None]] | None = None,
        clock: Callable[[], float] = time.perf_counter,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._cashier = cashier or Cashier(desk)
        self._settings = settings
        self._escalations = escalations
        self._seen_before = seen_before
        self._learn = learn
        self._router, self._specialist, self._board = router, specialist, board
        self._pool = pool
        self._cluster = cluster
        self._ledger = ledger
        self._metrics = metrics
        self._clock = clock
        self._wall = wall
        self.running = Running()
        self._tasks = Tasks(settings=settings, pool=pool, desk=desk, cashier=self._cashier)
        self._boot = secrets.token_hex(4)
        self._draining = False

    @property
    def settings(self) -> Settings:
        """Those that hold now."""
        return self._settings

    def renew(self, settings: Settings) -> None:
        """Requests that come from now on go by ``settings``; so do the next attempts of running ones."""
        self._settings = settings
        self._tasks.renew(settings)

    async def run(self, request: Request, spent: Spent | None = None) -> Answer:
        """One request to its end; see ``stream``."""
        async with aclosing(self.stream(request, spent)) as items:
            async for item in items:
                if isinstance(item, Answer):
                    return item
        raise AgentError("the request ended without an answer")

    def strategy_ahead(self, request: Request) -> StrategySpec | None:
        """What ``request`` will run by as far as it says so itself (choosing.py)."""
        named = self.settings.strategies
        return strategy_ahead(request, backends=self._pool.specs, strategies=named, nodes=self._cluster.nodes())

    async def stream(self, request: Request, spent: Spent | None = None) -> AsyncGenerator[Event | Answer, None]:
        """Deltas as they come, the Answer last. Closing the iterator cancels the work.

        With ``spent`` it is a part of a job: no outcome is written, and what it took is laid into ``spent`` for the caller.
        """
        run = self._open(request, spent)
        try:
            if (draft := await self._seen_before(run)) is not None:
                given = await self._answer(run, draft, ())
                self._close(run, answer=given)
                yield given
                return
            items = self._straight(run) if goes_straight(request) else self._through_node(run)
            async with aclosing(items):
                async for item in items:
                    if isinstance(item, Answer):
                        self._close(run, answer=item)
                    yield item
        except AgentError as error:
            if isinstance(error, Escalated) and self._escalations is not None:
                await self._escalations.open(request.request_id, wire.encode(request), error)
            if (answer := await self._partial(run, error)) is None:
                self._close(run, error=error)
                raise
            self._close(run, answer=answer)
            yield answer
        except (asyncio.CancelledError, GeneratorExit):
            self._close(run, error=Cancelled("the client hung up"))
            raise
        finally:
            if not run.closed:
                self._close(run, error=AgentError("the daemon failed at this request"))
            self.running.ended(run.number)

    async def drain(self, timeout_s: float) -> bool:
        """Refuse new requests and wait for the running ones. False when some were left after ``timeout_s``."""
        self._draining = True
        return await self.running.all_ended(timeout_s)

    # ── opening and closing ─────────────────────────────────────────────────────────────────────────────────────────────

    def _open(self, request: Request, spent: Spent | None) -> OpenRequest:
        if self._draining:
            raise Draining("the daemon is shutting down", retry_after_s=5.0)
        if len(self.running) >= self._settings.server.max_inflight:
            raise Overloaded(f"{len(self.running)} requests are running (server.max_inflight)", retry_after_s=1.0)
        limits = self._settings.requests
        deadline_s = min(request.deadline_s or limits.default_deadline_s, limits.max_deadline_s)
        number = self.running.began()
        work_id = f"{request.request_id}/{self._boot}.{number}"
        own = Limits(usd=request.budget_usd, tokens=request.budget_tokens)
        self._cashier.open(work_id, key_id=request.key_id, limits=own)
        foreseen = self._tasks.foreseen(work_id, request)
        if spent is None:
            self._ledger.accept(request, at=self._wall(), **foreseen).add_done_callback(look_away)
        elif foreseen:
            self._cashier.foresee(work_id)
        return OpenRequest(
            request=request, started=self._clock(), deadline_s=deadline_s, number=number, work_id=work_id, spent=spent
        )

    async def _partial(self, run: OpenRequest, error: AgentError) -> Answer | None:
        """What came, for a client that takes it as well; None where nothing did."""
        if not (run.request.accept_partial and isinstance(error, Incomplete) and error.partial):
            return None
        if isinstance(error.partial, str) and run.request.schema is None:
            draft = Draft(text=error.partial, issues=(error.message,), complete=False)
        else:
            draft = Draft(text=to_text(error.partial), data=error.partial, issues=(error.message,), complete=False)
        return await self._answer(run, draft, tuple(dict.fromkeys((*run.calls, *error.calls))))

    def _close(self, run: OpenRequest, *, answer: Answer | None = None, error: AgentError | None = None) -> None:
        """Write the one outcome."""
        if run.closed:
            return
        run.closed = True
        calls = answer.calls if answer is not None else (*run.calls, *run.peer_calls)
        if error is not None:
            calls = tuple(dict.fromkeys((*calls, *error.calls)))
            error.calls = calls
        self._cashier.close(run.work_id, calls)
        latency_s = self._clock() - run.started
        overhead_s = max(0.0, latency_s - busy_s(calls))
        self._metrics.calls_finished(calls)
        self._learn(run, answer)
        if self._router is not None:
            self._router.ended(run, answer=answer, error=error, calls=calls, latency_s=latency_s)
        if run.spent is not None:
            run.spent.calls, run.spent.events = tuple(calls), tuple(run.events)
            return
        self._ledger.finish(
            run.request.request_id,
            answer=answer,
            error=error,
            calls=calls,
            events=run.events,
            at=self._wall(),
            latency_s=latency_s,
            overhead_s=overhead_s,
            took=Took(node=run.node, strategy=run.strategy if run.node else None),
        )
        tell_end(
            run.request,
            answer=answer,
            error=error,
            metrics=self._metrics,
            board=self._board,
            node=run.node,
            strategy=run.strategy,
            latency_s=latency_s,
            overhead_s=overhead_s,
            cost_usd=cost_usd_of(calls),
            simulated=any(call.simulated for call in calls) or (answer is not None and answer.simulated),
        )

    def _left_s(self, run: OpenRequest) -> float:
        return run.deadline_s - (self._clock() - run.started)

    async def _answer(self, run: OpenRequest, draft: Draft, calls: Sequence[CallRecord]) -> Answer:
        answer = Answer(
            request_id=run.request.request_id,
            draft=draft,
            calls=(*calls, *run.peer_calls),
            node=run.node,
            strategy=run.strategy,
            attempts=run.attempts,
            latency_s=self._clock() - run.started,
            library=looked(run, draft),
        )
        return await judged(run.request, answer)

    # ── straight to a backend ───────────────────────────────────────────────────────────────────────────────────────────

    async def _straight(self, run: OpenRequest) -> AsyncGenerator[Event | Answer, None]:
        asked = straight(
            run,
            self._pool,
            choice_of(run.request, may_replace_named=bool(self._settings.requests.fallback)),
            assumed_tokens=self._cashier.assumed_tokens(run.work_id),
            left_s=lambda: self._left_s(run),
            wall=self._wall,
        )
        async with aclosing(asked):
            async for item in asked:
                yield await self._answer(run, item, run.calls) if isinstance(item, Draft) else item

    # ── through a node ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def _through_node(self, run: OpenRequest) -> AsyncGenerator[Event | Answer, None]:
        """Hand the request to a node; when that dies under it or is put away, to a living one, within the deadline."""
        most = self._settings.cluster.node_attempts
        sent = False
        while True:
            if self._specialist is not None and (run.attempts == 1 or run.request.target.kind == "node"):
                await self._specialist(run)
            if self._router is not None and taking_node(run, self._cluster.nodes()) is None:
                await self._router.route(run)
            nodes = self._cluster.nodes()
            node = taking_node(run, nodes) or choose_node(run.request, nodes, run.route.nodes if run.route else ())
            task = self._tasks.make(run, node, left_s=self._left_s(run))
            before = len(run.calls)
            self.running.by_task[task.task_id] = run
            try:
                async with aclosing(bounded(run, self._cluster.ask(node.spec.node_id, task), lambda: self._left_s(run))) as items:
                    async for item in items:
                        if isinstance(item, Reply):
                            # The reply has all calls of this attempt; those of nodes that died were spent as well.
                            run.calls[before:] = item.calls
                            run.strategy = item.strategy
                            self._cashier.release_all(task.task_id, item.calls)
                            yield await self._answer(run, item.draft, run.calls)
                            return
                        run.note(item)
                        if item.kind == "call":
                            run.calls.append(item.data["record"])
                        elif item.kind == "run":
                            self._metrics.code_ran(item.data["outcome"], item.data["wall_s"])
                        elif item.kind == "delta":
                            sent = True
                            yield item
                        elif run.request.tell:
                            yield item
                raise NodeLost("the node ended without an answer")
            except (NodeLost, Draining) as lost:
                self._cashier.release_all(task.task_id)
                if isinstance(lost, NodeLost):
                    self._metrics.node_lost()
                run.calls = list(dict.fromkeys((*run.calls, *lost.calls)))
                said = {"node": node.spec.name, "attempt": run.attempts, "error": lost.code}
                run.note(Event(kind="node_lost", at=self._wall(), data=said))
                if sent:
                    raise StreamBroken("the node went in the middle of its answer", calls=tuple(run.calls)) from lost
                if run.attempts >= most:
                    raise
                await self._pause(run)
                run.attempts += 1
                self._metrics.redispatched()
            except AgentError as error:
                if not run.left_alone:
                    self._cashier.release_all(task.task_id, error.calls)
                raise
            finally:
                del self.running.by_task[task.task_id]
                self._cashier.release_later(task.task_id)

    def heard(self, message: Message) -> None:
        """A message between nodes: into the trace of its request. What an answer took is that request's own cost."""
        run = self.running.by_task.get(TaskId(message.task_id.partition("/peer")[0]))
        if run is None or run.closed:
            self._metrics.calls_finished(message.calls)
            return
        run.peer_calls += message.calls
        run.note(Event(kind="peer", at=self._wall(), data=in_trace(message, node=run.node)))
        if self._board is not None and message.kind != "announce":
            self._board.publish("peer", {"request": run.request.request_id, **on_board(message, node=run.node)})

    async def _pause(self, run: OpenRequest) -> None:
        """Give a warm actor the moment it needs to take over."""
        pause_s = FIRST_PAUSE_S * 4 ** (run.attempts - 1)
        if self._left_s(run) <= pause_s:
            raise DeadlineExceeded("the node died, and no time is left for another", calls=tuple(run.calls))
        await asyncio.sleep(pause_s)
