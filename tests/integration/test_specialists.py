"""A specialist in a running daemon: proposed for a recurring kind, approved, given a routine, and asked on the request path."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.daemon_process import Running, running_daemon

pytestmark = pytest.mark.integration

KINDS = ("will I need an umbrella in {} today", "a recipe for a quick dinner with {} and tomatoes")
CITIES = ("Lisbon", "Oslo", "Madrid", "Rome", "Paris", "Vienna", "Prague", "Cairo", "Delhi", "Lima", "Quito", "Bonn")
FOODS = ("rice", "beans", "pasta", "lentils", "tofu", "salmon", "eggs", "squash", "leeks", "barley", "peppers", "noodles")
TOML = "[patterns]\nmin_requests = 5\n[library]\nenabled = false\n[registry]\nreview = false\n"


def until(daemon: Running, path: str, done: Callable[[Any], Any]) -> Any:
    end = time.monotonic() + 90
    while time.monotonic() < end:
        _, found, _ = daemon.call("GET", path, operator=True)
        if value := done(found):
            return value
        time.sleep(0.2)
    raise AssertionError(f"{path} never came to that: {found}")


def pattern_of(found: Any) -> str | None:
    return next((each["id"] for each in found["data"] if each["state"] == "found" and "umbrella" in each["name"]), None)


def test_a_specialist_takes_the_requests_of_its_kind_and_no_others(tmp_path: Path) -> None:
    with running_daemon(tmp_path, TOML, lean=False, env={"MORPHOGEN_EMBEDDING__ENABLED": "true"}) as daemon:
        until(daemon, "/v1/patterns", lambda found: found["status"] == "ok")
        for at, (city, food) in enumerate((*zip(CITIES, FOODS, strict=True), *zip(CITIES, FOODS, strict=True))):
            for kind, thing in zip(KINDS, (city, food), strict=True):
                assert daemon.chat("auto", kind.format(thing) + "?" * (at // len(CITIES)))[0] == 200
            time.sleep(0.6 if at % 4 == 3 else 0.0)  # the window is looked at between
        pattern = until(daemon, "/v1/patterns", pattern_of)
        wish = {"kind": "spawn", "name": "weatherman", "prompt": "You know the weather.", "patterns": [pattern]}
        _, proposal, _ = daemon.call("POST", "/v1/proposals", wish, operator=True)
        path = f"/v1/proposals/{proposal['id']}/approve"
        assert daemon.call("POST", path, {"hash": proposal["hash"]}, operator=True)[0] == 202

        def answered_by(prompt: str) -> tuple[str, str]:
            _, made, _ = daemon.call("POST", "/v1/requests", {"prompt": prompt})
            _, trace, _ = daemon.call("GET", f"/v1/requests/{made['id']}", operator=True)
            return trace["node"], str([event["data"]["reason"] for event in trace["events"] if event["kind"] == "route"])

        end = time.monotonic() + 60
        while answered_by(KINDS[0].format("Ghent"))[0] != "weatherman":
            assert time.monotonic() < end, "the specialist never took a request"
            time.sleep(0.5)
        node, reason = answered_by(KINDS[0].format("Porto"))
        assert (node, "the specialist weatherman takes it" in reason) == ("weatherman", True)
        assert answered_by(KINDS[1].format("turnips"))[0] == "generalist"
