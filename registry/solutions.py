"""The library of solutions: was this asked before, and may the stored answer be given again?

Called by the daemon before a request is handed to anybody (``look_up``) and after it was solved (``record``). Imports the rooms
of the library and the embedder's port; knows nothing of agents, the sandbox or HTTP: stored code is run through a Runner,
answers are checked by a Check, both handed in.

In this order: (1) the same request in the same partition is found by its hash, without an embedding; (2) the nearest solutions
are found by similarity; (3) where the nearest has code and all that differs is parameters, the code is run again with new
values, else its answer is a candidate as it stands; (4) trust.py decides whether the candidate may answer under the operator's
bound; (5) the checks have the last word: an answer that fails them is not given, and its solution is out at once.
"""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from random import Random

import numpy as np
import numpy.typing as npt

from registry.alignment import Tiers, Value, align
from registry.embedding import Embedder
from registry.records import TrustStateUnreadable
from registry.solution_index import Index, Near
from registry.solution_records import (
    MAX_REQUEST_CHARS,
    Candidate,
    Check,
    Hit,
    Json,
    Miss,
    NotStored,
    Request,
    Runner,
    Solution,
    Solved,
    Stored,
    unfit,
)
from registry.solution_store import SolutionStore
from registry.trust import Evidence, Serve, Trust, TrustSettings
from registry.wording import Wording, agreement, read

_NEIGHBOURS = 3
CHECKED_PRIOR = 400.0
"""Code that is run again on parameters alone, and whose answer passes its checks, begins as if so many of those had been
right.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LibrarySettings:
    """``fresh_s``: how long an answer may be given again, by kind; ``""`` is for kinds that are not named. Code does not age."""

    trust: TrustSettings = field(default_factory=TrustSettings)
    tiers: Tiers = field(default_factory=Tiers)
    fresh_s: Mapping[str, float] = field(default_factory=lambda: {"": 30 * 86_400.0})
    max_solutions: int = 100_000
    max_phrasings: int = 64


class Library:
    """``await open()`` first where there is a store. Use it from one event loop."""

    def __init__(
        self,
        embedder: Embedder,
        *,
        settings: LibrarySettings | None = None,
        runner: Runner | None = None,
        check: Check | None = None,
        store: SolutionStore | None = None,
        clock: Callable[[], float] = time.time,
        rng: Random | None = None,
    ) -> None:
        self.settings = settings or LibrarySettings()
        self._embedder, self._runner, self._check, self._store = embedder, runner, check, store
        self._clock, self._rng = clock, rng or Random()
        self._index = Index()
        self._solutions: dict[str, Solution] = {}
        checked = replace(self.settings.trust, prior_held=max(self.settings.trust.prior_held, CHECKED_PRIOR))
        self._trust = {"text": Trust(self.settings.trust), "code": Trust(checked)}
        self.counts: Counter[str] = Counter()
        """Hits by how, misses by reason: a bounded set of words."""

    async def open(self) -> int:
        """Read back what is stored; returns how many rows could not be. Raises RegistryTooNew, RegistryUnavailable."""
        if self._store is None:
            return 0
        kept = await self._store.open()
        self._solutions = {solution.id: solution for solution in kept.solutions}
        for key, partition, solution, text, vector in kept.phrasings:
            if solution in self._solutions:
                self._index.add(key, partition, solution, text, vector)
        for name, state in kept.learned.items():
            try:
                self._trust[name].load(state)
            except (KeyError, TrustStateUnreadable):
                kept.damaged += 1
        return kept.damaged

    async def flush(self) -> None:
        """Write what changed since the last time. Raises RegistryUnavailable; nothing is lost by that."""
        if self._store is not None:
            await self._store.flush({name: trust.dump() for name, trust in self._trust.items()})

    # ── asking ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def look_up(self, request: Request) -> Hit | Miss:
        """The answer, or why it must be found. Raises EmbeddingUnavailable, EmbeddingBusy."""
        found = await self._look_up(request, dry=False)
        self.counts[f"hit {found.how}" if isinstance(found, Hit) else f"miss {found.reason.partition(':')[0]}"] += 1
        return found

    async def dry_run(self, request: Request) -> Hit | Miss:
        """As ``look_up``, code and checks included, but nothing is counted or learned and no audit is drawn."""
        return await self._look_up(request, dry=True)

    async def _look_up(self, request: Request, *, dry: bool) -> Hit | Miss:
        if len(request.text) > MAX_REQUEST_CHARS:
            return Miss(reason="too long")
        if (known := self._exactly(request)) is not None and not self._stale(known) and not known.trust.suspended:
            same = Hit(
                solution=known.id,
                answer=known.answer,
                how="exact",
                similarity=1.0,
                error=0.0,
                tier="exact",
                steps=3,
                reason="the same request",
            )
            return await self._checked(request, known, same, Miss(reason=""), dry=dry)
        vector = (await self._embedder.embed([request.canonical]))[0]
        near = self._index.nearest(request.partition, vector, _NEIGHBOURS + 1)
        candidates = tuple(self._candidate(request, each, near) for each in near[:_NEIGHBOURS])
        if not candidates:
            return Miss(reason="nothing near", vector=vector)
        first = candidates[0]
        missed = Miss(reason="", candidates=candidates, vector=vector, tier=first.tier, steps=first.steps)
        solution = self._solutions[first.solution]
        if solution.artifact is None and self._stale(solution):
            return replace(missed, reason="stale")
        if solution.artifact is not None and (first.values is None or self._runner is None or self._check is None):
            return replace(missed, reason=f"not parametric: {first.obstacle or 'nothing runs or checks code'}")
        trust = self._trust_of(solution)
        decided = (
            trust.would_serve(first.evidence, solution.trust) if dry else trust.decide(first.evidence, solution.trust, self._rng)
        )
        if not isinstance(decided, Serve):
            return replace(missed, reason=f"not trusted: {decided.reason}", audit=decided.audit)
        hit = Hit(
            solution=solution.id,
            answer=solution.answer,
            how="reused" if first.values is None else "rerun",
            similarity=first.similarity,
            error=decided.error,
            tier=first.tier,
            steps=first.steps,
            reason=decided.reason,
            evidence=first.evidence,
            values=first.values or {},
        )
        return await self._checked(request, solution, hit, missed, dry=dry)

    async def _checked(self, request: Request, solution: Solution, hit: Hit, missed: Miss, *, dry: bool) -> Hit | Miss:
        """The hit, its answer computed where it is to be, when it passes the checks; else a Miss, and the solution is out."""
        why = ""
        if hit.how == "rerun" and self._runner is not None and solution.artifact is not None:
            ran = await self._runner.run(solution.artifact, hit.values)
            why, hit = (f"code failed: {ran.error[:200]}" if ran.error else ""), replace(hit, answer=ran.answer)
        if not why and self._check is not None and (failed := await self._check(solution, request, hit.values, hit.answer)):
            why = f"check failed: {failed[:200]}"
        if not why:
            return hit
        now = self._solutions.get(solution.id)
        if not dry and now is not None:
            self._keep(replace(now, trust=self._trust_of(now).refute(now.trust, hit.evidence)))
        return replace(missed, reason=why)

    def _exactly(self, request: Request) -> Solution | None:
        """The solution that has this very phrasing, where its stored answer is for it."""
        found = self._solutions.get(self._index.exact(request.exact) or "")
        return found if found is not None and (found.artifact is None or found.request == request.canonical) else None

    def _candidate(self, request: Request, near: Near, all_near: list[Near]) -> Candidate:
        solution = self._solutions[near.solution]
        others = [each.similarity for each in all_near if each.solution != near.solution]
        values: Mapping[str, Value] | None = None
        obstacle, compared = "", near.text
        if solution.artifact is not None:
            aligned = align(solution.request, request.canonical, solution.parameters)
            obstacle = aligned.reason
            if aligned.covered:  # all that differs is taken up by parameters: for the wording the two are one request
                values, compared = aligned.values, request.canonical
        return Candidate(
            solution=near.solution,
            similarity=near.similarity,
            evidence=Evidence(
                similarity=near.similarity,
                agreement=agreement(_read(request.canonical), _read(compared)),
                runner_up=max(others, default=None),
            ),
            tier=self.settings.tiers.name(near.similarity),
            steps=self.settings.tiers.steps(near.similarity),
            values=values,
            obstacle=obstacle,
        )

    def _stale(self, solution: Solution) -> bool:
        fresh_s = self.settings.fresh_s.get(solution.kind, self.settings.fresh_s.get("", float("inf")))
        return self._clock() - solution.made_at > fresh_s

    def _trust_of(self, solution: Solution) -> Trust:
        return self._trust["code" if solution.artifact is not None else "text"]

    # ── learning ────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def record(self, solved: Solved) -> Stored | NotStored:
        """Learn from how a missed request was solved, and keep it. Raises EmbeddingUnavailable, EmbeddingBusy."""
        if reason := unfit(solved):
            return NotStored(reason=reason)
        request = solved.request
        vector = solved.miss.vector if solved.miss.vector is not None else (await self._embedder.embed([request.canonical]))[0]
        same = await self._compare(solved)
        old = self._solutions.get(self._index.exact(request.exact) or "")
        if old is not None and old.request == request.canonical:
            self._forget(old.id)  # solved anew: it was stale, suspended, or failed its checks
        if same in self._solutions and solved.artifact is None and self._solutions[same].artifact is None:
            if len(self._index.phrasings(same)) < self.settings.max_phrasings:
                self._add_phrasing(request, same, vector)
            return Stored(solution=same, new=False)
        solution = Solution(
            id=uuid.uuid4().hex,
            partition=request.partition,
            tenant=request.tenant,
            kind=request.kind,
            request=request.canonical,
            answer=solved.answer,
            made_at=self._clock(),
            artifact=solved.artifact,
            parameters=solved.parameters,
            checks=solved.checks,
            metrics=solved.metrics,
            trust=self._trust["text"].new_entry(),
        )
        while len(self._solutions) >= max(1, self.settings.max_solutions):
            self._forget(next(iter(self._solutions)))  # in order of their making: the oldest
        self._keep(solution)
        self._add_phrasing(request, solution.id, vector)
        return Stored(solution=solution.id, new=True)

    async def _compare(self, solved: Solved) -> str:
        """Teach trust which of the nearest would have answered right; returns the nearest that would, or ""."""
        same = ""
        for rank, candidate in enumerate(solved.miss.candidates):
            solution = self._solutions.get(candidate.solution)
            if solution is None:
                continue
            held = solved.held.get(solution.id)
            held = held if held is not None else await self._would_have_held(solved, solution, candidate)
            now = self._solutions.get(solution.id)
            if held is not None and now is not None:
                learned = self._trust_of(now).learn(candidate.evidence, now.trust, held=held, top=rank == 0)
                self._keep(replace(now, trust=learned))
                same = now.id if held and not same and not self._stale(now) else same
        return same

    async def _would_have_held(self, solved: Solved, solution: Solution, candidate: Candidate) -> bool | None:
        """None where it cannot be known: code that could not have been run on this request."""
        if solution.artifact is None:
            return _same_answer(solution.answer, solved.answer)
        if candidate.values is None or self._runner is None or self._check is None:
            return None
        ran = await self._runner.run(solution.artifact, candidate.values)
        return not ran.error and not await self._check(solution, solved.request, candidate.values, ran.answer)

    def feedback(self, solution: str, *, good: bool, evidence: Evidence | None = None) -> bool:
        """A client's word on a Hit (``evidence`` as the Hit had it). False where the solution is not there any more."""
        found = self._solutions.get(solution)
        if found is not None and not good:
            self._keep(replace(found, trust=self._trust_of(found).refute(found.trust, evidence)))
        elif found is not None and evidence is not None:
            self._keep(replace(found, trust=self._trust_of(found).learn(evidence, found.trust, held=True)))
        return found is not None

    # ── the operator's side ─────────────────────────────────────────────────────────────────────────────────────────────

    def show(self, solution: str) -> Solution | None:
        return self._solutions.get(solution)

    def purge(self, *, ids: frozenset[str] = frozenset(), tenant: str | None = None, older_than: float | None = None) -> int:
        """Forget solutions by id, of a tenant, or made before a moment (Unix time); returns how many. No condition: none."""
        every = self._solutions.values()
        chosen = {each.id for each in every if each.id in ids or each.tenant == tenant}
        chosen |= {each.id for each in every if older_than is not None and each.made_at < older_than}
        for each in chosen:
            self._forget(each)
        return len(chosen)

    def stats(self) -> dict[str, Json]:
        """Numbers for operators."""
        solutions = self._solutions.values()
        return {
            "solutions": len(self._solutions),
            "phrasings": len(self._index),
            "with_code": sum(each.artifact is not None for each in solutions),
            "suspended": sum(each.trust.suspended > 0 for each in solutions),
            "stale": sum(self._stale(each) for each in solutions),
            "kinds": dict(Counter(each.kind for each in solutions)),
            "look_ups": dict(self.counts),
            "error_bound": self.settings.trust.error_bound,
            "thresholds": {name: trust.threshold for name, trust in self._trust.items()},
        }

    def _keep(self, solution: Solution) -> None:
        self._solutions[solution.id] = solution
        if self._store is not None:
            self._store.changed(solution)

    def _add_phrasing(self, request: Request, solution: str, vector: npt.NDArray[np.float32]) -> None:
        self._index.add(request.exact, request.partition, solution, request.canonical, vector)
        if self._store is not None:
            self._store.phrased(request.exact, request.partition, solution, request.canonical, vector)

    def _forget(self, solution: str) -> None:
        phrasings = self._index.phrasings(solution)
        for key in phrasings:
            self._index.remove(key)
        self._solutions.pop(solution, None)
        if self._store is not None:
            self._store.gone(solution, phrasings)


def _same_answer(stored: Json, new: Json) -> bool:
    if isinstance(stored, str) and isinstance(new, str):
        return stored.split() == new.split()
    return bool(stored == new)


@lru_cache(maxsize=2048)
def _read(text: str) -> Wording:
    return read(text)
