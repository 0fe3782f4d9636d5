"""Takes proposals up and hears what is decided on them: by the policy, by operators, by time.

Called by controller.py (drafts of the rules, the passing of time) and by the surface (an operator's words). Nothing is carried
out here. Each decision is one transaction of the ledger, which takes it only while the proposal stands as it was seen: of two
operators who speak at once the second is told that it was decided.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from typing import Final

from runtime.controlling.book import Added, Case, Entry, Held, Moved
from runtime.controlling.checks import check_draft
from runtime.controlling.tools import CONTROLLER, POLICY, Tools
from runtime.topology import approval, caps
from runtime.topology.moves import WAITING
from runtime.topology.payloads import Kind, Prune, Restore
from runtime.topology.plan import plan_of
from runtime.topology.records import Draft, NotNow, OverCap, Proposal, Status, UnknownProposal
from runtime.topology.shape import MemberStep, ProposalId
from runtime.topology.wire import digest_of

MAX_SNOOZE_S: Final = 90 * 86_400.0


class Decisions:
    """See the module. Raises TopologyError (which says what is wrong) and LedgerError."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._one_at_a_time = asyncio.Lock()

    # ── taking up ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def submit(self, draft: Draft, *, who: str) -> Case:
        """Take a draft up. The same change, open already, is given back as it is; another one of the same key gives way to it.

        Raises BadProposal, OverCap, NotNow (refused by the policy, held back, or its subject is being changed).
        """
        check_draft(draft, self._tools.hands)
        async with self._one_at_a_time:
            return await self._submit(draft, who)

    async def _submit(self, draft: Draft, who: str) -> Case:
        tools, state, now = self._tools, self._tools.state, self._tools.wall()
        case = await self._case(draft, now)
        key = case.proposal.key
        old = next((each for each in state.cases.values() if each.proposal.key == key), None)
        if old is not None and old.proposal.draft.payload == draft.payload:
            return old
        if old is not None and old.proposal.status not in WAITING:
            raise NotNow(f"proposal {old.proposal.proposal_id} is {old.proposal.status} for the same", status=old.proposal.status)
        hold = state.holds.get(key)
        if draft.origin != "operator" and hold is not None and hold.until > now:
            raise NotNow(f"{hold.who} holds it back: {hold.reason}", status=Status.REJECTED)
        if old is None and len(state.cases) >= tools.caps.open_proposals:
            raise OverCap(f"{len(state.cases)} proposals are open", cap="topology.max_open_proposals")
        caps.check_shape(state.topology, case.plan, tools.caps, descendants=state.descendants)
        decision = approval.decide(case.proposal, case.plan, tools.settings.approval.policy(), now=now)
        if isinstance(decision, approval.Refuse):
            raise NotNow(decision.reason, status=Status.REJECTED)
        return await self._add(case, decision, old, who)

    async def _case(self, draft: Draft, now: float) -> Case:
        tools = self._tools
        topology, payload = tools.state.topology, draft.payload
        past = await tools.book.at(payload.revision) if isinstance(payload, Restore) else None
        name = ProposalId(f"prop_{int(now * 1000):012x}{os.urandom(4).hex()}")
        plan = plan_of(payload, topology, proposal_id=name, now=now, past=past)
        proposal = Proposal(
            proposal_id=name,
            draft=draft,
            base_revision=topology.revision,
            created_at=now,
            expires_at=now + tools.settings.expire_s,
            digest=digest_of(draft, topology.revision, plan),
            updated_at=now,
        )
        return Case(proposal=proposal, plan=plan)

    async def _add(self, case: Case, decision: approval.Decision, old: Case | None, who: str) -> Case:
        tools = self._tools
        case = replace(case, proposal=replace(case.proposal, note=decision.reason))
        entries: list[Entry] = []
        if old is not None:
            old = await self._awake(old)
            entries.append(tools.move(old, Status.SUPERSEDED, f"{case.proposal.proposal_id} takes its place"))
        entries.append(Added(case=case, who=who))
        await tools.write(*entries)
        if isinstance(decision, approval.Auto):
            await tools.write(tools.move(case, Status.APPROVED, decision.reason, who=POLICY))
        return tools.current(case)

    async def _awake(self, case: Case) -> Case:
        if case.proposal.status is Status.SNOOZED:
            await self._tools.write(self._tools.move(case, Status.PROPOSED, "it is looked at again", until=None))
        return self._tools.current(case)

    # ── operators ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def approve(self, name: str, digest: str, *, who: str, comment: str = "") -> Case:
        """Carry it out. ``digest`` is of what the operator saw. Raises UnknownProposal, NotNow."""
        case = await self._found(name)
        approval.check_decision(case.proposal, digest, now=self._tools.wall())
        case = await self._awake(case)
        await self._tools.write(self._tools.move(case, Status.APPROVED, comment or "approved", who=who))
        return self._tools.current(case)

    async def reject(self, name: str, reason: str, *, who: str) -> Case:
        """Never mind; the rules do not propose it again for a while. Raises UnknownProposal, NotNow."""
        tools, now = self._tools, self._tools.wall()
        case = await self._found(name)
        approval.check_decision(case.proposal, None, now=now)
        case = await self._awake(case)
        key = case.proposal.key
        first_s = tools.settings.hold_back_s
        hold = approval.hold_back(tools.state.holds.get(key), key, reason=reason, who=who, now=now, first_s=first_s)
        move = tools.move(case, Status.REJECTED, reason, who=who)
        await tools.write(move, Held(hold=hold))
        return move.case

    def learned(self, case: Case, why: str) -> tuple[Held, ...]:
        """What a change leaves behind that was measured not to keep its promise: it is held back as if it had been rejected. Else
        the same evidence would bring the same change again, and the network would never come to rest."""
        tools, key = self._tools, case.proposal.key
        if case.proposal.draft.origin == "operator":
            return ()
        old, now, first_s = tools.state.holds.get(key), tools.wall(), tools.settings.hold_back_s
        return (Held(hold=approval.hold_back(old, key, reason=why, who=CONTROLLER, now=now, first_s=first_s)),)

    def spared(self, case: Case) -> tuple[Held, ...]:
        """What goes though it worked is not made again at once for the same patterns: it was found to bring too little."""
        tools, payload = self._tools, case.proposal.draft.payload
        gone = [step.before for step in case.plan.apply if isinstance(step, MemberStep) and step.before is not None]
        if not isinstance(payload, Prune) or case.proposal.draft.origin == "operator":
            return ()
        now, first_s, why = tools.wall(), tools.settings.hold_back_s, f"{payload.node} was pruned: {case.proposal.draft.reason}"
        keys = [f"{Kind.SPAWN}:{pattern}" for member in gone if member.life == "live" for pattern in member.patterns]
        holds = (
            approval.hold_back(tools.state.holds.get(key), key, reason=why, who=CONTROLLER, now=now, first_s=first_s)
            for key in keys
        )
        return tuple(Held(hold=hold) for hold in holds)

    async def snooze(self, name: str, for_s: float, *, who: str) -> Case:
        """Not now; it comes back in ``for_s`` seconds, and lives that much longer. Raises UnknownProposal, NotNow."""
        tools, now = self._tools, self._tools.wall()
        case = await self._found(name)
        approval.check_decision(case.proposal, None, now=now)
        case = await self._awake(case)
        for_s = min(for_s, MAX_SNOOZE_S)
        expires_at = case.proposal.expires_at + for_s
        move = tools.move(case, Status.SNOOZED, f"until in {for_s:.0f} s", who=who, until=now + for_s, expires_at=expires_at)
        await tools.write(move)
        return move.case

    async def undo(self, name: str, reason: str, *, who: str) -> Case:
        """Take back a change on probation, or try again where taking it back got stuck; what was approved and still waits is not
        carried out. Raises UnknownProposal, NotNow."""
        case = await self._found(name)
        status, why = case.proposal.status, reason or "an operator's word"
        if status is Status.APPROVED:
            move = self._tools.move(case, Status.SUPERSEDED, why, who=who)
            await self._tools.write(move)
            return move.case
        if status not in (Status.VERIFYING, Status.STUCK):
            said = f"proposal {name} is {status}; what waits for its turn, is on probation or is stuck can be taken back"
            raise NotNow(said, status=status)
        await self._tools.write(self._tools.move(case, Status.ROLLING_BACK, why, who=who))
        return self._tools.current(case)

    async def settle(self, name: str, reason: str, *, who: str) -> Case:
        """An operator's word that a stuck change is dealt with; the shape stays as the ledger has it."""
        case = await self._found(name)
        if case.proposal.status is not Status.STUCK:
            raise NotNow(f"proposal {name} is {case.proposal.status}, not stuck", status=case.proposal.status)
        move = self._tools.move(case, Status.ROLLED_BACK, reason, who=who)
        await self._tools.write(move)
        return move.case

    async def _found(self, name: str) -> Case:
        case = self._tools.state.cases.get(ProposalId(name)) or await self._tools.book.case(name)
        if case is None:
            raise UnknownProposal(f"there is no proposal {name[:64]!r}", param="id")
        return case

    # ── time ────────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def pass_time(self) -> None:
        """What was snoozed comes back, and what nobody approved or carried out in time expires."""
        tools, now = self._tools, self._tools.wall()
        moves: list[Moved] = []
        for case in tools.state.of(Status.PROPOSED, Status.SNOOZED, Status.APPROVED):
            proposal = case.proposal
            if now >= proposal.expires_at:
                waits = tools.state.waits.get(proposal.proposal_id)
                said = f"it waited until it expired: {waits}" if waits else "nobody approved it in time"
                moves.append(tools.move(case, Status.EXPIRED, said))
            elif proposal.status is Status.SNOOZED and proposal.until is not None and now >= proposal.until:
                moves.append(tools.move(case, Status.PROPOSED, "the snooze is over", until=None))
        for move in moves:
            await tools.write(move)
        for key in [key for key, hold in tools.state.holds.items() if hold.until + 2 * approval.MAX_HOLD_BACK_S < now]:
            del tools.state.holds[key]
