"""The sandbox: what it holds, what it lets work, how fast it is, what it leaves behind.

    python -m ops.bench.sandbox --data DIR [--json] [--quick] [--only PART] [--plot FILE]

Parts: corpus, programs (both need --data), latency, leaks. Latencies alternate with a plain subprocess in the same run. Hostile
snippets are run: with the policy alone they run unconfined, in throwaway processes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from ops.bench.plot import Bar, write_bars
from ops.bench.report import Goal, NoData, at_least, at_most, emit, parser, progress, skip
from ops.bench.sandbox_corpus import Row, corpus, programs
from sandbox.records import Limits, RunResult, Setup
from sandbox.runner import Sandbox

TRIVIAL = "def run(inputs):\n    return inputs['n'] + 1\n"
NUMPY = "import numpy as np\n\ndef run(inputs):\n    return np.random.normal(35, 12, 1000).tolist()\n"
PLAIN = "import json, sys\n{code}\nsys.stdout.write(json.dumps(run(json.load(sys.stdin))))\n"
LEAK_CODE = (
    TRIVIAL,
    "def run(inputs):\n    return 1 / 0\n",
    "def run(inputs):\n    return object()\n",
    "def run(inputs):\n    return bytearray(10**10)\n",
    "import os\ndef run(inputs):\n    return os.getpid()\n",
)
CALLER_S = 10.0
DATA_PARTS = ("corpus", "programs")
PARTS = ("latency", *DATA_PARTS, "leaks")


async def _timed(act: Callable[[], Awaitable[RunResult]]) -> float:
    began = time.perf_counter()
    result = await act()
    took = (time.perf_counter() - began) * 1000
    if not result.ok:
        raise SystemExit(f"a run of the benchmark failed: {result}")
    return took


def _subprocess_ms(code: str) -> float:
    began = time.perf_counter()
    argv = [sys.executable, "-I", "-c", PLAIN.format(code=code)]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(argv, input=b'{"n": 1}', capture_output=True, check=True, env=environment)
    json.loads(done.stdout)
    return (time.perf_counter() - began) * 1000


def _shown(samples: list[float]) -> Row:
    ordered = sorted(samples)
    return {
        "p50_ms": statistics.median(ordered),
        "p99_ms": ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))],
        "runs": len(ordered),
    }


async def latency(*, quick: bool) -> Row:
    """p50 and p99 of each way, alternating."""
    rounds, runs, spawns = (10, 20, 2) if quick else (25, 40, 4)
    found: dict[str, list[float]] = {name: [] for name in ("trivial", "numpy", "held", "subprocess", "subprocess_numpy")}
    limits = Limits(wall_s=CALLER_S, cpu_s=CALLER_S)
    began = time.perf_counter()
    folder = tempfile.mkdtemp(prefix="sandbox-")
    async with Sandbox(Setup(runtime_dir=folder)) as sandbox:
        health = await sandbox.health()
        cold = (time.perf_counter() - began) * 1000
        held = sandbox.hold(TRIVIAL, limits)
        for code in (TRIVIAL, NUMPY):
            await sandbox.run(code, {"n": 1}, limits)
        await held.call({"n": 1})
        own = held_bytes(folder)
        for _ in range(rounds):
            for _ in range(runs):
                found["trivial"].append(await _timed(lambda: sandbox.run(TRIVIAL, {"n": 1}, limits)))
                found["numpy"].append(await _timed(lambda: sandbox.run(NUMPY, {"n": 1}, limits)))
                found["held"].append(await _timed(lambda: held.call({"n": 1})))
            for _ in range(spawns):
                found["subprocess"].append(_subprocess_ms(TRIVIAL))
                found["subprocess_numpy"].append(_subprocess_ms(NUMPY))
        peak = (await sandbox.run(NUMPY, {"n": 1}, limits)).peak_bytes
    shutil.rmtree(folder)
    return {
        "health": health.level,
        "cold_start_ms": cold,
        **{name: _shown(samples) for name, samples in found.items()},
        "child_own_bytes": own,
        "numpy_peak_bytes": peak,
    }


def zygotes(folder: str) -> list[int]:
    """The processes of the sandbox whose runtime folder this is, children included."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if f"{folder}/".encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def held_bytes(folder: str) -> int | None:
    """The largest private memory of a child; None where this user may not see it. The zygote itself shares with its children."""
    sizes = []
    family = zygotes(folder)
    for pid in family:
        try:
            parent = int((Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
            text = (Path("/proc") / str(pid) / "smaps_rollup").read_text()
        except OSError:
            continue
        if parent in family:
            fields = dict(line.split(":", 1) for line in text.splitlines()[1:])
            sizes.append(sum(int(fields[name].split()[0]) * 1024 for name in ("Private_Dirty", "Private_Clean")))
    return max(sizes, default=None)


async def leaks(*, quick: bool) -> Row:
    """Descriptors and processes before and after many runs of all kinds, some of them cancelled."""
    runs = 500 if quick else 5000
    folder = tempfile.mkdtemp(prefix="sandbox-")
    async with Sandbox(Setup(runtime_dir=folder)) as sandbox:
        await sandbox.run(TRIVIAL, {"n": 1})
        descriptors = len(os.listdir("/proc/self/fd"))
        processes = await _settled(folder)
        gate = asyncio.Semaphore(8)

        async def one(index: int) -> bool:
            async with gate:
                task = asyncio.create_task(sandbox.run(LEAK_CODE[index % len(LEAK_CODE)], {"n": index}, Limits(wall_s=CALLER_S)))
                if index % 50 == 49:
                    await asyncio.sleep(0.002)
                    task.cancel()
                    return bool((await asyncio.gather(task, return_exceptions=True))[0] is not None)
                return isinstance(await task, RunResult)

        came = await asyncio.gather(*(one(index) for index in range(runs)))
        after_processes = await _settled(folder)
        after = len(os.listdir("/proc/self/fd"))
    await asyncio.sleep(0.5)
    left = len(zygotes(folder))
    shutil.rmtree(folder)
    return {
        "runs": runs,
        "ended_in_a_result": sum(came),
        "descriptors_leaked": after - descriptors,
        "processes_leaked": after_processes - processes,
        "processes_left_at_the_end": left,
    }


async def _settled(folder: str) -> int:
    """How many processes there are once nothing changes."""
    last = -1
    for _ in range(50):
        now = len(zygotes(folder))
        if now == last:
            break
        last = now
        await asyncio.sleep(0.1)
    return last


def goals(result: Row) -> list[Goal]:
    """Those of the parts that were measured."""
    found: list[Goal] = []
    if "both" in result:
        both, bare = result["both"], result["confinement"]
        found.append(at_most("hostile snippets that reach their goal", both["hostile_reached"], 0, ""))
        found.append(at_least("benign snippets that pass", both["benign_passed"], both["benign"], ""))
        host = bare["by_level"].get("host", 0)
        found.append(at_most("goals at the host reached with the confinement alone", host, 0, ""))
    if "programs" in result:
        found.append(at_least("verdicts that agree with the recorded ones", result["programs"]["agreement"], 0.97, ""))
        found.append(at_least("correct programs admitted", result["programs"]["admitted_of_correct"], 0.95, ""))
    if "latency" in result:
        line = result["latency"]
        found += [
            at_most("trivial run, p50", line["trivial"]["p50_ms"], 5, "ms"),
            at_most("trivial run, p99", line["trivial"]["p99_ms"], 20, "ms"),
            at_most("held function, p50", line["held"]["p50_ms"], 0.5, "ms"),
            at_most("numpy run beyond the trivial one, p50", line["numpy"]["p50_ms"] - line["trivial"]["p50_ms"], 3, "ms"),
            at_least("times faster than a subprocess, trivial", line["subprocess"]["p50_ms"] / line["trivial"]["p50_ms"], 5, ""),
            at_least(
                "times faster than a subprocess, numpy", line["subprocess_numpy"]["p50_ms"] / line["numpy"]["p50_ms"], 20, ""
            ),
            at_most("a child's own memory", _mb(line["child_own_bytes"] or line["numpy_peak_bytes"]), 15, "MB"),
        ]
    if "leaks" in result:
        leaked = result["leaks"]
        found.append(at_most("descriptors leaked", leaked["descriptors_leaked"], 0, ""))
        found.append(at_most("processes leaked", leaked["processes_leaked"] + leaked["processes_left_at_the_end"], 0, ""))
        found.append(at_least("runs that ended in a result", leaked["ended_in_a_result"], leaked["runs"], ""))
    return found


def _mb(value_bytes: int) -> float:
    return value_bytes / 1e6


async def _part(part: str, data: Path | None, *, quick: bool) -> Row:
    if part == "latency":
        return {part: await latency(quick=quick)}
    if part == "leaks":
        return {part: await leaks(quick=quick)}
    if data is None:
        raise NoData("it needs --data DIR")
    return await corpus(data, quick=quick) if part == "corpus" else {part: await programs(data, quick=quick)}


def run(chosen: argparse.Namespace) -> tuple[Row, list[Goal]]:
    """The chosen parts and their goals; what needs data that is not there is named under ``skipped``."""
    result: dict[str, Any] = {"cores": os.cpu_count(), "root": os.geteuid() == 0}
    for part in PARTS:
        if chosen.only not in (None, part):
            continue
        progress(part)
        try:
            result.update(asyncio.run(_part(part, chosen.data, quick=chosen.quick)))
        except NoData as error:
            skip(result, part, str(error))
    return result, goals(result)


def bars_of(result: Row) -> list[Bar]:
    """The corpus table and the latencies."""
    bars: list[Bar] = []
    for name in ("both", "confinement", "policy"):
        if name in result:
            table = result[name]
            bars.append((f"{name}: hostile contained", table["hostile"] - table["hostile_reached"], table["hostile"], ""))
            bars.append((f"{name}: benign passed", table["benign_passed"], table["benign"], ""))
    if "latency" in result:
        lines = {
            name: result["latency"][name]["p50_ms"] for name in ("trivial", "numpy", "held", "subprocess", "subprocess_numpy")
        }
        bars += [(f"{name}, p50", value, max(lines.values()), "ms") for name, value in lines.items()]
    return bars


def main() -> None:
    arguments = parser(__doc__ or "", PARTS)
    chosen = arguments.parse_args()
    if chosen.only in DATA_PARTS and chosen.data is None:
        arguments.error("--data names the folder of the recorded data")
    result, met = run(chosen)
    if chosen.plot is not None:
        write_bars(chosen.plot, bars_of(result))
    emit(result, met, as_json=chosen.json)


if __name__ == "__main__":
    main()
