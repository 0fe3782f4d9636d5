"""The library in the daemon: opened after readiness, asked before anybody is handed a request, and told what came of it.

Built and run by daemon.py; dispatch.py calls ``seen_before`` and ``seen``, the surfaces ``feedback`` and the operator's part. A
request never waits for it longer than a look-up, and nothing fails because of it. Must not import dispatch.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from agents.programs import Known
from agents.records import Draft, Event, Json
from agents.strategies.runner import request_text
from registry.embedding import BUILT_IN_MODEL, Embedder
from registry.records import RegistryError, RegistryUnavailable
from registry.solution_records import Hit, Miss, Solved, Stored
from registry.solution_store import SolutionStore
from registry.solutions import Library
from registry.trust import Evidence
from registry.versions import MAX_PROBLEM_CHARS
from runtime.config.library import LibrarySettings
from runtime.ledger.library import JournaledStore
from runtime.ledger.store import Ledger
from runtime.library.code import CodeRunner, RunsCode, certain, checks_for, checks_of, held, parameters_of
from runtime.library.looked import Looked
from runtime.library.rules import BAD, GOOD, NotOurs, Ours, flaw, read, verified
from runtime.library.told import draft_of, looked_of, solution_in, told
from runtime.metrics import Metrics
from runtime.open_request import OpenRequest
from runtime.programs.desk import CodeDesk
from runtime.programs.registry_desk import RegistryDesk
from runtime.records import Answer, Request
from sandbox.records import Limits

log = logging.getLogger(__name__)

LOOK_UP_WITHIN_S: Final = 10.0
"""A look-up that takes longer, a run of stored code included, is a miss."""
MAX_WAITING: Final = 512
"""Outcomes that wait to be learned from; more are dropped, and counted."""
MAX_REMEMBERED: Final = 2_000
"""Answers of which it is remembered where they came from, for a person's word on them."""
MAX_REMEMBERED_CHARS: Final = 32 * 2**20
DIMENSION: Final = 384
"""Of the built-in model's embeddings, and of the empty ones where there is no model."""
EMBED_AT_ONCE: Final = 64
MAX_KNOWN: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class _Remembered:
    """Where an answer came from: a solution and the evidence it was given on, or what is not verified yet."""

    solution: str | None = None
    evidence: Evidence | None = None
    unverified: _Outcome | None = None
    chars: int = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    """What came of a request that the library did not answer."""

    request: Request
    ours: Ours
    missed: Miss
    answer: Answer
    locale: str
    author: str


class LibraryDesk:
    """``run`` until cancelled, then ``close``. ``simulated_pool`` says whether nothing but simulated backends can answer now."""

    def __init__(
        self,
        settings: LibrarySettings,
        *,
        registry: RegistryDesk,
        code: CodeDesk,
        ledger: Ledger,
        embedder: Embedder | None,
        sandbox: RunsCode | None,
        limits: Limits,
        metrics: Metrics,
        simulated_pool: Callable[[], bool],
        max_count: int,
        keeps_bodies: bool = True,
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._settings, self._registry, self._code, self._ledger = settings, registry, code, ledger
        self._embedder, self._sandbox, self._metrics = embedder, sandbox, metrics
        self._limits = limits
        self._simulated_pool, self._max_count = simulated_pool, max_count
        self._keeps_bodies, self._wall, self._clock = keeps_bodies, wall, clock
        self._trouble = "the library is opening" if settings.enabled else "the library is off (library.enabled)"
        self._library: Library | None = None
        self._asked: dict[str, tuple[Ours, Hit | Miss]] = {}
        self._waiting: asyncio.Queue[_Outcome] = asyncio.Queue(MAX_WAITING)
        self._remembered: OrderedDict[str, _Remembered] = OrderedDict()
        self._remembered_chars = 0

    @property
    def library(self) -> Library:
        """Raises RegistryUnavailable while it is not open."""
        if self._library is None:
            raise RegistryUnavailable(self._trouble)
        return self._library

    def status(self) -> str:
        """``ok``, ``off``, or what is wrong."""
        return "off" if not self._settings.enabled else "ok" if self._library is not None else self._trouble

    def gauges(self) -> dict[str, float]:
        """For metrics."""
        if self._library is None:
            return {"open": 0.0}
        stats = self._library.stats()
        named = {"solutions": "solutions", "solutions_with_code": "with_code", "solutions_suspended": "suspended"}
        return {"open": 1.0, "phrasings": float(stats["phrasings"]), **{name: float(stats[of]) for name, of in named.items()}}

    # ── life ────────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Open, then learn from what comes, and write at times. Until cancelled."""
        if not self._settings.enabled:
            return
        await self._registry.settled.wait()
        try:
            await self._open()
        except RegistryError as error:
            self._trouble = str(error)
            log.error("the library stays closed: %s", error)
            return
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._flush_at_times())
            tasks.create_task(self._embed_what_is_not())
            while True:
                outcome = await self._waiting.get()
                try:
                    await self._learn(outcome)
                except RegistryError as error:
                    log.info("an outcome was not learned from: %s", error)
                finally:
                    self._waiting.task_done()

    async def close(self) -> None:
        """Write what waits; what cannot be written is in the ledger. Idempotent."""
        library, self._library = self._library, None
        self._trouble = "the library is closed"
        if library is not None:
            with suppress(RegistryError):
                await library.flush()

    async def settled(self) -> None:
        """Wait until all that ended has been learned from."""
        await self._waiting.join()

    async def _open(self) -> None:
        store = None
        if self._keeps_bodies:
            with suppress(RegistryUnavailable):
                tables = self._registry.tables
                store = JournaledStore(SolutionStore(tables, size := await self._dimension()), self._ledger, size)
        if store is None:
            why = "the registry is not open" if self._keeps_bodies else "data.store_bodies is off"
            log.warning("the library keeps nothing over a restart: %s", why)
        runner = CodeRunner(self._sandbox, self._code.running, lambda: self._limits) if self._sandbox is not None else None
        library = Library(
            self._embedder,
            settings=self._settings.chosen(),
            runner=runner,
            check=held,
            certain=certain,
            executed=self._code.executed,
            store=store,
            clock=self._wall,
        )
        if damaged := await library.open():
            log.error("%d rows of the library could not be read, and were left out", damaged)
        self._library = library

    async def _dimension(self) -> int:
        """Of the embeddings. The built-in model need not be loaded for it: the very same request is found without it."""
        if self._embedder is None or self._embedder.model == BUILT_IN_MODEL:
            return DIMENSION
        return len((await self._embedder.embed(["dimension"]))[0])

    async def _flush_at_times(self) -> None:
        while True:
            await asyncio.sleep(self._settings.flush_every_s)
            try:
                await self.library.flush()
            except RegistryError as error:
                log.error("the library could not be written, and is tried again: %s", error)

    async def _embed_what_is_not(self) -> None:
        """Requests that were kept while another embedding model was in use, or none."""
        with suppress(RegistryError):
            while await self.library.embed_foreign(EMBED_AT_ONCE):
                pass

    # ── a request ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def seen_before(self, run: OpenRequest) -> Draft | None:
        """The answer, where it may be given again; see ``runtime.open_request.SeenBefore``."""
        library = self._library
        if library is None:
            return None
        ours = read(run.request, simulated_pool=self._simulated_pool())
        if isinstance(ours, NotOurs):
            return None
        began = self._clock()
        found = await self._looked_up(library, ours)
        self._asked[run.work_id] = (ours, found)
        solution = library.show(found.solution) if isinstance(found, Hit) else None
        run.library, run.embedding = looked_of(found, solution), found.vector if isinstance(found, Miss) else None
        self._metrics.library_looked_up(run.library.result, self._clock() - began)
        run.note(Event(kind="library", at=self._wall(), data=told(run.library, found)))
        if isinstance(found, Miss):
            run.known = await self._known(library, ours, found)
        if not isinstance(found, Hit) or solution is None:
            return None
        run.strategy = "library"
        self._metrics.library_saved(solution.metrics.get("cost_usd", 0.0))
        return draft_of(run.request, found)

    async def _known(self, library: Library, ours: Ours, missed: Miss) -> tuple[Known, ...]:
        """Programs that solved like requests, the nearest first: what a node that writes code begins with."""
        known = []
        for each in missed.kin[:MAX_KNOWN] if ours.asked.shape else ():
            solution = library.show(each.solution)
            if solution is None or solution.artifact is None or each.tier == "generation" or solution.trust.suspended:
                continue
            code = await self._code.source(solution.artifact)
            if code is not None:
                base = checks_of(solution).base or {}
                told = {"version": solution.artifact, "request": solution.request, "tier": each.tier}
                known.append(Known(**told, code=code, parameters=base, similarity=each.similarity))
        return tuple(known)

    async def _looked_up(self, library: Library, ours: Ours) -> Hit | Miss:
        if not ours.look:
            return Miss(reason="the client wants it solved anew")
        try:
            async with asyncio.timeout(LOOK_UP_WITHIN_S):
                return await library.look_up(ours.asked)
        except TimeoutError:
            return Miss(reason="the look-up took too long")
        except RegistryError as error:
            log.info("the library could not be asked: %s", error)
            return Miss(reason="it could not be asked")

    def seen(self, run: OpenRequest, answer: Answer | None) -> None:
        """A request ended. What was solved is learned from later; where an answer came from is remembered for a person's word."""
        asked = self._asked.pop(run.work_id, None)
        if asked is None or answer is None:
            return
        if answer.library is not None and answer.library.result == "adapted":
            self._metrics.library_adapted()
        ours, found = asked
        request_id = run.request.request_id
        if isinstance(found, Hit):
            self._remember(request_id, _Remembered(solution=found.solution, evidence=found.evidence))
            return
        if flaw(answer):
            return
        outcome = _Outcome(request=run.request, ours=ours, missed=found, answer=answer, locale=run.locale, author=run.node or "")
        if verified(run.request, answer):
            self._take(outcome)
        else:
            chars = 2 * len(answer.draft.text) + len(ours.asked.text) + len(ours.asked.system_prompt)
            self._remember(request_id, _Remembered(unverified=outcome, chars=200 + chars))

    def _take(self, outcome: _Outcome) -> None:
        try:
            self._waiting.put_nowait(outcome)
        except asyncio.QueueFull:
            self._metrics.library_dropped()

    def _remember(self, request_id: str, what: _Remembered) -> None:
        old = self._remembered.pop(request_id, None)
        self._remembered[request_id] = what
        self._remembered_chars += what.chars - (old.chars if old else 0)
        while len(self._remembered) > MAX_REMEMBERED or self._remembered_chars > MAX_REMEMBERED_CHARS:
            _, dropped = self._remembered.popitem(last=False)
            self._remembered_chars -= dropped.chars

    async def _learn(self, outcome: _Outcome) -> None:
        """Keep what was solved, its code as a version of its own."""
        request, draft, asked = outcome.request, outcome.answer.draft, outcome.ours.asked
        code, version, made_up = draft.code, None, outcome.answer.simulated
        if code is not None:
            about = {"problem": request_text(request.messages, MAX_PROBLEM_CHARS), "locale": outcome.locale}
            version = await self._code.keep(code, **about, author=outcome.author, simulated=made_up)
        used = code if version is not None else None
        checks = checks_for(used, request, simulated=made_up, backend=outcome.answer.backend)
        solved = Solved(
            request=asked,
            miss=outcome.missed,
            answer={"text": draft.text, "data": draft.data} if draft.data is not None else {"text": draft.text},
            complete=True,
            verified=True,
            artifact=version,
            parameters=parameters_of(used, asked.text, count=request.count, max_count=self._max_count) if used else (),
            checks=checks.to_json(),
            metrics={"cost_usd": outcome.answer.cost_usd, "latency_s": outcome.answer.latency_s},
        )
        kept = await self.library.record(solved)
        if isinstance(kept, Stored):
            self._remember(request.request_id, _Remembered(solution=kept.solution))

    # ── a person's word ─────────────────────────────────────────────────────────────────────────────────────────────────

    def feedback(self, request_id: str, score: float, trace: Json = None) -> str:
        """What a client's score of an answer changes: ``kept``, ``trusted``, ``suspended`` or ``nothing``. ``trace`` is the
        request's, for one that is not remembered any more."""
        if self._library is None or BAD <= score < GOOD:
            return "nothing"
        known = self._remembered.get(request_id) or _Remembered(solution=solution_in(trace) or self._made_of(request_id))
        if known.unverified is not None:
            if score < GOOD:
                return "nothing"
            self._take(known.unverified)
            return "kept"
        if known.solution is None or not self._library.feedback(known.solution, good=score >= GOOD, evidence=known.evidence):
            return "nothing"
        return "trusted" if score >= GOOD else "suspended"

    def _made_of(self, request_id: str) -> str | None:
        """The solution that was made of this request, of those that are kept."""
        return next((each.id for each in self.library.solutions() if checks_of(each).request_id == request_id), None)

    async def dry_run(self, request: Request) -> tuple[Looked | None, str]:
        """What would come of a request now, without learning or counting; the reason where the library would not be asked."""
        ours = read(request, simulated_pool=self._simulated_pool())
        if isinstance(ours, NotOurs):
            return None, ours.reason
        if not ours.look:
            return None, "the client wants it solved anew"
        found = await self.library.dry_run(ours.asked)
        return looked_of(found, self.library.show(found.solution) if isinstance(found, Hit) else None), found.reason
