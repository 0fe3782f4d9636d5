"""Specialists at work: each live specialist of a pattern gets a routine that says which requests are its own; it is asked on the
request path, and what it does not take is answered as if there were no specialist.

Built by runtime/patterns/work.py, which runs ``run``; dispatch calls ``choose``. It goes by the shape of the network as it is (a
specialist that is there has its routine written, one that is gone has it let go), so that nothing has to be told of a change and
a restart takes up where it was. A routine is written by a model that can write code, run on the pattern's own requests and on
others', reviewed where reviews are on, published in the registry as ``specialist-<pattern>``, and held in the sandbox.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from agents.llm.chat import BackendSpec
from agents.records import AgentError, Event
from agents.strategies.program import NoProgram
from registry.artifacts import Registry
from registry.records import NewVersion, RegistryError, VersionId
from registry.review import asked_changes
from runtime.controlling.probation import carried_out_at
from runtime.learner.features import text_of
from runtime.ledger.records import LedgerError
from runtime.open_request import OpenRequest
from runtime.patterns.desk import CLIENTS, PatternDesk
from runtime.programs.asks import Asks
from runtime.programs.desk import SIMULATED
from runtime.programs.registry_desk import RegistryDesk
from runtime.records import Request
from runtime.specialists.records import Taken
from runtime.specialists.routine import Said, Verdict, code_of, inputs_of, inputs_of_text, judge, question, read
from runtime.topology.claims import held_out
from runtime.topology.payloads import Spawn
from runtime.topology.records import Proposal
from runtime.topology.shape import Member, ProposalId, Topology
from sandbox.held import Held
from sandbox.records import MIB, Case, Limits
from sandbox.runner import Sandbox

log = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 1.0
LIMITS: Final = Limits(wall_s=0.1, cpu_s=1.0, memory_bytes=64 * MIB, output_bytes=16_384)
CHECK_LIMITS: Final = Limits(wall_s=1.0, cpu_s=5.0, memory_bytes=64 * MIB, output_bytes=16_384)
EXAMPLES: Final = 32
LEAST_EXAMPLES: Final = 6
ATTEMPTS: Final = 3
"""Routines that a model is asked for in one go, each told what was wrong with those before."""
TRIES: Final = 3
"""So often that is begun for one pattern before the next start; then its specialist takes nothing by itself."""
RETRY_S: Final = 60.0
MOST_FAILURES: Final = 5
"""Calls in a row that failed; then the routine rests for RETRY_S."""
BY: Final = "specialists"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claiming:
    """``share`` of the requests of a specialist goes on without it, once the proposal that it came from is ``kept`` (or over
    otherwise); ``note`` hears of each request that it could take, of whom, and whether it was held out."""

    share: Callable[[], float]
    kept: Callable[[ProposalId | None], bool]
    note: Callable[[str, str, bool], None]


@dataclass(slots=True)
class Serving:
    """A routine that can be asked, the node that it speaks for, since when (Unix seconds), and the proposal it came from."""

    node: str
    version: VersionId
    held: Held
    since: float
    origin: ProposalId | None
    failures: int = 0
    rests_until: float = 0.0


class SpecialistDesk:
    """``topology`` is the shape as it is now; ``reviews`` says whether reviewers decide on drafts."""

    def __init__(
        self,
        *,
        patterns: PatternDesk,
        registry: RegistryDesk,
        sandbox: Sandbox,
        topology: Callable[[], Topology],
        backends: Callable[[], Sequence[BackendSpec]],
        asks: Asks,
        reviews: bool,
        claims: Claiming,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._patterns, self._registry, self._sandbox, self._topology = patterns, registry, sandbox, topology
        self._backends, self._asks, self._reviews, self._clock, self._wall = backends, asks, reviews, clock, wall
        self._claims = claims
        self._serving: dict[str, Serving] = {}
        self._tried: dict[str, tuple[int, float]] = {}
        self.counts: Counter[str] = Counter()
        """How requests ended that were asked about: ``taken``, ``left``, ``failed``, ``held`` out."""

    # ── the request path ────────────────────────────────────────────────────────────────────────────────────────────────

    def open_to(self, request: Request) -> bool:
        """Whether a specialist could take it: there is one, and the client left open who answers."""
        named = request.target.kind != "auto" or request.backend is not None or request.strategy is not None
        return bool(self._serving) and not named and request.source in CLIENTS

    async def choose(self, run: OpenRequest) -> None:
        """Lay ``run.taken`` down where a specialist takes the request. Waits a tenth of a second at the most; whatever goes
        wrong, the request goes on without a specialist."""
        request, found = run.request, self._patterns.found
        if run.pattern is None or found is None or not self.open_to(request):
            return
        pattern = found.current(run.pattern)
        serving = self._serving.get(pattern) if pattern is not None else None
        if pattern is None or serving is None or self._clock() < serving.rests_until:
            return
        result = await serving.held.call(inputs_of(request, text_of(request.messages)))
        said = read(result, [spec.name for spec in self._backends()])
        serving.failures = serving.failures + 1 if said.fault else 0
        if serving.failures >= MOST_FAILURES:
            log.warning("the routine %s rests for a while: %s", serving.version, said.fault)
            serving.failures, serving.rests_until = 0, self._clock() + RETRY_S
        held = said.takes and self._held_out(request.request_id, serving)
        self.counts["failed" if said.fault else "held" if held else "taken" if said.takes else "left"] += 1
        if held:
            reason = f"it would be the specialist {serving.node}'s, and goes on without it to see what that brings"
            run.note(Event(kind="route", at=self._wall(), data={"way": "holdout", "version": serving.version, "reason": reason}))
        if held or not said.takes:
            return
        run.taken = Taken(
            node=serving.node,
            backend=said.backend,
            prompt=said.prompt,
            confidence=said.confidence,
            version=serving.version,
            pattern=pattern,
        )
        told = {"node": serving.node, "backend": said.backend or None, "way": "specialist", "version": serving.version}
        reason = f"the specialist {serving.node} takes it, sure to {said.confidence:.2f}"
        run.note(Event(kind="route", at=self._wall(), data={**told, "reason": reason}))

    def _held_out(self, request_id: str, serving: Serving) -> bool:
        """Whether a request that is the specialist's goes on without it. While it is on probation, none does."""
        share = self._claims.share()
        if share <= 0 or not self._claims.kept(serving.origin):
            return False
        held = held_out(request_id, share)
        self._claims.note(request_id, serving.node, held)
        return held

    # ── life ────────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Keep routines for the specialists that are live. Until cancelled."""
        await self._registry.settled.wait()
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                await self.look()
            except (RegistryError, AgentError, LedgerError) as error:
                log.error("routines of specialists are put off: %s", error)

    async def look(self) -> None:
        """Hold the published routine of each live specialist's patterns, let go of others, and have one written where there is
        none. Raises RegistryUnavailable, LedgerError."""
        wanted = wanted_of(self._topology(), self._patterns)
        for pattern in [each for each in self._serving if each not in wanted]:
            await self._serving.pop(pattern).held.aclose()
        registry = self._registry.registry
        for pattern, member in wanted.items():
            version = newest(registry, pattern)
            serving = self._serving.get(pattern)
            if version is not None:
                if serving is None or serving.version != version:
                    await self._hold(registry, pattern, member, version)
                serving = self._serving[pattern]
                if serving.node != member.spec.name:
                    serving.node, serving.since, serving.origin = member.spec.name, self._wall(), member.born_of
            elif not in_review(registry, pattern) and self._may_try(pattern):
                await self._write(registry, pattern, member)
                return  # one at a time: others' routines need not wait for more than one model

    async def _hold(self, registry: Registry, pattern: str, member: Member, version: VersionId) -> None:
        content = (await registry.content(version)).content
        held = self._sandbox.hold(content, LIMITS)
        for _ in range(ATTEMPTS):  # its process is started here, and not while a request waits
            if (await held.call(inputs_of_text(""))).ok:
                break
        old = self._serving.pop(pattern, None)
        since = old.since if old is not None and old.node == member.spec.name else self._wall()
        self._serving[pattern] = Serving(node=member.spec.name, version=version, held=held, since=since, origin=member.born_of)
        if old is not None:
            await old.held.aclose()
        log.info("%s decides for %s", version, member.spec.name)

    def begins(self, proposal: Proposal) -> float | None:
        """From when on requests tell something of a new specialist: since its routine is asked about them; None while one is
        still to be written. Of any other change, since it was carried out."""
        payload, since = proposal.draft.payload, carried_out_at(proposal)
        if not isinstance(payload, Spawn) or payload.spec.role != "specialist" or self._patterns.found is None:
            return since
        for pattern in payload.patterns:
            current = self._patterns.found.current(pattern) or pattern
            serving = self._serving.get(current)
            if serving is not None:
                since = max(since, serving.since) if serving.node == payload.spec.name else since
            elif self._tried.get(current, (0, 0.0))[0] < TRIES and self._asks.able("code") is not None:
                return None
        return since

    def _may_try(self, pattern: str) -> bool:
        tries, at = self._tried.get(pattern, (0, 0.0))
        found = self._patterns.found
        if found is None or len(found.examples(pattern, LEAST_EXAMPLES)) < LEAST_EXAMPLES:
            return False
        if tries >= TRIES or (tries and self._clock() < at + RETRY_S) or self._asks.able("code") is None:
            return False
        self._tried[pattern] = (tries + 1, self._clock())
        return True

    async def _write(self, registry: Registry, pattern: str, member: Member) -> None:
        """Have a routine written; one that knows its own is kept as a draft, for reviewers, or published."""
        found = self._patterns.found
        known = found.get(pattern) if found is not None else None
        if found is None or known is None:
            return
        own = [each.text for each in found.examples(pattern, EXAMPLES)]
        served = [found.current(each) or each for each in member.patterns]
        others = [each.text for each in found.others(pattern, EXAMPLES, but=served)]
        names = [spec.name for spec in self._backends()]
        wanted = failures = changes_wanted(registry, pattern)
        for _ in range(ATTEMPTS):
            # Half of the examples are not shown: a routine that lists what it saw does not pass.
            said = await self._asks.ask(question(known.name, own[::2], others[::2], names, failures), node=None, need="code")
            if said is None:
                log.info("no routine for %s is written now: %s", pattern, self._asks.why)
                return
            try:
                code = code_of(said.text)
            except NoProgram as error:
                failures = (*wanted, str(error))
                continue
            verdict = await self.checked(code, own, others)
            if verdict.good:
                await self._keep(registry, pattern, known.name, code, own, simulated=said.simulated, author=said.node)
                return
            failures = (*wanted, *verdict.failures)
        log.info("no routine for %s passed: %s", pattern, "; ".join(failures)[:500])

    async def checked(self, code: str, own: Sequence[str], others: Sequence[str]) -> Verdict:
        """The routine asked about each example, in one process; it stops early where it keeps failing."""
        names = [spec.name for spec in self._backends()]
        held = self._sandbox.hold(code, CHECK_LIMITS)
        heard: list[list[tuple[str, Said]]] = [[], []]
        try:
            for texts, into in zip((own, others), heard, strict=True):
                for text in texts:
                    into.append((text, read(await held.call(inputs_of_text(text)), names)))
                    if sum(bool(said.fault) for _, said in into) >= ATTEMPTS:
                        return judge(*heard)
        finally:
            await held.aclose()
        return judge(*heard)

    async def _keep(
        self, registry: Registry, pattern: str, name: str, code: str, own: Sequence[str], *, simulated: bool, author: str
    ) -> None:
        new = NewVersion(
            name=artifact_of(pattern),
            kind="adapter",
            content=code,
            problem=f"which requests are of the kind {name}",
            description="The routine of a specialist: run(inputs) says whether a request is its own, who should answer, and how.",
            author=author or "specialist-writer",
        )
        cases = [Case(inputs=inputs_of_text(text), name=f"a request of its own, {at + 1}") for at, text in enumerate(own[:3])]
        made = await registry.draft(new, cases, tags=(SIMULATED,) if simulated else ())
        if not self._reviews:
            await registry.release(made.version_id, cases, by=BY)

    async def close(self) -> None:
        """Let go of all routines. Idempotent."""
        for serving in self._serving.values():
            await serving.held.aclose()
        self._serving.clear()


# ── pure ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def artifact_of(pattern: str) -> str:
    """The registry's name of a pattern's routine."""
    return f"specialist-{pattern}"


def wanted_of(topology: Topology, patterns: PatternDesk) -> dict[str, Member]:
    """The live specialist of each pattern, by what the pattern is called now; of several the first by name."""
    found: dict[str, Member] = {}
    if patterns.found is None:
        return found
    for member in sorted(topology.live, key=lambda each: each.spec.name):
        for pattern in member.patterns if member.spec.role in ("specialist", "recovery") else ():
            current = patterns.found.current(pattern)
            if current is not None:
                found.setdefault(current, member)
    return found


def newest(registry: Registry, pattern: str) -> VersionId | None:
    """The version of the routine that is in force."""
    if artifact_of(pattern) not in registry.catalog.artifacts:
        return None
    published = registry.versions_of(artifact_of(pattern), "published")
    return published[-1].version_id if published else None


def changes_wanted(registry: Registry, pattern: str) -> tuple[str, ...]:
    """What reviewers want of its author, where they turned the newest version down."""
    name = artifact_of(pattern)
    versions = registry.versions_of(name) if name in registry.catalog.artifacts else []
    if not versions or registry.catalog.standings[versions[-1].version_id].state != "archived":
        return ()
    changes = asked_changes(registry.catalog.reviews.get(versions[-1].version_id, ()))
    return tuple(f"reviewers of the last one want: {change}" for change in changes)


def in_review(registry: Registry, pattern: str) -> bool:
    """Whether a draft of it waits."""
    name = artifact_of(pattern)
    return name in registry.catalog.artifacts and bool(registry.versions_of(name, "draft"))
