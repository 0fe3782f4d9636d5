"""Faults around the sandbox: killed and stopped zygotes, callers that die, missing layers, a full disk, no more processes."""

# ruff: noqa: ASYNC221, ASYNC240 - programs in one line each; the test may wait for what it sets up

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sandbox import launch
from sandbox.records import Limits, Problem, RunResult, SandboxUnavailable, Setup
from sandbox.runner import Sandbox
from tests.integration.sandbox_own import ADD, COUNT, FOREVER, GRACE_S, gone, own, processes, zygote_of

pytestmark = [pytest.mark.integration, pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")]


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
