"""Answers held against constraints on all values of a field together, while the answer may come in parts. Pure, linear.

Called by constraint_checks.py. Must not import a toolbox, a backend or runtime.

Memory: a sample of at most ``MAX_SAMPLE`` values for a distribution (beyond that every value has the same chance to be in it,
drawn with a fixed seed), running sums for correlations and sums, a count for each declared category, one value for an order. The
score of a broken one is how far it is from passing: p against alpha, r² against what was asked.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import Final

import numpy as np

from agents.quality.distributions import distribution_of
from agents.quality.fields import MISSING, parse_field, shown, spelled, spots
from agents.quality.goodness import Pairs, fits, shares_fit
from agents.quality.statistical_constraints import MIN_SAMPLE, statistical_rule
from agents.records import Json
from agents.schema_check import is_number
from agents.verdicts import Check, Constraint, ConstraintKind

MAX_SAMPLE: Final = 20_000
MAX_OFFENDERS: Final = 5
_SEED: Final = 907


class StatisticalCheck(ABC):
    """What the checks of this module have in common: values that cannot be taken, and the verdict in words."""

    def __init__(self, constraint: Constraint) -> None:
        self.constraint = constraint
        self._steps = parse_field(constraint.field)
        self._seen = self._missing = self._bad = 0
        self._words: list[str] = []

    def add(self, part: Json, offset: int) -> None:
        for indices, value in self._found(part, offset):
            if value is MISSING:
                self._missing += 1
            elif value is not None:
                self._seen += 1
                self._look(indices, value)

    def result(self) -> Check | None:
        if not self._seen:
            return self._check(0.0, "it is not in the answer") if self._missing else self._check(1.0, "")
        if self._bad:
            more = f"; and {self._bad - len(self._words)} more" if self._bad > len(self._words) else ""
            return self._check(1.0 - self._bad / self._seen, "; ".join(self._words) + more)
        score, words = self._verdict()
        return self._check(score, words)

    def _found(self, part: Json, offset: int) -> Iterator[tuple[tuple[int, ...], Json]]:
        return spots(part, self._steps, offset)

    @abstractmethod
    def _look(self, indices: tuple[int, ...], value: Json) -> None:
        """One value, neither absent nor null, and the place of it in the whole answer."""

    @abstractmethod
    def _verdict(self) -> tuple[float, str]:
        """The score, 0 to 1, and what was measured, once at least one value came and none was refused."""

    def _check(self, score: float, words: str) -> Check:
        """What was measured is said of those that pass as well."""
        fields = self.constraint.field or "answer"
        if self.constraint.kind == "correlation":
            fields += f" ~ {self.constraint.value['with']}"
        detail = words if score >= 1.0 else f"{statistical_rule(self.constraint)} ({words})"
        return Check(name=f"{self.constraint.kind} {fields}", score=max(0.0, min(1.0, score)), detail=detail)

    def _refuse(self, indices: tuple[int, ...], words: str) -> None:
        self._bad += 1
        if len(self._words) < MAX_OFFENDERS:
            self._words.append(f"{spelled(self._steps, indices)}: {words}"[:200])


def _number(value: Json) -> float | None:
    """None for what is no finite number."""
    if not is_number(value):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


class _Follows(StatisticalCheck):
    def __init__(self, constraint: Constraint) -> None:
        super().__init__(constraint)
        self._wanted = distribution_of(constraint.value)
        self._sample: list[float] = []
        self._dice = Random(_SEED)

    def _look(self, indices: tuple[int, ...], value: Json) -> None:
        number = _number(value)
        if number is None:
            self._refuse(indices, f"{shown(value)} is not a number")
        elif len(self._sample) < MAX_SAMPLE:
            self._sample.append(number)
        elif (place := self._dice.randrange(self._seen)) < MAX_SAMPLE:
            self._sample[place] = number

    def _verdict(self) -> tuple[float, str]:
        values = np.array(self._sample, dtype=np.float64)
        impossible = values[self._wanted.off(values)]
        if len(impossible):
            told = ", ".join(f"{one:g}" for one in impossible[:MAX_OFFENDERS])
            return 1.0 - len(impossible) / len(values), f"{len(impossible)} of {len(values)} values cannot be: {told}"
        if len(values) < MIN_SAMPLE:
            return 1.0, f"{len(values)} values are too few to tell"
        alpha = self.constraint.value["alpha"]
        with np.errstate(over="ignore", invalid="ignore"):
            fit = fits(values, self._wanted)
            measured = f"mean {values.mean():.4g}, std {values.std(ddof=1):.4g}, n {len(values)}"
        verdict = f"Kolmogorov-Smirnov D {fit.statistic:.3g}, p {fit.p:.2g}, alpha {alpha:g}; {measured}"
        return (1.0 if fit.p >= alpha else fit.p / alpha * 0.99), verdict


class _Correlates(StatisticalCheck):
    def __init__(self, constraint: Constraint) -> None:
        super().__init__(constraint)
        self._other = parse_field(constraint.value["with"])
        self._log = constraint.value.get("scale") == "log"
        self._pairs = Pairs()

    def _found(self, part: Json, offset: int) -> Iterator[tuple[tuple[int, ...], Json]]:
        """Pairs (x, y); absent where one of the two is, null where one is null."""
        for (indices, x), (others, y) in zip(super()._found(part, offset), spots(part, self._other, offset), strict=False):
            absent = x is MISSING or y is MISSING or indices != others
            yield indices, MISSING if absent else None if x is None or y is None else (x, y)

    def _look(self, indices: tuple[int, ...], value: Json) -> None:
        x, y = value
        a, b = _number(x), _number(y)
        if a is None or b is None:
            self._refuse(indices, f"{shown(x if a is None else y)} is not a number")
        elif self._log and (a <= 0 or b <= 0):
            self._refuse(indices, f"{shown(x if a <= 0 else y)} has no logarithm")
        else:
            self._pairs.add(math.log(a) if self._log else a, math.log(b) if self._log else b)

    def _verdict(self) -> tuple[float, str]:
        if self._pairs.n < MIN_SAMPLE:
            return 1.0, f"{self._pairs.n} pairs are too few to tell"
        r, value = self._pairs.r, self.constraint.value
        if r is None:
            return 0.0, "one of the fields does not vary"
        words = f"r {r:.3f}, r² {r * r:.3f}, n {self._pairs.n}"
        if "r2_at_least" in value:
            least = value["r2_at_least"]
            return (1.0 if r * r >= least else 0.99 * r * r / least), words
        low, high = value["r"]
        return (1.0 if low <= r <= high else 0.99 - 0.99 * max(low - r, r - high) / 2), words


class _Shares(StatisticalCheck):
    def __init__(self, constraint: Constraint) -> None:
        super().__init__(constraint)
        self._shares: Mapping[str, float] = constraint.value["shares"]
        self._counts = dict.fromkeys(self._shares, 0)

    def _look(self, indices: tuple[int, ...], value: Json) -> None:
        name = value if isinstance(value, str) else shown(value)
        if name in self._counts:
            self._counts[name] += 1
        else:
            self._refuse(indices, f"{shown(value)} is not one of the categories")

    def _verdict(self) -> tuple[float, str]:
        fit = shares_fit(list(self._counts.values()), list(self._shares.values()))
        alpha = self.constraint.value["alpha"]
        found = ", ".join(f"{name} {count / self._seen:.3f}" for name, count in list(self._counts.items())[:10])
        words = f"chi-square {fit.statistic:.3g}, p {fit.p:.2g}, alpha {alpha:g}; {found}; n {self._seen}"
        return (1.0 if fit.p >= alpha else fit.p / alpha * 0.99), words


class _Ordered(StatisticalCheck):
    def __init__(self, constraint: Constraint) -> None:
        super().__init__(constraint)
        self._strict = constraint.value.startswith("strictly")
        self._up = constraint.value.endswith("increasing")
        self._last: Json = None
        self._group: tuple[int, ...] | None = None

    def _look(self, indices: tuple[int, ...], value: Json) -> None:
        is_text = isinstance(value, str)
        if not is_text and _number(value) is None:
            self._refuse(indices, f"{shown(value)} has no order")
            return
        last, group = self._last, indices[:-1]
        self._last, same = value, group == self._group
        self._group = group
        if not same or last is None:
            return
        if isinstance(last, str) != is_text:
            self._refuse(indices, f"{shown(value)} cannot be compared with {shown(last)}")
        elif value == last:
            if self._strict:
                self._refuse(indices, f"{shown(value)} comes twice")
        elif (value > last) != self._up:
            self._refuse(indices, f"{shown(value)} comes after {shown(last)}")

    def _verdict(self) -> tuple[float, str]:
        return 1.0, ""


class _Sums(StatisticalCheck):
    """Neumaier's summation: exact to the last digits in any order."""

    def __init__(self, constraint: Constraint) -> None:
        super().__init__(constraint)
        self._total = self._rest = 0.0

    def _look(self, indices: tuple[int, ...], value: Json) -> None:
        number = _number(value)
        if number is None:
            self._refuse(indices, f"{shown(value)} is not a number")
            return
        total = self._total + number
        big, small = (self._total, number) if abs(self._total) >= abs(number) else (number, self._total)
        self._rest += (big - total) + small
        self._total = total

    def _verdict(self) -> tuple[float, str]:
        total, value = self._total + self._rest, self.constraint.value
        if isinstance(value, Mapping):
            low, high = value["equals"] - value["tolerance"], value["equals"] + value["tolerance"]
        else:
            low, high = (-math.inf if value[0] is None else value[0]), (math.inf if value[1] is None else value[1])
        if low <= total <= high:
            return 1.0, f"the sum is {total:.10g}"
        beyond = max(low - total, total - high)
        return 0.99 / (1.0 + beyond / max(1e-9, abs(low if total < low else high))), f"the sum is {total:.10g}"


def statistical_check(constraint: Constraint) -> StatisticalCheck:
    """The check of a constraint of one of these kinds."""
    return _KINDS[constraint.kind](constraint)


_KINDS: Final[Mapping[ConstraintKind, Callable[[Constraint], StatisticalCheck]]] = {
    "distribution": _Follows,
    "correlation": _Correlates,
    "ratios": _Shares,
    "monotonic": _Ordered,
    "sum": _Sums,
}
