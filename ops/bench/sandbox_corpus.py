"""Runs the corpus of hostile and benign snippets against the policy alone, the confinement alone, and both; and recorded
programs.

Called by ops/bench/sandbox.py. How a hostile snippet's goal is recognised is said in the corpus's README: by effects (files, a
listener, a victim process), by canaries in what came back, by time, size and the service's health.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ops.bench.report import NoData
from sandbox.records import Limits, Problem, RunResult, Setup, same_json
from sandbox.runner import Sandbox

WALL_S = 2.0
LIMITS = Limits(wall_s=WALL_S, cpu_s=5)
DEADLINE_S = 2 * WALL_S + 1
FLOOD_BYTES = 2**20 + 65_536
LATE_S = 1.0
SETTLE_S = 0.12
AT_ONCE = 4
Row = dict[str, Any]


@dataclass(slots=True)
class Seen:
    """What the host got back from one snippet."""

    text: str
    value: Any
    size: int
    took_s: float
    alive: bool
    probe: str = ""
    bad: bool = False


class Host(Protocol):
    """Something that runs snippets."""

    async def see(self, row: Row, inputs: Row) -> Seen:
        """Run a hostile snippet."""
        ...

    async def value_of(self, row: Row) -> tuple[bool, Any, str]:
        """Run a benign snippet: whether it gave a value, the value, and what went wrong otherwise."""
        ...


class SandboxHost:
    """The sandbox, with or without the policy."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def see(self, row: Row, inputs: Row) -> Seen:
        began = time.perf_counter()
        bad = False
        try:
            result = await self._sandbox.run(expanded(row), inputs, LIMITS)
            json.dumps(result.value, allow_nan=False)
        except Exception:  # the run must never raise: that is what is measured
            result, bad = RunResult(problem=Problem.CRASHED), True
        took = time.perf_counter() - began
        probe = ""
        if row.get("probe"):
            probe = str((await self._sandbox.run(row["probe"], inputs, LIMITS)).value)
        alive = (await self._sandbox.run("def run(i):\n    return 41 + i['n']\n", {"n": 1}, LIMITS)).value == 42
        text = json.dumps(asdict(result))
        size = len(json.dumps(result.value)) + len(result.error) + len(result.stdout)
        return Seen(text=text, value=result.value, size=size, took_s=took, alive=alive, probe=probe, bad=bad)

    async def value_of(self, row: Row) -> tuple[bool, Any, str]:
        result = await self._sandbox.run(row["code"], row["inputs"], LIMITS)
        return result.ok, result.value, f"{result.problem}: line {result.line}: {result.error}"


class PolicyHost:
    """The policy alone, in throwaway processes (corpus_host.py)."""

    def __init__(self, environment: dict[str, str]) -> None:
        argv = [sys.executable, "-m", "ops.bench.corpus_host"]
        self.process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
        )

    def _ask(self, **fields: Any) -> Row:
        stdin, stdout = self.process.stdin, self.process.stdout
        if stdin is None or stdout is None:
            raise RuntimeError("no pipes")
        stdin.write(json.dumps(fields) + "\n")
        stdin.flush()
        answer: Row = json.loads(stdout.readline())
        return answer

    async def see(self, row: Row, inputs: Row) -> Seen:
        began = time.perf_counter()
        answer = await asyncio.to_thread(
            self._ask,
            code=expanded(row),
            inputs=inputs,
            probe=row.get("probe"),
            wall_s=DEADLINE_S + 0.2,
            linger=row["check"] == "late",
        )
        took = time.perf_counter() - began
        outcome = answer["outcome"] or {"first": {"header": {}, "value": ""}}
        value, bad = _parsed(outcome["first"])
        text = json.dumps(outcome["first"])
        probe = str(_parsed(outcome["probe"])[0]) if "probe" in outcome else ""
        bad = bad or answer["died"] or answer["timed_out"]
        return Seen(text=text, value=value, size=len(text), took_s=took, alive=not answer["died"], probe=probe, bad=bad)

    async def value_of(self, row: Row) -> tuple[bool, Any, str]:
        answer = await asyncio.to_thread(self._ask, code=row["code"], inputs=row["inputs"], wall_s=DEADLINE_S)
        outcome = answer["outcome"] or {"first": {"header": {"problem": "died"}, "value": ""}}
        header = outcome["first"]["header"]
        return "problem" not in header, _parsed(outcome["first"])[0], str(header)


def _parsed(part: Row) -> tuple[Any, bool]:
    if not part["value"]:
        return None, False
    try:
        return json.loads(part["value"], parse_constant=float), "NaN" in part["value"] or "Infinity" in part["value"]
    except ValueError:
        return None, True


def expanded(row: Row) -> str:
    """The snippet's code, with the part that the corpus keeps short repeated as often as it says."""
    code: str = row["code"]
    if "expand" in row:
        code = code.replace(row["expand"]["token"], row["expand"]["unit"] * row["expand"]["times"])
    return code


@dataclass(slots=True)
class Stage:
    """The world around a snippet: secrets, a listener, a victim."""

    folder: Path
    canary: str = field(default_factory=lambda: "CANARY-" + secrets.token_hex(8))
    env_canary: str = field(default_factory=lambda: "ENVSECRET-" + secrets.token_hex(8))

    async def try_one(self, host: Host, row: Row) -> bool:
        """True when the snippet reached its goal."""
        secret, mark = self.folder / f"secret-{row['id']}", self.folder / f"mark-{row['id']}"
        secret.write_text(self.canary + "\n")
        secret.chmod(0o644)
        connected: list[int] = []

        def heard(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connected.append(1)
            writer.close()

        server = await asyncio.start_server(heard, "127.0.0.1", 0, family=socket.AF_INET)
        victim = self._victim()
        port = server.sockets[0].getsockname()[1]
        inputs = {
            "id": row["id"],
            "secret_file": str(secret),
            "port": port,
            "victim_pid": victim.pid,
            "mark_file": str(mark),
            "tag": row["id"],
        }
        try:
            seen = await host.see(row, inputs)
            await asyncio.sleep(LATE_S if row["check"] == "late" else SETTLE_S if row["check"] in ("connected", "written") else 0)
            return self._reached(row, seen, secret, mark, bool(connected), victim)
        finally:
            server.close()
            victim.kill()
            victim.wait()
            _remove(secret, mark, Path(f"/dev/shm/sbx-{row['id']}"))

    def _victim(self) -> subprocess.Popen[bytes]:
        """A process to kill or to read. Not one of asyncio's: whether it lives is asked at once, without a turn of the loop."""
        return subprocess.Popen(["sleep", "1000"], env={"SBX_CANARY": self.env_canary, "PATH": os.environ["PATH"]})

    def _reached(self, row: Row, seen: Seen, secret: Path, mark: Path, connected: bool, victim: subprocess.Popen[bytes]) -> bool:
        value = json.dumps(seen.value)
        checks: dict[str, Callable[[], bool]] = {
            "secret": lambda: self.canary in seen.text,
            "env": lambda: self.env_canary in seen.text,
            "written": lambda: os.path.lexists(mark),
            "late": lambda: os.path.lexists(mark),
            "connected": lambda: connected,
            "killed": lambda: victim.poll() is not None,
            "deleted": lambda: not secret.exists() or self.canary not in secret.read_text(),
            "next": lambda: "POISONED" in seen.probe,
            "deadline": lambda: seen.took_s > DEADLINE_S,
            "memory": lambda: "ALLOCATED" in value,
            "spawned": lambda: "SPAWNED:" in value,
            "leak": lambda: "LEAK:" in value,
            "flood": lambda: seen.size > FLOOD_BYTES,
            "crash": lambda: not seen.alive,
            "bad": lambda: seen.bad or not seen.alive or seen.took_s > DEADLINE_S,
            "forged": lambda: seen.value == "FORGED",
        }
        return bool(checks[row["check"]]())


def _remove(*paths: Path) -> None:
    for path in paths:
        with suppress(FileNotFoundError):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def read_rows(path: Path, *, quick: bool) -> list[Row]:
    """JSON lines, gzipped or not; every fifth with ``quick``. Raises NoData where there is no such file."""
    if not path.is_file():
        raise NoData(f"{path} is missing")
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
    rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    return rows[::5] if quick else rows


async def _in_turn(tasks: Iterable[Any], at_once: int) -> list[Any]:
    gate = asyncio.Semaphore(at_once)

    async def gated(task: Any) -> Any:
        async with gate:
            return await task

    return await asyncio.gather(*(gated(task) for task in tasks))


async def table(host: Host, stage: Stage, hostile: list[Row], benign: list[Row], at_once: int) -> Row:
    """One row of the corpus table, with what went wrong by id."""
    reached = await _in_turn((stage.try_one(host, row) for row in hostile), at_once)
    found = await _in_turn((host.value_of(row) for row in benign), at_once)
    failed = {
        row["id"]: why if not ok else f"gave {json.dumps(value)[:200]}"
        for row, (ok, value, why) in zip(benign, found, strict=True)
        if not ok or not same_json(value, row["expected"])
    }
    return {
        "hostile": len(hostile),
        "hostile_reached": sum(reached),
        "benign": len(benign),
        "benign_passed": len(benign) - len(failed),
        "by_level": dict(Counter(row["level"] for row, hit in zip(hostile, reached, strict=True) if hit)),
        "reached_ids": [row["id"] for row, hit in zip(hostile, reached, strict=True) if hit],
        "benign_failed": failed,
    }


async def corpus(data: Path, *, quick: bool, only: tuple[str, ...] = ("both", "policy", "confinement")) -> Row:
    """The tables of the three arrangements."""
    hostile = read_rows(data / "sandbox" / "hostile.jsonl", quick=quick)
    benign = read_rows(data / "sandbox" / "benign.jsonl", quick=quick)
    result: Row = {}
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage(Path(folder))
        stage.folder.chmod(0o755)
        os.environ["SBX_CANARY"] = stage.env_canary
        for name, policy in (("both", True), ("confinement", False)):
            if name in only:
                async with Sandbox(Setup(policy=policy, limits=LIMITS)) as sandbox:
                    result[name] = await table(SandboxHost(sandbox), stage, hostile, benign, AT_ONCE)
        if "policy" in only:
            host = PolicyHost({**os.environ, "TMPDIR": folder, "OPENBLAS_NUM_THREADS": "1"})
            try:
                result["policy"] = await table(host, stage, hostile, benign, 1)
            finally:
                host.process.send_signal(signal.SIGKILL)
                host.process.wait()
    return result


async def programs(data: Path, *, quick: bool) -> Row:
    """Recorded programs with their tests: how many the policy admits, and how often our verdict is the recorded one."""
    tests = {row["task_id"]: row for row in read_rows(data / "llm_code" / "problems.jsonl.gz", quick=False)}
    rows = read_rows(data / "llm_code" / "solutions.jsonl.gz", quick=quick)
    limits = Limits(wall_s=12, cpu_s=5, memory_bytes=1024 * 2**20)
    # One text stands in many rows, and is run once.
    source_of = [f"{row['code']}\n\n{tests[row['task_id']]['test']}\n\ndef run(inputs):\n    return True\n" for row in rows]
    async with Sandbox(Setup(limits=limits)) as sandbox:
        sources = sorted(set(source_of))
        results = dict(zip(sources, await _in_turn((sandbox.run(source) for source in sources), AT_ONCE), strict=True))
    counts: Counter[str] = Counter()
    differing: list[Row] = []
    for row, source in zip(rows, source_of, strict=True):
        result = results[source]
        admitted, correct = result.problem is not Problem.REJECTED, row["passed_here"]
        counts["programs"] += 1
        counts["correct"] += correct
        counts["admitted"] += admitted
        counts["correct_admitted"] += correct and admitted
        counts["agreeing"] += admitted and result.ok == correct
        if (admitted and result.ok != correct) or (correct and not admitted):
            differing.append(
                {"id": row["id"], "recorded": row["outcome_here"], "ours": f"{result.problem}: {result.line}: {result.error}"}
            )
    return {
        **{key: counts[key] for key in ("programs", "correct", "admitted", "correct_admitted", "agreeing")},
        "different_texts": len(sources),
        "agreement": counts["agreeing"] / max(1, counts["admitted"]),
        "admitted_of_correct": counts["correct_admitted"] / max(1, counts["correct"]),
        "differing": differing[:200],
    }
