"""``morphogen routes`` and ``morphogen report``: what the router does and why, and the measures of a window. Operator key.

Called by routes_commands.py. Must not import anything of the daemon.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from runtime.cli import client, tables
from runtime.cli.errors import CliError

Json = Any
BASE = "/v1/routes"


def show(*, as_json: bool) -> None:
    """Print how the router stands."""
    with client.open_client() as daemon:
        found = daemon.get(BASE, operator=True)
    if as_json:
        tables.print_json(found)
        return
    out = tables.console()
    if not found["enabled"]:
        out.print("Routing is not learned (routing.enabled = false).")
    if found["tuned"]:
        out.print(
            f"Instead of the configuration's these settings hold: {', '.join(found['tuned'])}", soft_wrap=True, markup=False
        )
    if not found["decisions"]:
        out.print("Nothing was chosen yet: it takes two backends and a request that leaves it open.")
        return
    out.print(
        f"{found['decisions']} choices, {found['explored_share']:.1%} of them to try others, "
        f"{found['by_weight_share']:.1%} by weight; mean regret {found['regret_mean']:.4f}",
        soft_wrap=True,
    )
    rows = [
        (
            f"{arm['strategy']} x {arm['node']} x {arm['backend']}",
            str(arm["given"]),
            f"{arm['share']:.1%}",
            _number(arm["score"]),
            _interval(arm),
            tables.usd(arm["cost_usd"]),
            tables.seconds(arm["latency_s"]),
            str(found["alarms"].get(f"{arm['strategy']} x {arm['node']} x {arm['backend']}", 0)),
        )
        for arm in found["arms"]
    ]
    columns = ("arm", "given", "share", "score", "quality (90 %)", "cost", "latency", "changes")
    out.print(tables.table(columns, rows, right=("given", "share", "score", "cost", "latency", "changes")))
    for line in simplification(found["simplification"]):
        out.print(tables.printable(line), soft_wrap=True)


def simplification(found: Mapping[str, Json]) -> Iterator[str]:
    """The rules and what could go, as lines."""
    if found["fidelity"] is None:
        yield "Too few judged choices for rules."
        return
    yield f"The policy in {_rules(len(found['rules']))} (the same choice in {found['fidelity']:.0%} of the newest third):"
    yield from (f"  {rule['text']}   ({rule['requests']} requests)" for rule in found["rules"])
    yield f"Decision paths: {found['paths_before']} now, {found['paths_after']} by the rules"
    for finding in found["findings"]:
        yield f"  {'could go' if finding['remove'] else 'stays'}: {finding['kind']} {finding['part']}: {finding['reason']}"
    yield from (f"Proposal: {each}" for each in found["proposals"])


def explain(request_id: str, *, as_json: bool) -> None:
    """Print why a request went where it went."""
    with client.open_client() as daemon:
        if request_id == "last":
            newest = daemon.get("/v1/requests", operator=True, params={"limit": 1})["data"]
            if not newest:
                raise CliError("There is no request yet")
            request_id = newest[0]["id"]
        found = daemon.get(f"{BASE}/decisions/{quote(request_id, safe='')}", operator=True)["data"]
    if as_json:
        tables.print_json(found)
        return
    out = tables.console()
    for one in found:
        out.print(f"{one['decision_id']}: {one['strategy']} x {one['node']} x {one['backend']}", soft_wrap=True)
        for line in reasons(one):
            out.print(tables.printable(line), soft_wrap=True)
        rows = [
            (
                f"{each['strategy']} x {each['node']} x {each['backend']}",
                f"{each['share']:.1%}",
                _interval(each),
                tables.usd(each["cost_usd"]),
                tables.seconds(each["latency_s"]),
                f"{each['utility']:.4f}",
                f"{each['seen']:.1f}",
            )
            for each in one["candidates"]
        ]
        columns = ("candidate", "share", "quality (90 %)", "cost", "latency", "utility", "outcomes")
        out.print(tables.table(columns, rows, right=("share", "cost", "latency", "utility", "outcomes")))


def reasons(one: Mapping[str, Json]) -> Iterator[str]:
    """Why, and what came of it, as lines."""
    yield f"  why       {one['reason']}"
    yield f"  chosen    with probability {one['propensity']:.1%}; a dollar was worth {one['per_usd']:.4g} points of quality"
    if one["experiment_id"]:
        yield f"  in        experiment {one['experiment_id']}, as {one['grp']}"
    said = (
        "nobody has judged it" if one["score"] is None else f"{one['score']:.3f}, by {one['source']} ({one['weight']:.0%} sure)"
    )
    yield f"  outcome   {one['status']}, answered by {one['served_by'] or 'nobody'}; {said}"
    if one["simulated"]:
        yield "  SIMULATED: at least one call went to a simulated backend."


def experiments(*, as_json: bool) -> None:
    """Print the experiments."""
    with client.open_client() as daemon:
        rows = daemon.get(f"{BASE}/experiments", operator=True)["data"]
    if as_json:
        tables.print_json(rows)
        return
    if not rows:
        tables.console().print("No experiment yet. Begin one: morphogen routes experiment start cost_weight=20")
        return
    now = time.time()
    shown = [
        (
            row["experiment_id"],
            row["stage"],
            ", ".join(f"{name} = {value}" for name, value in row["changes"].items()),
            " / ".join(str(row["state"]["sides"][side]["requests"]) for side in ("champion", "challenger", "holdout")),
            _gain(row),
            row["note"] or "",
            tables.ago(row["updated_at"], now=now),
        )
        for row in rows
    ]
    columns = ("experiment", "stage", "challenger", "requests (champion / challenger / holdout)", "gain", "note", "as of")
    tables.console().print(tables.table(columns, shown))


def start(changes: Sequence[str], terms: Mapping[str, float], *, as_json: bool) -> None:
    """Begin an experiment. Raises CliError for what is no NAME=VALUE."""
    given: dict[str, Json] = {}
    for each in changes:
        name, sign, value = each.partition("=")
        if not sign or not name or not value:
            raise CliError(f"{each!r} is not NAME=VALUE", exit_code=2)
        try:
            given[name.strip()] = json.loads(value)
        except ValueError:
            given[name.strip()] = value.strip()
    with client.open_client() as daemon:
        row = daemon.post(f"{BASE}/experiments", {"changes": given, **terms}, operator=True)
    _told(row, as_json=as_json)


def stop(experiment_id: str, why: str, *, as_json: bool) -> None:
    """End an experiment."""
    with client.open_client() as daemon:
        row = daemon.post(f"{BASE}/experiments/{quote(experiment_id, safe='')}/stop", {"why": why}, operator=True)
    _told(row, as_json=as_json)


def _told(row: Mapping[str, Json], *, as_json: bool) -> None:
    if as_json:
        tables.print_json(row)
        return
    tables.console().print(f"{row['experiment_id']}: {row['stage']}. {row['note']}".rstrip(), soft_wrap=True)


def report(window: str, *, as_json: bool) -> None:
    """Print the measures of a window."""
    with client.open_client() as daemon:
        found = daemon.get("/v1/report", operator=True, params={"window": window})
    if as_json:
        tables.print_json(found)
        return
    for line in measures(found, window):
        tables.console().print(tables.printable(line), soft_wrap=True)


def measures(found: Mapping[str, Json], window: str) -> Iterator[str]:
    """The report as lines; what is not known says so."""
    requests, cost, ways = found["requests"], found["cost"], found["ways"]
    yield f"The last {window}: {requests['finished']} requests, {requests['answered']} answered, {requests['errors']} failed"
    if found["simulated"]:
        yield "SIMULATED: at least one answer came from a simulated backend."
    quality, said = found["quality"], found["satisfaction"]
    yield f"  quality       {_number(quality['score'])} over {quality['judged']} judged answers"
    yield f"  satisfaction  {_number(said['score'])} over {said['given']} of {requests['answered']} answers"
    saved = "" if cost["saved_share"] is None else f", {cost['saved_share']:.0%} less than always {cost['premium']}"
    yield f"  cost          {tables.usd(cost['spent_usd'])}{saved}"
    latency = found["latency_s"]
    yield f"  latency       {tables.seconds(latency['p50'])} median, {tables.seconds(latency['p95'])} p95"
    yield "  answered by   " + ", ".join(f"{name} {_percent(part)}" for name, part in ways["shares"].items())
    if (committees := found["committees"])["answers"] or committees["compared"]:
        yield f"  committees    {committees_told(committees)}"
    simple = found["simplicity"]
    rules = f"; the same by {_rules(simple['rules'])} in {simple['fidelity']:.0%}" if simple["rules"] else ""
    yield f"  simplicity    {simple['paths']} decision paths{rules}"
    drift = found["adaptability"]
    took = drift["requests_to_recover"]
    after = "" if took is None else f", left after {took:.0f} requests (median)"
    yield f"  adaptability  {drift['drifts']} favourites turned bad{after}"
    held = found["resilience"]
    met, saved = held["hit_by_failures"], held["answered_all_the_same"]
    yield f"  resilience    {saved} of {met} requests that met a failure were answered"
    yield from (f"Proposal: {each}" for each in simple["proposals"])


def committees_told(found: Mapping[str, Json]) -> str:
    """Whether committees were worth it, in one line."""
    said = f"{found['answers']} answers; {found['compared']} compared with the best other way at the same tokens"
    if found["compared"]:
        said += f": {found['won']} better, {found['tied']} as good, {found['lost']} worse ({found['verdict']})"
    if found["cost_ratio"] is not None:
        said += f", at {found['cost_ratio']:.1f} times the cost"
    if found["latency_ratio"] is not None:
        said += f" and {found['latency_ratio']:.1f} times the time"
    return said + (", SIMULATED" if found["simulated"] else "")


def _rules(count: int) -> str:
    return f"{count} rule{'' if count == 1 else 's'}"


def _gain(row: Mapping[str, Json]) -> str:
    source = row["ruling"] or row["shadow"]
    if not source:
        return "-"
    gain = source.get("lasting") or source["gain"]
    return f"{gain['mean']:+.3f} ({gain['low']:+.3f} to {gain['high']:+.3f}){'' if row['ruling'] else ', on the log'}"


def _interval(each: Mapping[str, Json]) -> str:
    return f"{each['quality']:.2f} ({each['low']:.2f} to {each['high']:.2f})"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"
