"""What must survive: killed node actors, hanging backends, Ctrl-C, a client that leaves, hostile input."""

from __future__ import annotations

import concurrent.futures
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.daemon_process import Running, running_daemon

pytestmark = pytest.mark.integration


def test_killed_node_actors_lose_no_request(ray_daemon: Running) -> None:
    def ask(number: int) -> int:
        return ray_daemon.chat("auto", f"Question {number} about bridges", max_tokens=60)[0]

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        asked = [pool.submit(ask, number) for number in range(120)]
        for _ in range(2):
            time.sleep(0.4)
            _, nodes, _ = ray_daemon.call("GET", "/v1/nodes")
            for node in nodes["data"]:
                if node["pid"]:
                    os.kill(node["pid"], signal.SIGKILL)
        statuses = [future.result() for future in asked]
    assert statuses == [200] * 120
    _, text, _ = ray_daemon.call("GET", "/metrics")
    assert "morphogen_" in text


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{", None),
        (b'{"model": "auto", "messages": NaN}', None),
        (b"[" * 10_000 + b"]" * 10_000, None),
        (b'{"model": "auto"}', "messages"),
        (b'{"model": 3, "messages": []}', "model"),
        (b'{"model": "auto", "messages": [{"role": "king", "content": "x"}]}', "messages"),
    ],
)
def test_bad_chat_bodies_are_refused_with_the_field(daemon: Running, body: bytes, field: str | None) -> None:
    status, reply, _ = daemon.call("POST", "/v1/chat/completions", body)
    assert status == 400
    assert reply["error"]["type"] == "invalid_request_error"
    if field is not None:
        assert str(reply["error"]["param"]).startswith(field)


@pytest.mark.parametrize(
    "body", [{"count": -1}, {"count": 1_000_000}, {"count": "x"}, {"shape": {"$cache": -2, "a": "string"}}, {"shape": 10**400}]
)
def test_bad_mock_bodies_are_refused(daemon: Running, body: object) -> None:
    status, reply, _ = daemon.call("POST", "/api/mock/things", body)
    assert status == 400, reply
    assert reply["error"]["message"]


def test_a_body_of_ten_megabytes_is_refused(daemon: Running) -> None:
    try:
        status = daemon.call("POST", "/v1/chat/completions", b'{"x": "' + b"a" * 10_000_000 + b'"}')[0]
    except (ConnectionError, OSError):  # it may answer and close before all was sent
        status = 413
    assert status == 413
    assert daemon.call("GET", "/healthz")[0] == 200


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["stuck", "auto"])
def test_a_client_that_hangs_up_cancels_the_work(stuck: Running, model: str, stream: bool) -> None:
    request = json.dumps({"model": model, "messages": [{"role": "user", "content": "a tale"}], "stream": stream}).encode()
    with socket.create_connection(("127.0.0.1", stuck.port)) as peer:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(request)}\r\n\r\n"
        peer.sendall(head.encode() + request)
        until(lambda: inflight(stuck) == 1)
    until(lambda: inflight(stuck) == 0)


@pytest.fixture(scope="module")
def stuck(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A daemon whose one backend never answers."""
    toml = '[[backends]]\nname = "stuck"\nkind = "simulated"\nmodel = "generator!fault=hang"\n'
    with running_daemon(tmp_path_factory.mktemp("stuck"), toml, lean=True) as daemon:
        yield daemon


def inflight(daemon: Running) -> int:
    return int(daemon.call("GET", "/v1/backends")[1]["data"][0]["inflight"])


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 8
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.05)


def test_ctrl_c_drains_and_leaves_nothing(tmp_path: Path) -> None:
    with running_daemon(tmp_path, "", cluster="ray", lean=True) as daemon:
        pids = [node["pid"] for node in daemon.call("GET", "/v1/nodes")[1]["data"]]
        assert all(pids)
        begin = time.monotonic()
        daemon.process.send_signal(signal.SIGINT)
        assert daemon.process.wait(15) == 0
        assert time.monotonic() - begin < 12
        time.sleep(0.5)
        listed = subprocess.run(
            ["ps", "-o", "pid=,args=", "-g", str(daemon.process.pid)], capture_output=True, text=True, check=False
        )
        assert not [line for line in listed.stdout.splitlines() if "morphogen" in line or "agents.llm" in line]
        assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
