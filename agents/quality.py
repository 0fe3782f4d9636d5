"""How good an answer is: checks, a judge's opinion and a person's word -> one score with its source. Pure, linear in the answer.

Called by dispatch (the verdict of every answer), the strategies (``check`` and ``issues`` for correctors), and whoever has an
answer that comes in parts (``Tally``). Must not import a toolbox, a backend or runtime.

The checks' score, 0 to 1, from the checks there are::

    schema x count x mean(completeness, constraints)

- ``schema``: the share of valid items of the answer's one list, times 1 - errors/fields for errors outside of it.
- ``count``: 1 where as many items came as were asked for, else how near it is (8 of 10: 0.8).
- ``completeness``: the mean of the share of required and of all fields that hold something (see completeness.py).
- constraints: the mean of their average and their worst, each the share of its values that keep to it, so that one rule broken
  everywhere shows however many others are kept.

Multiplied, because an answer of the wrong shape is not made up for by keeping rules. Nothing to check: source ``none``, score
1.0, which says that nothing is known to be wrong. A judge's score is mixed in by its weight; a person's replaces all.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from agents.completeness import Filled
from agents.constraint_checks import ConstraintCheck, check_of, share_of_count
from agents.expressions import Steps
from agents.records import InvalidRequest, Json
from agents.schema_check import MAX_ITEMS, compile_schema, resolve
from agents.shaping import array_path, array_schema, with_count
from agents.verdicts import Check, Constraint, Verdict

MAX_STEPS: Final = 5_000_000
"""What all expressions and patterns of one answer may take together: seconds at worst."""
_MAX_ERRORS: Final = 20_000
_SHOWN_ERRORS: Final = 5
_GROUPS: Final = ("schema", "count", "completeness")
_OPINIONS: Final = ("judge", "feedback")


def check(
    data: Json,
    *,
    schema: Mapping[str, Json] | None = None,
    count: int | None = None,
    constraints: Iterable[Constraint] = (),
    text: str = "",
) -> Verdict:
    """The verdict of the checks. ``text`` is the answer where there is no data: constraints without a field are about it.

    Never raises for an answer, whatever it is; InvalidRequest for a schema or constraint that is none. Time is linear in the
    answer (some 30 us an item with five constraints); for thousands of items call it off the event loop.
    """
    constraints = tuple(constraints)
    if data is None and schema is not None and not _allows_null(schema):
        return Verdict(score=0.0, source="checks", checks=(Check(name="schema", score=0.0, detail="there is no answer"),))
    tally = Tally(schema=schema, count=count, constraints=constraints)
    tally.add(text if data is None and schema is None else data)
    return tally.verdict()


def issues(verdict: Verdict, limit: int = 20, *, only_constraints: bool = False) -> tuple[str, ...]:
    """What is wrong, in words for a corrector, at most ``limit``: a line for each check that not all passed."""
    found = (
        one.detail
        for one in verdict.checks
        if one.score < 1.0 and one.detail and one.name not in _OPINIONS and not (only_constraints and one.name in _GROUPS)
    )
    return tuple(dict.fromkeys(found))[: max(0, limit)]


def with_judge(verdict: Verdict, score: float, weight: float = 0.5, *, detail: str = "") -> Verdict:
    """The verdict with a model's opinion: ``(1 - weight) x checks + weight x score``, or the opinion alone where nothing could be
    checked. A person's word stands above it. Raises InvalidRequest unless both are from 0 to 1."""
    score, weight = _share(score, "score"), _share(weight, "weight")
    checks = (*(one for one in verdict.checks if one.name != "judge"), Check(name="judge", score=score, detail=detail))
    if verdict.source == "feedback":
        return replace(verdict, checks=checks)
    base = _combined(checks)
    mixed = score if base is None else (1 - weight) * base + weight * score
    return Verdict(score=mixed, source="judge", checks=checks)


def with_feedback(verdict: Verdict, score: float, *, detail: str = "") -> Verdict:
    """The verdict with a person's score, which is the whole score from now on (a later one replaces it); the checks stay to be
    read. Raises InvalidRequest unless it is from 0 to 1."""
    score = _share(score, "score")
    checks = (*(one for one in verdict.checks if one.name != "feedback"), Check(name="feedback", score=score, detail=detail))
    return Verdict(score=score, source="feedback", checks=checks)


class Tally:
    """Checks an answer that comes in parts, each shaped as the whole is (``{"users": [the next ones]}``, or a list of items).

    Memory: counters, the first few offenders of each check, 16 bytes a value that must be unique, and a bounded sample for each
    distribution (statistical_checks.py). What is said of the answer as a whole by an expression cannot be seen in parts and is
    left out when there was more than one.
    """

    def __init__(
        self, *, schema: Mapping[str, Json] | None = None, count: int | None = None, constraints: Iterable[Constraint] = ()
    ) -> None:
        self._schema, self._path, self._bounds = _opened(schema, count)
        self._items = self._bad_items = self._errors = 0
        self._frame_errors = 0
        self._words: list[str] = []
        self._filled = Filled()
        steps = Steps(MAX_STEPS)
        self._checks: list[ConstraintCheck] = [check_of(one, steps) for one in constraints]

    def add(self, part: Json) -> None:
        """The next part. Never raises, whatever it is."""
        if self._schema is not None:
            self._look(part, self._schema)
            self._filled.add(part, self._schema, offset=self._items)
        for one in self._checks:
            one.add(part, self._items)
        self._items += len(self._list(part))

    def verdict(self) -> Verdict:
        """What came of all parts so far."""
        found = [self._validity(), self._amount(), self._filled.result(), *(one.result() for one in self._checks)]
        checks = tuple(one for one in found if one is not None)
        score = _combined(checks)
        return Verdict(score=1.0, source="none") if score is None else Verdict(score=score, source="checks", checks=checks)

    def _list(self, part: Json) -> list[Json]:
        if self._path is None:
            return part if isinstance(part, list) else []
        found = part.get(self._path[0]) if self._path and isinstance(part, Mapping) else part
        return found if isinstance(found, list) else []

    def _look(self, part: Json, schema: Mapping[str, Json]) -> None:
        validator = compile_schema(schema)
        if validator.is_valid(part):
            return
        depth = None if self._path is None else len(self._path)
        bad: set[int] = set()
        for path, words in validator.places(part, limit=_MAX_ERRORS):
            place = path[depth] if depth is not None and len(path) > depth and path[:depth] == self._path else None
            index = place if isinstance(place, int) else None
            if index is not None:
                bad.add(index)
            else:
                self._frame_errors += 1
            self._errors += 1
            if len(self._words) < _SHOWN_ERRORS:
                whole = path if index is None else (*path[:depth], index + self._items, *path[(depth or 0) + 1 :])
                self._words.append(f"{'/'.join(map(str, whole)) or '(root)'}: {words}")
        self._bad_items += len(bad)

    def _validity(self) -> Check | None:
        if self._schema is None:
            return None
        if not self._errors:
            return Check(name="schema", score=1.0)
        items = 1.0 - self._bad_items / self._items if self._items else 1.0
        frame = max(0.0, 1.0 - self._frame_errors / max(1, self._filled.fields))
        words = list(self._words)
        if self._errors > len(words):
            words.append(f"and {self._errors - len(words)} more")
        return Check(name="schema", score=max(0.0, items) * frame, detail=f"against the schema: {'; '.join(words)}")

    def _amount(self) -> Check | None:
        if self._bounds is None:
            return None
        low, high = self._bounds
        share = share_of_count(self._items, low, high)
        wanted = f"{low}" if low == high else f"{low} or more" if high > MAX_ITEMS else f"{low} to {high}"
        return Check(name="count", score=share, detail="" if share == 1.0 else f"{wanted} items were asked, {self._items} came")


def _combined(checks: Iterable[Check]) -> float | None:
    """The formula of the module's docstring; None where nothing was checked."""
    known: dict[str, float] = {}
    kept: list[float] = []
    for one in checks:
        if one.name in _GROUPS:
            known[one.name] = one.score
        elif one.name not in _OPINIONS:
            kept.append(one.score)
    if not known and not kept:
        return None
    parts = [known["completeness"]] if "completeness" in known else []
    if kept:
        parts.append((sum(kept) / len(kept) + min(kept)) / 2)
    mean = sum(parts) / len(parts) if parts else 1.0
    return min(1.0, max(0.0, known.get("schema", 1.0) * known.get("count", 1.0) * mean))


def _opened(
    schema: Mapping[str, Json] | None, count: int | None
) -> tuple[Mapping[str, Json] | None, tuple[str, ...] | None, tuple[int, int] | None]:
    """The schema without the bounds of its one array, where that array is, and the bounds, which are a check of their own."""
    if schema is None:
        return None, None, (count, count) if count is not None else None
    if count is not None:
        try:
            schema = with_count(schema, count)
        except InvalidRequest:
            return schema, array_path(schema), (count, count)
    path = array_path(schema)
    if path is None:
        return schema, None, None
    part = array_schema(schema, path)
    low, high = part.pop("minItems", None), part.pop("maxItems", None)
    if low is None and high is None:
        return schema, path, None
    definitions = {key: schema[key] for key in ("$defs", "definitions") if key in schema}
    top = resolve(schema, schema)
    opened = {**definitions, **(part if not path else {**top, "properties": {**top["properties"], path[0]: part}})}
    return opened, path, (int(low or 0), int(high) if high is not None else max(int(low or 0), MAX_ITEMS) + 1)


def _allows_null(schema: Mapping[str, Json]) -> bool:
    return compile_schema(schema).is_valid(None)


def _share(number: float, name: str) -> float:
    if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number) or not 0 <= number <= 1:
        raise InvalidRequest("must be a number from 0 to 1", param=name)
    return float(number)
