"""Data for any schema: valid, bounded, the same for a seed, built upon what the conversation says."""

from __future__ import annotations

import json
import re
import time
from datetime import datetime
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.llm.simulated.critic import Finding
from agents.llm.simulated.patterns import sample
from agents.llm.simulated.rules import rules_in
from agents.llm.simulated.shapes import MAX_ITEMS, Context, make
from agents.schema_check import compile_schema

Schema = dict[str, Any]


def obj(**properties: Any) -> Schema:
    return {"type": "object", "properties": properties, "required": sorted(properties), "additionalProperties": False}


def text(**more: Any) -> Schema:
    return {"type": "string", **more}


def leaves() -> st.SearchStrategy[Schema]:
    edges = st.tuples(st.integers(-50, 50), st.integers(2, 60)).map(
        lambda p: {"type": "integer", "exclusiveMinimum": p[0], "exclusiveMaximum": p[0] + p[1]}
    )
    steps = st.integers(1, 9).map(lambda n: {"type": "integer", "multipleOf": n, "minimum": -100, "maximum": 100})
    tight = st.floats(-5, 5, allow_nan=False).map(lambda x: {"type": "number", "exclusiveMinimum": x, "maximum": x + 0.001})
    return st.one_of(
        edges,
        steps,
        tight,
        st.sampled_from(["time", "hostname", "ipv6", "duration", "uri-reference", "date-time"]).map(lambda f: text(format=f)),
        st.sampled_from([r"^\d{2}:\d{2}$", "[a-f0-9]{8}", r"^v\d+\.\d+$", "^(?:north|south)-[A-Z]?$", r"\w+@\w+\.(com|org)"]).map(
            lambda p: text(pattern=p)
        ),
        st.sampled_from([{"const": 3}, {"const": None}, {"type": ["string", "null"]}, {"enum": [1, "a", None]}, {}]),
    )


def schemas() -> st.SearchStrategy[Schema]:
    def nested(inner: st.SearchStrategy[Schema]) -> st.SearchStrategy[Schema]:
        keys = st.sampled_from(["startDate", "end", "unit_price", "ownerName", "items", "status", "url", "naïve key"])
        return st.one_of(
            st.dictionaries(keys, inner, min_size=1, max_size=4).map(lambda p: obj(**p)),
            inner.map(lambda s: {"type": "array", "items": s, "minItems": 2, "maxItems": 5}),
            st.tuples(inner, inner).map(lambda p: {"anyOf": list(p)}),
            st.tuples(inner, inner).map(lambda p: {"type": "array", "prefixItems": list(p), "items": False, "minItems": 2}),
            inner.map(lambda s: {"type": "object", "additionalProperties": s, "minProperties": 2}),
            inner.map(lambda s: {"$defs": {"part": s}, "type": "object", "properties": {"part": {"$ref": "#/$defs/part"}}}),
        )

    return st.recursive(leaves(), nested, max_leaves=6).filter(lambda s: "$defs" not in json.dumps(s)[15:])


@settings(max_examples=120, deadline=None)
@given(schemas(), st.integers(0, 2**40))
def test_any_schema_gets_valid_data_and_the_same_for_the_same_seed(schema: Schema, seed: int) -> None:
    made = make(schema, Context(), seed=seed)
    assert compile_schema(schema).errors(made) == []
    assert make(schema, Context(), seed=seed) == made


def test_a_schema_that_refers_to_itself_ends() -> None:
    node = obj(name=text(), children={"type": "array", "items": {"$ref": "#/$defs/node"}})
    node["properties"]["parent"] = {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}
    schema = {"$defs": {"node": node}, "$ref": "#/$defs/node"}
    made = make(schema, Context(), seed=1)
    assert compile_schema(schema).errors(made) == []
    assert len(json.dumps(made)) < 20_000


def test_sizes_are_bounded() -> None:
    huge = {"type": "array", "minItems": 10**6, "items": {"type": "integer"}}
    assert len(make(huge, Context(), seed=1)) == MAX_ITEMS
    assert len(make(text(minLength=10**8), Context(), seed=1)) <= 100_000


def test_unique_items_are_unique() -> None:
    schema = {"type": "array", "items": {"type": "integer", "minimum": 1, "maximum": 8}, "minItems": 8, "uniqueItems": True}
    assert sorted(make(schema, Context(), seed=4)) == list(range(1, 9))


def test_fields_of_one_object_fit_together() -> None:
    person = obj(firstName=text(), lastName=text(), email=text(), startDate=text(), endDate=text(), age={"type": "integer"})
    for seed in range(30):
        made = make({"type": "array", "items": person, "minItems": 4}, Context(), seed=seed)
        for one in made:
            assert one["email"].split("@")[0].startswith(re.sub("[^a-z]", "", one["firstName"].lower())[:4])
            assert datetime.fromisoformat(one["startDate"]) < datetime.fromisoformat(one["endDate"])
            assert 0 < one["age"] < 120
        assert len({one["email"] for one in made}) == 4


def test_a_record_is_kept_completed_and_corrected() -> None:
    known = {"firstName": "Ines", "email": "no address", "age": 31, "extra": 1}
    schema = obj(first_name=text(), email=text(), age={"type": "integer"}, city=text())
    made = make(schema, Context(data=[{"user": known}]), seed=3)
    assert made["first_name"] == "Ines"
    assert made["age"] == 31
    assert "@" in made["email"]
    assert made["city"]


def test_lists_are_kept_item_by_item() -> None:
    rows = [{"sku": f"K-{n}", "price": n + 0.5} for n in range(7)]
    item = obj(sku=text(), price={"type": "number"}, colour=text())
    made = make(obj(products={"type": "array", "items": item}), Context(data=[{"products": rows}]), seed=3)
    assert [(one["sku"], one["price"]) for one in made["products"]] == [(row["sku"], row["price"]) for row in rows]


def test_what_is_called_wrong_is_made_anew() -> None:
    data = {"users": [{"name": "Ines Roth", "age": 31}, {"name": "Max Orth", "age": 44}]}
    words = "This has defects:\n\nThe defects:\n- users/1/age: he is younger; age must be at most 30\n"
    item = obj(name=text(), age={"type": "integer"})
    made = make(obj(users={"type": "array", "items": item}), Context(data=[data], everything=words), seed=3)
    assert made["users"][0] == data["users"][0]
    assert made["users"][1]["name"] == "Max Orth"
    assert made["users"][1]["age"] <= 30


def test_rules_in_plain_words_bound_what_is_made_up() -> None:
    rules = (
        "- Quantity must be between 3 and 9\n- status must be one of open, lost or found\n"
        "- low price must be below the high price"
    )
    low, high = {"type": "number"}, {"type": "number"}
    schema = obj(quantity={"type": "integer"}, status=text(), lowPrice=low, highPrice=high)
    for seed in range(40):
        made = make(schema, Context(everything=rules), seed=seed)
        assert 3 <= made["quantity"] <= 9
        assert made["status"] in {"open", "lost", "found"}
        assert made["lowPrice"] <= made["highPrice"]


@pytest.mark.parametrize(
    ("sentence", "field", "low", "high"),
    [
        ("The weight must be at least 2.5 kg", "weight", 2.5, None),
        ("maxGuests: no more than 12", "maxGuests", None, 12),
        ("unit price may not exceed 1,500", "unitPrice", None, 1500),
        ("Depth from 1 to 4", "depth", 1, 4),
        ("stock must not be negative", "stock", 0, None),
    ],
)
def test_rules_are_read_from_sentences(sentence: str, field: str, low: float | None, high: float | None) -> None:
    (rule,) = rules_in(sentence, [field, "other"])
    assert (rule.field, rule.low, rule.high) == (field, low, high)


def test_facts_are_taken_from_the_text() -> None:
    prose = "Extract the person: Berta Lang, 52 years old, works at Nordwind, berta@nordwind.example, order number: K-771"
    schema = obj(name=text(), age={"type": "integer"}, email=text(format="email"), company=text(), orderNumber=text())
    made = make(schema, Context(prose=prose, facts=prose), seed=9)
    wanted = {"name": "Berta Lang", "age": 52, "email": "berta@nordwind.example", "company": "Nordwind", "orderNumber": "K-771"}
    assert made == wanted


def test_an_option_is_chosen_by_what_the_text_says() -> None:
    schema = obj(sentiment={"enum": ["positive", "negative", "neutral"]}, priority={"enum": ["low", "medium", "high"]})
    angry = make(schema, Context(prose="The parcel never came, I am so disappointed. Urgent!"), seed=2)
    glad = make(schema, Context(prose="Great shop, I love it. A minor question, whenever you find time."), seed=2)
    assert angry == {"sentiment": "negative", "priority": "high"}
    assert glad == {"sentiment": "positive", "priority": "low"}


def test_the_count_that_the_words_ask_for() -> None:
    schema = obj(recipes={"type": "array", "items": text()})
    assert len(make(schema, Context(prose="Give me seven short recipes."), seed=2)["recipes"]) == 7


def test_a_judgement_is_filled_with_what_was_found() -> None:
    issue = obj(field=text(), message=text(), severity={"enum": ["low", "high"]})
    schema = obj(passed={"type": "boolean"}, score={"type": "integer"}, issues={"type": "array", "items": issue})
    bad = make(schema, Context(findings=[Finding(path="a.b", problem="is empty")]), seed=1)
    good = make(schema, Context(findings=[]), seed=1)
    assert bad["passed"] is False
    assert bad["issues"] == [{"field": "a.b", "message": "is empty", "severity": "high"}]
    assert bad["score"] < good["score"] == 100
    assert good["passed"] is True
    assert good["issues"] == []


def test_a_small_schema_costs_little() -> None:
    schema = obj(name=text(), email=text(), age={"type": "integer"}, city=text(), created=text(format="date-time"))
    make(schema, Context(), seed=0)
    start = time.process_time()
    for seed in range(100):
        make(schema, Context(prose="A customer of a shop."), seed=seed)
    assert (time.process_time() - start) / 100 < 0.003


def test_patterns_that_cannot_be_met_are_given_up() -> None:
    assert sample("(?=never)x", Random(1)) is None
    assert sample("((((", Random(1)) is None
    assert sample("a{5000}", Random(1)) is None
