"""How each strategy is written in JSON: one table that both reading (parse.py) and writing (``to_json``) follow.

A row names a spec and its fields; a field that is left out has the spec's own default. To add a strategy is to add a row here, a
line in compose.py, and its module. Called by parse.py and compose.py. Imports no strategy and nothing of runtime.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, get_args

from agents import expressions
from agents.records import InvalidRequest, Json
from agents.schema_check import is_number
from agents.strategies.form import SWITCH, Field, Form, Place, option, text, texts, whole
from agents.strategy_specs import (
    Aspect,
    CodeAugmented,
    Committee,
    Conflict,
    Consensus,
    Gate,
    Parallel,
    Pipeline,
    Routed,
    Seat,
    SelfDialogue,
    SelfHealing,
    Single,
    Stage,
    StrategySpec,
    Tier,
    ValidationLoop,
)

MAX_EXPRESSION_CHARS: Final = 1_000
MAX_NAME_CHARS: Final = 64
MAX_RULES: Final = 50
MAX_CHECKS: Final = 20
MAX_ATTEMPTS: Final = 10
MAX_PARTS_EACH: Final = 16
MAX_MEMBERS: Final = 8
MIN_SEATS: Final = 2
MAX_SEATS: Final = 8
MAX_ROUNDS: Final = 5
MAX_SPECIALITY_CHARS: Final = 80
MAX_TASK_CHARS: Final = 500
CHECK_WORDS: Final = ("validate", "critic")
CONDITION_NAMES: Final = frozenset({"data", "text", "score", "issues", "importance", "quality", "index"})
"""What a condition may speak of; gates.py says what each is."""


def _expression(value: Json, place: Place) -> str:
    """A condition over the names that gates.py gives; read here so that a slip is found before any request."""
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_EXPRESSION_CHARS:
        raise place.invalid(f"must be an expression of 1 to {MAX_EXPRESSION_CHARS} characters")
    try:
        names = expressions.parse(value, param="strategy").names
    except InvalidRequest as error:
        raise place.invalid(error.message) from None
    unknown = sorted(names - CONDITION_NAMES)
    if unknown:
        raise place.invalid(f"there is no {unknown[0][:80]!r} here; there are {', '.join(sorted(CONDITION_NAMES))}")
    return value


def _checks(value: Json, place: Place) -> tuple[str, ...]:
    given = [value] if isinstance(value, str) else value
    if not isinstance(given, list) or not 1 <= len(given) <= MAX_CHECKS:
        raise place.invalid(f"must be {', '.join(CHECK_WORDS)}, an expression, or a list of 1 to {MAX_CHECKS} of these")
    return tuple(one if one in CHECK_WORDS else _expression(one, place.at(f"[{number}]")) for number, one in enumerate(given))


def _thresholds(value: Json, place: Place) -> tuple[float, float]:
    numbers = isinstance(value, list) and all(is_number(one) for one in value)
    if not numbers or len(value) != 2 or not 0 <= value[0] <= value[1] <= 10:
        raise place.invalid("must be two numbers from 0 to 10, the smaller one first")
    return float(value[0]), float(value[1])


def _strategy(value: Json, place: Place) -> StrategySpec:
    return place.strategy(value, place.path)


def _voice(value: Json, place: Place) -> Single:
    """One model with a task of its own; ``{"tier": …}`` is short for a single strategy."""
    short = isinstance(value, dict) and not set(value) & set(FORMS)
    spec = _strategy({"single": value} if short else value, place)
    if not isinstance(spec, Single):
        raise place.invalid("must be a single strategy")
    return spec


def _members(value: Json, place: Place) -> tuple[StrategySpec, ...]:
    if not isinstance(value, list) or len(value) > MAX_MEMBERS:
        raise place.invalid(f"must be a list of at most {MAX_MEMBERS} strategies")
    members = []
    for number, one in enumerate(value):
        short = isinstance(one, dict) and bool(one) and set(one) <= set(SINGLE.fields)
        members.append(_strategy({"single": one} if short else one, place.at(f"[{number}]")))
    return tuple(members)


def _seats(value: Json, place: Place) -> tuple[Seat, ...]:
    if not isinstance(value, list) or not (not value or MIN_SEATS <= len(value) <= MAX_SEATS):
        raise place.invalid(f"must be a list of {MIN_SEATS} to {MAX_SEATS} members")
    seats = []
    for number, one in enumerate(value):
        seats.append(SEAT.read({"speciality": one} if isinstance(one, str) else one, place.at(f"[{number}]")))
    if len({seat.speciality.casefold() for seat in seats}) < len(seats):
        raise place.invalid("two members have the same speciality")
    if sum(seat.code for seat in seats) > 1:
        raise place.invalid("at most one member writes the program (code)")
    return tuple(seats)


def _backend(value: Json, place: Place) -> str:
    name: str = text(MAX_NAME_CHARS).read(value, place)
    if not place.is_backend(name):
        raise place.invalid(f"there is no backend {name!r}")
    return name


def _gate(value: Json, place: Place) -> Gate:
    gate: Gate = GATE.read({"check": value} if isinstance(value, str | list) else value, place)
    return gate


def _parts(form: Form, word: str, least: int) -> Field:
    """A list of stages or aspects: objects, bare strategies, or ``backend`` and ``tier`` in short for a single one."""

    def read(value: Json, place: Place) -> tuple[Any, ...]:
        if not isinstance(value, list) or not least <= len(value) <= MAX_PARTS_EACH:
            raise place.invalid(f"must be a list of {least} to {MAX_PARTS_EACH} parts")
        return tuple(
            form.read(_as_part(part, f"{word} {number + 1}", place.at(f"[{number}]")), place.at(f"[{number}]"))
            for number, part in enumerate(value)
        )

    return Field(read, lambda value: [form.write(part) for part in value])


def _as_part(part: Json, name: str, place: Place) -> Json:
    if isinstance(part, str) or (isinstance(part, dict) and set(part) & set(FORMS)):
        return {"name": name, "strategy": part}
    if not isinstance(part, dict):
        raise place.invalid("must be an object or a strategy")
    short = {key: part[key] for key in ("backend", "tier") if key in part}
    if short and "strategy" in part:
        raise place.invalid("give either strategy or backend and tier")
    own = part.get("strategy")
    if isinstance(own, str) and own == part.get("name") and not place.knows(own):
        raise place.invalid(f"{own[:80]!r} names itself as its strategy")
    rest = {key: value for key, value in part.items() if key not in short}
    return {"name": name, "strategy": {"single": short}, **{key: value for key, value in rest.items() if value is not None}}


def to_json(spec: StrategySpec) -> dict[str, Json]:
    """The JSON that ``parse_strategy`` reads back as an equal spec."""
    name = NAMES[type(spec)]
    return {name: FORMS[name].write(spec)}


# ── the table ───────────────────────────────────────────────────────────────────────────────────────────────────────────

PROMPT: Final = text()
RULES: Final = texts(MAX_RULES, 2_000, "texts")
STRATEGY: Final = Field(_strategy, to_json)
OPTIONAL_STRATEGY: Final = Field(_strategy, to_json, nullable=True)
VOICE: Final = Field(_voice, to_json)
OPTIONAL_VOICE: Final = Field(_voice, to_json, nullable=True)
NAME: Final = text(MAX_NAME_CHARS, nullable=False)
ATTEMPTS: Final = whole(0, MAX_ATTEMPTS)

SINGLE: Final = Form(
    kind=Single,
    fields={"backend": Field(_backend, nullable=True), "tier": option(get_args(Tier), nullable=True), "prompt": PROMPT},
)
GATE: Final = Form(
    kind=Gate,
    fields={
        "check": Field(_checks, list),
        "on_fail": option(("correct", "stop", "continue")),
        "corrector": OPTIONAL_STRATEGY,
        "critic": OPTIONAL_VOICE,
        "rules": RULES,
    },
)
STAGE: Final = Form(
    kind=Stage,
    fields={
        "name": NAME,
        "strategy": STRATEGY,
        "prompt": PROMPT,
        "when": Field(_expression, nullable=True),
        "gate": Field(_gate, GATE.write, nullable=True),
        "per_item": SWITCH,
    },
)
SEAT: Final = Form(
    kind=Seat,
    fields={
        "speciality": text(MAX_SPECIALITY_CHARS, nullable=False),
        "task": text(MAX_TASK_CHARS, nullable=False),
        "code": SWITCH,
    },
)
ASPECT: Final = Form(
    kind=Aspect,
    fields={"name": NAME, "strategy": STRATEGY, "prompt": PROMPT, "fields": texts(500, 500, "field names")},
)


def _names_differ(spec: Parallel, place: Place) -> None:
    if len({aspect.name for aspect in spec.aspects}) < len(spec.aspects):
        raise place.invalid("two aspects have the same name")


def _quorum_can_be_met(spec: Consensus, place: Place) -> None:
    if spec.quorum is not None and spec.quorum > (len(spec.members) or spec.k):
        raise place.at(".quorum").invalid("is more than there are members")


FORMS: Final[Mapping[str, Form]] = MappingProxyType(
    {
        "single": SINGLE,
        "pipeline": Form(kind=Pipeline, fields={"stages": _parts(STAGE, "stage", 1)}, lead="stages"),
        "parallel": Form(
            kind=Parallel,
            fields={
                "aspects": _parts(ASPECT, "aspect", 0),
                "merge": option(("deep", "by_key", "concatenate", "vote")),
                "conflict": option(get_args(Conflict)),
            },
            lead="aspects",
            check=_names_differ,
        ),
        "validation": Form(
            kind=ValidationLoop,
            fields={
                "generate": STRATEGY,
                "correct": OPTIONAL_STRATEGY,
                "premium": OPTIONAL_STRATEGY,
                "critic": OPTIONAL_VOICE,
                "rules": RULES,
                "max_attempts": ATTEMPTS,
            },
        ),
        "routed": Form(
            kind=Routed,
            fields={"low": STRATEGY, "mid": STRATEGY, "high": STRATEGY, "thresholds": Field(_thresholds, list)},
        ),
        "consensus": Form(
            kind=Consensus,
            fields={
                "members": Field(_members, lambda members: [to_json(member) for member in members]),
                "k": whole(2, MAX_MEMBERS),
                "pick": option(("best", "majority")),
                "judge": OPTIONAL_VOICE,
                "quorum": whole(1, MAX_MEMBERS, nullable=True),
            },
            lead="members",
            check=_quorum_can_be_met,
        ),
        "self_dialogue": Form(
            kind=SelfDialogue,
            fields={
                "generate": STRATEGY,
                "refine": OPTIONAL_STRATEGY,
                "questioner": OPTIONAL_VOICE,
                "critic": VOICE,
                "style": VOICE,
                "rounds": whole(1, 5),
                "questions": whole(1, 10),
            },
        ),
        "code_augmented": Form(
            kind=CodeAugmented,
            fields={
                "code": VOICE,
                "words": STRATEGY,
                "pattern": STRATEGY,
                "classifier": OPTIONAL_VOICE,
                "extractor": OPTIONAL_VOICE,
                "repairs": whole(0, 5),
                "others": whole(0, 5),
                "confirm": SWITCH,
            },
        ),
        "committee": Form(
            kind=Committee,
            fields={
                "members": Field(_seats, lambda seats: [SEAT.write(seat) for seat in seats]),
                "size": whole(MIN_SEATS, MAX_SEATS),
                "rounds": whole(0, MAX_ROUNDS),
                "designer": OPTIONAL_VOICE,
                "chair": STRATEGY,
                "critic": OPTIONAL_VOICE,
                "rules": RULES,
                "nodes": SWITCH,
            },
            lead="members",
        ),
        "self_healing": Form(
            kind=SelfHealing,
            fields={
                "generate": STRATEGY,
                "heal": STRATEGY,
                "detector": OPTIONAL_VOICE,
                "rules": RULES,
                "max_attempts": ATTEMPTS,
            },
        ),
    }
)
NAMES: Final[Mapping[type, str]] = MappingProxyType({form.kind: name for name, form in FORMS.items()})
