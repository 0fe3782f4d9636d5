"""Routing, replayed on recorded outcomes: from nothing, seeing only what was chosen, against simpler and better informed routers.

    python -m ops.bench.routing --data DIR [--json] [--quick] [--only SET] [--seed N] [--plot FILE]

Sets: llmrouterbench240, bfcl, routerbench, llmrouter, zeroeval, routerdc, routellm, and "speed" (needs no data). Each seed is
another order of the stream. Tasks are not told to the learner where a set has texts. ``bfcl`` is replayed with all its models;
spending is held over a pool of ten of them (evenly spaced rungs of the ladder of costs). Intervals: 95 %, mean over seeds.
"""

from __future__ import annotations

import math
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
from scipy.stats import t as student

from ops.bench.report import Goal, at_least, at_most, emit, parser
from ops.bench.routing_data import SETS, Set, pool_of_ten, read
from ops.bench.routing_replay import decision_ms, fitted, mixing, ours, per_task, thompson, uniformly

Row = dict[str, Any]

BEATS_BEST_SINGLE = ("llmrouter", "routerdc")
BUDGETED = ("routerbench", "bfcl")
BUDGET_PARTS = (0.1, 0.25, 0.5, 1.0)
GOAL_PART = 0.25
SEEDS, QUICK_SEEDS = 5, 2
FAILS_AT_MOST = 1000
FORMER = 200
CURVE_POINTS = 10


def told(values: list[float]) -> Row:
    """Mean and its interval over seeds."""
    half = float(student.ppf(0.975, len(values) - 1)) * stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return {"mean": fmean(values), "low": fmean(values) - half, "high": fmean(values) + half}


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
    return {"kept": told(kept), "ceiling": told(ceilings), "fails_at": at}


def budgets(whole: Set, seeds: range) -> Row:
    """Spending held at parts of the best single's cost: quality and cost of second halves, against mixing at the same cost."""
    assert whole.cost is not None
    best = int(whole.score.mean(axis=0).argmax())
    dear = float(whole.cost[:, best].mean())
    result: Row = {"models": list(whole.models), "best_single": whole.models[best], "best_single_usd": dear, "parts": {}}
    for part in BUDGET_PARTS:
        quality, cost, mixed, gain = [], [], [], []
        for seed in seeds:
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
    seeds = range(seed, seed + (QUICK_SEEDS if quick else SEEDS))
    result: Row = {"seeds": list(seeds)}
    if only in (None, "speed"):
        took = decision_ms(seed)
        result["speed"] = {"p50_ms": float(np.median(took)), "p99_ms": float(np.quantile(took, 0.99)), "arms": 50}
    if data is None:
        return result
    for name in SETS if only is None else [only] if only in SETS else []:
        whole = read(data, name, quick=quick)
        result[name] = replay(whole, seeds)
        if (broken := failure(whole, seeds)) is not None:
            result[name]["failure"] = broken
        if name in BUDGETED:
            result[name]["budget"] = budgets(pool_of_ten(whole) if name == "bfcl" else whole, seeds)
    return result


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
    return found


def plot(result: Row, path: Path) -> None:
    """Regret over time of each set (ours, and Thompson's dashed), and quality over cost where spending was held, as one SVG."""
    panels: list[tuple[str, list[tuple[str, list[float], list[float]]]]] = []
    for name in SETS:
        if name in result:
            x = np.linspace(0, result[name]["rows"], CURVE_POINTS + 1)[1:].tolist()
            panels.append((f"{name}: regret", [(way, x, y) for way, y in result[name]["regret_curve"].items()]))
        if name in result and "budget" in result[name]:
            parts = list(result[name]["budget"]["parts"].values())
            x = [part["cost_part_second_half"]["mean"] for part in parts]
            lines = [
                ("ours", x, [part["quality_second_half"]["mean"] for part in parts]),
                ("mixing", x, [part["mixing_at_equal_cost"]["mean"] for part in parts]),
            ]
            panels.append((f"{name}: quality over cost (parts of the best single's)", lines))
    drawn = [_panel(20 + 380 * (index % 2), 20 + 240 * (index // 2), *panel) for index, panel in enumerate(panels)]
    height = 40 + 240 * math.ceil(len(panels) / 2)
    style = "text{font:12px sans-serif}polyline{fill:none;stroke:#286;stroke-width:2}.other{stroke:#a53;stroke-dasharray:5 3}"
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="780" height="{height}"><style>{style}</style>{"".join(drawn)}</svg>\n'
    )


def _panel(left: int, top: int, title: str, lines: list[tuple[str, list[float], list[float]]]) -> str:
    values = [value for _, _, ys in lines for value in ys]
    low, high = min(values), max(values)
    right = max(value for _, xs, _ in lines for value in xs)
    shapes = [f'<text x="{left}" y="{top + 12}">{title}: {low:.3g} to {high:.3g}, x to {right:.3g}</text>']
    for index, (name, xs, ys) in enumerate(lines):
        points = [
            (left + 340 * x / right, top + 200 - 175 * (y - low) / ((high - low) or 1)) for x, y in zip(xs, ys, strict=True)
        ]
        kind = ' class="other"' if index else ""
        shapes.append(f'<polyline{kind} points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}"/>')
        shapes.append(f'<text x="{left + 100 * index}" y="{top + 218}">{"- - " if index else "— "}{name}</text>')
    return "".join(shapes)


def main() -> None:
    arguments = parser(__doc__ or "")
    chosen = arguments.parse_args()
    if chosen.only not in (None, "speed", *SETS):
        arguments.error(f"--only is one of: speed, {', '.join(SETS)}")
    if chosen.data is None and chosen.only != "speed":
        arguments.error("--data names the folder of the recorded data")
    result = run(chosen.data, chosen.only, seed=chosen.seed, quick=chosen.quick)
    if chosen.plot is not None:
        plot(result, chosen.plot)
    emit(result, goals(result), as_json=chosen.json)


if __name__ == "__main__":
    main()
