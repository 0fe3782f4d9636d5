"""What a reload exchanges, in which order, and that what went is put away only when nobody can need it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agents.llm.breaker import BreakerPolicy
from agents.llm.desk import Desk
from agents.llm.pool import Pool
from agents.records import BackendUnreachable, InvalidRequest
from runtime import backend_servers, live
from runtime.admission import Cashier
from runtime.backend_servers import BackendServers
from runtime.config.settings import Settings
from runtime.dispatch import Dispatch
from runtime.first_backends import FirstBackends
from runtime.hub import DaemonHub
from runtime.live import LiveParts, node_kit
from runtime.reload_plan import plan
from runtime.sandbox_desk import SandboxDesk
from runtime.service import DaemonService
from tests.fakes.cluster import RecordingLedger, RecordingMetrics, ScriptedCluster
from tests.fakes.escalations import FakeEscalations
from tests.fakes.observing import FakeObserving
from tests.fakes.routing import idle_router
from tests.fakes.service import fake_settings
from tests.fakes.topology_port import idle_controller


class Child:
    """A server that was started for a seed."""

    def __init__(self, seed: int) -> None:
        self.base_url = f"http://127.0.0.1:{9000 + seed}/v1"
        self.seed = seed
        self.state = "made"

    async def start(self) -> None:
        if self.seed == 13:
            raise BackendUnreachable("it does not come up", backend="sim")
        self.state = "up"

    async def stop(self) -> None:
        self.state = "down"


class World:
    """A daemon's exchangeable parts; ``children`` are the simulated servers by seed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.children: dict[int, Child] = {}
        monkeypatch.setattr(backend_servers, "simulated_server", self._child)
        monkeypatch.setattr(live, "SETTLE_POLL_S", 0.0)
        self.cluster = ScriptedCluster()

    def _child(self, *, seed: int, speed: float) -> Child:
        self.children[seed] = Child(seed)
        return self.children[seed]

    async def start(self, settings: Settings) -> None:
        servers = BackendServers()
        specs = await servers.update(settings.backends, settings.simulated)
        desk = Desk(specs, breaker=BreakerPolicy())
        pool = Pool([], admission=desk)
        pool.renew(specs, make=live.HttpBackend, retry=node_kit(settings, specs).retry)
        fields: dict[str, Any] = {"ledger": RecordingLedger(), "metrics": RecordingMetrics()}
        fields |= {"settings": settings, "pool": pool, "desk": desk, "cashier": Cashier(desk)}
        dispatch = Dispatch(cluster=self.cluster, **fields)
        hub = DaemonHub(desk=desk, cashier=fields["cashier"], embedder=None, max_hops=1)
        more: dict[str, Any] = {
            "keys": object(),
            "embedder": None,
            "jobs": object(),
            "replies": object(),
            "registry": object(),
            "code": object(),
            "library": object(),
            "patterns": object(),
            "router": idle_router(settings),
            "controller": idle_controller(settings),
            "board": object(),
            "observing": FakeObserving(),
        }
        self.hub = hub
        self.service = DaemonService(
            cluster_port=self.cluster,
            dispatch=dispatch,
            pool_reason="",
            escalations=FakeEscalations(),
            sandbox_desk=SandboxDesk(settings.sandbox.setup(), fields["metrics"]),
            **fields,
            **more,
        )
        self.parts = LiveParts(
            service=self.service,
            hub=hub,
            servers=servers,
            found=FirstBackends(backends=settings.backends, reason=""),
            kit=node_kit(settings, specs),
        )

    async def change(self, new: Settings) -> None:
        await self.parts.apply(plan(self.service.settings, new))

    async def settled(self) -> None:
        async with asyncio.timeout(2):
            await asyncio.gather(*self.parts._settling)

    def names(self) -> list[str]:
        return [spec.name for spec in self.service.pool.specs]


def settings(*names: str, seed: int = 1, **sections: Any) -> Settings:
    backends = [{"name": name, "kind": "simulated"} for name in names]
    return fake_settings(backends=backends, simulated={"seed": seed}, **sections)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


async def test_nodes_know_a_new_backend_before_clients_and_a_removed_one_after(world: World) -> None:
    await world.start(settings("a", "b"))
    seen: list[tuple[list[str], list[str]]] = []
    update = world.cluster.update

    async def spy(kit: Any) -> None:
        seen.append(([spec.name for spec in kit.backends], world.names()))
        await update(kit)

    world.cluster.update = spy  # type: ignore[method-assign]
    await world.change(settings("b", "c"))
    assert seen == [(["b", "c", "a"], ["a", "b"]), (["b", "c"], ["b", "c"])]
    await world.settled()


async def test_what_is_not_a_nodes_business_is_not_told_to_nodes(world: World) -> None:
    await world.start(settings("a"))
    sections: dict[str, Any] = {"server": {"max_inflight": 3}, "cluster": {"max_hops": 9}, "breaker": {"failures": 1}}
    await world.change(settings("a", **sections, budget={"usd_per_day": 2.5}, jobs={"max_queued": 4}))
    assert world.cluster.kits == []
    assert (world.service.settings.server.max_inflight, world.hub.max_hops) == (3, 9)
    assert world.service.cashier.purse.settings.usd_per_day == 2.5
    assert world.service.dispatch.settings.jobs.max_queued == 4
    await world.settled()


async def test_permits_and_servers_of_what_went_stay_until_running_requests_have_ended(world: World) -> None:
    await world.start(settings("a", "b"))
    running = world.service.dispatch.running
    number = running.began()
    await world.change(settings("b", seed=2))
    later = running.began()
    for _ in range(5):
        await asyncio.sleep(0)
    assert world.children[1].state == world.children[2].state == "up"
    permit = await world.service.desk.lease("a", holder="t", wait_s=1.0)
    world.service.desk.release(permit, None)
    running.ended(number)
    await world.settled()
    assert (world.children[1].state, world.children[2].state) == ("down", "up")
    assert world.service.desk.try_lease("a", holder="t") is None
    running.ended(later)


async def test_what_comes_back_in_time_is_kept(world: World) -> None:
    await world.start(settings("a", "b"))
    number = world.service.dispatch.running.began()
    await world.change(settings("b", seed=2))
    await world.change(settings("a", "b", seed=1))
    world.service.dispatch.running.ended(number)
    await world.settled()
    assert (world.children[1].state, world.children[2].state) == ("up", "down")
    assert world.names() == ["a", "b"]
    assert world.service.desk.try_lease("a", holder="t") is not None


@pytest.mark.parametrize(
    ("new", "error"),
    [
        (settings("a", "new", seed=13), BackendUnreachable),
        (settings("a", "new", strategies={"mine": {"nonsense": 1}}), InvalidRequest),
        (settings("a", "new", strategies={"single": "single"}), InvalidRequest),
    ],
)
async def test_what_cannot_hold_changes_nothing(world: World, new: Settings, error: type[Exception]) -> None:
    await world.start(settings("a"))
    before = world.service.settings
    with pytest.raises(error):
        await world.change(new)
    assert world.service.settings is before
    assert (world.names(), list(world.service.desk.health()), world.cluster.kits) == (["a"], ["a"], [])
    assert world.children[1].state == "up"
    assert all(child.state != "up" for seed, child in world.children.items() if seed != 1)
