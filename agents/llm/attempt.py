"""One ask's bookkeeping: its permits, its deadline, its way through the backends, and one CallRecord for every call.

Called by pool.py for chat, stream and embed alike. It does no I/O but to ask for permits.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from agents.calls import CallCost, CallRecord, Permit, Usage
from agents.llm.chat import Backend, BackendSpec, ChatRequest, Chunk
from agents.llm.costs import capped, covers, prompt_tokens, worst_case
from agents.llm.retry import RetryPolicy, next_delay_s, share_s
from agents.llm.wire import CHARS_PER_TOKEN, estimate_usage, is_config_fault, message_chars
from agents.records import AgentError, BackendRejected, DeadlineExceeded, RateLimited, Refused
from agents.toolbox import Admission

EPSILON_S = 0.005
"""A deadline that is this near is over: a timer may fire a little early."""

MIN_BLAME_S = 10.0
"""A call that our own deadline ended sooner than this says nothing about the backend."""

MAX_DETAIL_CHARS = 300


class Route:
    """The way of one ask through its backends. ``number`` counts the calls of the ask, from 1."""

    __slots__ = ("_blame", "_here", "_place", "_policy", "_rng", "_specs", "number")

    def __init__(self, specs: Sequence[BackendSpec], policy: RetryPolicy, rng: random.Random) -> None:
        self._specs = specs
        self._policy = policy
        self._rng = rng
        self._place = 0
        self._here = 0
        self._blame: AgentError | None = None
        self.number = 0

    @property
    def spec(self) -> BackendSpec:
        return self._specs[self._place]

    @property
    def others(self) -> int:
        """Backends that could be asked after this one."""
        return len(self._specs) - self._place - 1

    @property
    def blame(self) -> AgentError:
        """The error to raise when nothing is left: the last that a backend gave, else the refusal that ends soonest."""
        return self._blame or Refused("no backend may be asked")

    def called(self) -> int:
        """Note that the current backend is being called; the number of this call."""
        self._here += 1
        self.number += 1
        return self.number

    def refused(self, error: AgentError) -> bool:
        """The desk gave no permit, or no budget allows the call. Move on; False when no backend is left."""
        blame = self._blame
        soon = error.retry_after_s if error.retry_after_s is not None else float("inf")
        if blame is None or (
            isinstance(blame, Refused) and blame.status is None and soon < (blame.retry_after_s or float("inf"))
        ):
            self._blame = error
        return self._next()

    def after(self, error: AgentError, remaining_s: float, *, used_up: bool = False) -> float | None:
        """A call failed. Seconds to wait before calling ``spec`` (perhaps another by then), or None: give up.

        ``used_up``: it took its whole share of the time, and what is left is for the others.
        """
        self._blame = error
        if used_up and self._next():
            return 0.0
        if isinstance(error, BackendRejected):
            return 0.0 if is_config_fault(error) and self._next() else None
        delay = next_delay_s(self._policy, self._here, error.retry_after_s, self._rng)
        if delay is not None and delay < remaining_s:
            return delay
        return 0.0 if self._next() else None

    def after_break(self, error: AgentError, *, pick_up: bool, remaining_s: float) -> float | None:
        """As ``after``, for a stream that broke after its first token.

        ``pick_up``: the backend that broke can continue its own text, so it is asked first; otherwise the next one is, and
        the same one again only where there is no other.
        """
        self._blame = error
        delay = next_delay_s(self._policy, self._here, error.retry_after_s, self._rng)
        stay = delay is not None and delay < remaining_s and not isinstance(error, BackendRejected)
        if pick_up and stay:
            return delay
        if self._place + 1 < len(self._specs):
            self._next()
            return 0.0
        return delay if stay else None

    def _next(self) -> bool:
        if self._place + 1 >= len(self._specs):
            return False
        self._place += 1
        self._here = 0
        return True


class Call:
    """One call in flight. Exactly one of its endings counts; later ones do nothing."""

    __slots__ = (
        "_chars",
        "_done",
        "_first_token_s",
        "_granted_s",
        "_model",
        "_number",
        "_permit",
        "_request",
        "_run",
        "_share_s",
        "_started",
        "_started_at",
        "_streamed",
        "_usage",
        "spec",
        "used_up",
    )

    def __init__(
        self,
        run: Run,
        spec: BackendSpec,
        permit: Permit,
        number: int,
        request: ChatRequest | None,
        streamed: bool,
        others: int = 0,
    ) -> None:
        self.spec = spec
        self._run = run
        self._permit = permit
        self._number = number
        granted = permit.granted
        self._request = request if request is None or granted is None else capped(request, granted)
        self._streamed = streamed
        self._started = run.clock()
        self._started_at = run.wall()
        self._granted_s = min(run.remaining_s(), spec.total_timeout_s)
        self._share_s = share_s(run.remaining_s(), others=others, connect_timeout_s=spec.connect_timeout_s)
        self.used_up = False
        self._first_token_s: float | None = None
        self._chars = 0
        self._model = spec.model
        self._usage: Usage | None = None
        self._done = False

    @property
    def backend(self) -> Backend:
        """The client to ask: the one that the ask began with, whatever the configuration says by now."""
        return self._run.backends[self.spec.name]

    @property
    def timeout_s(self) -> float:
        """How long this call may take; a stream so long only until its first piece (``first_s``)."""
        return self._granted_s if self._streamed else min(self._granted_s, self._share_s)

    @property
    def first_s(self) -> float | None:
        """How long a stream may take to begin; None: there is no other limit than ``timeout_s``."""
        return self._share_s if self._share_s < self._granted_s else None

    def of(self, request: ChatRequest) -> ChatRequest:
        """``request`` (or what continues it) as this call may ask it: its answer capped at what was reserved."""
        granted = self._permit.granted
        if granted is None or self._request is None:
            return request
        if len(request.messages) > len(self._request.messages):
            over = max(0, prompt_tokens(request) - granted.prompt_tokens)
            granted = replace(granted, completion_tokens=max(1, granted.completion_tokens - over))
        return capped(request, granted)

    def saw(self, chunk: Chunk) -> None:
        """Note one streamed chunk."""
        if chunk.usage is not None:
            self._usage = chunk.usage
        if chunk.model:
            self._model = chunk.model
        chars = message_chars(chunk.delta) if chunk.delta is not None else len(chunk.text)
        if chars:
            self._chars += chars
            if self._first_token_s is None:
                self._first_token_s = self._run.clock() - self._started

    def ended(self, usage: Usage | None = None, model: str | None = None) -> None:
        """It delivered."""
        self._settle(None, "", usage=usage, model=model)

    def failed(self, error: AgentError) -> None:
        """It did not deliver. A timeout that was only our own short deadline is not held against the backend."""
        code = error.code
        took_s = self._run.clock() - self._started
        self.used_up = code == "backend_timeout" and self._first_token_s is None and took_s >= self._share_s - EPSILON_S
        if code == "backend_timeout" and (self._run.is_over() or self.used_up):
            granted_s = min(self._granted_s, self._share_s)
            fair = granted_s >= min(self.spec.read_timeout_s, MIN_BLAME_S) and self._first_token_s is None
            code = code if fair else "deadline_exceeded"
        self._settle(code, error.message, retry_after_s=error.retry_after_s if isinstance(error, RateLimited) else None)

    def stopped(self, *, cancelled: bool = True) -> None:
        """It was cancelled, or a defect of ours ended it. A stream whose usage had come was complete all the same."""
        if self._usage is not None:
            self._settle(None, "")
        else:
            self._settle("cancelled" if cancelled else "internal_error", "")

    def _settle(
        self,
        error: str | None,
        detail: str,
        *,
        usage: Usage | None = None,
        model: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        if self._done:
            return
        self._done = True
        run, spec = self._run, self.spec
        usage = usage or self._usage or self._spent()
        record = CallRecord(
            backend=spec.name,
            model=model or self._model,
            started_at=self._started_at,
            latency_s=max(run.clock() - self._started, 0.0),
            first_token_s=self._first_token_s,
            usage=usage,
            cost_usd=spec.cost_usd(usage),
            attempt=self._number,
            error=error,
            detail=detail[:MAX_DETAIL_CHARS],
            simulated=spec.simulated,
            streamed=self._streamed,
            retry_after_s=retry_after_s,
        )
        run.admission.release(self._permit, record)
        run.on_call(record)

    def _spent(self) -> Usage:
        """What a call without a usage is taken to have cost: nothing, unless tokens came."""
        if not self._chars:
            return Usage()
        if self._request is None:
            return Usage(completion_tokens=-(-self._chars // CHARS_PER_TOKEN), estimated=True)
        return estimate_usage(self._request, self._chars)


class Run:
    """One ask: its deadline, the permits that came with it, and (while a budget is in force) what its calls are reserved by."""

    __slots__ = (
        "_assumed_tokens",
        "_deadline",
        "_holder",
        "_permits",
        "admission",
        "backends",
        "clock",
        "cost",
        "on_call",
        "wall",
    )

    def __init__(
        self,
        admission: Admission,
        backends: Mapping[str, Backend],
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
        holder: str,
        deadline_s: float,
        permits: Sequence[Permit],
        on_call: Callable[[CallRecord], None],
        assumed_tokens: int | None = None,
    ) -> None:
        self._assumed_tokens = assumed_tokens
        self.cost: CallCost | None = None
        """What a call takes that is no chat."""
        self.admission = admission
        self.backends = backends
        self.clock = clock
        self.wall = wall
        self.on_call = on_call
        self._holder = holder
        self._deadline = clock() + deadline_s
        self._permits = list(permits)

    def remaining_s(self) -> float:
        return max(self._deadline - self.clock(), 0.0)

    def is_over(self) -> bool:
        return self.remaining_s() <= EPSILON_S

    async def permit(self, spec: BackendSpec, request: ChatRequest | None) -> Permit:
        """A permit that came with the ask, or a lease. Raises Refused, NotFound, BudgetExceeded, DeadlineExceeded."""
        if self.is_over():
            raise DeadlineExceeded("the time for this request is over", backend=spec.name)
        cost = self.cost
        if self._assumed_tokens is not None and request is not None:
            cost = worst_case(spec, request, assumed_tokens=self._assumed_tokens)
        for permit in self._permits:
            if permit.backend == spec.name:
                self._permits.remove(permit)
                if cost is None or covers(permit.granted, cost):
                    return permit
                # Too little was reserved ahead. It goes back first, or this call would wait for its own money.
                self.admission.release(permit, None)
                break
        wait_s = min(self.remaining_s(), spec.queue_timeout_s)
        if cost is None:
            return await self.admission.lease(spec.name, holder=self._holder, wait_s=wait_s)
        return await self.admission.lease(spec.name, holder=self._holder, wait_s=wait_s, cost=cost)

    def give_back(self) -> None:
        """Return the permits that were not used."""
        while self._permits:
            self.admission.release(self._permits.pop(), None)
