"""Streams of outcomes and shapes for tests and benches of the topology's rules."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from agents.records import NodeId, NodeSpec, Role
from agents.strategy_specs import Single, StrategySpec
from runtime.topology.observe import Window, observe
from runtime.topology.outcomes import Outcomes, outcomes_of
from runtime.topology.shape import Member, NodeLife, PatternId, Topology
from runtime.topology.situation import Memory, Rules, Seen, Situation


@dataclass(frozen=True, kw_only=True)
class Flow:
    """``n`` requests of one pattern that one arm answered. ``score`` None: nobody judged them."""

    n: int
    node: str | None = "generalist"
    pattern: str | None = "p"
    strategy: str = "single"
    backend: str = "b"
    locale: str = "root"
    score: float | None = 0.8
    spread: float = 0.05
    ok: float = 1.0
    faults: float = 0.0
    latency_s: float = 1.0
    cost_usd: float = 0.001


def stream(flows: Iterable[Flow], *, seed: int = 1, at: float = 1_000.0) -> Outcomes:
    """The flows' outcomes, shuffled, a second apart."""
    rng = np.random.default_rng(seed)
    rows = [flow for flow in flows for _ in range(flow.n)]
    rng.shuffle(rows)
    n = len(rows)
    answered = rng.random(n) < [flow.ok for flow in rows]
    scores = [
        None if flow.score is None or not fine else float(np.clip(flow.score + flow.spread * rng.standard_normal(), 0, 1))
        for flow, fine in zip(rows, answered, strict=True)
    ]
    return outcomes_of(
        at=at + np.arange(n),
        ok=answered,
        fault=~answered & (rng.random(n) < [flow.faults for flow in rows]),
        score=scores,
        latency_s=np.array([flow.latency_s for flow in rows]) * rng.uniform(0.9, 1.1, n),
        cost_usd=np.array([flow.cost_usd for flow in rows]),
        labels={
            "node": [flow.node for flow in rows],
            "pattern": [flow.pattern for flow in rows],
            "strategy": [flow.strategy for flow in rows],
            "backend": [flow.backend for flow in rows],
            "locale": [flow.locale for flow in rows],
        },
    )


def member(
    name: str = "generalist",
    role: Role = "generalist",
    *,
    patterns: Sequence[str] = (),
    life: NodeLife = "live",
    locale: str = "root",
    strategy: StrategySpec | None = None,
    backends: tuple[str, ...] = (),
    line: Sequence[str] = (),
) -> Member:
    """A node whose id is its name with ``id-`` before it."""
    spec = NodeSpec(
        node_id=NodeId(f"id-{name}"), name=name, role=role, locale=locale, backends=backends, strategy=strategy or Single()
    )
    return Member(
        spec=spec, life=life, patterns=tuple(map(PatternId, patterns)), line=tuple(NodeId(f"id-{each}") for each in line)
    )


def shape(*members: Member, pools: dict[str, int] | None = None) -> Topology:
    return Topology(revision=3, members={each.node_id: each for each in members or (member(),)}, pools=pools or {})


def situation(
    flows: Iterable[Flow],
    topology: Topology | None = None,
    *,
    number: int = 1,
    memory: Memory | None = None,
    patterns: Iterable[Seen] = (),
    known: frozenset[str] | None = None,
    now: float = 10_000.0,
    rules: Rules | None = None,
    seed: int = 1,
    **more: object,
) -> Situation:
    outcomes = stream(flows, seed=seed)
    window = window_of(outcomes, number=number, known=known)
    return Situation(
        window=window,
        topology=topology or shape(),
        patterns={each.pattern_id: each for each in patterns},
        memory=memory or Memory(),
        rules=rules or Rules(),
        now=now,
        **more,
    )


def window_of(outcomes: Outcomes, *, number: int = 1, known: frozenset[str] | None = None) -> Window:
    names = frozenset(outcomes.names["pattern"])
    return observe(outcomes, number=number, known_patterns=names if known is None else known)
