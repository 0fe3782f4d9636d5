"""Strategies as data: what configuration, requests and nodes say, and compose.py runs. They nest: any may be a part of another.

Frozen and picklable. Imports nothing of the project, so that records.py may hold them. Texts called ``when`` or ``check`` are of
agents/expressions.py; how each field is written in JSON stands in agents/strategies/forms.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Literal

Tier = Literal["cheap", "quality", "premium"]
Conflict = Literal["first", "last", "longest", "vote", "fail"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Single:
    """One model answers. ``tier`` picks a backend by price where no backend is named."""

    backend: str | None = None
    tier: Tier | None = None
    prompt: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What a stage's result must pass. Each check is ``validate`` (schema, formats, constraints), ``critic`` (a model judges, by
    ``rules`` too) or an expression that must hold.

    ``correct``: one correction, then as ``stop``. ``stop``: the pipeline ends with what is known, as a partial draft.
    ``continue``: later stages are told of the defects.
    """

    check: tuple[str, ...] = ("validate",)
    on_fail: Literal["correct", "stop", "continue"] = "correct"
    corrector: StrategySpec | None = None
    critic: Single | None = None
    rules: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage of a pipeline; it sees the request and what the stages before it produced.

    ``when``: it is skipped unless this expression holds. ``per_item``: it runs once for each item of the list that is known so
    far, and ``when`` is asked of each.
    """

    name: str
    strategy: StrategySpec
    prompt: str | None = None
    when: str | None = None
    gate: Gate | None = None
    per_item: bool = False


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
    """Aspects asked at once, then merged: ``deep`` (by field; ``conflict`` says who wins where two give a value), ``by_key``,
    ``concatenate``, ``vote`` (all answer the same; the majority counts, field by field)."""

    aspects: tuple[Aspect, ...]
    merge: Literal["deep", "by_key", "concatenate", "vote"] = "deep"
    conflict: Conflict = "first"


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationLoop:
    """Generate, validate, correct the named issues up to ``max_attempts`` times, then one premium best effort."""

    generate: StrategySpec = field(default_factory=Single)
    correct: StrategySpec | None = None
    premium: StrategySpec | None = None
    critic: Single | None = None
    rules: tuple[str, ...] = ()
    max_attempts: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Routed:
    """How hard is it (0 to 10)? Below the first threshold ``low`` answers, below the second ``mid``, else ``high``."""

    low: StrategySpec = field(default_factory=lambda: Single(tier="cheap"))
    mid: StrategySpec = field(default_factory=lambda: Single(tier="quality"))
    high: StrategySpec = field(default_factory=lambda: Single(tier="premium"))
    thresholds: tuple[float, float] = (3.5, 6.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Consensus:
    """``members`` answer the same at once (none given: ``k`` different backends), and the ``best`` answer or the ``majority``
    by field is taken. ``quorum``: how many must have answered (None: half of them, at least two where there are two)."""

    members: tuple[StrategySpec, ...] = ()
    k: int = 3
    pick: Literal["best", "majority"] = "best"
    judge: Single | None = None
    quorum: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfDialogue:
    """An answer is questioned by its own model, which answers and refines it; a critic and a style checker speak up beside it.
    At most ``rounds`` refinements, of up to ``questions`` questions each. ``questioner`` None: the model that answers."""

    generate: StrategySpec = field(default_factory=Single)
    refine: StrategySpec | None = None
    questioner: Single | None = None
    critic: Single = field(default_factory=lambda: Single(tier="quality"))
    style: Single = field(default_factory=lambda: Single(tier="cheap"))
    rounds: int = 2
    questions: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfHealing:
    """Issues are detected (by rule, then by ``detector``) and healed, at most ``max_attempts`` times; a heal that makes it worse
    is undone."""

    generate: StrategySpec = field(default_factory=Single)
    heal: StrategySpec = field(default_factory=lambda: Single(tier="quality"))
    detector: Single | None = field(default_factory=lambda: Single(tier="quality"))
    rules: tuple[str, ...] = ()
    max_attempts: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeAugmented:
    """What must be exact is computed by a program that ``code`` writes and the sandbox runs; ``words`` gives what is left, and
    ``pattern`` answers what needs no computing. ``classifier`` is asked where that is not clear, ``extractor`` reads conditions
    in plain words (None: neither). At most ``repairs`` corrections, a simpler program, then ``others`` further models.
    ``confirm``: a result that no constraint holds must be that of two programs, written independently."""

    code: Single = field(default_factory=lambda: Single(tier="quality"))
    words: StrategySpec = field(default_factory=lambda: Single(tier="cheap"))
    pattern: StrategySpec = field(default_factory=Single)
    classifier: Single | None = field(default_factory=lambda: Single(tier="quality"))
    extractor: Single | None = field(default_factory=lambda: Single(tier="quality"))
    repairs: int = 2
    others: int = 2
    confirm: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """A member of a committee: what it knows, and its ``task`` there. ``code``: it writes a program, which the sandbox runs."""

    speciality: str
    task: str = ""
    code: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Committee:
    """A committee forms for the request: ``members`` (none given: ``designer`` designs it, at most ``size``; None: by rule)
    contribute at once and discuss for at most ``rounds``; ``chair`` writes the answer, which must pass the rules and ``critic``
    or is revised once. ``nodes``: members are other nodes where any are at hand; else all are roles of the node that works."""

    members: tuple[Seat, ...] = ()
    size: int = 5
    rounds: int = 3
    designer: Single | None = field(default_factory=lambda: Single(tier="premium"))
    chair: StrategySpec = field(default_factory=lambda: Single(tier="premium"))
    critic: Single | None = field(default_factory=lambda: Single(tier="quality"))
    rules: tuple[str, ...] = ()
    nodes: bool = True


StrategySpec = (
    Single | Pipeline | Parallel | ValidationLoop | Routed | Consensus | SelfDialogue | SelfHealing | CodeAugmented | Committee
)


def first_parts(spec: StrategySpec) -> tuple[StrategySpec, ...]:
    """What ``spec`` asks first; empty for a single one and where that depends on the request or the pool."""
    match spec:
        case Pipeline(stages=stages):
            return (stages[0].strategy,) if stages[0].when is None else ()
        case Parallel(aspects=aspects):
            return tuple(aspect.strategy for aspect in aspects[:1])
        case ValidationLoop(generate=inner) | SelfDialogue(generate=inner) | SelfHealing(generate=inner):
            return (inner,)
        case Consensus(members=members):
            return members[:1]
    return ()


def draws_samples(part: Any) -> bool:
    """Whether a program may draw a sample anywhere in a strategy (or in a stage, an aspect, a gate of one). Such a sample is
    drawn at once: in parts, what is said of it would hold for none of them. A committee meets once, for the whole list."""
    if isinstance(part, tuple):
        return any(map(draws_samples, part))
    if not is_dataclass(part):
        return False
    return isinstance(part, CodeAugmented | Committee) or any(draws_samples(getattr(part, each.name)) for each in fields(part))


def parts_of(spec: StrategySpec) -> Iterator[StrategySpec]:
    """The strategies that ``spec`` runs for an answer that needs no correction, itself excluded."""
    match spec:
        case Pipeline(stages=stages):
            yield from (stage.strategy for stage in stages)
        case Parallel(aspects=aspects):
            yield from [aspect.strategy for aspect in aspects] or (Single(), Single())
        case ValidationLoop(generate=inner) | SelfHealing(generate=inner):
            yield inner
        case Consensus(members=members, k=k):
            yield from members or (Single(),) * k
        case SelfDialogue():
            yield from (spec.generate, spec.questioner or Single(), spec.critic, spec.style, spec.refine or spec.generate)
        case CodeAugmented(code=code, words=words):
            yield from (code, words)
        case Routed(mid=mid):
            yield mid
        case Committee():
            seats = len(spec.members) or spec.size
            yield from (Single(),) * (seats * (1 + spec.rounds))
            yield from (spec.designer or Single(), spec.chair, spec.critic or Single())
