"""The registry's ports in memory: tables, journal, evidence, check, embeddings. Deterministic, and told to fail on demand."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from registry.artifacts import Registry
from registry.evidence import Day, Run, Usage, Written, add, usage_of
from registry.journal import Put
from registry.records import NewVersion, RegistryUnavailable, VersionId
from registry.search import Search
from registry.table_specs import TableSpec
from registry.tables import Revision, Row
from sandbox.records import Case, CaseReport, Problem, RunResult


class MemoryJournal:
    """``refuse`` lets every append fail; ``keep_then_fail`` keeps the puts and fails all the same, as a crash would look."""

    def __init__(self) -> None:
        self.puts: list[Put] = []
        self.refuse = False
        self.batches: list[int] = []

    async def append(self, puts: Sequence[Put]) -> Sequence[Put]:
        if self.refuse:
            raise RegistryUnavailable("no space left on device")
        kept = [replace(put, seq=len(self.puts) + n) for n, put in enumerate(puts, 1)]
        self.puts += kept
        self.batches.append(len(kept))
        return kept

    async def marks(self, table: str) -> Mapping[str, int]:
        return {put.key: put.seq for put in self.puts if put.table == table}

    async def newest(self, table: str, keys: Sequence[str] | None = None, *, before: float | None = None) -> Sequence[Put]:
        found = {put.key: put for put in self.puts if put.table == table and (before is None or put.at <= before)}
        return [put for key, put in found.items() if keys is None or key in keys]

    async def history(self, table: str, keys: Sequence[str], *, limit: int = 200) -> Sequence[Put]:
        return [put for put in reversed(self.puts) if put.table == table and put.key in keys][:limit]


class MemoryTables:
    """Filters are only understood as far as the registry writes them: ``column = 'x'`` and ``column IN (…)``, joined by AND."""

    def __init__(self) -> None:
        self.data: dict[str, dict[str, Row]] = {}
        self.past: dict[str, list[dict[str, Row]]] = {}
        self.labels: dict[str, dict[str, int]] = {}
        self.specs: dict[str, TableSpec] = {}
        self.refuse: set[str] = set()
        self.damaged: dict[str, str] = {}
        self.commits = 0
        self.clock: Callable[[], float] = lambda: 0.0
        self.times: dict[str, list[float]] = {}

    def spec(self, name: str) -> TableSpec:
        return self.specs[name]

    async def ensure(self, spec: TableSpec) -> None:
        self.specs[spec.name] = spec
        self.data.setdefault(spec.name, {})

    async def recreate(self, spec: TableSpec) -> None:
        self.specs[spec.name] = spec
        self.data[spec.name] = {}

    async def rows(self, name: str, where: str = "", *, columns: Sequence[str] = (), limit: int | None = None) -> list[Row]:
        found = [row for row in self.data[name].values() if _holds(row, where)]
        return [{key: row[key] for key in columns} if columns else dict(row) for row in found][:limit]

    async def get(self, name: str, keys: Sequence[str], *, columns: Sequence[str] = ()) -> list[Row]:
        return [row for row in await self.rows(name) if row[self.specs[name].key] in keys]

    async def merge(self, name: str, rows: Sequence[Row]) -> None:
        self._write(name)
        self.data[name].update({row[self.specs[name].key]: dict(row) for row in rows})
        self.past.setdefault(name, []).append(dict(self.data[name]))
        self.times.setdefault(name, []).append(self.clock())

    async def update(self, name: str, values: Row, *, where: str) -> None:
        self._write(name)
        for row in self.data[name].values():
            if _holds(row, where):
                row.update(values)

    def _write(self, name: str) -> None:
        if name in self.refuse:
            raise RegistryUnavailable(f"table {name}: no space left on device")
        self.commits += 1

    async def nearest(
        self, name: str, column: str, vector: Any, *, where: str = "", columns: Sequence[str] = (), limit: int = 10
    ) -> list[Row]:
        found = [
            {**row, "_distance": 1.0 - float(np.dot(vector, row[column]))}
            for row in await self.rows(name, where)
            if row[column] is not None
        ]
        return sorted(found, key=lambda row: row["_distance"])[:limit]

    async def matching(self, name: str, text: str, *, where: str = "", columns: Sequence[str] = (), limit: int = 10) -> list[Row]:
        words = set(re.findall(r"\w+", text.lower()))
        found = []
        for row in await self.rows(name, where):
            score = len(words & set(re.findall(r"[a-z0-9]+", row["words"].lower())))
            if score:
                found.append({**row, "_score": score})
        return sorted(found, key=lambda row: -row["_score"])[:limit]

    async def revisions(self, name: str) -> list[Revision]:
        return [Revision(number=n, at=at) for n, at in enumerate(self.times.get(name, []))]

    async def rows_at(self, name: str, revision: int | str, where: str = "") -> list[Row] | None:
        number = self.labels.get(name, {}).get(revision, -1) if isinstance(revision, str) else revision
        kept = self.past.get(name, [])
        return list(kept[number].values()) if 0 <= number < len(kept) else None

    async def tag(self, name: str, label: str) -> None:
        self.labels.setdefault(name, {})[label] = len(self.past.get(name, [])) - 1

    async def optimize(self, *, retention_s: float) -> None:
        self.past.clear()

    async def size_bytes(self) -> int:
        return 0


def _holds(row: Row, where: str) -> bool:
    for condition in re.split(r"\) AND \(", where.strip("()")) if where else []:
        column, _, rest = condition.partition(" ")
        values = [value.replace("''", "'") for value in re.findall(r"'((?:[^']|'')*)'", rest)]
        if row[column] not in values:
            return False
    return True


class MemoryEvidence:
    def __init__(self) -> None:
        self.waiting: list[Run] = []
        self.runs: list[Run] = []
        self.sums: dict[VersionId, Usage] = {}
        self.arms: list[Written] = []

    def wrote(self, standard: str, *, guided: bool, ok: bool) -> None:
        self.arms.append(Written(standard=standard, guided=guided, tries=1, passed=int(ok)))

    async def written(self) -> list[Written]:
        return self.arms

    def record(self, run: Run) -> None:
        self.waiting.append(run)

    async def fold(self) -> list[VersionId]:
        changed = list(dict.fromkeys(run.version_id for run in self.waiting))
        for version_id in changed:
            new = usage_of(version_id, [run for run in self.waiting if run.version_id == version_id])
            old = self.sums.get(version_id)
            self.sums[version_id] = new if old is None else add(old, new)
        self.runs += self.waiting
        self.waiting = []
        return changed

    async def usage(self, version_ids: Sequence[VersionId] | None = None) -> dict[VersionId, Usage]:
        return {key: value for key, value in self.sums.items() if version_ids is None or key in version_ids}

    async def used_by(self, version_id: VersionId, *, node: str | None = None, other_than: str | None = None) -> tuple[int, int]:
        found = [
            run.ok
            for run in [*self.runs, *self.waiting]
            if run.version_id == version_id and (node is None or run.node == node) and run.node != other_than
        ]
        return len(found), sum(found)

    async def days(self) -> list[Day]:
        by_day: dict[int, list[Run]] = {}
        for run in self.runs:
            by_day.setdefault(int(run.at // 86_400), []).append(run)
        return [
            Day(day=day, runs=len(runs), successes=sum(run.ok for run in runs), quality_runs=0, quality_sum=0.0)
            for day, runs in sorted(by_day.items())
        ]


class FakeChecker:
    """Passes every case, but those named in ``failing``; with ``off`` it runs nothing, as a sandbox that is missing a layer."""

    def __init__(self) -> None:
        self.failing: set[str] = set()
        self.off = False
        self.seen: list[str] = []

    async def check(self, code: str, cases: Sequence[Case]) -> Sequence[CaseReport]:
        self.seen.append(code)
        return [self._report(case) for case in cases]

    def _report(self, case: Case) -> CaseReport:
        if self.off:
            result = RunResult(problem=Problem.UNAVAILABLE, error="seccomp is missing")
        elif case.name in self.failing:
            result = RunResult(problem=Problem.RAISED, error="division by zero")
        else:
            result = RunResult(value=case.expected)
        return CaseReport(name=case.name, result=result, passed=result.ok)


def cases(*names: str) -> list[Case]:
    return [Case(name=name) for name in names]


class FakeEmbedder:
    """Words to places of a vector, by a hash: texts that share words are near each other. Deterministic over processes."""

    def __init__(self, dimension: int = 384, model: str = "fake") -> None:
        self.model = model
        self.ready = True
        self.dimension = dimension
        self.texts = 0

    async def load(self) -> None:
        self.ready = True

    async def embed(self, texts: Sequence[str]) -> Any:
        self.texts += len(texts)
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for row, text in zip(vectors, texts, strict=True):
            for word in re.findall(r"[a-z0-9]+", text.lower()):
                row[zlib.crc32(word.encode()) % self.dimension] += 1.0
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return (vectors / np.where(lengths == 0, 1, lengths)).astype(np.float32)

    async def count_tokens(self, texts: Sequence[str]) -> int:
        return sum(len(text.split()) for text in texts)

    async def aclose(self) -> None:
        self.ready = False


class World:
    """A registry over fakes. ``now`` moves by hand."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self.tables, self.journal, self.evidence, self.checker = MemoryTables(), MemoryJournal(), MemoryEvidence(), FakeChecker()
        self.tables.clock = lambda: self.now
        self.embedder = FakeEmbedder()
        self.registry: Registry

    async def open(self) -> Registry:
        self.registry = await Registry.open(
            self.tables,  # type: ignore[arg-type]
            self.journal,
            self.evidence,
            checker=self.checker,
            clock=lambda: self.now,
        )
        return self.registry

    async def search(self) -> Search:
        search = Search(self.registry, self.embedder)
        await search.open()
        return search

    async def reopen(self) -> Registry:
        await self.registry.close()
        return await self.open()

    async def run(self, version_id: VersionId, node: str, *, good: int = 0, bad: int = 0, latency_s: float = 0.02) -> None:
        """Executions, half of them a little faster and half a little slower than ``latency_s``."""
        for n in range(good + bad):
            took_s = latency_s * (0.9 if n % 2 else 1.1)
            run = Run(version_id=version_id, node=node, at=self.now, ok=n < good, latency_s=took_s)
            self.evidence.record(run)


def new(name: str = "revenue-validation", content: str = "def run(x):\n    return x\n", **more: Any) -> NewVersion:
    """A hand-in with everything that is needed."""
    fields = {"kind": "validator", "problem": "validate revenue data", "author": "financial-node", **more}
    return NewVersion(name=name, content=content, **fields)
