"""What is wrong with data, in the words of a reviewer: it really looks. Pure; called by answers.py for critiques and verdicts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from agents.llm.simulated.fields import is_moment
from agents.llm.simulated.rules import Rule, rules_in, words_of
from agents.records import Json
from agents.schema_check import compile_schema

MAX_ISSUES = 10
MAX_VALUES = 5000
_EMAIL = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+")
_NEVER_NEGATIVE = frozenset(
    {"age", "price", "quantity", "count", "stock", "amount", "size", "weight", "salary", "income", "year"}
)


def issues_in(data: Sequence[Json], schemas: Sequence[Json], text: str) -> list[str]:
    """At most ``MAX_ISSUES`` objections to ``data[0]``: by the schemas, by rules in ``text``, by common sense."""
    if not data:
        return []
    found: list[str] = []
    for schema in schemas[:3]:
        if isinstance(schema, Mapping):
            found.extend(compile_schema(schema).errors(data[0]))
    values = list(_walk(data[0], ""))[:MAX_VALUES]
    rules = rules_in(text, (name for _, name, _ in values))
    for path, name, value in values:
        found.extend(f"{path}: {issue}" for issue in _common_sense(name, value))
        found.extend(f"{path}: {issue}" for rule in rules if rule.field == name for issue in _against(rule, value))
    return list(dict.fromkeys(found))[:MAX_ISSUES]


def _walk(value: Json, path: str) -> Iterator[tuple[str, str, Json]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            place = f"{path}.{key}" if path else str(key)
            if isinstance(inner, dict | list):
                yield from _walk(inner, place)
            else:
                yield place, str(key), inner
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _walk(inner, f"{path}[{index}]")


def _common_sense(name: str, value: Json) -> Iterator[str]:
    words = set(words_of(name))
    if value is None or value == "":
        yield "is empty"
    elif isinstance(value, str):
        if "email" in words and not _EMAIL.fullmatch(value):
            yield "is not a valid e-mail address"
        elif is_moment(name) and any(char.isdigit() for char in value) and not _is_moment(value):
            yield "is not a valid ISO-8601 date"
    elif isinstance(value, int | float) and not isinstance(value, bool) and value < 0 and words & _NEVER_NEGATIVE:
        yield "must not be negative"


def _is_moment(value: str) -> bool:
    try:
        datetime.fromisoformat(value.replace("Z", "+00:00"))
    except ValueError:
        return bool(re.fullmatch(r"\d{1,2}:\d{2}(:\d{2})?", value))
    return True


def _against(rule: Rule, value: Json) -> Iterator[str]:
    size = len(value) if rule.length and isinstance(value, str) else value
    if isinstance(size, int | float) and not isinstance(size, bool) and _outside(rule, size):
        yield f"breaks the rule: {rule.text}"
    if rule.options and isinstance(value, str) and value.lower() not in {option.lower() for option in rule.options}:
        yield f"breaks the rule: {rule.text}"


def _outside(rule: Rule, size: float) -> bool:
    too_low = rule.low is not None and (size < rule.low or (rule.strict and size == rule.low))
    too_high = rule.high is not None and (size > rule.high or (rule.strict and size == rule.high))
    return too_low or too_high
