"""A router that a model writes, in a running daemon: from mistakes to a proposal, over a kill in the middle of its experiment."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
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
capabilities = ["words"]
[[backends]]
name = "careful"
kind = "simulated"
model = "validator"
capabilities = ["words", "code", "critique"]
[library]
enabled = false
[routing]
save_every_s = 0.2
exploration_floor = 0.3
[registry]
review = false
[topology]
round_s = 0.2
[routers]
write_every_s = 3600
asks_per_hour = 60
min_requests = 12
share = 0.5
"""
BASE = "/v1/routes/routers"
BEST = {"harbour": "quick", "orchard": "careful"}
"""Whom the client praises, by a word: nothing that the learner sees without embeddings."""


def live(daemon: Running, numbers: range) -> float:
    """The share of answers from whom the client likes."""

    def one(number: int) -> bool:
        word = ("harbour", "orchard")[number % 2]
        status, body, _ = daemon.call("POST", "/v1/requests", {"prompt": f"Describe the {word} of town {number}."})
        assert status == 200, body
        good = bool(body["backend"] == BEST[word])
        assert daemon.call("POST", f"/v1/requests/{body['id']}/feedback", {"score": float(good)})[0] == 200
        return good

    with ThreadPoolExecutor(6) as many:
        return sum(many.map(one, numbers)) / len(numbers)


def until(found: Callable[[], Any], seconds: float = 30.0) -> Any:
    end = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.1)
    return value


def newest(daemon: Running, *stages: str) -> Any:
    """The last attempt, where it stands at one of ``stages``."""
    _, told, _ = daemon.call("GET", BASE, operator=True)
    return next((each for each in told.get("rounds", [])[:1] if each["stage"] in stages), None)


def test_a_router_is_written_tried_over_a_kill_and_adopted(tmp_path: Path) -> None:
    with running_daemon(tmp_path, TWO) as daemon:
        assert live(daemon, range(130)) < 0.75
        made, start = None, 130
        while made is None or made["stage"] != "reviewing":
            # A model errs now and then; what it wrote is refused then, and it is asked again.
            assert start < 400, made
            made = daemon.call("POST", BASE, {}, operator=True)[1].get("round")
            live(daemon, range(start, start + 30))
            start += 30
        assert made["version"] == "router@1.0.0"
        until(lambda: newest(daemon, "trying"))
        live(daemon, range(start, start + 20))
        (before,) = daemon.call("GET", "/v1/routes/experiments", operator=True)[1]["data"]
        time.sleep(0.5)

        daemon.process.send_signal(signal.SIGKILL)
        daemon.process.wait()
        daemon.start()
        daemon.wait_ready()
        (after,) = daemon.call("GET", "/v1/routes/experiments", operator=True)[1]["data"]
        assert (after["experiment_id"], after["stage"], after["plan"]) == (before["experiment_id"], "live", before["plan"])
        assert until(lambda: newest(daemon, "trying"))["version"] == "router@1.0.0"
        until(lambda: any(each["serves"] for each in daemon.call("GET", BASE, operator=True)[1]["routers"]))
        start += 20
        while not newest(daemon, "won", "lost", "inconclusive") and start < 1200:
            live(daemon, range(start, start + 60))
            start += 60
        assert until(lambda: newest(daemon, "won", "lost", "inconclusive"))["stage"] == "won"

        proposals = until(lambda: daemon.call("GET", "/v1/proposals?status=proposed", operator=True)[1]["data"])
        assert [each["kind"] for each in proposals] == ["adopt_router"]
        assert daemon.call("GET", BASE, operator=True)[1]["in_force"] is None
        status, said, _ = daemon.call("POST", f"{BASE}/router@1.0.0/adopt", {}, operator=True)
        assert status == 200, said
        until(lambda: newest(daemon, "adopted"))
        # What its one step is about goes where that is good at; the rest is the learner's still.
        about = 1 if "orchard" in made["data"]["edits"][0] else 0
        assert live(daemon, range(start + about, start + about + 32, 2)) >= 0.7
        name = daemon.call("POST", "/v1/requests", {"prompt": "Describe the orchard of town 7."})[1]["id"]
        (why,) = daemon.call("GET", f"/v1/routes/decisions/{name}", operator=True)[1]["data"]
        assert (why["way"] == "router") == ("router@1.0.0" in why["reason"])

        # Its artifact goes by hand: the learner goes on.
        gone = {"to": "archived", "reason": "by hand"}
        assert daemon.call("POST", "/v1/registry/artifacts/router@1.0.0/state", gone, operator=True)[0] == 200
        until(lambda: daemon.call("GET", BASE, operator=True)[1]["in_force"] is None)
        live(daemon, range(2000, 2010))
