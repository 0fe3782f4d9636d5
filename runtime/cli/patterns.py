"""``morphogen patterns``: recurring kinds of requests, as people read them. Operator key.

Called by patterns_commands.py. Must not import anything of the daemon.
"""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote

from runtime.cli import client, tables

Json = Any
BASE = "/v1/patterns"
_CELL = 60


def list_(*, state: str | None, limit: int, as_json: bool) -> None:
    """Print the patterns."""
    with client.open_client() as daemon:
        params: dict[str, str | int] = {"limit": limit} | ({"state": state} if state else {})
        found = daemon.get(BASE, operator=True, params=params)
    if as_json:
        tables.print_json(found)
        return
    out, now = tables.console(), time.time()
    if found["status"] != "ok":
        out.print(f"Patterns: {found['status']}", markup=False)
        return
    counts = found["counts"]
    out.print(
        f"{counts['requests_seen']:.0f} requests were looked at, {counts['requests_clustered']:.0f} of them are in a pattern"
    )
    if not found["data"]:
        out.print("Nothing recurs yet.")
        return
    rows = [
        (
            each["id"],
            tables.clip(tables.printable(each["name"]), _CELL),
            each["state"],
            str(each["count"]),
            f"{100 * each['share']:.1f} %",
            f"{100 * each['trend']:+.1f}",
            tables.ago(each["last_at"], now=now),
        )
        for each in found["data"]
    ]
    columns = ("id", "name", "state", "requests", "share", "trend", "last")
    out.print(tables.table(columns, rows, right=("requests", "share", "trend")))


def show(pattern: str, *, examples: int, as_json: bool) -> None:
    """Print one pattern."""
    with client.open_client() as daemon:
        found = daemon.get(f"{BASE}/{quote(pattern, safe='')}", operator=True, params={"examples": examples})
    if as_json:
        tables.print_json(found)
        return
    out = tables.console()
    for name, value in found.items():
        if name != "examples" and value not in (None, ""):
            out.print(f"{name + ':':12} {tables.printable(str(value))}", markup=False, highlight=False)
    for each in found["examples"]:
        out.print(
            f"  {each['similarity']:.2f}  {tables.clip(tables.printable(each['text']), 100)}", markup=False, highlight=False
        )
