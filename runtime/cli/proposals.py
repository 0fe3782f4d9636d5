"""``morphogen proposals``: see, make and decide proposed changes of the shape. Operator key.

Called by topology_commands.py. Must not import anything of the daemon.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from runtime.cli import client, tables
from runtime.cli.errors import CliError

Json = Any
BASE = "/v1/proposals"
_CELL = 70
_WHOLE_CHARS = 20
_TO_SEARCH = 500


def listed(status: str | None, *, limit: int, as_json: bool) -> None:
    """Print proposals, newest first."""
    params: dict[str, str | int] = {"limit": limit, **({} if status is None else {"status": status})}
    with client.open_client() as daemon:
        rows = daemon.get(BASE, operator=True, params=params)["data"]
    if as_json:
        tables.print_json(rows)
        return
    if not rows:
        tables.console().print("None.")
        return
    now = time.time()
    shown = [
        (
            row["id"],
            tables.ago(row["created_at"], now=now),
            row["status"],
            row["kind"],
            tables.clip(row["node"] or row["subject"], 32),
            row["risk"],
            tables.clip(row["reason"], _CELL),
            tables.clip(row["waits_for"] or row["note"], _CELL),
        )
        for row in rows
    ]
    columns = ("proposal", "when", "status", "kind", "subject", "risk", "why", "last word")
    tables.console().print(tables.table(columns, shown))


def show(name: str, *, as_json: bool) -> None:
    """Print one proposal whole."""
    with client.open_client() as daemon:
        found = daemon.get(path_of(daemon, name), operator=True)
    if as_json:
        tables.print_json(found)
        return
    out = tables.console()
    for line in told(found):
        out.print(tables.printable(line), soft_wrap=True)
    if found["status"] in ("proposed", "snoozed"):
        out.print(
            f"Decide: morphogen proposals approve {found['id']} --hash {found['hash']}   (or reject, snooze)", soft_wrap=True
        )


def told(found: Mapping[str, Json]) -> Iterator[str]:
    """A proposal as lines."""
    yield f"{found['id']}: {found['kind']} {found['node'] or found['subject']}, {found['status']}"
    if found["simulated"]:
        yield tables.MADE_UP
    yield f"  why         {found['reason']}"
    yield f"  by          {found['origin']}; risk {found['risk']}; {tables.usd(found['cost_usd'])} to carry out"
    yield f"  last word   {found['waits_for'] or found['note']}"
    yield f"  hash        {found['hash']}"
    yield from (f"  step        {line}" for line in found["steps"])
    yield from (f"  when kept   {line}" for line in found["steps_when_kept"])
    yield from (f"  evidence    {_evidence(each)}" for each in found["evidence"])
    measured = found["measured"] or []
    for place, each in enumerate(found["predictions"]):
        yield f"  predicted   {_prediction(each)}"
        if place < len(measured):
            yield f"  measured    {_measured(measured[place])}"
    for each in found["decisions"]:
        yield f"  {tables.ago(each['at'], now=time.time()):<11} {each['became']} by {each['who']}: {each['why']}"


def _evidence(each: Mapping[str, Json]) -> str:
    of = f" of {each['scope']['kind']} {', '.join(each['scope']['names'])}" if each["scope"]["names"] else ""
    note = f"; {each['note']}" if each["note"] else ""
    return f"{each['metric']}{of}: {each['value']:.4g} {each['units']} over {each['count']} ({each['source']}){note}"


def _prediction(each: Mapping[str, Json]) -> str:
    of = f" of {each['scope']['kind']} {', '.join(each['scope']['names'])}" if each["scope"]["names"] else " of all requests"
    change = f"from {each['baseline']:.4g} to {each['expected']:.4g} {each['units']}"
    return f"{each['metric']}{of} {change}, at worst {each['limit']:.4g}"


def _measured(each: Mapping[str, Json]) -> str:
    if each["measured"] is None:
        return "no request yet"
    interval = f"{each['low']:.4g} to {each['high']:.4g}"
    return f"{each['measured']:.4g} ({interval}) over {each['requests']} requests: {each['verdict']}"


def approve(name: str, *, digest: str | None, comment: str) -> None:
    """Let it be carried out as it was seen."""
    with client.open_client() as daemon:
        path = path_of(daemon, name)
        seen = digest or daemon.get(path, operator=True)["hash"]
        made = daemon.post(f"{path}/approve", {"hash": seen, "comment": comment}, operator=True)
    _said(made)


def word(name: str, verb: str, body: Mapping[str, Json]) -> None:
    """Any other word on it."""
    with client.open_client() as daemon:
        made = daemon.post(f"{path_of(daemon, name)}/{verb}", dict(body), operator=True)
    _said(made)


def new(kind: str, node: str | None, into: str | None, given: Mapping[str, Json], *, as_json: bool) -> None:
    """Propose a change by hand."""
    body: dict[str, Json] = {"kind": kind, **{name: value for name, value in given.items() if value is not None}}
    if node is not None:
        named = "name" if kind in ("spawn", "pool") else "node"
        body |= {"gone": [node], "into": into} if kind == "merge" else {named: node}
    with client.open_client() as daemon:
        made = daemon.post(BASE, body, operator=True)
    if as_json:
        tables.print_json(made)
        return
    _said(made)
    if made["status"] == "proposed":
        tables.console().print(f"Decide: morphogen proposals approve {made['id']}", soft_wrap=True)


def children(given: Sequence[str]) -> list[dict[str, str]]:
    """``name=what it is good at`` of each node that a split makes."""
    named = (each.partition("=") for each in given)
    return [{"name": name.strip(), **({"speciality": words.strip()} if words.strip() else {})} for name, _, words in named]


def _said(made: Mapping[str, Json]) -> None:
    line = (
        f"{made['id']}: {made['kind']} {made['node'] or made['subject']}, {made['status']}: {made['waits_for'] or made['note']}"
    )
    tables.console().print(tables.printable(line), soft_wrap=True)


def path_of(daemon: client.Client, name: str) -> str:
    """The path of a proposal, whose id may be given by its end."""
    if name.startswith("prop_") and len(name) >= _WHOLE_CHARS:
        return f"{BASE}/{quote(name, safe='')}"
    rows = daemon.get(BASE, operator=True, params={"limit": _TO_SEARCH})["data"]
    found = [row["id"] for row in rows if row["id"].endswith(name)]
    if len(found) != 1:
        raise CliError(f"{len(found) or 'No'} proposals end in {name!r}")
    return f"{BASE}/{quote(found[0], safe='')}"
