"""Self-observation as the surfaces ask for it: implements ``port.ObservingPort``. Built by build.py."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from agents.records import Json
from runtime.config.observe import ObserveSettings
from runtime.controlling.controller import Controller
from runtime.controlling.views import case_view
from runtime.observing.analysis import analysis
from runtime.observing.observer import Look, Observer
from runtime.topology.records import UnknownProposal
from runtime.topology.simulate import Simulated, simulate

FRESH_S = 10.0
"""A look that is no older is shown again."""
MAX_CASES = 50


class ObservingFront:
    """See ``ObservingPort``."""

    def __init__(self, observer: Observer, controller: Controller, *, wall: Callable[[], float]) -> None:
        self._observer, self._controller, self._wall = observer, controller, wall
        self._shown: Look | None = None

    def renew(self, settings: ObserveSettings) -> None:
        """Let other settings hold from now on."""
        self._observer.settings = settings

    async def analysis(self) -> dict[str, Json]:
        look = self._shown
        if look is None or not 0.0 <= self._wall() - look.at < FRESH_S:
            look = self._shown = await self._observer.look(self._controller.topology, now=self._wall())
        return await self._told(look)

    async def analyse(self) -> dict[str, Json]:
        look = self._shown = await self._observer.look(self._controller.topology, now=self._wall())
        await self._observer.hear(look)
        self._controller.kick()
        return await self._told(look)

    async def _told(self, look: Look) -> dict[str, Json]:
        book, introspection = self._controller.tools.book, self._observer.introspection
        cases = await book.cases(status=None, limit=MAX_CASES, before=None)
        model, trouble = (None, "") if introspection is None else (introspection.newest, introspection.trouble)
        measured = self._controller.probation.measured
        views = [case_view(case, measured=measured(case.proposal.proposal_id)) for case in cases]
        return analysis(look, history=list(self._observer.looks), model=model, trouble=trouble, cases=views)

    async def simulated(self, proposal_id: str) -> dict[str, Json]:
        case = await self._controller.tools.book.case(proposal_id)
        if case is None:
            raise UnknownProposal(f"there is no proposal {proposal_id[:64]!r}", param="id")
        topology = self._controller.topology
        await self._observer.catch_up(topology, now=self._wall())
        outcomes, payload = self._observer.outcomes(), case.proposal.draft.payload
        found = await asyncio.to_thread(simulate, payload, outcomes, topology)
        return {"id": case.proposal.proposal_id, "kind": str(case.proposal.kind), **simulated_view(found)}


def simulated_view(found: Simulated) -> dict[str, Json]:
    """A simulation as JSON."""
    return {
        "requests": found.requests,
        "affected": found.affected,
        "covered": found.covered,
        "effects": {
            name: {
                "now": each.now,
                "then": each.then,
                "change": each.change,
                "low": each.low,
                "high": each.high,
                "requests": each.requests,
            }
            for name, each in found.effects.items()
        },
        "limits": list(found.limits),
    }
