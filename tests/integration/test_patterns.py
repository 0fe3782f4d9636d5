"""Patterns of a running daemon, with the built-in embeddings: labelled, listed, named, and the same after ``kill -9``."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.integration.daemon_process import Running, running_daemon

pytestmark = pytest.mark.integration

ASKED = {
    "weather": "what will the weather be like in {} this afternoon, rain or sun",
    "transfer": "transfer some money from my savings account to the account of {}",
    "recipe": "a recipe for a quick dinner with {} and tomatoes",
}
THINGS = ("Lisbon", "Anna", "rice", "Oslo", "Peter", "beans", "Madrid", "Maria", "pasta", "Rome")


def patterns(daemon: Running) -> Any:
    return daemon.call("GET", "/v1/patterns", operator=True)[1]


def ask(daemon: Running, rounds: int) -> None:
    for at in range(rounds):
        for text in ASKED.values():
            assert daemon.chat("auto", text.format(THINGS[at % len(THINGS)]) + "?" * (at // len(THINGS)))[0] == 200


def until(daemon: Running, done: Any, within_s: float = 60.0) -> Any:
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        found = patterns(daemon)
        if done(found):
            return found
        time.sleep(0.2)
    raise AssertionError(f"it never came to that: {patterns(daemon)}")


def test_kinds_of_requests_are_found_and_known_after_a_kill(tmp_path: Path) -> None:
    env = {"MORPHOGEN_EMBEDDING__ENABLED": "true"}
    with running_daemon(tmp_path, "[patterns]\nmin_requests = 5\nsave_every_s = 0.2\n", lean=True, env=env) as daemon:
        until(daemon, lambda found: found["status"] == "ok")
        for _ in range(5):
            ask(daemon, 4)
            time.sleep(0.6)
        found = until(daemon, lambda now: now["states"].get("found", 0) >= 3)
        time.sleep(1.0)
        before = {each["id"]: each["name"] for each in patterns(daemon)["data"] if each["state"] == "found"}
        os.killpg(daemon.process.pid, signal.SIGKILL)
        daemon.process.wait()
        daemon.start()
        daemon.wait_ready()
        after = until(daemon, lambda now: now["status"] == "ok")
    assert found["counts"]["requests_seen"] >= 40
    assert {each["id"]: each["name"] for each in after["data"]}.items() >= before.items()
    assert any("money" in name or "account" in name or "savings" in name for name in before.values()), before
