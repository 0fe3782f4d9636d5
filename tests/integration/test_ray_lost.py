"""Ray goes away under a running daemon: a cluster that it joined, whose head is killed and comes back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from agents.llm.child import free_port
from tests.integration.daemon_process import Running, running_daemon
from tests.integration.test_killed_daemon import MARK, carried_out, decided, marked

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(180),
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc to find processes"),
]

OPEN = {"RAY_AUTH_MODE": "disabled"}


@contextmanager
def a_head(port: int, mark: str) -> Iterator[None]:
    """A cluster of one machine, beside every daemon. Ends with everything that it started."""
    ray = [str(Path(sys.executable).parent / "ray"), "start", "--head", "--block", "--disable-usage-stats", f"--port={port}"]
    bounds = ["--include-dashboard=false", "--num-cpus=1", "--object-store-memory=80000000"]
    env = {**os.environ, **OPEN, MARK: mark}
    out = subprocess.DEVNULL
    head = subprocess.Popen([*ray, *bounds], env=env, stdout=out, stderr=out, start_new_session=True)
    try:
        yield
    finally:
        while left := dict(marked(mark)):
            for pid in left:
                os.kill(pid, signal.SIGKILL)
            head.wait()
            time.sleep(0.1)


def until(condition: Callable[[], Any], *, seconds: float) -> Any:
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.1)
    return found


def joined(port: int) -> bool:
    """Whether a driver could join: the head knows a living machine."""
    ray = str(Path(sys.executable).parent / "ray")
    asked = [ray, "health-check", "--address", f"127.0.0.1:{port}"]
    return subprocess.run(asked, env={**os.environ, **OPEN}, capture_output=True, check=False).returncode == 0


def not_ready(daemon: Running) -> str:
    """What /readyz says of the nodes; empty while all is well."""
    status, said, _ = daemon.call("GET", "/readyz")
    return "" if status == 200 else str(said["parts"]["nodes"])


def test_a_joined_cluster_whose_head_dies_and_comes_back(tmp_path: Path) -> None:
    port = free_port()
    toml = f'[ray]\naddress = "127.0.0.1:{port}"\nlost_after_s = 1.0\n'
    with a_head(port, f"first-{port}"):
        until(lambda: joined(port), seconds=40)
        running = running_daemon(tmp_path, toml, cluster="ray", lean=True, env=OPEN)
        daemon = running.__enter__()
        decided(daemon, "kept", seconds=20)
        backend = daemon.call("GET", "/v1/backends")[1]["data"][0]["name"]
    try:
        until(lambda: "Ray is gone" in not_ready(daemon), seconds=15)
        status, said, headers = daemon.chat("node/kept", "Hello", max_tokens=10)
        assert (status, "retry-after" in headers) == (503, True), said
        assert daemon.chat(backend, "Who needs a node?", max_tokens=10)[0] == 200
        with a_head(port, f"second-{port}"):
            # Whoever comes while it begins anew waits in the socket's queue and is answered.
            until(lambda: daemon.chat("node/kept", "Hello again", max_tokens=10)[0] == 200, seconds=60)
            carried_out(daemon, "kept", seconds=10)
            assert daemon.process.poll() is None
            running.__exit__(None, None, None)
    finally:
        if daemon.process.poll() is None:
            daemon.process.kill()
