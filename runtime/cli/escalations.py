"""``morphogen escalations``: questions that only a person can answer. Needs the operator key.

Called by escalation_commands.py. Must not import anything of the daemon.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from runtime.cli import client, tables
from runtime.cli.errors import CliError

Json = Any
BASE = "/v1/escalations"
_MAX_FILE_BYTES = 64 * 2**20
_CELL = 60
_MAX_SHOWN_CHARS = 2000


def _one(name: str) -> str:
    return f"{BASE}/{quote(name, safe='')}"


def listed(state: str, *, limit: int, as_json: bool) -> None:
    """Print the questions, newest first."""
    params: dict[str, str | int] = {"limit": limit, **({} if state == "any" else {"state": state})}
    with client.open_client() as daemon:
        rows = daemon.get(BASE, operator=True, params=params)["data"]
    if as_json:
        tables.print_json(rows)
        return
    if not rows:
        tables.console().print("No question waits for a person." if state == "open" else "None.")
        return
    now = time.time()
    shown = [
        (
            row["id"],
            tables.ago(row["at"], now=now),
            row["state"],
            tables.clip(row["asked"], _CELL),
            tables.clip(row["reason"], _CELL),
        )
        for row in rows
    ]
    tables.console().print(tables.table(("escalation", "when", "state", "asked", "why"), shown))


def show(name: str, *, as_json: bool) -> None:
    """Print one question whole."""
    with client.open_client() as daemon:
        found = daemon.get(_one(name), operator=True)
    if as_json:
        tables.print_json(found)
        return
    out = tables.console()
    out.print(f"{found['id']}: {found['state']}", soft_wrap=True)
    if found.get("simulated"):
        out.print(tables.MADE_UP, soft_wrap=True)
    for label, text in _told(found):
        out.print(f"  {label:<11} {tables.printable(text)}", soft_wrap=True)
    if found["state"] == "open":
        out.print(f"Answer it: morphogen escalations answer {found['id']} @FILE   (JSON, or words)", style="dim", soft_wrap=True)


def _told(found: Json) -> Iterator[tuple[str, str]]:
    """What a person needs for an answer, with the name of each part."""
    yield from ((label, str(found[label])) for label in ("asked", "reason", "comment") if found.get(label))
    parts = {label: found["request"].get(label) or None for label in ("schema", "constraints", "count")}
    for label, value in {**parts, "so far": found.get("partial")}.items():
        if value is not None:
            yield label, json.dumps(value, ensure_ascii=False)[:_MAX_SHOWN_CHARS]


def answer(name: str, value: str, *, comment: str, force: bool) -> None:
    """Give the answer: JSON where the request asks for data, else words; ``@FILE`` or ``-`` reads it."""
    with client.open_client() as daemon:
        asked = daemon.get(_one(name), operator=True)["request"]
        text = _read(value)
        body: dict[str, Json] = {"comment": comment, "force": force}
        body |= {"data": _parsed(text)} if asked.get("schema") is not None else {"text": text}
        daemon.post(f"{_one(name)}/answer", body, operator=True)
    tables.console().print(f"Answered; the request has it: morphogen trace {asked['request_id']}", soft_wrap=True)


def close(name: str, *, comment: str) -> None:
    """End the question without an answer."""
    with client.open_client() as daemon:
        daemon.post(f"{_one(name)}/close", {"comment": comment}, operator=True)
    tables.console().print("Closed; the request stays without an answer.")


def _read(value: str) -> str:
    if value == "-":
        return sys.stdin.read(_MAX_FILE_BYTES)
    if not value.startswith("@"):
        return value
    path = Path(value[1:])
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise CliError(f"{path} is larger than {_MAX_FILE_BYTES} bytes", exit_code=2)
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CliError(f"Cannot read {path}: {error}", exit_code=2) from None


def _parsed(text: str) -> Json:
    try:
        return json.loads(text)
    except ValueError as error:
        raise CliError(f"The request asks for data, and this is not JSON: {error}", exit_code=2) from None
