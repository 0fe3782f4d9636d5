"""Constraints with the values of a new request: what a stored program must be held against when it runs with other parameters.

Called by runtime/library/code.py. Pure. The constraints were read from the words of the stored request, so that each of their
numbers stands in it, as it is or as a share. A number of the words that changed changes all that came of it; where it cannot be
told what did, or no constraint mentions it, nothing would check the new value, and ``Uncertain`` is raised.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from agents.quality.constraints import parse_constraints, to_json
from agents.records import InvalidRequest, Json
from agents.strategies.extraction import FREE_NUMBERS
from agents.strategies.spoken import numbers_of
from agents.verdicts import Constraint

Value = str | int | float
NOT_OF_THE_WORDS: Final = frozenset({"alpha", "round", "tolerance"})
"""Parts of a constraint that stand in it without standing in the request."""
_NEAR: Final = 1e-9


class Uncertain(ValueError):
    """It cannot be told which constraints the new values give; the message says why."""


def retuned(read: Sequence[Constraint], changes: Sequence[tuple[Value, Value]], words: str) -> tuple[Constraint, ...]:
    """``read`` for a request in which ``changes`` (old, new) are all that differs from ``words``. Raises Uncertain."""
    said = list(numbers_of(words))
    numbers: dict[float, float] = {}
    texts: dict[str, str] = {}
    for old, new in changes:
        if isinstance(old, str) or isinstance(new, str):
            _note(texts, str(old), str(new), [each for one in read for each in _texts(one.value)])
        else:
            _note_number(numbers, float(old), float(new), said, [each for one in read for each in _numbers(one.value)])
    changed = [replace(one, value=_with(one.value, numbers, texts)) for one in read]
    try:
        return parse_constraints(to_json(changed))
    except InvalidRequest as error:
        raise Uncertain(f"the new values make no constraint: {error.message}") from error


def _note(known: dict[str, str], old: str, new: str, there: Sequence[str]) -> None:
    if old not in there:
        raise Uncertain(f"no check mentions «{old}»")
    if known.setdefault(old, new) != new:
        raise Uncertain(f"«{old}» became two things")


def _note_number(known: dict[float, float], old: float, new: float, said: Sequence[float], there: Sequence[float]) -> None:
    """The form in which ``old`` stands in constraints, as it is or as a share, with what it becomes."""
    if old in FREE_NUMBERS:
        raise Uncertain(f"{old:g} may stand for anything in a check")
    shares: dict[float, float] = {}
    if 0 < abs(old) <= 100:
        shares |= {old / 100: new / 100, 1 - old / 100: 1 - new / 100}
    if 0 < old < 1:
        shares[1 - old] = 1 - new
    shares = {form: becomes for form, becomes in shares.items() if _in(form, there)}
    found = {old: new} if _in(old, there) else shares
    if not found:
        raise Uncertain(f"no check mentions {old:g}")
    if found is not shares and shares and sum(_same(old, one) for one in said) > 1:
        raise Uncertain(f"{old:g} may stand for itself and for a share")
    others = [one for one in said if not _same(one, old)]
    for form, becomes in found.items():
        if found is shares and any(_in(form, (one, one / 100, 1 - one, 1 - one / 100)) for one in others):
            raise Uncertain(f"{form:g} in a check may come of {old:g} or of another number")
        if known.setdefault(form, becomes) != becomes:
            raise Uncertain(f"{form:g} became two numbers")


def _in(number: float, among: Sequence[float]) -> bool:
    return any(_same(number, one) for one in among)


def _same(one: float, other: float) -> bool:
    return abs(one - other) <= _NEAR * max(1.0, abs(one))


def _numbers(value: Json) -> Iterator[float]:
    if isinstance(value, int | float) and not isinstance(value, bool):
        yield float(value)
    elif isinstance(value, Mapping):
        for name, item in value.items():
            if name not in NOT_OF_THE_WORDS:
                yield from _numbers(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _numbers(item)


def _texts(value: Json) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            if name != "with":  # a field's name
                yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)


def _with(value: Json, numbers: Mapping[float, float], texts: Mapping[str, str]) -> Json:
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int | float):
        found = next((new for old, new in numbers.items() if _same(old, float(value))), None)
        if found is None:
            return value
        return int(found) if isinstance(value, int) and found.is_integer() else found
    if isinstance(value, str):
        return texts.get(value, value)
    if isinstance(value, Mapping):
        return {
            name: item if name in NOT_OF_THE_WORDS or name == "with" else _with(item, numbers, texts)
            for name, item in value.items()
        }
    return [_with(item, numbers, texts) for item in value]
