"""How long a committee of four takes to form from warm nodes: from the moment that its node asks for them until all are live.

    python -m ops.bench.committee [--json] [--quick] [--only local|ray]

Whole requests through a daemon with the simulated pool; the time is what the node noted in the request's trace, so that on Ray it
has the hops through the mailbox in it. Before each committee of the first kind the warm pool is full and nobody waits for one;
those of the second kind are formed of the nodes that the one before gave back, once the pool is full again.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

from ops.bench.daemon import CALM_S, WAIT_S, Daemon, daemon
from ops.bench.plot import Bar, write_bars
from ops.bench.report import Goal, at_most, emit, parser, progress

PARTS = ("local", "ray")
MEMBERS = ("Gardener", "Carpenter", "Bookkeeper", "Neighbour")
GOAL_MS = 100.0
KEEP_S = 3.0
POLL_S = 0.3
TABLES = f"""[routing]
enabled = false
[committee]
max_nodes = 4
keep_s = {KEEP_S}
compare_share = 0
"""


def formed(running: Daemon) -> tuple[float, list[str]]:
    """(seconds, who took the seats) of one committee."""
    strategy = {"committee": {"members": list(MEMBERS), "rounds": 0, "critic": None}}
    body = {
        "model": "auto",
        "messages": [{"role": "user", "content": f"How do I build a shed? {time.monotonic()}"}],
        "morphogen": {"strategy": strategy},
    }
    _, name = running.asked("/v1/chat/completions", body)
    trace = running.call(f"/v1/requests/{name}")
    told = next(event["data"] for event in trace["events"] if event["data"].get("state") == "formed")
    return float(told["took_s"]), [str(seat["by"]) for seat in told["members"]]


def rest(running: Daemon, warm: int) -> None:
    """Until the warm pool is full and no node waits for a committee."""
    end = time.monotonic() + WAIT_S
    while running.gauge("morphogen_committee_nodes_waiting") or running.gauge("morphogen_nodes_warm") < warm:
        if time.monotonic() > end:
            raise SystemExit("the warm pool does not fill")
        time.sleep(0.1)
    time.sleep(CALM_S if warm else 0.0)


def measure(kind: str, *, seed: int, rounds: int) -> dict[str, Any]:
    """Milliseconds of committees from warm nodes and from nodes that waited."""
    times: dict[str, list[float]] = {"warm": [], "kept": []}
    warm = 4 if kind == "ray" else 0
    with daemon(kind, warm=4, seed=seed, more=TABLES) as running:
        for number in range(rounds + 1):
            progress(f"{kind}: round {number} of {rounds}")
            rest(running, warm)
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
    took_s, seats = formed(running)
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
