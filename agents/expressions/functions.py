"""The functions of expressions, each ``(steps, *values) -> value``; syntax.py has their arity. Called by evaluation.py. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Final

from agents.expressions.operations import (
    Steps,
    as_items,
    as_number,
    as_text,
    as_truth,
    equal,
    kept,
    kind_of,
    ordered,
    short,
    within,
)
from agents.records import ExpressionFailed, Json
from agents.schema_check import compile_pattern, is_number

# So that a budget of steps is about the same time whatever it is spent on.
_LINEAR_STEPS: Final = 5
_BACKTRACKING_STEPS: Final = 200
_DAY_S: Final = 86_400.0
_NOTHING: Final = object()
_SHOWN: Final = 40


def _len(steps: Steps, value: Json) -> int:
    if not isinstance(value, str | list | tuple | Mapping):
        raise ExpressionFailed(f"len needs a text, a list or an object, not {kind_of(value)}")
    return len(value)


def _sum(steps: Steps, value: Json) -> Any:
    items = as_items(value, "sum")
    steps.spend(len(items))
    numbers = [as_number(item, "sum") for item in items]
    try:
        return kept(sum(numbers) if all(isinstance(number, int) for number in numbers) else math.fsum(numbers))
    except OverflowError:
        raise ExpressionFailed("a number that is too large") from None


def _extreme(sign: str, name: str) -> Callable[..., Json]:
    def extreme(steps: Steps, *values: Json) -> Json:
        items = as_items(values[0], name) if len(values) == 1 else values
        if not items:
            raise ExpressionFailed(f"{name} of nothing")
        steps.spend(len(items))
        best = items[0]
        if not isinstance(best, str):
            best = as_number(best, name)
        for item in items[1:]:
            best = item if ordered(sign, item, best) else best
        return best

    return extreme


def _round(steps: Steps, value: Json, digits: Json = 0) -> Json:
    number, places = as_number(value, "round"), as_number(digits, "round")
    if not isinstance(places, int) or not -15 <= places <= 15:
        raise ExpressionFailed("round needs a whole number of digits from -15 to 15")
    return kept(round(number, places) if places else round(number))


def _cased(name: str, change: Callable[[str], str]) -> Callable[..., str]:
    def cased(steps: Steps, value: Json) -> str:
        steps.spend(len(as_text(value, name)) // 1000)
        return short(change(value))

    return cased


def _contains(steps: Steps, hay: Json, needle: Json) -> bool:
    return within(needle, hay, steps)


def _starts_with(steps: Steps, text: Json, start: Json) -> bool:
    return as_text(text, "starts_with").startswith(as_text(start, "starts_with"))


def _ends_with(steps: Steps, text: Json, end: Json) -> bool:
    return as_text(text, "ends_with").endswith(as_text(end, "ends_with"))


def _matches(steps: Steps, text: Json, pattern: str) -> bool:
    compiled = compile_pattern(pattern)
    steps.spend((_LINEAR_STEPS if compiled.linear else _BACKTRACKING_STEPS) + len(as_text(text, "matches")) // 100)
    return compiled.is_valid(text)


def _count(steps: Steps, value: Json, wanted: Any = _NOTHING) -> int:
    items = as_items(value, "count")
    steps.spend(len(items))
    if wanted is _NOTHING:
        return sum(item is not None for item in items)
    return sum(equal(item, wanted, steps) for item in items)


def _unique(steps: Steps, value: Json) -> bool:
    """Linear for texts and whole numbers, which is what ids are; by comparing, within the budget, for the rest."""
    items = [item for item in as_items(value, "unique") if item is not None]
    steps.spend(len(items))
    if all(isinstance(item, str) for item in items):
        return len(set(items)) == len(items)
    if all(is_number(item) for item in items):
        # Sorted, equal numbers are neighbours, also those that are equal but for rounding.
        return not any(equal(a, b, steps) for a, b in pairwise(sorted(as_number(item, "unique") for item in items)))
    return not any(equal(item, other, steps) for place, item in enumerate(items) for other in items[:place])


def _every(every: bool, name: str) -> Callable[..., bool]:
    def over(steps: Steps, value: Json) -> bool:
        items = as_items(value, name)
        return (all if every else any)(as_truth(item, name) for item in items)

    return over


def _date(steps: Steps, value: Json) -> float:
    """Unix seconds of an ISO 8601 date or time; without a zone it is UTC."""
    text = as_text(value, "date")
    try:
        moment = datetime.fromisoformat(text if len(text) <= 64 else "")
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise ExpressionFailed(f"{text[:_SHOWN]!r} is not an ISO 8601 date") from None


def _days(steps: Steps, start: Json, end: Json) -> float:
    """Days from ``start`` to ``end``, each a text or seconds as ``date`` gives them."""
    first, last = (as_number(x, "days") if is_number(x) else _date(steps, x) for x in (start, end))
    return float(kept((last - first) / _DAY_S))


FUNCTIONS: Final[Mapping[str, Callable[..., Json]]] = {
    "len": _len,
    "sum": _sum,
    "min": _extreme("<", "min"),
    "max": _extreme(">", "max"),
    "abs": lambda steps, value: kept(abs(as_number(value, "abs"))),
    "round": _round,
    "lower": _cased("lower", str.lower),
    "upper": _cased("upper", str.upper),
    "contains": _contains,
    "starts_with": _starts_with,
    "ends_with": _ends_with,
    "matches": _matches,
    "count": _count,
    "unique": _unique,
    "all": _every(True, "all"),
    "any": _every(False, "any"),
    "date": _date,
    "days": _days,
}
