"""What kind of problem a request is, and which of its fields code can fill."""

from __future__ import annotations

import pytest

from agents.quality.constraints import parse_constraints
from agents.records import Work
from agents.schema_check import ShapeLimits
from agents.shaping import parse_shape
from agents.strategies.problem import classify, layout_of
from agents.strategies.program import computed_schema
from tests.fakes.programs import AGES, work


@pytest.mark.parametrize(
    ("asked", "kind", "sure"),
    [
        (work("Write a poem about rain"), "pattern", True),
        (work("Work out the standard deviation of 3, 5 and 9"), "computational", True),
        (work("Heights that are normally distributed", [{"height": "number"}]), "computational", True),
        (work("Heights that are normally distributed", [{"height": "number", "name": "string"}]), "hybrid", True),
        (work("People", [{"age": "integer", "name": "string"}], constraints=[{"field": "[].age", **AGES}]), "hybrid", True),
        (work("Some nice people", [{"age": "integer", "name": "string"}]), "pattern", True),
        (work("Names with a standard deviation", [{"name": "string"}]), "pattern", True),
        (work("How many days are there between the two?"), "pattern", False),
    ],
)
def test_kinds_by_words_and_form(asked: Work, kind: str, sure: bool) -> None:
    found = classify(asked)
    assert (found.kind, found.sure) == (kind, sure), found


def test_a_layout_says_what_code_can_fill() -> None:
    shape = {"title": "string", "n": "integer", "rows": [{"id": "string", "plan": "string", "note": "string", "v": "number"}]}
    schema = parse_shape(shape, limits=ShapeLimits())
    layout = layout_of(schema, parse_constraints([{"field": "rows[].plan", "ratios": {"a": 0.5, "b": 0.5}}]))
    assert (layout.computed, layout.words) == (("id", "plan", "v"), ("note",))
    assert (layout.frame_computed, layout.frame_words) == (("n",), ("title",))
    wanted = computed_schema(schema, layout)
    assert list(wanted["properties"]) == ["n", "rows"]
    assert list(wanted["properties"]["rows"]["items"]["properties"]) == ["id", "plan", "v"]
