"""Conditions in plain words: read by a model, and only what the request says."""

from __future__ import annotations

import pytest

from agents.calls import Usage
from agents.llm.chat import ChatReply, ChatRequest
from agents.quality.constraints import parse_constraints, to_json
from agents.records import BackendFailed, Choice, Json, Work
from agents.shaping import compile_schema
from agents.strategies.extraction import completed, entries_schema, field_lines, made_up, read_extracted
from agents.strategies.spoken import named_families, unread, with_measures
from tests.fakes.programs import CODER, PROGRAM, ages, ok, run, scripted, work
from tests.fakes.toolbox import FakeToolbox

ASKED = work(
    "Ages of 40, standard deviation 10, 25% of them members", {"people": [{"age": "integer", "paid": "number", "kind": "string"}]}
)


def test_only_what_the_request_says_is_taken() -> None:
    normal = {"field": "people[].age", "distribution": {"family": "normal", "mean": 40, "std": 10}}
    read, problems = read_extracted(
        {
            "constraints": [
                normal,
                {"field": "people[].age", "distribution": {"family": "normal", "mean": 44, "std": 10}},
                {"field": "people[].height", "range": [10, 40]},
                {"field": "people[].kind", "ratios": {"member": 0.25, "guest": 0.75}},
                {"field": "people[].kind", "colour": 3},
                "x",
            ]
        },
        ASKED,
    )
    assert [one.kind for one in read] == ["distribution", "ratios"]
    assert read[0].value["round"] is True, "whole numbers of the form are rounded"
    assert [problem.split(": ", 1)[1][:26] for problem in problems] == [
        "the request does not say 4",
        "range of people[].height c",
        " there is no kind 'colour'"[:26],
        " a constraint must be an o"[:26],
    ]


def test_conditions_that_the_words_name_and_nobody_read_are_named() -> None:
    asked = work("Log-normal worths; ages normally distributed; the two correlate", {"people": [{"age": "integer"}]})
    (normal,) = parse_constraints([{"field": "people[].age", "distribution": {"family": "normal", "mean": 40, "std": 10}}])
    assert unread(asked, ()) == ["'Log-normal'", "'normally distributed'", "'correlate'"]
    assert unread(asked, (normal,)) == ["'Log-normal'", "'correlate'"]
    assert unread(work("Log-normally distributed worths"), ()) == ["'Log-normally'"]
    assert unread(work("Ordinary people in a normal year"), ()) == []


@pytest.mark.parametrize(
    ("said", "distribution", "unheld"),
    [
        ("Normally distributed, mean 40, std = 10", {"family": "normal", "mean": 40, "std": 10}, []),
        ("Normally distributed, mean 40, std = 10", {"family": "normal"}, ["'mean 40'", "'std = 10'"]),
        ("Normally distributed around a mean of $61k", {"family": "normal", "mean": 61_000, "std": 2}, []),
        ("Log-normal with a median of 4 and sigma of 0.5", {"family": "lognormal", "median": 4, "sigma": 0.5}, []),
        ("Log-normal with a mean of 9 and sd 3", {"family": "lognormal", "mean": 9, "std": 3}, []),
        ("Log-normal with a median of 4 and sigma of 0.5", {"family": "lognormal", "mu": 4, "sigma": 0.5}, ["'median of 4'"]),
        ("Bimodal with a mean of 9", {"family": "bimodal", "components": [{"mean": 9, "std": 1}, {"mean": 20, "std": 1}]}, []),
    ],
)
def test_a_number_of_a_distribution_that_no_constraint_holds_is_named(said: str, distribution: Json, unheld: list[str]) -> None:
    asked = work(said, [{"age": "number"}])
    found = parse_constraints([{"field": "[].age", "distribution": distribution}])
    assert unread(asked, found) == unheld


@pytest.mark.parametrize(
    ("said", "family", "numbers"),
    [
        (
            "Parcels. Weights are log-normal with a median of 4 and sigma of 0.5; a mean of 9 is paid",
            "lognormal",
            {"mu": 1.386, "sigma": 0.5},
        ),
        ("Normally distributed weights, mean 1.5k, s.d. 12", "normal", {"mean": 1500, "std": 12}),
        ("Weights with an exponential distribution, averaging 3.5 kg", "exponential", {"mean": 3.5}),
        ("Normally distributed weights, mean 40, and pay with a mean of 9 and sd 2", "normal", {}),
        ("Normally distributed weights, mean 40", "normal", {}),
    ],
)
def test_a_family_alone_takes_the_numbers_of_its_sentence_where_they_are_clear(
    said: str, family: str, numbers: dict[str, float]
) -> None:
    bare = parse_constraints([{"field": "[].weight", "distribution": {"family": family, "round": True}}])
    (found,) = with_measures(work(said, [{"weight": "number"}]), bare)
    taken = {name: value for name, value in found.value.items() if name not in ("family", "alpha", "round")}
    assert taken == pytest.approx(numbers, abs=1e-3)
    assert found.value["round"] is True


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ("Firms where annual revenue must be log-normally distributed and size correlates with it", "[].revenue"),
        ("Firms with a log-normal size, and any revenue", "[].size"),
        ("Some revenue. All of it is log-normal", None),
        ("A log-normal town", None),
    ],
)
def test_a_family_that_is_named_beside_a_field_holds_for_it(said: str, field: str | None) -> None:
    asked = work(said, [{"revenue": "number", "size": "integer", "town": "string"}])
    found = named_families(asked, ["[].revenue", "[].size"], ())
    assert [one.field for one in found] == ([field] if field else [])
    assert all(one.value["family"] == "lognormal" for one in found)


async def test_conditions_that_nobody_could_read_are_said_to_be_unchecked_where_a_model_answered() -> None:
    box = scripted([ok(ages())])
    asked = work(
        "Normally distributed ages with a standard deviation of 10 that correlate with nothing", [{"age": "integer"}], 300
    )
    draft = await run(box, asked)
    assert not draft.complete
    assert "'correlate'" in draft.issues[0]


def test_the_form_of_the_list_allows_what_can_be_read_and_names_the_fields() -> None:
    form = compile_schema(entries_schema(["[].a", "[].b"]))
    good = [
        {"field": "[].a", "distribution": {"family": "normal", "mean": 1, "std": 2, "clip": [0, 9], "round": True}},
        {"field": "[].a", "distribution": {"family": "lognormal"}},
        {"field": "[].a", "distribution": {"family": "bimodal", "components": [{"mean": 1, "std": 1}, {"mean": 9, "std": 1}]}},
        {"fields": ["[].a", "[].b"], "correlation": {"r2_at_least": 0.8, "scale": "log"}},
        {"field": "[].b", "ratios": {"x": 0.5, "y": 0.5}},
        {"field": "[].b", "sum": 9},
    ]
    assert form.errors({"constraints": good}) == []
    assert len(parse_constraints(good)) == len(good)
    for bad in ({"field": "[].c", "sum": 9}, {"field": "[].a", "distribution": {"family": "normal", "mu": 1}}, {"field": "[].a"}):
        assert not form.is_valid({"constraints": [bad]})
    assert not compile_schema(entries_schema(["[].a"])).is_valid({"constraints": good[3:4]}), "one field correlates with nothing"


def test_numbers_in_other_writings_are_no_inventions() -> None:
    assert made_up({"a": [0.25, 0.75, 12_500, 3e6]}, "25 %, 12,500 and 3M") == set()
    assert made_up({"a": 13}, "130 and 1.3") == {13.0}


def test_bounds_of_the_form_clip() -> None:
    schema = {
        "type": "array",
        "items": {"type": "object", "properties": {"age": {"type": "integer", "minimum": 18, "maximum": 60}}},
    }
    (constraint,) = parse_constraints([{"field": "[].age", "distribution": {"family": "normal", "mean": 40, "std": 10}}])
    done = completed(constraint, Work(messages=(), schema=schema))
    assert to_json([done])[0]["distribution"] == {
        "family": "normal",
        "mean": 40,
        "std": 10,
        "alpha": 0.01,
        "round": True,
        "clip": [18, 60],
    }
    assert list(field_lines(schema)) == ["- [].age: integer"]


async def test_conditions_that_no_model_could_read_are_said_to_be_unchecked() -> None:
    def answer(request: ChatRequest, choice: Choice) -> Json:
        if request.schema_name == "constraints":
            return BackendFailed("down")
        return ChatReply(text=PROGRAM, model="m", usage=Usage(), backend="coder")

    box = FakeToolbox(answer=answer, backends=(CODER,), runner=lambda code, inputs: ok(ages()))
    draft = await run(box, work("Normally distributed ages with a standard deviation of 10", [{"age": "integer"}], 300))
    assert not draft.complete
    assert "were not checked" in draft.issues[0]
