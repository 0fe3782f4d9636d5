"""First how hard it is, then who answers it: simple requests to a cheap strategy, hard ones to a dear one.

Called through compose.py. Reaches models only through the Toolbox; it asks none to decide.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from agents.llm.chat import BackendSpec, ChatRequest
from agents.llm.selection import by_price, find
from agents.llm.wire import estimate_usage
from agents.records import Choice, Draft, Importance, Work
from agents.strategies.complexity import Complexity, complexity, field_count
from agents.strategies.runner import RunChild
from agents.strategy_specs import Routed, Single, StrategySpec, parts_of
from agents.toolbox import Toolbox

Level = Literal["low", "mid", "high"]
LEVELS: Final[tuple[Level, ...]] = ("low", "mid", "high")
EXPECTED_CHARS: Final = 1_600
"""How long an answer is taken to be; every field of its schema adds ``CHARS_A_FIELD``."""
CHARS_A_FIELD: Final = 48
_IMPORTANCE: Final[dict[Importance, float]] = {"low": -1.5, "normal": 0.0, "high": 1.5, "critical": 3.0}
_MAX_LEAVES: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """The decision: ``score`` after the pushes of importance and quality, and the ``reason`` in words."""

    level: Level
    score: float
    complexity: float
    reason: str


async def run(work: Work, spec: Routed, toolbox: Toolbox, choice: Choice, *, visible: bool, run_child: RunChild) -> Draft:
    """The answer of the level that fits; why stands in the trace."""
    costs = {level: expected_usd(work, getattr(spec, level), toolbox.backends) for level in LEVELS}
    route = decide(work, complexity(work), spec.thresholds, costs, toolbox.remaining_usd())
    toolbox.note(
        "stage",
        name="route",
        state="done",
        level=route.level,
        score=route.score,
        complexity=route.complexity,
        reason=route.reason,
    )
    return await run_child(work, getattr(spec, route.level), toolbox, choice, visible=visible)


def decide(
    work: Work,
    found: Complexity,
    thresholds: tuple[float, float],
    costs: dict[Level, float],
    left_usd: float | None,
) -> Route:
    """The level by score, one that the budget can pay: importance and the quality wanted push it up or down. Pure.

    Quality counts from 0.8 on, 10 points for a whole one above it (0.9 is one point), and below 0.5 it takes one off. A level
    that is expected to cost more than is left gives way to the next lower one; the lowest is always tried.
    """
    push = _IMPORTANCE[work.importance]
    words = [f"complexity {found.score:g} ({found.reason})"]
    if push:
        words.append(f"importance {work.importance} {push:+g}")
    if work.quality is not None:
        wish = max(0.0, (work.quality - 0.8) * 10.0) - (1.0 if work.quality < 0.5 else 0.0)
        if wish:
            push += wish
            words.append(f"quality {work.quality:g} wanted {wish:+.1f}")
    score = round(min(10.0, max(0.0, found.score + push)), 2)
    place = sum(score >= threshold for threshold in thresholds)
    while place > 0 and left_usd is not None and costs[LEVELS[place]] > left_usd:
        words.append(f"{LEVELS[place]} would cost about {costs[LEVELS[place]]:.6f} USD of {left_usd:.6f} left")
        place -= 1
    return Route(level=LEVELS[place], score=score, complexity=found.score, reason="; ".join(words)[:500])


def expected_usd(work: Work, spec: StrategySpec, backends: Sequence[BackendSpec]) -> float:
    """About what an answer by ``spec`` costs: every model that it asks reads the request and writes one answer. Pure."""
    if not backends:
        return 0.0
    fields = field_count(work.schema) if work.schema is not None else 0
    chars = EXPECTED_CHARS + CHARS_A_FIELD * fields
    usage = estimate_usage(ChatRequest(messages=work.messages, params=work.params, schema=work.schema), chars)
    return sum(
        _backend_of(single, backends).cost_usd(usage) for single, _ in zip(_leaves(spec), range(_MAX_LEAVES), strict=False)
    )


def _leaves(spec: StrategySpec) -> Iterator[Single]:
    if isinstance(spec, Single):
        yield spec
    for part in parts_of(spec):
        yield from _leaves(part)


def _backend_of(spec: Single, backends: Sequence[BackendSpec]) -> BackendSpec:
    ordered = by_price(backends)
    named = find(ordered, spec.backend) if spec.backend is not None else None
    places = {"cheap": 0, "quality": len(ordered) // 2, "premium": len(ordered) - 1, None: len(ordered) // 2}
    return named or ordered[places[spec.tier]]
