"""The words of the request path: what a surface hands to dispatch, and what it gets back.

Surfaces (runtime/api) build a ``Request`` and see the daemon only through ``Service``; daemon.py implements it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from agents.calls import CallRecord, Health, Usage, cost_usd_of, usage_of
from agents.llm.chat import BackendSpec
from agents.records import Draft, Event, Importance, Json, Place, RequestId
from agents.strategy_specs import StrategySpec
from agents.verdicts import Constraint, Verdict
from registry.solutions import Library
from runtime.accounts import Limits
from runtime.cluster import ClusterStatus, NodeStatus
from runtime.config.settings import Settings
from runtime.config.status import ConfigStatus, ReloadResult
from runtime.controlling.port import TopologyPort
from runtime.escalations import Escalations
from runtime.events import EventBoard
from runtime.jobs.records import Caller, Feedback, Job, JobEvent, Part, StoredReply
from runtime.learner.port import RoutingPort
from runtime.library.looked import LibraryUse, Looked
from runtime.observing.port import ObservingPort
from runtime.patterns.port import PatternsPort
from runtime.programs.registry_desk import RegistryDesk
from runtime.routers.port import RoutersPort

Source = Literal["openai", "mock", "native", "registry", "routers", "committee", "patterns", "observe"]
"""The surface that a request came by; ``registry`` and ``routers``: the daemon's own chores asked (reviews, principles,
standards; code of routers); ``committee``: what a committee answered is asked again, of the best other way;
``patterns``: names for them; ``observe``: what the network asks about itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What the client named: ``auto``, a backend, ``node/<name>`` or ``strategy/<name>``."""

    kind: Literal["auto", "backend", "node", "strategy"] = "auto"
    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request, validated and normalised by a surface.

    ``backend`` prefers a backend while a node does the work (the mock API's header); a ``Target`` of kind backend without a
    schema goes straight to that backend. ``deadline_s`` None takes the configured default. ``budget_*`` bound
    what this request may spend, all its calls together. ``place``: its items are a part of a longer list. ``accept_partial``: the
    client would rather have some of its items, marked as partial, than an error. ``tell``: its stream has stage and progress
    events too. ``routing`` are its own weights (runtime/learner/records.py: Wishes); empty: as configured. ``library``: see
    library/looked.py.
    """

    request_id: RequestId
    source: Source
    target: Target = Target()
    messages: tuple[Mapping[str, Json], ...]
    params: Mapping[str, Json] = field(default_factory=dict)
    schema: Mapping[str, Json] | None = None
    count: int | None = None
    place: Place | None = None
    rules: tuple[str, ...] = ()
    constraints: tuple[Constraint, ...] = ()
    quality: float | None = None
    importance: Importance = "normal"
    budget_usd: float | None = None
    budget_tokens: int | None = None
    strategy: StrategySpec | None = None
    backend: str | None = None
    stream: bool = False
    deadline_s: float | None = None
    key_id: str | None = None
    accept_partial: bool = False
    tell: bool = False
    routing: Mapping[str, Json] = field(default_factory=dict)
    library: LibraryUse = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of a request. ``backend`` gave the final text; ``simulated`` when any call was to a simulated backend.
    ``library`` is None where it was not asked."""

    request_id: RequestId
    draft: Draft
    calls: tuple[CallRecord, ...]
    node: str | None
    strategy: str
    attempts: int
    latency_s: float
    verdict: Verdict | None = None
    library: Looked | None = None

    @property
    def usage(self) -> Usage:
        return usage_of(self.calls)

    @property
    def cost_usd(self) -> float:
        return cost_usd_of(self.calls)

    @property
    def backend(self) -> str:
        if self.draft.backend:
            return self.draft.backend
        # Put together of several: the last one that answered.
        answered = [call.backend for call in self.calls if call.error is None]
        return answered[-1] if answered else ""

    @property
    def simulated(self) -> bool:
        return any(call.simulated for call in self.calls) or (self.library is not None and self.library.simulated)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendStatus:
    """One backend as it stands: its spec, breaker and load.

    ``remaining_requests`` and ``reset_s`` say where its rate limit stands; None where it has none or it is not known.
    """

    spec: BackendSpec
    health: Health
    inflight: int
    queued: int
    remaining_requests: int | None = None
    reset_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who is calling: the key's id (None: loopback without a key) and what it may do."""

    key_id: str | None
    operator: bool


class Replies(Protocol):
    """Kept replies by idempotency key."""

    async def find(self, caller: Caller) -> StoredReply | None: ...

    async def keep(self, caller: Caller, reply: StoredReply) -> None:
        """Durable on return."""
        ...


class Jobs(Protocol):
    """Durable work as the surfaces see it."""

    async def submit(
        self, request: Request, *, deadline_s: float | None, caller: Caller | None = None, reply: StoredReply | None = None
    ) -> Job:
        """Accept a request; durable on return, together with the ``reply`` that its idempotency key gives again.

        Raises Overloaded (the queue is full), Draining, InvalidRequest.
        """
        ...

    async def cancel(self, request_id: str) -> Job | None:
        """End a job now; one that is over stays as it is. None: there is no such job."""
        ...

    async def find(self, request_id: str) -> Job | None: ...

    async def events(self, request_id: str, *, from_seq: int, limit: int) -> Sequence[JobEvent]:
        """Events from ``from_seq`` on, in order."""
        ...

    async def parts(self, request_id: str, *, first: int, limit: int) -> Sequence[Part]:
        """At most ``limit`` parts that reach beyond item ``first``, in order."""
        ...

    async def changed(self, request_id: str, *, timeout_s: float) -> None:
        """Wait until something is written of this job, or for so long."""
        ...

    async def feedback(self, request_id: str, key_id: str | None, feedback: Feedback) -> None:
        """Keep it; durable on return. A later one of the same key takes its place."""
        ...

    async def feedbacks(self, request_id: str) -> Sequence[Mapping[str, Json]]: ...


class SolutionLibrary(Protocol):
    """What was solved before, as the surfaces see it."""

    @property
    def library(self) -> Library:
        """Raises RegistryUnavailable while it is not open."""
        ...

    def status(self) -> str:
        """``ok``, ``off``, or what is wrong."""
        ...

    def feedback(self, request_id: str, score: float, trace: Json = None) -> str:
        """What a client's score of an answer changes in the library, in one word."""
        ...

    async def dry_run(self, request: Request) -> tuple[Looked | None, str]:
        """What would come of a request now, and why; None where the library would not be asked. Raises RegistryError."""
        ...


class Service(Protocol):
    """The daemon as its surfaces see it."""

    @property
    def jobs(self) -> Jobs: ...

    @property
    def replies(self) -> Replies: ...

    @property
    def registry(self) -> RegistryDesk: ...

    @property
    def library(self) -> SolutionLibrary: ...

    @property
    def patterns(self) -> PatternsPort: ...

    @property
    def escalations(self) -> Escalations: ...

    @property
    def routing(self) -> RoutingPort: ...

    @property
    def generated(self) -> RoutersPort: ...

    @property
    def topology(self) -> TopologyPort: ...

    @property
    def observing(self) -> ObservingPort: ...

    @property
    def board(self) -> EventBoard: ...

    @property
    def settings(self) -> Settings: ...

    @property
    def started_at(self) -> float: ...

    @property
    def pool_reason(self) -> str:
        """Which backends are in use and why, in one sentence (configured, GGUF, Ollama, simulated)."""
        ...

    def readiness(self) -> Mapping[str, str]:
        """Part -> ``ok`` or what is missing. Ready when all are ``ok``."""
        ...

    def sandbox(self) -> Mapping[str, Json]:
        """How code of models runs here: ``level``, ``runs_code``, ``missing``, ``reason``. No part of being ready."""
        ...

    async def run(self, request: Request) -> Answer:
        """One request to its end. Raises AgentError; its ``calls`` say what was spent."""
        ...

    def stream(self, request: Request) -> AsyncIterator[Event | Answer]:
        """``delta`` events as they come (others only where ``request.tell``), the Answer last. Closing the iterator
        cancels the work."""
        ...

    async def embed(
        self, texts: Sequence[str], model: str, *, request_id: str, key_id: str | None
    ) -> tuple[list[list[float]], Usage, str]:
        """Unit-length vectors ``(n, d)``, usage and the model that made them; model ``auto`` is the built-in one."""
        ...

    def resolve(self, model: str) -> Target:
        """Read a ``model`` name. Raises NotFound(param="model") naming what exists."""
        ...

    def backends(self) -> Sequence[BackendStatus]: ...

    def strategies(self) -> Sequence[str]: ...

    def nodes(self) -> Sequence[NodeStatus]: ...

    def cluster(self) -> ClusterStatus: ...

    async def requests(self, *, limit: int, before: str | None = None) -> list[dict[str, Json]]:
        """The newest requests first, a flat JSON row each."""
        ...

    async def trace(self, request_id: str) -> dict[str, Json] | None:
        """All that is known of one request: request, outcome, calls, events in order; None where it is unknown."""
        ...

    def authenticate(self, bearer: str | None, *, loopback: bool) -> Principal | None:
        """None: the key is wrong, or one is needed."""
        ...

    async def create_key(
        self, *, name: str, scope: Literal["client", "operator"], limits: Limits | None = None
    ) -> tuple[str, str]:
        """(key id, the secret, shown once). ``limits`` are its own budget a day."""
        ...

    async def limit_key(self, key_id: str, limits: Limits) -> bool:
        """Give a key another budget a day; False where there is no such key."""
        ...

    def budget_left(self, request_id: str, key_id: str | None) -> tuple[float | None, int | None]:
        """(USD, tokens): the least that is left of the request's, its key's and the day's budget; None where none is limited."""
        ...

    def budget(self, *, key_id: str | None, whole: bool) -> dict[str, Json]:
        """The accounts of today as JSON: all of them (``whole``), or those that a caller with this key pays from."""
        ...

    async def list_keys(self) -> list[dict[str, Json]]: ...

    async def revoke_key(self, key_id: str) -> bool: ...

    def config(self) -> ConfigStatus: ...

    async def reload_config(self) -> ReloadResult:
        """Read the configuration again; an invalid one changes nothing."""
        ...

    def cache_looked_up(self, *, hit: bool) -> None:
        """Count a look-up of a ``$cache`` variant."""
        ...

    def replayed(self) -> None:
        """Count a POST that was answered again by its idempotency key."""
        ...

    def metrics_text(self) -> tuple[bytes, str]:
        """Prometheus exposition and its content type."""
        ...
