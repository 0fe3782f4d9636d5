"""The pool of backends: who is asked, again or instead, until there is one whole answer or a clear error.

Called by nodes through their toolbox and by the daemon for explicit backends. Selection is selection.py's, the bookkeeping
attempt.py's, permits the desk's. Whatever happens, cancellation included, every permit comes back and every call is recorded.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from agents.calls import CallRecord, Health, Permit, Usage
from agents.llm import selection
from agents.llm.attempt import Call, Route, Run
from agents.llm.chat import Backend, BackendSpec, ChatReply, ChatRequest, Chunk
from agents.llm.chunks import Closing, first_of
from agents.llm.costs import embed_cost
from agents.llm.relay import CannotJoin, Joiner, Mode, Told, continuation
from agents.llm.retry import RetryPolicy
from agents.llm.shelf import Shelf, Shelves
from agents.llm.wire import estimate_usage
from agents.records import AgentError, BudgetExceeded, Choice, DeadlineExceeded, NotFound, Refused, StreamBroken
from agents.toolbox import Admission

GRACE_S = 0.5
"""How much longer than the deadline a call may take to end by itself, before it is cancelled from outside."""

T = TypeVar("T")
OnCall = Callable[[CallRecord], None]


class Pool:
    """All backends of this process behind one port."""

    def __init__(
        self,
        backends: Sequence[Backend],
        *,
        admission: Admission,
        retry: RetryPolicy | None = None,
        fallback: Sequence[str] = (),
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        rng: random.Random | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._shelves = Shelves(Shelf(backends, retry or RetryPolicy(), fallback))
        self._admission = admission
        self._clock = clock
        self._wall = wall
        self._rng = rng or random.Random()
        self._sleep = sleep

    @property
    def specs(self) -> tuple[BackendSpec, ...]:
        """The backends that new asks may use, cheapest first."""
        return self._shelves.now.specs

    @property
    def has_leaving(self) -> bool:
        """Do asks still run that began before the last ``renew``?"""
        return self._shelves.has_retired

    def find(self, name: str) -> BackendSpec | None:
        """The backend of that name or alias."""
        return selection.find(self.specs, name)

    def renew(
        self,
        specs: Sequence[BackendSpec],
        *,
        make: Callable[[BackendSpec], Backend],
        retry: RetryPolicy,
        fallback: Sequence[str] = (),
    ) -> None:
        """New asks use these; running ones end with what they began with, and then what nobody needs any more is closed.

        ``make`` builds the client of a spec that is new or changed.
        """
        self._shelves.renew(specs, make, retry, fallback)

    def candidates(self, choice: Choice, health: Mapping[str, Health]) -> list[BackendSpec]:
        """Backends to ask, the first one first (selection.order). Raises NotFound."""
        return self._ordered(self._shelves.now, choice, health)

    def _ordered(self, shelf: Shelf, choice: Choice, health: Mapping[str, Health]) -> list[BackendSpec]:
        ordered = choice.backend is not None or choice.preferred or shelf.configured
        fallback = shelf.fallback if ordered else ()
        return selection.order(shelf.specs, choice, health, fallback=fallback, rng=self._rng)

    async def chat(
        self,
        request: ChatRequest,
        choice: Choice,
        *,
        deadline_s: float,
        holder: str,
        permits: Sequence[Permit] = (),
        health: Mapping[str, Health] | None = None,
        on_call: OnCall,
        assumed_tokens: int | None = None,
    ) -> ChatReply:
        """One whole answer. Retries one backend, then falls back to the next; all within ``deadline_s``.

        Raises NotFound, Refused, BackendError, BudgetExceeded, DeadlineExceeded. ``permits`` that were not used are given back.
        ``assumed_tokens`` (``records.Budget``): a budget is in force, and every call reserves its worst case first.
        """

        async def ask(backend: Backend, call: Call) -> ChatReply:
            reply = await backend.chat(call.of(request), timeout_s=call.timeout_s)
            call.ended(reply.usage, reply.model)
            return reply

        with self._shelves.use() as shelf:
            run = self._run(shelf, holder, deadline_s, permits, on_call, assumed_tokens)
            try:
                route = self._route(shelf, choice, health, permits)
                return await self._bounded(self._attempts(run, route, request, ask), deadline_s)
            finally:
                run.give_back()

    async def embed(
        self,
        backend: str,
        texts: Sequence[str],
        *,
        deadline_s: float,
        holder: str,
        on_call: OnCall,
        assumed_tokens: int | None = None,
    ) -> tuple[list[list[float]], Usage]:
        """Vectors ``(len(texts), d)`` of one backend, without fallback: other models have other spaces. Errors as ``chat``."""

        async def ask(chosen: Backend, call: Call) -> tuple[list[list[float]], Usage]:
            vectors, usage = await chosen.embed(texts, timeout_s=call.timeout_s)
            call.ended(usage)
            return vectors, usage

        with self._shelves.use() as shelf:
            run = self._run(shelf, holder, deadline_s, (), on_call)
            route = self._route(shelf, Choice(backend=backend, fallback=False), None, ())
            run.cost = embed_cost(texts) if assumed_tokens is not None else None
            return await self._bounded(self._attempts(run, route, None, ask), deadline_s)

    async def stream(
        self,
        request: ChatRequest,
        choice: Choice,
        *,
        deadline_s: float,
        holder: str,
        permits: Sequence[Permit] = (),
        health: Mapping[str, Health] | None = None,
        on_call: OnCall,
        may_restart: bool = True,
        assumed_tokens: int | None = None,
    ) -> AsyncGenerator[Chunk, None]:
        """One whole answer piece by piece; the last chunk has the usage of all calls that it was made of.

        Until the first token it behaves as ``chat``. A stream that breaks later is continued by a backend that can, else a
        fresh answer is asked for: where it begins with what went out, the rest follows; else ``Chunk(restart=True)`` and all of
        it, or StreamBroken where ``may_restart`` is False. Iterate it at once, and close it (aclose) to cancel the call.
        """
        with self._shelves.use() as shelf:
            run = self._run(shelf, holder, deadline_s, permits, on_call, assumed_tokens)
            try:
                route = self._route(shelf, choice, health, permits)
                async with Closing(self._joined(run, route, request, may_restart)) as chunks:
                    async for chunk in chunks:
                        yield chunk
            finally:
                run.give_back()

    async def aclose(self) -> None:
        """Close every backend's connections."""
        await self._shelves.aclose()

    # ── whole answers ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def _attempts(
        self, run: Run, route: Route, request: ChatRequest | None, ask: Callable[[Backend, Call], Awaitable[T]]
    ) -> T:
        while True:
            call = await self._begin(run, route, request, streamed=False)
            try:
                return await ask(call.backend, call)
            except AgentError as error:
                call.failed(error)
                failure = error
            except BaseException as error:
                call.stopped(cancelled=isinstance(error, asyncio.CancelledError))
                raise
            self._check_time(run, failure)
            delay = route.after(failure, run.remaining_s(), used_up=call.used_up)
            if delay is None:
                raise route.blame
            if delay > 0:
                await self._sleep(delay)

    async def _begin(self, run: Run, route: Route, request: ChatRequest | None, *, streamed: bool) -> Call:
        """A call to the route's backend, or to the next that may be asked."""
        while True:
            spec = route.spec
            try:
                permit = await run.permit(spec, request)
            except (Refused, NotFound, BudgetExceeded) as error:
                if not route.refused(error):
                    raise route.blame from None
                continue
            return Call(run, spec, permit, route.called(), request, streamed, route.others)

    async def _bounded(self, work: Awaitable[T], deadline_s: float) -> T:
        """The backstop behind every layer's own timeouts."""
        try:
            async with asyncio.timeout(deadline_s + GRACE_S):
                return await work
        except TimeoutError:
            raise DeadlineExceeded("the time for this request is over") from None

    def _check_time(self, run: Run, failure: AgentError) -> None:
        if run.is_over():
            raise DeadlineExceeded(f"the time for this request is over ({failure.message})") from failure

    # ── streams ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _joined(self, run: Run, route: Route, request: ChatRequest, may_restart: bool) -> AsyncIterator[Chunk]:
        told, spent, broken = Told(), Usage(), None
        while True:
            try:
                call = await self._begin(run, route, request, streamed=True)
            except (Refused, BudgetExceeded):
                if broken is not None:
                    raise broken from None
                raise
            mode, ask = _plan(told, call.spec, request)
            if mode == "first":
                told.model = call.spec.model
            joiner = Joiner(told, mode, may_restart=may_restart)
            said_before = len(told.text)
            before = spent if mode == "continue" else Usage()
            try:
                async with Closing(self._one(call, call.of(ask))) as chunks:
                    async for chunk in chunks:
                        for out in joiner.feed(chunk):
                            if out.restart:
                                said_before, told.model = 0, call.spec.model
                            if told.note(out):
                                yield out if out.usage is None else Chunk(usage=before + out.usage)
                return
            except AgentError as error:
                failure = error
            except CannotJoin:
                raise broken or StreamBroken("the stream broke and cannot begin again", backend=call.spec.name) from None
            if told.finished and request.params.get("n", 1) in (1, None):
                yield Chunk(usage=before + estimate_usage(ask, len(told.text) - said_before))
                return
            self._check_time(run, failure)
            if told.begun:
                if len(told.text) > said_before:
                    spent = before + estimate_usage(ask, len(told.text) - said_before)
                broken = failure
                pick_up = _picks_up(told, call.spec, request)
                delay = route.after_break(failure, pick_up=pick_up, remaining_s=run.remaining_s())
            else:
                delay = route.after(failure, run.remaining_s(), used_up=call.used_up)
            if delay is None:
                raise route.blame
            if delay > 0:
                await self._sleep(delay)

    async def _one(self, call: Call, request: ChatRequest) -> AsyncIterator[Chunk]:
        """One backend's stream, recorded."""
        try:
            async with Closing(call.backend.stream(request, timeout_s=call.timeout_s)) as chunks:
                if call.first_s is not None and (first := await first_of(chunks, call.spec, call.first_s)) is not None:
                    call.saw(first)
                    yield first
                async for chunk in chunks:
                    call.saw(chunk)
                    yield chunk
            call.ended()
        except AgentError as error:
            call.failed(error)
            raise
        except BaseException as error:
            call.stopped(cancelled=isinstance(error, asyncio.CancelledError | GeneratorExit))
            raise

    # ── helpers ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _run(
        self,
        shelf: Shelf,
        holder: str,
        deadline_s: float,
        permits: Sequence[Permit],
        on_call: OnCall,
        assumed_tokens: int | None = None,
    ) -> Run:
        return Run(
            self._admission,
            shelf.backends,
            clock=self._clock,
            wall=self._wall,
            holder=holder,
            deadline_s=deadline_s,
            permits=permits,
            on_call=on_call,
            assumed_tokens=assumed_tokens,
        )

    def _route(self, shelf: Shelf, choice: Choice, health: Mapping[str, Health] | None, permits: Sequence[Permit]) -> Route:
        """The candidates; where no backend is named, one that a permit is at hand for comes first: the daemon chose it."""
        specs = self._ordered(shelf, choice, health or {})
        if permits and choice.backend is None:
            held = {permit.backend for permit in permits}
            if not choice.fallback:
                specs = [spec for spec in shelf.specs if spec.name in held][:1] or specs
            specs = sorted(specs, key=lambda spec: spec.name not in held)
        return Route(specs, shelf.retry, self._rng)


def _picks_up(told: Told, spec: BackendSpec, request: ChatRequest) -> bool:
    """Whether ``spec`` may go on where the stream broke: only the model that began, or the answer would be spliced of two."""
    return spec.continues and spec.model == told.model and told.can_continue(request)


def _plan(told: Told, spec: BackendSpec, request: ChatRequest) -> tuple[Mode, ChatRequest]:
    """How the next stream relates to what went out, and what is asked."""
    if not told.begun:
        return "first", request
    if _picks_up(told, spec, request):
        return "continue", continuation(request, told.text)
    return "compare", request
