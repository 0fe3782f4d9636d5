"""Accepted work outlives the daemon: kill -9 in the midst of requests and batches, cancelling, streams over a restart, memory."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from agents.llm.child import free_port
from tests.integration.daemon_process import Running

pytestmark = pytest.mark.integration

USERS = {"users": [{"id": 0, "name": "string", "city": "string"}]}
OVER = ("done", "partial", "failed", "cancelled")


class Phoenix(Running):
    """A daemon that can be killed and started again over the same data."""

    config: Path
    env: dict[str, str]

    def start(self) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("MORPHOGEN_")}
        with self.log.open("ab") as out:
            argv = [sys.executable, "-m", "runtime.cli", "serve", "--config", str(self.config)]
            self.process = subprocess.Popen(argv, stdout=out, stderr=out, env=clean, start_new_session=True)

    def wait(self, path: str = "/readyz") -> None:
        until(lambda: self.answers(path), 80, lambda: self.log.read_text()[-3000:])

    def answers(self, path: str) -> bool:
        try:
            with urllib.request.urlopen(self.url + path, timeout=2):
                return True
        except OSError:
            return False

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def end(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)

    def state(self, request_id: str) -> Any:
        return self.call("GET", f"/v1/requests/{request_id}")[1]

    def submit(self, **body: Any) -> str:
        status, reply, headers = self.call("POST", "/v1/requests", {"mode": "async", **body})
        assert status == 202, reply
        assert headers["location"] == f"/v1/requests/{reply['id']}"
        return str(reply["id"])

    def ledger(self, sql: str, *fields: Any) -> list[Any]:
        connection = sqlite3.connect(self.data / "ledger.sqlite", timeout=10)
        try:
            return connection.execute(sql, fields).fetchall()
        finally:
            connection.close()


def until(
    condition: Callable[[], object], timeout_s: float = 30.0, why: Callable[[], str] = lambda: "it never came true"
) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, why()
        time.sleep(0.03)


@contextlib.contextmanager
def phoenix(folder: Path, toml: str = "", *, speed: float = 0.0) -> Iterator[Phoenix]:
    port = free_port()
    config, data = folder / "morphogen.toml", folder / "data"
    config.write_text(
        f'[server]\nport = {port}\n[data]\ndir = "{data}"\n[embedding]\nenabled = false\n'
        f'[cluster]\nkind = "local"\n[simulated]\nspeed = {speed}\n{toml}'
    )
    nothing: Any = None
    daemon = Phoenix(url=f"http://127.0.0.1:{port}", port=port, data=data, process=nothing, log=folder / "daemon.log")
    daemon.config = config
    daemon.start()
    try:
        daemon.wait()
        yield daemon
    finally:
        daemon.kill()


@contextlib.contextmanager
def pretender(speed: float) -> Iterator[str]:
    """A simulated pool of its own, so that killing the daemon does not end it; gives a daemon's configuration for it."""
    port = free_port()
    argv = [sys.executable, "-m", "agents.llm.simulated", "--port", str(port), "--speed", str(speed)]
    process = subprocess.Popen(argv)
    try:
        until(lambda: listens(port), 30)
        yield (
            f'[[backends]]\nname = "pool"\nbase_url = "http://127.0.0.1:{port}/v1"\nmodel = "generator"\n'
            'schema_mode = "json_schema"\ninput_usd_per_mtok = 1.0\n'
        )
    finally:
        process.terminate()
        process.wait(10)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def steady(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Phoenix]:
    """One that is not killed, with answers slow enough to be watched."""
    with phoenix(tmp_path_factory.mktemp("steady"), "[jobs]\nitems_per_part = 10\nmax_parallel_parts = 2\n", speed=0.3) as daemon:
        yield daemon


# ── over a kill ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_asynchronous_request_survives_a_kill_with_exactly_one_outcome(tmp_path: Path) -> None:
    with phoenix(tmp_path, speed=1.0) as daemon:
        ids = [daemon.submit(prompt=f"Tell of river {number}") for number in range(8)]
        daemon.kill()
        assert daemon.ledger("SELECT count(*) FROM jobs WHERE state IN ('queued', 'running')")[0][0] > 0
        daemon.start()
        daemon.wait()
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
                except (OSError, ValueError):
                    time.sleep(0.25)
            given_up.append(number)

        with ThreadPoolExecutor(12) as clients:
            asked = [clients.submit(client, number) for number in range(500)]
            for _ in range(20):
                until(lambda: daemon.answers("/healthz"), 60)
                time.sleep(dice.uniform(0.0, 0.25))
                daemon.kill()
                daemon.start()
            daemon.wait()
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
        daemon.wait()
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


def items_of(daemon: Running, request_id: str) -> list[Any]:
    rows: list[Any] = []
    place: int | None = 0
    while place is not None:
        status, page, _ = daemon.call("GET", f"/v1/requests/{request_id}/items?from={place}&limit=77")
        assert status == 200
        rows += page["data"]
        place = page["next"]
    return rows


def test_replies_are_given_again_after_a_restart(tmp_path: Path) -> None:
    with phoenix(tmp_path) as daemon:
        asks: list[tuple[str, dict[str, Any]]] = [
            ("/v1/requests", {"prompt": "one"}),
            ("/v1/chat/completions", {"model": "auto", "messages": [{"role": "user", "content": "two"}]}),
            ("/v1/chat/completions", {"model": "auto", "messages": [{"role": "user", "content": "three"}], "stream": True}),
            ("/api/mock/users", {"shape": {"name": "string"}}),
        ]
        first = [daemon.call("POST", path, body, Idempotency_Key=f"k{n}") for n, (path, body) in enumerate(asks)]
        daemon.kill()
        daemon.start()
        daemon.wait()
        for n, (path, body) in enumerate(asks):
            status, reply, headers = daemon.call("POST", path, body, Idempotency_Key=f"k{n}")
            assert (status, reply) == first[n][:2]
            assert headers["idempotent-replayed"] == "true"
            assert daemon.call("POST", path, {**body, "seed": 9}, Idempotency_Key=f"k{n}")[0] == 422
        assert daemon.ledger("SELECT count(*) FROM requests") == [(4,)]


def test_a_stream_is_picked_up_over_a_restart(tmp_path: Path) -> None:
    with phoenix(tmp_path, "[jobs]\nitems_per_part = 10\nmax_parallel_parts = 1\n", speed=0.1) as daemon:
        request_id = daemon.submit(prompt="Customers", shape=USERS, count=70)
        heard = read_stream(daemon, request_id, 0, most=4)
        assert [event[0] for event in heard] == [1, 2, 3, 4]
        daemon.kill()
        daemon.start()
        daemon.wait()
        rest = read_stream(daemon, request_id, heard[-1][0] + 1)
        seqs = [event[0] for event in (*heard, *rest)]
        assert seqs == list(range(1, len(seqs) + 1))
        assert rest[-1][1] == "outcome"
        assert rest[-1][2]["status"] == "done"
        assert [event[1] for event in (*heard, *rest)].count("outcome") == 1
        progress = [event[2]["done"] for event in (*heard, *rest) if event[1] == "progress"]
        assert progress == sorted(progress)
        assert progress[-1] == 70
        daemon.end()
        daemon.start()
        daemon.wait()
        assert [event[0] for event in read_stream(daemon, request_id, 3)] == seqs[2:]
        with urllib.request.urlopen(f"{daemon.url}/v1/requests/{request_id}/stream?from_seq={seqs[-1] + 1}", timeout=30) as over:
            assert over.status == 204


def read_stream(daemon: Running, request_id: str, from_seq: int, *, most: int = 10_000) -> list[tuple[int, str, Any]]:
    """(seq, kind, data) until the stream ends or ``most`` have come."""
    events: list[tuple[int, str, Any]] = []
    fields: dict[str, str] = {}
    with urllib.request.urlopen(f"{daemon.url}/v1/requests/{request_id}/stream?from_seq={from_seq}", timeout=30) as reply:
        for raw in reply:
            line = raw.decode().rstrip("\n")
            if line and not line.startswith(":"):
                name, _, value = line.partition(": ")
                fields[name] = value
            elif "id" in fields:
                events.append((int(fields["id"]), fields["event"], json.loads(fields["data"])))
                fields = {}
                if len(events) >= most:
                    break
    return events


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
        daemon.wait()
        until(lambda: daemon.state(request_id)["status"] == "done", 40)


# ── without a kill ──────────────────────────────────────────────────────────────────────────────────────────────────────


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
    # Without the registry, which loads its library at its own time: what is measured is what a batch takes.
    with phoenix(tmp_path, "[registry]\nenabled = false\n") as daemon:
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
