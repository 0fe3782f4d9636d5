"""How long a committee of four takes to form from warm nodes: from the moment that its node asks for them until all are live.

    python -m ops.bench.committee [--json] [--quick] [--only local|ray]

Whole requests through a daemon with the simulated pool; the time is what the node noted in the request's trace, so that on Ray it
has the hops through the mailbox in it. Before each committee of the first kind the warm pool is full and nobody waits for one;
those of the second kind are formed of the nodes that the one before gave back, once the pool is full again.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.llm.child import free_port
from ops.bench.overhead import process
from ops.bench.plot import Bar, write_bars
from ops.bench.report import Goal, at_most, emit, parser, progress

PARTS = ("local", "ray")
MEMBERS = ("Gardener", "Carpenter", "Bookkeeper", "Neighbour")
GOAL_MS = 100.0
KEEP_S = 3.0
WAIT_S = 60.0
POLL_S = 0.3
CALM_S = 1.0
"""New processes of the warm pool take the processor for a moment after they are counted as ready."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Daemon:
    """A daemon that answers, and its operator's key."""

    port: int
    key: str

    def call(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data=data)
        request.add_header("content-type", "application/json")
        request.add_header("authorization", f"Bearer {self.key}")
        with urllib.request.urlopen(request, timeout=60) as reply:
            raw, name = reply.read(), reply.headers.get("x-request-id")
        return (json.loads(raw), name) if path != "/metrics" else raw.decode()

    def gauge(self, name: str) -> float:
        lines = (line.rsplit(" ", 1) for line in self.call("/metrics").splitlines() if not line.startswith("#"))
        return next(float(value) for found, value in lines if found == name)

    def formed(self) -> tuple[float, list[str]]:
        """(seconds, who took the seats) of one committee."""
        strategy = {"committee": {"members": list(MEMBERS), "rounds": 0, "critic": None}}
        body = {
            "model": "auto",
            "messages": [{"role": "user", "content": f"How do I build a shed? {time.monotonic()}"}],
            "morphogen": {"strategy": strategy},
        }
        _, name = self.call("/v1/chat/completions", body)
        trace, _ = self.call(f"/v1/requests/{name}")
        told = next(event["data"] for event in trace["events"] if event["data"].get("state") == "formed")
        return float(told["took_s"]), [str(seat["by"]) for seat in told["members"]]

    def rest(self, warm: int) -> None:
        """Until the warm pool is full and no node waits for a committee."""
        end = time.monotonic() + WAIT_S
        while self.gauge("morphogen_committee_nodes_waiting") or self.gauge("morphogen_nodes_warm") < warm:
            if time.monotonic() > end:
                raise SystemExit("the warm pool does not fill")
            time.sleep(0.1)
        time.sleep(CALM_S if warm else 0.0)


@contextmanager
def daemon(kind: str, seed: int) -> Iterator[Daemon]:
    """A daemon with four warm nodes and room for as many members."""
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        path = folder / "morphogen.toml"
        path.write_text(
            f'[server]\nport = {port}\n[data]\ndir = "{folder / "data"}"\n[cluster]\nkind = "{kind}"\nwarm_nodes = 4\n'
            f"[simulated]\nspeed = 0\nseed = {seed}\n[embedding]\nenabled = false\n[registry]\nenabled = false\n"
            f"[sandbox]\nenabled = false\n[routing]\nenabled = false\n"
            f"[committee]\nmax_nodes = 4\nkeep_s = {KEEP_S}\ncompare_share = 0\n"
        )
        with process([sys.executable, "-m", "runtime.cli", "serve", "--config", str(path)], port, "/readyz"):
            yield Daemon(port=port, key=(folder / "data" / "operator.key").read_text().strip())


def measure(kind: str, *, seed: int, rounds: int) -> dict[str, Any]:
    """Milliseconds of committees from warm nodes and from nodes that waited."""
    times: dict[str, list[float]] = {"warm": [], "kept": []}
    warm = 4 if kind == "ray" else 0
    with daemon(kind, seed) as running:
        for number in range(rounds + 1):
            progress(f"{kind}: round {number} of {rounds}")
            running.rest(warm)
            took_s = _taken(running, "warm")
            if number:  # the first round warms up connections and imports
                times["warm"].append(1000 * took_s)
        while running.gauge("morphogen_nodes_warm") < warm:  # the pool fills again, while the members are kept awake
            _taken(running, "kept")
            time.sleep(POLL_S)
        times["kept"] = [1000 * _taken(running, "kept") for _ in range(rounds)]
    return {
        f"{way}_{name}_ms": value
        for way, taken in times.items()
        for name, value in (("median", statistics.median(taken)), ("worst", max(taken)))
    }


def _taken(running: Daemon, way: str) -> float:
    """Seconds that a committee took whose seats must all be taken that ``way``."""
    took_s, seats = running.formed()
    if seats != [way] * len(MEMBERS):
        raise SystemExit(f"the seats were taken by {seats}, not by {way} nodes")
    return took_s


def main() -> None:
    chosen = parser(__doc__ or "", PARTS).parse_args()
    rounds = 4 if chosen.quick else 12
    kinds = [kind for kind in PARTS if chosen.only in (None, kind)]
    found = {kind: measure(kind, seed=chosen.seed, rounds=rounds) for kind in kinds}
    goals: list[Goal] = []
    for kind, each in found.items():
        goals.append(at_most(f"{kind}: committee of 4 from warm nodes (median)", each["warm_median_ms"], GOAL_MS, "ms"))
        goals.append(at_most(f"{kind}: committee of 4 from nodes that waited (median)", each["kept_median_ms"], GOAL_MS, "ms"))
    if chosen.plot is not None:
        bars: list[Bar] = [(f"{kind}: {name}", ms, GOAL_MS, "ms") for kind, each in found.items() for name, ms in each.items()]
        write_bars(chosen.plot, bars)
    emit({"rounds": rounds, **found}, goals, as_json=chosen.json)


if __name__ == "__main__":
    main()
