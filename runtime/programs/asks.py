"""What chores of the daemon's own ask of models (the registry's, and the writing of routers): through dispatch as any request,
so that it is budgeted, counted and traced, and within bounds of their own: so much money a day, so many asks an hour, on the
cheapest backends that can.

Built by daemon.py for reviewing.py and advising.py. Nodes that review or advise are live while they are asked, and parked after.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from agents.llm.chat import BackendSpec
from agents.records import AgentError, Capability, Json, NodeId, NodeSpec, RequestId, Role
from agents.strategy_specs import Single
from runtime.cluster import Cluster
from runtime.ledger.records import LedgerError
from runtime.records import Answer, Request, Source, Target

log = logging.getLogger(__name__)

DAY_S: Final = 86_400.0
HOUR_S: Final = 3_600.0
DEADLINE_S: Final = 120.0
DRAIN_S: Final = 5.0


class Runs(Protocol):
    """What is needed of Dispatch."""

    async def run(self, request: Request) -> Answer: ...


SpentSince = Callable[[float], Awaitable[float]]
"""USD that such requests have cost since a Unix time, from the ledger: a restart must not begin a day anew."""
RememberNode = Callable[[NodeSpec], Awaitable[None]]
"""Keeps a node that is woken when it is needed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """An answer, and which node gave it."""

    text: str
    data: Json
    node: str
    simulated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What a chore may ask: how often an hour, for how much a day; ``section`` and its settings are named where that is why
    not."""

    per_hour: int
    usd_per_day: float
    per_hour_name: str = "registry.reviews_per_hour"
    usd_name: str = "registry.review_usd_per_day"


class Asks:
    """``source`` is what its requests come by. One at a time; ``ask`` gives None where it may not or cannot ask, and ``why``
    says which."""

    def __init__(
        self,
        *,
        runs: Runs,
        cluster: Cluster,
        bounds: Callable[[], Bounds],
        backends: Callable[[], Sequence[BackendSpec]],
        spent_since: SpentSince,
        remember: RememberNode,
        source: Source = "registry",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._runs, self._cluster, self._bounds, self._backends, self._source = runs, cluster, bounds, backends, source
        self._spent_since, self._remember, self._clock = spent_since, remember, clock
        self._day, self._spent_usd = -1, 0.0
        self._asked: deque[float] = deque()
        self._live: set[NodeId] = set()
        self.why = ""

    def able(self, need: Capability) -> str | None:
        """The cheapest backend that declares ``need``; None without one, and where the settings never allow it to be asked."""
        spec = self._cheapest(need)
        if spec is None or not self._bounds().per_hour:
            return None
        return spec.name if spec.is_free or self._bounds().usd_per_day else None

    def _cheapest(self, need: Capability) -> BackendSpec | None:
        fit = [spec for spec in self._backends() if need in spec.capabilities]
        return min(fit, key=lambda spec: (spec.input_usd_per_mtok + spec.output_usd_per_mtok, spec.name), default=None)

    async def ask(
        self, text: str, *, node: str | None, need: Capability, schema: Mapping[str, Json] | None = None
    ) -> Said | None:
        """Ask ``node`` (None: whoever answers clients) on the cheapest able backend. Raises RegistryUnavailable where the ledger
        cannot be read."""
        spec = self._cheapest(need)
        if spec is None or not await self._may(spec):
            self.why = self.why if spec is not None else f"no backend declares {need}"
            return None
        self._asked.append(self._clock())
        request = Request(
            request_id=RequestId(f"{self._source[:3]}_{time.time_ns() // 1_000_000:012x}{os.urandom(8).hex()}"),
            source=self._source,
            target=Target(kind="node", name=node) if node is not None else Target(),
            messages=({"role": "user", "content": text},),
            schema=schema,
            backend=spec.name,
            library="off",
            budget_usd=max(0.0, self._bounds().usd_per_day - self._spent_usd),
            strategy=Single(),
            deadline_s=DEADLINE_S,
        )
        try:
            answer = await self._runs.run(request)
        except AgentError as error:
            self._spent_usd += sum(call.cost_usd for call in error.calls)
            self.why = f"{error.code}: {error.message}"
            log.info("a question of %s was not answered: %s", self._source, self.why)
            return None
        self._spent_usd += answer.cost_usd
        return Said(text=answer.draft.text, data=answer.draft.data, node=answer.node or "", simulated=answer.simulated)

    async def _may(self, spec: BackendSpec) -> bool:
        now, bounds = self._clock(), self._bounds()
        if (day := int(now // DAY_S)) != self._day:
            self._spent_usd, self._day = await self._spent_since(day * DAY_S), day
        while self._asked and self._asked[0] <= now - HOUR_S:
            self._asked.popleft()
        if len(self._asked) >= bounds.per_hour:
            self.why = f"{len(self._asked)} questions were asked in an hour ({bounds.per_hour_name})"
            return False
        if self._spent_usd >= bounds.usd_per_day and not spec.is_free:
            self.why = f"{self._spent_usd:.4f} USD were spent today ({bounds.usd_name})"
            return False
        return True

    # ── nodes that review and advise ────────────────────────────────────────────────────────────────────────────────────

    async def awake(self, name: str, role: Role, speciality: str, prompt: str) -> bool:
        """Make the node live; False where there is no room for it. In the ledger it is parked: it wakes when it is needed."""
        spec = NodeSpec(node_id=NodeId(name), name=name, role=role, speciality=speciality, prompt=prompt, strategy=Single())
        if spec.node_id in self._live:
            return True
        try:
            await self._remember(spec)
            await self._cluster.spawn(spec)
        except (AgentError, LedgerError) as error:
            self.why = f"{name} cannot be woken: {error}"
            log.info("%s", self.why)
            return False
        self._live.add(spec.node_id)
        return True

    async def rest(self) -> None:
        """Park the nodes that were woken: nothing is left for them now."""
        for node_id in list(self._live):
            self._live.discard(node_id)
            await self._cluster.park(node_id, drain_s=DRAIN_S)
