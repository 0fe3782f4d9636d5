"""Patterns found in labelled user requests, in one pass and without being told how many, against batch clustering.

    python -m ops.bench.patterns --data DIR [--json] [--quick] [--only SET] [--seed N] [--plot FILE]

Sets: clinc150, banking77, hwu64, each in an order drawn by the seed, and hwu64_bursty, which is hwu64 in the order in which it
was collected. The label that a request got at its arrival is what counts, from the first request on; nothing is labelled again.
A request that was left unclustered counts as a cluster of its own ("like no other"); ``together`` has the same numbers with all
of them as one cluster. Requests out of scope (``oos``) are in our stream and are not scored, but for how many stayed unclustered;
batch k-means is not given them at all, and is told the true number. HDBSCAN (sklearn's, clusters of at least 10) sees 4,000
requests, and is scored on them. Ours begins empty, so its first part suffers; ``after_tenth`` leaves it out. Times are those of
the processor.
"""

from __future__ import annotations

import gzip
import json
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.cluster import HDBSCAN, KMeans
from sklearn.metrics import adjusted_rand_score, v_measure_score

from ops.bench.embedded import embedded
from ops.bench.plot import Panel, write_lines
from ops.bench.report import Goal, NoData, at_least, at_most, emit, parser, progress, skip
from registry.embedding import Vectors
from runtime.topology.pattern_look import refined
from runtime.topology.pattern_records import Rules
from runtime.topology.patterns import Patterns

SETS = ("clinc150", "banking77", "hwu64", "hwu64_bursty")
OUT_OF_SCOPE = "oos"
SEEDS = 3
KMEANS_RUNS = 3
HDBSCAN_ROWS = 4000
SMALLEST = 10
HELD_BACK = 0.1
"""Part of the intents that come only in the second half of the stream in which the time to notice them is measured."""
NOTICED_WITH = 3
CURVE_POINTS = 20

Row = dict[str, Any]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Set:
    """Requests in an order: ``vectors (n, d)``, ``intents (n,)`` as numbers, NONE (-1) for those out of scope."""

    name: str
    vectors: Vectors
    intents: Labels

    def taken(self, order: npt.NDArray[np.int64]) -> Set:
        return Set(name=self.name, vectors=self.vectors[order], intents=self.intents[order])

    @property
    def scored(self) -> npt.NDArray[np.bool_]:
        return self.intents >= 0

    @property
    def true(self) -> int:
        return len(np.unique(self.intents[self.scored]))


@dataclass(slots=True, kw_only=True)
class Run:
    """One pass. ``labels`` as they were given, -1 for none; ``took_s`` of each request, the look that followed it included."""

    patterns: Patterns
    labels: list[int] = field(default_factory=list)
    took_s: list[float] = field(default_factory=list)
    looks_s: list[float] = field(default_factory=list)


def read(data: Path | None, name: str, limit: int | None) -> Set:
    """Raises NoData."""
    if data is None:
        raise NoData("it needs --data DIR")
    path = data / name.removesuffix("_bursty") / "requests.jsonl.gz"
    if not path.is_file():
        raise NoData(f"there is no {path}")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines][:limit]
    numbers = {intent: at for at, intent in enumerate(sorted({row["intent"] for row in rows} - {OUT_OF_SCOPE}))}
    intents = np.array([numbers.get(row["intent"], -1) for row in rows])
    return Set(name=name, vectors=embedded([row["text"] for row in rows]), intents=intents)


def passed(stream: Set, seed: int) -> Run:
    """All requests of ``stream`` in their order, through patterns that begin empty."""
    run = Run(patterns=Patterns(Rules(least=SMALLEST), stream.vectors.shape[1], np.random.default_rng(seed)))
    for at, vector in enumerate(stream.vectors):
        began = time.process_time()
        label = run.patterns.see(vector, now=float(at))
        seen = time.process_time()
        if run.patterns.due:
            run.patterns.adopt(refined(run.patterns.snapshot()), now=float(at))
            run.looks_s.append(time.process_time() - seen)
        run.took_s.append(time.process_time() - began)
        run.labels.append(-1 if label is None else int(label[1:]))
    return run


# ── measures ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def scores(intents: Labels, labels: Labels) -> Row:
    """V-measure and adjusted Rand index with what is unclustered alone and together; purity of what is clustered."""
    alone = np.where(labels < 0, labels.max(initial=0) + 1 + np.arange(len(labels)), labels)
    groups: dict[int, Counter[int]] = defaultdict(Counter)
    for label, intent in zip(labels.tolist(), intents.tolist(), strict=True):
        if label >= 0:
            groups[label][intent] += 1
    clustered = sum(counts.total() for counts in groups.values())
    return {
        "v": float(v_measure_score(intents, alone)),
        "ari": float(adjusted_rand_score(intents, alone)),
        "purity": sum(max(counts.values()) for counts in groups.values()) / max(clustered, 1),
        "unclustered": 1 - clustered / max(len(labels), 1),
        "together": {"v": float(v_measure_score(intents, labels)), "ari": float(adjusted_rand_score(intents, labels))},
    }


def kmeans(whole: Set, seed: int) -> Row:
    """Batch k-means, told the true number, on the requests in scope alone; mean over runs."""
    vectors, intents = whole.vectors[whole.scored], whole.intents[whole.scored]
    runs = [
        scores(intents, KMeans(whole.true, n_init=1, random_state=seed + at).fit(vectors).labels_.astype(np.int64))
        for at in range(KMEANS_RUNS)
    ]
    return {"v": fmean(run["v"] for run in runs), "ari": fmean(run["ari"] for run in runs), "k": whole.true}


def hdbscan(whole: Set, seed: int) -> Row:
    """sklearn's HDBSCAN over a draw of the requests, those out of scope included."""
    drawn = whole.taken(np.random.default_rng(seed).permutation(len(whole.intents))[:HDBSCAN_ROWS])
    labels = HDBSCAN(min_cluster_size=SMALLEST, copy=True).fit(drawn.vectors).labels_.astype(np.int64)
    found = {**scores(drawn.intents[drawn.scored], labels[drawn.scored]), "k": int(labels.max()) + 1}
    if not drawn.scored.all():
        found["out_of_scope_unclustered"] = float((labels[~drawn.scored] < 0).mean())
    return found


def noticed(whole: Set, seed: int) -> Row:
    """Intents that first come in the second half: with how many of their own requests a pattern that is mostly theirs labels one.

    A pattern is theirs when it has been given to three of their requests, and to more of them than of others since they came."""
    rng = np.random.default_rng(seed)
    late = set(rng.permutation(np.unique(whole.intents[whole.scored]))[: max(3, int(HELD_BACK * whole.true))].tolist())
    order = np.arange(len(whole.intents))
    is_late = np.isin(whole.intents, list(late))
    early = order[~is_late]
    second = rng.permutation(np.concatenate([early[len(early) // 2 :], order[is_late]]))
    begins = len(early) // 2
    stream = whole.taken(np.concatenate([early[:begins], second]))
    run = passed(stream, seed)
    given: dict[int, Counter[int]] = defaultdict(Counter)
    came: Counter[int] = Counter()
    after: dict[int, int] = {}
    for label, intent in list(zip(run.labels, stream.intents.tolist(), strict=True))[begins:]:
        came[intent] += 1
        if label >= 0:
            given[label][intent] += 1
            own = given[label][intent]
            if intent in late and intent not in after and own >= NOTICED_WITH and 2 * own > given[label].total():
                after[intent] = came[intent]
    return {"intents": len(late), "noticed": len(after) / len(late), "requests_median": median(after.values()) if after else None}


def measured(whole: Set, seeds: Sequence[int]) -> Row:
    """Everything about one set: means over ``seeds``, and ratios to k-means."""
    base = kmeans(whole, seeds[0])
    runs: list[Row] = []
    curve: list[float] = []
    for seed in seeds:
        order = np.arange(len(whole.intents))
        stream = whole.taken(order if whole.name.endswith("_bursty") else np.random.default_rng(seed).permutation(order))
        run = passed(stream, seed)
        labels, scored = np.array(run.labels), stream.scored
        late = scored & (np.arange(len(labels)) >= len(labels) // 10)
        given = Counter(label for label in labels[scored].tolist() if label >= 0)
        live = [each for each in run.patterns.all() if each.state == "found"]
        row = {
            **scores(stream.intents[scored], labels[scored]),
            "after_tenth": scores(stream.intents[late], labels[late]),
            "patterns": len(live),
            "labels_given_often": sum(count >= SMALLEST for count in given.values()),
            "ms_a_request": 1000 * fmean(run.took_s),
            "ms_p50": 1000 * median(run.took_s),
            "longest_look_ms": 1000 * max(run.looks_s, default=0.0),
            "looks": len(run.looks_s),
        }
        if not scored.all():
            row["out_of_scope_unclustered"] = float((labels[~scored] < 0).mean())
        runs.append(row)
        parts = np.array_split(np.flatnonzero(scored), CURVE_POINTS)
        curve = [float(v_measure_score(stream.intents[part], labels[part])) for part in parts]
    ours = _mean(runs)
    return {
        "rows": len(whole.intents),
        "true": whole.true,
        "ours": ours,
        "kmeans_true_k": base,
        "hdbscan": hdbscan(whole, seeds[0]),
        "v_ratio": ours["v"] / base["v"],
        "ari_ratio": ours["ari"] / base["ari"],
        "found_ratio": ours["patterns"] / whole.true,
        "new_intents": noticed(whole, seeds[0]),
        "v_by_part": curve,
    }


def _mean(rows: Sequence[Row]) -> Row:
    return {
        name: _mean([row[name] for row in rows]) if isinstance(value, dict) else fmean(row[name] for row in rows)
        for name, value in rows[0].items()
    }


# ── the bench ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def run(data: Path | None, only: str | None, *, seed: int, quick: bool) -> Row:
    """The chosen sets, all of them without ``only``; those whose data is missing are named under ``skipped``."""
    result: Row = {}
    for name in SETS if only is None else [only]:
        # An order that is given is passed once: the seed then draws only what leaves the window.
        seeds = range(seed, seed + (1 if quick or name.endswith("_bursty") else SEEDS))
        try:
            whole = read(data, name, 3000 if quick else None)
        except NoData as error:
            skip(result, name, str(error))
            continue
        progress(f"{name}: {len(whole.intents):,} requests, {whole.true} intents")
        result[name] = measured(whole, seeds)
    return result


def goals(result: Row) -> list[Goal]:
    """For each set that was measured."""
    found = []
    for name in SETS:
        if name not in result:
            continue
        row = result[name]
        found += [
            at_least(f"{name}: V-measure at arrival, of batch k-means with the true k", row["v_ratio"], 0.95, ""),
            at_least(f"{name}: ARI at arrival, of batch k-means with the true k", row["ari_ratio"], 0.9, ""),
            at_least(f"{name}: patterns found, of the true number", row["found_ratio"], 0.7, ""),
            at_most(f"{name}: patterns found, of the true number", row["found_ratio"], 1.5, ""),
            at_most(f"{name}: clustering, a request", row["ours"]["ms_a_request"], 1.0, "ms"),
        ]
        if "out_of_scope_unclustered" in row["ours"]:
            stays, scope = row["ours"]["out_of_scope_unclustered"], row["ours"]["unclustered"]
            found.append(at_least(f"{name}: out of scope and unclustered, times the part in scope", stays / scope, 5.0, ""))
    return found


def panels(result: Row) -> list[Panel]:
    """V-measure along the stream."""
    lines = {
        name: [((at + 1) / CURVE_POINTS, v) for at, v in enumerate(result[name]["v_by_part"])] for name in SETS if name in result
    }
    return [("V-measure at arrival, by part of the stream", "part of the stream", "V", lines)]


def main() -> None:
    arguments = parser(__doc__ or "", SETS)
    chosen = arguments.parse_args()
    if chosen.data is None:
        arguments.error("--data names the folder of the recorded data")
    result = run(chosen.data, chosen.only, seed=chosen.seed, quick=chosen.quick)
    if chosen.plot is not None:
        write_lines(chosen.plot, panels(result))
    emit(result, goals(result), as_json=chosen.json)


if __name__ == "__main__":
    main()
