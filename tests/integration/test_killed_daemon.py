"""kill -9 of the daemon on Ray, and of Ray under the daemon: no process is left over, and all is there again afterwards."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime.ray_cluster.reaper import marked as ray_processes
from tests.integration.daemon_process import Running, running_daemon

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

MARK = "MARK_OF_THE_KILLED_DAEMON"
WISHES: tuple[dict[str, Any], ...] = (
    {"kind": "rewire", "node": "generalist", "prompt": "You answer in few words."},
    {"kind": "pool", "name": "nodes", "size": 1},
    {"kind": "tune", "settings": ["exploration_floor=0.02"]},
)
"""What is approved when the daemon is killed."""


def marked(mark: str) -> Iterator[tuple[int, str]]:
    """(pid, command line) of every living process whose environment carries ``mark``."""
    wanted = f"{MARK}={mark}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                if command:
                    yield int(folder.name), command[:4000]
        except OSError:
            continue


def decided(daemon: Running, name: str, *, seconds: float) -> str:
    """Propose and approve a node, and give the daemon so long to make it live. The proposal's id."""
    found = approved(daemon, {"kind": "spawn", "name": name})
    if seconds:
        carried_out(daemon, name, seconds=seconds)
    return found


def approved(daemon: Running, wish: dict[str, Any]) -> str:
    """Propose and approve a change, twice. The proposal's id."""
    status, made, _ = daemon.call("POST", "/v1/proposals", wish, operator=True)
    assert status == 201, made
    path = f"/v1/proposals/{made['id']}/approve"
    assert daemon.call("POST", path, {"hash": made["hash"]}, operator=True)[0] == 202
    assert daemon.call("POST", path, {"hash": made["hash"]}, operator=True)[0] == 409
    return str(made["id"])


def once(daemon: Running, proposal: str) -> None:
    """A change is carried out, and was begun once."""
    end = time.monotonic() + 20.0
    while (found := daemon.call("GET", f"/v1/proposals/{proposal}", operator=True)[1])["status"] != "verifying":
        assert time.monotonic() < end, found
        time.sleep(0.05)
    assert [row["became"] for row in found["decisions"]].count("applying") == 1


def carried_out(daemon: Running, name: str, *, seconds: float) -> None:
    end = time.monotonic() + seconds
    nodes: list[tuple[str, str]] = []
    while (name, "live") not in nodes:
        assert time.monotonic() < end, nodes
        time.sleep(0.05)
        shape = daemon.call("GET", "/v1/topology", operator=True)[1]
        nodes = [(node["name"], node["state"]) for node in shape["nodes"]]


def the_head_dies(daemon: Running, mark: str) -> None:
    """Ray's head is killed under the running daemon, which has accepted work: it begins anew in the same process."""
    before = {pid: command for pid, command in marked(mark) if pid != daemon.process.pid}
    accepted = [daemon.call("POST", "/v1/requests", {"prompt": f"Tell of river {n}", "mode": "async"}) for n in range(4)]
    assert [status for status, _, _ in accepted] == [202] * 4
    (head,) = [pid for pid, command in before.items() if "/gcs_server" in command]
    os.kill(head, signal.SIGKILL)
    end = time.monotonic() + 60.0
    while daemon.log.read_text().count("Morphogen is ready") < 3:
        assert time.monotonic() < end, "it did not begin anew"
        time.sleep(0.1)
    carried_out(daemon, "kept", seconds=10)
    assert daemon.chat("node/kept", "Hello", max_tokens=20)[0] == 200
    assert daemon.process.poll() is None
    for _, said, _ in accepted:
        while (state := daemon.call("GET", f"/v1/requests/{said['id']}")[1])["status"] != "done":
            assert state["status"] in ("queued", "running"), state
            assert time.monotonic() < end, state
            time.sleep(0.1)
    assert not before.keys() & dict(marked(mark)).keys()


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc to find processes")
def test_nothing_outlives_a_killed_daemon_and_the_next_one_starts(tmp_path: Path) -> None:
    mark = f"run-{os.getpid()}-{time.monotonic_ns()}"
    try:
        with running_daemon(tmp_path, cluster="ray", env={MARK: mark}) as daemon:
            assert daemon.chat("auto", "Hello", max_tokens=20)[0] == 200
            commands = [command for _, command in marked(mark)]
            assert any("raylet" in command for command in commands)
            assert any("gcs_server" in command for command in commands)
            named = (re.search(r"(?:^|[ =])(/[^ =:,]*/session_[\w-]+)", command) for command in commands)
            (folder,) = {os.path.realpath(found[1]) for found in named if found}
            assert ray_processes("", folder), "none of Ray's agents and workers was found by its files"
            kept = decided(daemon, "kept", seconds=10)
            decided(daemon, "begun", seconds=0)
            under_way = [approved(daemon, wish) for wish in WISHES]
            daemon.process.send_signal(signal.SIGKILL)
            daemon.process.wait(10)
            end = time.monotonic() + 15.0
            while (left := dict(marked(mark)) or ray_processes("", folder)) and time.monotonic() < end:
                time.sleep(0.2)
            assert not left
        with running_daemon(tmp_path, cluster="ray", env={MARK: mark}) as again:
            assert again.chat("auto", "Hello", max_tokens=20)[0] == 200
            for name in ("kept", "begun"):
                carried_out(again, name, seconds=20)
                assert again.chat(f"node/{name}", "Hello", max_tokens=20)[0] == 200
            for name in (kept, *under_way):
                once(again, name)
            the_head_dies(again, mark)
    finally:
        for pid in dict(marked(mark)):
            os.kill(pid, signal.SIGKILL)
