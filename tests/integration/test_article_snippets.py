"""Programs for Node that use the daemon as clients of a mock API do: stages, parallel aspects, gates, batches, variants.

Each file in snippets/ prints one line of JSON; what it must hold is said here.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.integration.daemon_process import Running

SNIPPETS = Path(__file__).parent / "snippets"
ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?")

pytestmark = [pytest.mark.integration, pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js 20 or newer")]


def run(daemon: Running, name: str) -> Any:
    """What the snippet prints. ``localhost``, as people write it: the daemon must be found under that name too."""
    url = daemon.url.replace("127.0.0.1", "localhost")
    done = subprocess.run(
        ["node", str(SNIPPETS / f"{name}.mjs")],
        env={"PATH": os.environ["PATH"], "MORPHOGEN_URL": url},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def test_stages_build_on_each_other(daemon: Running) -> None:
    seen = run(daemon, "stages")
    assert len(seen["draft"]["ships"]) == 4
    for ship in seen["draft"]["ships"]:
        assert set(ship) == {"vesselName", "tonnage", "homePort"}
        assert isinstance(ship["vesselName"], str)
        assert isinstance(ship["tonnage"], int)
    for ship in seen["crewed"]["ships"]:
        assert set(ship["crew"]) == {"captain", "size", "languages"}
        assert all(isinstance(language, str) for language in ship["crew"]["languages"])
    assert seen["insured"]["ships"]
    for ship in seen["insured"]["ships"]:
        assert ISO.fullmatch(ship["registry"]["since"])
        assert ship["registry"]["state"] in ("afloat", "docked", "scrapped")
        assert is_number(ship["registry"]["rating"])
        assert isinstance(ship["registry"]["insured"], bool)


def test_parallel_aspects_merge(daemon: Running) -> None:
    train = run(daemon, "parallel")
    assert set(train) == {"number", "label", "build", "fare", "seats"}
    assert train["number"] == "ICE-77"
    assert is_number(train["fare"]["amount"])
    assert isinstance(train["fare"]["currency"], str)
    assert isinstance(train["seats"]["open"], bool)
    assert ISO.fullmatch(train["seats"]["checkedAt"])


def test_a_gate_gets_its_data_back(daemon: Running) -> None:
    seen = run(daemon, "gate")
    assert len(seen["made"]) == 3
    assert seen["nested"] > 5
    assert len(seen["checked"]) == 3
    for parcel in seen["checked"]:
        assert is_number(parcel["parcel"]["weightKg"])
        assert all({"town", "at"} <= set(stop) for stop in parcel["parcel"]["stops"])


def test_refinement_keeps_the_form(daemon: Running) -> None:
    seen = run(daemon, "refine")
    assert set(seen["poem"]) == {"title", "verses", "year"}
    for name in ("bare", "final", "healed"):
        assert {"title", "verses", "year"} <= set(seen[name]), name
        assert isinstance(seen[name]["verses"], list)


def test_batches_hold_as_many_as_were_asked(daemon: Running) -> None:
    results = run(daemon, "batches")
    assert [len(rows["members"]) for rows in results] == [30, 30]
    assert all({"id", "handle", "email"} <= set(row) for rows in results for row in rows["members"])


def test_test_cases_come_in_lists(daemon: Running) -> None:
    seen = run(daemon, "contract")
    assert (len(seen["valid"]), len(seen["edge"]), len(seen["invalid"]), seen["total"]) == (6, 3, 4, 13)
    for case in seen["valid"]:
        assert isinstance(case["bookId"], str)
        assert isinstance(case["copies"], int)
        assert isinstance(case["gift"], bool)
    assert all(isinstance(case, dict) for case in seen["edge"] + seen["invalid"])


def test_migration_reaches_the_target_and_judges_what_matters(daemon: Running) -> None:
    first, second = run(daemon, "migrate")
    for done in (first, second):
        assert {"given", "family"} <= set(done["moved"]["person"])
        assert ISO.fullmatch(done["moved"]["joined"])
        assert isinstance(done["moved"]["active"], bool)
    assert isinstance(first["verdict"]["passed"], bool)
    assert all(isinstance(issue, str) for issue in first["verdict"]["issues"])
    assert second["verdict"] is None


def test_variants_are_there_when_they_are_asked_for(daemon: Running) -> None:
    seen = run(daemon, "variants")
    assert [reply["hit"] for reply in seen] == ["false", "true", "true", "true"]
    assert len({json.dumps(reply["body"]) for reply in seen}) > 1
    assert all(reply["by"] for reply in seen)
    assert all(isinstance(tide["hour"], int) for reply in seen for tide in reply["body"]["tides"])


def test_loose_clients_are_understood(daemon: Running) -> None:
    seen = run(daemon, "loose")
    assert len(seen["listed"]) == 3
    assert all(is_number(isle["km2"]) for isle in seen["listed"])
    assert isinstance(seen["headed"]["saved"], bool)
    assert isinstance(seen["typeless"]["isle"], str)
    assert (seen["gone"], seen["head"]) == (200, 200)
    assert len(seen["free"]) == 2
    assert seen["refused"]["status"] == 404
    assert "generator" in seen["refused"]["error"]["message"]


def test_backends_can_be_asked_side_by_side(daemon: Running) -> None:
    results = run(daemon, "vote")
    assert {result["asked"]: result["by"] for result in results} == {
        "generator": "generator",
        "enricher": "enricher",
        "fast": "generator",
        "quality": "enricher",
    }
    scores = [result["answer"]["score"] for result in results]
    assert scores == sorted(scores, reverse=True)


def test_openais_protocol_needs_only_fetch(daemon: Running) -> None:
    seen = run(daemon, "chat")
    assert seen["whole"]["choices"][0]["message"]["content"]
    assert seen["whole"]["morphogen"]["simulated"] is True
    assert seen["text"]
    assert seen["done"] is True
    assert seen["usage"]["total_tokens"] > 0
    assert seen["type"].startswith("text/event-stream")
