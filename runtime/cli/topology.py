"""``morphogen topology``: the network's shape, its history, and the way back. Operator key.

Called by topology_commands.py. Must not import anything of the daemon.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import typer

from runtime.cli import client, proposals, tables

Json = Any
BASE = "/v1/topology"
_CELL = 70


def show(revision: int | None, *, as_json: bool) -> None:
    """Print the shape, now or then."""
    params: dict[str, str | int] = {} if revision is None else {"revision": revision}
    with client.open_client() as daemon:
        found = daemon.get(BASE, operator=True, params=params)
    if as_json:
        tables.print_json(found)
        return
    out = tables.console()
    more = f", routed by {found['router']}" if found["router"] else ""
    out.print(f"Revision {found['revision']}: {found['live']} live nodes, {found['parked']} parked{more}", soft_wrap=True)
    rows = [
        (
            "  " * node["depth"] + node["name"],
            node["id"],
            node["role"],
            node["desired"] if node["state"] in (None, node["desired"]) else f"{node['desired']} ({node['state']} now)",
            tables.clip(node["speciality"] or "", _CELL),
            node["strategy"],
            node["born_of"] or "-",
        )
        for node in _by_line(found["nodes"])
    ]
    out.print(tables.table(("node", "id", "role", "state", "speciality", "strategy", "born of"), rows))
    for name, size in found["pools"].items():
        out.print(f"  pool {name}: {size} kept ready")


def _by_line(nodes: list[Json]) -> Iterator[Json]:
    """Each node after its parent."""
    ids = {node["id"] for node in nodes}
    below: dict[str | None, list[Json]] = {}
    for node in nodes:
        below.setdefault(node["parent"] if node["parent"] in ids else None, []).append(node)

    def walk(parent: str | None) -> Iterator[Json]:
        for node in sorted(below.get(parent, ()), key=lambda each: each["name"]):
            yield node
            yield from walk(node["id"])

    return walk(None)


def log(*, limit: int, as_json: bool) -> None:
    """Print the revisions."""
    with client.open_client() as daemon:
        rows = daemon.get(f"{BASE}/history", operator=True, params={"limit": limit})["data"]
    if as_json:
        tables.print_json(rows)
        return
    tables.console().print(_revisions(rows))


def _revisions(rows: list[Json]) -> Any:
    now = time.time()
    shown = [
        (
            str(row["revision"]),
            tables.ago(row["at"], now=now),
            tables.clip("; ".join(row["steps"]), _CELL),
            tables.clip(row["reason"], _CELL),
            row["proposal_id"] or "-",
            row["digest"][:12],
        )
        for row in rows
    ]
    return tables.table(("revision", "when", "what", "why", "proposal", "hash"), shown, right=("revision",))


def diff(one: int, other: int, *, as_json: bool) -> None:
    """Print what changed between two revisions."""
    with client.open_client() as daemon:
        found = daemon.get(f"{BASE}/diff", operator=True, params={"from": one, "to": other})
    if as_json:
        tables.print_json(found)
        return
    for line in found["steps"] or ["Nothing."]:
        tables.console().print(tables.printable(line), soft_wrap=True)


def explain(node: str, *, as_json: bool) -> None:
    """Print why a node is there."""
    with client.open_client() as daemon:
        found = daemon.get(f"{BASE}/nodes/{quote(node, safe='')}", operator=True)
    if as_json:
        tables.print_json(found)
        return
    out = tables.console()
    for line in _told(found):
        out.print(tables.printable(line), soft_wrap=True)
    out.print(_revisions(found["changes"]))


def _told(found: Mapping[str, Json]) -> Iterator[str]:
    node = found["node"]
    if node["desired"] is None:
        yield f"{node['id']} is not there any more."
    else:
        yield f"{node['name']} ({node['id']}): {node['role']}, {node['desired']}"
        yield from (f"  {name:<11} {node[name]}" for name in ("speciality", "parent", "locale", "strategy") if node[name])
        yield from (f"  for         {pattern}" for pattern in node["patterns"])
    if found["born_of"] is not None:
        yield from proposals.told(found["born_of"])
    elif node["desired"] is not None:
        yield "It was there at the beginning, or others laid it in: no proposal made it."


def rollback(revision: int, *, reason: str, yes: bool, as_json: bool) -> None:
    """Go back to an earlier shape."""
    with client.open_client() as daemon:
        if not yes:
            now = daemon.get(BASE, operator=True)["revision"]
            found = daemon.get(f"{BASE}/diff", operator=True, params={"from": now, "to": revision})
            for line in found["steps"]:
                tables.console().print(tables.printable(line), soft_wrap=True)
            typer.confirm(f"Go back from revision {now} to {revision}?", abort=True)
        made = daemon.post(f"{BASE}/rollback", {"revision": revision, "reason": reason}, operator=True)
    if as_json:
        tables.print_json(made)
        return
    tables.console().print(f"It is carried out: morphogen proposals show {made['id']}", soft_wrap=True)
