"""The port through which a node, and the strategies that it runs, reach all that they do not own.

``Toolbox`` is what a strategy sees, bound to one task. ``Hub`` is what a node sees of the daemon; it is served from runtime/
(in process by LocalCluster, through a mailbox actor by the Ray cluster). Declared here, implemented above.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from agents.calls import CallCost, CallRecord, Permit
from agents.committee.records import Convened, Design, PeerAnswer
from agents.llm.chat import BackendSpec, ChatReply, ChatRequest
from agents.programs import CodeFound
from agents.records import Choice, EventKind, Json
from agents.strategy_specs import Seat
from sandbox.records import Limits, RunResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Structured:
    """A structured answer that passed its schema. ``repaired`` when a second round was needed."""

    data: Json
    reply: ChatReply
    repaired: bool = False


class Toolbox(Protocol):
    """What a strategy may do. Every ask is bounded by the task's budget and noted in its trace."""

    @property
    def backends(self) -> Sequence[BackendSpec]:
        """The enabled backends, cheapest first."""
        ...

    @property
    def max_items_per_call(self) -> int:
        """How many items of an array one reply is asked for at most."""
        ...

    @property
    def max_parallel(self) -> int:
        """How many asks of one task may run at once."""
        ...

    @property
    def delivered(self) -> bool:
        """Whether the client has seen a part of the answer already; what it saw cannot be taken back."""
        ...

    def remaining_s(self) -> float:
        """Seconds until the task's deadline; never negative."""
        ...

    def remaining_usd(self) -> float | None:
        """What is left of the money reserved; never negative; None: there is no limit."""
        ...

    def remaining_tokens(self) -> int | None:
        """What is left of the tokens reserved; never negative; None: there is no limit."""
        ...

    async def ask(self, request: ChatRequest, choice: Choice, *, visible: bool = False) -> ChatReply:
        """Ask one model. ``visible`` streams the tokens to the client when the task is a streaming one."""
        ...

    async def ask_structured(self, request: ChatRequest, choice: Choice) -> Structured:
        """Ask for JSON of ``request.schema`` (required), with one repair round. Raises StructuredFailed."""
        ...

    @property
    def code_limits(self) -> Limits:
        """What one run of code may use, as configured."""
        ...

    async def run_code(self, code: str, inputs: Json, limits: Limits | None = None) -> RunResult:
        """Run ``run(inputs)`` of ``code`` in the sandbox, within the task's time. Whatever the code does, a RunResult comes."""
        ...

    async def search_code(self, problem: str) -> CodeFound:
        """What the registry offers for a problem in words. Never raises: without a registry, or in time, there is nothing."""
        ...

    async def ask_peer(
        self, peer: str, question: str, *, instructions: str = "", max_tokens: int | None = None, within_s: float | None = None
    ) -> PeerAnswer:
        """Ask another node by name, within the task's time and budget. ``instructions`` say as what it is asked. Raises what the
        hub and the peer raise."""
        ...

    async def pooled_design(self, problem: str) -> Design | None:
        """The design of a committee that did well at a problem like this one. Never raises."""
        ...

    async def convene(self, problem: str, seats: Sequence[Seat]) -> Convened:
        """Nodes for the seats of a committee, where any are at hand. Never raises: where there are none, all are roles."""
        ...

    async def dissolve(self, committee: Convened, *, design: Design, problem: str, passed: bool) -> None:
        """Give the committee's nodes back; ``passed``: its design did well. Never raises. Idempotent."""
        ...

    def note(self, kind: EventKind, **data: Json) -> None:
        """Put something into the trace."""
        ...


class Admission(Protocol):
    """Who may call which backend now. The daemon's desk implements it; nodes reach it through the hub."""

    async def lease(self, backend: str, *, holder: str, wait_s: float, cost: CallCost | None = None) -> Permit:
        """Wait for a permit. ``holder`` is the task's id; ``cost`` is reserved on its budgets (None: no budget is in force).

        Raises Overloaded, RateLimited, BreakerOpen, NotFound or BudgetExceeded.
        """
        ...

    def release(self, permit: Permit, record: CallRecord | None) -> None:
        """Give a permit back with what came of the call (None: it was not used)."""
        ...


class Hub(Admission, Protocol):
    """All that a node reaches in the daemon."""

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Embeddings ``(n, d)``, unit length."""
        ...

    async def search_code(self, problem: str, *, node: str, locale: str, task_id: str) -> CodeFound:
        """Code of the registry for a problem in words, as ``node`` may see it. Nothing while the registry is closed."""
        ...

    async def ask_peer(
        self,
        peer: str,
        question: str,
        *,
        task_id: str,
        hops: int,
        deadline_s: float,
        instructions: str = "",
        max_tokens: int | None = None,
    ) -> PeerAnswer:
        """Ask another node by name; hops and deadline are bounded by the daemon. Raises NotFound, InvalidRequest."""
        ...

    async def pooled_design(self, problem: str, *, task_id: str) -> Design | None:
        """See ``Toolbox.pooled_design``."""
        ...

    async def convene(self, problem: str, seats: Sequence[Seat], *, task_id: str, hops: int, locale: str) -> Convened:
        """Nodes for the seats of a committee of this task; what the host allows, and never more. The daemon gives them back by
        itself when the task's request has ended."""
        ...

    async def dissolve(self, committee_id: str, *, task_id: str, design: Design, problem: str, passed: bool) -> None:
        """The committee has ended. Idempotent."""
        ...

    async def announce(self, topic: str, body: Mapping[str, Json], *, task_id: str) -> None:
        """Tell the other nodes something; it lands on the event stream."""
        ...
