"""Strategies by name and by JSON, and the table that runs them: strategies compose, so any of them may hold any other.

Called by the API and the configuration (parse_strategy), the daemon's choice (default_strategy) and nodes (run_strategy).
Imports no backend and nothing of runtime.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, get_args

from agents.counting import gather, needs_counting
from agents.llm.chat import BackendSpec
from agents.records import Choice, Draft, InvalidRequest, Json, NotFound, Work
from agents.strategies import parallel, pipeline, single, validation
from agents.strategies.runner import Runner
from agents.strategy_specs import Aspect, Parallel, Pipeline, Single, Stage, StrategySpec, Tier, ValidationLoop
from agents.toolbox import Toolbox

BUILTIN: Final = ("single", "pipeline", "parallel", "validation")
MAX_DEPTH: Final = 8
MAX_PARTS: Final = 64
MAX_PROMPT_CHARS: Final = 20_000
MAX_RULES: Final = 50
MAX_ATTEMPTS: Final = 10
_MERGES: Final = ("deep", "by_key", "concatenate")
_RUNNERS: Final[Mapping[type, Runner]] = {
    Single: single.run,
    Pipeline: pipeline.run,
    Parallel: parallel.run,
    ValidationLoop: validation.run,
}
_NAMES: Final[Mapping[type, str]] = {
    Single: "single",
    Pipeline: "pipeline",
    Parallel: "parallel",
    ValidationLoop: "validation",
}


async def run_strategy(
    work: Work, spec: StrategySpec, toolbox: Toolbox, choice: Choice, *, visible: bool, depth: int = 0
) -> Draft:
    """Answer ``work`` by ``spec``. Counts are split here, around the whole strategy, so that each strategy works on what one
    reply can hold. Raises AgentError."""
    if depth > MAX_DEPTH:
        raise _invalid("strategy", f"nested deeper than {MAX_DEPTH} levels")
    runner = _RUNNERS[type(spec)]

    async def child(work: Work, spec: StrategySpec, toolbox: Toolbox, choice: Choice, *, visible: bool) -> Draft:
        return await run_strategy(work, spec, toolbox, choice, visible=visible, depth=depth + 1)

    async def batch(part: Work) -> Draft:
        return await runner(part, spec, toolbox, choice, visible=False, run_child=child)

    if needs_counting(work, toolbox):
        return await gather(work, toolbox, batch)
    return await runner(work, spec, toolbox, choice, visible=visible, run_child=child)


def strategy_name(spec: StrategySpec) -> str:
    """``single``, ``pipeline``, ``parallel`` or ``validation``: bounded, used as a metric label."""
    return _NAMES[type(spec)]


def default_strategy(name: str, backends: Sequence[BackendSpec] = ()) -> StrategySpec:
    """What a bare name stands for. Without a backend that can judge, validation is by rule alone. Raises NotFound."""
    if name == "single":
        return Single()
    if name == "pipeline":
        return Pipeline(
            stages=(
                Stage(name="generate", strategy=Single(tier="cheap"), prompt="Produce a first complete version."),
                Stage(name="enrich", strategy=Single(tier="quality"), prompt="Add detail and context; make it realistic."),
                Stage(name="validate", strategy=Single(tier="premium"), prompt="Correct what is wrong, inconsistent or missing."),
            )
        )
    if name == "parallel":
        return Parallel(aspects=())
    if name == "validation":
        judges = not backends or any("critique" in backend.capabilities for backend in backends)
        return ValidationLoop(
            generate=Single(tier="cheap"),
            correct=Single(tier="quality"),
            premium=Single(tier="premium"),
            critic=Single(tier="quality") if judges else None,
        )
    raise NotFound(f"there is no strategy {name[:80]!r}", param="strategy")


# ── JSON → spec ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class _Parser:
    """One parse: the configured names, those being expanded, and how many parts there are so far."""

    named: Mapping[str, Json]
    open_names: tuple[str, ...] = ()
    parts: int = 0

    def parse(self, value: Json, path: str, depth: int) -> StrategySpec:
        self.parts += 1
        if depth > MAX_DEPTH:
            raise _invalid(path, f"nested deeper than {MAX_DEPTH} levels")
        if self.parts > MAX_PARTS:
            raise _invalid("strategy", f"more than {MAX_PARTS} parts")
        if isinstance(value, str):
            return self._by_name(value, path, depth)
        if not isinstance(value, dict) or len(value) != 1:
            raise _invalid(path, f"must be a name or an object with one of {', '.join(BUILTIN)}")
        kind, body = next(iter(value.items()))
        readers: dict[str, Callable[[Json, str, int], StrategySpec]] = {
            "single": self._single,
            "pipeline": self._pipeline,
            "parallel": self._parallel,
            "validation": self._validation,
        }
        if kind not in readers:
            raise _invalid(path, f"unknown strategy {str(kind)[:80]!r}")
        return readers[kind](body, f"{path}.{kind}", depth)

    def _by_name(self, name: str, path: str, depth: int) -> StrategySpec:
        if name in self.named and not (name in self.open_names and name in BUILTIN):
            if name in self.open_names:
                raise _invalid(path, f"{' → '.join((*self.open_names, name))} is a circle")
            self.open_names = (*self.open_names, name)
            spec = self.parse(self.named[name], f"{path}({name})", depth + 1)
            self.open_names = self.open_names[:-1]
            return spec
        if name in BUILTIN:
            return default_strategy(name)
        raise _invalid(path, f"unknown strategy {name[:80]!r}")

    def _single(self, body: Json, path: str, depth: int) -> Single:
        fields = _fields(body if body is not None else {}, ("backend", "tier", "prompt"), path)
        backend = _text(fields, "backend", path, most=64)
        tier: Any = _text(fields, "tier", path, most=64)
        if tier is not None and tier not in get_args(Tier):
            raise _invalid(f"{path}.tier", f"must be one of {', '.join(get_args(Tier))}")
        return Single(backend=backend, tier=tier, prompt=_text(fields, "prompt", path))

    def _pipeline(self, body: Json, path: str, depth: int) -> Pipeline:
        given = _fields(body, ("stages",), path).get("stages") if isinstance(body, dict) else body
        stages = []
        for place, part in enumerate(_list(given, path)):
            where = f"{path}[{place}]"
            fields = _fields(_named(part), ("name", "strategy", "prompt", "backend", "tier"), where)
            name = _text(fields, "name", where, most=64) or f"stage {place + 1}"
            stages.append(Stage(name=name, strategy=self._of(fields, where, depth), prompt=_text(fields, "prompt", where)))
        return Pipeline(stages=tuple(stages))

    def _parallel(self, body: Json, path: str, depth: int) -> Parallel:
        fields = _fields(body, ("aspects", "merge"), path) if isinstance(body, dict) else {"aspects": body}
        merge: Any = fields.get("merge", "deep")
        if merge not in _MERGES:
            raise _invalid(f"{path}.merge", f"must be one of {', '.join(_MERGES)}")
        aspects = []
        for place, part in enumerate(_list(fields["aspects"], path) if fields.get("aspects") else []):
            where = f"{path}[{place}]"
            own = _fields(_named(part), ("name", "strategy", "prompt", "backend", "tier", "fields"), where)
            wanted = own.get("fields") or []
            if not isinstance(wanted, list) or len(wanted) > 500 or not all(isinstance(field, str) for field in wanted):
                raise _invalid(f"{where}.fields", "must be a list of field names")
            aspects.append(
                Aspect(
                    name=_text(own, "name", where, most=64) or f"aspect {place + 1}",
                    strategy=self._of(own, where, depth),
                    prompt=_text(own, "prompt", where),
                    fields=tuple(wanted),
                )
            )
        if len({aspect.name for aspect in aspects}) < len(aspects):
            raise _invalid(path, "two aspects have the same name")
        return Parallel(aspects=tuple(aspects), merge=merge)

    def _validation(self, body: Json, path: str, depth: int) -> ValidationLoop:
        known = ("generate", "correct", "premium", "critic", "rules", "max_attempts")
        fields = _fields(body if body is not None else {}, known, path)
        attempts = fields.get("max_attempts", 3)
        if isinstance(attempts, bool) or not isinstance(attempts, int) or not 0 <= attempts <= MAX_ATTEMPTS:
            raise _invalid(f"{path}.max_attempts", f"must be a whole number from 0 to {MAX_ATTEMPTS}")
        rules = fields.get("rules") or []
        if not isinstance(rules, list) or len(rules) > MAX_RULES or not all(isinstance(r, str) and len(r) <= 2000 for r in rules):
            raise _invalid(f"{path}.rules", f"must be a list of at most {MAX_RULES} texts")
        parts = {
            key: self.parse(fields[key], f"{path}.{key}", depth + 1)
            for key in ("generate", "correct", "premium", "critic")
            if fields.get(key) is not None
        }
        critic = parts.get("critic")
        if critic is not None and not isinstance(critic, Single):
            raise _invalid(f"{path}.critic", "must be a single strategy")
        return ValidationLoop(
            generate=parts.get("generate", Single()),
            correct=parts.get("correct"),
            premium=parts.get("premium"),
            critic=critic,
            rules=tuple(rules),
            max_attempts=attempts,
        )

    def _of(self, fields: Mapping[str, Json], path: str, depth: int) -> StrategySpec:
        """A part's strategy; ``backend`` or ``tier`` beside it are short for a single one."""
        short = {key: fields[key] for key in ("backend", "tier") if key in fields}
        if short and "strategy" in fields:
            raise _invalid(path, "give either strategy or backend and tier")
        return self.parse(fields.get("strategy", {"single": short}), f"{path}.strategy", depth + 1)


def parse_strategy(value: Json, *, named: Mapping[str, Json]) -> StrategySpec:
    """A strategy from JSON: a built-in name, a name from ``named``, or ``{"pipeline": [{"name", "strategy", "prompt"} …]}``,
    ``{"parallel": {"aspects": […], "merge"}}``, ``{"validation": {"generate", "correct", "premium", "critic", "rules",
    "max_attempts"}}``, ``{"single": {"backend", "tier", "prompt"}}``. Raises InvalidRequest(param="strategy") with the place."""
    return _Parser(named).parse(value, "strategy", 1)


def _named(part: Json) -> Json:
    """A part that is a bare strategy is one without a name."""
    return {"strategy": part} if isinstance(part, str) or (isinstance(part, dict) and set(part) & set(BUILTIN)) else part


def _invalid(path: str, words: str) -> InvalidRequest:
    return InvalidRequest(f"{path[:200]}: {words}", param="strategy")


def _fields(body: Json, known: tuple[str, ...], path: str) -> dict[str, Json]:
    if not isinstance(body, dict):
        raise _invalid(path, "must be an object")
    for key in body:
        if key not in known:
            raise _invalid(path, f"unknown field {str(key)[:80]!r}; known are {', '.join(known)}")
    return body


def _text(fields: Mapping[str, Json], key: str, path: str, *, most: int = MAX_PROMPT_CHARS) -> str | None:
    value = fields.get(key)
    if value is not None and (not isinstance(value, str) or not value or len(value) > most):
        raise _invalid(f"{path}.{key}", f"must be a text of 1 to {most} characters")
    return value


def _list(value: Json, path: str) -> list[Json]:
    if not isinstance(value, list) or not 1 <= len(value) <= 16:
        raise _invalid(path, "must be a list of 1 to 16 parts")
    return value


# ── spec → JSON ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def to_json(spec: StrategySpec) -> dict[str, Json]:
    """The JSON that ``parse_strategy`` reads back as an equal spec."""
    if isinstance(spec, Single):
        return {"single": _present(backend=spec.backend, tier=spec.tier, prompt=spec.prompt)}
    if isinstance(spec, Pipeline):
        return {
            "pipeline": [
                _present(name=stage.name, strategy=to_json(stage.strategy), prompt=stage.prompt) for stage in spec.stages
            ]
        }
    if isinstance(spec, Parallel):
        aspects = [
            _present(name=part.name, strategy=to_json(part.strategy), prompt=part.prompt, fields=list(part.fields) or None)
            for part in spec.aspects
        ]
        return {"parallel": {"aspects": aspects, "merge": spec.merge}}
    parts = {"correct": spec.correct, "premium": spec.premium, "critic": spec.critic}
    body = {"generate": to_json(spec.generate)} | {key: to_json(part) for key, part in parts.items() if part is not None}
    return {"validation": {**body, "rules": list(spec.rules), "max_attempts": spec.max_attempts}}


def _present(**fields: Json) -> dict[str, Json]:
    return {key: value for key, value in fields.items() if value is not None}
