"""How long it takes until an approved node is live, and what the control loop costs.

    python -m ops.bench.topology [--json] [--quick] [--only local|ray|steps|propose]

local, ray: whole proposals through a daemon: from the moment that the approval is sent until the node is live (the time of its
revision, by the same clock), over the ledger's synced writes; warm with blank actors ready, cold with none. steps: plans over
many parked nodes in memory.
"""

from __future__ import annotations

import json
import math
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
from agents.records import NodeId, NodeSpec
from ops.bench.overhead import process
from ops.bench.plot import Bar, write_bars
from ops.bench.report import Goal, at_most, emit, parser, progress
from ops.bench.topology_propose import measure_propose
from runtime.topology.caps import check_shape
from runtime.topology.payloads import Spawn
from runtime.topology.plan import plan_of
from runtime.topology.records import Caps, Draft
from runtime.topology.shape import Member, ProposalId, Topology
from runtime.topology.steps import after_all
from runtime.topology.wire import digest_of

PARTS = ("local", "ray", "steps", "propose")
WARM_MS, COLD_MS = 50.0, 2000.0
WAIT_S = 60.0
CALM_S = 1.0
SIZES = (1_250, 2_500, 5_000, 10_000)
NOISE = 1.5


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
            return json.loads(reply.read())

    def until(self, path: str, found: Any, what: str) -> Any:
        """What ``path`` gives, once ``found`` says yes to it."""
        end = time.monotonic() + WAIT_S
        while not found(answer := self.call(path)):
            if time.monotonic() > end:
                raise SystemExit(f"{what} does not happen")
            time.sleep(0.02)
        return answer

    def live_ms(self, name: str) -> float:
        """From the approval that is sent to the node that is live."""
        made = self.call("/v1/proposals", {"kind": "spawn", "name": name})
        sent = time.time()
        self.call(f"/v1/proposals/{made['id']}/approve", {"hash": made["hash"]})
        path = f"/v1/proposals/{made['id']}"
        self.until(path, lambda each: each["status"] == "verifying", f"the birth of {name}")
        revision = next(row for row in self.call("/v1/topology/history")["data"] if row["proposal_id"] == made["id"])
        self.call(f"{path}/undo", {"reason": "measured"})
        self.until(path, lambda each: each["status"] == "rolled_back", f"the end of {name}")
        return 1000 * (float(revision["at"]) - sent)


@contextmanager
def daemon(kind: str, *, warm: int, seed: int) -> Iterator[Daemon]:
    """A daemon with so many blank actors ready."""
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        path = folder / "morphogen.toml"
        path.write_text(
            f'[server]\nport = {port}\n[data]\ndir = "{folder / "data"}"\n[cluster]\nkind = "{kind}"\nwarm_nodes = {warm}\n'
            f"[simulated]\nspeed = 0\nseed = {seed}\n[embedding]\nenabled = false\n[registry]\nenabled = false\n"
            f"[sandbox]\nenabled = false\n[topology]\npropose = false\nmax_spawns_per_minute = 1000\nmax_descendants = 10000\n"
        )
        with process([sys.executable, "-m", "runtime.cli", "serve", "--config", str(path)], port, "/readyz"):
            yield Daemon(port=port, key=(folder / "data" / "operator.key").read_text().strip())


def approved(kind: str, *, warm: int, seed: int, rounds: int) -> dict[str, float]:
    """Milliseconds until nodes are live."""
    taken = []
    with daemon(kind, warm=warm, seed=seed) as running:
        for number in range(rounds + 1):
            progress(f"{kind}, {warm} warm: round {number} of {rounds}")
            if warm and kind == "ray":
                running.until("/v1/status", lambda status: status["cluster"]["warm"] >= warm, "a full warm pool")
                time.sleep(CALM_S)
            ms = running.live_ms(f"bench-{number}")
            if number:  # the first round warms up connections and imports
                taken.append(ms)
    return {"median_ms": statistics.median(taken), "worst_ms": max(taken)}


def planned(seed: int, *, rounds: int) -> dict[str, float]:
    """Milliseconds of a proposal (plan, caps, digest, its steps done) over so many parked nodes, by their number."""
    found = {}
    for size in SIZES:
        progress(f"a plan over {size:,} parked nodes")
        first = Member(spec=NodeSpec(node_id=NodeId("first"), name="first", role="generalist"))
        members = {first.node_id: first}
        for number in range(size):
            spec = NodeSpec(node_id=NodeId(f"n{number}"), name=f"n{number}", role="specialist", prompt=f"{seed}")
            members[spec.node_id] = Member(spec=spec, life="parked", line=(first.node_id,))
        topology = Topology(revision=1, members=members)
        found[str(size)] = statistics.median(_plan_ms(topology) for _ in range(rounds))
    return found


def _plan_ms(topology: Topology) -> float:
    spec = NodeSpec(node_id=NodeId("new"), name="new", role="specialist")
    begin = time.perf_counter()
    draft = Draft(payload=Spawn(spec=spec, parent=NodeId("first")), reason="measured")
    plan = plan_of(draft.payload, topology, proposal_id=ProposalId("p"), now=0.0)
    check_shape(topology, plan, Caps(nodes=100_000), descendants={})
    digest_of(draft, 1, plan)
    after_all(topology, plan.apply)
    return 1000 * (time.perf_counter() - begin)


def main() -> None:
    chosen = parser(__doc__ or "", PARTS).parse_args()
    rounds = 5 if chosen.quick else 20
    found: dict[str, Any] = {"rounds": rounds}
    goals: list[Goal] = []
    for kind in ("local", "ray"):
        if chosen.only not in (None, kind):
            continue
        found[kind] = {"warm": approved(kind, warm=2, seed=chosen.seed, rounds=rounds)}
        goals.append(at_most(f"{kind}: live after approval, warm (median)", found[kind]["warm"]["median_ms"], WARM_MS, "ms"))
        if kind == "ray":
            found[kind]["cold"] = approved(kind, warm=0, seed=chosen.seed, rounds=max(3, rounds // 4))
            goals.append(at_most("ray: live after approval, cold (median)", found[kind]["cold"]["median_ms"], COLD_MS, "ms"))
    if chosen.only in (None, "steps"):
        asleep = found["plan_ms"] = planned(chosen.seed, rounds=20 if chosen.quick else 100)
        first, last = SIZES[0], SIZES[-1]
        growth = asleep[str(last)] / asleep[str(first)]
        allowed = NOISE * last * math.log(last) / (first * math.log(first))
        goals.append(
            at_most(f"a plan's growth from {first:,} to {last:,} parked nodes (n log n with noise)", growth, allowed, "x")
        )
    if chosen.only in (None, "propose"):
        found["propose"], met = measure_propose(chosen.seed, quick=chosen.quick)
        goals += met
    if chosen.plot is not None:
        bars: list[Bar] = [
            (f"{kind}: {way}", each["median_ms"], WARM_MS if way == "warm" else COLD_MS, "ms")
            for kind in ("local", "ray")
            for way, each in found.get(kind, {}).items()
        ]
        write_bars(chosen.plot, bars)
    emit(found, goals, as_json=chosen.json)


if __name__ == "__main__":
    main()
