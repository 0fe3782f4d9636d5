"""``python -m ops.sim``: a scripted month of the whole network on the SIMULATED pool, in minutes.

A daemon is built in this process on a clock that leaps; a script's traffic comes over HTTP; an operator of the simulation
approves and rejects over HTTP. Printed are a row a week and each change with its prediction and measured effect; --plot draws
them. The traffic is the same for the same seed. What is not: the order in which requests that are under way together end,
latencies, and with them what the daemon's own draws (the router's exploring, judges' samples) fall on.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ops.sim.picture import draw
from ops.sim.run import run
from ops.sim.script import MONTH, read
from ops.sim.sums import effect

LABEL = "SIMULATED: the pool's answers, prices and speeds are made up; the network, its code and its decisions are real."


def main() -> None:
    """Play, print, and draw."""
    given = _arguments()
    try:
        script = read(given.script)
    except (OSError, ValueError) as error:
        raise SystemExit(f"{given.script}: {error}") from None
    if given.requests_per_day:
        script = script.model_copy(update={"requests_per_day": given.requests_per_day})
    with tempfile.TemporaryDirectory(prefix="morphogen-month-") as name:
        folder = (given.data_dir or Path(name)).expanduser()
        if (folder / "data" / "ledger.sqlite").exists():
            raise SystemExit(f"{folder} holds a ledger already: a month begins with an empty folder (--data-dir)")
        days = given.days or script.days
        found = asyncio.run(run(script, folder, days=days, seed=given.seed, speed=given.speed))
    print(json.dumps(found, indent=2)) if given.json else _print(found)
    if given.plot is not None:
        draw(given.plot, found)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m ops.sim", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--days", type=_whole(1, 366), metavar="N", help="days to play (the script's)")
    parser.add_argument("--requests-per-day", type=_whole(1, 10_000), metavar="N", help="requests a day (the script's)")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="seed of the traffic and of the pretenders (1)")
    parser.add_argument("--speed", type=float, default=0.02, metavar="X", help="multiplies the pretenders' latencies (0.02)")
    parser.add_argument("--script", type=Path, default=MONTH, metavar="FILE", help="another month")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="keep the daemon's data here (an empty folder)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--plot", type=_svg, metavar="FILE.svg", help="write a picture")
    return parser.parse_args()


def _whole(least: int, most: int) -> Any:
    def number(text: str) -> int:
        value = int(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{value} is not from {least} to {most}")
        return value

    return number


def _svg(text: str) -> Path:
    if not text.endswith(".svg"):
        raise argparse.ArgumentTypeError(f"pictures are written as SVG; name it something.svg, not {text}")
    return Path(text)


def _print(found: Mapping[str, Any]) -> None:
    out = Console(width=None if sys.stdout.isatty() else 200)
    out.print(LABEL, style="bold", soft_wrap=True)
    requests, took = sum(found["asked"].values()), found["took_s"]
    out.print(f"{found['days']} days, {requests} requests, seed {found['seed']}, played in {took:.0f} s\n", soft_wrap=True)
    out.print(_weeks(found))
    out.print("\nWhat happened to the pool:", *(f"day {each['day']:.4g}: {each['what']}" for each in found["events"]), sep="\n  ")
    out.print("\nEvery change:")
    out.print(_changes(found))
    if found["refused"]:
        out.print("\nNot answered, by HTTP status:", found["refused"])
    if found["restless"]:
        out.print(
            "Changed again and again:",
            *(f"{e['kind']} {e['subject']}: {e['times']} times" for e in found["restless"]),
            sep="\n  ",
        )


def _weeks(found: Mapping[str, Any]) -> Table:
    table = Table(
        "week",
        "requests",
        "live",
        "parked",
        "USD a thousand",
        "own USD",
        "p50 ms*",
        "p95 ms*",
        "quality",
        "library",
        "special.",
        "committee",
    )
    for week in found["weeks"]:
        shares = week["shares"]
        table.add_row(
            str(week["week"]),
            str(week["requests"]),
            f"{week['live']} (most {week['most_live']})",
            str(week["parked"]),
            _number(week["cost_usd_per_request"], 1000),
            _number(week["own_usd_per_request"], 1000),
            _number(week["latency_p50_s"], 1000),
            _number(week["latency_p95_s"], 1000),
            f"{_number(week['quality'])} of {week['judged']}",
            *(f"{shares[name] or 0:.0%}" for name in ("library", "specialists", "committee")),
        )
    table.caption = (
        f"* real time on this machine, the pretenders at {found['speed']:g} of their speed; "
        "own: the network's own questions, of a thousand requests"
    )
    return table


def _number(value: float | None, times: float = 1.0) -> str:
    return "-" if value is None else f"{value * times:.3g}"


def _changes(found: Mapping[str, Any]) -> Table:
    table = Table("day", "kind", "of", "predicted and measured", "came to")
    for each in found["changes"]:
        when = f"{each['day']:.4g}" if each["applied"] is None else f"{each['day']:.4g} to {each['ended']:.4g}"
        table.add_row(when, each["kind"], each["node"] or each["subject"], effect(each), each["status"])
    return table


if __name__ == "__main__":
    main()
