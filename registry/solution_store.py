"""Keeps the library of solutions over a restart: what changed is written in batches, and read back whole when it is opened.

Called by solutions.py only, which holds everything in memory. A kill between two flushes loses what was learned since, never what
was written before.
"""

from __future__ import annotations

from collections.abc import Mapping

from registry.records import RegistryDamaged
from registry.solution_records import Kept, Phrasing, Solution
from registry.solution_rows import (
    LEARNED,
    SOLUTIONS,
    learned_of,
    learned_row,
    phrasing_of,
    phrasing_row,
    phrasings_spec,
    solution_of,
    solution_row,
)
from registry.tables import Tables


class SolutionStore:
    """On ``tables``, which the registry opens and closes. ``dimension`` is that of the embeddings."""

    def __init__(self, tables: Tables, dimension: int) -> None:
        self._tables = tables
        self._phrasings = phrasings_spec(dimension)
        self._solutions: dict[str, Solution] = {}
        self._new: dict[str, Phrasing] = {}
        self._gone_solutions: set[str] = set()
        self._gone_phrasings: set[str] = set()

    async def open(self) -> Kept:
        """Create or migrate the tables and read all. Raises RegistryTooNew, RegistryUnavailable, RegistryDamaged."""
        for spec in (SOLUTIONS, self._phrasings, LEARNED):
            await self._tables.ensure(spec)
        kept = Kept()
        for row in await self._tables.rows(SOLUTIONS.name):
            try:
                kept.solutions.append(solution_of(row))
            except RegistryDamaged:
                kept.damaged += 1
        kept.solutions.sort(key=lambda each: each.made_at)
        for row in await self._tables.rows(self._phrasings.name):
            try:
                kept.phrasings.append(phrasing_of(row))
            except RegistryDamaged:
                kept.damaged += 1
        for row in await self._tables.rows(LEARNED.name):
            try:
                kept.learned[row["name"]] = learned_of(row)
            except ValueError:
                kept.damaged += 1
        return kept

    def changed(self, solution: Solution) -> None:
        self._solutions[solution.id] = solution
        self._gone_solutions.discard(solution.id)

    def phrased(self, phrasing: Phrasing) -> None:
        self._new[phrasing.key] = phrasing
        self._gone_phrasings.discard(phrasing.key)

    def gone(self, solution: str, phrasings: frozenset[str]) -> None:
        self._solutions.pop(solution, None)
        self._gone_solutions.add(solution)
        for key in phrasings:
            self._new.pop(key, None)
            self._gone_phrasings.add(key)

    async def flush(self, learned: Mapping[str, bytes]) -> None:
        """Write what changed. Raises RegistryUnavailable; what was not written is written by the next flush."""
        if not (self._solutions or self._new or self._gone_solutions or self._gone_phrasings):
            return
        solutions, phrasings = dict(self._solutions), dict(self._new)
        gone, gone_phrasings = set(self._gone_solutions), set(self._gone_phrasings)
        # Phrasings point at solutions: those come first and go last, so that a kill leaves nothing that points nowhere.
        await self._tables.merge(SOLUTIONS.name, [solution_row(each) for each in solutions.values()])
        await self._tables.merge(self._phrasings.name, [phrasing_row(each) for each in phrasings.values()])
        await self._tables.delete(self._phrasings.name, sorted(gone_phrasings))
        await self._tables.delete(SOLUTIONS.name, sorted(gone))
        await self._tables.merge(LEARNED.name, [learned_row(name, state) for name, state in learned.items()])
        for key, solution in solutions.items():
            if self._solutions.get(key) is solution:
                del self._solutions[key]
        for key, phrasing in phrasings.items():
            if self._new.get(key) is phrasing:
                del self._new[key]
        self._gone_solutions -= gone
        self._gone_phrasings -= gone_phrasings
