"""The month as data: what is asked, by how many, from when to when, what happens to the pool, what the operator refuses. Pure.

Read from a TOML file (month.toml, or one of your own) by ``read``; ``asks`` draws the requests of a moment from it. Called by
month.py. Of the project it imports the expressions alone.
"""

from __future__ import annotations

import random
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from agents.expressions import parse

MONTH = Path(__file__).with_name("month.toml")
MAX_KEPT = 400
"""Requests of a kind that may be asked again as they were."""

_Share = Annotated[float, Field(ge=0, le=1)]
_Day = Annotated[float, Field(ge=0, le=3650)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Kind(_Part):
    """One recurring kind of request. ``weights`` are (day, weight): weight is what it gets beside the others, and goes in a
    straight line from one day to the next; before the first and after the last day it is 0."""

    name: str
    wordings: Annotated[tuple[str, ...], Field(min_length=1)]
    """Sentences with names of the columns of ``rows`` in braces."""
    rows: Annotated[tuple[dict[str, Any], ...], Field(min_length=1)] = ({},)
    """Values to draw; a list stands for any of its members, a text may hold the other columns' names in braces."""
    numbers: dict[str, tuple[int, int]] = {}
    """Columns of whole numbers that every row has, from and to: what makes requests differ."""
    worked: dict[str, str] = {}
    """Columns that are worked out of the others, as expressions (agents/expressions): what is right where numbers are drawn."""
    weights: Annotated[tuple[tuple[_Day, Annotated[float, Field(ge=0, le=1000)]], ...], Field(min_length=2)]
    body: dict[str, Any] = {}
    """What else stands in the request: shape, constraints, rules, strategy …"""
    counts: tuple[int, int] | None = None
    """How many items are asked for, from and to."""
    truth: dict[str, str] = {}
    """Field of the answer -> column of the row that is right; the field "" is the text, which must hold it."""
    told: _Share = 0.0
    """Share of the answers that clients score: 1 where it is right, 0 where not."""
    again: _Share = 0.0
    """Share of the requests that were asked before, word for word."""

    @model_validator(mode="after")
    def _columns(self) -> Kind:
        for row in self.rows:
            drawn = self.drawn(row, random.Random(0))
            for wording in self.wordings:
                wording.format(**drawn)
        days = [day for day, _ in self.weights]
        if days != sorted(days):
            raise ValueError(f"kinds.{self.name}.weights: days must not fall")
        if self.truth and not all(
            column in self.drawn(row, random.Random(0)) for column in self.truth.values() for row in self.rows
        ):
            raise ValueError(f"kinds.{self.name}.truth: names a column that not every row has")
        return self

    def drawn(self, row: Mapping[str, Any], rng: random.Random) -> dict[str, Any]:
        """A row with its lists and numbers drawn, and its texts filled with them. Raises KeyError for a column that is not there,
        ExpressionFailed."""
        plain: dict[str, Any] = {name: rng.choice(value) if isinstance(value, list) else value for name, value in row.items()}
        plain |= {name: rng.randint(low, high) for name, (low, high) in self.numbers.items()}
        plain |= {name: parse(text).value(plain) for name, text in self.worked.items()}
        return {name: value.format(**plain) if isinstance(value, str) else value for name, value in plain.items()}

    def weight(self, day: float) -> float:
        """What it gets beside others on ``day``."""
        for (first, low), (last, high) in zip(self.weights, self.weights[1:], strict=False):
            if first <= day <= last:
                return low + (high - low) * ((day - first) / (last - first) if last > first else 1.0)
        return 0.0


class Event(_Part):
    """What happens to a backend from ``day`` on: a ``fault`` of each of its calls until the day ``until``, or other prices."""

    day: _Day
    backend: str
    until: _Day | None = None
    fault: str | None = None
    prices: tuple[float, float] | None = None
    """USD for a million prompt tokens and completion tokens."""

    @model_validator(mode="after")
    def _one(self) -> Event:
        if (self.fault is None) == (self.prices is None):
            raise ValueError("events: either a fault or prices")
        if self.fault is not None and (self.until is None or self.until <= self.day):
            raise ValueError("events: a fault ends on a later day (until)")
        return self

    @property
    def words(self) -> str:
        """As a person says it."""
        if self.prices is not None:
            return f"{self.backend} costs {self.prices[0]:g} and {self.prices[1]:g} USD per million tokens from now on"
        return f"{self.backend} answers {self.fault} until day {self.until:g}"


class Refusal(_Part):
    """The operator rejects the ``nth`` proposal of ``kind`` (1 is the first)."""

    kind: str
    nth: Annotated[int, Field(ge=1)]
    reason: str


class Script(_Part):
    """A month. ``moments`` are the hours of each day at which requests come."""

    days: Annotated[int, Field(ge=1, le=366)]
    requests_per_day: Annotated[int, Field(ge=1, le=10_000)]
    hours: Annotated[tuple[Annotated[float, Field(ge=0, lt=24)], ...], Field(min_length=1)]
    decides_after_h: Annotated[float, Field(ge=0, le=240)]
    """How long a proposal waits until the operator has read it."""
    settings: str = ""
    """Sections of the daemon's configuration, as TOML."""
    operator: Literal["simulated operator"] = "simulated operator"
    kinds: Annotated[tuple[Kind, ...], Field(min_length=1)]
    events: tuple[Event, ...] = ()
    refusals: tuple[Refusal, ...] = ()

    def shares(self, day: float) -> dict[str, float]:
        """Kind -> its part of the traffic of ``day``."""
        weights = {kind.name: kind.weight(day) for kind in self.kinds}
        total = sum(weights.values())
        return {name: weight / total for name, weight in weights.items() if weight > 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request: the body of POST /v1/requests, what is right (field -> value), and whether its client scores the answer."""

    kind: str
    body: Mapping[str, Any]
    truth: Mapping[str, Any]
    told: bool


def read(path: Path = MONTH) -> Script:
    """The script in a file. Raises OSError, ValueError (pydantic's and tomllib's name the place)."""
    return Script.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))


class Traffic:
    """Draws requests; the same seed draws the same."""

    def __init__(self, script: Script, seed: int) -> None:
        self._script, self._rng = script, random.Random(seed)
        self._asked: dict[str, list[Ask]] = {}

    def asks(self, day: float, n: int) -> list[Ask]:
        """``n`` requests of the moment ``day``; fewer than that only where nobody asks for anything."""
        shares = self._script.shares(day)
        if not shares:
            return []
        kinds = {kind.name: kind for kind in self._script.kinds}
        return [self._one(kinds[name]) for name in self._rng.choices(list(shares), list(shares.values()), k=n)]

    def _one(self, kind: Kind) -> Ask:
        rng, before = self._rng, self._asked.setdefault(kind.name, [])
        if before and rng.random() < kind.again:
            return rng.choice(before)
        row = kind.drawn(rng.choice(kind.rows), rng)
        body = {"prompt": rng.choice(kind.wordings).format(**row), **kind.body}
        if kind.counts is not None:
            body["count"] = rng.randint(*kind.counts)
        truth = {field: row[column] for field, column in kind.truth.items()}
        made = Ask(kind=kind.name, body=body, truth=truth, told=rng.random() < kind.told)
        if len(before) < MAX_KEPT:
            before.append(made)
        return made


def score(ask: Ask, text: str, data: Any) -> float | None:
    """What its client says of an answer: the share of what is right that it holds; None where nothing is known to be right."""
    if not ask.truth:
        return None
    return sum(_holds(field, value, text, data) for field, value in ask.truth.items()) / len(ask.truth)


def _holds(field: str, value: Any, text: str, data: Any) -> bool:
    if not field:
        return str(value).lower() in text.lower()
    found = data.get(field) if isinstance(data, Mapping) else None
    return found == value or str(found).strip().lower() == str(value).lower()


def moments(script: Script, days: int) -> Sequence[tuple[float, int]]:
    """(day, requests) of each burst, in order; those of a day come to ``requests_per_day``."""
    hours, whole = sorted(script.hours), script.requests_per_day
    parts = [whole * (at + 1) // len(hours) - whole * at // len(hours) for at in range(len(hours))]
    return [(day + hour / 24, n) for day in range(days) for hour, n in zip(hours, parts, strict=True)]
