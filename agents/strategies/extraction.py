"""Constraints out of plain words: a model writes them as JSON, and only what can be read, concerns the form, and gives the
numbers of the request is taken.

Called by code_augmented.py. Reaches models only through the Toolbox; the rest is pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from agents.llm.chat import ChatRequest
from agents.llm.prompts import render
from agents.quality.constraints import parse_constraints, within
from agents.quality.distributions import FAMILIES, MAX_COMPONENTS
from agents.quality.statistical_constraints import ORDERS, fields_of
from agents.records import AgentError, BudgetExceeded, Choice, DeadlineExceeded, InvalidRequest, Json, Work
from agents.schema_check import resolve
from agents.shaping import array_path
from agents.strategies.complexity import words_of_users
from agents.strategies.runner import choice_for, request_text
from agents.strategies.spoken import PARAMETERS, named_families, numbers_of, unread, with_measures
from agents.strategy_specs import Single
from agents.toolbox import Toolbox
from agents.verdicts import Constraint

MAX_EXTRACTED: Final = 20
MAX_FIELDS: Final = 200
ROUNDS: Final = 2
_TAKEN: Final = frozenset({"distribution", "correlation", "ratios", "monotonic", "sum", "range", "unique"})
FREE_NUMBERS: Final = frozenset({0.0, 1.0, -1.0, 0.01})
"""What may stand in a constraint without standing in the request: ends, signs, the usual alpha."""
_WORDS: Final = {
    "one": 1,
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
    "seven": 7,
    "eight": 8,
    "nine": 9,
    "ten": 10,
    "half": 0.5,
    "quarter": 0.25,
    "third": 1 / 3,
    "twice": 2,
    "dozen": 12,
    "hundred": 100,
    "thousand": 1000,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Extracted:
    """``constraints`` that were found; ``heard`` False where no model could say any; ``unread`` are the request's words for
    conditions that none of them holds."""

    constraints: tuple[Constraint, ...] = ()
    heard: bool = True
    unread: tuple[str, ...] = ()


async def extract(work: Work, spec: Single, toolbox: Toolbox, choice: Choice) -> Extracted:
    """The constraints of ``work``'s words (its schema is required), completed by the form. Time or money that ends is raised."""
    assert work.schema is not None
    fields = list(field_lines(work.schema))[:MAX_FIELDS]
    question = render("code_constraints_question", fields="\n".join(fields), request=request_text(work.messages, 20_000))
    messages: list[Mapping[str, Json]] = [
        {"role": "system", "content": render("code_constraints")},
        {"role": "user", "content": question},
    ]
    found: tuple[Constraint, ...] = ()
    schema = entries_schema([line.removeprefix("- ").split(":")[0] for line in fields])
    heard = False
    for _ in range(ROUNDS):
        request = ChatRequest(messages=tuple(messages), schema=schema, schema_name="constraints")
        try:
            answer = await toolbox.ask_structured(request, choice_for(spec, choice))
        except (DeadlineExceeded, BudgetExceeded):
            raise
        except AgentError as error:
            toolbox.note("note", text="no model could read the conditions", error=error.code)
            break
        heard = True
        read, problems = read_extracted(answer.data, work)
        found = joined(read, found)
        problems += [f"the request speaks of {words}, and no entry says so of a field" for words in unread(work, found)]
        if not problems:
            break
        toolbox.note("note", text="conditions as they were read cannot be used", problems=problems[:5])
        messages += [
            {"role": "assistant", "content": answer.reply.text[:8000]},
            {"role": "user", "content": render("repair", problems="\n".join(f"- {problem}" for problem in problems))},
        ]
    if heard:
        numbers = [line.removeprefix("- ").split(": ")[0] for line in fields if line.endswith((": number", ": integer"))]
        found = joined(found, [completed(one, work) for one in named_families(work, numbers, found)])
        found = with_measures(work, found)
    return Extracted(constraints=found, heard=heard, unread=tuple(unread(work, found)))


# ── what needs no model ─────────────────────────────────────────────────────────────────────────────────────────────────


def entries_schema(paths: Sequence[str]) -> dict[str, Json]:
    """The form of the list that is asked for, with the fields that may be named: a small model that writes by a grammar then
    gets the form right, and is left with what the request says."""
    number: dict[str, Json] = {"type": "number"}
    ends: dict[str, Json] = {"type": "array", "items": number, "minItems": 2, "maxItems": 2}
    component = _object({"mean": number, "std": number, "weight": number}, optional=("weight",))
    components: dict[str, Json] = {"type": "array", "items": component, "minItems": 2, "maxItems": MAX_COMPONENTS}
    families = [(family, names) for family, names in (*PARAMETERS, *((one, ()) for one in FAMILIES))]
    distributions = [
        _object(
            {
                "family": {"enum": [family]},
                **{name: components if name == "components" else number for name in names},
                "clip": ends,
                "round": {"type": "boolean"},
            },
            optional=("clip", "round"),
        )
        for family, names in families
    ]
    scale: dict[str, Json] = {"enum": ["linear", "log"]}
    of_one: dict[str, Json] = {
        "distribution": {"anyOf": distributions},
        "ratios": {"type": "object", "additionalProperties": number, "minProperties": 1},
        "monotonic": {"enum": list(ORDERS)},
        "sum": number,
        "range": ends,
        "unique": {"enum": [True]},
    }
    one: dict[str, Json] = {"enum": list(paths)}
    two: dict[str, Json] = {"type": "array", "items": one, "minItems": 2, "maxItems": 2}
    strengths = (("r2_at_least", number), ("r", ends))
    correlations = [_object({name: form, "scale": scale}, optional=("scale",)) for name, form in strengths]
    entries = [_object({"field": one, kind: form}) for kind, form in of_one.items()]
    if len(paths) > 1:
        entries.append(_object({"fields": two, "correlation": {"anyOf": correlations}}))
    return _object({"constraints": {"type": "array", "maxItems": MAX_EXTRACTED, "items": {"anyOf": entries}}})


def _object(properties: Mapping[str, Json], optional: Sequence[str] = ()) -> dict[str, Json]:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": dict(properties), "required": required, "additionalProperties": False}


def field_lines(schema: Mapping[str, Json]) -> Iterator[str]:
    """``- users[].age: integer`` for each field that constraints may name, those of one list at most one level deep."""
    path = array_path(schema)
    top = resolve(schema, schema)
    if path is None:
        yield from _lines(top, "", schema)
        return
    array = top if not path else resolve(top["properties"][path[0]], schema)
    prefix = f"{path[0]}[]" if path else "[]"
    item = resolve(array.get("items", {}), schema)
    yield from _lines(item, f"{prefix}.", schema, whole=prefix)


def _lines(part: Json, prefix: str, root: Mapping[str, Json], whole: str = "") -> Iterator[str]:
    properties = part.get("properties") if isinstance(part, Mapping) else None
    if not isinstance(properties, Mapping):
        if whole and isinstance(part, Mapping):
            yield f"- {whole}: {part.get('type', 'any')}"
        return
    for name, field in properties.items():
        found = resolve(field, root)
        kind = found.get("type", "any") if isinstance(found, Mapping) else "any"
        options = found.get("enum") if isinstance(found, Mapping) else None
        yield f"- {prefix}{name}: {kind}" + (f", one of {str(options)[:300]}" if isinstance(options, list) else "")


def read_extracted(data: Json, work: Work) -> tuple[tuple[Constraint, ...], list[str]]:
    """What of a model's list can be used, and what is wrong with the rest."""
    entries = data.get("constraints") if isinstance(data, dict) else None
    read: list[Constraint] = []
    problems: list[str] = []
    text = words_of_users(work)
    for number, entry in enumerate(entries[:MAX_EXTRACTED] if isinstance(entries, list) else ()):
        try:
            found = parse_constraints([entry])
        except InvalidRequest as error:
            problems.append(f"constraints[{number}]: {(error.param or '').removeprefix('constraints[0]')} {error.message}"[:300])
            continue
        strange = sorted(made_up(entry, text))
        unknown = [one for one in found if one.kind not in _TAKEN or not within([one], work.schema)]
        if strange:
            problems.append(f"constraints[{number}]: the request does not say {', '.join(f'{one:g}' for one in strange[:5])}")
        elif unknown:
            problems.append(
                f"constraints[{number}]: {unknown[0].kind} of {unknown[0].field} cannot be taken; use the listed fields"
            )
        else:
            read += [completed(one, work) for one in found]
    return tuple(read), problems


def made_up(entry: Json, text: str) -> set[float]:
    """Numbers of a constraint that its request does not give, percentages and thousands in short aside. Pure."""
    said = {abs(number) for number in numbers_of(text)} | {float(n) for word, n in _WORDS.items() if word in text.lower()}
    said |= {share / 100 for share in said} | {1 - share / 100 for share in said} | {1 - share for share in said}
    return {
        number
        for number in _values_of(entry)
        if number not in FREE_NUMBERS and not any(abs(abs(number) - one) <= 1e-9 * max(1.0, one) for one in said)
    }


def _values_of(value: Json, depth: int = 0) -> Iterator[float]:
    if isinstance(value, bool) or depth > 6:
        return
    if isinstance(value, int | float):
        yield float(value)
    elif isinstance(value, Mapping):
        for name, item in value.items():
            if name not in ("alpha", "weight", "round"):
                yield from _values_of(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            yield from _values_of(item, depth + 1)


def completed(constraint: Constraint, work: Work) -> Constraint:
    """A distribution with what the form declares of its field: whole numbers are rounded, bounds clip. Pure."""
    if constraint.kind != "distribution" or work.schema is None:
        return constraint
    field = _schema_of(constraint.field, work.schema)
    value: dict[str, Any] = dict(constraint.value)
    if field.get("type") == "integer" and "round" not in value:
        value["round"] = True
    low, high = field.get("minimum"), field.get("maximum")
    for one in work.constraints:
        if one.kind == "range" and one.field == constraint.field and not any(isinstance(end, str) for end in one.value):
            low, high = one.value
    if "clip" not in value and "truncate" not in value and (low is not None or high is not None):
        value["clip"] = [low, high]
    return replace(constraint, value=value)


def _schema_of(field: str, schema: Mapping[str, Json]) -> Mapping[str, Json]:
    """The schema of a field of the list's items, or of the answer."""
    path = array_path(schema)
    top = resolve(schema, schema)
    part: Json = top
    if path is not None:
        array = top if not path else resolve(top["properties"][path[0]], schema)
        part = resolve(array.get("items", {}), schema)
    name = field.rpartition(".")[2]
    found = resolve(part.get("properties", {}).get(name, part), schema) if isinstance(part, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def joined(first: Sequence[Constraint], second: Sequence[Constraint]) -> tuple[Constraint, ...]:
    """Both, but of one kind and field only what ``first`` says: what the client declared, what was read last."""
    known = {(one.kind, fields_of(one)) for one in first}
    return (*first, *(one for one in second if (one.kind, fields_of(one)) not in known))
