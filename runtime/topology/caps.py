"""What the host allows, whoever asks. Pure.

Called by the controller: ``check_shape`` when a proposal is taken up, ``check_pace`` right before it is carried out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agents.records import NodeId
from runtime.topology.records import Caps, OverCap
from runtime.topology.shape import Plan, Topology
from runtime.topology.steps import after_all, births, most_live, wakings

MINUTE_S = 60.0


def check_shape(topology: Topology, plan: Plan, caps: Caps, *, descendants: Mapping[NodeId, int]) -> None:
    """Bounds that waiting does not change: the number of nodes, their depth, and how many descended from each ancestor ever
    (``descendants``, those that are gone included). Raises OverCap, Stale."""
    then = after_all(topology, plan.apply)
    born = births(plan.apply)
    if born and len(then.members) > caps.nodes:
        raise OverCap(f"there would be {len(then.members)} nodes, parked ones included", cap="topology.max_nodes")
    more: dict[NodeId, int] = {}
    for member in born:
        if member.depth > caps.depth:
            raise OverCap(
                f"{member.spec.name} would be {member.depth} generations deep, of {caps.depth}", cap="topology.max_depth"
            )
        for ancestor in member.line:
            more[ancestor] = more.get(ancestor, 0) + 1
            ever = descendants.get(ancestor, 0) + more[ancestor]
            if ever > caps.descendants:
                raise OverCap(
                    f"{ancestor} would have {ever} descendants in its life, of {caps.descendants}", cap="topology.max_descendants"
                )


def check_pace(
    topology: Topology,
    plan: Plan,
    caps: Caps,
    *,
    live: int,
    spawned_at: Sequence[float],
    spent_usd: float,
    cost_usd: float,
    verifying: int,
    now: float,
) -> None:
    """Bounds that time or other changes may lift. ``live`` nodes hold an actor now, whoever woke them; nodes were born at
    ``spawned_at`` (Unix seconds); ``spent_usd`` is what changes have cost today. Raises OverCap, Stale."""
    more_live = most_live(topology, plan.apply) - len(topology.live)
    if wakings(plan.apply) and live + more_live > caps.live_nodes:
        raise OverCap(f"{live + more_live} nodes would be live, of {caps.live_nodes}", cap="cluster.max_live_nodes")
    born, recent = len(births(plan.apply)), sum(now - MINUTE_S < at <= now for at in spawned_at)
    # More births at once than a minute allows have to be possible once: after a minute without any.
    if born and recent and recent + born > caps.spawns_per_minute:
        raise OverCap(
            f"{recent} nodes were born in the last minute, of {caps.spawns_per_minute}", cap="topology.max_spawns_per_minute"
        )
    if cost_usd > 0 and spent_usd + cost_usd > caps.spend_usd_per_day:
        raise OverCap(
            f"{spent_usd:.4f} USD went into changes today; {cost_usd:.4f} more would be over {caps.spend_usd_per_day:g}",
            cap="topology.spend_usd_per_day",
        )
    if verifying >= caps.verifying:
        raise OverCap(f"{verifying} changes are being verified, of {caps.verifying}", cap="topology.max_verifying")
