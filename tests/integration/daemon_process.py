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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agents.llm.child import free_port

READY_S = 80.0
LEAN = "[registry]\nenabled = false\n[sandbox]\nenabled = false\n"
"""For daemons that keep no artifacts and run no code: they start in half the processor time."""


@dataclass(kw_only=True)
class Running:
    """A daemon that answers: where, with which operator key, in which process, and where it writes."""

    port: int
    config: Path
    data: Path
    log: Path
    env: dict[str, str]
    process: subprocess.Popen[bytes] = field(init=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """As a child with none of this process's settings. Does not wait."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("MORPHOGEN_")}
        argv = [sys.executable, "-m", "runtime.cli", "serve", "--config", str(self.config)]
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(argv, stdout=out, stderr=out, env={**clean, **self.env}, start_new_session=True)

    def answers(self, path: str) -> bool:
        try:
            with urllib.request.urlopen(self.url + path, timeout=2):
                return True
        except OSError:
            return False

    def wait_ready(self) -> None:
        """Until it is ready. Fails at once when the process has ended."""
        end = time.monotonic() + READY_S
        while time.monotonic() < end and self.process.poll() is None:
            if self.answers("/readyz"):
                return
            time.sleep(0.05)
        raise AssertionError(f"the daemon did not get ready:\n{self.log.read_text()[-4000:]}")

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


def config_of(folder: Path, toml: str, *, port: int, cluster: str = "local", speed: float = 0.0, lean: bool = False) -> Path:
    """Writes a configuration with the simulated pool and without embeddings; ``toml`` is appended."""
    path = folder / "morphogen.toml"
    path.write_text(
        f'[server]\nport = {port}\n[data]\ndir = "{folder / "data"}"\n[embedding]\nenabled = false\n'
        f'[cluster]\nkind = "{cluster}"\n[simulated]\nspeed = {speed}\n{LEAN if lean else ""}{toml}'
    )
    return path


NO_JUDGE = {"MORPHOGEN_ROUTING__JUDGE_SHARE": "0"}
"""A judge beside the requests would be one call more here and there."""


@contextmanager
def running_daemon(
    folder: Path, toml: str = "", *, cluster: str = "local", env: dict[str, str] | None = None, lean: bool = False
) -> Iterator[Running]:
    """See ``config_of``. Ends with SIGTERM, or SIGKILL after 20 s."""
    port = free_port()
    config = config_of(folder, toml, port=port, cluster=cluster, lean=lean)
    daemon = Running(port=port, config=config, data=folder / "data", log=folder / "daemon.log", env={**NO_JUDGE, **(env or {})})
    daemon.start()
    try:
        daemon.wait_ready()
        yield daemon
    finally:
        if daemon.process.poll() is None:
            daemon.process.send_signal(signal.SIGTERM)
            try:
                daemon.process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(daemon.process.pid, signal.SIGKILL)
                daemon.process.wait()
