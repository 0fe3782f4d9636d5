"""Reads strategies from JSON, names them, nests them, and runs them.

Called by node.py (run) and by the daemon and its surfaces (read, name). The table at the end is all that knows every strategy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast, get_args

from agents.llm.chat import BackendSpec
from agents.records import (
    Aspect,
    Choice,
    Draft,
    InvalidRequest,
    Json,
    NotFound,
    Parallel,
    Pipeline,
    Single,
    Stage,
    StrategySpec,
    Tier,
    ValidationLoop,
    Work,
)
from agents.strategies import counting, parallel, pipeline, single, validation
from agents.toolbox import Toolbox

BUILTIN = ("single", "pipeline", "parallel", "validation")
MAX_DEPTH = 8
MAX_PARTS = 16
MAX_ATTEMPTS = 10
MAX_PROMPT_CHARS = 8192


async def run_strategy(
    work: Work, spec: StrategySpec, toolbox: Toolbox, choice: Choice, *, visible: bool
) -> Draft:
    """Run ``spec``; counts beyond one reply are split over several runs of it."""
    wanted = counting.wanted_items(work)
    if wanted is None or (wanted <= toolbox.max_items_per_call and not isinstance(spec, Single)):
        return await run_child(work, spec, toolbox, choice, visible=visible)

    async def batch(part: Work) -> Draft:
        return await run_child(part, spec, toolbox, choice, visible=False)

    return await counting.fill(work, wanted, toolbox, batch)


async def run_child(
    work: Work, spec: StrategySpec, toolbox: Toolbox, choice: Choice, *, visible: bool
) -> Draft:
    """Run one strategy as it is."""
    return cast(Draft, await _RUN[type(spec)](work, spec, toolbox, choice, visible=visible, run_child=run_child))


def strategy_name(spec: StrategySpec) -> str:
    """single, pipeline, parallel or validation."""
    return _NAMES[type(spec)]


def default_strategy(name: str, backends: Sequence[BackendSpec]) -> StrategySpec:
    """What a bare name means: cheap first, quality then, premium last. Raises NotFound."""
    if name == "single":
        return Single()
    if name == "pipeline":
        stages = (
            Stage(name="generate", strategy=Single(tier="cheap")),
            Stage(name="enrich", strategy=Single(tier="quality"), prompt="Add what is missing and make it concrete."),
            Stage(name="validate", strategy=Single(tier="premium"), prompt="Correct what is wrong or inconsistent."),
        )
        return Pipeline(stages=stages[: max(2, min(3, len(backends)))])
    if name == "parallel":
        return Parallel(aspects=())
    if name == "validation":
        return ValidationLoop(
            generate=Single(tier="cheap"), correct=Single(tier="quality"), premium=Single(tier="premium")
        )
    raise NotFound(f"there is no strategy {name!r}; built in are {', '.join(BUILTIN)}", param="strategy")


# ── JSON ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def parse_strategy(value: Json, *, named: Mapping[str, Json], _above: tuple[str, ...] = (), _depth: int = 0) -> StrategySpec:
    """``"name"`` or ``{"single"|"pipeline"|"parallel"|"validation": …}``. Raises InvalidRequest(param="strategy")."""
    if _depth > MAX_DEPTH:
        raise _wrong(f"strategies are nested deeper than {MAX_DEPTH}")
    if isinstance(value, str):
        if value in named:
            if value in _above:
                raise _wrong(f"{value!r} contains itself")
            return parse_strategy(named[value], named=named, _above=(*_above, value), _depth=_depth + 1)
        if value in BUILTIN:
            return default_strategy(value, ())
        raise _wrong(f"there is no strategy {value[:60]!r}; there are {', '.join([*BUILTIN, *named])}")
    if not isinstance(value, dict) or len(value) != 1:
        raise _wrong('a strategy is a name or an object with one key, as {"pipeline": [...]}')
    kind, body = next(iter(value.items()))
    if kind not in _PARSE:
        raise _wrong(f"there is no kind of strategy called {str(kind)[:60]!r}; there are {', '.join(BUILTIN)}")

    def child(inner: Json) -> StrategySpec:
        return parse_strategy(inner, named=named, _above=_above, _depth=_depth + 1)

    return cast(StrategySpec, _PARSE[kind](body, child))


def _parse_single(body: Json, child: Any) -> Single:
    fields = _fields(body, "single", {"backend", "tier", "prompt"})
    tier = fields.get("tier")
    if tier is not None and tier not in get_args(Tier):
        raise _wrong(f"single.tier must be one of {', '.join(get_args(Tier))}")
    return Single(backend=_text(fields, "backend", 64), tier=tier, prompt=_text(fields, "prompt", MAX_PROMPT_CHARS))


def _parse_pipeline(body: Json, child: Any) -> Pipeline:
    if isinstance(body, dict):
        body = _fields(body, "pipeline", {"stages"}).get("stages")
    stages = []
    for number, item in enumerate(_parts(body, "pipeline"), 1):
        name, prompt, inner, _ = _part(item, f"stage {number}", child)
        stages.append(Stage(name=name, strategy=inner, prompt=prompt))
    return Pipeline(stages=tuple(stages))


def _parse_parallel(body: Json, child: Any) -> Parallel:
    merge = "deep"
    if isinstance(body, dict):
        fields = _fields(body, "parallel", {"aspects", "merge"})
        body, merge = fields.get("aspects", []), fields.get("merge", "deep")
    if merge not in ("deep", "by_key", "concatenate"):
        raise _wrong("parallel.merge must be deep, by_key or concatenate")
    aspects = []
    for number, item in enumerate(_parts(body, "parallel") if body else (), 1):
        name, prompt, inner, wanted = _part(item, f"aspect {number}", child)
        aspects.append(Aspect(name=name, strategy=inner, prompt=prompt, fields=wanted))
    if len({aspect.name for aspect in aspects}) != len(aspects):
        raise _wrong("two aspects have the same name")
    return Parallel(aspects=tuple(aspects), merge=cast(Any, merge))


def _parse_validation(body: Json, child: Any) -> ValidationLoop:
    known = {"generate", "correct", "premium", "critic", "rules", "max_attempts"}
    fields = _fields(body, "validation", known)
    attempts = fields.get("max_attempts", 3)
    if isinstance(attempts, bool) or not isinstance(attempts, int) or not 0 <= attempts <= MAX_ATTEMPTS:
        raise _wrong(f"validation.max_attempts must be 0 to {MAX_ATTEMPTS}")
    rules = fields.get("rules", [])
    if not isinstance(rules, list) or len(rules) > 50 or not all(isinstance(r, str) and len(r) <= 500 for r in rules):
        raise _wrong("validation.rules must be a list of at most 50 short texts")
    critic = child(fields["critic"]) if "critic" in fields else None
    if critic is not None and not isinstance(critic, Single):
        raise _wrong("validation.critic must be a single")
    default = cast(ValidationLoop, default_strategy("validation", ()))
    return ValidationLoop(
        generate=child(fields["generate"]) if "generate" in fields else default.generate,
        correct=child(fields["correct"]) if "correct" in fields else default.correct,
        premium=child(fields["premium"]) if "premium" in fields else default.premium,
        critic=critic,
        rules=tuple(rules),
        max_attempts=attempts,
    )


def _part(item: Json, default: str, child: Any) -> tuple[str, str | None, StrategySpec, tuple[str, ...]]:
    """A stage or an aspect: a strategy, or an object with name, prompt, strategy, fields and the fields of a single."""
    if not isinstance(item, dict) or (len(item) == 1 and next(iter(item)) in BUILTIN):
        return default, None, child(item), ()
    fields = _fields(item, default, {"name", "prompt", "strategy", "fields", "backend", "tier"})
    wanted = fields.get("fields", [])
    if not isinstance(wanted, list) or not all(isinstance(name, str) for name in wanted):
        raise _wrong(f"{default}: fields must be a list of names")
    if "strategy" in fields:
        inner = child(fields["strategy"])
    else:
        inner = _parse_single({key: fields[key] for key in ("backend", "tier") if key in fields}, child)
    name = _text(fields, "name", 64) or default
    return name, _text(fields, "prompt", MAX_PROMPT_CHARS), inner, tuple(wanted)


def _parts(body: Json, where: str) -> list[Json]:
    if not isinstance(body, list) or not 1 <= len(body) <= MAX_PARTS:
        raise _wrong(f"{where} needs a list of 1 to {MAX_PARTS} parts")
    return body


def _fields(body: Json, where: str, known: set[str]) -> dict[str, Json]:
    if body is None:
        return {}
    if not isinstance(body, dict):
        raise _wrong(f"{where} must be an object")
    if unknown := sorted(set(body) - known):
        raise _wrong(f"{where} has no field {str(unknown[0])[:60]!r}; it has {', '.join(sorted(known))}")
    return body


def _text(fields: Mapping[str, Json], name: str, most: int) -> str | None:
    value = fields.get(name)
    if value is not None and (not isinstance(value, str) or len(value) > most):
        raise _wrong(f"{name} must be a text of at most {most} characters")
    return value


def _wrong(message: str) -> InvalidRequest:
    return InvalidRequest(message, param="strategy")


def to_json(spec: StrategySpec) -> Json:
    """The inverse of ``parse_strategy``."""
    if isinstance(spec, Single):
        return {"single": _given(backend=spec.backend, tier=spec.tier, prompt=spec.prompt)}
    if isinstance(spec, Pipeline):
        stages = [_given(name=s.name, prompt=s.prompt, strategy=to_json(s.strategy)) for s in spec.stages]
        return {"pipeline": stages}
    if isinstance(spec, Parallel):
        aspects = [
            _given(name=a.name, prompt=a.prompt, strategy=to_json(a.strategy), fields=list(a.fields) or None)
            for a in spec.aspects
        ]
        return {"parallel": {"aspects": aspects, "merge": spec.merge}}
    parts = {name: getattr(spec, name) for name in ("generate", "correct", "premium", "critic")}
    inner = {name: to_json(part) for name, part in parts.items() if part is not None}
    return {"validation": {**inner, "rules": list(spec.rules), "max_attempts": spec.max_attempts}}


def _given(**fields: Json) -> dict[str, Json]:
    return {name: value for name, value in fields.items() if value is not None}


_RUN: Mapping[type[Any], Any] = {
    Single: single.run,
    Pipeline: pipeline.run,
    Parallel: parallel.run,
    ValidationLoop: validation.run,
}
_NAMES = {Single: "single", Pipeline: "pipeline", Parallel: "parallel", ValidationLoop: "validation"}
_PARSE: Mapping[str, Any] = {
    "single": _parse_single,
    "pipeline": _parse_pipeline,
    "parallel": _parse_parallel,
    "validation": _parse_validation,
}
