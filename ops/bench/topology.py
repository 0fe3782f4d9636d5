"""How long it takes until an approved node is live, and what the control loop costs.

    python -m ops.bench.topology [--json] [--quick] [--only local|ray|steps|propose]

local, ray: whole proposals through a daemon: from the moment that the approval is sent until the node is live (the time of its
revision, by the same clock), over the ledger's synced writes; warm with blank actors ready, cold with none. steps: plans over
many parked nodes in memory.
"""

from __future__ import annotations

import math
import statistics
import time
from typing import Any

from agents.records import NodeId, NodeSpec
from ops.bench.daemon import CALM_S, Daemon, daemon
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
TABLES = "[topology]\npropose = false\nmax_spawns_per_minute = 1000\nmax_descendants = 10000\n"
SIZES = (1_250, 2_500, 5_000, 10_000)
NOISE = 1.5


def live_ms(running: Daemon, name: str) -> float:
    """From the approval that is sent to the node that is live."""
    made = running.call("/v1/proposals", {"kind": "spawn", "name": name})
    sent = time.time()
    running.call(f"/v1/proposals/{made['id']}/approve", {"hash": made["hash"]})
    path = f"/v1/proposals/{made['id']}"
    running.until(path, lambda each: each["status"] == "verifying", f"the birth of {name}")
    revision = next(row for row in running.call("/v1/topology/history")["data"] if row["proposal_id"] == made["id"])
    running.call(f"{path}/undo", {"reason": "measured"})
    running.until(path, lambda each: each["status"] == "rolled_back", f"the end of {name}")
    return 1000 * (float(revision["at"]) - sent)


def approved(kind: str, *, warm: int, seed: int, rounds: int) -> dict[str, float]:
    """Milliseconds until nodes are live."""
    taken = []
    with daemon(kind, warm=warm, seed=seed, more=TABLES) as running:
        for number in range(rounds + 1):
            progress(f"{kind}, {warm} warm: round {number} of {rounds}")
            if warm and kind == "ray":
                running.until("/v1/status", lambda status: status["cluster"]["warm"] >= warm, "a full warm pool")
                time.sleep(CALM_S)
            ms = live_ms(running, f"bench-{number}")
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
