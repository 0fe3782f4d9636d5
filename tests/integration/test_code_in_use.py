"""Code in use, end to end on the simulated pool: written, found again, reviewed, published; there after kill -9."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.daemon_process import Running, running_daemon

pytestmark = pytest.mark.integration
FAST = "[registry]\nfold_every_s = 0.3\nreview_every_s = 0.3\nstandard_after = 1\nguidance_holdout = 0.0\n"
ALONE = "[registry]\nfold_every_s = 0.3\nreview_every_s = 0.3\nreviews_per_hour = 0\n"
BASE = "/v1/registry"


def read(daemon: Running, path: str) -> Any:
    status, body, _ = daemon.call("GET", path, operator=True)
    assert status == 200, body
    return body


def wait(daemon: Running, condition: Callable[[], Any], *, within_s: float = 60.0) -> Any:
    until = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < until, daemon.log.read_text()[-3000:]
        time.sleep(0.2)
    return found


def ask(daemon: Running, mean: int, std: int) -> list[dict[str, Any]]:
    """One list worked out by a program; what the trace says of programs."""
    spread = {"family": "normal", "mean": mean, "std": std, "clip": [0, 300], "round": True}
    body = {
        "prompt": f"Depths of wells in metres, normally distributed around {mean} with a standard deviation of {std}",
        "model": "strategy/code_augmented",
        "shape": {"wells": [{"depth": 0}]},
        "count": 80,
        "constraints": [{"field": "wells[].depth", "distribution": spread}],
    }
    status, answer, _ = daemon.call("POST", "/v1/requests", body)
    assert (status, answer["status"]) == (200, "done"), answer
    assert len(answer["answer"]["data"]["wells"]) == 80
    trace = wait(daemon, lambda: (found := read(daemon, f"/v1/requests/{answer['id']}"))["outcome"] and found)
    return [event["data"] for event in trace["events"] if event["kind"] == "code"]


def test_code_is_written_reviewed_and_used_again(tmp_path: Path) -> None:
    with running_daemon(tmp_path, FAST) as daemon:
        wait(daemon, lambda: read(daemon, "/v1/status")["registry"] == "ok", within_s=90)
        assert next(each["how"] for each in ask(daemon, 60, 15) if "how" in each) == "new"
        rows = wait(daemon, lambda: read(daemon, f"{BASE}/artifacts?kind=generator")["data"])
        wait(daemon, lambda: read(daemon, BASE)["totals"]["versions_by_state"]["draft"] == 0)
        version = read(daemon, f"{BASE}/artifacts/{rows[0]['name']}")["version"]
        assert version["standing"]["state"] == "published"
        assert "simulated" in version["standing"]["tags"]
        by = {review["role"]: review["reviewer"] for review in version["reviews"]}
        assert by["security"] == "reviewer-security (simulated)"
        assert set(by) == {"quality", "security", "performance"}
        wait(daemon, lambda: read(daemon, BASE)["standards"]["in_force"])
        again = ask(daemon, 110, 22)
        searched = next(each for each in again if each.get("state") == "searched")
        assert version["version_id"] in searched["found"]
        assert (searched["standard"], searched["guided"]) == ("coding-standard@1.0.0", True)
        last = [each for each in again if "how" in each][-1]
        assert last["how"] in ("used", "modified")
        assert last["artifact"] in searched["found"]
        executions = wait(daemon, lambda: (found := read(daemon, BASE))["totals"]["executions"] >= 2 and found)["totals"]
        internal = [row for row in read(daemon, "/v1/requests?limit=100")["data"] if row["source"] == "registry"]
        assert internal, "what reviewers ask is in the ledger as any request"
        daemon.process.kill()
        daemon.process.wait()
    with running_daemon(tmp_path, FAST) as daemon:
        wait(daemon, lambda: read(daemon, "/v1/status")["registry"] == "ok", within_s=90)
        report = read(daemon, BASE)
        assert report["totals"]["executions"] >= executions["executions"]
        kept = read(daemon, f"{BASE}/artifacts/{version['version_id']}")["version"]
        assert (kept["content"], kept["standing"]["state"]) == (version["content"], "published")
        assert read(daemon, f"{BASE}/artifacts/{version['version_id']}/lineage")["contributors"] == ["generalist"]


def test_without_questions_checks_decide_and_no_model_is_asked(tmp_path: Path) -> None:
    with running_daemon(tmp_path, ALONE) as daemon:
        wait(daemon, lambda: read(daemon, "/v1/status")["registry"] == "ok", within_s=90)
        ask(daemon, 60, 15)
        rows = wait(daemon, lambda: read(daemon, f"{BASE}/artifacts?kind=generator")["data"])
        shown = f"{BASE}/artifacts/{rows[0]['name']}"
        wait(daemon, lambda: read(daemon, shown)["version"]["standing"]["state"] == "published")
        assert {each["reviewer"] for each in read(daemon, shown)["version"]["reviews"]} == {"checks"}
        assert all(row["source"] != "registry" for row in read(daemon, "/v1/requests?limit=100")["data"])
