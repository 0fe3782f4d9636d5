"""Constraints on all values of a field together: how they are written and told. Pure.

Called by constraints.py, whose kinds these are; statistical_checks.py holds answers against them. An entry of the list::

    {"field": "users[].age", "distribution": {"family": "normal", "mean": 35, "std": 12, "clip": [18, 80], "round": true}}
    {"fields": ["firms[].revenue", "firms[].staff"], "correlation": {"r2_at_least": 0.5, "scale": "log"}}   or {"r": [low, high]}
    {"field": "users[].plan", "ratios": {"free": 0.6, "paid": 0.4}}   or {"shares": {…}, "alpha": 0.05}
    {"field": "points[].at", "monotonic": "increasing"}               decreasing, strictly_increasing, strictly_decreasing
    {"field": "lines[].amount", "sum": 100}                            or {"equals": 100, "tolerance": 0.01}, or [low, high]

Families and their parameters stand in distributions.py. An empty list passes; of fewer than ``MIN_SAMPLE`` values nothing is said
about their distribution.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

from agents.quality.distributions import ALPHAS, DEFAULT_ALPHA, LAST, distribution_words, read_distribution
from agents.quality.fields import parse_field
from agents.records import InvalidRequest, Json
from agents.schema_check import is_number
from agents.verdicts import Constraint, ConstraintKind

MIN_SAMPLE: Final = 8
MAX_CATEGORIES: Final = 100
MAX_CATEGORY_CHARS: Final = 200
ORDERS: Final = ("increasing", "decreasing", "strictly_increasing", "strictly_decreasing")
_NEAR: Final = 1e-6


def _is_number(value: Json) -> bool:
    return is_number(value) and -LAST <= value <= LAST


def _distribution(value: Json, where: str) -> Json:
    return read_distribution(value, where)


def _correlation(value: Json, where: str) -> Json:
    if not isinstance(value, Mapping) or set(value) - {"r2_at_least", "r", "scale", "with"}:
        raise InvalidRequest("must be an object with r2_at_least or r, and scale where wanted", param=where)
    if ("r2_at_least" in value) == ("r" in value):
        raise InvalidRequest("give r2_at_least (0 to 1) or r ([low, high])", param=where)
    read: dict[str, Json] = {}
    if "r2_at_least" in value:
        least = value["r2_at_least"]
        if not _is_number(least) or not 0 < least < 1:
            raise InvalidRequest("must be a number between 0 and 1", param=f"{where}.r2_at_least")
        read["r2_at_least"] = float(least)
    else:
        ends = value["r"]
        if not isinstance(ends, list | tuple) or len(ends) != 2 or not all(_is_number(end) and -1 <= end <= 1 for end in ends):
            raise InvalidRequest("must be [low, high] within -1 … 1", param=f"{where}.r")
        if ends[0] > ends[1]:
            raise InvalidRequest(f"the low end {ends[0]} is above the high end {ends[1]}", param=f"{where}.r")
        read["r"] = [float(end) for end in ends]
    scale = value.get("scale", "linear")
    if scale not in ("linear", "log"):
        raise InvalidRequest("must be linear or log", param=f"{where}.scale")
    return {**read, **({"scale": "log"} if scale == "log" else {})}


def read_pair(fields: Json, where: str) -> tuple[str, str]:
    """The two fields of a correlation: numbers of the same items. Raises InvalidRequest."""
    if not isinstance(fields, list | tuple) or len(fields) != 2 or not all(isinstance(one, str) and one for one in fields):
        raise InvalidRequest("must be two fields of the same items, such as users[].age and users[].income", param=where)
    heads = []
    for number, field in enumerate(fields):
        try:
            steps = parse_field(field)
        except InvalidRequest as error:
            raise InvalidRequest(error.message, param=f"{where}[{number}]") from error
        last = max((place for place, step in enumerate(steps) if step is None), default=-1)
        heads.append(steps[: last + 1])
    if not heads[0] or heads[0] != heads[1]:
        raise InvalidRequest("must be two fields of the same items, such as users[].age and users[].income", param=where)
    return fields[0], fields[1]


def _ratios(value: Json, where: str) -> Json:
    alpha = DEFAULT_ALPHA
    if isinstance(value, Mapping) and isinstance(value.get("shares"), Mapping):
        if set(value) - {"shares", "alpha"}:
            raise InvalidRequest("must have shares and alpha only", param=where)
        alpha = value.get("alpha", DEFAULT_ALPHA)
        value = value["shares"]
        if not _is_number(alpha) or not ALPHAS[0] <= alpha <= ALPHAS[1]:
            raise InvalidRequest(f"must be a number from {ALPHAS[0]:g} to {ALPHAS[1]:g}", param=f"{where}.alpha")
    if not isinstance(value, Mapping) or not 1 <= len(value) <= MAX_CATEGORIES:
        raise InvalidRequest(f"must be an object of 1 to {MAX_CATEGORIES} categories and their shares", param=where)
    for name, share in value.items():
        if not isinstance(name, str) or len(name) > MAX_CATEGORY_CHARS:
            raise InvalidRequest(f"categories must be texts of at most {MAX_CATEGORY_CHARS} characters", param=where)
        if not _is_number(share) or share < 0:
            raise InvalidRequest("must be a share, 0 or more", param=f"{where}.{name[:60]}")
    total = math.fsum(value.values())
    whole = 100.0 if total > 2 else 1.0
    if abs(total - whole) > 0.02 * whole:
        raise InvalidRequest(f"the shares must sum to 1 or to 100, not {total:g}", param=where)
    return {"shares": {name: float(share) / total for name, share in value.items()}, "alpha": float(alpha)}


def _monotonic(value: Json, where: str) -> Json:
    if value not in ORDERS:
        raise InvalidRequest(f"must be one of {', '.join(ORDERS)}", param=where)
    return value


def _sum(value: Json, where: str) -> Json:
    if _is_number(value):
        value = {"equals": value}
    if isinstance(value, Mapping):
        if set(value) - {"equals", "tolerance"} or not _is_number(value.get("equals")):
            raise InvalidRequest("must be a number, {equals, tolerance} or [low, high]", param=where)
        most = value.get("tolerance", _NEAR * max(1.0, abs(value["equals"])))
        if not _is_number(most) or most < 0:
            raise InvalidRequest("must be a number, 0 or more", param=f"{where}.tolerance")
        return {"equals": value["equals"], "tolerance": most}
    if not isinstance(value, list | tuple) or len(value) != 2 or all(end is None for end in value):
        raise InvalidRequest("must be a number, {equals, tolerance} or [low, high]", param=where)
    if not all(end is None or _is_number(end) for end in value):
        raise InvalidRequest("must have finite numbers; one of them may be null", param=where)
    low, high = value
    if low is not None and high is not None and low > high:
        raise InvalidRequest(f"the low end {low} is above the high end {high}", param=where)
    return [low, high]


READERS: Final[Mapping[ConstraintKind, Callable[[Any, str], Json]]] = {
    "distribution": _distribution,
    "correlation": _correlation,
    "ratios": _ratios,
    "monotonic": _monotonic,
    "sum": _sum,
}
STATISTICAL: Final = frozenset(READERS)
OF_THE_WHOLE: Final = STATISTICAL - {"monotonic"}
"""Kinds that say nothing of a part: a tenth of a sample that follows its distribution may well not."""


def write(constraint: Constraint) -> dict[str, Json]:
    """The entry that is read as the same constraint."""
    if constraint.kind != "correlation":
        return {**({"field": constraint.field} if constraint.field else {}), constraint.kind: constraint.value}
    rest = {name: item for name, item in constraint.value.items() if name != "with"}
    return {"fields": [constraint.field, constraint.value["with"]], "correlation": rest}


def fields_of(constraint: Constraint) -> tuple[str, ...]:
    """The fields that it is about: two for a correlation."""
    return (constraint.field, constraint.value["with"]) if constraint.kind == "correlation" else (constraint.field,)


def statistical_rule(constraint: Constraint) -> str:
    """The constraint as one sentence, for the kinds of this module."""
    field, value = constraint.field or "the answer", constraint.value
    match constraint.kind:
        case "distribution":
            return f"the values of {field} must follow {distribution_words(value)}"
        case "correlation":
            scale = " on a logarithmic scale" if value.get("scale") == "log" else ""
            amount = f"r² of at least {value['r2_at_least']:g}" if "r2_at_least" in value else _between_r(value["r"])
            return f"{field} and {value['with']} must correlate{scale} with {amount}"
        case "ratios":
            told = ", ".join(f"{name} {share:.4g}" for name, share in value["shares"].items())
            return f"the values of {field} must occur in these shares: {told}"
        case "monotonic":
            return f"the values of {field} must be {value.replace('_', ' ')} from item to item"
        case _:
            if isinstance(value, Mapping):
                near = f" (within {value['tolerance']:g})" if value["tolerance"] > _NEAR * max(1.0, abs(value["equals"])) else ""
                return f"the values of {field} must sum to {value['equals']}{near}"
            low, high = value
            ends = f"at most {high}" if low is None else f"at least {low}" if high is None else f"between {low} and {high}"
            return f"the sum of {field} must be {ends}"


def _between_r(ends: list[float]) -> str:
    return f"an r from {ends[0]:g} to {ends[1]:g}"
