"""What the registry takes on disk and how fast it answers: 1,247 artifacts with 45,000 executions.

    python -m ops.bench.registry [--json] [--quick] [--only registry|baseline] [--seed N] [--plot FILE]

Everything is made up from the seed and written through the
registry's own doors: publish, evidence, fold, search. Vectors are hashed words with as many dimensions as the built-in model's,
so that nothing here measures a model. The baseline writes each execution to the table, as a registry without folding would.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import tempfile
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ops.bench.plot import Bar, write_bars
from ops.bench.report import Goal, at_most, emit, parser, progress
from registry.artifacts import Registry
from registry.catalog import SPECS, USAGE
from registry.embedding import Vectors, unit_length
from registry.evidence import Run
from registry.records import NewVersion, VersionId
from registry.search import Query, Search
from registry.table_care import folder_bytes
from registry.tables import Tables
from registry.upkeep import fold, learn, optimize
from runtime.ledger.registry import LedgerEvidence, LedgerJournal
from runtime.ledger.store import Ledger
from sandbox.records import Case, CaseReport, RunResult

ARTIFACTS = 1_247
EXECUTIONS = 45_000
DIMENSION = 384
SEARCHES = 300
AT_ONCE = 32
BASELINE_WRITES = 60
NODES = 45
FOLDS = 10
PARTS = ("registry", "baseline")
_VERBS = ("validate", "generate", "route", "normalise", "merge", "score", "detect", "format", "estimate", "match")
_THINGS = ("revenue", "ages", "salaries", "orders", "addresses", "sensors", "invoices", "names", "dates", "risks", "loans")
_WAYS = ("in batches", "by region", "with limits", "without duplicates", "for audits", "over time", "by weight", "in parallel")


class HashedWords:
    """An Embedder without a model: each word adds to one place of the vector."""

    model = "hashed words"
    ready = True

    async def load(self) -> None:
        """Nothing to load."""

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """``(n, 384) float32`` of unit length."""
        vectors = np.zeros((len(texts), DIMENSION), dtype=np.float32)
        for row, text in zip(vectors, texts, strict=True):
            for word in re.findall(r"[a-z0-9]+", text.lower()):
                row[zlib.crc32(word.encode()) % DIMENSION] += 1.0
        return unit_length(vectors)

    async def count_tokens(self, texts: Sequence[str]) -> int:
        """Words."""
        return sum(len(text.split()) for text in texts)

    async def aclose(self) -> None:
        """Nothing to close."""


class Unchecked:
    """Passes every case: the sandbox has a benchmark of its own."""

    async def check(self, code: str, cases: Sequence[Case]) -> Sequence[CaseReport]:
        """A passed report for each case."""
        return [CaseReport(name=case.name, result=RunResult(), passed=True) for case in cases]


def code_of(rng: random.Random, n: int) -> str:
    """About 2 kB that no other artifact has."""
    lines = [f'"""Artifact {n}."""', "def run(rows):", "    found = []"]
    for step in range(rng.randint(15, 45)):
        lines.append(f"    found.append({rng.choice(_VERBS)}_{rng.choice(_THINGS)}_{step}(rows, {rng.random():.6f}))")
    return "\n".join([*lines, "    return found", ""])


def problem_of(rng: random.Random) -> str:
    """One of some ten thousand problems."""
    return f"{rng.choice(_VERBS)} {rng.choice(_THINGS)} {rng.choice(_WAYS)} and {rng.choice(_VERBS)} {rng.choice(_THINGS)}"


async def fill(registry: Registry, rng: random.Random, count: int) -> list[VersionId]:
    """Publish ``count`` artifacts, a third of them forks, ``AT_ONCE`` at once, as a busy network would."""
    made: list[VersionId] = []
    while len(made) < count:
        part = []
        for n in range(len(made), min(count, len(made) + AT_ONCE)):
            parents = (rng.choice(made),) if made and rng.random() < 1 / 3 else ()
            new = NewVersion(
                name=f"artifact-{n}",
                kind=rng.choice(("generator", "validator", "router", "adapter")),
                content=code_of(rng, n),
                problem=problem_of(rng),
                author=f"node-{rng.randrange(NODES)}",
                relation="fork" if parents else "new",
                parents=parents,
            )
            part.append(registry.publish(new, [Case(name="a")]))
        made += [version.version_id for version in await asyncio.gather(*part)]
    return made


def execute(registry: Registry, rng: random.Random, made: Sequence[VersionId], count: int) -> None:
    """Record executions; few artifacts have most of them."""
    now = time.time()
    for _ in range(count):
        version_id = made[min(len(made) - 1, int(rng.paretovariate(1.1)) - 1)] if rng.random() < 0.7 else rng.choice(made)
        registry.evidence.record(
            Run(
                version_id=version_id,
                node=f"node-{rng.randrange(NODES)}",
                at=now - rng.random() * 86_400 * 180,
                ok=rng.random() < 0.9,
                latency_s=rng.lognormvariate(-4, 0.5),
                quality=rng.random(),
            )
        )


async def searches(search: Search, rng: random.Random, count: int) -> list[float]:
    """Milliseconds of each, vectors made beforehand in the way: hashing words takes next to nothing."""
    took = []
    for _ in range(count):
        began = time.perf_counter()
        found = await search.find(Query(text=problem_of(rng), by=rng.choice(("text", "problem", "code")), kind="validator"))
        took.append((time.perf_counter() - began) * 1000)
        assert found.mode == "hybrid"
    return took


async def baseline(folder: Path, rng: random.Random) -> float:
    """Bytes on disk for each execution when every one is a write to the table."""
    tables = await Tables.open(str(folder), [USAGE])
    before = folder_bytes(folder)
    for n in range(BASELINE_WRITES):
        columns = dict.fromkeys(USAGE.columns, 0)
        await tables.merge("usage", [{**columns, "version_id": f"artifact-{rng.randrange(100)}@1.0.0", "runs": n}])
    grown = folder_bytes(folder) - before
    tables.close()
    return grown / BASELINE_WRITES


def _ledger_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("ledger.sqlite*"))


async def opened(folder: Path) -> tuple[Ledger, Tables, Registry, Search]:
    """Everything in ``folder`` open, as in a daemon; what there is not is begun."""
    ledger = await Ledger.open(
        folder / "ledger.sqlite",
        flush_ms=5,
        retention_days=30,
        max_bytes=2**31,
        store_bodies=True,
        max_stored_chars=1000,
        max_queued=EXECUTIONS + 1000,
    )
    tables = await Tables.open(str(folder / "registry"), [*SPECS, USAGE])
    registry = await Registry.open(tables, LedgerJournal(ledger), LedgerEvidence(ledger), checker=Unchecked())
    search = Search(registry, HashedWords())
    await search.open()
    return ledger, tables, registry, search


async def measure(chosen: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The chosen parts, in ``folder``."""
    rng = random.Random(chosen.seed)
    result: dict[str, Any] = {}
    if chosen.only in (None, "registry"):
        await _filled(result, rng, folder, quick=chosen.quick)
        progress("opening it again")
        began = time.perf_counter()
        ledger, tables, registry, _ = await opened(folder)
        result["open_s"] = time.perf_counter() - began
        assert len(registry.catalog.standings) == result["artifacts"]
        await _closed(ledger, tables, registry)
    if chosen.only in (None, "baseline"):
        progress("baseline: a write for each execution")
        result["baseline_bytes_per_execution"] = await baseline(folder / "baseline", rng)
    return result


async def _filled(result: dict[str, Any], rng: random.Random, folder: Path, *, quick: bool) -> None:
    """Publish, execute, fold, tidy up, search and close, each timed into ``result``."""
    artifacts, executions = (ARTIFACTS // 10, EXECUTIONS // 10) if quick else (ARTIFACTS, EXECUTIONS)
    result |= {"artifacts": artifacts, "executions": executions}
    ledger, tables, registry, search = await opened(folder)
    progress(f"publishing {artifacts:,} artifacts")
    began = time.perf_counter()
    made = await fill(registry, rng, artifacts)
    result["publish_per_s"] = artifacts / (time.perf_counter() - began)
    began = time.perf_counter()
    while await search.refresh(embed=64):
        pass
    result["cards_s"] = time.perf_counter() - began
    progress(f"{executions:,} executions")
    commits = tables.commits
    began = time.perf_counter()
    for _ in range(FOLDS):
        execute(registry, rng, made, executions // FOLDS)
        await learn(registry, await fold(registry))
    result["folding_s"] = time.perf_counter() - began
    result["table_versions_for_all_executions"] = tables.commits - commits
    began = time.perf_counter()
    await optimize(registry, retention_s=60)
    result["optimize_s"] = time.perf_counter() - began
    progress("searching")
    took = sorted(await searches(search, rng, SEARCHES // 10 if quick else SEARCHES))
    result["search_p50_ms"], result["search_p99_ms"] = took[len(took) // 2], took[int(len(took) * 0.99)]
    await _closed(ledger, tables, registry)
    result["tables_bytes"] = folder_bytes(folder / "registry")
    result["ledger_bytes"] = _ledger_bytes(folder)
    result["bytes_per_execution"] = (result["tables_bytes"] + result["ledger_bytes"]) / executions


async def _closed(ledger: Ledger, tables: Tables, registry: Registry) -> None:
    await registry.close()
    tables.close()
    await ledger.close()


def goals(result: dict[str, Any], *, quick: bool) -> list[Goal]:
    """Those of the registry; the baseline has none. The bytes count only in full size: most of them are there from the start."""
    if "open_s" not in result:
        return []
    on_disk = (result["tables_bytes"] + result["ledger_bytes"]) / 1e6
    versions = result["table_versions_for_all_executions"] * 1000 / result["executions"]
    found = [
        at_most("versions of tables a thousand executions", versions, 5, ""),
        at_most("search p99, vectors aside", result["search_p99_ms"], 100, "ms"),
        at_most("open with everything in it", result["open_s"], 10, "s"),
    ]
    if not quick:
        found.insert(0, at_most("1,247 artifacts and 45,000 executions on disk", on_disk, 200, "MB"))
    return found


def bars_of(result: dict[str, Any]) -> list[Bar]:
    """Bytes for each execution, beside the baseline's."""
    values = {name: result[name] for name in ("bytes_per_execution", "baseline_bytes_per_execution") if name in result}
    return [(name, value, max(values.values()), "bytes") for name, value in values.items()]


def main() -> None:
    chosen = parser(__doc__ or "", PARTS).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = asyncio.run(measure(chosen, Path(folder)))
    if chosen.plot is not None:
        write_bars(chosen.plot, bars_of(result))
    emit(result, goals(result, quick=chosen.quick), as_json=chosen.json)


if __name__ == "__main__":
    main()
