"""A real daemon as a child process, for integration tests: its own port, data folder and configuration."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.llm.child import free_port

READY_S = 60.0


@dataclass(slots=True)
class Running:
    """A daemon that answers: where, with which operator key, in which process, and where it writes."""

    url: str
    port: int
    data: Path
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def operator_key(self) -> str:
        return (self.data / "operator.key").read_text().strip()

    def call(self, method: str, path: str, body: Any = None, *, operator: bool = False, **headers: str) -> tuple[int, Any, Any]:
        """(status, parsed JSON or text, headers)."""
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, method=method)
        request.add_header("content-type", "application/json")
        if operator:
            request.add_header("authorization", f"Bearer {self.operator_key}")
        for name, value in headers.items():
            request.add_header(name.replace("_", "-"), value)
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                return reply.status, _parse(reply.read()), reply.headers
        except urllib.error.HTTPError as error:
            return error.code, _parse(error.read()), error.headers

    def chat(self, model: str, text: str, **fields: Any) -> tuple[int, Any, Any]:
        body = {"model": model, "messages": [{"role": "user", "content": text}], **fields}
        return self.call("POST", "/v1/chat/completions", body)


def _parse(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return raw.decode(errors="replace")


@contextmanager
def running_daemon(
    folder: Path, toml: str = "", *, cluster: str = "local", env: dict[str, str] | None = None
) -> Iterator[Running]:
    """``toml`` is appended to a configuration with the simulated pool at speed 0. Ends with SIGTERM, or SIGKILL after 20 s."""
    port = free_port()
    path, data, log = folder / "morphogen.toml", folder / "data", folder / "daemon.log"
    path.write_text(
        f'[server]\nport = {port}\n[data]\ndir = "{data}"\n[embedding]\nenabled = false\n'
        f'[cluster]\nkind = "{cluster}"\n[simulated]\nspeed = 0\n{toml}'
    )
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MORPHOGEN_")}
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "runtime.cli", "serve", "--config", str(path)],
            stdout=out,
            stderr=out,
            env={**clean, **(env or {})},
            start_new_session=True,
        )
    daemon = Running(url=f"http://127.0.0.1:{port}", port=port, data=data, process=process, log=log)
    try:
        _wait_ready(daemon)
        yield daemon
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _wait_ready(daemon: Running) -> None:
    end = time.monotonic() + READY_S
    while time.monotonic() < end:
        if daemon.process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(daemon.url + "/readyz", timeout=2):
                return
        except OSError:
            time.sleep(0.05)
    raise AssertionError(f"the daemon did not get ready:\n{daemon.log.read_text()[-4000:]}")
