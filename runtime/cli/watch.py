"""``morphogen watch``: the network as it lives, in the terminal; without one a line an event.

One thread reads the events, this one asks for the rest every now and then, listens to the keys and draws. The connection may
break and come back: events are taken up where they were.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import select
import sys
import termios
import threading
import time
import tty
from collections.abc import Iterator
from typing import Any, Final

from rich.live import Live

from runtime.cli import client, tables
from runtime.cli.errors import CliError
from runtime.cli.watch_view import Act, Watched, line_of, screen

Json = Any
REFRESH_S: Final = 2.0
DRAW_S: Final = 0.25
SNOOZE_S: Final = 3600.0
_PAUSE_S: Final = 1.0
_ESCAPES: Final = {b"\x1b[A": "up", b"\x1b[B": "down", b"\x1bOA": "up", b"\x1bOB": "down", b"\x1b": "escape"}
_ALONE: Final = {"\r": "enter", "\n": "enter", "\x7f": "backspace", "\x08": "backspace", "\x03": "q", "\x04": "q"}


def run(*, as_json: bool, for_s: float | None) -> None:
    """Watch until q, Ctrl-C, or for so long."""
    until = time.monotonic() + for_s if for_s is not None else None
    if as_json or not sys.stdout.isatty():
        _lines(as_json=as_json, until=until)
    else:
        _live(until)


# ── without a terminal ──────────────────────────────────────────────────────────────────────────────────────────────────


def _lines(*, as_json: bool, until: float | None) -> None:
    """Each event as a line, until the reader or the time ends it."""
    heard: queue.Queue[Json | CliError] = queue.Queue(maxsize=10_000)
    _reader(heard)
    while until is None or time.monotonic() < until:
        try:
            event = heard.get(timeout=0.2)
        except queue.Empty:
            continue
        if isinstance(event, CliError):
            raise event
        line = json.dumps(event, ensure_ascii=False) if as_json else line_of(event)
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def _reader(heard: queue.Queue[Json | CliError]) -> None:
    """Read the events beside everything else. The first connection must succeed; later ones are tried again."""

    def read() -> None:
        seq: int | None = None
        began = False
        while True:
            try:
                with client.open_client() as daemon:
                    for event in daemon.numbered_events("/v1/events", from_seq=seq):
                        seq, began = event["seq"] + 1, True
                        with contextlib.suppress(queue.Full):
                            heard.put_nowait(event)
            except CliError as error:
                if not began and (error.status is not None or seq is None):
                    heard.put(error)
                    return
            time.sleep(_PAUSE_S)

    threading.Thread(target=read, name="events", daemon=True).start()


# ── on a terminal ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _live(until: float | None) -> None:
    heard: queue.Queue[Json | CliError] = queue.Queue(maxsize=10_000)
    with client.open_client() as daemon:
        state = Watched(url=daemon.url)
        _refresh(daemon, state)
        _reader(heard)
        refreshed = time.monotonic()
        console = tables.console()
        with _keys() as keys, Live(console=console, screen=True, auto_refresh=False) as live:
            while until is None or time.monotonic() < until:
                _take(heard, state)
                if time.monotonic() - refreshed >= REFRESH_S:
                    _refreshed(daemon, state)
                    refreshed = time.monotonic()
                live.update(screen(state, now=time.time(), height=console.size.height), refresh=True)
                for key in keys.read(DRAW_S):
                    act = state.press(key)
                    if act is not None and act.what == "quit":
                        return
                    if act is not None:
                        state.said = _decided(daemon, act)
                        _refreshed(daemon, state)


def _take(heard: queue.Queue[Json | CliError], state: Watched) -> None:
    with contextlib.suppress(queue.Empty):
        while True:
            event = heard.get_nowait()
            if isinstance(event, CliError):
                state.trouble = event.message
            else:
                state.hear(event)


def _refreshed(daemon: client.Client, state: Watched) -> None:
    """The daemon may be away for a moment: what was seen last stays."""
    try:
        _refresh(daemon, state)
        state.trouble = ""
    except CliError as error:
        state.trouble = error.message


def _refresh(daemon: client.Client, state: Watched) -> None:
    state.nodes = daemon.get("/v1/nodes", operator=True)["data"]
    rows = daemon.get("/v1/proposals", operator=True, params={"limit": 50})["data"]
    over = ("kept", "rolled_back", "rejected", "expired", "superseded")
    state.proposals = [row for row in rows if row["status"] not in over]
    found = daemon.get("/v1/topology/analysis", operator=True)
    state.efficiency, state.simulated = found["efficiency"]["score"], bool(found["simulated"])
    state.patterns = found["measures"]["patterns"]
    state.spent_usd = next((row["usd"]["spent"] for row in daemon.get("/v1/budget", operator=True)["data"]), None)


def _decided(daemon: client.Client, act: Act) -> str:
    """Tell the daemon; what came of it in a line."""
    name = act.proposal["id"]
    bodies: dict[str, Json] = {
        "approve": {"hash": act.proposal["hash"], "comment": "approved in morphogen watch"},
        "reject": {"reason": act.reason},
        "snooze": {"for_s": SNOOZE_S},
    }
    try:
        found = daemon.post(f"/v1/proposals/{name}/{act.what}", bodies[act.what], operator=True)
    except CliError as error:
        return f"{name}: {error.message}"
    return f"{name} is {found['status']}"


class _Keys:
    """Keys of the terminal, one at a time, without waiting for Enter. ``read`` waits for at most ``timeout_s``."""

    def __init__(self, fd: int | None) -> None:
        self._fd = fd

    def read(self, timeout_s: float) -> Iterator[str]:
        if self._fd is None:
            time.sleep(timeout_s)
            return
        if not select.select([self._fd], [], [], timeout_s)[0]:
            return
        data = os.read(self._fd, 1024)
        if data in _ESCAPES:
            yield _ESCAPES[data]
            return
        if not data.startswith(b"\x1b"):
            for letter in data.decode(errors="ignore"):
                yield _ALONE.get(letter, letter)


@contextlib.contextmanager
def _keys() -> Iterator[_Keys]:
    """The terminal's keys while the block runs; without a terminal to type at there are none."""
    if not sys.stdin.isatty():
        yield _Keys(None)
        return
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    try:
        tty.setcbreak(fd)
        yield _Keys(fd)
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
