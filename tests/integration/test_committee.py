"""A committee on a running daemon: formed of nodes, heard, told, dissolved, and held against the best other way."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.daemon_process import Running, running_daemon

pytestmark = pytest.mark.integration

SETTINGS = "[committee]\ncompare_share = 1.0\nkeep_s = 0.2\nthreshold = 0.5\n"
HARD = (
    "Compare three ways to heat a greenhouse in winter, explain the trade-offs step by step, derive the constraints, estimate "
    "the cost of each and justify the best one:\n- straw\n- gas\n- compost\nWhy that one? When does it fail? What is at risk?"
)
WAY = {"name": "string", "cost": 0.5, "risks": ["string"], "climate": {"low": 0, "high": 0}}
SHAPE = {"ways": [WAY], "best": "string", "why": "string"}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running_daemon(tmp_path_factory.mktemp("committee"), SETTINGS, lean=True) as running:
        yield running


def trace(daemon: Running, headers: Any) -> dict[str, Any]:
    _, found, _ = daemon.call("GET", f"/v1/requests/{headers['x-request-id']}", operator=True)
    assert isinstance(found, dict)
    return found


def told(found: dict[str, Any], state: str) -> list[dict[str, Any]]:
    return [event["data"] for event in found["events"] if event["kind"] == "committee" and event["data"]["state"] == state]


def members(daemon: Running) -> list[str]:
    _, found, _ = daemon.call("GET", "/v1/nodes", operator=True)
    return [one["name"] for one in found["data"] if one["role"] == "advisor" and one["state"] == "live"]


def test_a_hard_request_is_answered_by_a_committee_and_compared(daemon: Running) -> None:
    status, reply, headers = daemon.chat("auto", HARD, morphogen={"shape": SHAPE})
    assert status == 200, reply
    found = trace(daemon, headers)
    assert found["outcome"]["strategy"] == "committee"
    (formed,) = told(found, "formed")
    seats = [(seat["by"], seat["node"]) for seat in formed["members"]]
    assert 3 <= len(seats) <= 5
    assert [by for by, _ in seats].count("warm") >= 3
    assert {one["member"] for one in told(found, "contributed")} == {seat["speciality"] for seat in formed["members"]}
    assert told(found, "discussed")
    assert told(found, "gate")
    assert told(found, "dissolved")
    asked = [event["data"] for event in found["events"] if event["kind"] == "peer"]
    assert {one["asked"] for one in asked} == {node for _, node in seats if node}
    assert found["outcome"]["cost_usd"] == pytest.approx(sum(call["cost_usd"] for call in found["calls"]))
    end = time.monotonic() + 20
    while (report := daemon.call("GET", "/v1/report?window=1h", operator=True)[1])["committees"]["compared"] < 1:
        assert time.monotonic() < end, report["committees"]
        time.sleep(0.1)
    committees = report["committees"]
    assert committees["answers"] == 1
    assert committees["won"] + committees["lost"] + committees["tied"] == 1
    assert committees["simulated"] is True
    while members(daemon):
        assert time.monotonic() < end, "nodes of a committee that is over are still there"
        time.sleep(0.1)


def test_an_easy_request_meets_no_committee_and_one_can_be_asked_for(daemon: Running) -> None:
    _, _, headers = daemon.chat("auto", "Name a winter vegetable.")
    assert trace(daemon, headers)["outcome"]["strategy"] == "single"
    body = {"committee": {"members": ["Gardener", "Plumber"], "rounds": 1, "nodes": False}}
    status, reply, headers = daemon.chat("auto", "How do I heat a greenhouse?", morphogen={"strategy": body})
    assert status == 200, reply
    found = trace(daemon, headers)
    assert [seat["by"] for seat in told(found, "formed")[0]["members"]] == ["role", "role"]
    status, reply, _ = daemon.chat("auto", "Hm?", morphogen={"strategy": {"committee": [f"m{n}" for n in range(6)]}})
    assert status == 400
    assert "committee.size" in reply["error"]["message"]


def test_a_budget_that_pays_for_no_committee_pays_for_an_answer(daemon: Running) -> None:
    status, reply, headers = daemon.chat("strategy/committee", "How do I heat a greenhouse?", morphogen={"budget_usd": 0.002})
    assert status == 200, reply
    found = trace(daemon, headers)
    assert told(found, "not formed")
    assert found["outcome"]["cost_usd"] <= 0.002


def test_members_sit_in_actors_of_their_own(ray_daemon: Running) -> None:
    body = {"committee": {"members": ["Gardener", "Plumber"], "rounds": 1}}
    status, reply, headers = ray_daemon.chat("auto", "How do I heat a greenhouse?", morphogen={"strategy": body})
    assert status == 200, reply
    found = trace(ray_daemon, headers)
    nodes = {seat["node"] for seat in told(found, "formed")[0]["members"] if seat["by"] == "warm"}
    assert nodes, told(found, "formed")
    assert nodes <= {one["node"] for one in told(found, "contributed")}
    _, listed, _ = ray_daemon.call("GET", "/v1/nodes", operator=True)
    pids = {one["name"]: one.get("pid") for one in listed["data"]}
    assert len({pids[node] for node in (*nodes, "generalist")}) == len(nodes) + 1
