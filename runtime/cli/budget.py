"""``morphogen budget``: what may be spent today, what was, what is held by calls under way and what is left.

Called by main.py. Must not import anything of the daemon: it sees what any HTTP client sees.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from runtime.cli import client, tables

Json = Any


def show(*, as_json: bool) -> None:
    """Print the accounts of today: every one with the operator key, else the day's and the caller's own."""
    with client.open_client() as daemon:
        found = daemon.get("/v1/budget", operator=True)
        pretenders = [] if as_json else [row["name"] for row in daemon.get("/v1/backends")["data"] if row["simulated"]]
    if as_json:
        tables.print_json(found)
        return
    out = tables.console()
    out.print(budget_table(found["data"]))
    if pretenders:
        out.print(f"SIMULATED: what {', '.join(pretenders)} cost is counted at pretended prices.", soft_wrap=True)
    wait = tables.seconds(max(0.0, found["resets_at"] - time.time()))
    out.print(f"Days are UTC's; a new one begins in {wait}.", style="dim", soft_wrap=True)


def budget_table(rows: Sequence[Json]) -> Table:
    """The accounts of GET /v1/budget, two columns a unit where a limit is set."""
    shown = []
    for row in rows:
        usd, tokens = row["usd"], row["tokens"]
        name = "all of the daemon" if row["scope"] == "day" else " ".join(str(row[k]) for k in ("name", "key_id") if row.get(k))
        shown.append(
            (
                name,
                _limit(usd["limit"], tables.usd),
                tables.usd(usd["spent"]),
                tables.usd(usd["reserved"]),
                _limit(usd["left"], tables.usd),
                _limit(tokens["limit"], _count),
                _count(tokens["spent"]),
                _count(tokens["reserved"]),
                _limit(tokens["left"], _count),
            )
        )
    columns = ("account", "USD a day", "spent", "held", "left", "tokens a day", "spent ", "held ", "left ")
    return tables.table(columns, shown, right=columns[1:])


def _limit(value: Json, words: Any) -> str:
    return "no limit" if value is None else str(words(value))


def _count(value: int) -> str:
    return f"{value:,}"
