"""Who answers and with what: pure choices of the request path.

Called by dispatch.py. No I/O, no clock: what a choice depends on is passed in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from agents.calls import CallRecord
from agents.llm.chat import BackendSpec
from agents.records import Choice, Json, NotFound, Refused
from agents.strategies.compose import BUILTIN, default_strategy, parse_strategy
from agents.strategies.runner import choice_for
from agents.strategy_specs import Single, StrategySpec, first_parts
from runtime.cluster import NodeStatus
from runtime.committees.rules import capped
from runtime.config.committee import CommitteeSettings
from runtime.learner.records import Route
from runtime.open_request import OpenRequest
from runtime.records import Request, Target

MAX_NAMES = 12
LARGEST = CommitteeSettings(size=8, rounds=5)
"""Committees as large as one can be written."""
NO_NODE_RETRY_S = 2.0


def read_model(
    model: str,
    *,
    backends: Sequence[BackendSpec],
    nodes: Sequence[NodeStatus],
    strategies: Mapping[str, Json],
) -> Target:
    """``auto``, ``node/<name>``, ``strategy/<name>`` or a backend's name or alias. Raises NotFound(param="model")."""
    if model in ("auto", ""):
        return Target()
    kind, slash, name = model.partition("/")
    if slash and kind == "node":
        known = [node.spec.name for node in nodes]
        if name in known:
            return Target(kind="node", name=name)
        raise NotFound(f"there is no node {name[:80]!r}; live nodes: {_listed(known)}", param="model")
    if slash and kind == "strategy":
        if name in BUILTIN or name in strategies:
            return Target(kind="strategy", name=name)
        raise NotFound(f"there is no strategy {name[:80]!r}; strategies: {_listed([*BUILTIN, *strategies])}", param="model")
    for backend in backends:
        if model == backend.name or model in backend.aliases:
            return Target(kind="backend", name=backend.name)
    names = [backend.name for backend in backends]
    raise NotFound(
        f"there is no backend {model[:80]!r}; use auto, node/<name>, strategy/<name> or one of: {_listed(names)}", param="model"
    )


def _listed(names: Iterable[str]) -> str:
    shown = sorted(names)
    more = f" and {len(shown) - MAX_NAMES} more" if len(shown) > MAX_NAMES else ""
    return (", ".join(shown[:MAX_NAMES]) or "none") + more


def goes_straight(request: Request) -> bool:
    """Whether a backend is asked without a node: it was named, and there is nothing but one plain call to do."""
    wishes = (request.schema, request.count, request.strategy, request.rules or None, request.constraints or None)
    return request.target.kind == "backend" and all(wish is None for wish in wishes)


def ready_nodes(request: Request, nodes: Sequence[NodeStatus]) -> list[NodeStatus]:
    """Those that may do it: the named one, else the generalists that are live or being brought back."""
    if request.target.kind == "node":
        return [node for node in nodes if node.spec.name == request.target.name]
    return [node for node in nodes if node.spec.role == "generalist" and node.state in ("live", "starting", "dead")]


def choose_node(request: Request, nodes: Sequence[NodeStatus], among: Sequence[str] = ()) -> NodeStatus:
    """The named node, else the least busy generalist (of those called ``among``, where any of them is there); one that is being
    brought back is waited for. Raises NotFound for a name that is unknown, Refused while there is no generalist."""
    ready = ready_nodes(request, nodes)
    if not ready and request.target.kind == "node":
        raise NotFound(f"there is no node {request.target.name!r}", param="model")
    if not ready:
        raise Refused("no generalist is live now", retry_after_s=NO_NODE_RETRY_S)
    ready = [node for node in ready if node.spec.name in among] or ready
    return min(ready, key=lambda node: (node.state != "live", node.inflight, node.spec.name))


def taking_node(run: OpenRequest, nodes: Sequence[NodeStatus]) -> NodeStatus | None:
    """The live specialist that took it, at the first attempt; who failed once is not asked again."""
    if run.taken is None or run.attempts > 1:
        return None
    return next((node for node in nodes if node.spec.name == run.taken.node and node.state == "live"), None)


def choose_strategy(
    request: Request,
    *,
    backends: Sequence[BackendSpec],
    strategies: Mapping[str, Json],
    committee: CommitteeSettings = LARGEST,
) -> StrategySpec | None:
    """The request's own, else the named one, else None: the node's. A committee is no larger than the host allows."""
    found = _named_strategy(request, backends, strategies)
    return None if found is None else capped(found, committee)


def _named_strategy(request: Request, backends: Sequence[BackendSpec], strategies: Mapping[str, Json]) -> StrategySpec | None:
    if request.strategy is not None or request.target.kind != "strategy":
        return request.strategy
    name = request.target.name or "single"
    if name in strategies:
        return parse_strategy(name, named=strategies)
    return default_strategy(name, backends)


def strategy_ahead(
    request: Request, *, backends: Sequence[BackendSpec], strategies: Mapping[str, Json], nodes: Iterable[NodeStatus]
) -> StrategySpec | None:
    """What ``request`` will run by as far as it says so itself: its own, the named one, that of the node it names."""
    if request.target.kind == "node" and request.strategy is None:
        return next((node.spec.strategy for node in nodes if node.spec.name == request.target.name), None)
    return choose_strategy(request, backends=backends, strategies=strategies)


def choice_of(request: Request, *, may_replace_named: bool) -> Choice:
    """Which backends may answer. A named one is replaced by another only where the operator gave an order for that."""
    named = request.backend or (request.target.name if request.target.kind == "backend" else None)
    if named is None:
        return Choice()
    return Choice(backend=named, fallback=may_replace_named)


def preferring(choice: Choice, node: NodeStatus) -> Choice:
    """The node's own preferences, where no backend was named."""
    return choice if choice.backend or not node.spec.backends else replace(choice, preferred=node.spec.backends)


def learned(choice: Choice, route: Route) -> Choice:
    """The backend that experience speaks for comes first; a name of the client's stands above it, weights below."""
    return choice if choice.backend or route.backend is None else replace(choice, preferred=(route.backend,))


def opening_choice(strategy: StrategySpec, choice: Choice) -> Choice | None:
    """What the first call of ``strategy`` will choose by, so that its permit can be leased before the hop; None where only the
    node will know: a permit that is at hand decides who is asked."""
    while not isinstance(strategy, Single):
        first = first_parts(strategy)
        if not first:
            return choice if choice.backend is not None and not choice.fallback else None
        strategy = first[0]
    return choice_for(strategy, choice)


def busy_s(calls: Sequence[CallRecord]) -> float:
    """Seconds in which at least one call was under way: the length of the union of their intervals."""
    total, end = 0.0, float("-inf")
    for start, stop in sorted((call.started_at, call.started_at + call.latency_s) for call in calls):
        total += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return total
