"""Families of distributions as clients name them: read, told in words, and as functions of a value. Pure.

Called by statistical_constraints.py (reading) and goodness.py (testing). Must not import a toolbox, a backend or runtime.

A distribution is an object ``{"family": …, parameters, "clip", "truncate", "round", "alpha"}``:

============  ========================================================================================================
normal        ``mean``, ``std``; without them: of any mean and deviation
lognormal     ``mu``, ``sigma`` (of the natural logarithm), or ``median`` and ``sigma``, or ``mean`` and ``std`` of the values
uniform       ``low``, ``high``; with ``round`` every step from low to high is as likely as any other
exponential   ``mean`` or ``rate``, ``low`` (0) where it begins
gamma         ``shape``, ``scale``
poisson       ``mean``
mixture       ``components``: 2 to 5 normals ``{"mean", "std", "weight" (1)}``; ``bimodal`` has two
============  ========================================================================================================

``clip`` [low, high]: what lies beyond an end was set to that end (null leaves one open). ``truncate``: what lies beyond was left
out instead. ``round``: true for whole numbers, ``"floor"`` for whole numbers rounded down, or a step such as 0.01. ``alpha``: how
often a sample that does follow the distribution may be refused (0.01).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import special

from agents.records import InvalidRequest, Json
from agents.schema_check import is_number

Floats = npt.NDArray[np.float64]

FAMILIES: Final = ("normal", "lognormal", "uniform", "exponential", "gamma", "poisson", "mixture", "bimodal")
DEFAULT_ALPHA: Final = 0.01
ALPHAS: Final = (0.001, 0.2)
LAST: Final = 1e300
"""Numbers of a constraint lie within this, either side of 0, so that sums and differences of them stay finite."""
MAX_COMPONENTS: Final = 5
_OPTIONS: Final = ("family", "clip", "truncate", "round", "alpha")
_NEAR: Final = 1e-6


# ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def read_distribution(value: Json, where: str) -> dict[str, Json]:
    """The distribution with its family's own parameters. Raises InvalidRequest that names the place."""
    if not isinstance(value, Mapping):
        raise InvalidRequest("must be an object with a family", param=where)
    family = value.get("family")
    if family not in FAMILIES:
        raise InvalidRequest(f"there is no family {str(family)[:40]!r}; families: {', '.join(FAMILIES)}", param=f"{where}.family")
    given = {name: item for name, item in value.items() if name not in _OPTIONS}
    parameters = _READERS[family](given, where)
    if given:
        raise InvalidRequest(f"{family} has no parameter {str(next(iter(given)))[:40]!r}", param=where)
    read: dict[str, Json] = {"family": family, **parameters}
    for name in ("clip", "truncate"):
        if value.get(name) is not None:
            read[name] = _ends(value[name], f"{where}.{name}")
    if "clip" in read and "truncate" in read:
        raise InvalidRequest("give clip or truncate, not both", param=f"{where}.truncate")
    if "truncate" in read and not parameters:
        raise InvalidRequest("needs the parameters of the distribution that it cuts", param=f"{where}.truncate")
    if value.get("round") is not None and value["round"] is not False:
        read["round"] = _rounding(value["round"], f"{where}.round")
    read["alpha"] = _number(value.get("alpha", DEFAULT_ALPHA), f"{where}.alpha", *ALPHAS)
    return read


def _number(value: Json, where: str, low: float = -LAST, high: float = LAST, *, above: float | None = None) -> float:
    fits = is_number(value) and low <= value <= high
    if not fits or (above is not None and value <= above):
        least = f"above {above:g}" if above is not None else f"from {low:g} to {high:g}"
        raise InvalidRequest(f"must be a finite number{'' if low == -LAST and above is None else ' ' + least}", param=where)
    return float(value)


def _ends(value: Json, where: str) -> list[float | None]:
    if not isinstance(value, list | tuple) or len(value) != 2 or all(end is None for end in value):
        raise InvalidRequest("must be [low, high], one of them may be null", param=where)
    low, high = (None if end is None else _number(end, where) for end in value)
    if low is not None and high is not None and low >= high:
        raise InvalidRequest(f"the low end {low:g} is not below the high end {high:g}", param=where)
    return [low, high]


def _rounding(value: Json, where: str) -> Json:
    return value if value is True or value == "floor" else _number(value, where, above=0.0)


def _some(given: dict[str, Json], where: str, names: tuple[str, ...], *, positive: tuple[str, ...] = ()) -> dict[str, float]:
    """Takes ``names`` out of ``given``. Raises InvalidRequest where one is missing."""
    for name in names:
        if name not in given:
            raise InvalidRequest(f"{name} is missing", param=where)
    return {name: _number(given.pop(name), f"{where}.{name}", above=0.0 if name in positive else None) for name in names}


def _normal(given: dict[str, Json], where: str) -> dict[str, Json]:
    return dict(_some(given, where, ("mean", "std"), positive=("std",))) if given else {}


def _lognormal(given: dict[str, Json], where: str) -> dict[str, Json]:
    if not given:
        return {}
    if "median" in given:
        found = _some(given, where, ("median", "sigma"), positive=("median", "sigma"))
        return {"mu": math.log(found["median"]), "sigma": found["sigma"]}
    if "mean" in given:
        found = _some(given, where, ("mean", "std"), positive=("mean", "std"))
        variance = math.log1p((found["std"] / found["mean"]) ** 2)
        return {"mu": math.log(found["mean"]) - variance / 2, "sigma": math.sqrt(variance)}
    return dict(_some(given, where, ("mu", "sigma"), positive=("sigma",)))


def _uniform(given: dict[str, Json], where: str) -> dict[str, Json]:
    if not given:
        return {}
    found = _some(given, where, ("low", "high"))
    if found["low"] >= found["high"]:
        raise InvalidRequest("low must be below high", param=f"{where}.low")
    return dict(found)


def _exponential(given: dict[str, Json], where: str) -> dict[str, Json]:
    if not given:
        return {}
    low = _number(given.pop("low", 0.0), f"{where}.low")
    if "rate" in given:
        mean = 1 / _some(given, where, ("rate",), positive=("rate",))["rate"]
    else:
        mean = _some(given, where, ("mean",))["mean"]
    if mean <= low or not math.isfinite(mean):
        raise InvalidRequest(f"the mean must be above {low:g}, where it begins", param=f"{where}.mean")
    return {"mean": mean, **({"low": low} if low else {})}


def _gamma(given: dict[str, Json], where: str) -> dict[str, Json]:
    return dict(_some(given, where, ("shape", "scale"), positive=("shape", "scale")))


def _poisson(given: dict[str, Json], where: str) -> dict[str, Json]:
    return dict(_some(given, where, ("mean",), positive=("mean",)))


def _mixture(given: dict[str, Json], where: str) -> dict[str, Json]:
    parts = given.pop("components", None)
    if not isinstance(parts, list | tuple) or not 2 <= len(parts) <= MAX_COMPONENTS:
        raise InvalidRequest(f"must be a list of 2 to {MAX_COMPONENTS} normals", param=f"{where}.components")
    read: list[Json] = []
    for number, part in enumerate(parts):
        place = f"{where}.components[{number}]"
        if not isinstance(part, Mapping) or set(part) - {"mean", "std", "weight"}:
            raise InvalidRequest("must be an object of mean, std and weight", param=place)
        own = {"weight": 1.0, **part}
        read.append(_some(own, place, ("mean", "std", "weight"), positive=("std", "weight")))
    return {"components": read}


def _bimodal(given: dict[str, Json], where: str) -> dict[str, Json]:
    read = _mixture(given, where)
    if len(read["components"]) != 2:
        raise InvalidRequest("bimodal has two components", param=f"{where}.components")
    return read


_READERS: Final[Mapping[str, Callable[[dict[str, Json], str], dict[str, Json]]]] = {
    "normal": _normal,
    "lognormal": _lognormal,
    "uniform": _uniform,
    "exponential": _exponential,
    "gamma": _gamma,
    "poisson": _poisson,
    "mixture": _mixture,
    "bimodal": _bimodal,
}


def distribution_words(value: Mapping[str, Json]) -> str:
    """``a normal distribution (mean 35, std 12), clipped to 18 … 80, rounded to whole numbers``."""
    own = [f"{name} {value[name]:g}" for name in value if name not in (*_OPTIONS, "components")]
    own += [f"mean {one['mean']:g}, std {one['std']:g}, weight {one['weight']:g}" for one in value.get("components", ())]
    parameters = ("; " if "components" in value else ", ").join(own)
    text = f"a {value['family']} distribution" + (f" ({parameters})" if own else "")
    for name, word in (("clip", "clipped"), ("truncate", "cut")):
        if name in value:
            low, high = ("open" if end is None else f"{end:g}" for end in value[name])
            text += f", {word} to {low} … {high}"
    step = value.get("round")
    if step is not None:
        text += ", rounded " + (
            "to whole numbers" if step is True else "down to whole numbers" if step == "floor" else f"to {step:g}"
        )
    return text


# ── as functions ────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """What values are held against: ``upto(x)`` is P(X <= x), ``below(x)`` P(X < x), for arrays of any shape.

    ``family`` and ``parameters`` are those of ``read_distribution``; no parameters: they are to be estimated (goodness.py).
    """

    family: str
    parameters: Mapping[str, Any]
    clip: tuple[float, float] = (-math.inf, math.inf)
    truncate: tuple[float, float] = (-math.inf, math.inf)
    step: float = 0.0
    floor: bool = False

    @property
    def is_clipped(self) -> bool:
        return self.clip != (-math.inf, math.inf)

    def having(self, **parameters: Any) -> Distribution:
        """The same with these parameters: numbers, or columns of them for rows of values."""
        return replace(self, parameters=parameters)

    def upto(self, x: Floats) -> Floats:
        inner = self._cut(self._rounded_upto(x))
        return np.where(x >= self.clip[1], 1.0, np.where(x < self.clip[0], 0.0, inner))

    def below(self, x: Floats) -> Floats:
        inner = self._cut(self._rounded_below(x))
        return np.where(x > self.clip[1], 1.0, np.where(x <= self.clip[0], 0.0, inner))

    def off(self, x: Floats) -> npt.NDArray[np.bool_]:
        """Values that cannot be: beyond the ends, or not rounded as declared."""
        low = max(self.clip[0], self.truncate[0])
        high = min(self.clip[1], self.truncate[1])
        slack = self.step if self.truncate != (-math.inf, math.inf) else 0.0
        wrong = (x < low - slack - _NEAR * abs(low) if math.isfinite(low) else np.zeros_like(x, dtype=bool)) | (
            x > high + slack + _NEAR * abs(high) if math.isfinite(high) else np.zeros_like(x, dtype=bool)
        )
        if self.step:
            ends = (x == self.clip[0]) | (x == self.clip[1])
            with np.errstate(invalid="ignore", over="ignore"):
                wrong |= ~ends & (
                    np.abs(x / self.step - np.round(x / self.step)) > _NEAR * np.maximum(1.0, np.abs(x / self.step))
                )
        return wrong

    def _lattice(self) -> bool:
        """Uniform and rounded: every step is as likely as any other, the ends included."""
        return self.family == "uniform" and self.step > 0

    def _rounded_upto(self, x: Floats) -> Floats:
        if self._lattice():
            return self._of_steps(np.floor((x - self.parameters["low"]) / self.step + _NEAR) + 1)
        if not self.step:
            return self._base(x, closed=True)
        return self._base((np.floor(x / self.step + _NEAR) + (1.0 if self.floor else 0.5)) * self.step, closed=False)

    def _rounded_below(self, x: Floats) -> Floats:
        if self._lattice():
            return self._of_steps(np.ceil((x - self.parameters["low"]) / self.step - _NEAR))
        if not self.step:
            return self._base(x, closed=False)
        return self._base((np.ceil(x / self.step - _NEAR) - (0.0 if self.floor else 0.5)) * self.step, closed=False)

    def _of_steps(self, count: Floats) -> Floats:
        low, high = self.parameters["low"], self.parameters["high"]
        shares = count / (np.floor((high - low) / self.step + _NEAR) + 1)
        return np.asarray(np.clip(shares, 0.0, 1.0), dtype=np.float64)

    def _cut(self, below: Floats) -> Floats:
        low, high = self.truncate
        if (low, high) == (-math.inf, math.inf):
            return below
        start, end = (float(self._base(np.asarray([edge]), closed=False)[0]) for edge in (low, high))
        return np.clip((below - start) / max(end - start, 1e-12), 0.0, 1.0)

    def _base(self, x: Floats, *, closed: bool) -> Floats:
        """P(Y <= x), or P(Y < x), of the family alone."""
        p = self.parameters
        match self.family:
            case "normal":
                found = special.ndtr((x - p["mean"]) / p["std"])
            case "lognormal":
                with np.errstate(divide="ignore", invalid="ignore"):
                    found = special.ndtr((np.log(np.maximum(x, 0.0)) - p["mu"]) / p["sigma"])
            case "uniform":
                found = np.clip((x - p["low"]) / (p["high"] - p["low"]), 0.0, 1.0)
            case "exponential":
                low = p.get("low", 0.0)
                found = -np.expm1(-np.maximum(x - low, 0.0) / (p["mean"] - low))
            case "gamma":
                found = special.gammainc(p["shape"], np.maximum(x, 0.0) / p["scale"])
            case "poisson":
                whole = np.floor(x + _NEAR) if closed else np.ceil(x - _NEAR) - 1
                found = np.where(whole < 0, 0.0, special.pdtr(np.clip(whole, 0.0, 1e15), p["mean"]))
            case _:
                total = sum(one["weight"] for one in p["components"])
                parts = [one["weight"] / total * special.ndtr((x - one["mean"]) / one["std"]) for one in p["components"]]
                found = np.sum(parts, axis=0)
        return np.asarray(found, dtype=np.float64)


def distribution_of(value: Mapping[str, Json]) -> Distribution:
    """The functions of what ``read_distribution`` gave."""
    parameters = {name: item for name, item in value.items() if name not in _OPTIONS}
    step = value.get("round")
    size = 0.0 if step is None or value["family"] == "poisson" else 1.0 if step is True or step == "floor" else float(step)
    return Distribution(
        family=value["family"],
        parameters=parameters,
        clip=_open_ends(value.get("clip")),
        truncate=_open_ends(value.get("truncate")),
        step=size,
        floor=step == "floor",
    )


def _open_ends(ends: Json) -> tuple[float, float]:
    low, high = ends or (None, None)
    return (-math.inf if low is None else float(low), math.inf if high is None else float(high))
