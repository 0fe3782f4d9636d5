"""How the command line shows things: tables for people, JSON for programs, plain text where nobody watches.

Called by every module of runtime/cli. Pure but for writing to the console. Must not import httpx or anything of the daemon.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

Json = Any
PLAIN_WIDTH = 200
"""Columns of a table that goes into a pipe or a file: nothing is squeezed for a screen that is not there."""
MADE_UP = "SIMULATED: at least one call went to a simulated backend; what it said is made up."

_CONTROL = {code: None for code in (*range(32), *range(127, 160)) if code not in (9, 10)}


def console(*, stderr: bool = False) -> Console:
    """A console for stdout (or stderr): colours on a terminal only, no reflow when piped."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or os.environ.get("COLUMNS") else PLAIN_WIDTH
    return Console(file=stream, width=width, highlight=False, soft_wrap=False, emoji=False, markup=False)


def print_json(value: Json) -> None:
    """``value`` as indented JSON on stdout, and nothing else: what ``--json`` promises."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[str] = (), title: str | None = None) -> Table:
    """A table of texts. ``right`` names the columns of numbers. Without colours it is drawn with spaces and a rule."""
    made = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False, header_style="bold", show_edge=False)
    for name in columns:
        made.add_column(name, justify="right" if name in right else "left", overflow="fold")
    for row in rows:
        made.add_row(*(printable(cell) for cell in row))
    return made


def printable(text: str) -> str:
    """``text`` without control characters: what a model or a client wrote must not drive the terminal."""
    return text.translate(_CONTROL)


def clip(text: str, chars: int) -> str:
    """``text`` on one line of at most ``chars`` characters, marked where it was cut."""
    line = " ".join(printable(text).split())
    return line if len(line) <= chars else line[: max(0, chars - 1)] + "…"


def usd(amount: float | None) -> str:
    """Money with as many digits as it needs to be told from nothing: ``$1.25``, ``$0.0042``, ``$0.000031``, ``$0``."""
    if amount is None or not math.isfinite(amount):
        return "-"
    if amount == 0:
        return "$0"
    if abs(amount) >= 0.1:
        return f"${amount:,.2f}"
    return f"${amount:.{min(9, 1 - math.floor(math.log10(abs(amount))))}f}"


def seconds(value_s: float | None) -> str:
    """A duration in seconds: ``640 µs``, ``12 ms``, ``0.41 s``, ``3.2 s``, ``2 min 05 s``, ``3 h 20 min``."""
    if value_s is None or not math.isfinite(value_s):
        return "-"
    if value_s < 0.001:
        return f"{value_s * 1e6:.0f} µs"
    if value_s < 0.1:
        return f"{value_s * 1000:.0f} ms"
    if value_s < 1:
        return f"{value_s:.2f} s"
    if value_s < 60:
        return f"{value_s:.1f} s"
    minutes, rest_s = divmod(round(value_s), 60)
    return f"{minutes} min {rest_s:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def ago(at: float | None, *, now: float) -> str:
    """Unix time ``at`` as seen from ``now``: ``4 s ago``; ``-`` where it is unknown."""
    if not at:
        return "-"
    return f"{seconds(max(1.0, round(now - at)))} ago".replace(".0 s", " s")


def size(value_bytes: float) -> str:
    """Bytes for people: ``12.3 GB`` (powers of 1000)."""
    for unit in ("B", "kB", "MB", "GB"):
        if value_bytes < 1000:
            return f"{value_bytes:.0f} {unit}" if unit == "B" else f"{value_bytes:.1f} {unit}"
        value_bytes /= 1000
    return f"{value_bytes:.1f} TB"
