"""Several answers to one question put together field by field, by a rule for where they differ. Pure.

Called by parallel.py and consensus.py. Imports no strategy and no toolbox.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import orjson

from agents.records import Draft, Json
from agents.shaping import type_name
from agents.strategy_specs import Conflict

MAX_DEPTH: Final = 64
MAX_NAMED: Final = 20
_SPACE: Final = re.compile(r"\s+")
_WINNER: Final[dict[Conflict, str]] = {
    "first": "the earlier one counts",
    "last": "the later one counts",
    "longest": "the longer one counts",
    "vote": "the majority counts",
    "fail": "they may not",
}


class Merge:
    """One merge. ``clashes`` are places where types differ, ``conflicts`` all places where values do, bounded and as text."""

    def __init__(self, rule: Conflict) -> None:
        self.rule: Conflict = rule
        self.clashes: list[str] = []
        self.conflicts: list[str] = []

    def values(self, values: Sequence[Json], path: str = "", depth: int = 0) -> Json:
        """The values as one: null is lacking; objects by key, lists by index; the rule decides over everything else."""
        given = [value for value in values if value is not None]
        if not given:
            return None
        if depth < MAX_DEPTH and all(isinstance(value, dict) for value in given):
            return self._objects(given, path, depth)
        if depth < MAX_DEPTH and all(isinstance(value, list) for value in given):
            return self._lists(given, path, depth)
        return self._pick(given, path)

    def _objects(self, given: Sequence[dict[str, Json]], path: str, depth: int) -> dict[str, Json]:
        keys = dict.fromkeys(key for value in given for key in value)
        return {
            key: self.values([value.get(key) for value in given], f"{path}/{key}" if path else key, depth + 1) for key in keys
        }

    def _lists(self, given: Sequence[list[Json]], path: str, depth: int) -> list[Json]:
        longest = max(map(len, given))
        if self.rule == "vote":
            longest = self._chosen([len(value) for value in given])
            # Lists of plain values are voted on whole: the third word of one has nothing to do with the third of another.
            if not any(isinstance(item, dict | list) for value in given for item in value):
                whole: list[Json] = self._chosen(given)
                return whole
        return [
            self.values([value[i] for value in given if i < len(value)], f"{path}/{i}" if path else str(i), depth + 1)
            for i in range(longest)
        ]

    def _pick(self, given: Sequence[Json], path: str) -> Json:
        distinct = {canonical(value): value for value in given}
        if len(distinct) > 1:
            kinds = list(dict.fromkeys(type_name(value) for value in given))
            if len(set(kinds)) > 1 and set(kinds) != {"integer", "number"}:
                _add(self.clashes, f"{path or '(root)'}: {' and '.join(kinds)}; {_WINNER[self.rule]}")
            _add(self.conflicts, f"{path or '(root)'}: {' and '.join(_short(value) for value in distinct.values())}")
        return self._chosen(given)

    def _chosen(self, given: Sequence[Json]) -> Json:
        if self.rule == "last":
            return given[-1]
        if self.rule == "longest":
            return max(given, key=lambda value: len(value) if isinstance(value, str) else len(canonical(value)))
        return majority(given) if self.rule == "vote" else given[0]


def majority(values: Sequence[Json]) -> Json:
    """The value that most give; ties go to the one that came first."""
    counts: dict[str, int] = {}
    for value in values:
        key = canonical(value)
        counts[key] = counts.get(key, 0) + 1
    return max(values, key=lambda value: counts[canonical(value)])


def canonical(value: Json) -> str:
    """The same text for values that mean the same: texts without regard to case and white space, 3.0 as 3."""
    if isinstance(value, str):
        return "s" + _SPACE.sub(" ", value).strip().strip(".!").casefold()
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    return "j" + orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def same_answer(one: Draft, other: Draft) -> bool:
    """Whether a client would take them for the same: by their data where both have some, else by their words."""
    if one.data is not None and other.data is not None:
        return canonical(one.data) == canonical(other.data)
    return canonical(one.text) == canonical(other.text)


def _short(value: Json) -> str:
    text = canonical(value)[1:]
    return text if len(text) <= 40 else text[:39] + "…"


def _add(places: list[str], words: str) -> None:
    if len(places) < MAX_NAMED:
        places.append(words[:300])
