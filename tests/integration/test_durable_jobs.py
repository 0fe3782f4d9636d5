"""Accepted work outlives the daemon: kill -9 in the midst of requests and batches, and an orderly end."""

from __future__ import annotations

import http.client
import json
import random
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.integration.phoenix import OVER, USERS, items_of, phoenix, pretender, until

pytestmark = pytest.mark.integration


def test_an_asynchronous_request_survives_a_kill_with_exactly_one_outcome(tmp_path: Path) -> None:
    with phoenix(tmp_path, speed=1.0) as daemon:
        ids = [daemon.submit(prompt=f"Tell of river {number}") for number in range(8)]
        daemon.kill()
        assert daemon.ledger("SELECT count(*) FROM jobs WHERE state IN ('queued', 'running')")[0][0] > 0
        daemon.start()
        daemon.wait_ready()
        until(lambda: all(daemon.state(request_id)["status"] == "done" for request_id in ids))
        view = daemon.state(ids[-1])
        assert view["answer"]["text"]
        assert view["outcome"]["status"] == "ok"
        assert (daemon.ledger("SELECT count(*) FROM outcomes"), daemon.ledger("SELECT count(*) FROM requests")) == (
            [(8,)],
            [(8,)],
        )
        assert daemon.ledger("SELECT count(*) FROM outcomes WHERE status = 'interrupted'") == [(0,)]


@pytest.mark.timeout(400)
def test_twenty_kills_during_five_hundred_requests(tmp_path: Path) -> None:
    dice = random.Random(20)
    acknowledged: dict[int, str] = {}
    given_up: list[int] = []
    with pretender(0.02) as pool, phoenix(tmp_path, f"[jobs]\nmax_running = 8\n{pool}") as daemon:
        finish_by = time.monotonic() + 300

        def client(number: int) -> None:
            body = json.dumps({"prompt": f"Question {number}", "mode": "async"}).encode()
            while time.monotonic() < finish_by:
                request = urllib.request.Request(f"{daemon.url}/v1/requests", data=body, method="POST")
                request.add_header("content-type", "application/json")
                request.add_header("idempotency-key", f"key-{number}")
                try:
                    with urllib.request.urlopen(request, timeout=5) as reply:
                        acknowledged[number] = json.loads(reply.read())["id"]
                        return
                except (OSError, ValueError, http.client.HTTPException):  # the last: killed between head and body
                    time.sleep(0.25)
            given_up.append(number)

        with ThreadPoolExecutor(12) as clients:
            asked = [clients.submit(client, number) for number in range(500)]
            for _ in range(20):
                until(lambda: daemon.answers("/healthz"), 60)
                time.sleep(dice.uniform(0.0, 0.25))
                daemon.kill()
                daemon.start()
            daemon.wait_ready()
            for future in asked:
                future.result()
        assert not given_up
        open_jobs = "SELECT count(*) FROM jobs WHERE state IN ('queued', 'running')"
        until(lambda: daemon.ledger(open_jobs) == [(0,)], 60)
        outcomes = daemon.ledger("SELECT request_id, status FROM outcomes")
        assert len(set(acknowledged.values())) == 500
        assert {row[0] for row in outcomes} == set(acknowledged.values())
        assert len(outcomes) == 500
        assert {row[1] for row in outcomes} == {"ok"}
        assert daemon.ledger("SELECT count(*) FROM requests") == [(500,)]
        again = daemon.call("POST", "/v1/requests", {"prompt": "Question 7", "mode": "async"}, Idempotency_Key="key-7")
        assert (again[0], again[1]["id"], again[2]["idempotent-replayed"]) == (202, acknowledged[7], "true")


@pytest.mark.timeout(300)
def test_a_counted_batch_resumes_where_it_was(tmp_path: Path) -> None:
    dice = random.Random(5)
    with pretender(0.4) as pool, phoenix(tmp_path, f"[jobs]\nitems_per_part = 20\nmax_parallel_parts = 2\n{pool}") as daemon:
        request_id = daemon.submit(prompt="Customers", shape=USERS, count=500)
        done_at_kill = []
        for _ in range(5):
            until(lambda: daemon.answers("/healthz"), 60)
            before = daemon.ledger("SELECT done FROM jobs")[0][0]
            until(lambda before=before: daemon.ledger("SELECT done FROM jobs")[0][0] > min(before, 499), 60)  # type: ignore[misc]
            time.sleep(dice.uniform(0, 0.3))
            daemon.kill()
            kept = daemon.ledger("SELECT first, item_count, items FROM job_parts ORDER BY first")
            done_at_kill.append(sum(row[1] for row in kept))
            daemon.start()
        daemon.wait_ready()
        until(lambda: daemon.state(request_id)["status"] in OVER, 80)
        view = daemon.state(request_id)
        assert (view["status"], view["progress"], view["missing"]) == ("done", {"done": 500, "total": 500}, 0)
        assert done_at_kill == sorted(done_at_kill)
        assert 0 < done_at_kill[0] < 500
        # What was there at the last kill was not made again.
        after = {row[0]: row[1:] for row in daemon.ledger("SELECT first, item_count, items FROM job_parts")}
        assert all(after[row[0]] == row[1:] for row in kept)
        places = [row["index"] for row in items_of(daemon, request_id)]
        assert places == list(range(500))
        assert daemon.ledger("SELECT count(*) FROM outcomes") == [(1,)]
        lines = daemon.call("GET", f"/v1/requests/{request_id}/result")[1].splitlines()
        assert len(lines) == 500
        assert all(set(json.loads(line)) == {"id", "name", "city"} for line in lines)
        assert view["attempts"] >= 3
        stored = daemon.ledger("SELECT count(*), sum(prompt_tokens), sum(cost_usd) FROM calls")[0]
        assert stored[0] >= 25
        assert view["usage"]["prompt_tokens"] == stored[1]
        assert view["cost_usd"] == pytest.approx(stored[2])


def test_a_graceful_end_leaves_running_jobs_to_the_next_start(tmp_path: Path) -> None:
    with phoenix(tmp_path, "[jobs]\nitems_per_part = 10\nmax_parallel_parts = 1\n", speed=0.2) as daemon:
        request_id = daemon.submit(prompt="Customers", shape=USERS, count=60)
        until(lambda: daemon.ledger("SELECT done FROM jobs")[0][0] >= 20)
        began = time.monotonic()
        daemon.end()
        assert time.monotonic() - began < 8
        assert daemon.ledger("SELECT state FROM jobs")[0][0] in ("queued", "running")
        assert daemon.ledger("SELECT count(*) FROM outcomes") == [(0,)]
        daemon.start()
        daemon.wait_ready()
        until(lambda: daemon.state(request_id)["status"] == "done", 40)
