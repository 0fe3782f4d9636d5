"""``morphogen config status`` and ``config reload``: the configuration of a running daemon. Both need the operator key.

Called by main.py. Must not import anything of the daemon: it sees what any HTTP client sees.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from runtime.cli import client, tables
from runtime.cli.errors import CliError

Json = Any


def status(*, as_json: bool) -> None:
    """Print how the configuration stands; exit 1 when what is in the file is not used."""
    with client.open_client() as daemon:
        found = daemon.get("/v1/config", operator=True)
    if as_json:
        tables.print_json({name: value for name, value in found.items() if name != "settings"})
    else:
        tables.console().print("\n".join(status_lines(found, now=time.time())), soft_wrap=True)
    if not found["valid"]:
        raise CliError("", exit_code=1)


def status_lines(found: Json, *, now: float) -> Iterator[str]:
    """GET /v1/config for people."""
    path = found["path"]
    yield f"file:     {path or 'none; defaults and environment hold (a morphogen.toml that appears is read)'}"
    times = f", {found['reloads']} reloads" if found["reloads"] else ""
    yield f"read:     {tables.ago(found['loaded_at'], now=now)}{times}"
    error = found["last_error"]
    if error is None:
        yield "state:    valid" if path else "state:    nothing to be wrong"
    else:
        place = f"{error['file'] or path}:{error['line']}: " if error["line"] else ""
        said = place + (f"{error['setting']}: " if error["setting"] else "") + error["message"]
        yield f"state:    INVALID since {tables.ago(error['at'], now=now)}; what was read before goes on"
        yield from (f"          {tables.printable(line)}" for line in (said, *error["more"]))
    if found["needs_restart"]:
        yield f"restart:  needed for {', '.join(found['needs_restart'])}"


def reload(*, as_json: bool) -> None:
    """Have the file read again now, and say what changed."""
    with client.open_client() as daemon:
        result = daemon.post("/v1/config/reload", {}, operator=True)
    if as_json:
        tables.print_json(result)
        return
    tables.console().print(f"{result['result']}: {result['summary']}", soft_wrap=True)
