"""``morphogen registry``: what the network wrote, as people read it.

Called by registry_commands.py. Must not import anything of the daemon: it sees what any HTTP client with the operator key sees.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from runtime.cli import client, tables
from runtime.cli.errors import CliError

Json = Any
BASE = "/v1/registry"
_MAX_FILE_BYTES = 2**20
_CELL = 60


def _one(ref: str) -> str:
    return f"{BASE}/artifacts/{quote(ref, safe='@')}"


def _get(path: str, params: Mapping[str, str | int] | None = None) -> Json:
    with client.open_client() as daemon:
        return daemon.get(path, operator=True, params=params)


def _post(path: str, body: Json) -> Json:
    with client.open_client() as daemon:
        return daemon.post(path, body, operator=True)


def search(words: list[str], filters: Mapping[str, Json], *, limit: int, as_json: bool) -> None:
    """Print the hits of a search."""
    text = _file(Path(words[0][1:])) if len(words) == 1 and words[0].startswith("@") else " ".join(words)
    params: dict[str, str | int] = {name: str(value) for name, value in filters.items() if value is not None}
    params |= {"query": text, "limit": limit}
    found = _get(f"{BASE}/artifacts", params)
    if as_json:
        tables.print_json(found)
        return
    rows = [
        (
            hit["version_id"],
            hit["kind"],
            hit["author"],
            _share(hit["usage"], "success_rate"),
            _count(hit["usage"], "active_nodes"),
            str(hit["stars"]),
            tables.clip(hit["problem"], _CELL),
        )
        for hit in found["data"]
    ]
    if not rows:
        tables.console().print("Nothing found.")
        return
    columns = ("version", "kind", "author", "good", "nodes", "stars", "problem")
    tables.console().print(tables.table(columns, rows, right=("good", "nodes", "stars")))
    if found["mode"] == "words":
        tables.console(stderr=True).print("Found by words alone: no embedding model is loaded.", style="dim")


def list_all(kind: str | None, *, limit: int, as_json: bool) -> None:
    """Print artifacts by name."""
    found = _get(f"{BASE}/artifacts", {"limit": limit, **({"kind": kind} if kind else {})})
    if as_json:
        tables.print_json(found)
        return
    rows = [
        (row["name"], row["kind"], row["state"], row["latest"].partition("@")[2], row["champion"] or "", row["author"])
        for row in found["data"]
    ]
    if not rows:
        tables.console().print("The registry is empty. Nodes fill it; so does: morphogen registry publish --help")
        return
    tables.console().print(tables.table(("name", "kind", "state", "latest", "champion", "author"), rows))


def show(ref: str, *, as_json: bool) -> None:
    """Print one version with its content."""
    found = _get(_one(ref))
    if as_json:
        tables.print_json(found)
        return
    out, version = tables.console(), found["version"]
    standing, usage = version["standing"], version["usage"]
    facts = {
        "kind": version["kind"],
        "state": standing["state"] + (f": {standing['reason']}" if standing["reason"] else ""),
        "problem": version["problem"],
        "author": version["author"],
        "contributors": ", ".join(version["contributors"]),
        "parents": ", ".join(version["parents"]),
        "improvements": "; ".join(version["improvements"]),
        "tags": ", ".join(standing["tags"]),
        "successor": standing["successor"] or "",
        "used": f"{usage['executions']} times by {usage['active_nodes']} nodes, {usage['success_rate']:.0%} good, "
        f"{tables.seconds(usage['latency_s'])}"
        if usage
        else "never",
        "stars": str(len(version["stars"])),
        "hash": version["content_hash"],
    }
    out.print(version["version_id"], style="bold")
    out.print(tables.table(("", ""), [row for row in facts.items() if row[1]]))
    for review in version["reviews"]:
        out.print(tables.clip(f"{review['role']} by {review['reviewer']}: {review['opinion']} ({review['score']:.2f})", 120))
    out.print(tables.printable(version["content"]), soft_wrap=True)
    others = [each["version_id"] for each in found["artifact"]["versions"] if each["version_id"] != version["version_id"]]
    if others:
        out.print(f"Other versions: {', '.join(others[:20])}", style="dim")


def publish(name: str, file: Path, fields: Mapping[str, Json], cases: Path | None, *, as_json: bool) -> None:
    """Publish a file. Its relation follows from its parents."""
    parents = fields["parents"]
    one = "modify" if parents and parents[0].partition("@")[0] == name else "fork"
    relation = "new" if not parents else one if len(parents) == 1 else "synthesize"
    body = {"name": name, "content": _file(file), "relation": relation, "cases": _cases(cases), **fields}
    _made(_post(f"{BASE}/artifacts", body), as_json=as_json)


def fork(
    ref: str, name: str, file: Path | None, improvements: list[str], cases: Path | None, *, draft: bool, as_json: bool
) -> None:
    """Fork a version."""
    body = {"name": name, "improvements": improvements, "draft": draft, "cases": _cases(cases)}
    if file is not None:
        body["content"] = _file(file)
    _made(_post(f"{_one(ref)}/fork", body), as_json=as_json)


def _made(version: Json, *, as_json: bool) -> None:
    if as_json:
        tables.print_json(version)
        return
    tables.console().print(f"{version['version_id']} is {version['standing']['state']}.")


def log(ref: str, *, as_json: bool) -> None:
    """Print an artifact's log."""
    rows = _get(f"{_one(ref)}/log")["data"]
    if as_json:
        tables.print_json(rows)
        return
    now = time.time()
    shown = []
    for row in rows:
        if "state" in row:
            what = row["state"] + (f" ({', '.join(row['tags'])})" if row["tags"] else "")
            shown.append((tables.ago(row["at"], now=now), row["version"], what, row["by"], row["reason"]))
        else:
            aliases = [f"{name} {row[name]}" for name in ("champion", "challenger") if row[name]]
            shown.append((tables.ago(row["at"], now=now), row["latest"], "; ".join(["latest", *aliases]), "", ""))
    tables.console().print(tables.table(("when", "version", "what", "by", "why"), shown))


def diff(old: str, new: str, *, as_json: bool) -> None:
    """Print a unified diff, coloured on a terminal."""
    found = _get(f"{BASE}/diff", {"from": old, "to": new})
    if as_json:
        tables.print_json(found)
        return
    out = tables.console()
    if not found["diff"]:
        out.print("They are the same.")
    for line in found["diff"].splitlines():
        style = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1])
        out.print(tables.printable(line), style=style, soft_wrap=True)


def lineage(ref: str, *, as_json: bool) -> None:
    """Draw the family of a version."""
    found = _get(f"{_one(ref)}/lineage")
    if as_json:
        tables.print_json(found)
        return
    out = tables.console()
    for line in found["drawing"]:
        out.print(tables.printable(line), soft_wrap=True)
    out.print(f"Contributors: {', '.join(found['contributors'])}", style="dim", soft_wrap=True)


def review(ref: str, body: Json, *, as_json: bool) -> None:
    """Hand in a review."""
    found = _post(f"{_one(ref)}/reviews", body)
    if as_json:
        tables.print_json(found)
        return
    out = tables.console()
    out.print(f"{found['version']}: {found['verdict']}; {found['reason']}. It is {found['standing']['state']}.", soft_wrap=True)
    for change in found["required_changes"]:
        out.print(f"  to change: {tables.printable(change)}", soft_wrap=True)


def star(ref: str, *, as_json: bool) -> None:
    """Give a star."""
    found = _post(f"{_one(ref)}/stars", {})
    if as_json:
        tables.print_json(found)
        return
    tables.console().print(f"{found['version_id']} has your star: {found['successes']} of {found['runs']} runs went well.")


def move(ref: str, body: Json, *, as_json: bool) -> None:
    """Change states."""
    rows = _post(f"{_one(ref)}/state", body)["data"]
    if as_json:
        tables.print_json(rows)
        return
    for row in rows:
        tables.console().print(f"{row['version_id']} is {row['state']}.")


def restore(ref: str | None, snapshot: str | None, *, reason: str, as_json: bool) -> None:
    """Take versions back into use, or go back to a snapshot."""
    if (ref is None) == (snapshot is None):
        raise CliError("Name what to restore: REF, or --snapshot NAME", exit_code=2)
    if ref is not None:
        move(ref, {"to": "restored", "reason": reason}, as_json=as_json)
        return
    found = _post(f"{BASE}/snapshots/{quote(str(snapshot), safe='')}/restore", {})
    if as_json:
        tables.print_json(found)
        return
    tables.console().print(f"Back at {found['snapshot']}: {found['changed']} records changed.")


def snapshot(name: str | None, *, as_json: bool) -> None:
    """Take a snapshot, or list them."""
    found = _get(f"{BASE}/snapshots")["data"] if name is None else _post(f"{BASE}/snapshots", {"name": name})
    if as_json:
        tables.print_json(found)
        return
    if name is not None:
        tables.console().print(f"This moment is called {found['name']}.")
        return
    now = time.time()
    rows = [(row["name"], tables.ago(row["at"], now=now), row["by"]) for row in found]
    tables.console().print(tables.table(("name", "taken", "by"), rows) if rows else "No snapshots.")


def alias(name: str, which: str, number: str | None, *, as_json: bool) -> None:
    """Move an alias."""
    found = _post(f"{_one(name)}/alias", {"alias": which, "version": number})
    if as_json:
        tables.print_json(found)
        return
    tables.console().print(f"{which} of {name}: {found[which] or 'none'}")


def at(moment: str, *, as_json: bool) -> None:
    """Print how things stood."""
    found = _get(f"{BASE}/at", {"time": moment})
    if as_json:
        tables.print_json(found)
        return
    champions = {row["champion"]: "champion" for row in found["artifacts"] if row["champion"]}
    rows = [(row["version_id"], row["state"], champions.get(row["version_id"], "")) for row in found["standings"]]
    tables.console().print(tables.table(("version", "state", ""), rows) if rows else "There was nothing yet.")


def inspect(*, as_json: bool) -> None:
    """Print the repository report."""
    from runtime.cli import registry_report

    found = _get(BASE)
    if as_json:
        tables.print_json(found)
        return
    out = tables.console()
    for line in registry_report.lines(found):
        out.print(line, soft_wrap=True)


def _share(usage: Json, name: str) -> str:
    return f"{usage[name]:.0%}" if usage and usage[name] is not None else "-"


def _count(usage: Json, name: str) -> str:
    return str(usage[name]) if usage else "-"


def _file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_FILE_BYTES + 1)
        text = raw.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise CliError(f"{path} cannot be read: {error}", exit_code=2) from None
    if len(raw) > _MAX_FILE_BYTES:
        raise CliError(f"{path} is larger than {_MAX_FILE_BYTES} bytes", exit_code=2)
    return text


def _cases(path: Path | None) -> Json:
    if path is None:
        return []
    try:
        return json.loads(_file(path))
    except ValueError as error:
        raise CliError(f"{path} is not JSON: {error}", exit_code=2) from None
