"""The log as evolution reads it: judged choices, what a router says on them, and how it does in their shadow. Called by
evolve.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from runtime.learner.desk import Router
from runtime.learner.policy import weights_of
from runtime.routers.desk import RouterDesk
from runtime.routers.records import Round
from runtime.routers.replay import sayings, seen_of, shadowed
from runtime.routing.lessons import ArmKey, Seen
from runtime.routing.off_policy import OffPolicy
from sandbox.runner import Sandbox

LOG_S: Final = 14 * 86_400.0
LOG_ROWS: Final = 6_000


class Logbook:
    """Of one router desk; ``clock`` gives Unix seconds."""

    def __init__(self, router: Router, desk: RouterDesk, sandbox: Sandbox, clock: Callable[[], float]) -> None:
        self._router, self._desk, self._sandbox, self._clock = router, desk, sandbox, clock

    async def judged(self, rounds: Sequence[Round]) -> tuple[list[Seen], int]:
        """Judged choices, and how many of them are newer than the last attempt. Raises LedgerError."""
        last = max((each.at for each in rounds), default=0.0)
        rows = await self._router.book.newest(since=self._clock() - LOG_S, limit=LOG_ROWS)
        weights = weights_of(self._router.settings, {})
        pairs = [(row, each) for row in rows if (each := seen_of(row, weights)) is not None]
        return [each for _, each in pairs], sum(row["at"] > last for row, _ in pairs)

    async def said(self, code: str, seen: Sequence[Seen]) -> list[tuple[ArmKey | None, str]]:
        """What the router says on each, and which of its steps. Raises SandboxUnavailable."""
        return await sayings(self._sandbox, code, seen, settings=self._desk.settings, configured=self._desk.configured)

    async def shadow(self, code: str, seen: Sequence[Seen]) -> tuple[OffPolicy | None, float]:
        """See ``replay.shadowed``. Raises SandboxUnavailable."""
        return shadowed(seen, await self.said(code, seen), explore=self._desk.settings.explore)
