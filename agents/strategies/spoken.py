"""What a request's words name for certain: distributions and correlations, whether or not anybody could read more of them. Pure.

Called by extraction.py, which asks a model for the conditions: what is named here and is not among them was not read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import Final

from agents.quality.constraints import parse_constraints
from agents.quality.distributions import FAMILIES
from agents.records import Json, Work
from agents.strategies.complexity import words_of_users
from agents.verdicts import Constraint

MAX_DISTANCE: Final = 80
_WITHOUT_NUMBERS: Final = frozenset({"family", "alpha", "round", "clip", "truncate"})
_NUMBER: Final = re.compile(r"(?<![\w])[-−]?\d[\d,_]*(?:\.\d+)?(?:\s?[kKmM]\b)?")
PARAMETERS: Final = (
    ("normal", ("mean", "std")),
    ("lognormal", ("mu", "sigma")),
    ("lognormal", ("median", "sigma")),
    ("lognormal", ("mean", "std")),
    ("uniform", ("low", "high")),
    ("exponential", ("mean",)),
    ("gamma", ("shape", "scale")),
    ("poisson", ("mean",)),
    ("bimodal", ("components",)),
    ("mixture", ("components",)),
)
"""The families as a request gives them; each also without parameters."""
_MEASURED: Final = re.compile(
    r"\b(?P<word>mean|averag(?:e|ing)|median|standard deviation|std|s\.?d\.?|sigma|mu)\s*(?:of|is|=|:|around|about)?\s*[$€£]?\s*"
    r"(?P<number>[-−]?\d(?:[\d,_]*\d)?(?:\.\d+)?(?:\s?[kKmM]\b)?)",
    re.I,
)
"""A measure of a distribution with its number."""
_KEYS: Final = {"mean": "mean", "average": "mean", "averaging": "mean", "median": "median", "sigma": "sigma", "mu": "mu"}
_OF_NORMAL: Final = {"sigma": "std", "mu": "mean"}
_MARK: Final = re.compile(r"(?<!\bs\.d)[.;:](?=\s|$)|\n")
"""The end of a sentence or of a part of one; no point within a number or an abbreviation of these."""
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
    """The request's own words for distributions and correlations of which no constraint speaks, and for measures of a
    distribution whose number stands in none."""
    named = [repr(match.group()) for match, _ in _unread(work, found)]
    text = words_of_users(work)
    if not any(pattern.search(text) for pattern, kinds in _SPOKEN if kinds[0] in FAMILIES):
        return named  # a mean that is to be worked out is no condition
    for match in _MEASURED.finditer(text):
        number = next(numbers_of(match["number"]), None)
        held = (one for constraint in (*work.constraints, *found) for one in _numbers_in(constraint, match["word"].lower()))
        if number is not None and not any(math.isclose(number, one, rel_tol=1e-6) for one in held):
            named.append(repr(match.group()))
    return named


def _numbers_in(constraint: Constraint, word: str) -> Iterator[float]:
    """The numbers of a constraint that ``word`` may mean. A log-normal is kept by its mu and sigma, however it was given."""
    value = constraint.value
    if constraint.kind != "distribution" or value.get("family") != "lognormal" or "mu" not in value:
        yield from _leaves(value)
        return
    with suppress(OverflowError):
        spread = math.exp(value["sigma"] ** 2)
        mean = math.exp(value["mu"]) * math.sqrt(spread)
        measures = {"median": math.exp(value["mu"]), "mean": mean, "mu": value["mu"], "sigma": value["sigma"]}
        measures |= {"average": mean, "averaging": mean}
        yield measures.get(word, mean * math.sqrt(spread - 1))


def _leaves(value: Json) -> Iterator[float]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for one in value:
            yield from _leaves(one)
    elif isinstance(value, int | float):
        yield float(value)


def numbers_of(text: str) -> Iterator[float]:
    """The numbers of a text in figures, thousands in short as they are meant."""
    for match in _NUMBER.findall(text):
        plain = match.replace(",", "").replace("_", "").replace("−", "-").strip()
        factor = {"k": 1e3, "m": 1e6}.get(plain[-1].lower(), 1.0)
        try:
            yield float(plain.rstrip("kKmM").strip()) * factor
        except ValueError:
            continue


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


def with_measures(work: Work, found: Sequence[Constraint]) -> tuple[Constraint, ...]:
    """``found``, where a distribution that has its family alone takes the numbers of its sentence: each measure is given there
    once, they are what the family needs, and no other distribution may be meant."""
    bare = [one for one in found if one.kind == "distribution" and not set(one.value) - _WITHOUT_NUMBERS]
    families = [one.value["family"] for one in bare]
    text = words_of_users(work)
    return tuple(_measured(one, text) if one in bare and families.count(one.value["family"]) == 1 else one for one in found)


def _measured(constraint: Constraint, text: str) -> Constraint:
    family = constraint.value["family"]
    match = next((found for pattern, kinds in _SPOKEN if kinds[0] == family and (found := pattern.search(text))), None)
    if match is None:
        return constraint
    begin, end = _sentence(match)
    given: dict[str, list[float]] = {}
    for each in _MEASURED.finditer(text, begin, end):
        key = _KEYS.get(each["word"].lower(), "std")
        key = _OF_NORMAL.get(key, key) if family == "normal" else key
        given.setdefault(key, []).extend(islice(numbers_of(each["number"]), 1))
    names = next((set(names) for one, names in PARAMETERS if one == family and set(names) == set(given)), None)
    if names is None or any(len(values) != 1 for values in given.values()):
        return constraint
    numbers = {name: values[0] for name, values in given.items()}
    (read,) = parse_constraints([{"field": constraint.field, "distribution": {**constraint.value, **numbers}}])
    return read


def _sentence(match: re.Match[str]) -> tuple[int, int]:
    """Where the part of the text begins and ends that ``match`` stands in."""
    text = match.string
    begin = max((mark.end() for mark in _MARK.finditer(text, 0, match.start())), default=0)
    end = next((mark.start() for mark in _MARK.finditer(text, match.end())), len(text))
    return begin, end


def _distance(path: str, match: re.Match[str]) -> int:
    """Characters between a field's name, or a word of it, and the words of ``match``, within their sentence."""
    begin, end = _sentence(match)
    before, after = match.string[begin : match.start()].lower(), match.string[match.end() : end].lower()
    found = MAX_DISTANCE + 1
    for word in re.findall(r"[a-z]{3,}", path.rpartition(".")[2].lower().replace("_", " ")):
        back, ahead = before.rfind(word), after.find(word)
        found = min([found, *([len(before) - back] if back >= 0 else []), *([ahead] if ahead >= 0 else [])])
    return found
