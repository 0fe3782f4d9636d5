"""The library of solutions: was this asked before, and may the stored answer be given again?

Called by the daemon before a request is handed to anybody (``look_up``) and after it was solved (``record``). Imports the rooms
of the library and the embedder's port; knows nothing of agents, the sandbox or HTTP: stored code is run through a Runner,
answers are checked by a Check, both handed in.

In this order: (1) the same request in the same partition is found by its hash, and code by the same words with other values, both
without an embedding; (2) the nearest solutions are found by similarity; (3) where the nearest has code and all that differs is
parameters, the code is run again with new values, else its answer is a candidate as it stands; (4) trust.py decides whether it
may answer under the operator's bound; (5) the checks have the last word: an answer that fails them is not given, and its
solution is out at once.
"""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from random import Random

import numpy as np
import numpy.typing as npt

from registry.alignment import Value
from registry.embedding import Embedder
from registry.records import TrustStateUnreadable
from registry.solution_candidates import barred, candidate_of, same_again, same_answer
from registry.solution_index import Near
from registry.solution_records import (
    MAX_REQUEST_CHARS,
    Candidate,
    Certain,
    Check,
    Hit,
    Json,
    LibrarySettings,
    Miss,
    NotStored,
    Ran,
    Request,
    Runner,
    Solution,
    Solved,
    Store,
    Stored,
    unfit,
)
from registry.solution_shelf import Shelf
from registry.trust import Evidence, Serve, Trust

__all__ = ["CHECKED_PRIOR", "Library", "LibrarySettings"]

_NEIGHBOURS = 4
CHECKED_PRIOR = 400.0
"""Code that is run again on parameters alone, and whose answer passes its checks, begins as if so many of those were right."""
_RUNS = 2
"""How often stored code is run for one request: what is drawn at random fails a check of one in a hundred by chance alone."""
_NO_DIMENSION = 384


class Library:
    """``await open()`` first where there is a store. Use it from one event loop. ``embedder`` None: only the very same request is
    found again. ``certain`` says whether the checks cover code that runs with other values; without it they always do.
    ``executed`` is told of every run of stored code, and whether its answer held."""

    def __init__(
        self,
        embedder: Embedder | None,
        *,
        settings: LibrarySettings | None = None,
        runner: Runner | None = None,
        check: Check | None = None,
        certain: Certain = lambda solution, request, values: "",
        executed: Callable[[Ran, bool], None] = lambda ran, held: None,
        store: Store | None = None,
        clock: Callable[[], float] = time.time,
        rng: Random | None = None,
    ) -> None:
        self.settings = settings or LibrarySettings()
        self._embedder, self._runner, self._check, self._certain = embedder, runner, check, certain
        self._executed, self._clock, self._rng = executed, clock, rng or Random()
        limits = {"max_solutions": self.settings.max_solutions, "max_phrasings": self.settings.max_phrasings}
        self._shelf = Shelf(store, embedder.model if embedder else "", **limits)
        checked = replace(self.settings.trust, prior_held=max(self.settings.trust.prior_held, CHECKED_PRIOR))
        self._trust = {"text": Trust(self.settings.trust), "code": Trust(checked)}
        self.counts: Counter[str] = Counter()
        """Hits by how, misses by reason: a bounded set of words."""

    async def open(self) -> int:
        """Read back what is stored; returns how many rows could not be. Raises RegistryTooNew, RegistryUnavailable."""
        kept = await self._shelf.open()
        for name, state in kept.learned.items():
            try:
                self._trust[name].load(state)
            except (KeyError, TrustStateUnreadable):
                kept.damaged += 1
        return kept.damaged

    async def flush(self) -> None:
        """Write what changed since the last time. Raises RegistryUnavailable; nothing is lost by that."""
        await self._shelf.flush({name: trust.dump() for name, trust in self._trust.items()})

    async def embed_foreign(self, count: int) -> int:
        """Embed some phrasings that another model embedded, or none; returns how many. Raises EmbeddingUnavailable."""
        some = self._shelf.foreign(count) if self._embedder is not None else []
        if some and self._embedder is not None:
            for each, vector in zip(some, await self._embedder.embed([each.text for each in some]), strict=True):
                self._shelf.embedded(each, vector)
        return len(some)

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
        known = self._exactly(request)
        if known is not None and not self._stale(known) and not known.trust.suspended:
            same = self._same(request, known)
            if same is not None:
                return await self._checked(request, known, same, Miss(reason=""), dry=dry)
        formed = [
            self._candidate(request, Near(each.id, 1.0, each.request), []) for each in self._shelf.of_form(request, _NEIGHBOURS)
        ]
        if (first := next((each for each in formed if not self._barred(request, each)), None)) is not None:
            missed = Miss(reason="", candidates=(first,), tier=first.tier, steps=first.steps)
            return await self._decided(request, first, missed, dry=dry)
        if not (self._shelf.index.has(request.partition) or self._shelf.index.has(request.kin)):
            return Miss(reason="nothing near")  # and no embedding is made for it
        if self._embedder is None or not self._embedder.ready:  # a request does not wait for a model to be loaded
            return Miss(reason="no embeddings")
        vector = (await self._embedder.embed([request.canonical]))[0]
        near = await self._near(request.partition, vector)
        kin = await self._near(request.kin, vector)
        missed = Miss(reason="nothing near", vector=vector, kin=tuple(self._candidate(request, each, kin) for each in kin[:2]))
        candidates = [self._candidate(request, each, near) for each in near[:_NEIGHBOURS]]
        if not candidates:
            return missed
        reasons = [self._barred(request, each) for each in candidates]
        # The nearest that can answer at all: of many runs of one program only some differ from this request in parameters alone.
        candidates.insert(0, candidates.pop(reasons.index("") if "" in reasons else 0))
        first = candidates[0]
        missed = replace(missed, reason="", candidates=tuple(candidates), tier=first.tier, steps=first.steps)
        if "" not in reasons:
            return replace(missed, reason=reasons[0])
        return await self._decided(request, first, missed, dry=dry)

    async def _decided(self, request: Request, first: Candidate, missed: Miss, *, dry: bool) -> Hit | Miss:
        """What trust says of the nearest, and then its checks."""
        solution = self._shelf.get(first.solution)
        assert solution is not None
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
        why, blamed = "", False
        for _ in range(_RUNS if hit.how == "rerun" else 1):
            hit, why, blamed = await self._answered(request, solution, hit, dry=dry)
            if not why:
                return hit
        now = self._shelf.get(solution.id)
        if blamed and not dry and now is not None:
            evidence = None if hit.how == "rerun" else hit.evidence
            self._shelf.keep(replace(now, trust=self._trust_of(now).refute(now.trust, evidence)))
        return replace(missed, reason=why)

    async def _answered(self, request: Request, solution: Solution, hit: Hit, *, dry: bool) -> tuple[Hit, str, bool]:
        """The hit with its answer, what is wrong with it, and whether that speaks against the solution: not where nothing ran."""
        if hit.how == "rerun":
            ran, why = await self._run(solution, request, hit.values, dry=dry)
            return (hit if ran.error else replace(hit, answer=ran.answer)), why, bool(ran.version)
        return hit, await self._fails(solution, request, hit.values, hit.answer), True

    async def _run(self, solution: Solution, request: Request, values: Mapping[str, Value], *, dry: bool) -> tuple[Ran, str]:
        """A run of the code, and what is wrong with it or its answer."""
        if self._runner is None:
            return Ran(), "nothing runs code"
        ran = await self._runner.run(solution, {**values, **request.inputs})
        why = f"code failed: {ran.error[:200]}" if ran.error else await self._fails(solution, request, values, ran.answer)
        if ran.version and not dry:
            self._executed(ran, not why)
        return ran, why

    async def _fails(self, solution: Solution, request: Request, values: Mapping[str, Value], answer: Json) -> str:
        failed = await self._check(solution, request, values, answer) if self._check is not None else ""
        return f"check failed: {failed[:200]}" if failed else ""

    def _exactly(self, request: Request) -> Solution | None:
        """The solution that has this very phrasing, where its stored answer is for it."""
        found = self._shelf.exact(request.exact)
        return found if found is not None and (found.artifact is None or found.request == request.canonical) else None

    def _same(self, request: Request, known: Solution) -> Hit | None:
        return same_again(request, known, self._certain, runs=self._runner is not None and self._check is not None)

    def _barred(self, request: Request, first: Candidate) -> str:
        known = self._shelf.get(first.solution)
        runs = self._runner is not None and self._check is not None
        return barred(request, first, known, runs=runs, stale=known is not None and self._stale(known))

    async def _near(self, partition: str, vector: npt.NDArray[np.float32]) -> list[Near]:
        found = await self._shelf.index.nearest(partition, vector, _NEIGHBOURS + 1)
        return [each for each in found if each.similarity > 0.0 and self._shelf.get(each.solution) is not None]

    def _candidate(self, request: Request, near: Near, all_near: list[Near]) -> Candidate:
        solution = self._shelf.get(near.solution)
        assert solution is not None
        return candidate_of(solution, request, near, all_near, self.settings.tiers, self._certain)

    def _stale(self, solution: Solution) -> bool:
        if solution.artifact is not None:
            return False
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
        vector = solved.miss.vector
        if vector is None and self._embedder is not None:
            vector = (await self._embedder.embed([request.canonical]))[0]
        if vector is None:
            vector = np.zeros(_NO_DIMENSION, dtype=np.float32)
        same = self._shelf.get(await self._compare(solved))
        old = self._shelf.exact(request.exact)
        if old is not None and old.request == request.canonical:
            self._shelf.forget(old.id)  # solved anew: it was stale, suspended, or failed its checks
        if same is not None and same is not old and solved.artifact is None and same.artifact is None:
            self._shelf.phrase(same.id, request, vector)
            return Stored(solution=same.id, new=False)
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
        self._shelf.add(solution, request, vector)
        return Stored(solution=solution.id, new=True)

    async def _compare(self, solved: Solved) -> str:
        """Teach trust which of the nearest would have answered right; returns the nearest that would, or ""."""
        same = ""
        for rank, candidate in enumerate(solved.miss.candidates):
            solution = self._shelf.get(candidate.solution)
            if solution is None:
                continue
            held = solved.held.get(solution.id)
            held = held if held is not None else await self._would_have_held(solved, solution, candidate)
            now = self._shelf.get(solution.id)
            if held is not None and now is not None:
                top = rank == 0 and (held or now.artifact is None)  # code that its check refuses would not have been served
                learned = self._trust_of(now).learn(candidate.evidence, now.trust, held=held, top=top)
                self._shelf.keep(replace(now, trust=learned))
                same = now.id if held and not same and not self._stale(now) else same
        return same

    async def _would_have_held(self, solved: Solved, solution: Solution, candidate: Candidate) -> bool | None:
        """None where it cannot be known: code that could not have been run on this request, or cannot be run now."""
        if solution.artifact is None:
            return same_answer(solution.answer, solved.answer)
        if candidate.values is None or self._runner is None or self._check is None:
            return None
        # As often as when it answers: one false alarm in a hundred runs would close the bound on code that is right.
        for _ in range(_RUNS):
            ran, why = await self._run(solution, solved.request, candidate.values, dry=False)
            if not why or not ran.version:
                return True if not why else None
        return False

    def feedback(self, solution: str, *, good: bool, evidence: Evidence | None = None) -> bool:
        """A client's word on a Hit (``evidence`` as the Hit had it). False where the solution is not there any more."""
        found = self._shelf.get(solution)
        if found is not None and not good:
            self._shelf.keep(replace(found, trust=self._trust_of(found).refute(found.trust, evidence)))
        elif found is not None and evidence is not None:
            self._shelf.keep(replace(found, trust=self._trust_of(found).learn(evidence, found.trust, held=True)))
        return found is not None

    # ── the operator's side ─────────────────────────────────────────────────────────────────────────────────────────────

    def show(self, solution: str) -> Solution | None:
        return self._shelf.get(solution)

    def purge(self, *, ids: frozenset[str] = frozenset(), tenant: str | None = None, older_than: float | None = None) -> int:
        """Forget solutions by id, of a tenant, or made before a moment (Unix time); returns how many. No condition: none."""

        def is_chosen(each: Solution) -> bool:
            named = each.id in ids or (tenant is not None and each.tenant == tenant)
            return named or (older_than is not None and each.made_at < older_than)

        return self._shelf.purge(is_chosen)

    def solutions(self, *, limit: int | None = None, tenant: str | None = None) -> list[Solution]:
        """The newest first."""
        found = [each for each in self._shelf if tenant in (None, each.tenant)]
        return sorted(found, key=lambda each: -each.made_at)[:limit]

    def stats(self) -> dict[str, Json]:
        """Numbers for operators."""
        return {
            **self._shelf.counts(self._stale),
            "look_ups": dict(self.counts),
            "error_bound": self.settings.trust.error_bound,
            "thresholds": {name: trust.threshold for name, trust in self._trust.items()},
            "same_words": self._trust["text"].serves_same_words,
        }
