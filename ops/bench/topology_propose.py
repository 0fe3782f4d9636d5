"""What a look at the network costs: over many outcomes, beside an event loop, and over many nodes that sleep.

Called by ops/bench/topology.py (part ``propose``).
"""

from __future__ import annotations

import asyncio
import math
import statistics
import time
from typing import Any, Final

import numpy as np

from agents.records import NodeId, NodeSpec
from ops.bench.report import Goal, at_most, progress
from runtime.topology.efficiency import efficiency
from runtime.topology.observe import observe
from runtime.topology.outcomes import Outcomes, outcomes_of
from runtime.topology.propose import propose
from runtime.topology.shape import Member, NodeLife, PatternId, Topology
from runtime.topology.situation import Memory, Situation

NODES: Final = 200
OUTCOMES: Final = 100_000
PATTERNS: Final = 120
SIZES: Final = (1_250, 2_500, 5_000, 10_000)
NOISE: Final = 1.5
"""How much more than n log n a run may take and still count as that: four runs on a busy machine."""
SAMPLE_S: Final = 0.001


def measure_propose(seed: int, *, quick: bool) -> tuple[dict[str, Any], list[Goal]]:
    """Milliseconds of a look; of the event loop's lag while looks go on in a thread; of looks over sleeping nodes."""
    progress(f"looks over {NODES} nodes and {OUTCOMES:,} outcomes")
    rounds = 5 if quick else 15
    outcomes, topology = _traffic(seed, OUTCOMES, NODES, PATTERNS, life="live"), _shape(NODES, life="live")
    times = [_timed(outcomes, topology) for _ in range(rounds)]
    look_ms = statistics.median(sum(each) for each in times)
    progress("the event loop beside them")
    alone = asyncio.run(_lag_ms(None, 0.5))
    beside = asyncio.run(_lag_ms((outcomes, topology), 1.0 if quick else 4.0))
    progress("nodes that sleep")
    asleep = {n: _asleep_ms(seed, n, 2 if quick else 5) for n in SIZES}
    first, last = SIZES[0], SIZES[-1]
    growth = asleep[last] / asleep[first]
    allowed = (last * math.log(last)) / (first * math.log(first))
    measured = {
        "observe_ms": statistics.median(each[0] for each in times),
        "propose_ms": statistics.median(each[1] for each in times),
        "look_ms": {"p50": look_ms, "worst": max(sum(each) for each in times)},
        "loop_lag_p99_ms": {"alone": alone, "beside": beside},
        "asleep_ms": {str(n): ms for n, ms in asleep.items()},
        "asleep_growth": {"measured": growth, "n_log_n": allowed},
    }
    goals = [
        at_most(f"a look over {NODES} nodes and {OUTCOMES:,} outcomes, median", look_ms, 250.0, "ms"),
        at_most("event-loop lag beside looks, p99", beside, 10.0, "ms"),
        at_most(f"growth from {first:,} to {last:,} sleeping nodes, over that of n log n", growth / allowed, NOISE, "x"),
    ]
    return measured, goals


def _timed(outcomes: Outcomes, topology: Topology) -> tuple[float, float]:
    """Milliseconds of observing, and of judging and proposing."""
    began = time.perf_counter()
    window = observe(outcomes)
    seen = time.perf_counter()
    situation = Situation(window=window, topology=topology, memory=Memory(window=9), now=1e9)
    efficiency(situation)
    propose(situation)
    return (seen - began) * 1000, (time.perf_counter() - seen) * 1000


async def _lag_ms(work: tuple[Outcomes, Topology] | None, length_s: float) -> float:
    """How late the loop wakes a sleeper (99 of 100 times), while looks follow each other in a thread."""
    over = time.perf_counter() + length_s
    lags: list[float] = []

    async def looks() -> None:
        while work is not None and time.perf_counter() < over:
            await asyncio.to_thread(_timed, *work)

    async def sleeper() -> None:
        while time.perf_counter() < over:
            began = time.perf_counter()
            await asyncio.sleep(SAMPLE_S)
            lags.append((time.perf_counter() - began - SAMPLE_S) * 1000)

    await asyncio.gather(looks(), sleeper())
    return float(np.percentile(lags, 99))


def _asleep_ms(seed: int, nodes: int, rounds: int) -> float:
    """A look where nearly all nodes are parked and ten requests came for each."""
    outcomes, topology = _traffic(seed, 10 * nodes, nodes, nodes, life="parked"), _shape(nodes, life="parked")
    return min(sum(_timed(outcomes, topology)) for _ in range(rounds))


def _traffic(seed: int, n: int, nodes: int, patterns: int, *, life: NodeLife) -> Outcomes:
    """Requests of ``patterns``, of which each has about five nodes; sleeping nodes get none, so that the generalist answers."""
    rng = np.random.default_rng(seed)
    pattern = rng.integers(0, patterns, n)
    node = (pattern + rng.integers(0, 5, n) * patterns // 3) % nodes if life == "live" else np.zeros(n, dtype=np.int64)
    return outcomes_of(
        at=np.arange(n, dtype=np.float64) + 1e9,
        ok=rng.random(n) < 0.97,
        score=np.where(rng.random(n) < 0.3, rng.beta(8, 2, n), np.nan),
        latency_s=rng.lognormal(0, 0.5, n),
        cost_usd=rng.gamma(2, 0.001, n),
        labels={
            "node": [f"node-{place}" for place in node.tolist()],
            "pattern": [f"p{place}" for place in pattern.tolist()],
            "strategy": [("single", "pipeline", "validation")[place] for place in rng.integers(0, 3, n).tolist()],
            "backend": [f"backend-{place}" for place in rng.integers(0, 4, n).tolist()],
            "locale": [f"locale-{place % 8}" for place in node.tolist()],
        },
    )


def _shape(nodes: int, *, life: NodeLife) -> Topology:
    members = {}
    for place in range(nodes):
        node_id = NodeId(f"id-{place}")
        spec = NodeSpec(node_id=node_id, name=f"node-{place}", role="specialist" if place else "generalist")
        members[node_id] = Member(spec=spec, life=life if place else "live", patterns=(PatternId(f"p{place}"),) if place else ())
    return Topology(revision=1, members=members)
