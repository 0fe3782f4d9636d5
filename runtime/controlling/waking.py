"""A request names a node that does not live: who took its place answers, or it is woken and the request waits for it.

Hooked into the request path by daemon.py, before a node is chosen. Decides nothing: a merger or a recovery said who takes over,
and whether a node may be woken is the policy's (topology.approval.wake) and the caps' word, on a proposal like any other; many
requests at once make one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Final

from agents.records import DeadlineExceeded, Event, NodeId, Refused
from runtime.cluster import NodeStatus
from runtime.controlling.controller import Controller
from runtime.open_request import OpenRequest
from runtime.topology.moves import OVER
from runtime.topology.payloads import Wake
from runtime.topology.records import Draft, Evidence, Prediction, Scope, Status, TopologyError
from runtime.topology.shape import Member
from runtime.topology.situation import BUILT_IN_ROLES

WHO: Final = "request"
LOOK_S: Final = 0.02
RETRY_S: Final = 10.0
_FAILURE: Final = 0.02
_MAY_FAIL_MORE: Final = 0.1


def parked(controller: Controller) -> Sequence[NodeStatus]:
    """Nodes that a request may name though they hold no process. Those of the registry's own chores are not for clients."""
    members = controller.topology.members.values()
    return [NodeStatus(spec=each.spec, state="parked") for each in members if _rests(each)]


def waking(controller: Controller, then: Callable[[OpenRequest], Awaitable[None]]) -> Callable[[OpenRequest], Awaitable[None]]:
    """The step of the request path that finds or wakes who is named, and then does ``then``."""

    async def step(run: OpenRequest) -> None:
        target = run.request.target
        if target.kind == "node" and target.name is not None:
            members = controller.topology.members.values()
            member = next((each for each in members if each.spec.name == target.name), None)
            if member is None or not _live(controller, member.node_id):
                heir = _heir(controller, target.name)
                if heir is not None:
                    run.request = replace(run.request, target=replace(target, name=heir.spec.name))
                    said = {"reason": f"{heir.spec.name} took the place of {target.name}"}
                    run.note(Event(kind="note", at=controller.tools.wall(), data=said))
                elif member is not None and _rests(member):
                    await wake(controller, member, within_s=run.deadline_s)
        await then(run)

    return step


def _heir(controller: Controller, name: str) -> Member | None:
    """The live node that took the place of the one called ``name``."""
    members = controller.topology.members.values()
    return next((each for each in members if name in each.also and _live(controller, each.node_id)), None)


async def wake(controller: Controller, member: Member, *, within_s: float) -> None:
    """Return when ``member`` is live. Raises Refused where it may not be woken now, which says how it can; DeadlineExceeded."""
    name = member.spec.name
    try:
        case = await controller.decisions.submit(_draft(member, now=controller.tools.wall()), who=WHO)
    except TopologyError as error:
        raise Refused(_said(name, error.message, f"morphogen proposals new wake {name}"), retry_after_s=RETRY_S) from error
    proposal_id = case.proposal.proposal_id
    controller.kick()
    try:
        async with asyncio.timeout(within_s):
            while not _live(controller, member.node_id):
                known = controller.tools.state.cases.get(proposal_id)
                status = Status.EXPIRED if known is None else known.proposal.status
                if status in (Status.PROPOSED, Status.SNOOZED):
                    how = f"morphogen proposals approve {proposal_id}"
                    raise Refused(
                        _said(name, f"waking it waits for an operator ({case.proposal.note})", how), retry_after_s=RETRY_S
                    )
                if status in OVER or status in (Status.ROLLING_BACK, Status.STUCK):
                    how = f"morphogen proposals show {proposal_id}"
                    raise Refused(_said(name, "waking it came to nothing", how), retry_after_s=RETRY_S)
                await asyncio.sleep(LOOK_S)
    except TimeoutError:
        why = controller.tools.state.waits.get(proposal_id, "it takes its time")
        raise DeadlineExceeded(f"node {name!r} is parked and was not awake in time: {why}") from None


def _said(name: str, why: str, how: str) -> str:
    return f"node {name!r} is parked: {why}. To wake it: {how}"


def _rests(member: Member) -> bool:
    return member.life == "parked" and member.spec.role not in BUILT_IN_ROLES


def _live(controller: Controller, node_id: NodeId) -> bool:
    status = controller.statuses().get(node_id)
    return status is not None and status.state == "live"


def _draft(member: Member, *, now: float) -> Draft:
    scope = Scope(kind="nodes", names=(member.spec.name,))
    asked = Evidence(metric="count", value=1.0, units="requests", count=1, since=now, until=now, scope=scope, source="request")
    watched = Prediction(metric="failure", baseline=_FAILURE, expected=_FAILURE, margin=_MAY_FAIL_MORE, scope=scope)
    reason = f"a request names {member.spec.name}, which is parked"
    return Draft(payload=Wake(node=member.node_id), reason=reason, evidence=(asked,), predictions=(watched,))
