"""The library in a running daemon: what was verified is given again and nothing else, to nobody else, also after a kill."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from registry.solution_rows import SOLUTIONS
from registry.tables import Tables
from tests.integration.daemon_process import Running, running_daemon

pytestmark = pytest.mark.integration

PLAIN = {"prompt": "At which temperature does water boil at sea level?"}
SHAPE = {"guests": [{"number": "integer", "age": "integer"}]}
BELL: dict[str, Any] = {
    "prompt": "The ages of a hotel's guests follow a normal distribution with a mean of 47 and a standard deviation of 8.",
    "shape": SHAPE,
    "count": 120,
    "strategy": "code_augmented",
    "deadline_s": 50,
}


def ask(daemon: Running, body: dict[str, Any], key: str = "") -> tuple[str | None, Any]:
    """What the library said, and the reply."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    status, reply, got = daemon.call("POST", "/v1/requests", body, **headers)
    assert status == 200, reply
    if got["x-morphogen-library"] in ("exact", "rerun", "reused"):
        assert (got["x-morphogen-cost-usd"], got["x-morphogen-simulated"], reply["strategy"]) == ("0", "true", "library")
    return got["x-morphogen-library"], reply


def until(holds: Callable[[], bool], within_s: float = 60.0) -> None:
    end = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.1)


def is_open(daemon: Running) -> bool:
    return daemon.call("GET", "/v1/library", operator=True)[0] == 200


def stored(daemon: Running) -> int:
    return int(daemon.call("GET", "/v1/library", operator=True)[1]["solutions"])


def wait_for(daemon: Running, number: int, within_s: float = 60.0) -> None:
    until(lambda: stored(daemon) == number, within_s)


def kill(daemon: Running) -> None:
    daemon.process.send_signal(signal.SIGKILL)
    daemon.process.wait(10)


def test_a_persons_word_and_a_kill(tmp_path: Path) -> None:
    with running_daemon(tmp_path) as daemon:
        until(lambda: is_open(daemon))
        said, reply = ask(daemon, PLAIN)
        assert said == "miss"
        assert ask(daemon, PLAIN)[0] == "miss"  # nobody said that it is right
        _, told, _ = daemon.call("POST", f"/v1/requests/{reply['id']}/feedback", {"score": 1})
        assert told["library"] == "kept"
        wait_for(daemon, 1)
        said, again = ask(daemon, PLAIN)
        assert (said, again["answer"], again["complete"]) == ("exact", reply["answer"], True)
        assert ask(daemon, {**PLAIN, "cache": False})[0] is None
        _, made, _ = daemon.call("POST", "/v1/keys", {"name": "other", "scope": "client"}, operator=True)
        assert ask(daemon, PLAIN, made["secret"])[0] == "miss"  # another tenant
        time.sleep(0.1)  # the ledger writes in groups of 25 ms
        kill(daemon)
    with running_daemon(tmp_path) as daemon:
        until(lambda: is_open(daemon))
        said, again = ask(daemon, PLAIN)
        assert said == "exact"
        _, trace, _ = daemon.call("GET", f"/v1/requests/{again['id']}", operator=True)
        (event,) = [event["data"] for event in trace["events"] if event["kind"] == "library"]
        assert (event["state"], event["steps"], trace["outcome"]["library"]) == ("exact", 3, "exact")
        _, told, _ = daemon.call("POST", f"/v1/requests/{again['id']}/feedback", {"score": 0})
        assert told["library"] == "suspended"
        assert ask(daemon, PLAIN)[0] == "miss"
        kill(daemon)
    with running_daemon(tmp_path) as daemon:
        until(lambda: is_open(daemon))
        assert ask(daemon, PLAIN)[0] == "miss"


def test_code_runs_again_and_a_poisoned_answer_is_refused(tmp_path: Path) -> None:
    seeded = {**BELL, "seed": 12, "prompt": "Hotel guests with ages that are normally distributed, mean 47, standard deviation 8"}
    with running_daemon(tmp_path) as daemon:
        until(lambda: is_open(daemon))
        for number, body in enumerate((BELL, seeded), start=1):
            said, first = ask(daemon, body)
            assert said in ("miss", "adapted"), first
            assert first["status"] == "done"
            wait_for(daemon, number)
        said, one = ask(daemon, BELL)
        said_again, other = ask(daemon, BELL)
        assert (said, said_again) == ("rerun", "rerun")
        assert len(one["answer"]["data"]["guests"]) == len(other["answer"]["data"]["guests"]) == 120
        assert one["answer"] != other["answer"]
        said, same = ask(daemon, seeded)
        assert (said, same["answer"]) == ("exact", first["answer"])
        drawn = [ask(daemon, {**BELL, "seed": 5}) for _ in range(2)]
        assert [said for said, _ in drawn] == ["rerun", "rerun"]
        assert drawn[0][1]["answer"] == drawn[1][1]["answer"]
    asyncio.run(poison(tmp_path / "data" / "registry"))
    with running_daemon(tmp_path) as daemon:
        until(lambda: is_open(daemon))
        said, right = ask(daemon, seeded)
        assert said in ("miss", "adapted")
        ages = [guest["age"] for guest in right["answer"]["data"]["guests"]]
        assert 40 < sum(ages) / len(ages) < 54
        _, trace, _ = daemon.call("GET", f"/v1/requests/{right['id']}", operator=True)
        (event,) = [event["data"] for event in trace["events"] if event["kind"] == "library"]
        assert event["reason"].startswith("check failed")


async def poison(folder: Path) -> None:
    """Every stored answer becomes one of the right form and the wrong content."""
    tables = await Tables.open(str(folder), [SOLUTIONS])
    wrong = {"text": "", "data": {"guests": [{"number": n, "age": 7} for n in range(120)]}}
    await tables.update(SOLUTIONS.name, {"answer": json.dumps(wrong)}, where="id != ''")
    tables.close()


def test_other_values_run_the_stored_code(tmp_path: Path) -> None:
    """With the embedding model: the same words with other numbers, checked against these."""
    with running_daemon(tmp_path, "[library]\naudit_share = 0.001\n", env={"MORPHOGEN_EMBEDDING__ENABLED": "true"}) as daemon:
        until(lambda: is_open(daemon))
        assert ask(daemon, BELL)[0] == "miss"
        wait_for(daemon, 1, 90.0)
        changed = {**BELL, "prompt": BELL["prompt"].replace("47", "31").replace("of 8", "of 5"), "count": 200}
        _, dry, _ = daemon.call("POST", "/v1/library/dry-run", {**changed, "tenant": "loopback"}, operator=True)
        assert dry["result"] == "rerun", dry
        said, reply = ask(daemon, changed)
        assert said == "rerun"
        assert reply["library"]["similarity"] > 0.7
        ages = [guest["age"] for guest in reply["answer"]["data"]["guests"]]
        assert len(ages) == 200
        assert 29 < sum(ages) / len(ages) < 33
        opposite = {**BELL, "prompt": BELL["prompt"].replace("follow", "do not follow")}
        _, dry, _ = daemon.call("POST", "/v1/library/dry-run", {**opposite, "tenant": "loopback"}, operator=True)
        assert (dry["result"], "negates" in dry["reason"]) == ("miss", True), dry
