"""What a request leaves open, as arms: strategy x node x backend of what is configured and live.

Called by desk.py. Pure: what a list depends on is passed in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from agents.calls import Health
from agents.llm.chat import BackendSpec
from agents.records import Json
from agents.strategies.compose import BUILTIN, default_strategy, parse_strategy, strategy_name
from agents.strategy_specs import Committee, Single, StrategySpec, first_parts
from runtime.choosing import choose_strategy, ready_nodes
from runtime.cluster import NodeStatus
from runtime.learner.records import OWN
from runtime.records import Request
from runtime.routing.records import Arm


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """An arm and what it means for the request path; ``weight`` is the share that configuration gives it."""

    arm: Arm
    backend: str | None
    strategy: StrategySpec | None
    nodes: tuple[str, ...]
    weight: float


def options(
    request: Request,
    *,
    nodes: Sequence[NodeStatus],
    backends: Sequence[BackendSpec],
    health: Mapping[str, Health],
    strategies: Mapping[str, Json],
    also: Sequence[str],
    most: int,
    committee: Committee | None = None,
) -> list[Option]:
    """At most ``most`` options; the node's own strategy comes first. Empty where the client named the backend. ``committee`` is
    the one that the request goes to where nothing better is known: the other ways have no weight beside it."""
    if request.backend is not None or request.target.kind == "backend":
        return []
    named = choose_strategy(request, backends=backends, strategies=strategies)
    found: dict[str, Option] = {}
    for group in _alike(ready_nodes(request, nodes)):
        able = _of_node(group[0], _usable(backends, health))
        own = named or group[0].spec.strategy
        for label, strategy in _strategies(request, own, backends, strategies, also):
            for option in _over_backends(label, strategy, strategy or own, group, able):
                found.setdefault(option.arm.key, option)
        if committee is not None:
            hard = Arm(strategy=strategy_name(committee), node=group[0].spec.name, backend=OWN)
            names = tuple(node.spec.name for node in group)
            found[hard.key] = Option(arm=hard, backend=None, strategy=committee, nodes=names, weight=1.0)
    every = list(found.values())
    if committee is None:
        return every[:most]
    every.sort(key=lambda option: option.strategy is not committee)
    return [option if option.strategy is committee else replace(option, weight=0.0) for option in every[:most]]


def usd_per_1m(spec: BackendSpec) -> float:
    """The middle of both prices: the unit in which a backend's costs are learned."""
    return (spec.input_usd_per_mtok + spec.output_usd_per_mtok) / 2


def takes_backend(strategy: StrategySpec) -> bool:
    """Whether the first model that it asks is the router's to choose: it names neither a backend nor a tier."""
    while not isinstance(strategy, Single):
        first = first_parts(strategy)
        if not first:
            return False
        strategy = first[0]
    return strategy.backend is None and strategy.tier is None


def _strategies(
    request: Request,
    own: StrategySpec,
    backends: Sequence[BackendSpec],
    strategies: Mapping[str, Json],
    also: Sequence[str],
) -> Iterator[tuple[str, StrategySpec | None]]:
    """By name; None stands for what the request or its node says."""
    named = request.target.name if request.target.kind == "strategy" else None
    yield named or strategy_name(own), None
    if request.strategy is None and request.target.kind == "auto":
        for name in also:
            if name in strategies or name in BUILTIN:
                yield name, parse_strategy(name, named=strategies) if name in strategies else default_strategy(name, backends)


def _alike(nodes: Sequence[NodeStatus]) -> list[list[NodeStatus]]:
    """Nodes that do the same, together, by name: which of them does a piece of work is a question of load."""
    groups: dict[object, list[NodeStatus]] = {}
    for node in sorted(nodes, key=lambda each: each.spec.name):
        spec = node.spec
        groups.setdefault((spec.role, spec.speciality, spec.prompt, spec.backends, spec.strategy), []).append(node)
    return list(groups.values())


def _usable(backends: Sequence[BackendSpec], health: Mapping[str, Health]) -> list[BackendSpec]:
    """Those that configuration gives a share and whose breaker is not open; all where that leaves none."""
    weighted = [spec for spec in backends if spec.weight > 0] or list(backends)
    return [spec for spec in weighted if (state := health.get(spec.name)) is None or state.state != "open"] or weighted


def _of_node(node: NodeStatus, backends: Sequence[BackendSpec]) -> Sequence[BackendSpec]:
    own = [spec for spec in backends if spec.name in node.spec.backends]
    return own or backends


def _over_backends(
    strategy: str, chosen: StrategySpec | None, used: StrategySpec, group: Sequence[NodeStatus], able: Sequence[BackendSpec]
) -> Iterator[Option]:
    names = tuple(node.spec.name for node in group)
    if not takes_backend(used):
        arm = Arm(strategy=strategy, node=names[0], backend=OWN)
        yield Option(arm=arm, backend=None, strategy=chosen, nodes=names, weight=0.0 if chosen is not None else 1.0)
        return
    for spec in able:
        arm = Arm(strategy=strategy, node=names[0], backend=spec.name, usd_per_1m=usd_per_1m(spec))
        # Nothing speaks for a further strategy before something is known of it.
        weight = 0.0 if chosen is not None else spec.weight
        yield Option(arm=arm, backend=spec.name, strategy=chosen, nodes=names, weight=weight)
