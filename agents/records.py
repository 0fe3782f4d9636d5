"""The words of the agents' room: what is asked, by whom it is worked on, what came of it, and the error tree.

Everything in agents/ and runtime/ speaks in these records. They are frozen and picklable: they travel between the daemon and
its nodes. The words of single calls stand in calls.py, those of quality in verdicts.py, and strategies as data in
strategy_specs.py: this module imports nothing else of the project.

The error tree (``AgentError`` is the root; every error carries ``code``, ``param`` and ``retry_after_s``)::

    AgentError
    ├── InvalidRequest            the request cannot be served as it stands (names the field)
    │   └── NotFound              an unknown backend, node, strategy or request
    ├── ExpressionFailed          a rule over fields that these values make impossible to work out (a division by zero …)
    ├── Refused                   not now; nothing was spent
    │   ├── Overloaded            a bounded queue is full
    │   ├── RateLimited           a rate limit of ours or of the backend
    │   ├── BreakerOpen           the backend is resting after failures
    │   └── Draining              the daemon or the node is shutting down
    ├── BackendError              a backend was asked and did not deliver
    │   ├── BackendUnreachable    no connection
    │   ├── BackendTimeout        connected, but too slow
    │   ├── BackendFailed         408/409/425/5xx
    │   ├── BackendRejected       a 4xx that another attempt would not change
    │   ├── BackendGarbled        an answer that is not the protocol (HTML, bad JSON, a lie about its length)
    │   └── StreamBroken          a stream ended before its end
    ├── StructuredFailed          no valid structured answer after the repair round
    ├── Escalated                 no machine's answer passed its checks; a person is asked
    ├── Incomplete                N items were asked and fewer came (carries the partial data)
    ├── DeadlineExceeded          the time reserved is over
    ├── BudgetExceeded            a budget (the request's, its key's, the day's) does not allow the call; nothing was spent on it
    ├── Cancelled                 the client hung up or cancelled
    └── NodeLost                  the node died and no attempt was left
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NewType

from agents.calls import CallRecord, Health, Permit, Usage, cost_usd_of, usage_of
from agents.programs import CodeUsed, Known
from agents.strategy_specs import Single, StrategySpec, Tier
from agents.verdicts import Constraint

NodeId = NewType("NodeId", str)
RequestId = NewType("RequestId", str)
TaskId = NewType("TaskId", str)

Json = Any
"""A JSON value: None, bool, int, float, str, list or dict of such."""

Role = Literal["generalist", "specialist", "reviewer", "advisor", "recovery"]
Capability = Literal["plan", "critique", "code", "words", "json_schema"]


# ── nodes, work and what comes of it ────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSpec:
    """What a node is. It lives in the ledger; a live node is this spec plus an actor."""

    node_id: NodeId
    name: str
    role: Role
    speciality: str | None = None
    locale: str = "root"
    prompt: str = ""
    backends: tuple[str, ...] = ()
    strategy: StrategySpec = field(default_factory=Single)
    max_concurrency: int = 32
    inbox_limit: int = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which backends may answer: the named one, else the preferred ones in order, else by tier, else by weight.

    ``fallback`` False means that only ``backend`` may be asked. ``needs`` are capabilities a backend must declare.
    """

    backend: str | None = None
    preferred: tuple[str, ...] = ()
    tier: Tier | None = None
    needs: frozenset[Capability] = frozenset()
    fallback: bool = True


Importance = Literal["low", "normal", "high", "critical"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the items of a piece of work stand in a longer list: from ``first`` on (counted from 0), of ``total``."""

    first: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is to be answered.

    ``messages`` are OpenAI chat messages; ``params`` are OpenAI's request parameters that go to the backend as they are
    (temperature, max_tokens, tools, stop, seed …); ``schema`` is the JSON Schema of the answer (None: free text);
    ``count`` asks for that many items in the schema's one array (None: as the schema says), ``place`` says of which longer list
    they are a part (None: they are the whole). ``quality`` is the score that the client wants (0 to 1; None: no wish). ``index``
    numbers it for "every tenth": which batch of a long list it is, else a number that follows from the request's id;
    ``first_item`` is the number of its first item in the whole list. Both count from 1. ``known`` are programs of like requests.
    """

    messages: tuple[Mapping[str, Json], ...]
    params: Mapping[str, Json] = field(default_factory=dict)
    schema: Mapping[str, Json] | None = None
    count: int | None = None
    place: Place | None = None
    rules: tuple[str, ...] = ()
    constraints: tuple[Constraint, ...] = ()
    quality: float | None = None
    importance: Importance = "normal"
    index: int = 1
    first_item: int = 1
    known: tuple[Known, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What the work may take. ``deadline_s`` counts from the moment that the task is handed over.

    ``assumed_tokens`` is set while any budget (the request's, its key's, the day's) is in force: then every call reserves the
    most that it may cost before it is made, with so many completion tokens where nothing caps them. None: nothing is reserved.
    """

    deadline_s: float
    usd: float | None = None
    tokens: int | None = None
    assumed_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One piece of work handed to one node."""

    task_id: TaskId
    request_id: RequestId
    work: Work
    strategy: StrategySpec | None = None
    choice: Choice = Choice()
    budget: Budget
    stream: bool = False
    permits: tuple[Permit, ...] = ()
    health: Mapping[str, Health] = field(default_factory=dict)
    attempt: int = 1
    hops: int = 0


EventKind = Literal[
    "delta", "call", "stage", "structured", "restart", "node_lost", "progress", "peer", "note", "code", "route", "run", "library",
    "committee", "pattern",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened while a request was worked on.

    ``delta`` carries ``{"text": …}`` or ``{"raw": OpenAI delta}``; ``call`` carries ``{"record": CallRecord}``; ``run`` carries
    ``{"outcome": "ok" or a sandbox Problem, "wall_s": seconds, …}``; ``restart`` says that everything streamed so far is void;
    the others are for the trace.
    """

    kind: EventKind
    at: float
    data: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What a strategy produced. ``issues`` are what is known to be wrong with it; ``complete`` False marks a partial one.

    ``backend`` gave it; empty where several did, or none is known. ``code`` worked its numbers out, where a program did.
    """

    text: str
    data: Json | None = None
    finish_reason: str = "stop"
    issues: tuple[str, ...] = ()
    complete: bool = True
    message: Mapping[str, Json] | None = None
    choices: tuple[Mapping[str, Json], ...] | None = None
    backend: str = ""
    code: CodeUsed | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A node's answer to a task: the last thing that ``Cluster.ask`` yields."""

    task_id: TaskId
    node_id: NodeId
    draft: Draft
    strategy: str
    calls: tuple[CallRecord, ...] = ()

    @property
    def usage(self) -> Usage:
        return usage_of(self.calls)

    @property
    def cost_usd(self) -> float:
        return cost_usd_of(self.calls)


# ── errors ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


class AgentError(Exception):
    """Root of every error that this room raises.

    ``code`` is a short stable word (bounded: it is used as a metric label), ``param`` the field of the request that is at
    fault, ``retry_after_s`` when trying again makes sense. ``events`` and ``calls`` say what was spent before it failed.
    """

    code = "internal_error"

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        retry_after_s: float | None = None,
        backend: str | None = None,
        status: int | None = None,
        partial: Json | None = None,
        calls: tuple[CallRecord, ...] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s
        self.backend = backend
        self.status = status
        self.partial = partial
        self.calls = calls

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_error, (type(self), self.message, {k: v for k, v in self.__dict__.items() if k != "message"})


def _rebuild_error(kind: type[AgentError], message: str, fields: dict[str, Any]) -> AgentError:
    error = kind(message)
    error.__dict__.update(fields)
    return error


class InvalidRequest(AgentError):
    code = "invalid_request"


class NotFound(InvalidRequest):
    code = "not_found"


class ExpressionFailed(AgentError):
    code = "expression_failed"


class Refused(AgentError):
    code = "refused"


class Overloaded(Refused):
    code = "overloaded"


class RateLimited(Refused):
    code = "rate_limited"


class BreakerOpen(Refused):
    code = "breaker_open"


class Draining(Refused):
    code = "draining"


class BackendError(AgentError):
    code = "backend_error"


class BackendUnreachable(BackendError):
    code = "backend_unreachable"


class BackendTimeout(BackendError):
    code = "backend_timeout"


class BackendFailed(BackendError):
    code = "backend_failed"


class BackendRejected(BackendError):
    code = "backend_rejected"


class BackendGarbled(BackendError):
    code = "backend_garbled"


class StreamBroken(BackendError):
    code = "stream_broken"


class StructuredFailed(AgentError):
    code = "structured_failed"


class Incomplete(AgentError):
    code = "incomplete"


class Escalated(AgentError):
    code = "escalated"
    escalation_id: str = ""
    """The question to a person, once the daemon has put it."""


class DeadlineExceeded(AgentError):
    code = "deadline_exceeded"


class BudgetExceeded(AgentError):
    code = "budget_exceeded"


class Cancelled(AgentError):
    code = "cancelled"


class NodeLost(AgentError):
    code = "node_lost"
