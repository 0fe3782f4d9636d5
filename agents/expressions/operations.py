"""Values under the rules of expressions: what may be compared, added, read as a number, and the count of steps. Pure.

Called by evaluation.py and functions.py. Numbers keep to 64 bits (fractions to finite doubles) and texts to a length.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from agents.expressions.syntax import MAX_WHOLE
from agents.records import ExpressionFailed, Json
from agents.schema_check import is_number

MAX_TEXT_CHARS: Final = 100_000
MAX_EQUAL_DEPTH: Final = 64
CLOSE: Final = 1e-9


class Steps:
    """What may still be spent; several evaluations may share one."""

    __slots__ = ("left",)

    def __init__(self, left: int) -> None:
        self.left = left

    def spend(self, steps: int = 1) -> None:
        """Raises ExpressionFailed when nothing is left."""
        self.left -= steps
        if self.left < 0:
            raise ExpressionFailed("the expression takes too many steps on these values")


def kind_of(value: Json) -> str:
    """What a value is called in messages; booleans are no numbers."""
    for kind, name in ((bool, "true or false"), (int | float, "a number"), (str, "a text"), (list | tuple, "a list")):
        if isinstance(value, kind):
            return name
    return "null" if value is None else "an object"


def equal(left: Json, right: Json, steps: Steps, depth: int = 0) -> bool:
    """Whether two JSON values are the same. Numbers with a fraction are when they differ by a billionth of the larger at most,
    so that 0.1 + 0.2 is 0.3. Raises ExpressionFailed where that takes too long to say."""
    steps.spend()
    if is_number(left) and is_number(right):
        if isinstance(left, int) and isinstance(right, int):
            return left == right
        return math.isclose(as_number(left, "=="), as_number(right, "=="), rel_tol=CLOSE)
    if kind_of(left) != kind_of(right):
        return False
    if isinstance(left, Mapping | list | tuple):
        if depth > MAX_EQUAL_DEPTH:
            raise ExpressionFailed(f"values nested deeper than {MAX_EQUAL_DEPTH} cannot be compared")
        if len(left) != len(right):
            return False
        if isinstance(left, Mapping):
            return all(key in right and equal(item, right[key], steps, depth + 1) for key, item in left.items())
        return all(equal(a, b, steps, depth + 1) for a, b in zip(left, right, strict=True))
    return bool(left == right)


def ordered(sign: str, left: Json, right: Json) -> bool:
    """``left sign right`` for two numbers or two texts (texts by code point). Raises ExpressionFailed for anything else."""
    if isinstance(left, str) and isinstance(right, str):
        same, less = left == right, left < right
    elif is_number(left) and is_number(right):
        left, right = as_number(left, sign), as_number(right, sign)
        whole = isinstance(left, int) and isinstance(right, int)
        same, less = left == right if whole else math.isclose(left, right, rel_tol=CLOSE), left < right
    else:
        raise ExpressionFailed(f"{kind_of(left)} cannot be compared with {kind_of(right)} by {sign}")
    return {"<": less and not same, "<=": less or same, ">": not less and not same, ">=": not less or same}[sign]


def as_number(value: Json, where: str) -> Any:
    if not is_number(value):
        raise ExpressionFailed(f"{where} needs a number, not {kind_of(value)}")
    return kept(value)


def kept(value: Any) -> Any:
    if isinstance(value, int):
        if not -MAX_WHOLE - 1 <= value <= MAX_WHOLE:
            raise ExpressionFailed("a whole number beyond 64 bits")
    elif not math.isfinite(value):
        raise ExpressionFailed("a number that is not finite")
    return value


def as_text(value: Json, where: str) -> str:
    if not isinstance(value, str):
        raise ExpressionFailed(f"{where} needs a text, not {kind_of(value)}")
    return short(value)


def short(text: str) -> str:
    if len(text) > MAX_TEXT_CHARS:
        raise ExpressionFailed(f"a text of more than {MAX_TEXT_CHARS} characters")
    return text


def as_truth(value: Json, where: str) -> bool:
    if not isinstance(value, bool):
        raise ExpressionFailed(f"{where} needs true or false, not {kind_of(value)}")
    return value


def as_items(value: Json, where: str) -> Sequence[Json]:
    """The items of a list; an absent one has none."""
    if value is None:
        return ()
    if not isinstance(value, list | tuple):
        raise ExpressionFailed(f"{where} needs a list, not {kind_of(value)}")
    return value


def within(needle: Json, hay: Json, steps: Steps) -> bool:
    if isinstance(hay, str):
        steps.spend(len(hay) // 1000)
        return as_text(needle, "in") in hay
    if isinstance(hay, list | tuple):
        return any(equal(needle, item, steps) for item in hay)
    if isinstance(hay, Mapping):
        return as_text(needle, "in") in hay
    raise ExpressionFailed(f"in needs a list, a text or an object, not {kind_of(hay)}")


def worked(sign: str, left: Json, right: Json) -> Json:
    if sign == "+" and isinstance(left, str) and isinstance(right, str):
        return short(left + right)
    a, b = as_number(left, sign), as_number(right, sign)
    try:
        match sign:
            case "+":
                return kept(a + b)
            case "-":
                return kept(a - b)
            case "*":
                return kept(a * b)
            case "/":
                return kept(a / b)
            case "//":
                return kept(a // b)
            case _:
                return kept(a % b)
    except ZeroDivisionError:
        raise ExpressionFailed("a division by zero") from None
    except OverflowError:
        raise ExpressionFailed("a number that is too large") from None
