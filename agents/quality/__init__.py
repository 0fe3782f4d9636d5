"""How good an answer is: checks and a judge's opinion -> one score with its source. Pure, linear in the answer.

Called by dispatch (the verdict of every answer), the strategies (``check`` and ``issues`` for correctors), and whoever has an
answer that comes in parts (``Tally``, tally.py). Must not import a toolbox, a backend or runtime, nor may the modules in here:
constraints.py reads, writes and tells constraints, statistical_constraints.py those of a whole sample; constraint_checks.py,
statistical_checks.py and completeness.py hold answers against them; fields.py finds the values, distributions.py and goodness.py
know the formulas.

The checks' score, 0 to 1, from the checks there are::

    schema x count x mean(completeness, constraints)

- ``schema``: the share of valid items of the answer's one list, times 1 - errors/fields for errors outside of it.
- ``count``: 1 where as many items came as were asked for, else how near it is (8 of 10: 0.8).
- ``completeness``: the mean of the share of required and of all fields that hold something (see completeness.py).
- constraints: the mean of their average and their worst, each the share of its values that keep to it, so that one rule broken
  everywhere shows however many others are kept.

Multiplied, because an answer of the wrong shape is not made up for by keeping rules. Nothing to check: source ``none``, score
1.0, which says that nothing is known to be wrong. A judge's score is mixed in by its weight; a person's, which comes
later, replaces all in the ledger (runtime/ledger/jobs.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from agents.quality.tally import JUDGE, MAX_STEPS, STRUCTURAL, Tally, combined
from agents.records import InvalidRequest, Json
from agents.schema_check import compile_schema, is_number
from agents.verdicts import Check, Constraint, Verdict

__all__ = ["MAX_STEPS", "Tally", "check", "issues", "with_judge"]


def check(
    data: Json,
    *,
    schema: Mapping[str, Json] | None = None,
    count: int | None = None,
    constraints: Iterable[Constraint] = (),
    text: str = "",
) -> Verdict:
    """The verdict of the checks. ``text`` is the answer where there is no data: constraints without a field are about it.

    Never raises for an answer, whatever it is; InvalidRequest for a schema or constraint that is none. Time is linear in the
    answer (some 30 us an item with five constraints); for thousands of items call it off the event loop.
    """
    constraints = tuple(constraints)
    if data is None and schema is not None and not _allows_null(schema):
        return Verdict(score=0.0, source="checks", checks=(Check(name="schema", score=0.0, detail="there is no answer"),))
    tally = Tally(schema=schema, count=count, constraints=constraints)
    tally.add(text if data is None and schema is None else data)
    return tally.verdict()


def issues(verdict: Verdict, limit: int = 20, *, only_constraints: bool = False) -> tuple[str, ...]:
    """What is wrong, in words for a corrector, at most ``limit``: a line for each check that not all passed."""
    found = (
        one.detail
        for one in verdict.checks
        if one.score < 1.0 and one.detail and one.name != JUDGE and not (only_constraints and one.name in STRUCTURAL)
    )
    return tuple(dict.fromkeys(found))[: max(0, limit)]


def with_judge(verdict: Verdict, score: float, weight: float = 0.5, *, detail: str = "") -> Verdict:
    """The verdict with a model's opinion: ``(1 - weight) x checks + weight x score``, or the opinion alone where nothing could be
    checked. A person's word stands above it. Raises InvalidRequest unless both are from 0 to 1."""
    score, weight = _share(score, "score"), _share(weight, "weight")
    checks = (*(one for one in verdict.checks if one.name != JUDGE), Check(name=JUDGE, score=score, detail=detail))
    if verdict.source == "feedback":
        return replace(verdict, checks=checks)
    base = combined(checks)
    mixed = score if base is None else (1 - weight) * base + weight * score
    return Verdict(score=mixed, source="judge", checks=checks)


def _allows_null(schema: Mapping[str, Json]) -> bool:
    return compile_schema(schema).is_valid(None)


def _share(number: float, name: str) -> float:
    if not is_number(number) or not 0 <= number <= 1:
        raise InvalidRequest("must be a number from 0 to 1", param=name)
    return float(number)
