"""Which backends one ask may use, in which order: a pure function of the choice, the breakers and the dice.

Called by pool.py. Imports only records.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from agents.calls import Health
from agents.llm.chat import BackendSpec
from agents.records import Choice, NotFound


def by_price(specs: Sequence[BackendSpec]) -> tuple[BackendSpec, ...]:
    """Cheapest first by output price, then input price; ties stay in the given order."""
    return tuple(sorted(specs, key=lambda spec: (spec.output_usd_per_mtok, spec.input_usd_per_mtok)))


def find(specs: Sequence[BackendSpec], name: str) -> BackendSpec | None:
    """By name, else by alias."""
    for spec in specs:
        if spec.name == name:
            return spec
    return next((spec for spec in specs if name in spec.aliases), None)


def order(
    specs: Sequence[BackendSpec],
    choice: Choice,
    health: Mapping[str, Health],
    *,
    fallback: Sequence[str],
    rng: random.Random,
) -> list[BackendSpec]:
    """Backends to ask, the first one first. ``specs`` are cheapest first. Raises NotFound when there is none.

    Explicit name, else the preferred ones, else by tier, else a weighted draw; then the fallback order; then the rest. Needs
    filter all but an explicit name, and are let go when no backend carries them. Open breakers go last. Without
    ``choice.fallback`` only the first remains.
    """
    if choice.backend is not None:
        named = find(specs, choice.backend)
        if named is None:
            raise NotFound(f"there is no backend {choice.backend!r}", param="model")
        if not choice.fallback:
            return [named]
        first, able = [named], _able(specs, choice)
    else:
        able = _able(specs, choice)
        first = _chosen(able, choice, rng)
    if not specs:
        raise NotFound("no backend is configured", param="model")
    if fallback and choice.backend is None and not choice.preferred:
        first = _healthy_first(first, health)[:1]
    named_next = [spec for name in fallback if (spec := find(able, name)) is not None]
    rest = _chosen(able, Choice(tier=choice.tier), rng) if len(first) < len(able) else []
    unique = {spec.name: spec for spec in (*first, *named_next, *rest, *able)}
    ordered = _healthy_first(list(unique.values()), health)
    return ordered if choice.fallback else ordered[:1]


def carries(specs: Sequence[BackendSpec], choice: Choice) -> bool:
    """Does any backend declare all that the choice needs? When not, ``order`` lets the needs go."""
    return any(choice.needs <= spec.capabilities for spec in specs)


def _able(specs: Sequence[BackendSpec], choice: Choice) -> list[BackendSpec]:
    return [spec for spec in specs if choice.needs <= spec.capabilities] or list(specs)


def _chosen(able: list[BackendSpec], choice: Choice, rng: random.Random) -> list[BackendSpec]:
    preferred = [spec for name in choice.preferred if (spec := find(able, name)) is not None]
    if preferred:
        return preferred
    if choice.tier == "cheap":
        return able
    if choice.tier == "premium":
        return able[::-1]
    if choice.tier == "quality":
        middle = (len(able) - 1) / 2
        return [able[i] for i in sorted(range(len(able)), key=lambda i: (abs(i - middle), -i))]
    return _draw(able, rng)


def _draw(specs: list[BackendSpec], rng: random.Random) -> list[BackendSpec]:
    """All backends in a random order, each place drawn by weight from those that are left; weight 0 comes last.

    Efraimidis and Spirakis, 2006: the order of u^(1/weight), u uniform, is that of successive weighted draws.
    """
    if len(specs) == 1:
        return specs
    keys = {spec.name: rng.random() ** (1.0 / spec.weight) if spec.weight > 0 else -1.0 for spec in specs}
    return sorted(specs, key=lambda spec: keys[spec.name], reverse=True)


def _healthy_first(specs: list[BackendSpec], health: Mapping[str, Health]) -> list[BackendSpec]:
    if not health:
        return specs
    return sorted(specs, key=lambda spec: (state := health.get(spec.name)) is not None and state.state == "open")
