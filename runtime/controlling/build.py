"""The controller of one daemon, put together; and what is so of it now, as series of numbers. Called by daemon.py."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol

from runtime.clock import Clock
from runtime.cluster import Cluster
from runtime.config.settings import Settings
from runtime.controlling.controller import Controller
from runtime.ledger.samples import LedgerSamples
from runtime.ledger.store import Ledger
from runtime.ledger.topology import TopologyLedger
from runtime.metrics import Metrics
from runtime.present import Series
from runtime.topology.first import first_steps
from runtime.topology.records import Status

KeepPool = Callable[[str, int | None], Awaitable[None]]
"""Keeps a pool of committees at a size; None: no longer."""


class Patterns(Protocol):
    """What is needed of the patterns' desk."""

    def of(self, request_ids: Sequence[str]) -> Mapping[str, str]: ...

    def current(self, pattern: str) -> str | None: ...


async def controlled(
    settings: Settings,
    cluster: Cluster,
    ledger: Ledger,
    metrics: Metrics,
    keep_pool: KeepPool,
    patterns: Patterns,
    clock: Clock,
) -> Controller:
    """A controller whose nodes are live; the caller runs it. ``patterns`` says which patterns requests were of. Raises
    LedgerError, AgentError where no node comes up."""
    controller = Controller(
        book=TopologyLedger(ledger),
        cluster=cluster,
        samples=LedgerSamples(ledger, patterns_of=patterns.of, current=patterns.current),
        settings=settings,
        wall=clock.wall,
        looked=metrics.control_round,
    )
    controller.tools.hands.pool = keep_pool
    await controller.start(lambda topology: first_steps(topology, settings.cluster, now=clock.wall()))
    metrics.present.topology = lambda: series_of(controller)
    return controller


def series_of(controller: Controller) -> Iterator[Series]:
    """What there should be, what is open, and what was decided since the start. Labels are bounded: no node, no pattern."""
    topology, tools = controller.topology, controller.tools
    nodes = Counter((member.spec.role, member.life) for member in topology.members.values())
    yield _counted("morphogen_topology_nodes", "Nodes that should be there.", ("role", "life"), nodes)
    cases = [case.proposal for case in tools.state.cases.values()]
    stand = Counter((str(each.kind), str(each.status)) for each in cases)
    yield _counted("morphogen_proposals_open", "Proposals that are not over.", ("kind", "status"), stand)
    text = "Moves of proposals by what they became: kept changes, those that were taken back (rolled_back), and so on."
    yield _counted("morphogen_proposal_moves", text, ("kind", "status"), tools.moved, kind="counter")
    dropped = Counter({(why,): count for why, count in tools.dropped.items()})
    text = "Drafts of proposals that were not taken up."
    yield _counted("morphogen_proposals_dropped", text, ("reason",), dropped, kind="counter")
    stuck = sum(each.status is Status.STUCK for each in cases)
    text = "Changes that could not be taken back and wait for an operator."
    yield Series(name="morphogen_proposals_stuck", text=text, rows=(((), float(stuck)),))
    text = "The number of the shape's newest revision."
    yield Series(name="morphogen_topology_revision", text=text, rows=(((), float(topology.revision)),))


def _counted(
    name: str,
    text: str,
    labels: tuple[str, ...],
    counts: Mapping[Any, int],
    kind: Literal["gauge", "counter"] = "gauge",
) -> Series:
    """``counts`` by the values of ``labels``."""
    rows = tuple((tuple(map(str, values)), float(count)) for values, count in sorted(counts.items()))
    return Series(name=name, text=text, labels=labels, rows=rows, kind=kind)
