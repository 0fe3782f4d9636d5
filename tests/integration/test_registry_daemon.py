"""The registry in a running daemon: code through the real sandbox, the command line, a kill."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.integration.daemon_process import Running, running_daemon

pytestmark = pytest.mark.integration
ROOT = Path(__file__).parents[2]
CODE = 'def run(rows):\n    """Rows with a negative amount."""\n    return [row for row in rows if row["amount"] < 0]\n'
CASES = [{"inputs": [{"amount": 1}, {"amount": -2}], "expected": [{"amount": -2}]}]


def cli(daemon: Running, *arguments: str, ok: bool = True) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MORPHOGEN_URL": daemon.url, "MORPHOGEN_KEY": daemon.operator_key}
    argv = [sys.executable, "-m", "runtime.cli", "registry", *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, env=environment, cwd=ROOT, timeout=60, check=False)
    assert (done.returncode == 0) is ok, done.stdout + done.stderr
    return done.stdout + done.stderr


def wait_open(daemon: Running) -> None:
    until = time.monotonic() + 90
    while daemon.call("GET", "/v1/status", operator=True)[1]["registry"] != "ok":
        assert time.monotonic() < until, daemon.log.read_text()[-2000:]
        time.sleep(0.2)


def test_from_code_to_the_report(tmp_path: Path) -> None:
    code, bad, cases = tmp_path / "code.py", tmp_path / "bad.py", tmp_path / "cases.json"
    code.write_text(CODE)
    bad.write_text("import os\ndef run(rows):\n    return os.listdir('/')\n")
    cases.write_text(json.dumps(CASES))
    with running_daemon(tmp_path) as daemon:
        wait_open(daemon)
        made = ("--kind", "validator", "--problem", "find rows with a negative amount", "--cases", str(cases))
        assert "negative-rows@1.0.0 is published." in cli(daemon, "publish", "negative-rows", str(code), *made)
        assert "cases failed" in cli(daemon, "publish", "evil", str(bad), *made, ok=False)
        assert "negative-rows@1.0.0" in cli(daemon, "search", "amounts", "below", "zero")
        code.write_text(CODE.replace("Rows with", "Those rows with"))
        cli(daemon, "fork", "negative-rows", "losses", "--file", str(code), "--cases", str(cases), "--improvement", "says more")
        drawing = cli(daemon, "lineage", "losses")
        assert "negative-rows@1.0.0" in drawing
        assert "└─ losses@1.0.0" in drawing
        assert '+    """Those rows' in cli(daemon, "diff", "negative-rows", "losses")
        assert "measured reuse" in cli(daemon, "star", "losses", ok=False)
        report = cli(daemon, "inspect")
        assert "Artifacts: 2 in 2 versions" in report
        assert "losses@1.0.0, 2 generations" in report
        daemon.process.kill()
        daemon.process.wait()
    with running_daemon(tmp_path) as daemon:
        wait_open(daemon)
        shown = daemon.call("GET", "/v1/registry/artifacts/losses", operator=True)[1]
        assert shown["version"]["contributors"] == ["operator"]
        assert "Those rows" in shown["version"]["content"]
        assert "morphogen_registry_open 1.0" in daemon.call("GET", "/metrics")[1]


def test_a_newer_table_keeps_only_the_registry_closed(tmp_path: Path) -> None:
    make = (
        "import asyncio, sys; from registry.tables import Tables; from registry.table_specs import TableSpec, Migration\n"
        "steps = (Migration(to=2),)\n"
        "spec = TableSpec(name='versions', key='id', columns={'id': 'text'}, version=2, migrations=steps)\n"
        "asyncio.run(Tables.open(sys.argv[1], [spec]))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    place = str(tmp_path / "data" / "registry")
    subprocess.run([sys.executable, "-c", make, place], check=True, env=environment, cwd=ROOT, timeout=60)
    with running_daemon(tmp_path) as daemon:
        until = time.monotonic() + 60
        while "version 2" not in (state := daemon.call("GET", "/v1/status", operator=True)[1])["registry"]:
            assert time.monotonic() < until
            time.sleep(0.2)
        assert "table versions has schema version 2" in state["registry"]
        status, problem, _ = daemon.call("GET", "/v1/registry", operator=True)
        assert (status, problem["code"]) == (503, "registry_unavailable")
        assert daemon.chat("auto", "hello")[0] == 200
