"""What the network is and did, as tables: nodes, backends, requests. The story of one answer is told by story.py.

Called by main.py and demo.py. Must not import anything of the daemon: it sees what any HTTP client sees.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from rich.table import Table

from runtime.cli import client, tables
from runtime.cli.errors import CliError
from runtime.cli.story import story_of

Json = Any


def nodes(*, as_json: bool) -> None:
    """Print the live nodes."""
    with client.open_client() as daemon:
        rows = daemon.get("/v1/nodes")["data"]
    if as_json:
        tables.print_json(rows)
        return
    if not rows:
        tables.console().print("No node is live.")
        return
    tables.console().print(nodes_table(rows, now=time.time()))


def nodes_table(rows: Sequence[Json], *, now: float) -> Table:
    """The nodes of GET /v1/nodes."""
    shown = [
        (
            str(row["name"]),
            " · ".join(str(part) for part in (row["role"], row.get("speciality")) if part),
            str(row["state"]),
            f"{row['inflight']}/{row['max_concurrency']}",
            str(row["handled"]),
            str(row["failed"]),
            str(row["restarts"]),
            ", ".join(row.get("backends") or ()) or "any",
            tables.seconds(now - row["started_at"]) if row.get("started_at") else "-",
            str(row.get("pid") or "-"),
        )
        for row in rows
    ]
    columns = ("node", "role", "state", "busy", "handled", "failed", "restarts", "backends", "up", "pid")
    return tables.table(columns, shown, right=("busy", "handled", "failed", "restarts", "up", "pid"))


def backends(*, as_json: bool) -> None:
    """Print the backends, and why it is these."""
    with client.open_client() as daemon:
        rows = daemon.get("/v1/backends")["data"]
        reason = "" if as_json else str(daemon.get("/v1/status").get("pool_reason") or "")
    if as_json:
        tables.print_json(rows)
        return
    out = tables.console()
    out.print(backends_table(rows))
    if reason:
        out.print(reason, style="dim", soft_wrap=True)


def backends_table(rows: Sequence[Json]) -> Table:
    """The backends of GET /v1/backends."""
    shown = [
        (
            str(row["name"]),
            f"{row['kind']} (answers are made up)" if row["simulated"] else str(row["kind"]),
            str(row["model"]),
            ", ".join(row.get("aliases") or ()) or "-",
            breaker_words(row["health"]),
            f"{row['inflight']}/{row['max_concurrency']}",
            str(row["queued"]),
            f"{row['weight']:g}",
            f"{row['input_usd_per_mtok']:g} / {row['output_usd_per_mtok']:g}",
        )
        for row in rows
    ]
    columns = ("backend", "kind", "model", "also called", "breaker", "in flight", "queued", "weight", "USD per M tokens in / out")
    return tables.table(columns, shown, right=("in flight", "queued", "weight", columns[-1]))


def breaker_words(health: Json) -> str:
    """``closed`` as the good state it is, an open one with the time until its probe."""
    state = str(health.get("state", "closed"))
    if state == "open":
        return f"OPEN, probe in {tables.seconds(health.get('retry_in_s'))}"
    return "half-open" if state == "half_open" else state


def requests(*, limit: int, as_json: bool) -> None:
    """Print the newest requests, newest first."""
    with client.open_client() as daemon:
        rows = daemon.get("/v1/requests", operator=True, params={"limit": limit})["data"]
    if as_json:
        tables.print_json(rows)
        return
    if not rows:
        tables.console().print('No request yet. Ask something: morphogen ask "Hello"')
        return
    tables.console().print(requests_table(rows, now=time.time()))


def requests_table(rows: Sequence[Json], *, now: float) -> Table:
    """The rows of GET /v1/requests."""
    shown = [
        (
            str(row["id"]),
            tables.ago(row.get("at"), now=now),
            str(row["source"]),
            str(row["target"]),
            str(row.get("node") or "-"),
            str(row.get("strategy") or "-"),
            f"{row.get('backend') or '-'}{' (simulated)' if row.get('simulated') else ''}",
            str(row.get("error") or row["status"]),
            tables.seconds(row.get("latency_s")),
            str(row.get("tokens") or 0),
            tables.usd(row.get("cost_usd")),
        )
        for row in rows
    ]
    columns = ("request", "when", "surface", "asked", "node", "strategy", "backend", "outcome", "took", "tokens", "cost")
    return tables.table(columns, shown, right=("took", "tokens", "cost"))


def trace(request_id: str, *, as_json: bool) -> None:
    """Print how one answer came about."""
    with client.open_client() as daemon:
        found = fetch_trace(daemon, request_id)
    if as_json:
        tables.print_json(found)
        return
    tables.console().print("\n".join(story_of(found)), soft_wrap=True)


def fetch_trace(daemon: client.Client, request_id: str) -> Json:
    """GET /v1/requests/{id}; ``last`` is the newest request, ``chatcmpl-…`` an id as OpenAI clients see it."""
    if request_id == "last":
        rows = daemon.get("/v1/requests", operator=True, params={"limit": 1})["data"]
        if not rows:
            raise CliError("There is no request yet", hint='Ask something: morphogen ask "Hello"')
        request_id = rows[0]["id"]
    return daemon.get(f"/v1/requests/{quote(request_id.removeprefix('chatcmpl-'), safe='')}", operator=True)
