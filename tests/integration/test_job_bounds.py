"""What ends and bounds accepted work: cancelling, deadlines, failing backends, slow readers, a full queue, memory."""

from __future__ import annotations

import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.phoenix import OVER, USERS, Phoenix, items_of, phoenix, read_stream, until

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def steady(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Phoenix]:
    """One that is not killed, with answers slow enough to be watched."""
    with phoenix(tmp_path_factory.mktemp("steady"), "[jobs]\nitems_per_part = 10\nmax_parallel_parts = 2\n", speed=0.3) as daemon:
        yield daemon


def test_a_cancelled_batch_keeps_what_was_done_and_says_so(steady: Phoenix) -> None:
    request_id = steady.submit(prompt="Customers", shape=USERS, count=2000)
    until(lambda: steady.state(request_id)["progress"]["done"] >= 20)
    status, view, _ = steady.call("DELETE", f"/v1/requests/{request_id}")
    assert (status, view["status"]) == (200, "cancelled")
    assert 20 <= view["progress"]["done"] < 2000
    assert view["missing"] == 2000 - view["progress"]["done"]
    assert len(items_of(steady, request_id)) == view["progress"]["done"]
    assert steady.call("DELETE", f"/v1/requests/{request_id}")[1]["progress"] == view["progress"]
    assert steady.ledger("SELECT status FROM outcomes WHERE request_id = ?", request_id) == [("cancelled",)]
    assert read_stream(steady, request_id, 0)[-1][1] == "outcome"
    time.sleep(0.5)
    assert steady.state(request_id)["progress"] == view["progress"]


def test_a_waiting_job_is_cancelled_before_it_begins(steady: Phoenix) -> None:
    ids = [steady.submit(prompt=f"Tale {number}") for number in range(60)]
    assert steady.call("DELETE", f"/v1/requests/{ids[-1]}")[1]["status"] == "cancelled"
    until(lambda: all(steady.state(request_id)["status"] in OVER for request_id in ids), 40)
    assert [steady.state(request_id)["status"] for request_id in ids].count("cancelled") == 1


def test_a_reader_of_one_byte_a_second_holds_nobody_up(steady: Phoenix) -> None:
    request_id = steady.submit(prompt="Customers", shape=USERS, count=60)
    slow = urllib.request.urlopen(f"{steady.url}/v1/requests/{request_id}/stream", timeout=30)
    try:
        slow.read(1)
        until(lambda: steady.state(request_id)["status"] == "done", 40)
        slow.read(1)
        assert [event[1] for event in read_stream(steady, request_id, 0)][-1] == "outcome"
        assert b"event: outcome" in slow.read()
    finally:
        slow.close()


def test_a_deadline_ends_a_batch_with_what_there_is(steady: Phoenix) -> None:
    request_id = steady.submit(prompt="Customers", shape=USERS, count=3000, deadline_s=2)
    until(lambda: steady.state(request_id)["status"] in OVER, 15)
    view = steady.state(request_id)
    assert (view["status"], view["complete"]) == ("partial", False)
    assert 0 < view["progress"]["done"] < 3000
    assert f"{view['missing']} of 3000 items are missing" in view["issues"][0]
    assert view["outcome"]["status"] == "partial"


def test_a_batch_over_a_backend_that_fails_is_a_clear_failure(tmp_path: Path) -> None:
    toml = (
        "[jobs]\nitems_per_part = 10\npart_attempts = 2\nretry_pause_s = 0.05\n"
        "[retry]\nenabled = false\n[breaker]\nenabled = false\n"
        '[[backends]]\nname = "bad"\nkind = "simulated"\nmodel = "generator!fault=error"\n'
    )
    with phoenix(tmp_path, toml) as daemon:
        request_id = daemon.submit(prompt="Customers", shape=USERS, count=30)
        until(lambda: daemon.state(request_id)["status"] in OVER, 20)
        view = daemon.state(request_id)
        assert (view["status"], view["progress"]["done"]) == ("failed", 0)
        assert view["error"]["code"]
        assert "retry" in [event[1] for event in read_stream(daemon, request_id, 0)]
        assert view["calls"]


def test_the_queue_is_bounded(tmp_path: Path) -> None:
    with phoenix(tmp_path, "[jobs]\nmax_queued = 3\nmax_running = 1\n", speed=3.0) as daemon:
        replies = [daemon.call("POST", "/v1/requests", {"prompt": "x", "mode": "async"}) for _ in range(8)]
        refused = [reply for reply in replies if reply[0] == 429]
        assert refused
        assert all(int(headers["retry-after"]) > 0 for _, _, headers in refused)
        accepted = [body["id"] for status, body, _ in replies if status == 202]
        assert len(accepted) + len(refused) == 8
        assert daemon.ledger("SELECT count(*) FROM jobs") == [(len(accepted),)]


def test_ten_thousand_items_take_little_memory(tmp_path: Path) -> None:
    with phoenix(tmp_path) as daemon:
        warm = daemon.submit(prompt="Customers", shape=USERS, count=300)
        until(lambda: daemon.state(warm)["status"] == "done")
        before = rss_bytes(daemon.process.pid)
        request_id = daemon.submit(prompt="Customers", shape=USERS, count=10_000)
        heard: list[tuple[int, str, Any]] = []
        watcher = threading.Thread(target=lambda: heard.extend(read_stream(daemon, request_id, 0)))
        watcher.start()
        most = 0
        while watcher.is_alive():
            most = max(most, rss_bytes(daemon.process.pid))
            watcher.join(0.1)
        view = daemon.state(request_id)
        assert (view["status"], view["progress"]["done"]) == ("done", 10_000)
        progress = [data["done"] for _, kind, data in heard if kind == "progress"]
        assert len(progress) > 50
        assert progress[-1] == 10_000
        with urllib.request.urlopen(f"{daemon.url}/v1/requests/{request_id}/result", timeout=30) as reply:
            assert sum(1 for _ in reply) == 10_000
        most = max(most, rss_bytes(daemon.process.pid))
        assert most - before < 30 * 2**20, f"{(most - before) / 2**20:.0f} MiB"


def rss_bytes(pid: int) -> int:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024
