"""A daemon on the simulated pool for one measurement, asked over HTTP. Called by committee.py and topology.py."""

from __future__ import annotations

import json
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.llm.child import free_port
from ops.bench.overhead import process

CALM_S = 1.0
"""New processes of the warm pool take the processor for a moment after they are counted as ready."""
WAIT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Daemon:
    """A daemon that answers, and its operator's key."""

    port: int
    key: str

    def asked(self, path: str, body: Any = None) -> tuple[str, str | None]:
        """(what came, the request's id) of a GET, or of a POST with ``body``."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data=data)
        request.add_header("content-type", "application/json")
        request.add_header("authorization", f"Bearer {self.key}")
        with urllib.request.urlopen(request, timeout=60) as reply:
            return reply.read().decode(), reply.headers.get("x-request-id")

    def call(self, path: str, body: Any = None) -> Any:
        """The JSON that came."""
        return json.loads(self.asked(path, body)[0])

    def gauge(self, name: str) -> float:
        """A metric without labels."""
        lines = (line.rsplit(" ", 1) for line in self.asked("/metrics")[0].splitlines() if not line.startswith("#"))
        return next(float(value) for found, value in lines if found == name)

    def until(self, path: str, found: Callable[[Any], bool], what: str) -> Any:
        """What ``path`` gives, once ``found`` says yes to it. Raises SystemExit when that takes too long."""
        end = time.monotonic() + WAIT_S
        while not found(answer := self.call(path)):
            if time.monotonic() > end:
                raise SystemExit(f"{what} does not happen")
            time.sleep(0.02)
        return answer


@contextmanager
def daemon(kind: str, *, warm: int, seed: int, more: str) -> Iterator[Daemon]:
    """A daemon with nodes of this kind and so many blank ones kept ready; ``more`` is TOML with further tables."""
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        path = folder / "morphogen.toml"
        path.write_text(
            f'[server]\nport = {port}\n[data]\ndir = "{folder / "data"}"\n[cluster]\nkind = "{kind}"\nwarm_nodes = {warm}\n'
            f"[simulated]\nspeed = 0\nseed = {seed}\n[embedding]\nenabled = false\n[registry]\nenabled = false\n"
            f"[sandbox]\nenabled = false\n{more}"
        )
        with process([sys.executable, "-m", "runtime.cli", "serve", "--config", str(path)], port, "/readyz"):
            yield Daemon(port=port, key=(folder / "data" / "operator.key").read_text().strip())
