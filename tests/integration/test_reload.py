"""A running daemon follows its file: under load, with invalid versions in between, on both clusters, and no request fails."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.integration.daemon_process import Running, running_daemon

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

STEADY = (
    '[[backends]]\nname = "steady"\nkind = "simulated"\nmodel = "generator"\noutput_usd_per_mtok = {price}\nweight = {weight}\n'
)
GUEST = '[[backends]]\nname = "guest"\nkind = "simulated"\nmodel = "enricher"\nmax_concurrency = {limit}\nweight = 5\n'


@pytest.fixture(scope="module", params=["local", "ray"])
def follower(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    text = STEADY.format(price=1.0, weight=1)
    with running_daemon(tmp_path_factory.mktemp("reload"), text, cluster=request.param) as running:
        yield running


class File:
    """The daemon's configuration file: the head that the fixture wrote, and what a test puts below it."""

    def __init__(self, daemon: Running) -> None:
        self.path = daemon.data.parent / "morphogen.toml"
        self.head = self.path.read_text().partition("[[backends]]")[0]

    def put(self, below: str, *, head: str | None = None) -> None:
        """As an editor that saves well: whole or not at all."""
        fresh = self.path.with_suffix(".new")
        fresh.write_text((self.head if head is None else head) + below)
        fresh.replace(self.path)


class Load:
    """Clients that ask without a pause, through auto and a named backend, whole and streamed; ``failed`` is what went wrong."""

    def __init__(self, daemon: Running, clients: int = 6) -> None:
        self.daemon = daemon
        self.answered = 0
        self.backends: set[str] = set()
        self.failed: list[Any] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, number: int) -> None:
        model = ("auto", "steady", "strategy/pipeline")[number % 3]
        while not self._stop.is_set():
            streamed = number >= 3
            status, body, headers = self.daemon.chat(model, f"Name a river, please ({number})", max_tokens=20, stream=streamed)
            if status != 200 or (streamed and "[DONE]" not in str(body)):
                self.failed.append((model, status, body))
            self.answered += 1
            self.backends.add(headers.get("x-morphogen-backend") or "")


def config(daemon: Running) -> Any:
    return daemon.call("GET", "/v1/config", operator=True)[1]


def named(daemon: Running) -> dict[str, Any]:
    return {row["name"]: row for row in daemon.call("GET", "/v1/backends")[1]["data"]}


def until(condition: Callable[[], Any], what: str, *, within_s: float = 15.0) -> Any:
    end = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < end, f"in vain: {what}"
        time.sleep(0.05)
    return found


def test_ten_changes_under_load_fail_no_request(follower: Running) -> None:
    file = File(follower)
    before = config(follower)["reloads"]
    with Load(follower) as load:
        until(lambda: load.answered > 10, "the load runs")
        for turn in range(10):
            price = 2.0 + turn
            steady = STEADY.format(price=price, weight=1 + turn % 3)
            with_guest = turn % 2 == 0
            file.put(steady + (GUEST.format(limit=4 + turn) if with_guest else ""))
            until(lambda: named(follower)["steady"]["output_usd_per_mtok"] == price, f"price {price}")  # noqa: B023
            found = named(follower)
            assert ("guest" in found) == with_guest
            if with_guest:
                assert found["guest"]["max_concurrency"] == 4 + turn
                assert follower.chat("guest", "Hello", max_tokens=5)[0] == 200
            else:
                assert follower.chat("guest", "Hello", max_tokens=5)[0] == 404
            if turn % 3 == 1:
                file.put(steady + "[retry]\nmax_attempts = 0\n")
                status = until(lambda: (now := config(follower))["last_error"] and now, "the fault is noticed")
                assert status["last_error"]["setting"] == "retry.max_attempts"
                assert file.path.read_text().splitlines()[status["last_error"]["line"] - 1] == "max_attempts = 0"
                assert named(follower)["steady"]["output_usd_per_mtok"] == price
    assert load.failed == []
    assert load.answered > 50
    assert config(follower)["reloads"] == before + 10
    status, trace, _ = follower.call("GET", "/v1/requests?limit=200", operator=True)
    assert any(row["backend"] == "guest" for row in trace["data"]), "auto used the backend that was added"
    metrics = follower.call("GET", "/metrics")[1]
    assert 'morphogen_config_reloads_total{result="ok"}' in metrics
    assert 'morphogen_config_reloads_total{result="invalid"} 3.0' in metrics


def test_the_simulated_server_is_exchanged_without_a_gap(follower: Running) -> None:
    file = File(follower)
    steady = STEADY.format(price=1.0, weight=1)
    file.put(steady)
    until(lambda: named(follower)["steady"]["output_usd_per_mtok"] == 1.0, "the file")
    old = named(follower)["steady"]["base_url"]
    with Load(follower) as load:
        file.put(steady, head=file.head.replace("speed = 0", "speed = 0\nseed = 99"))
        until(lambda: named(follower)["steady"]["base_url"] != old, "another server")
        new = named(follower)["steady"]["base_url"]
        until(lambda: not listens(old), "the old server ends")
        answered = load.answered
        until(lambda: load.answered > answered + 10, "the load goes on")
    assert load.failed == []
    assert listens(new)


def listens(base_url: str) -> bool:
    import socket
    from urllib.parse import urlsplit

    parts = urlsplit(base_url)
    try:
        socket.create_connection((str(parts.hostname), int(parts.port or 0)), timeout=1).close()
    except OSError:
        return False
    return True


def test_status_and_reload_on_the_command_line(follower: Running) -> None:
    file = File(follower)
    steady = STEADY.format(price=1.0, weight=1)
    file.put(steady, head=file.head.replace(f"port = {follower.port}", "port = 1234"))
    until(lambda: config(follower)["needs_restart"] == ["server.port"], "the port waits for a restart")
    code, out = cli(follower, "config", "status")
    assert (code, "restart:  needed for server.port" in out) == (0, True)
    file.put(steady, head="nonsense = true\n" + file.head)
    code, out = cli(follower, "config", "reload")
    assert code == 1
    assert f"{file.path}:1: nonsense: unknown setting" in out
    code, out = cli(follower, "config", "status", "--json")
    status = json.loads(out[: out.rindex("}") + 1])
    assert (code, status["valid"], status["path"]) == (1, False, str(file.path))
    assert (status["last_error"]["line"], status["last_error"]["setting"]) == (1, "nonsense")
    assert follower.chat("steady", "Hello")[0] == 200
    file.path.unlink()
    until(lambda: "no such configuration file" in config(follower)["last_error"]["message"], "it says that the file is gone")
    assert follower.chat("steady", "Hello")[0] == 200
    file.put(steady)
    os.kill(follower.process.pid, signal.SIGHUP)
    until(lambda: config(follower)["valid"], "SIGHUP reads it")
    assert config(follower)["needs_restart"] == []
    code, out = cli(follower, "config", "reload")
    assert (code, out.strip()) == (0, "unchanged: nothing changed")


def test_a_half_written_file_is_waited_for(follower: Running) -> None:
    file = File(follower)
    before = config(follower)
    whole = file.head + STEADY.format(price=33.0, weight=1)
    with file.path.open("w") as out:
        for start in range(0, len(whole), 40):
            out.write(whole[start : start + 40])
            out.flush()
            time.sleep(0.15)
    until(lambda: named(follower)["steady"]["output_usd_per_mtok"] == 33.0, "the price")
    after = config(follower)
    assert after["last_error"] is None
    assert after["reloads"] == before["reloads"] + 1


def cli(daemon: Running, *arguments: str) -> tuple[int, str]:
    env = {**os.environ, "MORPHOGEN_URL": daemon.url, "MORPHOGEN_KEY": daemon.operator_key}
    done = subprocess.run(
        [sys.executable, "-m", "runtime.cli", *arguments], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout + done.stderr
