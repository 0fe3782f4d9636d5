"""Generated routers in service: asked first, left at once where anything is wrong, put out of service where it goes on."""

from __future__ import annotations

from typing import Any

import pytest

from agents.llm.chat import BackendSpec
from registry.artifacts import Registry
from registry.records import NewVersion
from runtime.config.routers import RoutersSettings
from runtime.routers.desk import ROUTER, RouterDesk
from runtime.routing.generated import DEAREST_IN_A_ROW
from runtime.routing.records import Arm
from sandbox.records import Case
from tests.fakes.registry import World
from tests.fakes.routers import OpenDesk, OpenSandbox

ARMS = (
    Arm(strategy="single", node="n", backend="cheap", usd_per_1m=1.0),
    Arm(strategy="single", node="n", backend="dear", usd_per_1m=9.0),
)
GOOD = """def run(request):
    name = "dear" if request.get("words", 0) > 10 else "cheap"
    return {"backend": name, "confidence": 0.9}
"""


def says(body: str) -> str:
    return f"def run(request):\n    {body}\n"


class Service:
    """A desk over a registry in memory."""

    def __init__(self, registry: Registry) -> None:
        self.registry, self.sandbox = registry, OpenSandbox()
        self.tried: str | None = None
        self.unfit: list[tuple[str, str]] = []
        desk: Any = OpenDesk(registry)
        sandbox: Any = self.sandbox
        self.desk = RouterDesk(
            registry=desk,
            sandbox=sandbox,
            settings=RoutersSettings(),
            backends=lambda: [BackendSpec(name="cheap"), BackendSpec(name="dear"), BackendSpec(name="resting")],
            tried=lambda: self.tried,
            on_unfit=self._heard,
        )

    async def _heard(self, version: str, why: str) -> None:
        self.unfit.append((version, why))

    async def publish(self, code: str, *, champion: bool = True) -> str:
        new = NewVersion(name=ROUTER, kind="router", content=code, problem="route", author="nora")
        version = await self.registry.publish(new, [Case(name="one")])
        if champion:
            await self.registry.point(ROUTER, "champion", version.number)
        await self.desk.look()
        return version.version_id

    async def said(self, words: int = 3, router: str | None = None) -> str | None:
        told = await self.desk.advise(router, {"words": words, "text": "hello"}, ARMS)
        return None if told.arm is None else told.arm.backend


@pytest.fixture
async def service() -> Service:
    return Service(await World().open())


async def test_the_champion_is_asked_and_named_in_what_is_told(service: Service) -> None:
    assert await service.said() is None
    version = await service.publish(GOOD)
    assert (await service.said(3), await service.said(30)) == ("cheap", "dear")
    told = await service.desk.advise(None, {"words": 3}, ARMS)
    assert (told.router, told.confidence) == (version, 0.9)
    conduct = service.desk.conduct(version)
    assert conduct is not None
    assert (conduct.calls, conduct.decided, conduct.faults) == (3, 3, 0)


@pytest.mark.parametrize(
    "code",
    [
        says('return {"backend": "gpt-nobody", "confidence": 1.0}'),
        says('return request["no such feature"]'),
        says("raise MemoryError"),
        says('return "cheap"'),
        says('return {"backend": "cheap", "confidence": 7}'),
        says("return [0] * 1000"),
    ],
)
async def test_each_fault_is_the_learners_choice_at_once_and_three_end_the_router(service: Service, code: str) -> None:
    version = await service.publish(code)
    for _ in range(3):
        assert service.desk.serves(version)
        assert await service.said() is None
    assert not service.desk.serves(version)
    assert service.desk.champion is None
    assert await service.said() is None
    await service.desk.look()
    assert service.unfit[0][0] == version
    standing = service.registry.catalog.standings[service.registry.find(version).version_id]
    assert (standing.state, standing.by) == ("deprecated", "routers")
    assert service.registry.catalog.artifact(ROUTER).champion is None


async def test_a_loop_costs_one_time_limit_and_ends_the_router(service: Service) -> None:
    version = await service.publish(says("while True: pass"))
    assert await service.said() is None
    calls = len(service.sandbox.held)
    assert await service.said() is None  # not asked again before it is clear
    await service.desk.look()
    assert len(service.sandbox.held) == calls
    assert not service.desk.serves(version)
    await service.desk.look()
    assert "does not end" in service.unfit[0][1]


async def test_a_call_that_was_slow_on_a_busy_machine_is_forgiven(service: Service) -> None:
    version = await service.publish(GOOD)
    service.sandbox.slow = 1
    assert await service.said() is None
    await service.desk.look()
    assert await service.said() == "cheap"
    conduct = service.desk.conduct(version)
    assert conduct is not None
    assert conduct.faults == 0


async def test_nothing_but_the_dearest_ends_the_router(service: Service) -> None:
    await service.publish(says('return {"backend": "dear", "confidence": 0.9}'))
    said = [await service.said() for _ in range(DEAREST_IN_A_ROW + 5)]
    assert said == ["dear"] * DEAREST_IN_A_ROW + [None] * 5


async def test_a_backend_that_rests_and_doubt_are_no_faults(service: Service) -> None:
    for body in (
        'return {"backend": "resting", "confidence": 1.0}',
        'return {"backend": "dear", "confidence": 0.2}',
        "return None",
    ):
        version = await service.publish(says(body))
        assert [await service.said() for _ in range(5)] == [None] * 5
        assert service.desk.serves(version)


async def test_while_the_sandbox_is_away_the_learner_chooses_and_nobody_is_blamed(service: Service) -> None:
    version = await service.publish(GOOD)
    service.sandbox.away = True
    assert [await service.said() for _ in range(9)] == [None] * 9
    service.sandbox.away = False
    assert service.desk.serves(version)
    assert await service.said() == "cheap"


async def test_an_alias_that_moves_is_followed_and_one_that_goes_leaves_the_learner(service: Service) -> None:
    await service.publish(GOOD)
    await service.publish(says('return {"backend": "dear", "confidence": 0.9}'))
    assert await service.said() == "dear"
    await service.registry.point(ROUTER, "champion", "1.0.0")
    await service.desk.look()
    assert await service.said() == "cheap"
    await service.registry.point(ROUTER, "champion", None)
    await service.desk.look()
    assert await service.said() is None
    assert all(held.closed for held in service.sandbox.held)


async def test_a_champion_whose_content_is_gone_leaves_the_learner_and_comes_back(service: Service) -> None:
    world = World()
    gone = Service(await world.open())
    await gone.publish(GOOD)
    kept = dict(world.tables.data["versions"])
    puts = list(world.journal.puts)
    world.tables.data["versions"].clear()
    world.journal.puts[:] = [put for put in puts if put.table != "versions"]
    again = Service(gone.registry)
    await again.desk.look()
    assert await again.said() is None
    world.tables.data["versions"].update(kept)
    world.journal.puts[:] = puts
    await again.desk.look()
    assert await again.said() == "cheap"


async def test_the_one_under_test_serves_beside_the_champion(service: Service) -> None:
    await service.publish(GOOD)
    other = await service.publish(says('return {"backend": "dear", "confidence": 0.9}'), champion=False)
    assert not service.desk.serves(other)
    service.tried = other
    await service.desk.look()
    assert (await service.said(3), await service.said(3, other)) == ("cheap", "dear")


async def test_switched_off_nobody_is_asked(service: Service) -> None:
    version = await service.publish(GOOD)
    service.desk.renew(RoutersSettings(enabled=False))
    assert not service.desk.serves(version)
    assert await service.said() is None
