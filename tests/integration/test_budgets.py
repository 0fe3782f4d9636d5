"""Budgets in a running daemon: they bind under concurrency, over all surfaces and nodes, and survive kill -9."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.integration.daemon_process import Running, running_daemon

pytestmark = pytest.mark.integration

DEAR = """
[[backends]]
name = "dear"
kind = "simulated"
model = "enricher"
output_usd_per_mtok = 1000.0
max_output_tokens = 40
max_concurrency = 64
queue_timeout_s = 60
"""
FREE = """
[[backends]]
name = "free"
kind = "simulated"
model = "generator"
"""
BUDGET_USD = 1.0
WORST_USD = 0.04


def make_key(daemon: Running, **limits: Any) -> tuple[str, str]:
    status, made, _ = daemon.call("POST", "/v1/keys", {"name": "team", **limits}, operator=True)
    assert status == 201, made
    return made["id"], made["secret"]


def accounts(daemon: Running) -> dict[str, Any]:
    _, found, _ = daemon.call("GET", "/v1/budget", operator=True)
    return {row["key_id"] or row["scope"]: row for row in found["data"]}


def ask(daemon: Running, model: str, secret: str | None, number: int, **fields: Any) -> tuple[int, Any, Any]:
    headers = {"authorization": f"Bearer {secret}"} if secret else {}
    words = {"role": "user", "content": f"Name three rivers, please, and say a word on each ({number})"}
    return daemon.call("POST", "/v1/chat/completions", {"model": model, "messages": [words], **fields}, **headers)


def storm(daemon: Running, model: str, secret: str, count: int) -> list[tuple[int, Any, Any]]:
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda number: ask(daemon, model, secret, number), range(count)))


def check_storm(daemon: Running, model: str, count: int) -> None:
    """Far more requests at once than the key's budget pays: not a cent beyond it, and most of what it pays is answered."""
    key_id, secret = make_key(daemon, usd_per_day=BUDGET_USD)
    results = storm(daemon, model, secret, count)
    statuses = Counter(status for status, _, _ in results)
    # Simulated backends fail now and then; where the budget no longer pays for the retry, the failure is the answer.
    assert set(statuses) <= {200, 429, 502}, statuses
    assert statuses[502] <= 3
    refused = [body["error"] for status, body, _ in results if status == 429]
    assert {error["code"] for error in refused} == {"budget_exceeded"}
    assert {error["type"] for error in refused} == {"insufficient_quota"}
    spent = sum(float(headers["x-morphogen-cost-usd"]) for status, _, headers in results if status == 200)
    assert spent <= BUDGET_USD + 1e-9
    assert statuses[200] > 0.5 * BUDGET_USD / WORST_USD
    lefts = [float(headers["x-morphogen-budget-remaining-usd"]) for _, _, headers in results]
    assert all(0 <= left <= BUDGET_USD for left in lefts)
    account = accounts(daemon)[key_id]["usd"]
    assert account["spent"] == pytest.approx(spent)
    assert account["spent"] <= BUDGET_USD
    assert account["reserved"] == 0
    assert account["spent"] > BUDGET_USD - WORST_USD


@pytest.mark.parametrize("model", ["dear", "auto"])
def test_two_hundred_at_once_spend_no_more_than_the_key_may(tmp_path: Path, model: str) -> None:
    with running_daemon(tmp_path, DEAR, lean=True) as daemon:
        check_storm(daemon, model, 200)


def test_the_same_over_nodes_on_ray(tmp_path: Path) -> None:
    with running_daemon(tmp_path, DEAR, cluster="ray", lean=True) as daemon:
        check_storm(daemon, "auto", 200)


def test_what_was_spent_today_survives_kill_9(tmp_path: Path) -> None:
    with running_daemon(tmp_path, DEAR + "[budget]\nusd_per_day = 10.0\n", lean=True) as daemon:
        key_id, secret = make_key(daemon, usd_per_day=5.0)
        for number in range(5):
            assert ask(daemon, "dear", secret, number)[0] == 200
        before = accounts(daemon)
        assert before[key_id]["usd"]["spent"] > 0
        ledger = daemon.data / "ledger.sqlite"
        _wait(lambda: _stored(ledger) == pytest.approx(before["day"]["usd"]["spent"]))
        os.killpg(daemon.process.pid, signal.SIGKILL)
        daemon.process.wait()
    with running_daemon(tmp_path, DEAR + "[budget]\nusd_per_day = 10.0\n", lean=True) as daemon:
        after = accounts(daemon)
        assert after[key_id]["usd"] == before[key_id]["usd"]
        assert after["day"]["usd"] == before["day"]["usd"]


def test_a_request_that_runs_at_a_kill_is_charged_what_was_foreseen(tmp_path: Path) -> None:
    toml, slow = "[budget]\nusd_per_day = 10.0\n" + DEAR, {"MORPHOGEN_SIMULATED__SPEED": "100"}
    with running_daemon(tmp_path, toml, env=slow, lean=True) as daemon, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(lambda: _broken(daemon))
        ledger = daemon.data / "ledger.sqlite"
        _wait(lambda: _count(ledger, "requests") == 1)
        os.killpg(daemon.process.pid, signal.SIGKILL)
        daemon.process.wait()
        asked.result()
    with running_daemon(tmp_path, toml, lean=True) as daemon:
        assert accounts(daemon)["day"]["usd"]["spent"] == pytest.approx(WORST_USD)


def test_a_free_model_answers_when_the_money_is_gone(tmp_path: Path) -> None:
    with running_daemon(tmp_path, "[budget]\nusd_per_day = 0.0\n" + DEAR + FREE, lean=True) as daemon:
        status, body, headers = ask(daemon, "dear", None, 1)
        assert (status, body["error"]["code"]) == (429, "budget_exceeded")
        assert "budget.usd_per_day" in body["error"]["message"]
        assert headers["x-should-retry"] == "false"
        assert headers["x-morphogen-budget-remaining-usd"] == "0"
        for model in ("free", "auto"):
            status, body, headers = ask(daemon, model, None, 2)
            assert (status, headers["x-morphogen-backend"]) == (200, "free")


def test_what_one_request_does_at_once_stays_within_its_budget(tmp_path: Path) -> None:
    with running_daemon(tmp_path, DEAR, lean=True) as daemon:
        aspects = [{"name": f"part{n}", "strategy": "single"} for n in range(6)]
        own = {"strategy": {"parallel": {"aspects": aspects, "merge": "concatenate"}}, "budget_usd": 0.1}
        status, body, headers = ask(daemon, "auto", None, 1, morphogen=own)
        assert status in (200, 429), body
        assert float(headers["x-morphogen-cost-usd"]) <= 0.1
        assert 0 < accounts(daemon)["day"]["usd"]["spent"] <= 0.1
        assert float(headers["x-morphogen-budget-remaining-usd"]) >= 0


@pytest.mark.parametrize("field", ["budget_usd", "budget_tokens"])
@pytest.mark.parametrize("value", [-1, "1", True, [], 1e30])
def test_a_budget_that_is_none_is_named(daemon: Running, field: str, value: Any) -> None:
    status, body, _ = ask(daemon, "auto", None, 1, morphogen={field: value})
    assert (status, body["error"]["param"]) == (400, f"morphogen.{field}")


def test_keys_get_other_limits(daemon: Running) -> None:
    key_id, secret = make_key(daemon, tokens_per_day=0)
    _, first, _ = daemon.call("GET", "/v1/models")
    model = next(row["id"] for row in first["data"] if row["morphogen"]["kind"] == "backend")
    status, body, headers = ask(daemon, model, secret, 1)
    assert (status, headers["x-morphogen-budget-remaining-tokens"]) == (429, "0"), body
    status, body, _ = daemon.call("PATCH", f"/v1/keys/{key_id}", {"tokens_per_day": 100_000}, operator=True)
    assert (status, body["tokens_per_day"]) == (200, 100_000)
    assert ask(daemon, model, secret, 1)[0] == 200
    own = daemon.call("GET", "/v1/budget", authorization=f"Bearer {secret}")[1]["data"]
    assert [row["key_id"] for row in own] == [None, key_id]
    assert daemon.call("PATCH", f"/v1/keys/{key_id}", {"usd_per_day": -1}, operator=True)[0] == 400
    assert daemon.call("PATCH", "/v1/keys/nobody", {"usd_per_day": 1}, operator=True)[0] == 404
    assert daemon.call("PATCH", f"/v1/keys/{key_id}", {"usd_per_day": 1})[0] == 403


def _broken(daemon: Running) -> None:
    with contextlib.suppress(OSError):
        ask(daemon, "dear", None, 1)


def _wait(holds: Any) -> None:
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def _stored(ledger: Path) -> float:
    with sqlite3.connect(f"file:{ledger}?mode=ro", uri=True) as connection:
        return (connection.execute("SELECT sum(usd_pico) FROM spend").fetchone()[0] or 0) / 1e12


def _count(ledger: Path, table: str) -> int:
    with sqlite3.connect(f"file:{ledger}?mode=ro", uri=True) as connection:
        return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
