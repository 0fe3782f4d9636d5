"""The request path of a daemon over scripts, and what is asked of it: for tests of dispatch and of what it uses."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from agents.llm.breaker import BreakerPolicy
from agents.llm.desk import Desk
from agents.llm.pool import Pool
from agents.llm.retry import RetryPolicy
from agents.records import NodeLost, RequestId
from runtime.dispatch import Dispatch
from runtime.open_request import OpenRequest, SeenBefore, never
from runtime.records import Request, Target
from tests.fakes.backends import ScriptedBackend
from tests.fakes.cluster import RecordingLedger, RecordingMetrics, ScriptedCluster
from tests.fakes.service import fake_settings

STRAIGHT = Target(kind="backend", name="a")
LOST = NodeLost("the node died")


@dataclass
class World:
    """A daemon's request path over scripts; ``now`` is its clock."""

    cluster: ScriptedCluster
    backends: Sequence[ScriptedBackend]
    settings: Any
    now: float = 100.0
    ledger: Any = field(default_factory=RecordingLedger)
    metrics: Any = field(default_factory=RecordingMetrics)
    seen_before: SeenBefore = never
    specialist: Callable[[OpenRequest], Awaitable[None]] | None = None

    def __post_init__(self) -> None:
        specs = [backend.spec for backend in self.backends]
        self.desk = Desk(specs, breaker=BreakerPolicy(enabled=False))
        self.pool = Pool(self.backends, admission=self.desk, retry=RetryPolicy(enabled=False))
        self.dispatch = Dispatch(
            settings=self.settings,
            pool=self.pool,
            desk=self.desk,
            cluster=self.cluster,
            ledger=self.ledger,
            metrics=self.metrics,
            seen_before=self.seen_before,
            specialist=self.specialist,
            clock=lambda: self.now,
            wall=lambda: self.now,
        )

    def later(self, seconds: float) -> Any:
        def move() -> None:
            self.now += seconds

        return move

    def settled(self) -> dict[str, Any]:
        """The one outcome, after checking that nothing is left behind."""
        assert [self.desk.inflight(spec.name) for spec in self.pool.specs] == [0] * len(self.pool.specs)
        assert (len(self.dispatch.running), self.cluster.open) == (0, 0)
        assert len(self.ledger.accepted) == len(self.ledger.outcomes) == len(self.metrics.finished) == 1
        (outcome,) = self.ledger.outcomes
        assert (outcome["answer"] is None) != (outcome["error"] is None)
        assert self.metrics.calls == list(outcome["calls"])
        return outcome


def world(*attempts: Sequence[Any], a: Sequence[Any] = (), nodes: Any = None, **sections: Any) -> World:
    backends = [ScriptedBackend("a", *a), ScriptedBackend("b")]
    return World(ScriptedCluster(*attempts, nodes=nodes), backends, fake_settings(**sections))


def request(**fields: Any) -> Request:
    return Request(
        **{"request_id": RequestId("r1"), "source": "openai", "messages": ({"role": "user", "content": "hi"},), **fields}
    )


async def take(w: World, asked: Request, into: list[Any]) -> None:
    async for item in w.dispatch.stream(asked):
        into.append(item)


async def until(done: Any) -> None:
    for _ in range(200):
        if done():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came to that")
