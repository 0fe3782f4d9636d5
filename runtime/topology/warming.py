"""The rule for the pool of blank nodes: how many are worth keeping ready. Pure.

Called by propose.py. What the pool was asked for is played again with pools of other sizes: a node that has to be started while
somebody waits is weighed against blank nodes that wait for nothing.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from typing import Final

from runtime.cluster import WarmUse
from runtime.topology.payloads import Pool
from runtime.topology.records import Draft, Evidence
from runtime.topology.shape import WARM_NODES
from runtime.topology.shrinking import nothing_fails
from runtime.topology.situation import Situation, Wish

LEAST_WARM, MAX_WARM = 1, 16
"""One stays: a change that is approved is to be live at once."""
WAIT_WORTH_S: Final = 3600.0
"""That nobody has to wait for a process to start is worth so many seconds of one blank node (some 100 MB)."""
LEAST_TAKEN: Final = 8
"""So often a node was taken before more are kept ready …"""
QUIET_S: Final = 20 * 3600.0
"""… and so long the pool was watched before fewer are."""
BETTER, NEARLY = 0.75, 0.9
"""Another size is wanted when it costs less than this part of the present one's; nearly keeps a wish alive."""
AFTER: Final = 3
"""Windows for which it must be wanted."""


def warm_nodes(situation: Situation) -> Iterator[Wish]:
    """POOL of blank nodes: as many as cost least for what was asked of them."""
    use = situation.warm
    if use is None or use.span_s <= 0:
        return
    size, now = best_size(use), cost_s(use, use.size)
    enough = len(use.taken_s) >= LEAST_TAKEN if size > use.size else use.span_s >= QUIET_S
    part = cost_s(use, size) / now if now > 0 else 1.0
    if size == use.size or not enough or part >= NEARLY:
        return
    yield Wish(draft=_draft(situation, use, size), after=AFTER, held=part >= BETTER, gain=1.0 - part)


def best_size(use: WarmUse) -> int:
    """The smallest of those that cost least."""
    return min(range(LEAST_WARM, MAX_WARM + 1), key=lambda size: (cost_s(use, size), size))


def cost_s(use: WarmUse, size: int) -> float:
    """What a pool of ``size`` costs in seconds of one blank node: what it keeps, and the waits that it leaves."""
    return size * use.span_s + waits(use.taken_s, size, use.start_s) * WAIT_WORTH_S


def waits(taken_s: Sequence[float], size: int, start_s: float) -> int:
    """How many of those who took a node at ``taken_s`` (ascending) would have had to wait, where a pool of ``size`` makes another
    in ``start_s`` for each that is taken."""
    ready = [float("-inf")] * size
    found = 0
    for at in taken_s:
        if ready and ready[0] <= at:
            heapq.heapreplace(ready, at + start_s)
        else:
            found += 1
    return found


def _draft(situation: Situation, use: WarmUse, size: int) -> Draft:
    hours, then = use.span_s / 3600.0, waits(use.taken_s, size, use.start_s)
    since = situation.now - use.span_s

    def measured(metric: str, value: float, units: str, note: str) -> Evidence:
        count = len(use.taken_s)
        return Evidence(
            metric=metric, value=value, units=units, count=count, since=since, until=situation.now, source="warm pool", note=note
        )

    taken = f"{len(use.taken_s)} nodes were taken from the pool in {hours:.1f} h"
    return Draft(
        payload=Pool(name=WARM_NODES, size=size),
        reason=f"{taken}, {use.cold} of them had to be started first; of {size} kept ready (now {use.size}) {then} would have",
        evidence=(
            measured("cold_starts", float(use.cold), "nodes", f"a start takes {use.start_s:.2f} s"),
            measured("idle_s", use.idle_s, "s", "blank nodes that waited, each"),
        ),
        predictions=nothing_fails(situation.window.total.row(0)),
        simulated=situation.simulated,
    )
