"""Steps from one shape to the next, taken back, compared and counted.

Called by plan.py, the controller and the ledger. Pure. A step names what it finds and what it leaves: its inverse is the same
step the other way round, doing it twice is doing it once, and a plan over a shape that has changed meanwhile is found out
(``fits``) before anything is done.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Literal

from runtime.topology.records import TopologyError
from runtime.topology.shape import Member, MemberStep, PoolStep, RouterStep, Step, Topology, TuneStep

Act = Literal["spawn", "wake", "park", "respec", "end", "none"]
"""What a step on a node means for the live nodes."""


class Stale(TopologyError):
    """The shape is not what the step was made for."""


def inverse(steps: Iterable[Step]) -> tuple[Step, ...]:
    """What takes ``steps`` back: each the other way round, the last first."""
    return tuple(_turned(step) for step in reversed(tuple(steps)))


def _turned(step: Step) -> Step:
    match step:
        case MemberStep():
            return replace(step, before=step.after, after=step.before)
        case RouterStep():
            return replace(step, before=step.after, after=step.before)
        case TuneStep():
            return replace(step, before=step.after, after=step.before)
        case PoolStep():
            return replace(step, before=step.after, after=step.before)


def found(topology: Topology, step: Step) -> Member | str | int | tuple[str, ...] | None:
    """What ``topology`` has where ``step`` works."""
    match step:
        case MemberStep(node_id=node_id):
            return topology.members.get(node_id)
        case RouterStep():
            return topology.router
        case TuneStep():
            return topology.tuned
        case PoolStep(name=name):
            return topology.pools.get(name)


def is_done(topology: Topology, step: Step) -> bool:
    return found(topology, step) == step.after


def after(topology: Topology, step: Step) -> Topology:
    """The shape with ``step`` done (the same one where it is done already); its revision stays. Raises Stale."""
    now = found(topology, step)
    if now == step.after:
        return topology
    if now != step.before:
        raise Stale(f"{place_of(step)} has changed since the step was planned")
    match step:
        case MemberStep(node_id=node_id, after=member):
            members = dict(topology.members)
            if member is None:
                del members[node_id]
            else:
                members[node_id] = member
            return replace(topology, members=members)
        case RouterStep(after=version):
            return replace(topology, router=version)
        case TuneStep(after=settings):
            return replace(topology, tuned=settings)
        case PoolStep(name=name, after=size):
            pools = {each: value for each, value in topology.pools.items() if each != name}
            return replace(topology, pools=pools if size is None else {**pools, name: size})


def after_all(topology: Topology, steps: Iterable[Step]) -> Topology:
    """Raises Stale."""
    for step in steps:
        topology = after(topology, step)
    return topology


def fits(topology: Topology, steps: Iterable[Step]) -> bool:
    """Whether ``steps`` can still be done as they were planned."""
    try:
        after_all(topology, steps)
    except Stale:
        return False
    return True


def act_of(step: MemberStep) -> Act:
    """What has to be done to the live nodes so that they are as ``step`` leaves them."""
    was = step.before is not None and step.before.life == "live"
    if step.after is None:
        return "end"
    if step.after.life == "parked":
        return "park" if was else "none"
    if not was:
        return "spawn" if step.before is None else "wake"
    return "respec" if step.before is not None and step.before.spec != step.after.spec else "none"


def place_of(step: Step) -> str:
    """Where a step works, in a word: two changes of one place do not go on at once."""
    match step:
        case MemberStep(node_id=node_id):
            return f"node {node_id}"
        case RouterStep():
            return "the router"
        case TuneStep():
            return "the settings of routing"
        case PoolStep(name=name):
            return f"the pool {name}"


def births(steps: Iterable[Step]) -> tuple[Member, ...]:
    """The nodes that ``steps`` bring into being."""
    return tuple(step.after for step in steps if isinstance(step, MemberStep) and step.before is None and step.after is not None)


def wakings(steps: Iterable[Step]) -> int:
    """How many nodes ``steps`` make live."""
    return sum(isinstance(step, MemberStep) and act_of(step) in ("spawn", "wake") for step in steps)


def most_live(topology: Topology, steps: Iterable[Step]) -> int:
    """The most nodes that are live at any moment while ``steps`` are done. Raises Stale."""
    most = len(topology.live)
    for step in steps:
        topology = after(topology, step)
        most = max(most, len(topology.live))
    return most


def difference(one: Topology, other: Topology) -> tuple[Step, ...]:
    """Steps from ``one`` to ``other``: nodes first, those that come before those that go."""
    names = list(dict.fromkeys((*other.members, *one.members)))
    pairs = [(name, one.members.get(name), other.members.get(name)) for name in names]
    nodes = [MemberStep(node_id=name, before=before, after=then) for name, before, then in pairs if before != then]
    nodes.sort(key=lambda step: act_of(step) in ("park", "end"))
    router = [RouterStep(before=one.router, after=other.router)] if one.router != other.router else []
    tuned = [TuneStep(before=one.tuned, after=other.tuned)] if one.tuned != other.tuned else []
    pools = [
        PoolStep(name=name, before=one.pools.get(name), after=other.pools.get(name))
        for name in dict.fromkeys((*other.pools, *one.pools))
        if one.pools.get(name) != other.pools.get(name)
    ]
    return (*nodes, *router, *tuned, *pools)
