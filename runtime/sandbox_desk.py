"""The sandbox in the daemon: its level for probes and metrics, and the runs that the daemon itself asks for (registry checks).

Built by daemon.py, asked by the surfaces and at every scrape. Nodes have sandboxes of their own, on the same zygote where they
are on this machine; how their runs end reaches the daemon as ``run`` events. Must not import the registry or the ledger.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Final, Literal, Protocol

from agents.records import Json
from sandbox.records import Health, RunResult, Setup
from sandbox.runner import Sandbox

log = logging.getLogger(__name__)

LOOK_EVERY_S = 2.0
MAX_REASON_CHARS: Final = 300

SandboxLevel = Literal["starting", "full", "reduced", "refuses", "off"]
LEVELS: Final[tuple[SandboxLevel, ...]] = ("starting", "full", "reduced", "refuses", "off")


class Counts(Protocol):
    """What this room needs of ``runtime.metrics.Metrics``."""

    def code_ran(self, outcome: str, wall_s: float) -> None: ...


def level_of(health: Health | None, setup: Setup) -> SandboxLevel:
    """``full`` and ``reduced`` run code; ``refuses``: a layer is missing and no operator allowed that, or it cannot be started;
    ``off``: switched off; ``starting``: not known yet."""
    if not setup.enabled:
        return "off"
    if health is None:
        return "starting"
    if health.level == "full":
        return "full"
    return "reduced" if health.level == "reduced" and setup.allow_reduced else "refuses"


class SandboxDesk:
    """``sandbox`` is the daemon's own, closed at the end of ``async with``. ``watch`` keeps its zygote up, until cancelled."""

    def __init__(self, setup: Setup, counts: Counts, make: Callable[..., Sandbox] = Sandbox) -> None:
        def ended(result: RunResult) -> None:
            counts.code_ran(result.problem or "ok", result.wall_s)

        self.sandbox = make(setup, on_result=ended)
        self._health: Health | None = None
        self._said = ""

    async def __aenter__(self) -> SandboxDesk:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.sandbox.aclose()

    @property
    def level(self) -> SandboxLevel:
        return level_of(self._health, self.sandbox.setup)

    def standing(self) -> Mapping[str, Json]:
        """The level, whether code runs, which layers are missing and why, as JSON."""
        level, health = self.level, self._health
        return {
            "level": level,
            "runs_code": level in ("full", "reduced"),
            "missing": list(health.missing) if health is not None and level != "off" else [],
            "reason": health.reason[:MAX_REASON_CHARS] if health is not None and level in ("reduced", "refuses") else "",
        }

    def gauges(self) -> tuple[Mapping[str, float], int]:
        """1 for the level that holds, by level; and how often a dead zygote was replaced."""
        now = self.level
        return {level: float(level == now) for level in LEVELS}, self.sandbox.deaths

    def renew(self, setup: Setup) -> None:
        """Runs that begin from now on go by ``setup``."""
        self.sandbox.renew(setup)

    async def watch(self) -> None:
        """Look every LOOK_EVERY_S. A zygote that died is started again by the look, before a request needs it."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """What holds now. Starts the zygote where there is none and code may run; tells the log of every change."""
        if self.sandbox.setup.enabled:
            self._health = await self.sandbox.health()
        standing = self.standing()
        said = f"{standing['level']}: {standing['reason']}" if standing["reason"] else str(standing["level"])
        if said != self._said:
            log.log(logging.INFO if standing["level"] in ("full", "off") else logging.WARNING, "sandbox: %s", said)
            self._said = said
