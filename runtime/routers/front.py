"""Generated routers as the operator's surface asks for them: implements ``port.RoutersPort``. Built by build.py."""

from __future__ import annotations

from agents.records import Json
from registry.records import InvalidArtifact, UnknownArtifact
from runtime.learner.desk import Router
from runtime.programs.registry_desk import RegistryDesk
from runtime.routers.desk import ROUTER, RouterDesk
from runtime.routers.evolve import Evolution
from runtime.routers.views import MAX_ROUNDS, prompts_of, round_view, router_view, versions_of


class RoutersFront:
    """See ``RoutersPort``."""

    def __init__(self, registry: RegistryDesk, router: Router, desk: RouterDesk, evolution: Evolution) -> None:
        self._registry, self._router, self._desk, self._evolution = registry, router, desk, evolution

    async def all(self) -> dict[str, Json]:
        settings = self._desk.settings
        rounds = await self._evolution.rounds()
        found: dict[str, Json] = {
            "enabled": settings.enabled,
            "write": settings.write,
            "in_force": self._desk.champion,
            "under_test": self._router.trials.router,
            "why_not_now": self._evolution.why,
            "routers": [],
            "prompts": [],
            "rounds": [round_view(each) for each in rounds[:MAX_ROUNDS]],
        }
        if self._registry.is_open:
            registry = self._registry.registry
            found["routers"] = versions_of(registry, self._desk, self._router.trials.router)
            found["prompts"] = prompts_of(registry, rounds)
        return found

    async def one(self, version: str) -> dict[str, Json] | None:
        if version.partition("@")[0] != ROUTER:
            return None
        try:
            return await router_view(self._registry.registry, self._desk, self._router.trials.router, version)
        except (UnknownArtifact, InvalidArtifact):
            return None

    async def evolve(self) -> dict[str, Json]:
        made = await self._evolution.write_now()
        return {"round": None if made is None else round_view(made), "why": self._evolution.why}

    async def adopt(self, version: str) -> dict[str, Json] | None:
        found = await self._evolution.adopt(version)
        return None if found is None else dict(round_view(found))

    async def decline(self, version: str, why: str) -> dict[str, Json] | None:
        found = await self._evolution.decline(version, why)
        return None if found is None else dict(round_view(found))

    async def back(self) -> dict[str, Json] | None:
        found = await self._evolution.back()
        return None if found is None else {"was": found[0], "in_force": found[1]}
