"""A daemon that is killed and started again over the same data, and what its jobs are asked: for tests of durable work."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from agents.llm.child import free_port
from tests.integration.daemon_process import Running, config_of

USERS = {"users": [{"id": 0, "name": "string", "city": "string"}]}
OVER = ("done", "partial", "failed", "cancelled")


class Phoenix(Running):
    """A daemon that can be killed and started again over the same data."""

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def end(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)

    def state(self, request_id: str) -> Any:
        return self.call("GET", f"/v1/requests/{request_id}")[1]

    def submit(self, **body: Any) -> str:
        status, reply, headers = self.call("POST", "/v1/requests", {"mode": "async", **body})
        assert status == 202, reply
        assert headers["location"] == f"/v1/requests/{reply['id']}"
        return str(reply["id"])

    def ledger(self, sql: str, *fields: Any) -> list[Any]:
        connection = sqlite3.connect(self.data / "ledger.sqlite", timeout=10)
        try:
            return connection.execute(sql, fields).fetchall()
        finally:
            connection.close()


def until(
    condition: Callable[[], object], timeout_s: float = 30.0, why: Callable[[], str] = lambda: "it never came true"
) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, why()
        time.sleep(0.03)


@contextlib.contextmanager
def phoenix(folder: Path, toml: str = "", *, speed: float = 0.0) -> Iterator[Phoenix]:
    """A lean daemon over the simulated pool (see ``config_of``), killed at the end."""
    port = free_port()
    config = config_of(folder, toml, port=port, speed=speed, lean=True)
    daemon = Phoenix(port=port, config=config, data=folder / "data", log=folder / "daemon.log", env={})
    daemon.start()
    try:
        daemon.wait_ready()
        yield daemon
    finally:
        daemon.kill()


@contextlib.contextmanager
def pretender(speed: float) -> Iterator[str]:
    """A simulated pool of its own, so that killing the daemon does not end it; gives a daemon's configuration for it."""
    port = free_port()
    argv = [sys.executable, "-m", "agents.llm.simulated", "--port", str(port), "--speed", str(speed)]
    process = subprocess.Popen(argv)
    try:
        until(lambda: listens(port), 30)
        yield (
            f'[[backends]]\nname = "pool"\nbase_url = "http://127.0.0.1:{port}/v1"\nmodel = "generator"\n'
            'schema_mode = "json_schema"\ninput_usd_per_mtok = 1.0\n'
        )
    finally:
        process.terminate()
        process.wait(10)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def items_of(daemon: Running, request_id: str) -> list[Any]:
    rows: list[Any] = []
    place: int | None = 0
    while place is not None:
        status, page, _ = daemon.call("GET", f"/v1/requests/{request_id}/items?from={place}&limit=77")
        assert status == 200
        rows += page["data"]
        place = page["next"]
    return rows


def read_stream(daemon: Running, request_id: str, from_seq: int, *, most: int = 10_000) -> list[tuple[int, str, Any]]:
    """(seq, kind, data) until the stream ends or ``most`` have come."""
    events: list[tuple[int, str, Any]] = []
    fields: dict[str, str] = {}
    with urllib.request.urlopen(f"{daemon.url}/v1/requests/{request_id}/stream?from_seq={from_seq}", timeout=30) as reply:
        for raw in reply:
            line = raw.decode().rstrip("\n")
            if line and not line.startswith(":"):
                name, _, value = line.partition(": ")
                fields[name] = value
            elif "id" in fields:
                events.append((int(fields["id"]), fields["event"], json.loads(fields["data"])))
                fields = {}
                if len(events) >= most:
                    break
    return events
