"""Work that outlives its connection: ``ask --async``, ``watch``, ``result``, ``cancel``; and native requests asked at once.

Called by main.py and ask.py. A stream that breaks is picked up at the next event, also after a restart of the daemon.
"""

from __future__ import annotations

import json
import secrets
import sys
import time
from typing import Any
from urllib.parse import quote

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from runtime.cli import client, tables
from runtime.cli.errors import CliError

Json = Any
REQUESTS = "/v1/requests"
MAX_SILENT_TRIES = 120
"""How often in a row a watcher tries to reach a daemon that does not answer, a second apart."""
_PAUSE_S = 1.0


def submit(daemon: client.Client, body: Json, *, as_json: bool) -> None:
    """Hand in a request to be answered later; prints its id. Sent again under one key, so that it is accepted once."""
    headers = {"Idempotency-Key": f"cli-{secrets.token_hex(12)}"}
    accepted = daemon.post(REQUESTS, {**body, "mode": "async"}, headers=headers)
    if as_json:
        tables.print_json(accepted)
        return
    sys.stdout.write(f"{accepted['id']}\n")
    tables.console(stderr=True).print(f"accepted · see: morphogen watch {accepted['id']}", style="dim", soft_wrap=True)


def watch(request_id: str, *, as_json: bool) -> None:
    """Show how far a request is, to its end. Exit 1 when it failed or was cancelled."""
    with client.open_client() as daemon:
        path = _path(daemon, request_id)
        out = tables.console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=out, disable=as_json or not out.is_terminal) as bar:
            task = bar.add_task("waiting", total=None)
            outcome = _follow(daemon, path, lambda event: _show(event, bar, task, as_json=as_json))
    if not as_json:
        done = outcome.get("progress") or {}
        parts = [
            *(["SIMULATED"] if outcome.get("simulated") else []),
            str(outcome.get("status")),
            f"{done.get('done', 0)} of {done.get('total', 1)}",
            tables.usd(outcome.get("cost_usd")),
        ]
        out.print(" · ".join(parts), soft_wrap=True)
        for issue in outcome.get("issues") or ():
            out.print(f"known to be wrong: {tables.clip(str(issue), 200)}", soft_wrap=True)
        _print_answer(outcome)
    if outcome.get("status") not in ("done", "partial"):
        raise CliError(str((outcome.get("error") or {}).get("message") or f"it is {outcome.get('status')}"))


def _print_answer(outcome: Json) -> None:
    answer = outcome.get("answer")
    if isinstance(answer, dict) and "data" in answer:
        tables.print_json(answer["data"])
    elif isinstance(answer, dict) and answer.get("text"):
        sys.stdout.write(tables.printable(answer["text"]) + "\n")
    elif outcome.get("result"):
        tables.console(stderr=True).print(f"its items: morphogen result {outcome['id']}", style="dim", soft_wrap=True)


def _follow(daemon: client.Client, path: str, show: Any) -> Json:
    """The outcome; ``show`` gets each event before it once, over any number of broken connections."""
    seq, silent = 0, 0
    while True:
        try:
            for event in daemon.numbered_events(f"{path}/stream", from_seq=seq):
                seq, silent = event["seq"] + 1, 0
                show(event)
                if event["kind"] == "outcome":
                    return event["data"]
        except CliError as error:
            if error.exit_code != client.NO_DAEMON or silent >= MAX_SILENT_TRIES:
                raise
        silent += 1
        time.sleep(_PAUSE_S)


def _show(event: Json, bar: Progress, task: TaskID, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(event, ensure_ascii=False) + "\n")
        sys.stdout.flush()
        return
    data = event["data"]
    if event["kind"] == "progress" and "total" in data:
        bar.update(task, completed=data["done"], total=data["total"])
    bar.update(task, description=tables.clip(str(data.get("name") or event["kind"]), 24))


def result(request_id: str) -> None:
    """Write the items to stdout, one line of JSON each; says on stderr where some are missing, and where they are simulated."""
    notes: list[str] = []
    with client.open_client() as daemon, daemon.lines(f"{_path(daemon, request_id)}/result") as (headers, chunks):
        if headers.get("x-morphogen-simulated") == "true":
            notes.append(tables.MADE_UP)
        status = headers.get("x-morphogen-status", "done")
        if status != "done":
            notes.append(f"INCOMPLETE: it is {status}, {headers.get('x-morphogen-missing')} items are missing")
        for chunk in chunks:
            sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
    for note in notes:
        tables.console(stderr=True).print(note, soft_wrap=True)


def cancel(request_id: str, *, as_json: bool) -> None:
    """End a request now; what is done of it stays."""
    with client.open_client() as daemon:
        view = daemon.send("DELETE", _path(daemon, request_id), operator=True).json()
    if as_json:
        tables.print_json(view)
        return
    done = view.get("progress") or {}
    sys.stdout.write(f"{view['status']}: {done.get('done', 0)} of {done.get('total', 1)} are done\n")


def _path(daemon: client.Client, request_id: str) -> str:
    if request_id == "last":
        rows = daemon.get(REQUESTS, operator=True, params={"limit": 1})["data"]
        if not rows:
            raise CliError("There is no request yet", hint='Ask something: morphogen ask --async "Hello"')
        request_id = rows[0]["id"]
    return f"{REQUESTS}/{quote(request_id.removeprefix('chatcmpl-'), safe='')}"
