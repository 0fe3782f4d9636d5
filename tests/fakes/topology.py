"""A controller over a real ledger and nodes in this process, with ways to kill it between any two acts, and a clock to set."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agents.llm.retry import RetryPolicy
from agents.node import NodeKit
from agents.records import NodeId, NodeSpec
from agents.strategies.compose import parse_strategy, to_json
from runtime.cluster import NodeStatus
from runtime.config.settings import Settings
from runtime.controlling.book import Case, Entry
from runtime.controlling.controller import Controller
from runtime.ledger.store import Ledger
from runtime.ledger.topology import TopologyLedger
from runtime.local_cluster import LocalCluster
from runtime.topology.first import first_steps
from runtime.topology.payloads import Payload, Spawn
from runtime.topology.records import Draft, Evidence, Metric, Prediction, Scope
from runtime.topology.shape import Topology
from tests.fakes.nodes import DeskHub, build_fake

NOW = 1_700_000_000.0
OPERATOR = "key:op"


@dataclass(slots=True)
class Fuse:
    """``at`` is called at every point where a kill may come: before and after each write, and after each act."""

    at: Callable[[], None] = lambda: None

    def burn(self) -> None:
        self.at()


class MortalLedger(TopologyLedger):
    """May die before and after each write."""

    def __init__(self, ledger: Ledger, fuse: Fuse) -> None:
        super().__init__(ledger)
        self._fuse = fuse

    async def write(self, *entries: Entry) -> bool:
        self._fuse.burn()
        written = await super().write(*entries)
        self._fuse.burn()
        return written


class MortalCluster(LocalCluster):
    """May die after each act on a node; ``acts`` says which there were, ``refuses`` makes them fail."""

    def __init__(self, fuse: Fuse, **more: Any) -> None:
        super().__init__(**more)
        self._fuse = fuse
        self.acts: list[tuple[str, NodeId]] = []
        self.refuses: Callable[[str, NodeId], Exception | None] = lambda act, node: None

    def _act(self, act: str, node: NodeId) -> None:
        self.acts.append((act, node))
        if (error := self.refuses(act, node)) is not None:
            raise error

    async def spawn(self, spec: NodeSpec) -> NodeStatus:
        self._act("spawn", spec.node_id)
        status = await super().spawn(spec)
        self._fuse.burn()
        return status

    async def park(self, node_id: NodeId, *, drain_s: float) -> None:
        self._act("park", node_id)
        await super().park(node_id, drain_s=drain_s)
        self._fuse.burn()

    async def respec(self, spec: NodeSpec) -> None:
        self._act("respec", spec.node_id)
        await super().respec(spec)
        self._fuse.burn()

    async def keep_warm(self, size: int | None) -> None:
        await super().keep_warm(size)
        self._fuse.burn()


@dataclass(slots=True)
class Laid:
    """Who owns the router, the settings of routing and pools of committees: what they were told last."""

    fuse: Fuse
    router: str | None = None
    tuned: tuple[str, ...] = ()
    pools: dict[str, int] = field(default_factory=dict)

    async def adopt(self, version: str | None) -> None:
        self.router = version
        self.fuse.burn()

    async def tune(self, settings: tuple[str, ...]) -> None:
        self.tuned = settings
        self.fuse.burn()

    async def pool(self, name: str, size: int | None) -> None:
        self.pools = {each: held for each, held in {**self.pools, name: size}.items() if held is not None}
        self.fuse.burn()


@dataclass(slots=True)
class GivenSamples:
    """What was measured, as a test says."""

    values: list[float] = field(default_factory=list)

    async def of(
        self, metric: Metric, scope: Scope, *, after: int, limit: int, since: float, until: float = math.inf
    ) -> tuple[Sequence[float], int]:
        found = self.values[after : after + limit]
        return found, after + len(found)


@dataclass(slots=True)
class World:
    controller: Controller
    cluster: MortalCluster
    ledger: Ledger
    book: TopologyLedger
    samples: GivenSamples
    laid: Laid
    clock: list[float]

    @property
    def topology(self) -> Topology:
        return self.controller.topology

    def live(self) -> set[str]:
        """Nodes that hold something, as the cluster sees them."""
        return {node.spec.node_id for node in self.cluster.nodes() if node.state != "parked"}

    async def submit(self, payload: Payload, **more: Any) -> Case:
        draft = Draft(payload=payload, reason="a test wants it", origin="operator", **more)
        return await self.controller.decisions.submit(draft, who=OPERATOR)

    async def approve(self, case: Case) -> Case:
        proposal = case.proposal
        return await self.controller.decisions.approve(proposal.proposal_id, proposal.digest, who=OPERATOR)

    async def carried_out(self, payload: Payload, **more: Any) -> Case:
        """Submitted, approved where it has to be, and carried out."""
        case = await self.submit(payload, **more)
        if case.proposal.status == "proposed":
            await self.approve(case)
        await self.controller.look()
        return await self.now(case)

    async def now(self, case: Case) -> Case:
        found = await self.book.case(case.proposal.proposal_id)
        assert found is not None
        return found


@asynccontextmanager
async def a_world(
    folder: Path,
    *,
    fuse: Fuse | None = None,
    clock: list[float] | None = None,
    samples: GivenSamples | None = None,
    **topology: Any,
) -> AsyncIterator[World]:
    """A controller that has started. Opened again over the same folder it is the same daemon after a restart."""
    fuse, clock, samples = fuse or Fuse(), clock or [NOW], samples or GivenSamples()
    live = topology.pop("max_live_nodes", 16)
    settings = Settings.model_validate({"cluster": {"kind": "local", "max_live_nodes": live}, "topology": topology})
    ledger = await Ledger.open(
        folder / "ledger.sqlite",
        flush_ms=1,
        retention_days=30,
        max_bytes=2**30,
        store_bodies=True,
        max_stored_chars=1000,
        clock=lambda: clock[0],
        encode=to_json,
        decode=lambda value: parse_strategy(value, named={}),
    )
    hub = DeskHub(limit=3)
    kit = NodeKit(backends=(hub.backend,), retry=RetryPolicy(), fallback=(), items_per_call=20, parallel_calls=4)
    cluster = MortalCluster(fuse, kit=kit, hub=hub, settings=settings.cluster, build=build_fake)
    book = MortalLedger(ledger, fuse)
    controller = Controller(book=book, cluster=cluster, samples=samples, settings=settings, wall=lambda: clock[0])
    laid, hands = Laid(fuse), controller.tools.hands
    hands.adopt, hands.tune, hands.pool = laid.adopt, laid.tune, laid.pool
    try:
        await cluster.start()
        await controller.start(lambda topology: first_steps(topology, settings.cluster, now=clock[0]))
        laid.tuned = controller.topology.tuned  # as runtime/learner/build.py does
        yield World(controller, cluster, ledger, book, samples, laid, clock)
    finally:
        await cluster.stop(drain_s=0.001)
        await ledger.close()


def a_spec(name: str, **more: Any) -> NodeSpec:
    fields: dict[str, Any] = {"role": "specialist", "speciality": name, **more}
    return NodeSpec(node_id=NodeId(f"id-{name}"), name=name, **fields)


def a_spawn(name: str, **more: Any) -> Spawn:
    return Spawn(spec=a_spec(name), **more)


def a_prediction(
    metric: Metric = "quality", baseline: float = 0.6, expected: float = 0.8, margin: float = 0.1, **more: Any
) -> Prediction:
    return Prediction(metric=metric, baseline=baseline, expected=expected, margin=margin, **more)


def a_draft(payload: Payload, **more: Any) -> Draft:
    """As a rule makes them."""
    evidence = Evidence(metric="requests", value=40, units="requests", count=40, since=NOW - 600, until=NOW)
    fields: dict[str, Any] = {"reason": "a rule found it", "evidence": (evidence,), "predictions": (a_prediction(),), **more}
    return Draft(payload=payload, **fields)
