"""All solutions of a library with their phrasings, in memory and in its store.

Called by solutions.py only. Holds no judgement: what may be answered is the library's to say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from registry.alignment import form_of
from registry.solution_index import Index
from registry.solution_records import Json, Kept, Phrasing, Request, Solution, Store, exact_of

Vector = npt.NDArray[np.float32]


class Shelf:
    """Every change is told to ``store``, which writes it later. ``model`` names what makes the embeddings."""

    def __init__(self, store: Store | None, model: str, *, max_solutions: int, max_phrasings: int) -> None:
        self.index = Index()
        self._store, self._model = store, model
        self._max_solutions, self._max_phrasings = max(1, max_solutions), max_phrasings
        self._solutions: dict[str, Solution] = {}
        self._foreign: dict[str, Phrasing] = {}
        self._by_form: dict[tuple[str, str], dict[str, None]] = {}

    async def open(self) -> Kept:
        """Read back what is stored. Raises RegistryTooNew, RegistryUnavailable, RegistryDamaged."""
        if self._store is None:
            return Kept()
        kept = await self._store.open()
        self._solutions = {solution.id: solution for solution in kept.solutions}
        for solution in kept.solutions:
            self._note_form(solution)
        for each in kept.phrasings:
            if each.solution not in self._solutions:
                continue
            if each.model != self._model:
                self._foreign[each.key] = each
            self.index.add(each.key, each.partition, each.solution, each.text, each.vector)
        return kept

    async def flush(self, learned: dict[str, bytes]) -> None:
        """Raises RegistryUnavailable; nothing is lost by that."""
        if self._store is not None:
            await self._store.flush(learned)

    def foreign(self, count: int) -> list[Phrasing]:
        """Phrasings that another model embedded, or none: found by their hash alone until ``embedded`` gives them a vector."""
        return [each for _, each in zip(range(count), self._foreign.values(), strict=False)]

    def embedded(self, phrasing: Phrasing, vector: Vector) -> None:
        """Take the vector of a foreign phrasing, where it is still there."""
        if self._foreign.pop(phrasing.key, None) is not None and self.index.exact(phrasing.key) == phrasing.solution:
            self._phrase(phrasing.key, phrasing.partition, phrasing.solution, phrasing.text, vector)

    # ── solutions ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def __len__(self) -> int:
        return len(self._solutions)

    def __iter__(self) -> Iterator[Solution]:
        return iter(self._solutions.values())

    def get(self, solution: str | None) -> Solution | None:
        return self._solutions.get(solution or "")

    def exact(self, key: str) -> Solution | None:
        return self.get(self.index.exact(key))

    def of_form(self, request: Request, count: int) -> list[Solution]:
        """Code that answered requests with the same words and other values, the newest first: found without an embedding."""
        if not self._by_form:
            return []
        some = list(self._by_form.get((request.partition, form_of(request.canonical)), ()))[-count:]
        return [self._solutions[each] for each in reversed(some)]

    def _note_form(self, solution: Solution) -> None:
        if solution.artifact is not None:
            self._by_form.setdefault((solution.partition, form_of(solution.request)), {})[solution.id] = None

    def keep(self, solution: Solution) -> None:
        """Put it in, or in place of the one with its id."""
        self._solutions[solution.id] = solution
        if self._store is not None:
            self._store.changed(solution)

    def add(self, solution: Solution, request: Request, vector: Vector) -> None:
        """A new one; the oldest go where there are too many. Code is also found by requests for other forms of answer."""
        while len(self._solutions) >= self._max_solutions:
            self.forget(next(iter(self._solutions)))
        self.keep(solution)
        self._note_form(solution)
        self._phrase(request.exact, request.partition, solution.id, request.canonical, vector)
        if solution.artifact is not None:
            key = exact_of(request.kin, request.canonical, solution.id)
            self._phrase(key, request.kin, solution.id, request.canonical, vector)

    def phrase(self, solution: str, request: Request, vector: Vector) -> None:
        """One more request that the solution answers, while it has not many."""
        if len(self.index.phrasings(solution)) < self._max_phrasings:
            self._phrase(request.exact, request.partition, solution, request.canonical, vector)

    def _phrase(self, key: str, partition: str, solution: str, text: str, vector: Vector) -> None:
        self._foreign.pop(key, None)
        self.index.add(key, partition, solution, text, vector)
        if self._store is not None:
            named = {"key": key, "partition": partition, "solution": solution, "text": text, "model": self._model}
            self._store.phrased(Phrasing(**named, vector=vector))

    def forget(self, solution: str) -> None:
        """Take it out with all that it answers; idempotent."""
        phrasings = self.index.phrasings(solution)
        for key in phrasings:
            self.index.remove(key)
            self._foreign.pop(key, None)
        gone = self._solutions.pop(solution, None)
        if gone is not None:
            form = (gone.partition, form_of(gone.request))
            same = self._by_form.get(form, {})
            same.pop(solution, None)
            if not same:
                self._by_form.pop(form, None)
        if self._store is not None:
            self._store.gone(solution, phrasings)

    def purge(self, is_chosen: Callable[[Solution], bool]) -> int:
        """Forget those; returns how many."""
        chosen = [each.id for each in self if is_chosen(each)]
        for each in chosen:
            self.forget(each)
        return len(chosen)

    def counts(self, is_stale: Callable[[Solution], bool]) -> dict[str, Json]:
        """Numbers for operators."""
        return {
            "solutions": len(self),
            "phrasings": len(self.index),
            "with_code": sum(each.artifact is not None for each in self),
            "suspended": sum(each.trust.suspended > 0 for each in self),
            "stale": sum(is_stale(each) for each in self),
            "kinds": dict(Counter(each.kind for each in self)),
        }
