"""Strategies as data: what configuration, requests and nodes say, and compose.py runs. They nest: any may be a part of another.

Frozen and picklable. Imports nothing of the project, so that records.py may hold them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Tier = Literal["cheap", "quality", "premium"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Single:
    """One model answers. ``tier`` picks a backend by price where no backend is named."""

    backend: str | None = None
    tier: Tier | None = None
    prompt: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage of a pipeline; it sees the request and what the stages before it produced."""

    name: str
    strategy: StrategySpec
    prompt: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """Stages in sequence, the output of one being input to the next."""

    stages: tuple[Stage, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Aspect:
    """One aspect of a parallel strategy. ``fields`` are the top-level fields of the schema it fills (empty: all)."""

    name: str
    strategy: StrategySpec
    prompt: str | None = None
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Parallel:
    """Aspects asked at once, then merged: ``deep`` (later aspects fill what is missing), ``by_key``, ``concatenate``."""

    aspects: tuple[Aspect, ...]
    merge: Literal["deep", "by_key", "concatenate"] = "deep"


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationLoop:
    """Generate, validate, correct the named issues up to ``max_attempts`` times, then one premium best effort."""

    generate: StrategySpec
    correct: StrategySpec | None = None
    premium: StrategySpec | None = None
    critic: Single | None = None
    rules: tuple[str, ...] = ()
    max_attempts: int = 3


StrategySpec = Single | Pipeline | Parallel | ValidationLoop
