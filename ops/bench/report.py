"""What every benchmark takes and prints: the shared arguments, progress, measurements and goals, as JSON or as a table.

Called by the modules of this folder. The result goes to standard output, all else to standard error. A goal that was not
measured is not met; a part that could not be run has no goals, and is named with the reason under ``skipped``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table


class NoData(Exception):
    """A part of a benchmark needs recorded data that is not there; the message says which."""


_LONG_CHARS: Final = 24
_TABLE_CHARS: Final = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """``target`` in words; ``value`` the measured number, None when it was not measured in this run."""

    name: str
    target: str
    value: float | None
    met: bool


def at_most(name: str, value: float | None, bound: float, unit: str) -> Goal:
    """A goal of ``value <= bound``."""
    return Goal(name=name, target=f"<= {bound:g} {unit}".rstrip(), value=value, met=value is not None and value <= bound)


def at_least(name: str, value: float | None, bound: float, unit: str) -> Goal:
    """A goal of ``value >= bound``."""
    return Goal(name=name, target=f">= {bound:g} {unit}".rstrip(), value=value, met=value is not None and value >= bound)


def progress(what: str) -> None:
    """Say what is being measured now."""
    print(what, file=sys.stderr, flush=True)


def skip(measurements: dict[str, Any], part: str, why: str) -> None:
    """Say, and note under ``skipped``, that a part could not be run."""
    progress(f"{part} is skipped: {why}")
    measurements.setdefault("skipped", {})[part] = why


def parser(description: str, parts: Sequence[str]) -> argparse.ArgumentParser:
    """The arguments that all benchmarks share; ``parts`` are what ``--only`` takes."""
    result = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("--json", action="store_true", help="print one JSON object")
    result.add_argument("--quick", action="store_true", help="shorter runs, for a first look")
    result.add_argument("--seed", type=int, default=1, metavar="N", help="seed of whatever is drawn")
    result.add_argument("--only", choices=parts, help="run only this part")
    result.add_argument("--data", type=Path, metavar="DIR", help="folder of recorded data, where the benchmark reads any")
    result.add_argument("--plot", type=Path, metavar="FILE", help="write a picture")
    return result


def emit(measurements: Mapping[str, Any], goals: Sequence[Goal], *, as_json: bool) -> None:
    """Print the result: one JSON object with ``goals`` in it, or two tables."""
    if as_json:
        print(json.dumps({**measurements, "goals": [asdict(goal) for goal in goals]}, indent=2))
        return
    console = Console()
    rows = Table("measurement", "value")
    flat = list(_flat(measurements))
    for name, value in flat:
        if not _is_table(value):
            rows.add_row(name, _shown(value))
    console.print(rows)
    for name, value in flat:
        if _is_table(value):
            _tell(console, name, value)
    table = Table("goal", "target", "value", "met")
    for goal in goals:
        value = "not measured" if goal.value is None else f"{goal.value:.3f}"
        table.add_row(goal.name, goal.target, value, "yes" if goal.met else "[bold]no[/bold]")
    console.print(table)


def _flat(value: Any, prefix: str = "") -> list[tuple[str, Any]]:
    if isinstance(value, Mapping):
        return [row for key, item in value.items() for row in _flat(item, f"{prefix}.{key}" if prefix else str(key))]
    return [(prefix, value)]


def _is_table(value: Any) -> bool:
    """A list of records with the same names, such as a curve."""
    records = isinstance(value, list) and bool(value) and all(isinstance(each, Mapping) for each in value)
    return records and all(each.keys() == value[0].keys() for each in value)


def _tell(console: Console, name: str, records: Sequence[Mapping[str, Any]]) -> None:
    """A table of what is short; what is long follows it, a line each, after what stands first in its row."""
    rows = [{key: _shown(value) for key, value in each.items()} for each in records]
    long = [key for key in rows[0] if any(len(row[key]) > _LONG_CHARS for row in rows)]
    table = Table(*(key for key in rows[0] if key not in long), title=name, box=SIMPLE_HEAD, title_justify="left")
    for row in rows:
        table.add_row(*(value for key, value in row.items() if key not in long))
    console.print(table, width=max(console.width, _TABLE_CHARS), crop=False, soft_wrap=True)
    for row in rows:
        for key in long:
            console.print(f"{next(iter(row.values()))}: {row[key]}", soft_wrap=True)


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) >= 0.01 or not value else f"{value:.2g}"
    return "-" if value is None else str(value)
