"""The command line against a real daemon: nodes in process, the simulated pool at full speed, the rest as users have it."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from agents.llm.child import free_port
from runtime.cli import demo_life
from runtime.cli.demo import pool_config
from runtime.cli.demo_asks import UNPLUGGED, fetch_outcome
from runtime.cli.demo_daemon import MARK, DemoDaemon, marked
from runtime.cli.demo_work import CROWD, Record, perform, pool_steps

pytestmark = pytest.mark.integration

FAST = '\n[cluster]\nkind = "local"\n\n[simulated]\nspeed = 0.0\n'


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoDaemon]:
    started = DemoDaemon(tmp_path_factory.mktemp("daemon"), config=pool_config(free_port()) + FAST)
    try:
        started.start(lambda words: None)
        yield started
    finally:
        left = started.stop()
    assert left == []


def morphogen(daemon: DemoDaemon, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("MORPHOGEN_")}
    env |= {"MORPHOGEN_URL": daemon.url, "MORPHOGEN_DATA__DIR": str(daemon.log_path.parent / "data")}
    argv = [sys.executable, "-m", "runtime.cli", *arguments]
    return subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=60, env=env, check=False)


def test_ask_then_trace(daemon: DemoDaemon) -> None:
    asked = morphogen(daemon, "ask", "-", stdin="What is a jetty for?")
    assert asked.returncode == 0, asked.stderr
    assert asked.stdout.strip()
    assert "SIMULATED" in asked.stderr
    request_id = asked.stderr.split("morphogen trace ")[1].strip()
    with daemon.connect() as client:
        fetch_outcome(client, request_id)
    told = morphogen(daemon, "trace", request_id)
    assert told.returncode == 0, told.stderr
    assert "What is a jetty for?" in told.stdout
    assert "node     generalist" in told.stdout
    trace = json.loads(morphogen(daemon, "trace", request_id, "--json").stdout)
    assert trace["outcome"]["status"] == "ok"
    assert trace["calls"][0]["simulated"] is True


def test_a_shaped_list_is_json_of_that_length(daemon: DemoDaemon) -> None:
    done = morphogen(daemon, "ask", "--shape", '{"ferries": [{"name": "string", "cars": 0}]}', "--count", "23", "Ferries")
    assert done.returncode == 0, done.stderr
    ferries = json.loads(done.stdout)["ferries"]
    assert len(ferries) == 23
    assert all(isinstance(ferry["cars"], int) for ferry in ferries)


@pytest.mark.parametrize("command", ["nodes", "backends", "requests"])
def test_every_table_has_a_json_twin(daemon: DemoDaemon, command: str) -> None:
    table = morphogen(daemon, command)
    assert table.returncode == 0, table.stderr
    assert "\x1b" not in table.stdout
    rows = json.loads(morphogen(daemon, command, "--json").stdout)
    assert isinstance(rows, list)
    if command == "backends":
        assert {row["name"] for row in rows} == {"generator", "enricher", "validator", UNPLUGGED}


def test_keys_come_and_go(daemon: DemoDaemon) -> None:
    made = json.loads(morphogen(daemon, "keys", "create", "laptop", "--json").stdout)
    assert made["secret"].startswith("mg-client-")
    listed = morphogen(daemon, "keys", "list").stdout
    assert "laptop" in listed
    assert made["secret"] not in listed
    assert morphogen(daemon, "keys", "revoke", made["id"]).returncode == 0
    assert "revoked" in morphogen(daemon, "keys", "list").stdout
    assert morphogen(daemon, "keys", "revoke", made["id"]).returncode == 1


def test_an_unknown_model_is_named(daemon: DemoDaemon) -> None:
    done = morphogen(daemon, "ask", "--model", "nobody", "x")
    assert done.returncode == 1
    assert "nobody" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_second_daemon_on_the_port_is_refused_in_words(daemon: DemoDaemon, tmp_path: Path) -> None:
    port = daemon.url.rpartition(":")[2]
    done = morphogen(daemon, "serve", "--port", port, "--data-dir", str(tmp_path / "other"), "--cluster", "local")
    assert done.returncode == 1
    assert f"127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stderr


def test_doctor_knows_our_daemon(daemon: DemoDaemon) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "runtime.cli", "doctor", "--json"],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "MORPHOGEN_SERVER__PORT": daemon.url.rpartition(":")[2]},
        check=False,
    )
    port = next(check for check in json.loads(done.stdout)["checks"] if check["name"] == "port")
    assert port["state"] == "ok"
    assert "daemon is ready" in port["found"]


def test_all_that_the_demo_asks_is_answered(daemon: DemoDaemon) -> None:
    record = Record()
    perform("simulated", pool_steps(), daemon.connect, record)
    assert [(done.what, done.problem) for done in record.all() if done.problem] == []
    assert len(record.all()) >= CROWD + 10
    assert all(done.simulated for done in record.all())


@pytest.mark.timeout(240)
def test_the_weeks_of_the_demo_come_about(tmp_path: Path) -> None:
    """Patterns, specialists with routines that are asked, a committee, a park, a merge, a prune: by the rules alone."""
    told = io.StringIO()
    weeks = DemoDaemon(tmp_path, config=demo_life.config(cluster="local", speed=0.0))
    try:
        weeks.start(lambda words: None)
        problems = demo_life.play(Console(file=told, width=200), weeks.connect)
    finally:
        left = weeks.stop()
    assert (problems, left) == ([], []), told.getvalue()
    assert "kept         merge" in told.getvalue()
    assert "kept         prune" in told.getvalue()
    assert "answered by the library" in told.getvalue()


def test_a_daemon_that_is_stopped_while_it_starts_leaves_nothing(tmp_path: Path) -> None:
    class Enough(Exception):
        pass

    started = DemoDaemon(tmp_path, config=FAST)

    def at_once(words: str) -> None:
        raise Enough

    with pytest.raises(Enough):
        started.start(at_once)
    assert started.stop() == []


def test_ctrl_c_ends_a_daemon_in_order(tmp_path: Path) -> None:
    started = DemoDaemon(tmp_path, config="[embedding]\nenabled = false\n" + FAST)
    try:
        started.start(lambda words: None)
        process = started._process
        assert process is not None
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        assert "Traceback" not in started.log_path.read_text()
    finally:
        assert started.stop() == []


def test_marked_finds_what_carries_the_mark() -> None:
    if not Path("/proc/self/environ").exists():
        pytest.skip("needs /proc")
    environment = {**os.environ, MARK: "test-of-the-mark"}
    with subprocess.Popen(["cat"], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(b"x")
        assert child.stdout.read(1) == b"x"  # only now is its new environment sure to be in place
        assert [pid for pid, _ in marked("test-of-the-mark")] == [child.pid]
        child.stdin.close()
    assert list(marked("test-of-the-mark")) == []


def test_a_ray_that_does_not_answer_ends_the_start_with_its_setting(tmp_path: Path) -> None:
    config = tmp_path / "morphogen.toml"
    config.write_text(
        f'[server]\nport = {free_port()}\n[data]\ndir = "{tmp_path / "data"}"\n[ray]\naddress = "127.0.0.1:{free_port()}"\n'
    )
    argv = [sys.executable, "-m", "runtime.cli", "serve", "--config", str(config)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "ray.address '127.0.0.1:" in done.stderr
    assert "Traceback" not in done.stderr
