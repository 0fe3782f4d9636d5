"""How routers get better: measured mistakes, a model's edits, checks, the shadow, an experiment, approval, the alias.

Built and run by build.py. One attempt at a time; each is a round in the ledger, which says after a kill where it stood: nothing
is kept in memory alone. A router is drafted in the registry once it passed the checks and beat its parent on the half of the
log that its author did not see; reviewers publish it (or, without reviews, its checks do); an experiment is begun with it; what
wins is proposed to the controller, which asks an operator or goes by policy. Must not import dispatch.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Final

import numpy as np

from agents.records import AgentError, Json, Refused
from registry.artifacts import Registry
from registry.records import NewVersion, RegistryError, Version, VersionId
from registry.versions import readable
from runtime.config.routers import RoutersSettings
from runtime.learner.desk import Router
from runtime.learner.trials import ExperimentBusy
from runtime.ledger.records import LedgerError
from runtime.programs.asks import Asks, Said
from runtime.programs.desk import SIMULATED
from runtime.programs.registry_desk import RegistryDesk
from runtime.routers.checking import checked
from runtime.routers.desk import BY, ROUTER, RouterDesk
from runtime.routers.guiding import WRITER, Guiding
from runtime.routers.logbook import Logbook
from runtime.routers.records import Approvals, NobodyApproves, Round, RoundBook, Stage
from runtime.routers.replay import arms_of, arms_offered, in_force
from runtime.routers.writing import task
from runtime.routing.lessons import Seen, for_lessons, lessons
from runtime.routing.records import RoutingError
from runtime.routing.steps import EDITS_SCHEMA, Edit, Step, as_parameters, compiled, edited, edits_of, of_version
from sandbox.records import Case, SandboxUnavailable
from sandbox.runner import Sandbox

log = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 1.0
ROUNDS: Final = 500
CASES: Final = 3
WAITS_S: Final = 30 * 86_400.0
PROBLEM: Final = "say which backend and strategy answers a request, from what is known of it before it is answered"


class Evolution:
    """``tick`` is one look; ``settings`` are those that hold now. ``reviews``: whether reviewers decide on drafts."""

    def __init__(
        self,
        *,
        book: RoundBook,
        router: Router,
        desk: RouterDesk,
        registry: RegistryDesk,
        sandbox: Sandbox,
        asks: Asks,
        settings: Callable[[], RoutersSettings],
        reviews: bool,
        rng: np.random.Generator | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._book, self._router, self._desk, self._registry = book, router, desk, registry
        self._sandbox, self._asks, self._settings, self._reviews, self._clock = sandbox, asks, settings, reviews, clock
        self._logbook = Logbook(router, desk, sandbox, clock)
        self._guiding = Guiding(registry, asks, reviews=reviews, rng=rng or np.random.default_rng())
        self._turn = asyncio.Lock()
        self._looked_at = clock()
        self.approvals: Approvals = NobodyApproves()
        self.why = "not looked yet"
        """Why the last look wrote nothing."""

    async def run(self) -> None:
        """Until cancelled."""
        await self._registry.settled.wait()
        while True:
            try:
                await self.tick()
            except (RegistryError, LedgerError, AgentError, RoutingError, SandboxUnavailable) as error:
                self.why = str(error)
                log.error("the next router has to wait: %s", error)
            await asyncio.sleep(LOOK_EVERY_S)

    async def tick(self) -> None:
        """Take the open rounds on by what happened; begin one where it is time."""
        settings = self._settings()
        if not settings.enabled or not self._registry.is_open:
            return
        async with self._turn:
            rounds = await self._book.load(limit=ROUNDS)
            for each in reversed([one for one in rounds if one.is_open]):
                await self._advance(each)
            now = self._clock()
            if settings.write and now - self._looked_at >= settings.write_every_s:
                self._looked_at = now
                await self._write(settings)

    async def write_now(self) -> Round | None:
        """An attempt at once, whatever the time and the number of judged choices; None: ``why`` says why not."""
        async with self._turn:
            return await self._write(self._settings(), least_judged=20)

    # ── a round that is open ────────────────────────────────────────────────────────────────────────────────────────────

    async def _advance(self, each: Round) -> None:
        registry = self._registry.registry
        standing = registry.catalog.standings.get(VersionId(each.version))
        if standing is None or standing.state in ("deprecated", "archived"):
            await self._router.trials.give_up(each.version, "its code is not published any more")
            await self._move(each, "rejected", standing.reason if standing is not None else "it is not in the registry any more")
        elif each.stage == "reviewing":
            await self._reviewed(registry, each, published=standing.state == "published")
        elif each.stage == "trying":
            await self._tried(each)
        elif each.stage == "won":
            await self._decided(each)

    async def _reviewed(self, registry: Registry, each: Round, *, published: bool) -> None:
        if not published and not self._reviews:
            version = await registry.content(VersionId(each.version))
            await registry.release(version.version_id, _cases(each), by=BY)
            published = True
        if not published:
            return
        if each.parent != (self._in_force() or ""):
            await self._move(each, "superseded", f"{self._in_force() or 'the learner'} is in force by now")
            return
        if (known := await self._experiment_of(each.version)) is not None:
            # A kill came between its beginning and this note.
            await self._move(each, "trying", "", experiment=known["experiment_id"])
            return
        settings = self._settings()
        try:
            trial = await self._router.trials.start_router(
                each.version,
                champion=each.parent or "the learner",
                share=settings.share,
                min_requests=settings.min_requests,
                max_requests=max(settings.max_requests, settings.min_requests),
                min_dwell_s=0.0,
                max_extensions=0,
            )
        except ExperimentBusy:
            return
        await self._move(each, "trying", "", experiment=trial.plan.experiment_id)

    async def _tried(self, each: Round) -> None:
        """What became of its experiment."""
        row = await self._experiment_of(each.version)
        if row is None:
            await self._move(each, "reviewing", "its experiment is not known any more")
            return
        if row["stage"] != "over":
            return
        action = (row["ruling"] or {}).get("action")
        stage: Stage = "won" if action == "adopt" else "inconclusive" if action == "inconclusive" else "lost"
        stopped = row["note"].startswith(("stopped", "keep"))
        await self._move(each, "lost" if stopped else stage, row["note"], ruling=row["ruling"])

    async def _experiment_of(self, version: str) -> dict[str, Json] | None:
        rows = await self._router.trials.all()
        return next((row for row in rows if row["changes"].get("router") == version), None)

    async def _decided(self, each: Round) -> None:
        """One that won: in force already, out of date, or for the policy to say."""
        if self._registry.registry.catalog.artifact(ROUTER).champion == each.version:
            await self._move(each, "adopted", each.note)
        elif each.parent != (self._in_force() or ""):
            await self._move(each, "superseded", f"{self._in_force() or 'the learner'} is in force by now")
        elif self.approvals.held_back(self._clock()):
            await self._move(each, "declined", "an operator rejected its proposal")
        elif self._clock() - each.updated_at > WAITS_S:
            await self._move(each, "expired", "nobody approved it in time")

    def _in_force(self) -> VersionId | None:
        artifact = self._registry.registry.catalog.artifacts.get(ROUTER)
        return artifact.champion if artifact is not None else None

    # ── approval ────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def put(self, version: str | None) -> None:
        """Bring a version into force (None: the learner alone); idempotent. Called by the controller. Raises Refused."""
        try:
            registry = self._registry.registry
            if version is None and ROUTER not in registry.catalog.artifacts:
                return
            await registry.point(ROUTER, "champion", None if version is None else registry.find(version).number)
            await self._desk.look()
        except RegistryError as error:
            raise Refused(f"{version or 'the learner alone'} cannot be put into force: {error}") from error

    async def adopt(self, version: str) -> Round | None:
        """An operator approves a router that won; None where none of this version waits. Raises ExperimentBusy where another came
        into force meanwhile, TopologyError, LedgerError."""
        async with self._turn:
            each = await self._waiting(version)
            if each is None:
                return None
            if each.parent != (self._in_force() or ""):
                await self._move(each, "superseded", f"{self._in_force() or 'the learner'} is in force by now")
                said = f"{version} was tried against {each.parent or 'the learner'}, which is not in force"
                raise ExperimentBusy(said, field="version")
            await self.approvals.approve(version, f"{version} won: {each.note}"[:500])
            return replace(each, note="approved; it comes into force now")

    async def decline(self, version: str, why: str) -> Round | None:
        """An operator does not want it; None where none of this version waits. Raises TopologyError, LedgerError."""
        async with self._turn:
            each = await self._waiting(version)
            if each is None:
                return None
            await self.approvals.reject(version, why)
            return await self._move(each, "declined", f"declined by an operator: {why}" if why else "declined by an operator")

    async def back(self) -> tuple[str, str | None] | None:
        """Have the parent of the router in force take its place where it is published still, else the learner alone: (what is in
        force, what comes); None where no router is. Raises TopologyError, RegistryError, LedgerError."""
        async with self._turn:
            registry, champion = self._registry.registry, self._in_force()
            if champion is None:
                return None
            parents = registry.catalog.parents.get(champion, ())
            standing = registry.catalog.standings.get(parents[0]) if parents else None
            before = parents[0] if standing is not None and standing.state == "published" else None
            await self.approvals.approve(before, f"back from {champion}")
            return champion, before

    async def waiting(self) -> Round | None:
        """The router that won and waits for a word. Raises LedgerError."""
        return next((each for each in await self._book.load(limit=ROUNDS) if each.stage == "won"), None)

    async def rounds(self) -> list[Round]:
        """The newest first."""
        return list(await self._book.load(limit=ROUNDS))

    async def _waiting(self, version: str) -> Round | None:
        rounds = await self._book.load(limit=ROUNDS)
        return next((each for each in rounds if each.version == version and each.stage == "won"), None)

    # ── a new round ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _write(self, settings: RoutersSettings, *, least_judged: int | None = None) -> Round | None:
        rounds = await self._book.load(limit=ROUNDS)
        if any(each.is_open for each in rounds):
            self.why = "a router is on its way already"
            return None
        if self._asks.able("code") is None:
            self.why = "no backend that may be asked declares code"
            return None
        parent = self._in_force()
        if parent is not None and not self._desk.serves(parent):
            self.why = f"{parent} is in force and cannot be asked now"
            return None
        seen, fresh = await self._logbook.judged(rounds)
        least = settings.least_judged if least_judged is None else least_judged
        if fresh < least:
            self.why = f"{fresh} judged choices since the last attempt; {least} are needed"
            return None
        steps = await self._steps(parent)
        seen = in_force(seen, await self._logbook.said(compiled(steps), seen)) if parent is not None else seen
        found = await asyncio.to_thread(lessons, [each for each in seen if for_lessons(each.unit)])
        if found is None or not found.says_something:
            self.why = "the log shows no group of requests for which another arm would be better for sure"
            return None
        await self._guiding.improve(rounds)
        guide = await self._guiding.chosen(rounds)
        failed = self._guiding.tried([each for each in rounds if each.parent == (parent or "")])
        text = task(found, steps, arms_offered(seen), guide.content, failed)
        said = await self._asks.ask(text, node=None, need="code", schema=EDITS_SCHEMA)
        if said is None:
            self.why = self._asks.why
            return None
        each = self._new(parent, guide.version_id, said)
        try:
            edits = edits_of(said.data)
            made = edited(steps, edits)
        except RoutingError as error:
            return await self._move(each, "unusable", f"{error.field}: {error}")
        each = replace(each, data={**each.data, "edits": [edit.told for edit in edits]})
        return await self._judged(each, made, edits, seen, said)

    async def _steps(self, parent: VersionId | None) -> tuple[Step, ...]:
        if parent is None:
            return ()
        version = await self._registry.registry.content(parent)
        return of_version(version.content, version.parameters)

    def _new(self, parent: VersionId | None, guide: str, said: Said) -> Round:
        now = self._clock()
        data: dict[str, Json] = {"simulated": said.simulated, "author": said.node}
        return Round(
            round_id=f"round-{secrets.token_hex(4)}", at=now, stage="unusable", parent=parent or "", prompt=guide, data=data
        )

    async def _judged(self, each: Round, steps: tuple[Step, ...], edits: tuple[Edit, ...], seen: list[Seen], said: Said) -> Round:
        """Checks, then the shadow, then a draft in the registry for reviewers."""
        settings, configured = self._settings(), self._desk.configured
        code = compiled(steps)
        told = [(one.features, arms_of(one.features)) for one in seen if for_lessons(one.unit)]
        verdict = await checked(self._sandbox, code, told, settings=settings, configured=configured)
        each = replace(each, data={**each.data, "check": asdict(verdict)})
        if not verdict.good:
            return await self._move(each, "refused", "; ".join(verdict.faults))
        kept = [one for one in seen if not for_lessons(one.unit)]
        shadow, gain = await self._logbook.shadow(code, kept)
        if shadow is None or gain <= 0:
            why = "it decides on none of them" if shadow is None else f"gain {gain:+.3f}"
            return await self._move(each, "refused", f"no better on logged choices that it was not written from: {why}")
        each = replace(each, data={**each.data, "shadow": asdict(shadow), "cases": [dict(one) for one, _ in told[:CASES]]})
        version = await self._drafted(each, code, steps, edits, said)
        each = replace(each, version=version.version_id)
        return await self._move(each, "reviewing", f"gain on the log {gain:+.3f}")

    async def _drafted(self, each: Round, code: str, steps: tuple[Step, ...], edits: tuple[Edit, ...], said: Said) -> Version:
        new = NewVersion(
            name=ROUTER,
            kind="router",
            content=code,
            problem=PROBLEM,
            description=f"written by guidance {each.prompt}; {'; '.join(edit.told for edit in edits)}"[:1_000],
            author=said.node or WRITER,
            parameters=as_parameters(steps),
            relation="modify" if each.parent else "new",
            parents=(VersionId(each.parent),) if each.parent else (),
            improvements=tuple(readable(edit.told, 300) for edit in edits),
        )
        return await self._registry.registry.draft(new, _cases(each), tags=(SIMULATED,) if said.simulated else ())

    # ── keeping ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _move(self, each: Round, stage: Stage, note: str, **data: Json) -> Round:
        moved = replace(each, stage=stage, note=note, data={**each.data, **data}, updated_at=self._clock())
        await self._book.save(moved)
        log.info("%s %s: %s %s", moved.round_id, moved.version, stage, note)
        self.why = f"{moved.round_id}: {stage}"
        return moved


def _cases(each: Round) -> list[Case]:
    """What a registry check runs it on: requests of the log."""
    kept: list[Mapping[str, Json]] = each.data.get("cases") or []
    return [Case(inputs=dict(features), name=f"request {number}") for number, features in enumerate(kept, 1)]
