"""The words of quality: what an answer must keep to, one check of it, and the verdict that the checks come to.

records.py puts constraints on Work; agents/quality/ reads, tells and checks them; dispatch, the ledger and the surfaces carry
verdicts. The records are frozen and picklable, as those of records.py are. Imports nothing of the project.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

ValueKind = Literal["range", "pattern", "unique", "enum", "count", "format", "expression"]
SampleKind = Literal["distribution", "correlation", "ratios", "monotonic", "sum"]
ConstraintKind = ValueKind | SampleKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraint:
    """Something that the answer's data must keep to; agents/quality/ checks it, never a model.

    ``field`` is a dotted path in which ``[]`` stands for every item (``users[].age``; empty: the whole answer). ``value``, JSON,
    belongs to the kind: range ``[low, high]`` (None: open), pattern a regular expression, unique True, enum a list, count N or
    ``[low, high]``, format a JSON Schema format, expression a text of agents/expressions/; for the others see
    agents/quality/statistical_constraints.py.
    """

    kind: ConstraintKind
    field: str = ""
    value: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check of a verdict. ``score`` is the share of values that passed, 0 to 1."""

    name: str
    score: float
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How good an answer is: ``score`` 0 to 1, and who says so. ``none`` where nothing could be checked."""

    score: float
    source: Literal["checks", "judge", "feedback", "none"]
    checks: tuple[Check, ...] = ()
