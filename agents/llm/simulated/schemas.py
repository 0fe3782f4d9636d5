"""Looking at JSON Schemas: their field names, their parts joined, what makes them hard. Pure; called by shapes.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agents.llm.simulated.rules import words_of
from agents.records import Json
from agents.schema_check import resolve

MAX_DEPTH = 40
_COMPLEX = frozenset(
    {"not", "if", "oneOf", "anyOf", "allOf", "contains", "dependentRequired", "dependentSchemas", "propertyNames"}
)


def is_person(schema: Mapping[str, Any]) -> bool:
    """Whether an object whose name says nothing has the fields of a person."""
    words = {word for key in schema.get("properties") or () for word in words_of(str(key))}
    return not words.isdisjoint({"email", "age", "phone", "birth", "first", "surname", "gender", "hobby", "job", "salary"})


def names_in(schema: Json, depth: int) -> list[str]:
    if not isinstance(schema, Mapping) or depth > MAX_DEPTH:
        return []
    properties, defs = schema.get("properties"), schema.get("$defs")
    found = [str(key) for key in properties] if isinstance(properties, Mapping) else []
    parts = [*(properties.values() if isinstance(properties, Mapping) else ()), schema.get("items")]
    parts += list(defs.values()) if isinstance(defs, Mapping) else []
    return found + [name for part in parts for name in names_in(part, depth + 1)]


def is_complex(schema: Json, depth: int) -> bool:
    if depth > MAX_DEPTH:
        return False
    if isinstance(schema, Mapping):
        return not _COMPLEX.isdisjoint(schema) or any(is_complex(inner, depth + 1) for inner in schema.values())
    return isinstance(schema, list) and any(is_complex(inner, depth + 1) for inner in schema[:200])


def joined(schema: Mapping[str, Any], parts: Sequence[Json], root: Mapping[str, Any]) -> dict[str, Any]:
    whole = without(schema, "allOf")
    for part in parts:
        inner = resolve(part, root)
        if isinstance(inner, Mapping):
            properties = {**(whole.get("properties") or {}), **(inner.get("properties") or {})}
            required = [*(whole.get("required") or ()), *(inner.get("required") or ())]
            whole = {**whole, **inner}
            if properties:
                whole["properties"] = properties
            if required:
                whole["required"] = list(dict.fromkeys(required))
    return whole


def without(schema: Mapping[str, Any], word: str) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key != word}
