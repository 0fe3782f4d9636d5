"""The controller as the surfaces ask for it: implements ``port.TopologyPort``. Built by service.py."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping
from dataclasses import replace

from agents.records import Json
from runtime.config.settings import ClusterSettings
from runtime.controlling.book import Case
from runtime.controlling.by_hand import member_called, payload_by_hand
from runtime.controlling.controller import Controller
from runtime.controlling.views import case_view, case_whole, member_view, shape_view, step_words
from runtime.topology.payloads import Kind, Payload, Restore
from runtime.topology.records import BadProposal, Draft, NotNow, Prediction, Scope, Status, UnknownProposal
from runtime.topology.shape import Topology
from runtime.topology.steps import difference
from runtime.topology.wire import steps_from

LOOK_BACK_S = 86_400.0
LOOK_BACK = 2000
LEAST = 20
ASSUMED_FAILURE = 0.02
MAY_FAIL_MORE = 0.1
MAX_TOUCHED = 50


class TopologyFront:
    """See ``TopologyPort``. ``backends`` are the names that nodes may prefer."""

    def __init__(self, controller: Controller, *, cluster: ClusterSettings, backends: Collection[str]) -> None:
        self._controller, self._cluster, self._backends = controller, cluster, backends
        self._tools, self._book = controller.tools, controller.tools.book

    # ── the shape ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def shape(self, revision: int | None = None) -> dict[str, Json]:
        if revision is not None:
            return shape_view(await self._at(revision), None)
        return shape_view(self._controller.topology, self._controller.statuses())

    async def _at(self, revision: int) -> Topology:
        found = await self._book.at(revision)
        if found is None:
            raise UnknownProposal(await self._missing(revision), param="revision")
        return found

    async def _missing(self, revision: int) -> str:
        if revision >= (oldest := await self._book.oldest()):
            return f"there is no revision {revision}"
        return f"revision {revision} is not kept any more: the oldest is {oldest} (topology.keep_revisions, topology.keep_days)"

    async def history(self, *, limit: int, before: int | None) -> list[dict[str, Json]]:
        return [_told(row) for row in await self._book.revisions(limit=limit, before=before)]

    async def diff(self, one: int, other: int) -> dict[str, Json]:
        steps = difference(await self._at(one), await self._at(other))
        return {"from": one, "to": other, "steps": [step_words(step) for step in steps]}

    async def explain(self, node: str) -> dict[str, Json]:
        topology, rows = self._controller.topology, []
        try:
            member = member_called(node, topology, "node")
            rows = await self._book.of_node(member.node_id, limit=MAX_TOUCHED)
            view = member_view(member, self._controller.statuses().get(member.node_id))
        except BadProposal:
            rows = await self._book.of_node(node, limit=MAX_TOUCHED)
            if not rows:
                oldest = await self._book.oldest()
                known = f" (what was before revision {oldest} is not kept any more)" if oldest else ""
                raise UnknownProposal(f"there is and was no node {node[:64]!r}{known}", param="node") from None
            view = {"id": node, "desired": None}
        born_of = view.get("born_of")
        case = await self._book.case(str(born_of)) if born_of else None
        whole = case_whole(case, await self._book.moves(case.proposal.proposal_id)) if case is not None else None
        return {"node": view, "born_of": whole, "changes": [_told(row) for row in rows]}

    # ── proposals ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def proposals(self, *, status: str | None, limit: int, before: float | None) -> list[dict[str, Json]]:
        return [self._view(case) for case in await self._book.cases(status=status, limit=limit, before=before)]

    async def proposal(self, proposal_id: str) -> dict[str, Json]:
        case = await self._book.case(proposal_id)
        if case is None:
            raise UnknownProposal(f"there is no proposal {proposal_id[:64]!r}", param="id")
        name = case.proposal.proposal_id
        measured = self._controller.probation.measured(name)
        moves = await self._book.moves(name)
        return case_whole(case, moves, waits=self._tools.state.waits.get(name), measured=measured)

    def _view(self, case: Case) -> dict[str, Json]:
        name = case.proposal.proposal_id
        measured = self._controller.probation.measured(name)
        return case_view(case, waits=self._tools.state.waits.get(name), measured=measured)

    async def propose(self, given: Mapping[str, Json], reason: str, *, who: str) -> dict[str, Json]:
        payload = payload_by_hand(
            given,
            self._controller.topology,
            self._cluster,
            backends=self._backends,
            new_id=lambda: f"node-{secrets.token_hex(4)}",
        )
        return self._view(await self._submit(payload, reason, who))

    async def _submit(self, payload: Payload, reason: str, who: str) -> Case:
        watched = await self._failures()
        draft = Draft(payload=payload, reason=reason or "an operator's wish", origin="operator", predictions=(watched,))
        if draft.kind is Kind.RESTORE:
            draft = replace(draft, share=1.0)
        case = await self._controller.decisions.submit(draft, who=who)
        self._controller.kick()
        return case

    async def _failures(self) -> Prediction:
        """What is watched where an operator predicts nothing: that requests do not fail more often than in the last day."""
        since = self._tools.wall() - LOOK_BACK_S
        values, _ = await self._controller.samples.of("failure", Scope(), after=0, limit=LOOK_BACK, since=since)
        usual = sum(values) / len(values) if len(values) >= LEAST else ASSUMED_FAILURE
        return Prediction(metric="failure", baseline=usual, expected=usual, margin=MAY_FAIL_MORE)

    async def approve(self, proposal_id: str, digest: str, comment: str, *, who: str) -> dict[str, Json]:
        return self._heard(await self._controller.decisions.approve(proposal_id, digest, who=who, comment=comment))

    async def reject(self, proposal_id: str, reason: str, *, who: str) -> dict[str, Json]:
        return self._heard(await self._controller.decisions.reject(proposal_id, reason, who=who))

    async def snooze(self, proposal_id: str, for_s: float, *, who: str) -> dict[str, Json]:
        return self._heard(await self._controller.decisions.snooze(proposal_id, for_s, who=who))

    async def undo(self, proposal_id: str, reason: str, *, who: str) -> dict[str, Json]:
        return self._heard(await self._controller.decisions.undo(proposal_id, reason, who=who))

    async def settle(self, proposal_id: str, reason: str, *, who: str) -> dict[str, Json]:
        return self._heard(await self._controller.decisions.settle(proposal_id, reason, who=who))

    async def restore(self, revision: int, reason: str, *, who: str) -> dict[str, Json]:
        under_way = self._tools.state.of(Status.APPLYING, Status.VERIFYING, Status.ROLLING_BACK, Status.STUCK)
        if under_way:
            first = under_way[0].proposal
            raise NotNow(f"proposal {first.proposal_id} is {first.status}: undo it first, or wait", status=first.status)
        await self._at(revision)  # says it better than the plan does
        case = await self._submit(Restore(revision=revision), reason or f"back to revision {revision}", who)
        return await self.approve(case.proposal.proposal_id, case.proposal.digest, reason, who=who)

    def _heard(self, case: Case) -> dict[str, Json]:
        self._controller.kick()
        return self._view(case)


def _told(row: Mapping[str, Json]) -> dict[str, Json]:
    steps = steps_from(row["steps"])
    return {**row, "steps": [step_words(step) for step in steps]}
