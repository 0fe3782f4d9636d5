"""The pretender in a committee: it designs one for the request, speaks of what is asked, and compares two answers."""

from __future__ import annotations

from typing import Any

import orjson

from agents.committee.design import read_design
from agents.committee.records import Design
from agents.committee.talk import instructions, read_statement
from agents.llm.prompts import render
from agents.llm.simulated.answers import answer
from agents.llm.simulated.profiles import PROFILES
from agents.llm.simulated.reading import Reading
from agents.records import Json
from agents.shaping import compile_schema
from agents.strategies.judging import schema_of
from agents.strategy_specs import Committee, Seat
from runtime.committees.verdict import SCHEMA

VALIDATOR = PROFILES["validator"]
MEMBER = schema_of(speciality={"type": "string"}, task={"type": "string"}, writes_code={"type": "boolean"})


def form(most: int) -> dict[str, Json]:
    return schema_of(
        members={"type": "array", "minItems": 2, "maxItems": most, "items": MEMBER},
        chairperson={"type": "string"},
        rounds={"type": "integer", "minimum": 0, "maximum": 2},
    )


def asked(system: str, user: str, schema: Any = None, name: str = "") -> Reading:
    return Reading(({"role": "system", "content": system}, {"role": "user", "content": user}), schema, name)


def said(reading: Reading, seed: int = 3) -> Any:
    return orjson.loads(answer(reading, VALIDATOR, seed).text)


def test_it_designs_a_committee_that_can_be_used() -> None:
    system = render("committee_design", least="3", most="4", rounds="2")
    words = "The request:\nuser: Plan the watering of an orchard of pear trees in a dry summer."
    found = said(asked(system, words, form(4), "committee_design"))
    assert compile_schema(form(4)).is_valid(found)
    design = read_design(found, Committee(size=4, rounds=2), code=True)
    assert design is not None
    assert any(
        "orchard" in seat.speciality or "pear" in seat.speciality or "watering" in seat.speciality for seat in design.members
    )
    assert not any(one["writes_code"] for one in found["members"])
    figures = said(asked(system, "The request:\nuser: Compute the mean yield and its deviation.", form(5), "committee_design"))
    assert [one["writes_code"] for one in figures["members"]].count(True) == 1


def member(text: str) -> str:
    seats = (Seat(speciality="Gardener"), Seat(speciality="Clerk"))
    system = instructions(Design(members=seats, rounds=2, origin="given"), seats[0])
    return answer(asked(system, text), VALIDATOR, 5).text


REQUEST = "user: Which pears keep longest in a cellar, and at what humidity?"


def test_a_member_speaks_of_the_request_and_objects_while_something_is_left_out() -> None:
    first = member(render("committee_contribute", request=REQUEST, form=""))
    assert "Gardener" in first
    assert any(word in first for word in ("pears", "longest", "cellar", "humidity"))
    open_ = render("committee_discuss", request=REQUEST, form="", said="Clerk:\nPears.", round="1", rounds="2", program="")
    objection = read_statement("Gardener", 1, member(open_))
    assert objection.agrees is False
    assert "humidity" in objection.objection
    whole = "Clerk:\nWhich pears keep longest in a cellar at which humidity is answered."
    closed = render("committee_discuss", request=REQUEST, form="", said=whole, round="2", rounds="2", program="")
    assert read_statement("Gardener", 2, member(closed)).agrees is True


def test_it_prefers_the_answer_with_fewer_defects_wherever_it_stands() -> None:
    good, bad = '{"name": "Ida", "age": 31, "email": "ida@example.org"}', '{"name": "Ida", "age": -4, "email": "ida at example"}'

    def better(first: str, second: str) -> str:
        words = render("compare_question", request="user: One person with an age and an email", first=first, second=second)
        found = said(asked(render("compare", rules=""), words, SCHEMA, "comparison"))
        assert compile_schema(SCHEMA).is_valid(found)
        return str(found["better"])

    assert (better(good, bad), better(bad, good), better(good, good)) == ("first", "second", "equal")
