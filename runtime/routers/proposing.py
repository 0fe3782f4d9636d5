"""A router that won, as a proposal to adopt it: a source of the controller, and the operator's short way to its decisions.

Built by build.py. What a proposal is and who approves it are runtime/topology's; it is carried out by ``Evolution.put``.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from runtime.controlling.controller import Controller
from runtime.routers.evolve import Evolution
from runtime.routers.records import Round
from runtime.topology.moves import UNDER_WAY, WAITING
from runtime.topology.payloads import AdoptRouter, Kind
from runtime.topology.records import Draft, Evidence, Prediction
from runtime.topology.shape import RouterStep, Step, Topology
from runtime.topology.steps import Stale, place_of

log = logging.getLogger(__name__)

KEY: Final = f"{Kind.ADOPT_ROUTER}:router"
ROUTER_PLACE: Final = place_of(RouterStep(before=None, after=None))
MAY_FAIL_MORE: Final = 0.05
"""Share of the requests that may fail beyond what did before, in the probation of an adopted router."""


def draft_of(each: Round, *, now: float) -> Draft:
    """The proposal to adopt the router of a round that won. Pure."""
    ruling = each.data.get("ruling") or {}
    gain, sides = ruling.get("gain") or {}, ruling.get("intervals") or {}
    check = each.data.get("check") or {}
    failed = min(max(float((sides.get("failed.champion") or {}).get("mean", 0.0)), 0.0), 1.0)
    evidence = Evidence(
        metric="worth",
        value=float(gain.get("mean", 0.0)),
        units="score",
        count=int(each.data.get("requests", 0)),
        since=each.at,
        until=max(now, each.at),
        source=str(each.data.get("experiment", "experiments")),
        note=f"gain over {each.parent or 'the learner'} where the two differ, at least {float(gain.get('low', 0.0)):+.3f}",
    )
    samples = int(check.get("samples", 0))
    return Draft(
        payload=AdoptRouter(version=each.version),
        reason=f"{each.version} beat {each.parent or 'the learner'}: {each.note}"[:1000],
        evidence=(evidence,),
        predictions=(Prediction(metric="failure", baseline=failed, expected=failed, margin=MAY_FAIL_MORE),),
        origin="model",
        share=min(1.0, int(check.get("decided", 0)) / samples) if samples else 1.0,
        simulated=bool(each.data.get("simulated")),
    )


class RouterSource:
    """``runtime.controlling.ports.Source``: the router that waits for a word, where there is one."""

    def __init__(self, evolution: Evolution) -> None:
        self._evolution = evolution

    async def propose(
        self, topology: Topology, *, open_keys: frozenset[str], held_back: frozenset[str], now: float
    ) -> Sequence[Draft]:
        if KEY in open_keys or KEY in held_back:
            return ()
        each = await self._evolution.waiting()
        return () if each is None else (draft_of(each, now=now),)


class ByProposal:
    """``records.Approvals``: an operator's word on a router, said at its own surface, as a decision on its proposal."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    async def approve(self, version: str | None, reason: str, *, who: str = "operator") -> None:
        """Have it carried out. Raises TopologyError (it is like that already, or being changed), LedgerError."""
        decisions = self._controller.decisions
        draft = Draft(payload=AdoptRouter(version=version), reason=reason, origin="operator")
        case = await decisions.submit(draft, who=who)
        if case.proposal.status in WAITING:
            await decisions.approve(case.proposal.proposal_id, case.proposal.digest, who=who, comment=reason)
        self._controller.kick()

    async def reject(self, version: str, reason: str, *, who: str = "operator") -> None:
        """Where a proposal of it waits. Raises TopologyError, LedgerError."""
        for case in self._controller.tools.state.of(*WAITING):
            if case.proposal.draft.payload == AdoptRouter(version=version):
                await self._controller.decisions.reject(case.proposal.proposal_id, reason or "declined", who=who)

    def held_back(self, now: float) -> bool:
        """Whether an operator rejected a router lately."""
        return KEY in self._controller.tools.state.held_back(now)


class ShapeFollows:
    """The alias of the registry says which router is in force; the shape's word on it follows: after a person moved it, or a
    router was deprecated, as a revision of nobody's proposal. A change of the router that is under way writes it by itself."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    async def __call__(self, champion: str | None) -> None:
        """Raises LedgerError."""
        controller = self._controller
        # Asked before the shape's lock is taken, too: whoever carries out such a change holds it and looks at routers meanwhile.
        if controller.topology.router == champion or self._under_way():
            return
        try:
            await controller.revise(
                lambda topology: self._steps(topology, champion), who="registry", reason="the alias champion of router was moved"
            )
        except Stale as error:
            log.info("the shape follows the alias at the next look: %s", error.message)

    def _steps(self, topology: Topology, champion: str | None) -> tuple[Step, ...]:
        step = RouterStep(before=topology.router, after=champion)
        return () if step.before == step.after or self._under_way() else (step,)

    def _under_way(self) -> bool:
        state = self._controller.tools.state
        return any(place_of(step) == ROUTER_PLACE for case in state.of(*UNDER_WAY) for step in case.plan.apply)
