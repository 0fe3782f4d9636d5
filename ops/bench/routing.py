"""Routing, replayed on recorded outcomes: from nothing, seeing only what was chosen, against simpler and better informed routers.

    python -m ops.bench.routing --data DIR [--json] [--quick] [--only SET] [--seed N] [--plot FILE]

Sets: llmrouterbench240, bfcl, routerbench, llmrouter, zeroeval, routerdc, routellm, and "speed" (needs no data). Each seed is
another order of the stream; what scatters most (the favourite's failure, spending held at the part that has a goal) is repeated
in more orders. Tasks are not told to the learner where a set has texts. ``bfcl`` is replayed with all its models;
spending is held over a pool of ten of them (evenly spaced rungs of the ladder of costs). Intervals: 95 %, mean over seeds.
"""

from __future__ import annotations

import math
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
from scipy.stats import t as student

from ops.bench.plot import Panel, write_lines
from ops.bench.report import Goal, NoData, at_least, at_most, emit, parser, progress, skip
from ops.bench.routing_data import SETS, Set, pool_of_ten, read
from ops.bench.routing_replay import decision_ms, fitted, mixing, ours, per_task, thompson, uniformly

Row = dict[str, Any]

BEATS_BEST_SINGLE = ("llmrouter", "routerdc")
BUDGETED = ("routerbench", "bfcl")
BUDGET_PARTS = (0.1, 0.25, 0.5, 1.0)
GOAL_PART = 0.25
SEEDS, QUICK_SEEDS = 5, 2
MORE = 4
"""So many times as many orders where 50 requests of each, or 500, are all that is read: with five, the mean of what is kept after
a failure scattered by 0.05."""
FAILS_AT_MOST = 1000
FORMER = 200
CURVE_POINTS = 10


def told(values: list[float]) -> Row:
    """Mean and its interval over seeds."""
    half = float(student.ppf(0.975, len(values) - 1)) * stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return {"mean": fmean(values), "low": fmean(values) - half, "high": fmean(values) + half}


def more(seeds: range) -> range:
    """These orders and others after them."""
    return range(seeds.start, seeds.start + MORE * len(seeds))


def replay(whole: Set, seeds: range) -> Row:
    """Quality without regard to cost: the learner against the baselines, over whole streams and their second halves."""
    found: dict[str, list[float]] = {}
    curves: dict[str, list[list[float]]] = {"ours": [], "thompson": []}
    decide: list[float] = []

    def note(name: str, value: float) -> None:
        found.setdefault(name, []).append(value)

    for seed in seeds:
        stream = whole.taken(np.random.default_rng(seed).permutation(whole.n))
        half = stream.n // 2
        run, plain, blind = ours(stream, seed), thompson(stream, seed), uniformly(stream, seed)
        oracle = stream.score.max(axis=1)
        best = int(stream.score.mean(axis=0).argmax())
        for name, score in (("ours", run.score), ("thompson", plain), ("random", blind), ("oracle", oracle)):
            note(name, float(score.mean()))
            note(f"{name}_second_half", float(score[half:].mean()))
        if run.cost is not None and not np.isnan(run.cost[half:]).any():
            spent_usd = float(run.cost[half:].mean())
            note("usd_second_half", spent_usd)
            note("mixing_at_equal_cost_second_half", mixing(stream.taken(np.arange(half, stream.n)), spent_usd) or 0.0)
        note("best_single_second_half", float(stream.score[half:, best].mean()))
        note("gain_over_best_single_second_half", float((run.score[half:] - stream.score[half:, best]).mean()))
        for name, score in (("ours", run.score), ("thompson", plain)):
            regret = np.cumsum(oracle - score)
            note(f"{name}_regret", float(regret[-1]))
            curves[name].append([float(regret[int(at) - 1]) for at in np.linspace(0, stream.n, CURVE_POINTS + 1)[1:]])
        note("regret_against_thompson", float((oracle - run.score).sum() / max((oracle - plain).sum(), 1e-9)))
        for name, value in fitted(stream).items():
            note(name, value)
        decide.append(float(np.median(run.decide_ms)))
    singles = dict(zip(whole.models, whole.score.mean(axis=0).tolist(), strict=True))
    return {
        "rows": whole.n,
        "models": len(whole.models),
        **{name: told(values) for name, values in found.items()},
        "best_single": max(singles.values()),
        "per_task_best": per_task(whole),
        "single_models": singles,
        "regret_curve": {name: np.mean(curve, axis=0).tolist() for name, curve in curves.items()},
        "decide_p50_ms": fmean(decide),
    }


def failure(whole: Set, seeds: range) -> Row | None:
    """The favourite fails for good: quality in requests 51 to 100 after it, as a part of that before. None for a short set.

    ``ceiling`` is what the best of the other single models would keep, in hindsight.
    """
    if whole.n < 3 * FORMER:
        return None
    kept, ceilings = [], []
    at = min(whole.n // 2, FAILS_AT_MOST)
    for seed in seeds:
        stream = whole.taken(np.random.default_rng(seed).permutation(whole.n))
        run = ours(stream, seed, fails_at=at, until=at + 100)
        former = max(float(run.score[at - FORMER : at].mean()), 1e-9)
        favourite = int(np.bincount(run.chosen[at - FORMER : at]).argmax())
        kept.append(float(run.score[at + 50 : at + 100].mean()) / former)
        ceilings.append(float(np.delete(stream.score.mean(axis=0), favourite).max()) / former)
    return {"kept": told(kept), "kept_each": kept, "ceiling": told(ceilings), "fails_at": at}


def over_sets(result: Row) -> Row | None:
    """What is kept after a failure, as the mean over the sets, with its interval over orders."""
    each = [result[name]["failure"]["kept_each"] for name in SETS if "failure" in result.get(name, {})]
    if len(each) < 2:
        return None
    return {"sets": len(each), "kept": told([fmean(kept) for kept in zip(*each, strict=True)])}


def budgets(whole: Set, seeds: range) -> Row:
    """Spending held at parts of the best single's cost: quality and cost of second halves, against mixing at the same cost."""
    assert whole.cost is not None
    best = int(whole.score.mean(axis=0).argmax())
    dear = float(whole.cost[:, best].mean())
    result: Row = {"models": list(whole.models), "best_single": whole.models[best], "best_single_usd": dear, "parts": {}}
    for part in BUDGET_PARTS:
        quality, cost, mixed, gain = [], [], [], []
        for seed in more(seeds) if part == GOAL_PART else seeds:
            stream = whole.taken(np.random.default_rng(seed).permutation(whole.n))
            run = ours(stream, seed, usd_per_thousand=1000 * part * dear)
            assert run.cost is not None
            half = stream.n // 2
            second = stream.taken(np.arange(half, stream.n))
            cost.append(float(run.cost[half:].mean()))
            quality.append(float(run.score[half:].mean()))
            mixed.append(mixing(second, cost[-1]) or 0.0)
            gain.append(quality[-1] - mixed[-1])
        result["parts"][f"{part:g}"] = {
            "quality_second_half": told(quality),
            "cost_part_second_half": told([each / dear for each in cost]),
            "mixing_at_equal_cost": told(mixed),
            "gain_over_mixing": told(gain),
        }
    return result


def run(data: Path | None, only: str | None, *, seed: int, quick: bool) -> Row:
    """The chosen sets, all of them without ``only``; those whose data is missing are named under ``skipped``."""
    seeds = range(seed, seed + (QUICK_SEEDS if quick else SEEDS))
    result: Row = {"seeds": list(seeds)}
    if only in (None, "speed"):
        progress("speed of decisions")
        took = decision_ms(seed)
        result["speed"] = {"p50_ms": float(np.median(took)), "p99_ms": float(np.quantile(took, 0.99)), "arms": 50}
    for name in SETS if only is None else [only] if only in SETS else []:
        try:
            result[name] = measured(read(data, name, quick=quick), seeds)
        except NoData as error:
            skip(result, name, str(error))
    if (summed := over_sets(result)) is not None:
        result["failure_over_sets"] = summed
    return result


def measured(whole: Set, seeds: range) -> Row:
    """Everything about one set. Raises NoData where costs are needed and were not recorded."""
    progress(f"{whole.name}: {whole.n:,} rows, {len(whole.models)} models, without regard to cost")
    found = replay(whole, seeds)
    progress(f"{whole.name}: the favourite fails")
    if (broken := failure(whole, more(seeds))) is not None:
        found["failure"] = broken
    if whole.name in BUDGETED:
        progress(f"{whole.name}: spending held")
        found["budget"] = budgets(pool_of_ten(whole) if whole.name == "bfcl" else whole, seeds)
    return found


def goals(result: Row) -> list[Goal]:
    """One goal a set and promise; only for what was measured in this run."""
    found = []
    if "speed" in result:
        found.append(at_most("decision, 50 arms, p50", result["speed"]["p50_ms"], 1.0, "ms"))
    for name in SETS:
        if name not in result:
            continue
        row = result[name]
        found.append(
            at_most(f"{name}: regret, as a part of context-free Thompson's", row["regret_against_thompson"]["mean"], 1.0, "")
        )
        if name in BEATS_BEST_SINGLE:
            gain = row["gain_over_best_single_second_half"]["mean"]
            found.append(at_least(f"{name}: second half, gain over the best single model", gain, 0.0, ""))
        if "failure" in row:
            found.append(
                at_least(
                    f"{name}: quality kept in requests 51-100 after the favourite failed", row["failure"]["kept"]["mean"], 0.9, ""
                )
            )
        if "budget" in row:
            gain = row["budget"]["parts"][f"{GOAL_PART:g}"]["gain_over_mixing"]["mean"]
            found.append(at_least(f"{name}: second half at 25 % of the best single's cost, gain over mixing", gain, 0.0, ""))
    if "failure_over_sets" in result:
        kept = result["failure_over_sets"]["kept"]["mean"]
        found.append(at_least("all sets: quality kept in requests 51-100 after the favourite failed, mean", kept, 0.9, ""))
    return found


def panels(result: Row) -> list[Panel]:
    """Regret over time of each set, and quality over cost where spending was held."""
    found: list[Panel] = []
    for name in SETS:
        if name not in result:
            continue
        asked = np.linspace(0, result[name]["rows"], CURVE_POINTS + 1)[1:].tolist()
        curves = {way: list(zip(asked, curve, strict=True)) for way, curve in result[name]["regret_curve"].items()}
        found.append((f"{name}: regret", "requests", "score given up", curves))
        if "budget" in result[name]:
            parts = list(result[name]["budget"]["parts"].values())
            lines = {
                way: [(part["cost_part_second_half"]["mean"], part[column]["mean"]) for part in parts]
                for way, column in (("ours", "quality_second_half"), ("mixing", "mixing_at_equal_cost"))
            }
            found.append((f"{name}: quality by cost", "parts of the best single's cost", "quality", lines))
    return found


def main() -> None:
    arguments = parser(__doc__ or "", ("speed", *SETS))
    chosen = arguments.parse_args()
    if chosen.data is None and chosen.only not in (None, "speed"):
        arguments.error("--data names the folder of the recorded data")
    result = run(chosen.data, chosen.only, seed=chosen.seed, quick=chosen.quick)
    if chosen.plot is not None:
        write_lines(chosen.plot, panels(result))
    emit(result, goals(result), as_json=chosen.json)


if __name__ == "__main__":
    main()
