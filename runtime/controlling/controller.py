"""The control loop's shell: carries out what was approved, verifies it, keeps it or takes it back; and the same after a restart.

Built by build.py; daemon.py runs ``run``. What happens is decided in runtime/topology/ (pure) and written to the ledger before
and after it is done. Requests never wait for it: it shares the event loop, but every act on nodes and every write is awaited.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from typing import Final

from agents.records import AgentError, Draining, NodeId, NodeSpec
from runtime.cluster import Cluster, NodeStatus
from runtime.config.settings import Settings
from runtime.controlling.book import Book, Case, Done, Held, Kept, Moved
from runtime.controlling.carrying import carry
from runtime.controlling.decisions import Decisions
from runtime.controlling.hands import Hands
from runtime.controlling.ports import Samples, Source
from runtime.controlling.probation import Probation
from runtime.controlling.state import State, revised
from runtime.controlling.tidying import tidy_on
from runtime.controlling.tools import CONTROLLER, Tools
from runtime.ledger.records import LedgerError
from runtime.topology import caps
from runtime.topology.records import Draft, OverCap, Status, TopologyError
from runtime.topology.shape import Member, MemberStep, Step, Topology
from runtime.topology.steps import Stale, fits, place_of
from runtime.topology.verify import Extend, Keep, Undo

log = logging.getLogger(__name__)

DAY_S: Final = 86_400.0
MAX_DRAFTS: Final = 50
"""Drafts of one source in one round; the rest may come again."""


class Controller:
    """``start`` once, then ``run`` until cancelled. ``sources`` may be added to before ``run``; ``decisions`` hears operators,
    after which ``kick`` lets the loop look at once."""

    def __init__(
        self,
        *,
        book: Book,
        cluster: Cluster,
        samples: Samples,
        settings: Settings,
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
        looked: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        self._cluster, self._clock, self._looked = cluster, clock, looked
        hands = Hands(cluster, drain_s=settings.topology.drain_s)
        self.tools = Tools(
            book=book,
            hands=hands,
            state=State(Kept(topology=Topology())),
            settings=settings.topology,
            live_cap=settings.cluster.max_live_nodes,
            wall=wall,
        )
        self.decisions = Decisions(self.tools)
        self.probation, self.samples = Probation(samples), samples
        self.sources: list[Source] = []
        self._kicked = asyncio.Event()

    @property
    def topology(self) -> Topology:
        return self.tools.state.topology

    def statuses(self) -> dict[NodeId, NodeStatus]:
        """The live nodes as they stand, by id."""
        return {node.spec.node_id: node for node in self._cluster.nodes()}

    def renew(self, settings: Settings) -> None:
        """Let other settings hold from now on."""
        self.tools.settings, self.tools.hands.drain_s = settings.topology, settings.topology.drain_s

    def kick(self) -> None:
        """Look at once."""
        self._kicked.set()

    # ── start ───────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def start(self, first: Callable[[Topology], tuple[Step, ...]]) -> None:
        """Take up what the ledger holds and make the desired nodes live. ``first`` gives the steps without which there is no
        network (a generalist, nothing over the cap). Raises LedgerError; AgentError where no node comes up."""
        await self.revise(first, who=CONTROLLER, reason="what the daemon needs to start")
        if self.topology.router is not None and self.tools.hands.adopt is not None:
            await self.tools.hands.adopt(self.topology.router)
        for name, size in self.topology.pools.items():
            await self.tools.hands.resize(name, size)
        spawning = (self._cluster.spawn(member.spec) for member in self.topology.live)
        ended = await asyncio.gather(*spawning, return_exceptions=True)
        failed = [each for each in ended if isinstance(each, BaseException)]
        for error in failed:
            log.error("a node does not come up: %s", error)
        if failed and len(failed) == len(ended):
            raise failed[0]

    async def _known(self) -> State:
        """The memory, read anew where a write may have been lost."""
        if not self.tools.sure:
            self.tools.sure = True
            try:
                self.tools.state = State(await self.tools.book.load())
            except BaseException:
                self.tools.sure = False
                raise
        return self.tools.state

    async def revise(self, steps: Callable[[Topology], tuple[Step, ...]], *, who: str, reason: str) -> None:
        """Lay what ``steps`` finds missing into the shape, as nobody's proposal. Raises LedgerError."""
        async with self.tools.shape:
            topology = (await self._known()).topology
            if missing := steps(topology):
                _, entry = revised(topology, missing, at=self.tools.wall(), who=who, reason=reason)
                await self.tools.write(entry)

    async def remember(self, spec: NodeSpec) -> None:
        """Keep a node that others wake when they need it: parked in the shape, in its newest form. Raises LedgerError."""

        def missing(topology: Topology) -> tuple[Step, ...]:
            before = topology.members.get(spec.node_id)
            if before is not None and before.spec == spec:
                return ()
            after = Member(spec=spec, life="parked", born_at=self.tools.wall())
            return (MemberStep(node_id=spec.node_id, before=before, after=after),)

        await self.revise(missing, who=CONTROLLER, reason=f"{spec.role} {spec.name}")

    # ── the loop ────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Look every ``round_s``, and at once when kicked; beside it ask the sources, who may take their time, and tidy."""
        beside = [asyncio.create_task(chore) for chore in (self._ask_on(), tidy_on(self.tools, self._clock))]
        try:
            while True:
                self._kicked.clear()
                began = self._clock()
                await self.look()
                self._looked(self._clock() - began)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self.tools.settings.round_s):
                        await self._kicked.wait()
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)

    async def _ask_on(self) -> None:
        while True:
            try:
                await self.ask()
            except LedgerError as error:
                log.error("proposals are not taken up: %s", error)
            await asyncio.sleep(self.tools.settings.round_s)

    async def look(self) -> None:
        """One round. What fails is logged and tried again in the next; the memory is then read anew from the ledger."""
        try:
            await self._known()
            await self.decisions.pass_time()
            await self._carry_on()
            await self._verify()
            await self._hold_up()
        except (LedgerError, TopologyError, AgentError) as error:
            self.tools.sure = False
            log.error("the control loop tries again: %s", error)

    async def ask(self) -> None:
        """Ask the sources for drafts, and take them up. Raises LedgerError."""
        state, settings, now = self.tools.state, self.tools.settings, self.tools.wall()
        if not settings.propose or not self.sources or not self.tools.sure:
            return
        known, held = state.open_keys(), state.held_back(now)
        asked = (each.propose(state.topology, open_keys=known, held_back=held, now=now) for each in self.sources)
        for found in await asyncio.gather(*asked, return_exceptions=True):
            if isinstance(found, BaseException):
                self.tools.dropped["error"] += 1
                log.error("a source of proposals failed", exc_info=found)
                continue
            for draft in found[:MAX_DRAFTS]:
                await self._submit(draft)
            self.tools.dropped["too_many"] += max(0, len(found) - MAX_DRAFTS)
        self.kick()

    async def _submit(self, draft: Draft) -> None:
        try:
            await self.decisions.submit(draft, who=draft.origin)
        except TopologyError as error:
            why = "cap" if isinstance(error, OverCap) else "bad" if error.param is not None else "refused"
            self.tools.dropped[why] += 1
            log.info("a proposal to %s was dropped: %s", draft.kind, error.message)

    async def _carry_on(self) -> None:
        """Begin and go on with changes, the oldest first."""
        for status in (Status.ROLLING_BACK, Status.APPLYING, Status.APPROVED):
            for case in self.tools.state.of(status):
                if status is Status.ROLLING_BACK:
                    await self._take_back(case)
                elif status is Status.APPLYING:
                    await self._apply(case)
                else:
                    await self._begin(case)

    async def _begin(self, case: Case) -> None:
        """An approved change: carried out now, superseded, or left waiting, which is said."""
        tools, state = self.tools, self.tools.state
        name = case.proposal.proposal_id
        if not fits(state.topology, case.plan.apply):
            await tools.write(tools.move(case, Status.SUPERSEDED, "what it is about has changed since it was proposed"))
            return
        used = state.in_use(but=name)
        blocked = next((place_of(step) for step in case.plan.apply if place_of(step) in used), None)
        if blocked is not None:
            state.waits[name] = f"another change of {blocked} is not over"
            return
        try:
            await self._check_pace(case)
        except OverCap as error:
            state.waits[name] = f"{error.message} ({error.cap})"
            return
        await self._apply(case)

    async def _check_pace(self, case: Case) -> None:
        tools, state, now = self.tools, self.tools.state, self.tools.wall()
        caps.check_pace(
            state.topology,
            case.plan,
            tools.caps,
            live=max(len(state.topology.live), sum(node.state != "parked" for node in self._cluster.nodes())),
            spawned_at=tuple(state.births),
            spent_usd=await tools.book.spent_usd(since=now // DAY_S * DAY_S),
            cost_usd=case.proposal.draft.cost_usd,
            verifying=len(state.of(Status.VERIFYING)),
            now=now,
        )

    async def _apply(self, case: Case) -> None:
        tools = self.tools
        going = tools.move(case, Status.APPLYING, "carried out now") if case.proposal.status is Status.APPROVED else None
        begun = going.case if going is not None else case

        def done() -> Moved:
            now = tools.wall()
            return tools.move(
                begun, Status.VERIFYING, "on probation", applied_at=now, until=now + tools.settings.probation.lasts_s
            )

        try:
            async with tools.shape:
                await carry(tools, begun, "apply", case.plan.apply, first=[going] if going is not None else [], last=done)
        except Draining as error:
            log.info("a change goes on when nodes can be changed again: %s", error)
        except (AgentError, Stale) as error:
            if self._fell(begun, error):
                await self._turn_back(tools.current(begun), f"it could not be carried out: {error}")

    def _fell(self, case: Case, error: AgentError | TopologyError) -> bool:
        """Note that a step failed; whether that was once too often."""
        name = case.proposal.proposal_id
        self.tools.trouble[name] = error.message
        self.tools.falls[name] += 1
        log.warning("a step of %s failed: %s", name, error.message)
        return self.tools.falls[name] >= self.tools.settings.step_attempts

    async def _turn_back(self, case: Case, why: str, who: str = CONTROLLER, *, held: Sequence[Held] = ()) -> None:
        self.tools.falls.pop(case.proposal.proposal_id, None)
        move = self.tools.move(
            case, Status.ROLLING_BACK, why, who=who, measured=self.probation.measured(case.proposal.proposal_id)
        )
        await self.tools.write(move, *held)
        await self._take_back(move.case)

    async def _take_back(self, case: Case) -> None:
        tools, why = self.tools, case.proposal.note
        self.probation.forget(case.proposal.proposal_id)
        try:
            async with tools.shape:
                await carry(tools, case, "undo", case.plan.undo, last=lambda: tools.move(case, Status.ROLLED_BACK, why))
        except Draining as error:
            log.info("a change is taken back when nodes can be changed again: %s", error)
        except (AgentError, Stale) as error:
            if self._fell(case, error):
                log.error("%s cannot be taken back and waits for an operator: %s", case.proposal.proposal_id, error.message)
                await tools.write(tools.move(case, Status.STUCK, f"{error.message} (it was to be taken back: {why})"))

    # ── probation ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _verify(self) -> None:
        tools = self.tools
        terms = tools.settings.probation.terms()
        for case in tools.state.of(Status.VERIFYING):
            now = tools.wall()
            ruling, measured = await self.probation.look(case, terms, now=now)
            match ruling:
                case Keep(reason=reason):
                    await self._keep(case, reason, measured)
                case Undo(reason=reason):
                    await self._turn_back(case, reason, held=self.decisions.learned(case, reason))
                case Extend(reason=reason):
                    until, extended = now + terms.probation_s, case.proposal.extended + 1
                    move = tools.move(case, Status.VERIFYING, reason, measured=measured, until=until, extended=extended)
                    await tools.write(move)

    async def _keep(self, case: Case, reason: str, measured: object) -> None:
        """The last word and what may only then be done, in one write: a node is deleted only after it."""
        tools = self.tools
        name, steps = case.proposal.proposal_id, case.plan.finish
        kept = tools.move(case, Status.KEPT, reason, measured=measured)
        self.probation.forget(name)
        if not steps or not fits(self.topology, steps):
            await tools.write(kept)
            return
        async with tools.shape:
            for step in steps:
                await tools.hands.do(step)
            now, why = tools.wall(), f"finish {case.proposal.key}"
            _, entry = revised(self.topology, steps, at=now, who=CONTROLLER, reason=why, proposal_id=name)
            rows = [Done(proposal_id=name, phase="finish", ordinal=place, at=now) for place in range(len(steps))]
            await tools.write(kept, *rows, entry, *self.decisions.spared(case))

    async def _hold_up(self) -> None:
        """Nodes that should be live and are not (the cluster lost them) are made so again."""
        there = {node.spec.node_id for node in self._cluster.nodes() if node.state != "parked"}
        for member in self.topology.live:
            if member.node_id in there:
                continue
            try:
                await self._cluster.spawn(member.spec)
            except AgentError as error:
                log.warning("node %s should be live and is not: %s", member.node_id, error.message)
