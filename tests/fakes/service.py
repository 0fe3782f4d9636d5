"""A daemon in miniature for tests of the surfaces: answers what it is told to, and keeps what it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from agents.calls import CallRecord, Health, Usage
from agents.llm.chat import BackendSpec
from agents.records import Draft, Event, Json, NodeId, NodeSpec, NotFound
from runtime.accounts import Limits
from runtime.cluster import ClusterStatus, NodeStatus
from runtime.config.settings import Settings
from runtime.config.status import ConfigStatus, ReloadResult
from runtime.events import EventBoard
from runtime.patterns.desk import PatternDesk
from runtime.programs.registry_desk import RegistryDesk
from runtime.records import Answer, BackendStatus, Principal, Request, Target
from tests.fakes.escalations import FakeEscalations
from tests.fakes.jobs import FakeJobs
from tests.fakes.library import FakeLibrary
from tests.fakes.observing import FakeObserving
from tests.fakes.patterns import MemoryPatterns
from tests.fakes.registry import MemoryEvidence, MemoryJournal
from tests.fakes.routing import FakeGenerated, FakeRouting
from tests.fakes.topology_port import FakeTopology

OPERATOR_KEY = "op-secret"
CLIENT_KEY = "client-secret"


def fake_settings(**sections: Json) -> Settings:
    """Settings whose data folder does not exist; ``server={"max_inflight": 1}`` and the like change them."""
    return Settings.model_validate({"data": {"dir": Path("/nonexistent")}, **sections})


class FakeService:
    """``reply`` makes the draft of a request (raise in it to fail); ``script`` is what a stream yields before its answer."""

    def __init__(
        self,
        *,
        settings: Settings | None = None,
        reply: Callable[[Request], Draft] | None = None,
        script: Sequence[Event | Exception] = (),
        simulated: bool = False,
        backends: Sequence[BackendSpec] | None = None,
    ) -> None:
        self._settings = settings or fake_settings()
        self.reply = reply or (lambda request: Draft(text="hello", data={"ok": True} if request.schema is not None else None))
        self.script = list(script)
        kind: Literal["simulated", "openai"] = "simulated" if simulated else "openai"
        self.specs = list(backends or (BackendSpec(name="fast", kind=kind, model="m", aliases=("quick",), api_key="sk-hidden"),))
        self.asked: list[Request] = []
        self.jobs = FakeJobs()
        self.replies = self.jobs.replies
        self.escalations = FakeEscalations()
        self.registry = RegistryDesk(
            self._settings.registry, Path("/nonexistent"), MemoryJournal(), MemoryEvidence(), embedder=None
        )
        self.library = FakeLibrary()
        self.patterns = PatternDesk(self._settings.patterns, embedder=None, book=MemoryPatterns())
        self.replays = 0
        self.routing, self.generated = FakeRouting(self._settings), FakeGenerated()
        self.topology = FakeTopology()
        self.observing = FakeObserving()
        self.board = EventBoard(wall=lambda: 1_000.0)
        self.arrived = asyncio.Event()
        self.release: asyncio.Event | None = None
        self.cancelled = 0
        self.closed_streams = 0
        self.parts: dict[str, str] = {"ledger": "ok", "cluster": "ok"}
        self.keys: dict[str, dict[str, Json]] = {}
        self.looked_up: list[bool] = []
        self.left: tuple[float | None, int | None] = (None, None)
        self.traces: dict[str, dict[str, Json]] = {
            "req_1": {"id": "req_1", "request": {"id": "req_1"}, "outcome": None, "events": []}
        }
        self.listed: list[tuple[int, str | None]] = []
        self.config_status = ConfigStatus(path="/etc/morphogen.toml", digest="d1", loaded_at=1_000.0)
        self.reload_result = ReloadResult(outcome="unchanged", summary="nothing changed")

    @property
    def settings(self) -> Settings:
        return self._settings

    @property
    def started_at(self) -> float:
        return 1_000.0

    @property
    def pool_reason(self) -> str:
        return "configured"

    def readiness(self) -> Mapping[str, str]:
        return self.parts

    def sandbox(self) -> Mapping[str, Json]:
        return {"level": "full", "runs_code": True, "missing": [], "reason": ""}

    def answer(self, request: Request) -> Answer:
        spec = next((spec for spec in self.specs if spec.name == request.backend), self.specs[0])
        call = CallRecord(
            backend=spec.name,
            model=spec.model,
            started_at=1.0,
            latency_s=0.1,
            usage=Usage(prompt_tokens=3, completion_tokens=4),
            cost_usd=0.00025,
            simulated=spec.simulated,
        )
        return Answer(
            request_id=request.request_id,
            draft=self.reply(request),
            calls=(call,),
            node="first",
            strategy="single",
            attempts=1,
            latency_s=0.1,
        )

    async def run(self, request: Request) -> Answer:
        self.asked.append(request)
        self.arrived.set()
        try:
            if self.release is not None:
                await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return self.answer(request)

    async def stream(self, request: Request) -> AsyncIterator[Event | Answer]:
        self.asked.append(request)
        self.arrived.set()
        try:
            for item in self.script:
                if isinstance(item, Exception):
                    raise item
                yield item
            if self.release is not None:
                await self.release.wait()
            yield self.answer(request)
        finally:
            self.closed_streams += 1

    async def embed(
        self, texts: Sequence[str], model: str, *, request_id: str, key_id: str | None
    ) -> tuple[list[list[float]], Usage, str]:
        self.resolve(model)
        return [[0.6, 0.8] for _ in texts], Usage(prompt_tokens=len(texts)), "built-in"

    def resolve(self, model: str) -> Target:
        if model == "auto":
            return Target()
        for spec in self.specs:
            if model in (spec.name, *spec.aliases):
                return Target(kind="backend", name=spec.name)
        if model == "node/first":
            return Target(kind="node", name="first")
        kind, _, name = model.partition("/")
        if kind == "strategy" and name in ("single", *self._settings.strategies):
            return Target(kind="strategy", name=name)
        raise NotFound(f"No model {model!r}; known: auto, fast, node/first, strategy/single", param="model")

    def backends(self) -> Sequence[BackendStatus]:
        return [BackendStatus(spec=spec, health=Health(), inflight=1, queued=0, remaining_requests=9) for spec in self.specs]

    def strategies(self) -> Sequence[str]:
        return ["single"]

    def nodes(self) -> Sequence[NodeStatus]:
        spec = NodeSpec(node_id=NodeId("n1"), name="first", role="generalist")
        return [NodeStatus(spec=spec, state="live")]

    def cluster(self) -> ClusterStatus:
        return ClusterStatus(kind="local", live=1, warm=0, restarts=0)

    async def requests(self, *, limit: int, before: str | None = None) -> list[dict[str, Json]]:
        self.listed.append((limit, before))
        return [{"id": "req_1"}]

    async def trace(self, request_id: str) -> dict[str, Json] | None:
        return self.traces.get(request_id)

    def authenticate(self, bearer: str | None, *, loopback: bool) -> Principal | None:
        if bearer == OPERATOR_KEY:
            return Principal(key_id="op", operator=True)
        if bearer == CLIENT_KEY:
            return Principal(key_id="client", operator=False)
        if not (bearer or "").startswith("mg-") and loopback and not self._settings.server.require_client_key:
            return Principal(key_id=None, operator=False)
        return None

    async def create_key(
        self, *, name: str, scope: Literal["client", "operator"], limits: Limits | None = None
    ) -> tuple[str, str]:
        key_id = f"key_{len(self.keys)}"
        self.keys[key_id] = {"id": key_id, "name": name, "scope": scope, "usd_per_day": None, "tokens_per_day": None}
        if limits is not None:
            self.keys[key_id] |= {"usd_per_day": limits.usd, "tokens_per_day": limits.tokens}
        return key_id, f"secret-of-{key_id}"

    async def limit_key(self, key_id: str, limits: Limits) -> bool:
        if key_id in self.keys:
            self.keys[key_id] |= {"usd_per_day": limits.usd, "tokens_per_day": limits.tokens}
        return key_id in self.keys

    def budget_left(self, request_id: str, key_id: str | None) -> tuple[float | None, int | None]:
        return self.left

    def budget(self, *, key_id: str | None, whole: bool) -> dict[str, Json]:
        return {"data": [], "key_id": key_id, "whole": whole}

    async def list_keys(self) -> list[dict[str, Json]]:
        return list(self.keys.values())

    async def revoke_key(self, key_id: str) -> bool:
        return self.keys.pop(key_id, None) is not None

    def config(self) -> ConfigStatus:
        return self.config_status

    async def reload_config(self) -> ReloadResult:
        return self.reload_result

    def cache_looked_up(self, *, hit: bool) -> None:
        self.looked_up.append(hit)

    def replayed(self) -> None:
        self.replays += 1

    def metrics_text(self) -> tuple[bytes, str]:
        return b"# HELP morphogen_up Up.\n", "text/plain; version=0.0.4; charset=utf-8"
