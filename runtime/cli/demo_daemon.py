"""A daemon of the demo's own: started as a user would, on a free port with a data folder of its own, and gone without a trace.

Called by demo.py. What it starts carries a mark in its environment, so that at the end exactly these processes, Ray's included,
are waited for and, where one is left, ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx

from runtime.cli import client
from runtime.cli.errors import CliError
from runtime.first_backends import simulated_backends

MARK = "MORPHOGEN_DEMO_RUN"
START_TIMEOUT_S = 75.0
STOP_TIMEOUT_S = 20.0
LEFTOVER_TIMEOUT_S = 5.0
_POLL_S = 0.1
_LOG_LINES = 15


def pool_lines() -> list[str]:
    """The simulated pool as parts of a configuration."""
    return [
        f'[[backends]]\nname = "{each.name}"\nkind = "simulated"\nmodel = "{each.model}"\n'
        f"aliases = {json.dumps(list(each.aliases))}\n"
        f"input_usd_per_mtok = {each.input_usd_per_mtok}\noutput_usd_per_mtok = {each.output_usd_per_mtok}"
        for each in simulated_backends()
    ]


class DemoDaemon:
    """One daemon as a child process. ``start`` and ``stop`` are each called once; ``stop`` after a failed start as well."""

    def __init__(self, folder: Path, *, config: str) -> None:
        self._folder = folder
        self._config = config
        self._mark = secrets.token_hex(8)
        self._process: subprocess.Popen[bytes] | None = None
        self.log_path = folder / "daemon.log"
        self.url = ""

    def start(self, progress: Callable[[str], None]) -> None:
        """Start it and wait until it is ready. Raises CliError with the end of its log when it does not get there."""
        self._folder.mkdir(parents=True, exist_ok=True)
        config = self._folder / "morphogen.toml"
        config.write_text(self._config, encoding="utf-8")
        # Settings of the person's own daemon must not reach this one.
        env = {name: value for name, value in os.environ.items() if not name.startswith("MORPHOGEN_")}
        env |= {MARK: self._mark, "PYTHONUNBUFFERED": "1"}
        argv = [sys.executable, "-m", "runtime.cli", "serve", "--config", str(config), "--port", "0", "--data-dir"]
        with self.log_path.open("wb") as log:
            # A session of its own: Ctrl-C reaches the demo alone, which then stops the daemon in order.
            self._process = subprocess.Popen(
                [*argv, str(self._folder / "data")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=env,
                start_new_session=True,
            )
        began = time.monotonic()
        while not self._ready():
            elapsed_s = time.monotonic() - began
            if self._process.poll() is not None:
                raise CliError(f"The demo's daemon ended while it started:\n{self._log_tail()}")
            if elapsed_s > START_TIMEOUT_S:
                raise CliError(f"The demo's daemon was not ready in {START_TIMEOUT_S:.0f} s:\n{self._log_tail()}")
            progress(f"Starting a daemon, its node and its backends … {elapsed_s:.0f} s")
            time.sleep(_POLL_S)

    def connect(self) -> client.Client:
        """A client with this daemon's operator key."""
        return client.Client(self.url, key=client.read_key(self._folder / "data"), always=True)

    def stop(self) -> list[str]:
        """End it in order; at once when it does not listen. Gives the command lines of what had to be ended by force."""
        process = self._process
        if process is None:
            return []
        # One that is still starting has nothing to drain. Ctrl-C while we wait moves on to the next, harder step.
        patience_s = STOP_TIMEOUT_S if self.url else 3.0
        for number, wait_s in ((signal.SIGTERM, patience_s), (signal.SIGTERM, 2.0), (signal.SIGKILL, 5.0)):
            if process.poll() is not None:
                break
            process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
                process.wait(wait_s)
        return self._end_leftovers()

    def _end_leftovers(self) -> list[str]:
        """Children end with their daemon, a moment later; what has not by then is ended here."""
        deadline = time.monotonic() + LEFTOVER_TIMEOUT_S
        with contextlib.suppress(KeyboardInterrupt):
            while any(marked(self._mark)) and time.monotonic() < deadline:
                time.sleep(_POLL_S)
        left = dict(marked(self._mark))
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        return list(left.values())

    def _ready(self) -> bool:
        if not self.url:
            found = [line for line in self._log().splitlines() if "listening on " in line]
            self.url = found[0].partition("listening on ")[2].strip() if found else ""
        if not self.url:
            return False
        try:
            return httpx.get(f"{self.url}/readyz", timeout=2.0, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    def _log(self) -> str:
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def _log_tail(self) -> str:
        return "\n".join(f"  {line}" for line in self._log().splitlines()[-_LOG_LINES:])


def marked(mark: str) -> Iterator[tuple[int, str]]:
    """(pid, command line) of every living process that carries ``mark``. Empty where there is no /proc."""
    wanted = f"{MARK}={mark}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if wanted not in (folder / "environ").read_bytes().split(b"\0"):
                continue
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:  # gone, or somebody else's
            continue
        if command:  # a zombie has none
            yield int(folder.name), command
