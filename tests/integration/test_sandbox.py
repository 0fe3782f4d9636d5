"""The sandbox on this machine's kernel: what it runs, what it stops, and that nothing is left behind."""

# ruff: noqa: E501, ASYNC221, ASYNC240 - programs in one line each; the test may wait for what it sets up

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandbox import launch
from sandbox.records import Case, Limits, Problem, RunResult, SandboxUnavailable, Setup
from sandbox.runner import Sandbox

pytestmark = [pytest.mark.integration, pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")]

ADD = "def run(i):\n    return i['n'] + 1\n"
FOREVER = "def run(i):\n    while True:\n        pass\n"
GRACE_S = 0.2
EASY = Limits(wall_s=20, cpu_s=10)
"""For runs that are not about time, on a machine that may be busy."""


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setup]:
    """A setup of this module's own, with one caller that keeps its zygote warm."""
    made = Setup(limits=EASY, runtime_dir=str(tmp_path_factory.mktemp("sandbox", numbered=True)), allow_reduced=True)
    Path(made.runtime_dir or "").chmod(0o700)
    reached = launch.reach(made, scientific=False)
    yield made
    reached.sock.close()


@pytest.fixture
async def sandbox(setup: Setup) -> AsyncIterator[Sandbox]:
    async with Sandbox(setup) as made:
        yield made


def processes(text: str) -> set[int]:
    """Processes with ``text`` in their command line."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if text.encode() in (entry / "cmdline").read_bytes():
                    found.add(int(entry.name))
            except OSError:
                continue
    return found


def zygote_of(setup: Setup) -> int:
    """The zygote itself: the one process of this setup whose parent is not another of them."""
    family = processes(f"{setup.runtime_dir}/")
    parents = {pid: int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]) for pid in family}
    (found,) = [pid for pid, parent in parents.items() if parent not in family]
    return found


async def gone(setup: Setup) -> bool:
    for _ in range(100):
        if not processes(f"{setup.runtime_dir}/"):
            return True
        await asyncio.sleep(0.05)
    return False


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


# ── resident functions ──────────────────────────────────────────────────────────────────────────────────────────────────

COUNT = "n = 0\ndef run(i):\n    global n\n    n += 1\n    if i == 'fail':\n        raise ValueError\n    if i == 'hang':\n        while True:\n            pass\n    return n\n"


async def test_a_resident_function_keeps_its_state_until_a_violation(sandbox: Sandbox) -> None:
    held = sandbox.hold(COUNT, Limits(wall_s=1.5, cpu_s=10))
    assert [(await held.call(None)).value for _ in range(3)] == [1, 2, 3]
    assert (await held.call("fail")).problem is Problem.RAISED
    assert (await held.call(None)).value == 5
    assert (await held.call("hang")).problem is Problem.TIMED_OUT
    assert (await held.call(None)).value == 1
    await held.aclose()
    assert (await held.call(None)).problem is Problem.UNAVAILABLE


async def test_how_runs_and_calls_end_is_told(setup: Setup) -> None:
    told: list[RunResult] = []
    async with Sandbox(setup, on_result=told.append) as sandbox:
        await sandbox.run(ADD, {"n": 1})
        await sandbox.run("import os\ndef run(i):\n    return os.getpid()\n")
        held = sandbox.hold(COUNT)
        await held.call("fail")
    assert [result.problem for result in told] == [None, Problem.REJECTED, Problem.RAISED]
    assert all(result.wall_s > 0 for result in told)


async def test_a_changed_setup_holds_for_runs_that_begin_later(setup: Setup) -> None:
    async with Sandbox(setup) as sandbox:
        running = asyncio.create_task(
            sandbox.run(
                "import time\ndef run(i):\n    t = time.time()\n    while time.time() < t + 1:\n        pass\n    return 'first'\n"
            )
        )
        held = sandbox.hold(COUNT)
        assert (await held.call(None)).value == 1
        sandbox.renew(replace(setup, limits=replace(EASY, output_bytes=1024)))
        assert (await sandbox.run("def run(i):\n    return 'x' * 5000\n")).problem is Problem.OUTPUT_TOO_LARGE
        sandbox.renew(replace(setup, max_running=3))  # another zygote
        assert (await sandbox.run(ADD, {"n": 1})).value == 2
        assert (await held.call(None)).value == 2
        assert (await running).value == "first"
        sandbox.renew(replace(setup, enabled=False))
        assert "switched off" in (await sandbox.run(ADD, {"n": 1})).error
        assert (await held.call(None)).problem is Problem.UNAVAILABLE
        sandbox.renew(setup)
        assert (await sandbox.run(ADD, {"n": 1})).value == 2
        assert sandbox.deaths == 0


async def test_a_resident_function_gets_a_fresh_process_after_so_many_calls(sandbox: Sandbox) -> None:
    held = sandbox.hold(COUNT, max_calls=2)
    assert [(await held.call(None)).value for _ in range(5)] == [1, 2, 1, 2, 1]


async def test_a_refused_resident_function_says_so_at_each_call(sandbox: Sandbox) -> None:
    held = sandbox.hold("import os\ndef run(i):\n    return os.getpid()")
    for _ in range(2):
        assert (await held.call({})).problem is Problem.REJECTED


async def test_calls_at_once_are_answered_one_by_one(sandbox: Sandbox) -> None:
    held = sandbox.hold(COUNT)
    results = await asyncio.gather(*(held.call(None) for _ in range(20)))
    assert sorted(result.value for result in results) == list(range(1, 21))


# ── faults ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def own(tmp_path: Path, **changes: object) -> Setup:
    tmp_path.chmod(0o700)
    return Setup(**{"limits": EASY, "runtime_dir": str(tmp_path), "allow_reduced": True, **changes})  # type: ignore[arg-type]


async def test_a_zygote_that_is_killed_is_replaced_and_the_run_repeated(tmp_path: Path) -> None:
    setup = own(tmp_path)
    async with Sandbox(setup) as sandbox:
        assert (await sandbox.run(ADD, {"n": 1})).value == 2
        held = sandbox.hold(COUNT)
        assert (await held.call(None)).value == 1
        first = zygote_of(setup)
        code = "def run(i):\n    return sum(x * x for x in range(10**7))\n"
        running = asyncio.create_task(sandbox.run(code, {}))
        await asyncio.sleep(0.1)
        os.kill(first, signal.SIGKILL)
        result = await running
        assert result.ok, result
        assert zygote_of(setup) != first
        assert (await held.call(None)).value == 1
    assert await gone(setup)


async def test_a_zygote_that_is_stopped_holds_nobody_up(tmp_path: Path) -> None:
    setup = own(tmp_path)
    async with Sandbox(setup) as sandbox:
        assert (await sandbox.run(ADD, {"n": 1})).value == 2
        zygote = zygote_of(setup)
        os.kill(zygote, signal.SIGSTOP)
        try:
            began = time.perf_counter()
            result = await sandbox.run(FOREVER, {}, Limits(wall_s=0.5))
            assert time.perf_counter() - began < 0.5 + GRACE_S
            assert result.problem is not None
        finally:
            os.kill(zygote, signal.SIGCONT)
        assert (await sandbox.run(ADD, {"n": 1})).value == 2
    assert await gone(setup)


async def test_the_zygote_ends_with_its_last_caller(tmp_path: Path) -> None:
    setup = own(tmp_path)
    first, second = Sandbox(setup), Sandbox(setup)
    assert (await first.run(ADD, {"n": 1})).value == (await second.run(ADD, {"n": 1})).value == 2
    shared = zygote_of(setup)
    await first.aclose()
    assert (await second.run(ADD, {"n": 1})).value == 2
    assert zygote_of(setup) == shared
    await second.aclose()
    assert await gone(setup)


async def test_the_children_of_a_caller_that_dies_die_with_it(tmp_path: Path) -> None:
    setup = own(tmp_path)
    async with Sandbox(setup) as sandbox:
        await sandbox.health()
        script = (
            "import asyncio\nfrom sandbox.runner import Sandbox\nfrom sandbox.records import Limits, Setup\n"
            f"setup = Setup(runtime_dir={str(tmp_path)!r}, limits=Limits(wall_s=20, cpu_s=10), allow_reduced=True)\n"
            f"asyncio.run(Sandbox(setup).run({FOREVER!r}, None, Limits(wall_s=500, cpu_s=500)))\n"
        )
        caller = await asyncio.create_subprocess_exec(sys.executable, "-c", script)
        await asyncio.sleep(2.0)
        caller.kill()
        await caller.wait()
        for _ in range(100):
            busy = [pid for pid in processes(f"{setup.runtime_dir}/") if _cpu_s(pid) > 0.5 and pid != zygote_of(setup)]
            if not busy:
                break
            await asyncio.sleep(0.05)
        assert not busy
    assert await gone(setup)


def _cpu_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def test_a_zygote_retires_and_its_resident_functions_live_on(tmp_path: Path) -> None:
    setup = own(tmp_path, retire_after=12)
    async with Sandbox(setup) as sandbox:
        held = sandbox.hold(COUNT)
        assert (await held.call(None)).value == 1
        first = zygote_of(setup)
        assert [(await sandbox.run(ADD, {"n": n})).value for n in range(40)] == list(range(1, 41))
        assert (await held.call(None)).value == 2
        assert first in processes(f"{setup.runtime_dir}/")
        await held.aclose()
        for _ in range(100):
            if first not in processes(f"{setup.runtime_dir}/"):
                break
            await asyncio.sleep(0.05)
        assert first not in processes(f"{setup.runtime_dir}/")
        assert (await sandbox.run(ADD, {"n": 1})).value == 2
    assert await gone(setup)


async def test_a_hundred_runs_at_once_all_end_in_time(sandbox: Sandbox) -> None:
    await sandbox.health()
    limits = Limits(wall_s=5, cpu_s=5)

    async def timed(index: int) -> tuple[RunResult, float]:
        began = time.perf_counter()
        result = await sandbox.run(FOREVER if index % 10 == 9 else ADD, {"n": index}, limits)
        return result, time.perf_counter() - began

    done = await asyncio.gather(*(timed(index) for index in range(100)))
    assert all(took < limits.wall_s + GRACE_S for _, took in done)
    assert all(result.ok or result.problem in (Problem.TIMED_OUT, Problem.UNAVAILABLE) for result, _ in done)
    assert sum(result.ok for result, _ in done) >= 80


async def test_cancelled_runs_leave_nothing_behind(tmp_path: Path) -> None:
    setup = own(tmp_path)
    async with Sandbox(setup) as sandbox:
        await sandbox.run(ADD, {"n": 1})
        await asyncio.sleep(0.3)
        descriptors, before = len(os.listdir("/proc/self/fd")), len(processes(f"{setup.runtime_dir}/"))
        for index in range(60):
            task = asyncio.create_task(sandbox.run(FOREVER, {}))
            await asyncio.sleep(0.0015 * (index % 6))
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        for _ in range(100):
            if len(processes(f"{setup.runtime_dir}/")) <= before:
                break
            await asyncio.sleep(0.05)
        assert len(processes(f"{setup.runtime_dir}/")) <= before
        assert len(os.listdir("/proc/self/fd")) == descriptors
        assert (await sandbox.run(ADD, {"n": 1})).value == 2
    assert await gone(setup)


async def test_a_switched_off_sandbox_runs_nothing(tmp_path: Path) -> None:
    async with Sandbox(own(tmp_path, enabled=False)) as sandbox:
        assert (await sandbox.run(ADD, {"n": 1})).problem is Problem.UNAVAILABLE
        assert (await sandbox.health()).level == "off"
    assert not processes(f"{tmp_path}/")


@pytest.mark.parametrize(
    ("without", "allowed", "level", "runs"),
    [
        ({"namespaces"}, False, "full", True),
        ({"landlock"}, False, "full", True),
        ({"namespaces", "landlock", "empty_root"}, False, "reduced", False),
        ({"namespaces", "landlock", "empty_root"}, True, "reduced", True),
        ({"seccomp"}, True, "off", False),
        ({"rlimits"}, True, "off", False),
    ],
)
@pytest.mark.skipif(os.geteuid() != 0, reason="layers make up for each other only where all can be had")
async def test_missing_layers(tmp_path: Path, without: set[str], allowed: bool, level: str, runs: bool) -> None:
    setup = own(tmp_path, without=frozenset(without), allow_reduced=allowed)
    async with Sandbox(setup) as sandbox:
        assert (await sandbox.health()).level == level
        result = await sandbox.run(ADD, {"n": 1})
        assert result.ok is runs
        if not runs:
            assert result.problem is Problem.UNAVAILABLE
            assert "refuses" in result.error


async def test_a_folder_that_others_can_enter_is_not_used(tmp_path: Path) -> None:
    setup = own(tmp_path)
    tmp_path.chmod(0o755)
    async with Sandbox(setup) as sandbox:
        result = await sandbox.run(ADD, {"n": 1})
    assert result.problem is Problem.UNAVAILABLE
    assert "mode 700" in result.error


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a full disk")
async def test_a_full_disk_ends_in_a_result(tmp_path: Path) -> None:
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k,nr_inodes=2,mode=700", "tmpfs", tmp_path], check=False)
    if mounted.returncode:
        pytest.skip("cannot mount here")
    try:
        (tmp_path / "fill").touch()
        async with Sandbox(Setup(runtime_dir=str(tmp_path))) as sandbox:
            result = await sandbox.run(ADD, {"n": 1})
        assert result.problem is Problem.UNAVAILABLE
        assert "space" in result.error
    finally:
        subprocess.run(["umount", tmp_path], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="changes the user")
async def test_a_failing_fork_ends_in_a_result(tmp_path: Path) -> None:
    """A zygote whose user may have no more processes."""
    setup = own(tmp_path)
    async with Sandbox(setup) as sandbox:
        assert (await sandbox.run(ADD, {"n": 1})).value == 2
        nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        subprocess.run([*nobody, "prlimit", f"--pid={zygote_of(setup)}", "--nproc=1:1"], check=True)
        results = [await sandbox.run(ADD, {"n": 1}, Limits(wall_s=5)) for _ in range(10)]
        assert all(result.ok or result.problem is Problem.UNAVAILABLE for result in results)
        assert results[-1].problem is Problem.UNAVAILABLE
        assert "no new process" in results[-1].error
    assert await gone(setup)


@pytest.mark.skipif(os.geteuid() != 0, reason="changes the user")
def test_it_works_for_an_ordinary_user(tmp_path: Path) -> None:
    script = (
        "import asyncio\nfrom sandbox.runner import Sandbox\nfrom sandbox.records import *\n"
        "async def main():\n    async with Sandbox(Setup(allow_reduced=True, limits=Limits(wall_s=20, cpu_s=10))) as s:\n"
        "        h = await s.health()\n        print(h.level, h.reason)\n"
        f"        print((await s.run({ADD!r}, {{'n': 41}})).value)\n"
        "        print((await s.run('def run(i):\\n    while True: pass', {}, Limits(wall_s=1))).problem)\n"
        "asyncio.run(main())\n"
    )
    argv = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs", sys.executable, "-c", script]
    environment = {"PYTHONPATH": os.pathsep.join(sys.path), "PATH": os.environ["PATH"]}
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, env=environment, cwd="/", check=False)
    if "Permission denied" in done.stderr + done.stdout or "denied" in done.stderr:
        pytest.skip("this interpreter is not readable for others")
    lines = done.stdout.splitlines()
    assert lines[0].startswith(("full", "reduced")), (lines, done.stderr[-500:])
    assert lines[1:] == ["42", "timed_out"]


def words(text: str) -> list[str]:
    return text.split()


# ── fuzz ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

NAMES = st.sampled_from(words("x y i run self _p __class__ print len str np math getattr type super object e f format data base"))
ATTRIBUTES = st.sampled_from(
    words("real format data base append join mro obj _x __class__ __dict__ __init__ T sum gi_frame upper")
)
ATOMS = st.one_of(
    NAMES, st.sampled_from(["1", "'{0.x}'", "[1, 2]", "{'a': 1}", "(1,)", "None", "1.5", "b'x'", "10**9", "lambda *a, **k: a"])
)
EXPRESSIONS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.tuples(inner, ATTRIBUTES).map(lambda p: f"({p[0]}).{p[1]}"),
        st.tuples(inner, inner).map(lambda p: f"({p[0]})({p[1]})"),
        st.tuples(inner, inner).map(lambda p: f"({p[0]})[{p[1]}]"),
        st.tuples(inner, st.sampled_from(words("+ * - % ** == in and @ <<")), inner).map(lambda p: f"({p[0]} {p[1]} {p[2]})"),
        st.tuples(inner, NAMES, inner).map(lambda p: f"[{p[0]} for {p[1]} in {p[2]}]"),
        inner.map(lambda e: f"f'{{{e}!r:>3}}'" if "'" not in e and "{" not in e else e),
    ),
    max_leaves=8,
)
STATEMENTS = st.one_of(
    EXPRESSIONS,
    st.tuples(NAMES, EXPRESSIONS).map(lambda p: f"{p[0]} = {p[1]}"),
    st.tuples(NAMES, ATTRIBUTES, EXPRESSIONS).map(lambda p: f"{p[0]}.{p[1]} += {p[2]}"),
    st.tuples(NAMES, EXPRESSIONS, EXPRESSIONS).map(lambda p: f"{p[0]}[{p[1]}] = {p[2]}"),
    st.tuples(NAMES, EXPRESSIONS).map(lambda p: f"for {p[0]} in {p[1]}: pass"),
    EXPRESSIONS.map(lambda e: f"raise {e}"),
    EXPRESSIONS.map(lambda e: f"yield {e}"),
    NAMES.map(lambda n: f"import {n}"),
    NAMES.map(lambda n: f"class A({n}): {n} = 1"),
    st.tuples(NAMES, EXPRESSIONS).map(lambda p: f"with {p[1]} as {p[0]}: pass"),
)
PROGRAMS = st.lists(STATEMENTS, min_size=1, max_size=6).flatmap(
    lambda lines: EXPRESSIONS.map(
        lambda last: "import numpy as np, math\ndef run(i):\n    " + "\n    ".join(lines) + f"\n    return {last}\n"
    )
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.one_of(PROGRAMS, st.text(max_size=80)), min_size=4, max_size=4))
def test_whatever_the_program_only_a_result_comes_out(setup: Setup, programs: list[str]) -> None:
    async def work() -> list[RunResult]:
        async with Sandbox(setup) as sandbox:
            return list(await asyncio.gather(*(sandbox.run(code, {"n": 1}, Limits(wall_s=3)) for code in programs)))

    for result in asyncio.run(work()):
        assert isinstance(result, RunResult)
        assert result.ok == (result.problem is None)
        assert result.problem is not Problem.UNAVAILABLE, result
        assert result.wall_s < 3 + GRACE_S


def test_a_socket_where_nobody_answers_is_replaced(tmp_path: Path) -> None:
    setup = own(tmp_path)
    path = tmp_path / f"{launch._name(setup, scientific=False)}.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stale:
        stale.bind(str(path))
    reached = launch.reach(setup, scientific=False)
    reached.sock.close()
    assert {layer["name"] for layer in reached.layers} >= {"seccomp", "landlock", "empty_root"}


def test_a_folder_of_someone_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").symlink_to("/tmp")
    with pytest.raises((SandboxUnavailable, OSError)):
        launch.reach(Setup(runtime_dir=str(tmp_path / "x")), scientific=False)
