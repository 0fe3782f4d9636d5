"""The sandbox in a running daemon: its level in the probe and the metrics, runs of nodes counted, its settings reloaded."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.daemon_process import Running, running_daemon
from tests.integration.sandbox_own import processes

pytestmark = pytest.mark.integration

MEDIAN = {"prompt": "Calculate the median of 31, 4, 77, 12 and 58 exactly", "strategy": "code_augmented"}
DRAWN = '[jobs]\nitems_per_part = 20\n[strategies]\ndrawn = { validation = { generate = "code_augmented" } }\n'


def measure(daemon: Running, name: str) -> float:
    """One series of /metrics, labels included in ``name``."""
    _, text, _ = daemon.call("GET", "/metrics", operator=True)
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.M)
    assert found, f"{name} is not in the metrics"
    return float(found[1])


def until(holds: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.1)


def level(daemon: Running) -> dict[str, Any]:
    standing: dict[str, Any] = daemon.call("GET", "/readyz")[1]["sandbox"]
    return standing


def put(daemon: Running, sandbox: str) -> dict[str, Any]:
    """Let ``[sandbox]`` be so; what the reload says."""
    path = daemon.data.parent / "morphogen.toml"
    path.write_text(path.read_text().partition("[sandbox]")[0] + f"[sandbox]\n{sandbox}\n")
    status, said, _ = daemon.call("POST", "/v1/config/reload", {}, operator=True)
    assert status == 200, said
    answer: dict[str, Any] = daemon.call("GET", "/v1/config", operator=True)[1]
    return answer


def family(folder: Path) -> set[int]:
    return processes(f"{folder}/morphogen/")


def test_its_level_its_runs_and_its_settings(tmp_path: Path) -> None:
    env = {"XDG_RUNTIME_DIR": str(tmp_path)}
    with running_daemon(tmp_path, f"{DRAWN}[sandbox]\nallow_reduced = true\n", env=env) as daemon:
        until(lambda: level(daemon)["level"] != "starting", "the level is never known")
        standing = level(daemon)
        assert standing["level"] in ("full", "reduced")
        assert standing["runs_code"] is True
        assert daemon.call("GET", "/v1/status", operator=True)[1]["sandbox"] == standing
        assert measure(daemon, f'morphogen_sandbox_level{{level="{standing["level"]}"}}') == 1
        assert daemon.call("POST", "/v1/requests", MEDIAN)[1]["answer"]["text"] == "31"
        assert measure(daemon, 'morphogen_sandbox_runs_total{outcome="ok"}') >= 3, "a figure takes two programs"
        assert measure(daemon, "morphogen_sandbox_run_duration_seconds_count") >= 3
        _draws_a_sample_whole_inside_of_another_strategy(daemon)
        _dies_and_is_replaced(daemon, tmp_path)
        _follows_its_settings(daemon)
    until(lambda: not family(tmp_path), "the zygote outlives the daemon")


def _dies_and_is_replaced(daemon: Running, folder: Path) -> None:
    before = family(folder)
    assert before
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    until(lambda: measure(daemon, "morphogen_sandbox_zygote_restarts_total") == 1, "a dead zygote is not replaced")
    assert level(daemon)["runs_code"] is True
    assert daemon.call("POST", "/v1/requests", MEDIAN)[1]["answer"]["text"] == "31"


def _follows_its_settings(daemon: Running) -> None:
    assert put(daemon, "enabled = false")["needs_restart"] == []
    assert level(daemon) == {"level": "off", "runs_code": False, "missing": [], "reason": ""}
    assert measure(daemon, 'morphogen_sandbox_level{level="off"}') == 1
    status, reply, _ = daemon.call("POST", "/v1/requests", MEDIAN)
    assert (status, reply["status"]) == (202, "needs_person"), reply
    assert measure(daemon, 'morphogen_sandbox_runs_total{outcome="unavailable"}') >= 1
    assert put(daemon, "allow_reduced = true\nmax_running = 3\nwall_s = 4")["needs_restart"] == []
    until(lambda: level(daemon)["runs_code"], "it is not switched on again")
    assert daemon.call("POST", "/v1/requests", MEDIAN)[1]["answer"]["text"] == "31"


def test_runs_of_actors_reach_the_daemons_metrics(ray_daemon: Running) -> None:
    before = measure(ray_daemon, 'morphogen_sandbox_runs_total{outcome="ok"}')
    assert ray_daemon.call("POST", "/v1/requests", MEDIAN)[1]["answer"]["text"] == "31"
    assert measure(ray_daemon, 'morphogen_sandbox_runs_total{outcome="ok"}') > before


def _draws_a_sample_whole_inside_of_another_strategy(daemon: Running) -> None:
    before = measure(daemon, 'morphogen_sandbox_runs_total{outcome="ok"}')
    asked = {
        "prompt": "Weights of parcels, normally distributed with a mean of 12 and a standard deviation of 3",
        "shape": [{"weight_kg": "number"}],
        "count": 160,
        "strategy": "drawn",
        "mode": "async",
    }
    _, accepted, _ = daemon.call("POST", "/v1/requests", asked)
    shown: dict[str, Any] = {"status": "queued"}

    def ended() -> bool:
        shown.update(daemon.call("GET", f"/v1/requests/{accepted['id']}")[1])
        return shown["status"] not in ("queued", "running")

    until(ended, "the job does not end")
    assert (shown["status"], shown["complete"]) == ("done", True), shown
    assert len(shown["answer"]["data"]) == 160
    _, trace, _ = daemon.call("GET", f"/v1/requests/{accepted['id']}", operator=True)
    stages = [event["data"]["name"] for event in trace["events"] if event["kind"] == "stage"]
    runs = [event for event in trace["events"] if event["kind"] == "run"]
    assert stages.count("classify") == stages.count("constraints") == 1, "one program drew all of it, and no part by itself"
    assert measure(daemon, 'morphogen_sandbox_runs_total{outcome="ok"}') == before + len(runs)
