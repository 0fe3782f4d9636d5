"""The sandbox on this machine's kernel: what it runs, what it stops, how a run ends."""

# ruff: noqa: E501 - programs in one line each

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import replace

import pytest

from sandbox.records import Case, Limits, Problem, RunResult, Setup
from sandbox.runner import Sandbox
from tests.integration.sandbox_own import ADD, COUNT, EASY, FOREVER, GRACE_S

pytestmark = [pytest.mark.integration, pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")]


async def test_a_run_gives_its_value_what_it_printed_and_its_measures(sandbox: Sandbox) -> None:
    code = "def run(i):\n    print('working')\n    return {'sum': sum(i['v'])}\n"
    result = await sandbox.run(code, {"v": [1, 2.5]})
    assert (result.ok, result.value, result.stdout) == (True, {"sum": 3.5}, "working\n")
    assert 0 < result.cpu_s < 5
    assert 0 < result.wall_s < 20


@pytest.mark.parametrize(
    ("code", "problem", "words", "line"),
    [
        ("import os\ndef run(i):\n    return os.listdir('/')", Problem.REJECTED, "module 'os' is not available", 1),
        ("def run(i):\n    return 1 / 0", Problem.RAISED, "ZeroDivisionError", 2),
        ("def walk(i):\n    return 1", Problem.RAISED, "no function run", None),
        ("def run(i):\n    raise SystemExit(3)", Problem.RAISED, "SystemExit: 3", 2),
        ("def run(i):\n    return open('/etc/passwd').read()", Problem.RAISED, "no files here", 2),
        ("def run(i):\n    return [0] * 10**9", Problem.OUT_OF_MEMORY, "MemoryError", 2),
        ("import numpy as np\ndef run(i):\n    return float(np.ones(10**9).sum())", Problem.OUT_OF_MEMORY, "", 3),
        ("def run(i):\n    return 'x' * 2_000_000", Problem.OUTPUT_TOO_LARGE, "1048576", None),
        ("def run(i):\n    return {'a': [object()]}", Problem.NOT_SERIALISABLE, "result['a'][0]", None),
        ("def run(i):\n    return float('nan')", Problem.NOT_SERIALISABLE, "nan", None),
    ],
)
async def test_each_problem_has_its_kind_and_says_where(
    sandbox: Sandbox, code: str, problem: Problem, words: str, line: int | None
) -> None:
    result = await sandbox.run(code, {})
    assert result.problem is problem, result
    assert words in result.error
    assert result.line == line


@pytest.mark.parametrize("wall_s", [0.3, 1.0])
async def test_a_run_ends_at_its_wall_limit(sandbox: Sandbox, wall_s: float) -> None:
    await sandbox.health()
    began = time.perf_counter()
    result = await sandbox.run(FOREVER, {}, Limits(wall_s=wall_s, cpu_s=10))
    assert time.perf_counter() - began < wall_s + GRACE_S
    assert result.problem in (Problem.TIMED_OUT, Problem.UNAVAILABLE)


async def test_cpu_time_is_limited_by_the_kernel(sandbox: Sandbox) -> None:
    result = await sandbox.run(FOREVER, {}, Limits(wall_s=20, cpu_s=1))
    assert result.problem is Problem.TIMED_OUT
    assert "CPU" in result.error


async def test_inputs_that_are_no_json_and_source_that_is_too_long(sandbox: Sandbox) -> None:
    assert (await sandbox.run(ADD, object())).problem is Problem.NOT_SERIALISABLE
    assert (await sandbox.run(ADD, float("nan"))).problem is Problem.NOT_SERIALISABLE
    assert (await sandbox.run("#" * 70_000, {})).problem is Problem.REJECTED
    assert (await sandbox.run("x = '\udc80'", {})).problem is Problem.REJECTED


async def test_one_run_leaves_nothing_for_the_next(sandbox: Sandbox) -> None:
    counting = "n = []\ndef run(i):\n    n.append(1)\n    return len(n)\n"
    assert [(await sandbox.run(counting, {})).value for _ in range(3)] == [1, 1, 1]


async def test_random_numbers_differ_from_child_to_child(sandbox: Sandbox) -> None:
    code = "import random, uuid\nimport numpy as np\ndef run(i):\n    return [random.random(), float(np.random.rand()), str(uuid.uuid4())]\n"
    seen = [(await sandbox.run(code, {})).value for _ in range(6)]
    assert all(len({row[column] for row in seen}) == 6 for column in range(3))


async def test_cases_are_checked_each_on_its_own(sandbox: Sandbox) -> None:
    cases = [
        Case(inputs={"n": 1}, expected=2.0, has_expected=True),
        Case(inputs={"n": 1}, expected=3, has_expected=True, name="wrong"),
        Case(inputs={}),
        Case(inputs={"n": 1}),
    ]
    reports = await sandbox.check(ADD, cases)
    assert [report.passed for report in reports] == [True, False, False, True]
    assert [report.name for report in reports] == ["case 1", "wrong", "case 3", "case 4"]
    assert reports[2].result.problem is Problem.RAISED


async def test_how_runs_and_calls_end_is_told(sandbox_setup: Setup) -> None:
    told: list[RunResult] = []
    async with Sandbox(sandbox_setup, on_result=told.append) as sandbox:
        await sandbox.run(ADD, {"n": 1})
        await sandbox.run("import os\ndef run(i):\n    return os.getpid()\n")
        held = sandbox.hold(COUNT)
        await held.call("fail")
    assert [result.problem for result in told] == [None, Problem.REJECTED, Problem.RAISED]
    assert all(result.wall_s > 0 for result in told)


async def test_a_changed_setup_holds_for_runs_that_begin_later(sandbox_setup: Setup) -> None:
    async with Sandbox(sandbox_setup) as sandbox:
        running = asyncio.create_task(
            sandbox.run(
                "import time\ndef run(i):\n    t = time.time()\n    while time.time() < t + 1:\n        pass\n    return 'first'\n"
            )
        )
        held = sandbox.hold(COUNT)
        assert (await held.call(None)).value == 1
        sandbox.renew(replace(sandbox_setup, limits=replace(EASY, output_bytes=1024)))
        assert (await sandbox.run("def run(i):\n    return 'x' * 5000\n")).problem is Problem.OUTPUT_TOO_LARGE
        sandbox.renew(replace(sandbox_setup, max_running=3))  # another zygote
        assert (await sandbox.run(ADD, {"n": 1})).value == 2
        assert (await held.call(None)).value == 2
        assert (await running).value == "first"
        sandbox.renew(replace(sandbox_setup, enabled=False))
        assert "switched off" in (await sandbox.run(ADD, {"n": 1})).error
        assert (await held.call(None)).problem is Problem.UNAVAILABLE
        sandbox.renew(sandbox_setup)
        assert (await sandbox.run(ADD, {"n": 1})).value == 2
        assert sandbox.deaths == 0
