"""The daemon as its surfaces see it: implements ``runtime.records.Service`` by asking the right part.

Built by daemon.py. Decides nothing: dispatch.py runs requests, keys.py knows who may, the ledger knows what happened.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from agents.calls import CallRecord, Usage
from agents.llm.desk import Desk
from agents.llm.pool import Pool
from agents.records import Event, Json, NotFound, Overloaded, Refused
from agents.strategies.compose import BUILTIN
from registry.embedding import Embedder
from registry.records import EmbeddingBusy, RegistryError, RegistryUnavailable
from runtime.accounts import Limits
from runtime.admission import Cashier
from runtime.budget import statement
from runtime.choosing import read_model
from runtime.cluster import Cluster, ClusterStatus, NodeStatus
from runtime.config.settings import Settings
from runtime.config.status import ConfigStatus, ReloadResult
from runtime.controlling.controller import Controller
from runtime.controlling.front import TopologyFront
from runtime.controlling.waking import parked
from runtime.dispatch import Dispatch
from runtime.escalations import Escalations
from runtime.events import EventBoard
from runtime.jobs.runner import JobRunner
from runtime.keys import KeyRing
from runtime.learner.desk import Router
from runtime.learner.front import RoutingFront
from runtime.ledger.measures import MeasureLedger
from runtime.ledger.records import LedgerUnavailable
from runtime.ledger.replies import ReplyLedger
from runtime.ledger.store import Ledger
from runtime.library.desk import LibraryDesk
from runtime.metrics import Metrics
from runtime.observing.front import ObservingFront
from runtime.patterns.desk import PatternDesk
from runtime.programs.desk import CodeDesk
from runtime.programs.registry_desk import RegistryDesk
from runtime.records import Answer, BackendStatus, Principal, Request, Target
from runtime.reload import Reloader
from runtime.routers.build import RouterWork
from runtime.routers.port import RoutersPort
from runtime.sandbox_desk import SandboxDesk

EMBED_DEADLINE_S = 60.0


@dataclass(slots=True, kw_only=True)
class DaemonService:
    """See ``runtime.records.Service`` for what each method promises."""

    settings: Settings
    pool_reason: str
    pool: Pool
    desk: Desk
    cashier: Cashier
    cluster_port: Cluster
    ledger: Ledger
    keys: KeyRing
    metrics: Metrics
    dispatch: Dispatch
    embedder: Embedder | None
    jobs: JobRunner
    replies: ReplyLedger
    registry: RegistryDesk
    code: CodeDesk
    sandbox_desk: SandboxDesk
    library: LibraryDesk
    patterns: PatternDesk
    escalations: Escalations
    router: Router
    controller: Controller
    board: EventBoard
    observing: ObservingFront
    wall: Callable[[], float] = time.time
    started_at: float = field(default_factory=time.time)
    starting: bool = True
    reloader: Reloader | None = None
    routers: RouterWork | None = None

    @property
    def routing(self) -> RoutingFront:
        return RoutingFront(
            self.router,
            sums=MeasureLedger(self.ledger),
            backends=lambda: self.pool.specs,
            flush=self.ledger.flush,
            wall=self.wall,
        )

    @property
    def generated(self) -> RoutersPort:
        if self.routers is None:
            raise RegistryUnavailable("the daemon is starting")
        return self.routers.front

    @property
    def topology(self) -> TopologyFront:
        names = {spec.name for spec in self.pool.specs}
        return TopologyFront(self.controller, cluster=self.settings.cluster, backends=names)

    def readiness(self) -> Mapping[str, str]:
        status = self.cluster_port.status()
        nodes = "ok" if status.live > 0 else status.detail or "no node is live"
        return {
            "daemon": "starting" if self.starting else "ok",
            "ledger": self.ledger.healthy(),
            "nodes": nodes,
            "backends": "ok" if self.pool.specs else "no backend is enabled",
        }

    def sandbox(self) -> Mapping[str, Json]:
        return self.sandbox_desk.standing()

    async def run(self, request: Request) -> Answer:
        return await self.dispatch.run(request)

    def stream(self, request: Request) -> AsyncIterator[Event | Answer]:
        return self.dispatch.stream(request)

    async def embed(
        self, texts: Sequence[str], model: str, *, request_id: str, key_id: str | None
    ) -> tuple[list[list[float]], Usage, str]:
        if self.embedder is not None and model in ("auto", self.embedder.model):
            return await self._embed_here(self.embedder, texts)
        target = self.resolve(model)
        if target.kind != "backend" or target.name is None:
            known = f"{self.embedder.model}, or a backend's name" if self.embedder else "a backend's name"
            raise NotFound(f"{model!r} makes no embeddings; use {known}", param="model")
        calls: list[CallRecord] = []
        self.cashier.open(request_id, key_id=key_id, limits=Limits())
        try:
            vectors, usage = await self.pool.embed(
                target.name,
                texts,
                deadline_s=EMBED_DEADLINE_S,
                holder=request_id,
                on_call=calls.append,
                assumed_tokens=self.cashier.assumed_tokens(request_id),
            )
        finally:
            self.cashier.close(request_id, ())
            for call in calls:
                self.metrics.call_finished(call)
        return vectors, usage, target.name

    @staticmethod
    async def _embed_here(embedder: Embedder, texts: Sequence[str]) -> tuple[list[list[float]], Usage, str]:
        try:
            vectors = await embedder.embed(texts)
            tokens = await embedder.count_tokens(texts)
        except EmbeddingBusy as error:
            raise Overloaded(str(error), retry_after_s=1.0) from error
        except RegistryError as error:
            raise Refused(str(error)) from error
        return vectors.tolist(), Usage(prompt_tokens=tokens), embedder.model

    def resolve(self, model: str) -> Target:
        nodes = self.cluster_port.nodes()
        if model.startswith("node/"):
            nodes = [*nodes, *parked(self.controller)]
        return read_model(model, backends=self.pool.specs, nodes=nodes, strategies=self.settings.strategies)

    def backends(self) -> Sequence[BackendStatus]:
        health = self.desk.health()
        statuses = []
        for spec in self.pool.specs:
            remaining, reset_s = self.desk.rate(spec.name) or (None, None)
            status = BackendStatus(
                spec=spec,
                health=health[spec.name],
                inflight=self.desk.inflight(spec.name),
                queued=self.desk.queued(spec.name),
                remaining_requests=remaining,
                reset_s=reset_s,
            )
            statuses.append(status)
        return statuses

    def strategies(self) -> Sequence[str]:
        return [*BUILTIN, *(name for name in self.settings.strategies if name not in BUILTIN)]

    def nodes(self) -> Sequence[NodeStatus]:
        return self.cluster_port.nodes()

    def cluster(self) -> ClusterStatus:
        return self.cluster_port.status()

    async def requests(self, *, limit: int, before: str | None = None) -> list[dict[str, Json]]:
        await self._flushed()
        return await self.ledger.requests(limit=limit, before=before)

    async def trace(self, request_id: str) -> dict[str, Json] | None:
        await self._flushed()
        return await self.ledger.trace(request_id)

    async def _flushed(self) -> None:
        """What was just answered should be seen. While the disk refuses, what is written already is shown all the same."""
        with contextlib.suppress(LedgerUnavailable):
            await self.ledger.flush()

    def authenticate(self, bearer: str | None, *, loopback: bool) -> Principal | None:
        return self.keys.authenticate(bearer, loopback=loopback, require_client_key=self.settings.server.require_client_key)

    async def create_key(
        self, *, name: str, scope: Literal["client", "operator"], limits: Limits | None = None
    ) -> tuple[str, str]:
        key_id, secret = await self.keys.create(name, scope, limits)
        self.cashier.purse.limit_key(key_id, limits or Limits())
        return key_id, secret

    async def limit_key(self, key_id: str, limits: Limits) -> bool:
        if not await self.keys.limit(key_id, limits):
            return False
        self.cashier.purse.limit_key(key_id, limits)
        return True

    def budget_left(self, request_id: str, key_id: str | None) -> tuple[float | None, int | None]:
        return self.cashier.left(request_id, key_id)

    def budget(self, *, key_id: str | None, whole: bool) -> dict[str, Json]:
        return statement(self.cashier.purse, key_id=key_id, whole=whole, name_of=self.keys.name)

    async def list_keys(self) -> list[dict[str, Json]]:
        return self.keys.list()

    async def revoke_key(self, key_id: str) -> bool:
        return await self.keys.revoke(key_id)

    def config(self) -> ConfigStatus:
        if self.reloader is None:
            return ConfigStatus(path=None, digest=None, loaded_at=self.started_at)
        return self.reloader.status()

    async def reload_config(self) -> ReloadResult:
        if self.reloader is None:
            return ReloadResult(outcome="unchanged", summary="there is no configuration to read again")
        return await self.reloader.reload()

    def cache_looked_up(self, *, hit: bool) -> None:
        self.metrics.cache_lookup(hit=hit)

    def replayed(self) -> None:
        self.metrics.replayed()

    def metrics_text(self) -> tuple[bytes, str]:
        return self.metrics.render()
