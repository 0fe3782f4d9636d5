"""Routing on the command line, over what the router says: why a request went where it went, what the policy comes to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from agents.llm.chat import BackendSpec
from runtime.cli import main
from runtime.learner.policy import DAY_S
from runtime.learner.views import explained, shown
from runtime.report import report
from tests.unit.runtime.test_lasting import GOOD, Daemon, live
from tests.unit.runtime.test_learner import A, B, World


def printed(daemon: Any, capsys: pytest.CaptureFixture[str], found: Any, *words: str) -> str:
    daemon(lambda request: httpx.Response(200, json=found))
    assert main.run(list(words)) == 0
    return " ".join(capsys.readouterr().out.split())


@pytest.fixture
def world(tmp_path: Path) -> World:
    found = World(tmp_path)
    found.live(120, {"a": 0.2, "b": 0.9})
    return found


async def test_a_decision_is_explained(world: World, daemon: Any, capsys: pytest.CaptureFixture[str]) -> None:
    rows = explained(await world.book.of_request("r120"))
    out = printed(daemon, capsys, {"data": rows}, "routes", "explain", "r120")
    (row,) = rows
    assert f"single x generalist x {row['backend']}" in out
    assert row["reason"] in out
    assert f"with probability {row['propensity']:.1%}" in out
    assert "by feedback" in out
    for each in row["candidates"]:
        assert f"{each['quality']:.2f} ({each['low']:.2f} to {each['high']:.2f})" in out
    assert "SIMULATED" in printed(daemon, capsys, {"data": [{**row, "simulated": True}]}, "routes", "explain", "r120")


async def test_the_policy_is_shown_as_rules_and_what_could_go(
    world: World, daemon: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    found = await shown(world.router, now=world.now)
    out = printed(daemon, capsys, found, "routes", "show")
    assert "The policy in 1 rule" in out
    assert "always: single x generalist x b" in out
    simple = found["simplification"]
    assert f"Decision paths: {simple['paths_before']} now, 1 by the rules" in out
    assert simple["paths_before"] > 1
    assert "backend a: without it quality less its price" in out or "backend a: the log says too little" in out
    assert {finding["kind"] for finding in simple["findings"]} == {"backend"}


async def test_without_what_could_go_there_are_fewer_paths(
    tmp_path: Path, daemon: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    skill = {"a": 0.2, "b": 0.9, "c": 0.2}
    world = World(tmp_path, backends=[A, B, BackendSpec(name="c", model="m-c")], routing={"exploration_floor": 0.2})
    world.live(600, skill)
    before = await shown(world.router, now=world.now)
    could_go = {each["part"] for each in before["simplification"]["findings"] if each["remove"]}
    assert could_go == {"a", "c"}
    assert "Proposal: remove backend a" in printed(daemon, capsys, before, "routes", "show")
    world.backends = [spec for spec in world.backends if spec.name != "c"]
    world.now += 8 * DAY_S
    world.live(200, skill)
    after = await shown(world.router, now=world.now)
    assert after["simplification"]["paths_before"] < before["simplification"]["paths_before"]
    assert after["simplification"]["rules"] == [{**before["simplification"]["rules"][0], "requests": 200}]


async def test_what_was_adopted_shows_its_gain_over_the_holdout(daemon: Any, capsys: pytest.CaptureFixture[str]) -> None:
    watched = Daemon()
    name = await watched.won()
    watched.adopt()
    await watched.trials.tick()
    live(watched.trials, 400, GOOD, seed=8)
    await watched.trials.tick()
    (row,) = await watched.trials.all()
    out = printed(daemon, capsys, {"data": [row]}, "routes", "experiment", "list", "--json")
    assert name in out
    table = printed(daemon, capsys, {"data": [row]}, "routes", "experiment", "list")
    assert "kept" in table
    assert f"{row['ruling']['lasting']['mean']:+.3f}" in table


def test_an_empty_window_is_reported_without_a_guess(daemon: Any, capsys: pytest.CaptureFixture[str]) -> None:
    nothing = dict.fromkeys(("ok", "partial", "errors", "finished", "cancelled", "simulated"), 0)
    sums = {
        "outcomes": nothing,
        "quality": [],
        "feedback": {"given": 0, "score": None, "good": 0},
        "tokens": [],
        "latencies_s": [],
        "ways": [],
        "committees": [],
        "hit": {"hit": 0, "answered": 0},
    }
    out = printed(daemon, capsys, report(sums, [], [], since=0.0, until=60.0), "report", "--window", "1h")
    assert "satisfaction - over 0 of 0 answers" in out
