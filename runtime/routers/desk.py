"""Generated routers in service: held in the sandbox, asked before the learner, left at once where anything is wrong.

Implements ``runtime.learner.records.Advisor``. Built by build.py, which runs ``run``. The champion of the artifact ``router``
serves, and beside it the one under test. Whatever happens here costs a request nothing but the time limit: without a word the
learner chooses. A router that fails three times in fifty calls, or says the dearest backend two hundred times in a row, is
deprecated.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from agents.llm.chat import BackendSpec
from registry.artifacts import Registry
from registry.records import NotAllowed, RegistryError, UnknownArtifact, VersionId
from runtime.config.routers import RoutersSettings
from runtime.learner.records import OWN, Told
from runtime.ledger.records import LedgerError
from runtime.programs.registry_desk import RegistryDesk
from runtime.routing.generated import Advice, Conduct, Fault, FaultKind, Passed, read
from runtime.routing.records import Arm
from sandbox.held import Held
from sandbox.records import MIB, Limits, Problem, RunResult
from sandbox.runner import Sandbox

log = logging.getLogger(__name__)

ROUTER: Final = "router"
"""The artifact whose champion is in force."""
BY: Final = "routers"
LOOK_EVERY_S: Final = 1.0
PATIENCE: Final = 10
"""So many times its limit a router gets once, after it took too long."""
MEMORY_BYTES: Final = 64 * MIB
OUTPUT_BYTES: Final = 4_096
_FAULTS: Final[Mapping[Problem, FaultKind]] = {
    Problem.REJECTED: "rejected",
    Problem.RAISED: "raised",
    Problem.TIMED_OUT: "timed_out",
    Problem.OUT_OF_MEMORY: "out_of_memory",
    Problem.OUTPUT_TOO_LARGE: "too_large",
    Problem.CRASHED: "crashed",
    Problem.NOT_SERIALISABLE: "shape",
}


def limits_of(settings: RoutersSettings) -> Limits:
    """Of one call of a router."""
    wall_s = settings.limit_ms / 1000
    return Limits(wall_s=wall_s, cpu_s=1.0, memory_bytes=MEMORY_BYTES, output_bytes=OUTPUT_BYTES)


def fault_of(result: RunResult) -> Fault | None:
    """What a call did wrong; None where it gave a value, and where the sandbox could not run it at all."""
    kind = _FAULTS.get(result.problem) if result.problem is not None else None
    return None if kind is None else Fault(kind=kind, why=result.error[:300])


@dataclass(slots=True)
class Serving:
    """A router that can be asked."""

    version: VersionId
    content: str
    held: Held
    conduct: Conduct = field(default_factory=Conduct)
    suspect: tuple[Mapping[str, Any], Sequence[Arm]] | None = None
    """A request on which it took too long. It is not asked until it is clear whether that was it or a busy machine."""


class RouterDesk:
    """``tried`` is the version under test. ``on_unfit`` is told of one that may not go on, before it is deprecated."""

    def __init__(
        self,
        *,
        registry: RegistryDesk,
        sandbox: Sandbox,
        settings: RoutersSettings,
        backends: Callable[[], Sequence[BackendSpec]],
        tried: Callable[[], str | None] = lambda: None,
        on_unfit: Callable[[str, str], Awaitable[None]] | None = None,
    ) -> None:
        self._registry, self._sandbox, self._settings = registry, sandbox, settings
        self._backends, self._tried, self._on_unfit = backends, tried, on_unfit
        self._serving: dict[str, Serving] = {}
        self._unfit: dict[str, str] = {}
        self._said: dict[str, str] = {}
        self._champion: VersionId | None = None
        self.counts: Counter[str] = Counter()
        self.followed: Callable[[str | None], Awaitable[None]] | None = None
        """Hears at each look which version is in force."""

    @property
    def champion(self) -> VersionId | None:
        """The version in force that serves; None where the learner chooses alone."""
        return self._champion

    @property
    def settings(self) -> RoutersSettings:
        """Those that hold now."""
        return self._settings

    @property
    def explore(self) -> float:
        return self._settings.explore

    def renew(self, settings: RoutersSettings) -> None:
        """Calls from now on go by ``settings``; a time limit holds for routers that are taken into service from now on."""
        self._settings = settings

    def conduct(self, version: str) -> Conduct | None:
        """How one that serves behaves; None for any other."""
        serving = self._serving.get(version)
        return None if serving is None else serving.conduct

    # ── the request path ────────────────────────────────────────────────────────────────────────────────────────────────

    def serves(self, router: str) -> bool:
        return self._settings.enabled and router in self._serving

    async def advise(self, router: str | None, features: Mapping[str, Any], arms: Sequence[Arm]) -> Told:
        version = router or self._champion
        serving = self._serving.get(version) if version is not None and self._settings.enabled else None
        if serving is None or serving.suspect is not None:
            return Told(features=features)
        result = await serving.held.call(features)
        if result.problem is Problem.UNAVAILABLE:
            self.counts["unavailable"] += 1
            return Told(features=features)
        if result.problem is Problem.TIMED_OUT:
            serving.suspect = (features, arms)
            self.counts["failed"] += 1
            return Told(features=features)
        found = self._heard(serving, result, arms)
        if not isinstance(found, Advice):
            self.counts["failed" if isinstance(found, Fault) else "passed"] += 1
            return Told(features=features)
        self.counts["decided"] += 1
        return Told(
            features=features,
            arm=arms[found.at],
            router=serving.version,
            step=found.step,
            reason=found.reason,
            confidence=found.confidence,
        )

    def _heard(self, serving: Serving, result: RunResult, arms: Sequence[Arm]) -> Advice | Passed | Fault:
        """What a call came to, counted; a router that may not go on is left."""
        found = fault_of(result) or self._read(result.value, arms)
        serving.conduct = serving.conduct.seen(found, arms)
        if isinstance(found, Fault):
            self._failed(serving.version, found)
        if serving.conduct.unfit:
            self._leave(serving, serving.conduct.unfit)
        return found

    @property
    def configured(self) -> frozenset[str]:
        """The names of all backends there are, those that rest included."""
        return frozenset((OWN, *(spec.name for spec in self._backends())))

    def _read(self, value: Any, arms: Sequence[Arm]) -> Advice | Passed | Fault:
        return read(value, arms, configured=self.configured, least_confidence=self._settings.least_confidence)

    def _failed(self, version: VersionId, fault: Fault) -> None:
        said = f"{fault.kind}: {fault.why}"
        if self._said.get(version) != said:
            log.warning("%s failed, the learner chooses instead: %s", version, said)
        self._said[version] = said

    def _leave(self, serving: Serving, why: str) -> None:
        """No request asks it any more; that it is deprecated is written at the next look."""
        if self._serving.pop(serving.version, None) is not None:
            log.error("%s is taken out of service: %s", serving.version, why)
            self._unfit[serving.version] = why
            self.counts["retired"] += 1
            self._champion = None if self._champion == serving.version else self._champion

    # ── upkeep ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Follow the registry. Until cancelled."""
        while True:
            try:
                await self.look()
            except (RegistryError, LedgerError) as error:
                log.error("routers are looked at again: %s", error)
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """Take into service what is to serve now, and out of it what is not. Raises RegistryError, LedgerError."""
        if not (self._settings.enabled and self._registry.is_open):
            return
        registry = self._registry.registry
        for serving in [each for each in self._serving.values() if each.suspect is not None]:
            await self._cleared(serving)
        await self._write_unfit(registry)
        artifact = registry.catalog.artifacts.get(ROUTER)
        champion = artifact.champion if artifact is not None and artifact.kind == ROUTER else None
        tried = self._tried()
        wanted = [VersionId(each) for each in (champion, tried) if each is not None and each not in self._unfit]
        for version in wanted:
            if version not in self._serving:
                await self._load(registry, version)
        self._champion = champion if champion in self._serving else None
        if self.followed is not None:
            await self.followed(champion)
        for name in [name for name in self._serving if name not in wanted]:
            await self._serving.pop(name).held.aclose()

    async def _load(self, registry: Registry, version: VersionId) -> None:
        """Into service, warm. One that cannot be read is said so, and tried again at the next look."""
        try:
            found = await registry.content(version)
            if registry.catalog.standings[version].state != "published":
                return
        except (RegistryError, KeyError) as error:
            if self._said.get(version) != str(error):
                log.error("%s cannot be read, the learner chooses instead: %s", version, error)
            self._said[version] = str(error)
            return
        await self._sandbox.health(found.content)
        held = self._sandbox.hold(found.content, limits_of(self._settings))
        # A first call makes its process; what it says of nothing is of no interest.
        await held.call({})
        self._serving[version] = Serving(version, found.content, held)
        log.info("%s serves", version)

    async def _cleared(self, serving: Serving) -> None:
        """Ask it once more about the request on which it took too long, with more time: one that loops takes all of it."""
        assert serving.suspect is not None
        features, arms = serving.suspect
        limits = limits_of(self._settings)
        result = await self._sandbox.run(serving.content, features, replace(limits, wall_s=PATIENCE * limits.wall_s))
        if result.problem is Problem.UNAVAILABLE:
            return
        serving.suspect = None
        if result.problem is Problem.TIMED_OUT:
            self._leave(serving, f"it does not end within {PATIENCE * limits.wall_s:g} s")
            return
        self._heard(serving, result, arms)

    async def _write_unfit(self, registry: Registry) -> None:
        for version, why in list(self._unfit.items()):
            if self._on_unfit is not None:
                await self._on_unfit(version, why)
            try:
                await registry.move(version, "deprecated", by=BY, reason=why)
            except (NotAllowed, UnknownArtifact) as error:
                log.info("%s is deprecated already: %s", version, error)
            del self._unfit[version]

    async def close(self) -> None:
        """Idempotent."""
        for serving in self._serving.values():
            await serving.held.aclose()
        self._serving.clear()
        self._champion = None
