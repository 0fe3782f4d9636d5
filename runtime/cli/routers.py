"""``morphogen routes routers|router|evolve|adopt|decline|back``: routers that models wrote. Operator key.

Called by routes_commands.py. Must not import anything of the daemon.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from runtime.cli import client, tables

Json = Any
BASE = "/v1/routes/routers"


def routers(*, as_json: bool) -> None:
    """Print the routers with their lineage, the attempts, the prompts."""
    with client.open_client() as daemon:
        found = daemon.get(BASE, operator=True)
    if as_json:
        tables.print_json(found)
        return
    out, now = tables.console(), time.time()
    out.print(f"In force: {found['in_force'] or 'the learner alone'}", soft_wrap=True)
    if found["under_test"]:
        out.print(f"Under test: {found['under_test']}")
    if found["routers"]:
        rows = [_router(each, now) for each in found["routers"]]
        columns = ("router", "state", "made of", "author", "steps", "changes", "calls (decided / failed)", "made")
        out.print(tables.table(columns, rows))
    for line in waiting(found):
        out.print(tables.printable(line), soft_wrap=True)
    if found["rounds"]:
        rows = [_round(each, now) for each in found["rounds"][:12]]
        out.print(tables.table(("attempt", "stage", "router", "against", "prompt", "note", "as of"), rows))
    for each in found["prompts"]:
        reward = "-" if each["reward"] is None else f"{each['reward']:.2f}"
        out.print(f"Prompt {each['version']} ({each['state']}): {each['routers']} routers, reward {reward}", soft_wrap=True)


def waiting(found: Mapping[str, Json]) -> Iterator[str]:
    """What an operator can do now, as lines; why nothing is written at present, where nothing is on its way."""
    won = [each for each in found["rounds"] if each["stage"] == "won"]
    for each in won:
        yield f"Won: {each['version']} ({each['note']}). morphogen routes adopt {each['version']}"
    if not won and found["write"]:
        yield f"The last look for a better one: {found['why_not_now']}"
    if any(each["simulated"] for each in found["routers"]):
        yield "SIMULATED: at least one of them was written by a simulated backend."


def router(version: str, *, as_json: bool) -> None:
    """Print one router, step by step."""
    with client.open_client() as daemon:
        found = daemon.get(f"{BASE}/{quote(version, safe='@')}", operator=True)
    if as_json:
        tables.print_json(found)
        return
    out = tables.console()
    made_of = ", ".join(found["parents"]) or "nothing before it"
    out.print(f"{found['version']}: {found['place'] or found['state']}, made of {made_of} by {found['author']}", soft_wrap=True)
    for edit in found["edits"]:
        out.print(tables.printable(f"  {edit}"), soft_wrap=True)
    for number, step in enumerate(found["steps"], 1):
        out.print(tables.printable(f"\n{number}. {step['name']}: {step['why']}"), soft_wrap=True)
        out.print(tables.printable(step["source"].rstrip()), soft_wrap=True)


def evolve(*, as_json: bool) -> None:
    """Have one better router written now."""
    with client.open_client() as daemon:
        found = daemon.post(BASE, {}, operator=True)
    if as_json:
        tables.print_json(found)
        return
    made = found["round"]
    if made is None:
        tables.console().print(f"Nothing was written: {found['why']}", soft_wrap=True)
        return
    _told(made, as_json=False)
    for edit in made["data"].get("edits", ()):
        tables.console().print(tables.printable(f"  {edit}"), soft_wrap=True)


def adopt(version: str, *, as_json: bool) -> None:
    """Put a router that won into force."""
    with client.open_client() as daemon:
        found = daemon.post(f"{BASE}/{quote(version, safe='@')}/adopt", {}, operator=True)
    _told(found, as_json=as_json)


def decline(version: str, why: str, *, as_json: bool) -> None:
    """Put a router that won away."""
    with client.open_client() as daemon:
        found = daemon.post(f"{BASE}/{quote(version, safe='@')}/decline", {"why": why}, operator=True)
    _told(found, as_json=as_json)


def back(*, as_json: bool) -> None:
    """Go back to the router before."""
    with client.open_client() as daemon:
        found = daemon.post(f"{BASE}/back", {}, operator=True)
    if as_json:
        tables.print_json(found)
        return
    tables.console().print(f"In force: {found['in_force'] or 'the learner alone'} (was {found['was'] or 'the learner alone'})")


def _told(found: Mapping[str, Json], *, as_json: bool) -> None:
    if as_json:
        tables.print_json(found)
        return
    line = f"{found['round_id']} {found['version']}: {found['stage']}. {found['note']}"
    tables.console().print(tables.printable(line.rstrip()), soft_wrap=True)


def _router(each: Mapping[str, Json], now: float) -> tuple[str, ...]:
    name = f"{each['version']}{' *' if each['place'] == 'in force' else ' ?' if each['place'] else ''}"
    return (
        name,
        each["state"],
        ", ".join(each["parents"]) or "-",
        each["author"] + (" (simulated)" if each["simulated"] else ""),
        " > ".join(each["steps"]) or "-",
        tables.clip("; ".join(each["edits"]), 90) or "-",
        f"{each['calls']} ({each['decided']} / {each['faults']})" if each["serves"] else "-",
        tables.ago(each["created_at"], now=now),
    )


def _round(each: Mapping[str, Json], now: float) -> tuple[str, ...]:
    return (
        each["round_id"],
        each["stage"],
        each["version"] or "-",
        each["parent"] or "the learner",
        each["prompt"],
        tables.clip(each["note"], 90),
        tables.ago(each["updated_at"], now=now),
    )
