"""An answer's checks, whole or in parts, and the score that they come to. Pure, linear in the answer.

Called by the package's own ``check``, and by whoever has an answer that comes in parts. Must not import a toolbox, a backend or
runtime. The formula of the score stands in the package's docstring.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from agents.expressions import Steps
from agents.quality.completeness import Filled
from agents.quality.constraint_checks import ConstraintCheck, check_of, share_of_count
from agents.records import InvalidRequest, Json
from agents.schema_check import MAX_ITEMS, compile_schema, resolve
from agents.shaping import array_path, array_schema, with_count
from agents.verdicts import Check, Constraint, Verdict

MAX_STEPS: Final = 5_000_000
"""What all expressions and patterns of one answer may take together: seconds at worst."""
_MAX_ERRORS: Final = 20_000
_SHOWN_ERRORS: Final = 5
STRUCTURAL: Final = ("schema", "count", "completeness")
"""Names of the checks that every structured answer gets; the others are the request's constraints, or a judge's."""
JUDGE: Final = "judge"
"""Name of the check that is a model's opinion, which the score of the checks leaves out."""


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
        score = combined(checks)
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


def combined(checks: Iterable[Check]) -> float | None:
    """The score of the package's docstring, 0 to 1; None where nothing was checked. Opinions do not count."""
    known: dict[str, float] = {}
    kept: list[float] = []
    for one in checks:
        if one.name in STRUCTURAL:
            known[one.name] = one.score
        elif one.name != JUDGE:
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
