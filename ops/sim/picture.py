"""A month as one SVG: what there was by day and week, and below it every change with prediction and measured effect."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ops.bench.plot import Panel, write_lines
from ops.sim.sums import effect


def draw(path: Path, found: Mapping[str, Any]) -> None:
    """Write the picture. Raises OSError."""
    title = f"SIMULATED month: {sum(found['asked'].values())} requests in {found['days']} days, seed {found['seed']}"
    write_lines(path, panels(found), title=title, notes=notes(found))


def panels(found: Mapping[str, Any]) -> list[Panel]:
    """Nodes by day; cost, latency, quality and shares by week. Weeks without a number are left out."""
    shape, weeks = found["shape"], found["weeks"]

    def line(*names: str, times: float = 1.0) -> list[tuple[float, float]]:
        points = []
        for week in weeks:
            value: Any = week
            for name in names:
                value = value[name]
            if value is not None:
                points.append((float(week["week"]), value * times))
        return points

    return [
        ("nodes", "day", "nodes", {n: [(float(e["day"] + 1), float(e[n])) for e in shape] for n in ("live", "parked")}),
        (
            "cost of a thousand requests (made-up prices)",
            "week",
            "USD",
            {
                "clients' requests": line("cost_usd_per_request", times=1e3),
                "own questions": line("own_usd_per_request", times=1e3),
            },
        ),
        (
            f"latency (real; pretenders at {found['speed']:g})",
            "week",
            "ms",
            {"p50": line("latency_p50_s", times=1e3), "p95": line("latency_p95_s", times=1e3)},
        ),
        ("quality, mean verdict", "week", "score", {"quality": line("quality")}),
        (
            "shares of the requests",
            "week",
            "share",
            {name: line("shares", name) for name in ("library", "specialists", "committee")},
        ),
    ]


def notes(found: Mapping[str, Any]) -> list[str]:
    """A line for each thing that happened, by day."""
    told = [(each["day"], f"pool: {each['what']}") for each in found["events"]]
    for each in found["changes"]:
        told.append((each["day"], f"{each['kind']} {each['node'] or each['subject']}: {effect(each)}: {each['status']}"))
    return [f"day {day:.4g}  {words}" for day, words in sorted(told)]
