"""What a request's words name for certain: distributions and correlations, whether or not anybody could read more of them. Pure.

Called by extraction.py, which asks a model for the conditions: what is named here and is not among them was not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from agents.quality.constraints import parse_constraints
from agents.quality.distributions import FAMILIES
from agents.records import Work
from agents.strategies.complexity import words_of_users
from agents.verdicts import Constraint

MAX_DISTANCE: Final = 80
_SPOKEN: Final = tuple(
    (re.compile(pattern, re.I), kinds)
    for pattern, kinds in (
        (r"\blog-?normal\w*", ("lognormal",)),
        (r"(?<!log[- ])\bnormal(?:ly)?[- ]distribut\w+|\bgaussian\b", ("normal", "mixture", "bimodal")),
        (r"\bbimodal\w*", ("mixture", "bimodal")),
        (r"\bexponential(?:ly)? distribut\w+", ("exponential",)),
        (r"\buniform(?:ly)? distribut\w+", ("uniform",)),
        (r"\bpoisson\b", ("poisson",)),
        (r"\bcorrelat\w+", ("correlation",)),
    )
)
"""Words that name a condition for certain, and the constraints that hold it, the plain one first."""


def unread(work: Work, found: Sequence[Constraint]) -> list[str]:
    """The request's own words for distributions and correlations of which no constraint speaks."""
    return [repr(match.group()) for match, _ in _unread(work, found)]


def _unread(work: Work, found: Sequence[Constraint]) -> Iterator[tuple[re.Match[str], str]]:
    text = words_of_users(work)
    held = {str(one.value.get("family")) if one.kind == "distribution" else one.kind for one in (*work.constraints, *found)}
    for pattern, kinds in _SPOKEN:
        match = pattern.search(text)
        if match is not None and held.isdisjoint(kinds):
            yield match, kinds[0]


def named_families(work: Work, fields: Sequence[str], found: Sequence[Constraint]) -> tuple[Constraint, ...]:
    """A distribution that the request names and ``found`` lacks, by its family alone, of the field among ``fields`` (paths of
    numbers) that is spoken of next to the words and has none yet: what the words say beyond that, nobody could read."""
    taken = {one.field for one in (*work.constraints, *found) if one.kind == "distribution"}
    read: list[Constraint] = []
    for match, family in _unread(work, found):
        near = {path: _distance(path, match) for path in fields if path not in taken}
        path = min(near, key=near.__getitem__, default="")
        if family in FAMILIES and path and near[path] <= MAX_DISTANCE:
            entry = {"field": path, "distribution": {"family": family}}
            read += parse_constraints([entry])
            taken.add(path)
    return tuple(read)


def _distance(path: str, match: re.Match[str]) -> int:
    """Characters between a field's name, or a word of it, and the words of ``match``, within their sentence."""
    text = match.string
    begin = max(text.rfind(mark, 0, match.start()) for mark in ".;:\n") + 1
    ends = [place for mark in ".;:\n" if (place := text.find(mark, match.end())) >= 0]
    before, after = text[begin : match.start()].lower(), text[match.end() : min(ends, default=len(text))].lower()
    found = MAX_DISTANCE + 1
    for word in re.findall(r"[a-z]{3,}", path.rpartition(".")[2].lower().replace("_", " ")):
        back, ahead = before.rfind(word), after.find(word)
        found = min([found, *([len(before) - back] if back >= 0 else []), *([ahead] if ahead >= 0 else [])])
    return found
