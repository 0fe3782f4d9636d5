"""Answers held against constraints: one accumulating check for each, so that a long answer may come in parts. Pure, linear.

Called by tally.py. Must not import a toolbox, a backend or runtime.

Null and absent values pass every kind (the schema says what must be there); a field that no item has at all does not, so that a
mistyped path is seen. An empty list passes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from agents.expressions import Expression, Steps, parse
from agents.quality.constraints import count_bounds, rule_of
from agents.quality.fields import MISSING, digest, parse_field, shown, spelled, spots
from agents.quality.fields import Steps as PathSteps
from agents.quality.statistical_checks import statistical_check
from agents.quality.statistical_constraints import STATISTICAL
from agents.records import ExpressionFailed, Json
from agents.schema_check import compile_pattern, compile_schema, is_number
from agents.verdicts import Check, Constraint

MAX_OFFENDERS: Final = 5
_SHOWN: Final = 200
_MAX_EXPRESSION_STEPS: Final = 100_000
_MAX_NAMES: Final = 1000
_LINEAR_STEPS: Final = 2
_BACKTRACKING_STEPS: Final = 200


class ConstraintCheck(Protocol):
    """One constraint over an answer that comes in parts."""

    def add(self, part: Json, offset: int) -> None:
        """A part of the answer, shaped as the whole is; ``offset``: how many items came before."""
        ...

    def result(self) -> Check | None:
        """What came of it; None where it cannot be said."""
        ...


def check_of(constraint: Constraint, steps: Steps) -> ConstraintCheck:
    """The check of a constraint; expressions and patterns keep within ``steps``, which several checks may share."""
    if constraint.kind in STATISTICAL:
        return statistical_check(constraint)
    match constraint.kind:
        case "unique":
            return _Unique(constraint)
        case "count":
            return _Count(constraint)
        case "expression":
            return _Holds(constraint, steps)
        case "pattern":
            return _Matches(constraint, steps)
    return _EachValue(constraint, _TESTS[constraint.kind](constraint.value))


def name_of(constraint: Constraint) -> str:
    """``range users[].age``: the name of its Check."""
    return f"{constraint.kind} {constraint.field or 'answer'}"


class _Score:
    """Values that passed, those that did not, and the first few of these in words."""

    def __init__(self, constraint: Constraint) -> None:
        self.constraint = constraint
        self.passed = self.failed = self.missing = self.unchecked = 0
        self.words: list[str] = []

    def fail(self, words: str) -> None:
        self.failed += 1
        if len(self.words) < MAX_OFFENDERS:
            self.words.append(words if len(words) <= _SHOWN else words[: _SHOWN - 1] + "…")

    def result(self) -> Check:
        name, seen = name_of(self.constraint), self.passed + self.failed
        if not seen and (self.missing or self.unchecked):
            why = "is not in the answer" if self.missing else "was not checked: that takes too many steps"
            return Check(name=name, score=0.0, detail=f"{self.constraint.field or 'the answer'} {why}")
        words = list(self.words)
        if self.failed > len(words):
            words.append(f"and {self.failed - len(words)} more")
        if self.unchecked:
            words.append(f"{self.unchecked} values were not checked: that takes too many steps")
        detail = f"{rule_of(self.constraint)} ({'; '.join(words)})" if words else ""
        return Check(name=name, score=self.passed / seen if seen else 1.0, detail=detail)


class _OverValues(ABC):
    """A check that looks at one value after the other."""

    def __init__(self, constraint: Constraint) -> None:
        self._steps: PathSteps = parse_field(constraint.field)
        self._score = _Score(constraint)

    def add(self, part: Json, offset: int) -> None:
        for indices, value in spots(part, self._steps, offset):
            if value is MISSING:
                self._score.missing += 1
            elif value is not None:
                self._look(indices, value)

    @abstractmethod
    def _look(self, indices: tuple[int, ...], value: Json) -> None:
        """One value, neither absent nor null, and the place of it in the whole answer."""

    def _fail(self, indices: tuple[int, ...], words: str) -> None:
        self._score.fail(f"{spelled(self._steps, indices)}: {words}")

    def result(self) -> Check | None:
        return self._score.result()


class _EachValue(_OverValues):
    def __init__(self, constraint: Constraint, test: Callable[[Json], str]) -> None:
        super().__init__(constraint)
        self._test = test

    def _look(self, indices: tuple[int, ...], value: Json) -> None:
        if wrong := self._test(value):
            self._fail(indices, f"{shown(value)} {wrong}")
        else:
            self._score.passed += 1


class _Matches(_OverValues):
    """A pattern that may backtrack costs up to 0.3 ms a value, so that all of them together keep to the shared steps."""

    def __init__(self, constraint: Constraint, budget: Steps) -> None:
        super().__init__(constraint)
        self._pattern = compile_pattern(constraint.value)
        self._budget = budget

    def _look(self, indices: tuple[int, ...], value: Json) -> None:
        if self._budget.left <= 0:
            self._score.unchecked += 1
            return
        self._budget.left -= _LINEAR_STEPS if self._pattern.linear else _BACKTRACKING_STEPS
        if self._pattern.is_valid(value):
            self._score.passed += 1
        else:
            self._fail(indices, f"{shown(value)} does not match the pattern")


class _Unique(_OverValues):
    """Keeps 16 bytes a value."""

    def __init__(self, constraint: Constraint) -> None:
        super().__init__(constraint)
        self._whole = not self._steps
        if None not in self._steps:
            self._steps = (*self._steps, None)
        self._seen: set[bytes] = set()

    def add(self, part: Json, offset: int) -> None:
        super().add(_one_list(part) if self._whole else part, offset)

    def _look(self, indices: tuple[int, ...], value: Json) -> None:
        try:
            key = digest(value)
        except ValueError as error:
            self._fail(indices, str(error))
            return
        if key in self._seen:
            self._fail(indices, f"{shown(value)} occurs twice")
        else:
            self._seen.add(key)
            self._score.passed += 1


class _Count:
    """The length of one list, over all parts together, or of each of several lists."""

    def __init__(self, constraint: Constraint) -> None:
        steps = parse_field(constraint.field)
        self._steps = steps[:-1] if steps[-1:] == (None,) else steps
        self._low, self._high = count_bounds(constraint.value)
        self._score = _Score(constraint)
        self._summed = None not in self._steps
        self._total = 0
        self._lists = 0

    def add(self, part: Json, offset: int) -> None:
        data = part if self._steps else _one_list(part)
        for indices, value in spots(data, self._steps, offset):
            if value is MISSING or value is None:
                self._score.missing += 1
            elif not isinstance(value, list):
                self._score.fail(f"{spelled(self._steps, indices)}: {shown(value)} is not a list")
            elif self._summed:
                self._total += len(value)
                self._lists += 1
            elif self._low <= len(value) <= self._high:
                self._score.passed += 1
            else:
                self._score.fail(f"{spelled(self._steps, indices)}: {len(value)} items")

    def result(self) -> Check | None:
        if not self._summed or not self._lists or self._score.failed:
            return self._score.result()
        share = share_of_count(self._total, self._low, self._high)
        constraint = self._score.constraint
        detail = "" if share == 1.0 else f"{rule_of(constraint)} (there are {self._total})"
        return Check(name=name_of(constraint), score=share, detail=detail)


class _Holds(_OverValues):
    """An expression over the fields of each item, or over the answer as a whole (which parts cannot show)."""

    def __init__(self, constraint: Constraint, budget: Steps) -> None:
        super().__init__(constraint)
        self._expression: Expression = parse(constraint.value)
        self._budget = budget
        self._parts = 0
        # A field that some items leave out is null there; one that no item has is an error of the expression.
        self._known: set[str] = set()

    def add(self, part: Json, offset: int) -> None:
        self._parts += 1
        if not self._steps:
            self._try(names_of(part), ())
            return
        for _, value in spots(part, self._steps):
            if isinstance(value, Mapping) and len(self._known) < _MAX_NAMES:
                self._known.update(value)
        super().add(part, offset)

    def _look(self, indices: tuple[int, ...], value: Json) -> None:
        names = value if isinstance(value, Mapping) else {"value": value}
        absent = {name: None for name in self._expression.names if name not in names and name in self._known}
        self._try({**names, **absent} if absent else names, indices)

    def _try(self, names: Mapping[str, Json], indices: tuple[int, ...]) -> None:
        if self._budget.left <= 0:
            self._score.unchecked += 1
            return
        granted = min(_MAX_EXPRESSION_STEPS, self._budget.left)
        steps = Steps(granted)
        try:
            held, why = self._expression.holds(names, steps=steps), ""
        except ExpressionFailed as error:
            held, why = False, error.message
        self._budget.left -= granted - max(0, steps.left)
        if held:
            self._score.passed += 1
        else:
            self._fail(indices, why or "does not hold")

    def result(self) -> Check | None:
        return None if not self._steps and self._parts > 1 else super().result()


def names_of(data: Json) -> Mapping[str, Json]:
    """The names that an expression over the whole answer may use: its fields, ``items`` of a list, else ``value``."""
    if isinstance(data, Mapping):
        return data
    return {"items": data} if isinstance(data, list) else {"value": data}


def share_of_count(n: int, low: int, high: int) -> float:
    """1.0 within the bounds, else how near ``n`` comes to them."""
    if n < low:
        return n / low
    return high / n if n > high else 1.0


def _one_list(data: Json) -> Json:
    """The answer's one list, which is what is meant where no field is named."""
    if isinstance(data, Mapping):
        lists = [item for item in data.values() if isinstance(item, list)]
        return lists[0] if len(lists) == 1 else None
    return data


# ── the kinds that look at one value ────────────────────────────────────────────────────────────────────────────────────


def _in_range(bounds: Json) -> Callable[[Json], str]:
    low, high = bounds
    text = isinstance(high if low is None else low, str)

    def test(value: Json) -> str:
        fits = isinstance(value, str) if text else is_number(value)
        if not fits:
            return "is not a text" if text else "is not a number"
        if low is not None and not value >= low:
            return f"is below {low}"
        return f"is above {high}" if high is not None and not value <= high else ""

    return test


def _in_enum(options: Json) -> Callable[[Json], str]:
    known = {digest(option) for option in options}

    def test(value: Json) -> str:
        try:
            return "" if digest(value) in known else "is not one of the values"
        except ValueError as error:
            return str(error)

    return test


def _in_format(name: Json) -> Callable[[Json], str]:
    compiled = compile_schema({"type": "string", "format": name})
    return lambda value: "" if compiled.is_valid(value) else f"is not {name}"


_TESTS: Final[Mapping[str, Callable[[Any], Callable[[Json], str]]]] = {
    "range": _in_range,
    "enum": _in_enum,
    "format": _in_format,
}
