"""The part of the demo in which code is written, found again, changed and reviewed; and the registry's report at its end.

Called by demo_work.py and demo.py. What is said of each request is read from its trace, nothing is assumed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from rich.console import Console

from runtime.cli import registry_report, tables
from runtime.cli.client import Client
from runtime.cli.demo_asks import Found, Unexpected
from runtime.cli.errors import CliError

Json = Any
SETTINGS = "[registry]\nfold_every_s = 1.0\nreview_every_s = 1.0\nstandard_after = 2\n"
"""Of the demo's daemon: what takes minutes elsewhere should be seen here."""
SIZE = 120
_REGISTRY = "/v1/registry"
_OPEN_S = 40.0
_ANSWER_S = 40.0
_REVIEWS_S = 25.0
_POLL_S = 0.25
_DESCENDANTS = 6


def waits(daemon: Client, *, mean: int, std: int, with_cars: bool = False) -> Found:
    """Waiting times at a ferry, worked out by a program, as an asynchronous request. Tells how the program came about."""
    _ready(daemon)
    wanted = f"Waiting times at a ferry in minutes, normally distributed with a mean of {mean} and a standard deviation of {std}"
    spread = {"family": "normal", "mean": mean, "std": std, "clip": [0, 120], "round": True}
    shape: Json = {"waits": [{"minutes": 0}]}
    constraints: list[Json] = [{"field": "waits[].minutes", "distribution": spread}]
    if with_cars:
        wanted += ", and how many cars waited: uniform between 1 and 40"
        shape["waits"][0]["cars"] = 0
        spread = {"family": "uniform", "low": 1, "high": 40, "round": True}
        constraints.append({"field": "waits[].cars", "distribution": spread})
    body = {"prompt": wanted, "model": "strategy/code_augmented", "mode": "async", "shape": shape, "count": SIZE}
    accepted = daemon.post("/v1/requests", {**body, "constraints": constraints})
    trace = _ended(daemon, accepted["id"])
    if trace["status"] != "done":
        raise Unexpected(f"it ended as {trace['status']}: {trace['outcome'].get('error_code') or trace.get('issues')}")
    items = trace["answer"]["data"]["waits"]
    if len(items) != SIZE or any(set(item) != set(shape["waits"][0]) for item in items):
        raise Unexpected(f"{len(items)} whole items instead of {SIZE}")
    outcome = trace["outcome"]
    return Found(
        said=f"{SIZE} items, {came_about(trace['events'])}",
        request_id=accepted["id"],
        backend=outcome.get("backend") or "",
        simulated=bool(outcome.get("simulated")),
        cost_usd=float(outcome.get("cost_usd") or 0.0),
    )


def came_about(events: Json) -> str:
    """How the last program of a trace came about, in a few words."""
    if any(event["kind"] == "library" and event["data"].get("state") in ("exact", "reused", "rerun") for event in events):
        return "given again from the library"
    programs = [event["data"] for event in events if event["kind"] == "code" and "how" in event["data"]]
    if not programs:
        return "without a program"
    last = programs[-1]
    if last.get("also"):
        return f"its program made of {' and '.join((last['artifact'], *last['also']))}"
    words = {"used": f"its program used {last['artifact']}", "modified": f"its program a fork of {last['artifact']}"}
    return words.get(last["how"], "its program written anew")


def close_up(out: Console, daemon: Client) -> None:
    """The registry's report, and the family that goes furthest, once reviewers are through."""
    _reviewed(daemon)
    report = daemon.get(_REGISTRY, operator=True)
    out.print(
        "\nWhat the network wrote (morphogen registry inspect); all of it by simulated models:\n", style="bold", soft_wrap=True
    )
    for line in registry_report.lines(report):
        out.print(line, soft_wrap=True)
    deepest = report["lineage"]["deepest"]
    if deepest is None:
        return
    above = _lineage(daemon, deepest["version"])["ancestors"]
    first = above[-1] if above else deepest["version"]
    out.print(f"\nWhat became of one of them (morphogen registry lineage {first}):\n", style="bold", soft_wrap=True)
    for line in family(daemon, first):
        out.print(line, soft_wrap=True)


def family(daemon: Client, version: str) -> Iterator[str]:
    """The drawn lineage of a version, and what was changed in each of its first descendants."""
    found = _lineage(daemon, version)
    yield from map(tables.printable, found["drawing"])
    for each in found["descendants"][:_DESCENDANTS]:
        changes = daemon.get(f"{_REGISTRY}/artifacts/{each}", operator=True)["version"]["improvements"]
        yield f"  {each}: {tables.clip('; '.join(changes), 120) if changes else 'no change is named'}"


def _lineage(daemon: Client, version: str) -> Json:
    return daemon.get(f"{_REGISTRY}/artifacts/{version}/lineage", operator=True)


def _ready(daemon: Client) -> None:
    """Until the registry is open, some seconds after the daemon, and what an earlier request left behind is kept."""
    deadline = time.monotonic() + _OPEN_S
    while time.monotonic() < deadline:
        try:
            daemon.get(_REGISTRY, operator=True)
        except CliError as error:
            if error.status != 503:
                raise
            time.sleep(_POLL_S)
        else:
            time.sleep(2 * _POLL_S)
            return
    raise Unexpected(f"the registry was not open after {_OPEN_S:.0f} s")


def _ended(daemon: Client, request_id: str) -> Json:
    deadline = time.monotonic() + _ANSWER_S
    while time.monotonic() < deadline:
        trace = daemon.get(f"/v1/requests/{request_id}", operator=True)
        if trace.get("outcome") and trace["status"] not in ("queued", "running"):
            return trace
        time.sleep(_POLL_S)
    raise Unexpected(f"no answer after {_ANSWER_S:.0f} s")


def _reviewed(daemon: Client) -> None:
    """Until no draft waits for its reviews; a report is shown all the same when they take long."""
    deadline = time.monotonic() + _REVIEWS_S
    while time.monotonic() < deadline:
        totals = daemon.get(_REGISTRY, operator=True)["totals"]
        if not totals["versions_by_state"]["draft"] and totals["artifacts_by_kind"]["standard"]:
            return
        time.sleep(_POLL_S)
