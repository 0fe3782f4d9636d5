"""What the writer of a program is given of its problem in Python's terms: the form as a line of code, and the numbers of the
constraints as inputs with names. Small models follow both better than a JSON Schema and a list of rules. Pure.

Called by program.py. Bounds and patterns, which the line leaves out, stand in the schema beside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from agents.quality.fields import parse_field
from agents.records import Json
from agents.schema_check import resolve
from agents.verdicts import Constraint

MAX_DEPTH: Final = 6
MAX_OPTIONS: Final = 12
MAX_GIVEN: Final = 30
_TYPES: Final = {"integer": "int", "number": "float", "string": "str", "boolean": "bool", "null": "None"}


def sketch(schema: Json) -> str:
    """``schema`` as ``{"users": [{"age": int}, …]}``; what lies deeper than ``MAX_DEPTH`` or cannot be told is ``…``."""
    return _told(schema, schema, 0)


def _told(part: Json, root: Json, depth: int) -> str:
    found = resolve(part, root) if isinstance(part, Mapping) and isinstance(root, Mapping) else None
    if not isinstance(found, Mapping) or depth > MAX_DEPTH:
        return "…"
    options = found.get("enum")
    if isinstance(options, list) and 0 < len(options) <= MAX_OPTIONS:
        return " | ".join(repr(option) for option in options)
    kind = found.get("type")
    if kind == "object" and isinstance(properties := found.get("properties"), Mapping):
        return "{" + ", ".join(f'"{name}": {_told(field, root, depth + 1)}' for name, field in properties.items()) + "}"
    if kind == "array":
        return f"[{_told(found.get('items'), root, depth + 1)}, …]"
    return _TYPES.get(kind, "…") if isinstance(kind, str) else "…"


def given_parameters(constraints: Sequence[Constraint]) -> dict[str, Json]:
    """The numbers of ``constraints`` by names such as ``age_mean``; the first of a name counts."""
    found: dict[str, Json] = {}
    for constraint in constraints:
        for name, value in _given(constraint):
            clean = re.sub(r"\W+", "_", name).strip("_").lower()
            if clean.isidentifier() and len(found) < MAX_GIVEN:
                found.setdefault(clean, value)
    return found


def _given(constraint: Constraint) -> Iterator[tuple[str, Json]]:
    name = _name(constraint.field)
    value = constraint.value
    match constraint.kind:
        case "distribution":
            parts = {key: part for key, part in value.items() if key not in ("family", "alpha", "round", "clip", "truncate")}
            yield from ((f"{name}_{key}", part) for key, part in parts.items())
            ends = value.get("clip") or value.get("truncate")
            yield from _ends(name, ends or (None, None))
        case "range":
            yield from _ends(name, value)
        case "ratios":
            yield f"{name}_shares", value.get("shares", value)
        case _:
            return


def _ends(name: str, ends: Sequence[Json]) -> Iterator[tuple[str, Json]]:
    low, high = ends
    yield from ((f"{name}_{key}", end) for key, end in (("low", low), ("high", high)) if end is not None)


def _name(field: str) -> str:
    return next((step for step in reversed(parse_field(field)) if isinstance(step, str)), "value")
