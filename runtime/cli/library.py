"""``morphogen library``: what was solved before, as people read it.

Called by library_commands.py. Must not import anything of the daemon: it sees what any HTTP client with the operator key sees.
"""

from __future__ import annotations

import json
import time
from typing import Any
from urllib.parse import quote

import typer

from runtime.cli import client, tables
from runtime.cli.errors import CliError

Json = Any
BASE = "/v1/library"
_DAY_S = 86_400.0
_CELL = 60


def stats(*, as_json: bool) -> None:
    """Print how the library stands."""
    with client.open_client() as daemon:
        found = daemon.get(BASE, operator=True)
    if as_json:
        tables.print_json(found)
        return
    names = ("status", "solutions", "with_code", "phrasings", "suspended", "stale")
    rows = [(name.replace("_", " "), str(found[name])) for name in names]
    rows += [(f"kind {name}", str(count)) for name, count in sorted(found["kinds"].items())]
    rows.append(("error bound", f"{100 * found['error_bound']:g} %"))
    for name, threshold in sorted(found["thresholds"].items()):
        rows.append((f"{name} is given from score", "not yet" if threshold is None else f"{threshold:.2f}"))
    rows.append(("the same words are given", "yes" if found["same_words"] else "not yet"))
    rows += [(f"look-ups: {name}", str(count)) for name, count in sorted(found["look_ups"].items())]
    tables.console().print(tables.table(("library", ""), rows, right=("",)))


def show(solution: str | None, *, tenant: str | None, limit: int, as_json: bool) -> None:
    """Print one solution, or the newest."""
    params: dict[str, str | int] = {"limit": limit} | ({"tenant": tenant} if tenant else {})
    with client.open_client() as daemon:
        path = f"{BASE}/solutions" if solution is None else f"{BASE}/solutions/{quote(solution, safe='')}"
        found = daemon.get(path, operator=True, params=params if solution is None else None)
    if as_json:
        tables.print_json(found)
    elif solution is None:
        _list(found["data"])
    else:
        for name, value in found.items():
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            tables.console().print(f"{name + ':':12} {tables.clip(text, 2_000)}", markup=False, highlight=False)


def _list(rows: list[Json]) -> None:
    if not rows:
        tables.console().print("Nothing is kept yet.")
        return
    shown = [
        (
            row["id"][:12],
            row["tenant"],
            row["artifact"] or "the answer itself",
            f"{(time.time() - row['made_at']) / _DAY_S:.1f} d",
            "out" if row["trust"]["suspended"] else f"{row['trust']['held']:g}/{row['trust']['failed']:g}",
            tables.clip(row["request"], _CELL),
        )
        for row in rows
    ]
    columns = ("id", "tenant", "code", "age", "held/failed", "request")
    tables.console().print(tables.table(columns, shown, right=("age", "held/failed")))


def purge(ids: list[str], *, tenant: str | None, older_than_days: float | None, yes: bool, as_json: bool) -> None:
    """Forget, after a question."""
    if not ids and tenant is None and older_than_days is None:
        raise CliError("Say what to forget: ids, --tenant or --older-than-days")
    if not yes and not typer.confirm("Forget these solutions for good?"):
        raise typer.Exit(1)
    body: dict[str, Json] = {"ids": ids}
    if tenant is not None:
        body["tenant"] = tenant
    if older_than_days is not None:
        body["older_than_s"] = older_than_days * _DAY_S
    with client.open_client() as daemon:
        found = daemon.post(f"{BASE}/purge", body, operator=True)
    if as_json:
        tables.print_json(found)
    else:
        tables.console().print(f"{found['purged']} solutions are forgotten.")


def dry_run(body: Json, *, as_json: bool) -> None:
    """Print what would come of a request."""
    with client.open_client() as daemon:
        found = daemon.post(f"{BASE}/dry-run", body, operator=True)
    if as_json:
        tables.print_json(found)
        return
    rows = [
        (name, "" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value))
        for name, value in found.items()
    ]
    tables.console().print(tables.table(("look-up", ""), rows))
