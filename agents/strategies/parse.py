"""Strategies from JSON: what configuration and requests send, read strictly and within bounds; errors name the place.

Called by compose.py's callers (the API, the configuration, the ledger). What each strategy's JSON looks like stands in forms.py.
Imports no strategy and nothing of runtime.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from agents.llm.chat import BackendSpec
from agents.records import Json, NotFound
from agents.strategies.form import Place, invalid
from agents.strategies.forms import FORMS
from agents.strategy_specs import (
    CodeAugmented,
    Committee,
    Consensus,
    Parallel,
    Pipeline,
    Routed,
    SelfDialogue,
    SelfHealing,
    Single,
    Stage,
    StrategySpec,
    ValidationLoop,
)

BUILTIN: Final = tuple(FORMS)
MAX_DEPTH: Final = 8
MAX_PARTS: Final = 64


def _any_backend(name: str) -> bool:
    return True


def parse_strategy(value: Json, *, named: Mapping[str, Json], is_backend: Callable[[str], bool] = _any_backend) -> StrategySpec:
    """A strategy from JSON: a built-in name, a name from ``named``, or an object with one built-in name as its key, such as
    ``{"pipeline": [{"name", "strategy", "prompt", "when", "gate"} …]}``; see forms.py. ``is_backend`` says
    which backends may be named. Raises InvalidRequest(param="strategy") with the place."""
    return _Parser(named, is_backend).parse(value, "strategy", 1)


def default_strategy(name: str, backends: Sequence[BackendSpec] = ()) -> StrategySpec:
    """What a bare name stands for. Without a backend that can judge, validation is by rule alone. Raises NotFound."""
    judges = not backends or any("critique" in backend.capabilities for backend in backends)
    match name:
        case "single":
            return Single()
        case "pipeline":
            return _three_stages()
        case "parallel":
            return Parallel(aspects=())
        case "validation":
            return ValidationLoop(
                generate=Single(tier="cheap"),
                correct=Single(tier="quality"),
                premium=Single(tier="premium"),
                critic=Single(tier="quality") if judges else None,
            )
        case "routed":
            return Routed()
        case "consensus":
            return Consensus()
        case "self_dialogue":
            return SelfDialogue()
        case "code_augmented":
            return CodeAugmented()
        case "committee":
            return Committee()
        case "self_healing":
            return SelfHealing(generate=Single(tier="cheap"))
    raise NotFound(f"there is no strategy {name[:80]!r}", param="strategy")


def _three_stages() -> Pipeline:
    return Pipeline(
        stages=(
            Stage(name="generate", strategy=Single(tier="cheap"), prompt="Produce a first complete version."),
            Stage(name="enrich", strategy=Single(tier="quality"), prompt="Add detail and context; make it realistic."),
            Stage(name="validate", strategy=Single(tier="premium"), prompt="Correct what is wrong, inconsistent or missing."),
        )
    )


@dataclass(slots=True)
class _Parser:
    """One parse: the configured names, those being expanded, and how many parts there are so far."""

    named: Mapping[str, Json]
    is_backend: Callable[[str], bool]
    open_names: tuple[str, ...] = ()
    parts: int = 0

    def parse(self, value: Json, path: str, depth: int) -> StrategySpec:
        self.parts += 1
        if depth > MAX_DEPTH:
            raise invalid(path, f"nested deeper than {MAX_DEPTH} levels")
        if self.parts > MAX_PARTS:
            raise invalid("strategy", f"more than {MAX_PARTS} parts")
        if isinstance(value, str):
            return self._by_name(value, path, depth)
        if not isinstance(value, dict) or len(value) != 1:
            raise invalid(path, f"must be a name or an object with one of {', '.join(BUILTIN)}")
        kind, body = next(iter(value.items()))
        form = FORMS.get(kind)
        if form is None:
            raise invalid(path, f"unknown strategy {str(kind)[:80]!r}; known are {', '.join(BUILTIN)}")

        def nested(inner: Json, where: str) -> StrategySpec:
            return self.parse(inner, where, depth + 1)

        spec: StrategySpec = form.read(body, Place(f"{path}.{kind}", nested, self._knows, self.is_backend))
        return spec

    def _knows(self, name: str) -> bool:
        return name in BUILTIN or name in self.named

    def _by_name(self, name: str, path: str, depth: int) -> StrategySpec:
        if name in self.named and not (name in self.open_names and name in BUILTIN):
            if name in self.open_names:
                raise invalid(path, f"{' → '.join((*self.open_names, name))} is a circle")
            self.open_names = (*self.open_names, name)
            spec = self.parse(self.named[name], f"{path}({name})", depth + 1)
            self.open_names = self.open_names[:-1]
            return spec
        if name in BUILTIN:
            return default_strategy(name)
        raise invalid(path, f"unknown strategy {name[:80]!r}")
