"""The daemon learns who answers what best: traffic moves to the better backend, leaves it when it turns bad, and remembers."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.daemon_process import Running, running_daemon

pytestmark = pytest.mark.integration

TWO = """
[[backends]]
name = "quick"
kind = "simulated"
model = "generator"
output_usd_per_mtok = 0.2
[[backends]]
name = "careful"
kind = "simulated"
model = "validator"
output_usd_per_mtok = 11.0
[retry]
enabled = false
[breaker]
enabled = false
[routing]
judge_share = 0.0
save_every_s = 0.2
"""


def ask(daemon: Running, number: int) -> tuple[str, str, bool]:
    """(request, backend, whether the sum is right)."""
    a, b = 317 + 7 * number, 29 + number
    status, body, _ = daemon.call("POST", "/v1/requests", {"prompt": f"What is {a} * {b}? Answer with the number only."})
    assert status == 200, body
    said = re.sub(r"[,\s]", "", str(body["answer"]["text"]))
    return str(body["id"]), str(body["backend"]), str(a * b) in said


def taught(daemon: Running, numbers: range, *, feedback: bool = True) -> list[str]:
    """The backends that answered, each taught by a client that checks the sums."""
    found = []
    for number in numbers:
        name, backend, right = ask(daemon, number)
        if feedback:
            status, body, _ = daemon.call("POST", f"/v1/requests/{name}/feedback", {"score": float(right)})
            assert status == 200, body
        found.append(backend)
    return found


def chosen(daemon: Running) -> list[tuple[str, str]]:
    """(backend, way) of every decision so far, in order."""
    with sqlite3.connect(f"file:{daemon.data}/ledger.sqlite?mode=ro", uri=True) as ledger:
        return list(ledger.execute("SELECT backend, way FROM decisions ORDER BY at"))


def order_faults(daemon: Running, body: dict[str, Any]) -> None:
    _, backends, _ = daemon.call("GET", "/v1/backends")
    base = backends["data"][0]["base_url"].removesuffix("/v1")
    request = urllib.request.Request(f"{base}/sim/faults", data=json.dumps(body).encode(), method="POST")
    with urllib.request.urlopen(request, timeout=10) as reply:
        assert reply.status == 200


def share(backends: list[str], name: str) -> float:
    return sum(one == name for one in backends) / len(backends)


def test_it_learns_forgets_and_remembers(tmp_path: Path) -> None:
    with running_daemon(tmp_path, TWO) as daemon:
        first = taught(daemon, range(60))
        late = taught(daemon, range(60, 100))
        assert share(first[:20], "careful") < share(late, "careful")
        assert share(late, "careful") >= 0.8

        name, backend, _ = ask(daemon, 900)
        status, told, _ = daemon.call("GET", f"/v1/routes/decisions/{name}", operator=True)
        assert status == 200
        (why,) = told["data"]
        assert (why["backend"], why["served_by"]) == (backend, backend)
        assert {each["backend"] for each in why["candidates"]} == {"quick", "careful"}
        assert all(each["low"] <= each["quality"] <= each["high"] for each in why["candidates"])
        assert backend in why["reason"]
        _, shown, _ = daemon.call("GET", "/v1/routes", operator=True)
        scores = {arm["backend"]: arm["score"] for arm in shown["arms"]}
        assert scores["careful"] > scores["quick"]
        assert shown["simplification"]["rules"]
        assert daemon.call("GET", "/v1/routes")[0] in (401, 403)
        _, metrics, _ = daemon.call("GET", "/metrics")
        assert 'morphogen_route_decisions_total{backend="careful",way="best"}' in metrics

        # The favourite turns bad: others stand in, and soon it is not even asked.
        order_faults(daemon, {"model": "validator", "fault": "500", "times": 100_000})
        before = len(chosen(daemon)) if _flushed(daemon) else 0
        taught(daemon, range(100, 140), feedback=False)
        _flushed(daemon)
        after = [backend for backend, _ in chosen(daemon)[before:]]
        assert share(after[25:], "careful") <= 0.3
        order_faults(daemon, {"fault": None})
        _, report, _ = daemon.call("GET", "/v1/report?window=1h", operator=True)
        assert report["requests"]["answered"] == report["requests"]["finished"] == 141
        assert report["satisfaction"]["given"] == 100
        assert report["resilience"]["hit_by_failures"] == report["resilience"]["answered_all_the_same"] > 0
        assert 0 < report["cost"]["saved_usd"] < report["cost"]["premium_usd"]

        wish = {"kind": "tune", "settings": ["cost_weight=3"]}
        assert daemon.call("POST", "/v1/proposals", {**wish, "settings": ["nothing=3"]}, operator=True)[0] == 400
        status, made, _ = daemon.call("POST", "/v1/proposals", wish, operator=True)
        assert (status, made["status"]) == (201, "proposed"), made
        approve = f"/v1/proposals/{made['id']}/approve"
        assert daemon.call("POST", approve, {"hash": made["hash"]}, operator=True)[0] == 202
        assert _until(lambda: _tuned(daemon) == ["cost_weight=3"])

        time.sleep(0.6)
        daemon.process.send_signal(signal.SIGKILL)
        daemon.process.wait()
    with running_daemon(tmp_path, TWO) as again:
        assert _tuned(again) == ["cost_weight=3"]
        taught(again, range(140, 160), feedback=False)
        _flushed(again)
        remembered = chosen(again)[-20:]
        assert all(way != "usual" for _, way in remembered), "it began anew"
        assert share([backend for backend, _ in remembered], "careful") <= 0.4


def test_an_experiment_survives_a_kill_and_judges_are_heard(tmp_path: Path) -> None:
    everyone = {"MORPHOGEN_ROUTING__JUDGE_SHARE": "1.0"}
    toml = TWO.replace("judge_share = 0.0\n", "")
    with running_daemon(tmp_path, toml, env=everyone) as daemon:
        taught(daemon, range(70))
        body = {"changes": {"cost_weight": 30.0}, "share": 0.4, "min_requests": 10_000, "max_requests": 20_000}
        status, begun, _ = daemon.call("POST", "/v1/routes/experiments", body, operator=True)
        assert (status, begun["stage"]) == (201, "live"), begun
        assert begun["shadow"]["n"] >= 30
        assert daemon.call("POST", "/v1/routes/experiments", body, operator=True)[0] == 409
        taught(daemon, range(70, 110))
        assert _until(lambda: sum(_requests_of(daemon).values()) == 40), "what is seen is written within seconds"
        before = _requests_of(daemon)
        assert before["challenger"] > 0 < before["champion"]
        _, shown, _ = daemon.call("GET", "/v1/routes", operator=True)
        assert shown["judges"]["judged"] > 0
        daemon.process.send_signal(signal.SIGKILL)
        daemon.process.wait()
    with running_daemon(tmp_path, toml) as again:
        assert _requests_of(again) == before
        taught(again, range(110, 120))
        assert _until(lambda: sum(_requests_of(again).values()) == 50)
        name = begun["experiment_id"]
        status, ended, _ = again.call("POST", f"/v1/routes/experiments/{name}/stop", {"why": "seen enough"}, operator=True)
        assert (status, ended["stage"]) == (200, "over")
        assert again.call("POST", f"/v1/routes/experiments/{name}/stop", {}, operator=True)[0] == 409


def _requests_of(daemon: Running) -> dict[str, int]:
    """Requests of each side, as the ledger has them."""
    with sqlite3.connect(f"file:{daemon.data}/ledger.sqlite?mode=ro", uri=True) as ledger:
        ((state,),) = ledger.execute("SELECT state FROM experiments")
    return {name: side["requests"] for name, side in json.loads(state)["sides"].items()}


def _until(done: Callable[[], bool]) -> bool:
    end = time.monotonic() + 10
    while not done():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def _flushed(daemon: Running) -> bool:
    status, _, _ = daemon.call("GET", "/v1/requests?limit=1", operator=True)
    return status == 200


def _tuned(daemon: Running) -> Any:
    return daemon.call("GET", "/v1/routes", operator=True)[1]["tuned"]
