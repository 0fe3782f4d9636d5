"""``morphogen sandbox`` as a user calls it, and the corpus harness on snippets of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ops.bench.sandbox_corpus import SandboxHost, Stage, table
from sandbox.records import Setup
from sandbox.runner import Sandbox

pytestmark = [pytest.mark.integration, pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")]

TOTAL = "def run(inputs):\n    print('adding')\n    return sum(inputs)\n"


def morphogen(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "runtime.cli", "sandbox", *arguments]
    return subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=90, check=False)


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "total.py"
    path.write_text(TOTAL)
    return str(path)


def test_run_prints_the_result_and_keeps_the_rest_off_stdout(file: str) -> None:
    done = morphogen("run", file, "--inputs", "[1, 2.5]")
    assert (done.returncode, json.loads(done.stdout), done.stderr) == (0, 3.5, "adding\n")


def test_run_reads_stdin_and_files_and_prints_json(file: str, tmp_path: Path) -> None:
    told = json.loads(morphogen("run", file, "--inputs", "-", "--json", stdin="[4]").stdout)
    assert (told["ok"], told["value"], told["stdout"], told["problem"]) == (True, 4, "adding\n", None)
    (tmp_path / "in.json").write_text("[5]")
    done = morphogen("run", "-", "--inputs", f"@{tmp_path / 'in.json'}", stdin=TOTAL)
    assert json.loads(done.stdout) == 5


def test_a_failing_run_says_where_and_exits_1(file: str) -> None:
    done = morphogen("run", file, "--inputs", "5")
    assert (done.returncode, done.stdout) == (1, "")
    assert "raised: line 3: TypeError" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--inputs", "{"), "--inputs is not JSON"),
        (("--inputs", "@nowhere"), "cannot be read"),
        (("--limits", '{"wall_s": 0}'), "wall_s must be a number from 0.01 to 600"),
        (("--limits", '{"walls": 1}'), "walls: Extra inputs"),
        (("--limits", '{"memory_bytes": "much"}'), "memory_bytes"),
    ],
)
def test_wrong_usage_names_what_is_wrong(file: str, arguments: tuple[str, ...], words: str) -> None:
    done = morphogen("run", file, *arguments)
    assert done.returncode == 2
    assert words in done.stderr


def test_check_reports_each_case(file: str) -> None:
    cases = [{"inputs": [1], "expected": 1}, {"inputs": [1], "expected": 5, "name": "wrong"}, {"inputs": None}]
    done = morphogen("check", file, json.dumps(cases), "--json")
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert [(case["name"], case["passed"]) for case in told["cases"]] == [("case 1", True), ("wrong", False), ("case 3", False)]
    assert morphogen("check", file, "[]").returncode == 2
    assert "0.expect: Extra" in morphogen("check", file, '[{"expect": 1}]').stderr


def test_probe_shows_every_layer() -> None:
    told = json.loads(morphogen("probe", "--json").stdout)
    assert {layer["name"] for layer in told["layers"]} >= {
        "seccomp",
        "rlimits",
        "landlock",
        "empty_root",
        "namespaces",
        "privileges",
    }
    assert told["level"] in ("full", "reduced")


HOSTILE = {
    "secret": "def run(i):\n    return open(i['secret_file']).read()",
    "env": "import os\ndef run(i):\n    return os.environ['SBX_CANARY']",
    "written": "def run(i):\n    open(i['mark_file'], 'w').close()",
    "connected": "import socket\ndef run(i):\n    socket.create_connection(('127.0.0.1', i['port']), 1)",
    "killed": "import os\ndef run(i):\n    os.kill(i['victim_pid'], 9)",
    "deleted": "import os\ndef run(i):\n    os.unlink(i['secret_file'])",
    "memory": "def run(i):\n    x = bytearray(b'1') * (1500 * 2**20)\n    return 'ALLOCATED'",
    "spawned": "import subprocess\ndef run(i):\n    return 'SPAWNED:' + str(subprocess.Popen(['sleep', '1']).pid)",
    "crash": "import os\ndef run(i):\n    os.kill(os.getppid(), 9)",
    "leak": "import os\ndef run(i):\n    return 'LEAK:' + os.popen('id').read()",
    "deadline": "def run(i):\n    while True:\n        pass",
    "flood": "def run(i):\n    return 'x' * 5_000_000",
    "bad": "def run(i):\n    return [float('inf')]",
}


@pytest.mark.parametrize("policy", [True, False])
async def test_no_goal_is_reached_with_the_policy_or_without(
    tmp_path: Path, policy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(tmp_path)
    monkeypatch.setenv("SBX_CANARY", stage.env_canary)
    rows = [{"id": check, "check": check, "level": "host", "code": code} for check, code in HOSTILE.items()]
    benign = [{"id": "total", "code": TOTAL, "inputs": [1, 2], "expected": 3}]
    async with Sandbox(Setup(policy=policy, allow_reduced=True)) as sandbox:
        found = await table(SandboxHost(sandbox), stage, rows, benign, 2)
    assert found["reached_ids"] == []
    assert found["benign_passed"] == 1


async def test_scipy_has_a_zygote_of_its_own(tmp_path: Path) -> None:
    code = (
        "import numpy as np\nfrom scipy import stats\ndef run(i):\n    x = stats.norm(35, 12).rvs(300, random_state=1)\n"
        "    same = stats.kstest(x, 'norm', args=(35, 12)).pvalue > 0.01\n"
        "    return [bool(same), bool(stats.kstest(x, stats.expon.cdf).pvalue < 0.01)]\n"
    )
    async with Sandbox(Setup(allow_reduced=True, runtime_dir=str(tmp_path / "own"))) as sandbox:
        assert (await sandbox.health(code)).level in ("full", "reduced")
        assert (await sandbox.run(code)).value == [True, True]
        for path in ("stats.norm.shapes", "stats.distributions", "stats.rv_continuous", "stats.kstest([1.0], 'np')"):
            result = await sandbox.run(f"from scipy import stats\ndef run(i):\n    return str({path})\n")
            assert result.problem is not None
