"""What the daemon adds to a call: against the upstream itself, a bare pass-through, and an installed peer.

    python -m ops.bench.overhead [--json] [--quick] [--peer 'COMMAND with {port} and {upstream}'] [--only PART]

Open loop, alternating in one run; ``added`` is the median (or p99) minus that of asking the upstream directly in the same round.
Parts: latency, saturation, memory, node.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop

from agents.llm.child import free_port
from ops.bench.load import Client, Sample, closed_loop, open_loop
from ops.bench.node_live import node_live_s
from ops.bench.plot import Bar, write_bars
from ops.bench.report import Goal, at_least, at_most, emit, parser, progress

UPSTREAM_MS = 20.0
RATE_EXPLICIT = 100.0
RATE_NODE = 50.0
WORKERS = 64
MEMORY_REQUESTS = 50_000
PARTS = ("latency", "saturation", "memory", "node")


@dataclass(slots=True)
class Line:
    """One way to the upstream, and what was measured on it."""

    name: str
    port: int
    model: str
    rate: float
    samples: list[Sample] = field(default_factory=list)
    saturation: list[float] = field(default_factory=list)

    def client(self) -> Client:
        """Fresh connections."""
        body = json.dumps({"model": self.model, "messages": [{"role": "user", "content": "ping"}]}).encode()
        return Client(self.port, "/v1/chat/completions", body)


@contextmanager
def process(argv: list[str], port: int, path: str, *, env: dict[str, str] | None = None, wait_s: float = 90) -> Iterator[int]:
    """A server as a child process, from the moment that ``path`` answers 200. Yields its process id."""
    with tempfile.TemporaryFile() as log:
        child = subprocess.Popen(argv, stdout=log, stderr=log, env={**os.environ, **(env or {})}, start_new_session=True)
        try:
            _wait(child, f"http://127.0.0.1:{port}{path}", wait_s, log)
            yield child.pid
        finally:
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)


def _wait(child: subprocess.Popen[bytes], url: str, wait_s: float, log: Any) -> None:
    end = time.monotonic() + wait_s
    while True:
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except urllib.error.HTTPError as error:
            if error.code != 503:  # it listens; a pass-through has no page here
                return
        except OSError:
            pass
        if child.poll() is not None or time.monotonic() > end:
            log.seek(0)
            raise SystemExit(f"{url} does not answer:\n{log.read().decode(errors='replace')[-2000:]}")
        time.sleep(0.05)


def rss_bytes(pid: int) -> int:
    """Resident memory of one process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def measure(lines: list[Line], chosen: argparse.Namespace) -> None:
    """Latency and saturation of every line, alternating; what is measured is noted on the lines."""
    rounds, seconds, burst = (2, 3.0, 600) if chosen.quick else (5, 8.0, 2500)
    for line in lines:  # warm-up: connections, caches, actors
        client = line.client()
        await open_loop(client, rate=line.rate, seconds=2.0)
        client.close()
    for number in range(1, rounds + 1):
        progress(f"round {number} of {rounds}")
        for line in lines:
            client = line.client()
            if chosen.only in (None, "latency"):
                line.samples.append(await open_loop(client, rate=line.rate, seconds=seconds))
            if chosen.only in (None, "saturation") and line.name != "node":
                line.saturation.append((await closed_loop(client, workers=WORKERS, requests=burst)).per_second)
            client.close()


def added_ms(line: Line, straight: Line, q: float) -> float | None:
    """Median over rounds of this line's percentile minus the upstream's in the same round; None where a round has no answer."""
    pairs = [
        (mine.percentile_ms(q), direct.percentile_ms(q)) for mine, direct in zip(line.samples, straight.samples, strict=True)
    ]
    values = [mine - direct for mine, direct in pairs if mine is not None and direct is not None]
    return statistics.median(values) if values and len(values) == len(pairs) else None


async def memory(line: Line, pid: int, requests: int) -> dict[str, float]:
    """Resident memory after a tenth of the requests (warm) and after all of them."""
    client = line.client()
    await closed_loop(client, workers=WORKERS, requests=requests // 10)
    warm = rss_bytes(pid)
    await closed_loop(client, workers=WORKERS, requests=requests - requests // 10)
    client.close()
    return {"requests": requests, "warm_bytes": warm, "end_bytes": rss_bytes(pid), "growth": rss_bytes(pid) / warm - 1}


def config(upstream: str, folder: Path, port: int) -> Path:
    """The daemon's configuration, written into ``folder``."""
    path = folder / "morphogen.toml"
    path.write_text(
        f'[server]\nport = {port}\n[data]\ndir = "{folder / "data"}"\n[embedding]\nenabled = false\n'
        f'[[backends]]\nname = "bench"\nbase_url = "{upstream}"\nmodel = "bench"\nmax_concurrency = 1000\nqueue_limit = 10000\n'
    )
    return path


def run(chosen: argparse.Namespace) -> tuple[dict[str, Any], list[Goal]]:
    """The chosen parts and their goals, on servers of their own."""
    result: dict[str, Any] = {"upstream_ms": UPSTREAM_MS, "cores": os.cpu_count()}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        up, mid, own = free_port(), free_port(), free_port()
        url = f"http://127.0.0.1:{up}/v1"
        servers = [sys.executable, "-m", "ops.bench.servers"]
        stack.enter_context(process([*servers, "upstream", "--port", str(up), "--delay-ms", str(UPSTREAM_MS)], up, "/"))
        stack.enter_context(process([*servers, "bare", "--port", str(mid), "--upstream", url], mid, "/"))
        begin = time.monotonic()
        serve = [sys.executable, "-m", "runtime.cli", "serve", "--config", str(config(url, folder, own))]
        pid = stack.enter_context(process(serve, own, "/readyz"))
        result["ready_s"] = time.monotonic() - begin
        lines = [
            Line("straight", up, "bench", RATE_EXPLICIT),
            Line("bare", mid, "bench", RATE_EXPLICIT),
            Line("explicit", own, "bench", RATE_EXPLICIT),
            Line("node", own, "auto", RATE_NODE),
        ]
        if chosen.peer:
            port = free_port()
            argv = shlex.split(chosen.peer.format(port=port, upstream=url))
            stack.enter_context(process(argv, port, chosen.peer_ready))
            lines.append(Line("peer", port, chosen.peer_model, RATE_EXPLICIT))
        if chosen.only in (None, "latency", "saturation"):
            uvloop.run(measure(lines, chosen))
        if chosen.only in (None, "memory"):
            progress("memory")
            requests = MEMORY_REQUESTS // 10 if chosen.quick else MEMORY_REQUESTS
            result["memory"] = uvloop.run(memory(lines[2], pid, requests))
    if chosen.only in (None, "node"):
        progress("nodes from the warm pool")
        result["node_live_s"] = uvloop.run(node_live_s(rounds=5))
    result["lines"] = {line.name: _shown(line, lines[0]) for line in lines}
    return result, _goals(result, {line.name: line for line in lines}, chosen.only)


def _shown(line: Line, straight: Line) -> dict[str, Any]:
    whole = Sample()
    for sample in line.samples:
        whole.add(sample)
    return {
        "rate_per_s": line.rate,
        "p50_ms": whole.percentile_ms(0.5),
        "p99_ms": whole.percentile_ms(0.99),
        "failed": whole.failed,
        "added_p50_ms": added_ms(line, straight, 0.5),
        "added_p99_ms": added_ms(line, straight, 0.99),
        "saturation_per_s": statistics.median(line.saturation) if line.saturation else None,
    }


def _goals(result: dict[str, Any], lines: dict[str, Line], chosen_only: str | None) -> list[Goal]:
    shown = result["lines"]

    def ratio(mine: float | None, other: float | None) -> float | None:
        return mine / other if mine is not None and other else None

    explicit, bare = shown["explicit"], shown["bare"]
    goals = [
        at_most("explicit: added p50 / bare's", ratio(explicit["added_p50_ms"], bare["added_p50_ms"]), 2.0, ""),
        at_most("explicit: added p99", explicit["added_p99_ms"], 20.0, "ms"),
        at_least("saturation / bare's", ratio(explicit["saturation_per_s"], bare["saturation_per_s"]), 0.6, ""),
        at_most("node: added p50 at 50/s", shown["node"]["added_p50_ms"], 12.0, "ms"),
        at_most("ready", result["ready_s"], 15.0, "s"),
        at_most("memory growth after warm-up", abs(result["memory"]["growth"]) if "memory" in result else None, 0.05, ""),
        at_most("node live from the warm pool", result.get("node_live_s"), 0.05, "s"),
    ]
    if "peer" in lines:
        peer = shown["peer"]
        goals.append(at_most("added p50 / peer's", ratio(explicit["added_p50_ms"], peer["added_p50_ms"]), 0.5, ""))
        goals.append(at_least("saturation / peer's", ratio(explicit["saturation_per_s"], peer["saturation_per_s"]), 2.0, ""))
    # A part that was left out by --only has no goals; one that was run and gave nothing has not met them.
    return [goal for goal in goals if chosen_only is None or goal.value is not None]


def bars_of(measurements: dict[str, Any]) -> list[Bar]:
    """What each line adds to a call, and how much goes through it; lines that were not measured are left out."""
    bars: list[Bar] = []
    for column, unit in (("added_p50_ms", "ms"), ("added_p99_ms", "ms"), ("saturation_per_s", "/s")):
        values = {name: line[column] for name, line in measurements["lines"].items() if line[column] is not None}
        bars += [(f"{name}: {column}", max(0.0, value), max(values.values()), unit) for name, value in values.items()]
    return bars


def main() -> None:
    arguments = parser(__doc__ or "", PARTS)
    arguments.add_argument("--peer", metavar="COMMAND", help="an installed gateway; {port} and {upstream} are filled in")
    arguments.add_argument("--peer-model", default="bench", metavar="NAME", help="the model to ask the peer for")
    arguments.add_argument(
        "--peer-ready", default="/health/liveliness", metavar="PATH", help="a path that answers once the peer is up"
    )
    chosen = arguments.parse_args()
    measurements, goals = run(chosen)
    if chosen.plot is not None:
        write_bars(chosen.plot, bars_of(measurements))
    emit(measurements, goals, as_json=chosen.json)


if __name__ == "__main__":
    main()
