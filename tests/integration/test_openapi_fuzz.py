"""schemathesis against our own OpenAPI: whatever it makes up, the daemon never answers 500."""

from __future__ import annotations

import re
import subprocess
import sys
import time

import pytest

from tests.integration.daemon_process import Running

pytestmark = pytest.mark.integration


def test_no_generated_request_is_a_server_error(daemon: Running) -> None:
    until = time.monotonic() + 60
    while daemon.call("GET", "/v1/status", operator=True)[1]["registry"] != "ok":
        assert time.monotonic() < until  # while it opens it answers 503, which is right and no news
        time.sleep(0.2)
    command = [
        sys.executable,
        "-m",
        "schemathesis.cli",
        "run",
        f"{daemon.url}/openapi.json",
        "--checks=not_a_server_error",
        "--phases=fuzzing",
        "--max-examples=8",
        "--request-timeout=20",
        "--exclude-path=/v1/events",  # it goes on until the client hangs up
        "--no-color",
        "--seed=1",
        f"--header=Authorization: Bearer {daemon.operator_key}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    assert re.search(r"\b[1-9]\d* generated", done.stdout)
    assert daemon.call("GET", "/readyz")[0] == 200
