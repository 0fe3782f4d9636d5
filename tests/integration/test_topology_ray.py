"""Every kind of change on the real Ray, one after another in one daemon: kept, and no actor is left that nobody needs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from runtime.topology.payloads import Kind
from tests.integration.daemon_process import Running

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc to find Ray's workers"),
]

ROUTER = 'def run(request):\n    """Everything goes where it went."""\n    return {}\n'
ACTORS = ("ray::NodeHost", "ray::Mailbox")


def kept(daemon: Running, path: str, body: dict[str, Any]) -> str:
    """Proposed, approved where that is needed, carried out, and kept when its probation is over. Its kind."""
    end = time.monotonic() + 20.0
    while (said := daemon.call("POST", path, body, operator=True))[0] == 409:  # another one is on probation still
        assert time.monotonic() < end, said
        time.sleep(0.05)
    status, made, _ = said
    assert status in (201, 202), made
    if made["status"] == "proposed":
        hears = f"/v1/proposals/{made['id']}/approve"
        assert daemon.call("POST", hears, {"hash": made["hash"]}, operator=True)[0] == 202
    while (found := daemon.call("GET", f"/v1/proposals/{made['id']}", operator=True)[1])["status"] != "kept":
        assert found["status"] in ("approved", "applying", "verifying"), found
        assert time.monotonic() < end, found
        time.sleep(0.05)
    return str(found["kind"])


def actors(daemon: Running) -> dict[int, str]:
    """The daemon's actors, by process id: Ray calls their processes by their classes."""
    parents: dict[int, int] = {}
    names: dict[int, str] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            names[int(folder.name)] = (folder / "cmdline").read_bytes().split(b"\0")[0].decode(errors="replace").strip()
        except OSError:
            continue

    def ours(pid: int) -> bool:
        while pid in parents and pid != daemon.process.pid:
            pid = parents[pid]
        return pid == daemon.process.pid

    return {pid: name for pid, name in names.items() if name.startswith(ACTORS) and ours(pid)}


def test_every_kind_of_change_on_ray_leaves_no_actor_behind(ray_daemon: Running) -> None:
    daemon = ray_daemon
    revision = daemon.call("GET", "/v1/topology", operator=True)[1]["revision"]
    while daemon.call("GET", "/v1/status", operator=True)[1]["registry"] != "ok":
        time.sleep(0.1)
    code = {"name": "router", "kind": "router", "problem": "who answers", "content": ROUTER}
    status, made, _ = daemon.call("POST", "/v1/registry/artifacts", {**code, "cases": [{"inputs": {}}]}, operator=True)
    assert status == 201, made
    changes: list[dict[str, Any]] = [
        {"kind": "spawn", "name": "maps", "speciality": "maps"},
        {"kind": "split", "node": "maps", "children": [{"name": "atlases"}, {"name": "globes", "prompt": "You know globes."}]},
        {"kind": "rewire", "node": "maps", "prompt": "You know maps."},
        {"kind": "park", "node": "atlases"},
        {"kind": "wake", "node": "atlases"},
        {"kind": "merge", "into": "globes", "gone": ["atlases"]},
        {"kind": "recover", "node": "globes"},
        {"kind": "prune", "node": "maps"},
        {"kind": "tune", "settings": ["exploration_floor=0.02"]},
        {"kind": "adopt_router", "version": f"router@{made['number']}"},
        {"kind": "pool", "name": "nodes", "size": 1},
    ]
    done = {kept(daemon, "/v1/proposals", each) for each in changes}
    assert daemon.call("GET", "/v1/topology", operator=True)[1]["pools"] == {"nodes": 1}
    assert daemon.chat("node/globes", "Hello", max_tokens=20)[0] == 200  # parked by the recovery, and woken by who names it
    done.add(kept(daemon, "/v1/topology/rollback", {"revision": revision}))
    assert done == set(map(str, Kind))

    shape = daemon.call("GET", "/v1/topology", operator=True)[1]
    then = daemon.call("GET", f"/v1/topology?revision={revision}", operator=True)[1]
    names = [node["name"] for node in shape["nodes"]]
    assert {"maps", "atlases", "globes"}.isdisjoint(names)
    assert (shape["router"], shape["tuned"], shape["pools"]) == (then["router"], then["tuned"], then["pools"])
    live = {node["pid"] for node in daemon.call("GET", "/v1/nodes", operator=True)[1]["data"] if node["pid"]}
    warm, mailbox = 2, 1
    end = time.monotonic() + 10.0
    while not (live <= (there := actors(daemon)).keys() and len(there) == len(live) + warm + mailbox):
        assert time.monotonic() < end, (live, there)
        time.sleep(0.2)
