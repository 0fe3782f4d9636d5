"""Requests of the kinds that the article gives as examples, in several wordings with values drawn, and a checker for each.

Called by ops/bench/reuse_http.py. The checkers know nothing of the project's constraints: they are means, spreads, shares and
correlations in numpy, each within what chance allows in one of some ten thousand right samples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]
SIGMAS = 4.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One kind of request. ``wordings`` have the names of ``values`` in braces; the first half is for learning, the others only
    measured. ``wrong`` says what is wrong with the items of an answer, or ""."""

    name: str
    wordings: tuple[str, ...]
    shape: Any
    draw: Callable[[np.random.Generator], dict[str, float]]
    wrong: Callable[[Sequence[Mapping[str, Any]], Mapping[str, float]], str]


def _column(items: Sequence[Mapping[str, Any]], name: str) -> Numbers:
    return np.array([item[name] for item in items], dtype=float)


def _off(found: float, wanted: float, error: float, what: str) -> str:
    return f"{what} is {found:.3f}, not {wanted:g}" if abs(found - wanted) > SIGMAS * error else ""


def _bell(field: str) -> Callable[[Sequence[Mapping[str, Any]], Mapping[str, float]], str]:
    def wrong(items: Sequence[Mapping[str, Any]], values: Mapping[str, float]) -> str:
        x = _column(items, field)
        error = values["std"] / np.sqrt(len(x))
        # A standard deviation's own error, and what rounding to whole numbers adds.
        return _off(float(x.mean()), values["mean"], error, "the mean") or _off(
            float(x.std(ddof=1)), values["std"], error / np.sqrt(2) + 0.05, "the deviation"
        )

    return wrong


def _peaks(items: Sequence[Mapping[str, Any]], values: Mapping[str, float]) -> str:
    x = _column(items, "minutes")
    low = np.abs(x - values["low"]) < np.abs(x - values["high"])
    share = 0.5 / np.sqrt(len(x))
    if reason := _off(float(low.mean()), 0.5, share, "the share of the lower peak"):
        return reason
    error = values["std"] / np.sqrt(len(x) / 3)
    return _off(float(x[low].mean()), values["low"], error, "the lower peak") or _off(
        float(x[~low].mean()), values["high"], error, "the higher peak"
    )


def _shares(items: Sequence[Mapping[str, Any]], values: Mapping[str, float]) -> str:
    found = [str(item["plan"]) for item in items]
    for name in ("basic", "plus", "team"):
        share = values[name] / 100
        error = np.sqrt(share * (1 - share) / len(found))
        # A sample that is dealt out to the share is as right as one that is drawn.
        if reason := _off(found.count(name) / len(found), share, error + 0.5 / len(found), f"the share of {name}"):
            return reason
    return ""


def _linked(items: Sequence[Mapping[str, Any]], values: Mapping[str, float]) -> str:
    r2 = float(np.corrcoef(_column(items, "experience"), _column(items, "salary"))[0, 1]) ** 2
    return "" if r2 >= values["r2"] else f"r² is {r2:.3f}, under {values['r2']:g}"


def _waits(items: Sequence[Mapping[str, Any]], values: Mapping[str, float]) -> str:
    x = _column(items, "minutes")
    negative = "a negative one" if x.min() < 0 else ""
    return negative or _off(float(x.mean()), values["mean"], values["mean"] / np.sqrt(len(x)), "the mean")


def _between(items: Sequence[Mapping[str, Any]], values: Mapping[str, float]) -> str:
    x, low, high = _column(items, "grams"), values["low"], values["high"]
    if x.min() < low - 1e-9 or x.max() > high + 1e-9:
        return f"from {x.min():g} to {x.max():g}, not within {low:g} and {high:g}"
    return _off(float(x.mean()), (low + high) / 2, (high - low) / np.sqrt(12 * len(x)), "the mean")


def _rising(items: Sequence[Mapping[str, Any]], values: Mapping[str, float]) -> str:
    x = _column(items, "reading")
    if np.any(np.diff(x) < -1e-9):
        return "it falls"
    return "" if x.min() >= values["low"] - 1e-9 and x.max() <= values["high"] + 1e-9 else "it leaves its bounds"


def _mean_std(mean: tuple[int, int], std: tuple[int, int]) -> Callable[[np.random.Generator], dict[str, float]]:
    return lambda rng: {"mean": int(rng.integers(*mean)), "std": int(rng.integers(*std))}


def _plans(rng: np.random.Generator) -> dict[str, float]:
    basic = 5 * int(rng.integers(8, 12))
    plus = 5 * int(rng.integers(4, 7))
    return {"basic": basic, "plus": plus, "team": 100 - basic - plus}


FAMILIES: tuple[Family, ...] = (
    Family(
        name="ages",
        wordings=(
            "Users of a library whose ages are normally distributed with a mean of {mean} and a standard deviation of {std}.",
            "I need library users. Their age follows a normal distribution, mean {mean}, standard deviation {std}.",
            "Readers with an age that is Gaussian: average {mean}, standard deviation {std}.",
            "Make up visitors of a reading room; ages normally distributed, mean of {mean}, standard deviation of {std}.",
        ),
        shape={"users": [{"id": "integer", "age": "number"}]},
        draw=_mean_std((30, 60), (5, 12)),
        wrong=_bell("age"),
    ),
    Family(
        name="employees",
        wordings=(
            "Employees of a dairy with years of service that are normally distributed, mean {mean}, standard deviation {std}.",
            "A dairy's staff. Service is normally distributed with a mean of {mean} and a standard deviation of {std}.",
            "Staff of a dairy: the service of each follows a bell curve with a mean of {mean} and a standard deviation of {std}.",
            "People who work at a dairy, their service Gaussian with mean {mean} and standard deviation {std}.",
        ),
        shape={"employees": [{"number": "integer", "service": "number"}]},
        draw=_mean_std((20, 30), (2, 6)),
        wrong=_bell("service"),
    ),
    Family(
        name="salaries",
        wordings=(
            "Engineers whose salary correlates with their experience, r² of at least {r2}.",
            "Salaries and experience of engineers; the two are correlated with an r² of at least {r2}.",
            "A pay table for engineers in which experience and salary correlate (r² at least {r2}).",
            "Pay of technicians: salary is correlated with experience, r² of at least {r2}.",
        ),
        shape={"people": [{"experience": "number", "salary": "number"}]},
        draw=lambda rng: {"r2": round(0.5 + 0.05 * int(rng.integers(0, 6)), 2)},
        wrong=_linked,
    ),
    Family(
        name="two peaks",
        wordings=(
            "Trips to work that are bimodal with peaks at {low} and {high} minutes and standard deviations of {std} and {std}.",
            "Commutes, bimodal, peaks at {low} and {high}, standard deviations of {std} and {std}.",
            "Durations of commutes. They are bimodal: peaks at {low} and {high}, with standard deviations of {std} and {std}.",
            "A bimodal sample of commuting times with peaks at {low} and {high} and standard deviations of {std} and {std}.",
        ),
        shape={"trips": [{"minutes": "number"}]},
        draw=lambda rng: {"low": int(rng.integers(15, 25)), "high": int(rng.integers(60, 80)), "std": int(rng.integers(2, 5))},
        wrong=_peaks,
    ),
    Family(
        name="plans",
        wordings=(
            "Subscribers whose plan is {basic}% basic, {plus}% plus and {team}% team.",
            "Accounts of a service; the plan is {basic}% basic, {plus}% plus, {team}% team.",
            "Customers by plan: {basic}% basic, {plus}% plus and {team}% team.",
            "Members of a gym. Their plan is {basic}% basic, {plus}% plus and {team}% team.",
        ),
        shape={"accounts": [{"id": "integer", "plan": "string"}]},
        draw=_plans,
        wrong=_shares,
    ),
    Family(
        name="waits",
        wordings=(
            "Waiting times at a counter, exponentially distributed with a mean of {mean} minutes.",
            "How long people wait at a counter: exponentially distributed, mean {mean}.",
            "Queue times that are exponentially distributed with a mean of {mean}.",
            "Waits at a ferry, exponentially distributed with mean {mean} minutes.",
        ),
        shape={"waits": [{"minutes": "number"}]},
        draw=lambda rng: {"mean": int(rng.integers(3, 20))},
        wrong=_waits,
    ),
    Family(
        name="weights",
        wordings=(
            "Loaves of bread whose weight in grams is uniform between {low} and {high}.",
            "Bread: grams uniformly distributed between {low} and {high}.",
            "Weights of loaves, uniform between {low} and {high} grams.",
            "A baker's loaves with grams uniformly distributed between {low} and {high}.",
        ),
        shape={"loaves": [{"grams": "number"}]},
        draw=lambda rng: {"low": 10 * int(rng.integers(40, 60)), "high": 10 * int(rng.integers(70, 99))},
        wrong=_between,
    ),
    Family(
        name="series",
        wordings=(
            "A time series of meter readings that is monotonically increasing, readings between {low} and {high}.",
            "Meter readings over time, increasing monotonically, uniform between {low} and {high}.",
            "Readings of a gas meter, monotonically increasing from reading to reading, between {low} and {high}.",
            "A series of readings between {low} and {high} that rises monotonically.",
        ),
        shape={"series": [{"reading": "number"}]},
        draw=lambda rng: {"low": 100 * int(rng.integers(2, 9)), "high": 1000 * int(rng.integers(2, 9))},
        wrong=_rising,
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request of the stream, with what its answer is checked against."""

    family: Family
    values: dict[str, float]
    body: dict[str, Any]

    def wrong(self, data: Any) -> str:
        """What is wrong with an answer's data, or ""."""
        lists = [value for value in data.values() if isinstance(value, list)] if isinstance(data, dict) else []
        if len(lists) != 1 or len(lists[0]) != self.body["count"]:
            return "not as many items as were asked for"
        try:
            return self.family.wrong(lists[0], self.values)
        except (KeyError, TypeError, ValueError) as error:
            return f"it has another form: {error}"


def stream(count: int, rng: np.random.Generator, *, learning: bool) -> list[Asked]:
    """``count`` requests over all families; those for learning share no wording with those that are measured."""
    asked = []
    for _ in range(count):
        family = FAMILIES[int(rng.integers(len(FAMILIES)))]
        half = len(family.wordings) // 2
        words = family.wordings[:half] if learning else family.wordings[half:]
        values = family.draw(rng)
        text = words[int(rng.integers(len(words)))].format(**values)
        body = {"prompt": text, "shape": family.shape, "count": 20 * int(rng.integers(5, 15)), "strategy": "code_augmented"}
        asked.append(Asked(family=family, values=values, body=body))
    return asked
