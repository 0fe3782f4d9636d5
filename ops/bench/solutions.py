"""Reuse of stored solutions: how much is served under an error bound and at which error.

    python -m ops.bench.solutions --data DIR [--json] [--quick] [--only PART] [--seed N] [--plot FILE]

Parts: ``pairs`` (recorded question pairs, each once), ``stream`` (the same questions asked again in other words), ``speed`` (of
look-ups and embeddings), ``http`` (of hits, end to end), ``families`` (requests for data of the article's kinds, in wordings that
nothing was learned on, checked by the bench itself), ``weeks`` (the article's example, printed).

``error`` is wrong served / served, with Wilson's 95 % interval. Trust learns while it is measured: it starts from nothing and
sees the truth only of what it did not serve. The static thresholds are chosen in hindsight, with all truth. «At equal error» is
the threshold with the most hits whose error is at most the one that trust came to.

The labels are human and noisy: of the most similar pairs several in a hundred are labelled as different (``label_noise``), and
two questions of the stream that no pair joins count as different, although some mean the same. Nothing is corrected for that: a
hit that the labels call wrong is wrong.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from ops.bench.plot import Panel, write_lines
from ops.bench.report import Goal, NoData, at_least, at_most, emit, parser, progress, skip
from ops.bench.reuse_data import Pairs, read_pairs, repeating_stream
from ops.bench.reuse_http import measure_families, measure_http, measure_weeks
from ops.bench.reuse_runs import (
    GPTCACHE_THRESHOLD,
    Static,
    Tally,
    evidence_of,
    static_on_pairs,
    static_on_stream,
    trust_on_pairs,
    trust_on_stream,
)
from ops.bench.reuse_speed import measure_speed

BOUNDS = (0.02, 0.05, 0.10)
QUICK_PAIRS = 6000
STREAM_THRESHOLDS = [*(1 - 0.005 * step for step in range(1, 41)), *(0.79 - 0.02 * step for step in range(12))]
DATA_PARTS = ("pairs", "stream")
OF_THEIR_OWN = {"speed": measure_speed, "http": measure_http, "families": measure_families, "weeks": measure_weeks}
PARTS = (*DATA_PARTS, *OF_THEIR_OWN)


def measure_pairs(pairs: Pairs, seed: int) -> tuple[dict[str, Any], list[Goal]]:
    """Each pair once, in an order drawn from ``seed``."""
    static = static_on_pairs(pairs)
    similarity = pairs.similarity.tolist()
    evidence = [
        evidence_of(near, pairs.texts[right], pairs.texts[left])
        for near, left, right in zip(similarity, pairs.left.tolist(), pairs.right.tolist(), strict=True)
    ]
    order = np.random.default_rng(seed).permutation(len(similarity))
    runs: dict[float, Tally] = {}
    for bound in BOUNDS:
        progress(f"pairs: bound {bound:.0%}")
        runs[bound] = trust_on_pairs(pairs, evidence, order, bound, seed)
    return _compared("pairs", runs, static, asked=len(similarity), ratio=1.0)


def measure_stream(pairs: Pairs, seed: int) -> tuple[dict[str, Any], list[Goal]]:
    """Questions asked again in other words, drawn from ``seed``; at the widest bound also without what entries learn."""
    stream = repeating_stream(pairs, np.random.default_rng(seed))
    progress("stream: static thresholds")
    static = static_on_stream(pairs, stream, STREAM_THRESHOLDS)
    runs: dict[float, Tally] = {}
    for bound in BOUNDS:
        progress(f"stream: bound {bound:.0%}")
        runs[bound] = trust_on_stream(pairs, stream, bound, seed)
    measured, goals = _compared("stream", runs, static, asked=len(stream.texts), ratio=2.0)
    shared = trust_on_stream(pairs, stream, BOUNDS[-1], seed, per_entry=False)
    measured.update(possible_hits=stream.possible, without_entries=shared.report())
    return measured, goals


def _compared(
    part: str, runs: dict[float, Tally], static: Static, *, asked: int, ratio: float
) -> tuple[dict[str, Any], list[Goal]]:
    """Every run beside the static thresholds, and its goals: the bound holds, hits are served, ``ratio`` times those of equal
    error.
    """
    plain = static.at(GPTCACHE_THRESHOLD)
    plain.asked = asked
    measured: dict[str, Any] = {
        "asked": asked,
        "label_noise": _noise(static),
        "gptcache_style": {"threshold": GPTCACHE_THRESHOLD, **plain.report()},
        "static": [
            {"threshold": float(static.thresholds[at]), "hits": int(static.hits[at]), "wrong": int(static.wrong[at])}
            for at in np.unique(np.linspace(0, len(static.hits) - 1, 40).astype(int))
        ],
    }
    goals: list[Goal] = []
    for bound, tally in runs.items():
        equal, threshold = static.best(tally.error)
        within, _ = static.best(bound)
        measured[f"bound_{bound:g}"] = {
            **tally.report(),
            "static_hits_at_equal_error": equal,
            "static_threshold_at_equal_error": threshold,
            "static_hits_at_bound": within,
        }
        name = f"{part}, bound {bound:.0%}"
        goals.append(at_most(f"{name}: wrong / served", tally.error if tally.hits else None, bound, ""))
        goals.append(at_least(f"{name}: hits / static's at equal error", tally.hits / max(1, equal), ratio, ""))
    return measured, goals


def _noise(static: Static, most: int = 200) -> float:
    """The share that is labelled as different among the (at least) 200 most similar: hardly any of them are."""
    at = min(int(np.searchsorted(static.hits, most)), len(static.hits) - 1)
    return float(static.wrong[at] / max(1, static.hits[at]))


def panels(measured: dict[str, Any]) -> list[Panel]:
    """Hits against error for every static threshold, with one point for each bound."""
    found: list[Panel] = []
    for part in ("pairs", "stream"):
        if part not in measured:
            continue
        rows = measured[part]["static"]
        lines = {"static thresholds": [(row["wrong"] / max(1, row["hits"]), row["hits"]) for row in rows if row["hits"]]}
        runs = {bound: measured[part][f"bound_{bound:g}"] for bound in BOUNDS}
        lines["trust (2, 5, 10 %)"] = [(run["error"] or 0.0, run["hits"]) for run in runs.values()]
        plain = measured[part]["gptcache_style"]
        lines["GPTCache-style, 0.8"] = [(plain["error"] or 0.0, plain["hits"])]
        found.append((f"{part}: hits by error", "wrong / served", "hits", lines))
        curves = {f"bound {b:.0%}": [(each["asked"], each["hits"]) for each in run["curve"]] for b, run in runs.items()}
        found.append((f"{part}: hits as it learns", "requests", "hits", curves))
    return found


def main() -> None:
    arguments = parser(__doc__ or "", PARTS)
    chosen = arguments.parse_args()
    if chosen.data is None and chosen.only in DATA_PARTS:
        arguments.error("--data names a folder with qqp/pairs.jsonl.gz")
    # One thread for linear algebra: products here are small, and threads that wait for each other make them ten times slower.
    with threadpool_limits(limits=1):
        measured, goals = run(chosen)
    if chosen.plot:
        write_lines(chosen.plot, panels(measured))
    emit(measured, goals, as_json=chosen.json)


def run(chosen: argparse.Namespace) -> tuple[dict[str, Any], list[Goal]]:
    """The chosen parts; those whose data is missing are named under ``skipped``."""
    measured: dict[str, Any] = {"seed": chosen.seed, "quick": chosen.quick}
    goals: list[Goal] = []
    parts = [part for part in PARTS if chosen.only in (None, part)]
    from_data = {"pairs": measure_pairs, "stream": measure_stream}
    try:
        pairs = read_pairs(chosen.data, QUICK_PAIRS if chosen.quick else None) if set(parts) & set(from_data) else None
    except NoData as error:
        pairs = None
        for part in set(parts) & set(from_data):
            skip(measured, part, str(error))
    for part in parts:
        if part in OF_THEIR_OWN:
            progress(part)
            measured[part], found = OF_THEIR_OWN[part](chosen.seed, quick=chosen.quick)
            goals += found
        elif pairs is not None:
            measured[part], found = from_data[part](pairs, chosen.seed)
            goals += found
    return measured, goals


if __name__ == "__main__":
    main()
