"""Whether two programs, written independently, came to the same result. Pure; called by code_augmented.py."""

from __future__ import annotations

import math
from decimal import Decimal, InvalidOperation
from typing import Final

from agents.records import Json

_RELATIVE: Final = 1e-6
_MAX_DEPTH: Final = 50


def same_result(one: Json, other: Json, depth: int = 0) -> bool:
    """Equal in what they say: a number as text or alone in an object is that number, and one that was rounded (to one place or
    more) equals what it was rounded from."""
    if depth > _MAX_DEPTH:
        return False
    one, other = _bare(one), _bare(other)
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, Decimal) and isinstance(other, Decimal):
        return _same_number(one, other)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(same_result(a, b, depth + 1) for a, b in zip(one, other, strict=True))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same_result(value, other[key], depth + 1) for key, value in one.items())
    return type(one) is type(other) and bool(one == other)


def _bare(value: Json) -> Json:
    """Numbers as Decimal, text without case and blanks, the only value of an object for the object."""
    if isinstance(value, dict) and len(value) == 1:
        value = next(iter(value.values()))
    if isinstance(value, str):
        value = value.strip().casefold()
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            number = Decimal(str(value))
        except InvalidOperation:
            return value
        return number if number.is_finite() else value
    return value


def _same_number(one: Decimal, other: Decimal) -> bool:
    if math.isclose(one, other, rel_tol=_RELATIVE, abs_tol=1e-9):
        return True
    places = min(_places(one), _places(other))
    return places > 0 and abs(one - other) <= Decimal(10) ** -places * Decimal("0.501")


def _places(number: Decimal) -> int:
    exponent = number.as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0
