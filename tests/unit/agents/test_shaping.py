"""Shapes and schemas, both ways, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.records import InvalidRequest, Json
from agents.shaping import (
    ShapeLimits,
    array_path,
    check_schema,
    compile_schema,
    conform,
    infer_shape,
    is_json_schema,
    merge_deep,
    parse_shape,
    split_controls,
    sub_schema,
    to_shape,
    with_count,
)

LIMITS = ShapeLimits()
ORDER = {"orders": [{"no": 0, "net": 0.0, "paid": True, "state": "open|sent", "due": "ISO-8601", "note": "string", "any": None}]}


def test_every_word_of_a_shape() -> None:
    schema = parse_shape(ORDER, limits=LIMITS)
    item = schema["properties"]["orders"]["items"]
    assert item["properties"] == {
        "no": {"type": "integer"},
        "net": {"type": "number"},
        "paid": {"type": "boolean"},
        "state": {"type": "string", "enum": ["open", "sent"]},
        "due": {"type": "string", "format": "date-time"},
        "note": {"type": "string"},
        "any": {},
    }
    assert item["required"] == list(item["properties"])
    assert item["additionalProperties"] is False
    assert parse_shape("EUR", limits=LIMITS) == {"type": "string", "examples": ["EUR"]}
    assert parse_shape([], limits=LIMITS) == {"type": "array"}
    assert parse_shape({}, limits=LIMITS) == {"type": "object"}


SCALARS = st.sampled_from(["string", 0, 0.0, True, "ISO-8601", "a|b", None, "example text", 7, 1.5])
SHAPES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=1) | st.dictionaries(st.sampled_from(["x", "y", "item"]), inner, max_size=3),
    max_leaves=10,
)


@given(SHAPES)
def test_a_shape_survives_the_way_there_and_back(shape: Json) -> None:
    assert to_shape(parse_shape(shape, limits=LIMITS)) == shape


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ("a||b", "empty"),
        ({"a": {"b": ["x|"]}}, "shape/a/b/0"),
        ([1, "x"], "differ"),
        ({"n": float("nan")}, "not a JSON number"),
        ({"type": "integer", "minimum": 5, "maximum": 2}, "minimum 5 is above maximum 2"),
        ({"type": "integer", "minimum": 0.2, "maximum": 0.8}, "no number lies between"),
        ({"type": "string", "enum": []}, "enum is empty"),
        ({"type": "string", "enum": [1, 2]}, "no value of enum"),
        ({"$schema": "x", "type": "text"}, "unknown type"),
        ({"type": "object", "properties": {"a": {"type": "strin"}}}, "shape/properties/a"),
        ({"$ref": "https://example.org/s.json"}, "only references inside"),
        ({"$ref": "#"}, "must contain itself"),
        ({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}, "must contain itself"),
        ({"type": "object", "properties": {}, "required": ["a"], "additionalProperties": False}, "required and not allowed"),
        ({"type": "object", "properties": {"a": {"type": "string", "pattern": "("}}}, "not valid"),
        ({"type": "array", "items": {"type": "string"}, "minItems": "2"}, "not valid"),
        ({"type": "object", "properties": {"a": 3}}, "must be an object"),
        ({f"f{i}": 0 for i in range(501)}, "more than 500 fields"),
    ],
)
def test_impossible_shapes_are_refused_by_place(shape: Json, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words.replace("(", r"\(")) as caught:
        parse_shape(shape, limits=LIMITS)
    assert caught.value.param == "shape"


def test_depth_is_bounded_for_shapes_and_schemas() -> None:
    deep: Json = "string"
    schema: Json = {"type": "string"}
    for _ in range(900):
        deep, schema = [deep], {"type": "array", "items": schema}
    for bad in (deep, schema):
        with pytest.raises(InvalidRequest, match="deeper than 16"):
            parse_shape(bad, limits=LIMITS)


def test_a_tree_is_a_fine_schema() -> None:
    tree = {"type": "object", "properties": {"kids": {"type": "array", "items": {"$ref": "#"}}}, "required": ["kids"]}
    check_schema(tree, LIMITS)
    assert compile_schema(tree).is_valid({"kids": [{"kids": []}]})
    assert to_shape(tree)["kids"]


def test_schema_or_shape() -> None:
    assert is_json_schema({"type": "object", "properties": {}})
    assert is_json_schema({"type": ["string", "null"], "enum": ["a"]})
    assert not is_json_schema({"type": "string", "name": "string"})
    assert not is_json_schema({"type": "a|b", "items": [0]})
    inner = parse_shape({"age": {"type": "integer", "minimum": 0}}, limits=LIMITS)
    assert inner["properties"]["age"] == {"type": "integer", "minimum": 0}


def test_controls_are_taken_out() -> None:
    assert split_controls({"$cache": 4, "a": {"$x": 1, "b": 0}}) == ({"a": {"b": 0}}, {"cache": 4})
    assert split_controls([{"$cache": 2, "a": 0}]) == ([{"a": 0}], {"cache": 2})
    schema = {"$cache": 3, "$defs": {}, "type": "object", "properties": {}}
    assert split_controls(schema) == ({"$defs": {}, "type": "object", "properties": {}}, {"cache": 3})
    for bad in (-1, 101, "5", 2.5, True):
        with pytest.raises(InvalidRequest) as caught:
            split_controls({"$cache": bad, "a": 0})
        assert caught.value.param == "$cache"


def test_errors_are_readable_bounded_and_check_formats() -> None:
    validator = compile_schema(parse_shape(ORDER, limits=LIMITS))
    good = {"no": 1, "net": 2.5, "paid": False, "state": "open", "due": "2031-04-01T08:00:00Z", "note": "", "any": [1]}
    assert validator.errors({"orders": [good]}) == []
    assert validator.errors({"orders": [good, {**good, "no": "x"}]})[0].startswith("orders/1/no: ")
    assert validator.errors({"orders": [{**good, "due": "tomorrow"}]})[0].startswith("orders/0/due: ")
    many = validator.errors({"orders": [{**good, "state": "z" * 1000}] * 100})
    assert len(many) == 20
    assert max(map(len, many)) <= 300
    assert validator.errors({1: 2})[0].startswith("(root): not JSON")


def test_infer_and_merge() -> None:
    data = {"a": [{"x": 1}, {"y": "2031-04-01T08:00:00Z"}], "b": 1.5, "c": [], "d": None}
    assert infer_shape(data) == {"a": [{"x": 0, "y": "ISO-8601"}], "b": 0.0, "c": [], "d": None}
    clashes: list[str] = []
    merged = merge_deep({"a": [{"x": 1}], "n": None, "k": 1}, {"a": [{"y": 2}, {"y": 3}], "n": 5, "k": "1"}, clashes=clashes)
    assert merged == {"a": [{"x": 1, "y": 2}, {"y": 3}], "n": 5, "k": 1}
    assert clashes == ["k: integer and string"]


def test_count_goes_to_the_one_array() -> None:
    one = parse_shape({"total": 0, "rows": [{"x": 0}]}, limits=LIMITS)
    assert array_path(one) == ("rows",)
    rows = with_count(one, 7)["properties"]["rows"]
    assert (rows["minItems"], rows["maxItems"]) == (7, 7)
    assert array_path(parse_shape([0], limits=LIMITS)) == ()
    none = parse_shape({"x": 0}, limits=LIMITS)
    assert array_path(none) is None
    assert with_count(none, 3)["items"] == none
    two = parse_shape({"a": [0], "b": [0]}, limits=LIMITS)
    assert array_path(two) is None
    with pytest.raises(InvalidRequest) as caught:
        with_count({"type": "array", "maxItems": 2}, 3)
    assert caught.value.param == "count"
    referring = {"$defs": {"L": {"type": "array", "items": {"type": "integer"}}}, "$ref": "#/$defs/L"}
    assert compile_schema(with_count(referring, 2)).errors([1, 2]) == []


def test_sub_schema_of_root_and_of_items() -> None:
    root = sub_schema(parse_shape({"a": 0, "b": 0}, limits=LIMITS), ("b",))
    assert list(root["properties"]) == root["required"] == ["b"]
    items = sub_schema(parse_shape({"rows": [{"a": 0, "b": 0}]}, limits=LIMITS), ("a",))
    assert compile_schema(items).is_valid({"rows": [{"a": 1}]})
    assert not compile_schema(items).is_valid({"rows": [{"a": 1, "b": 1}]})


def test_only_harmless_corrections() -> None:
    schema = parse_shape({"n": 0, "f": 0.0, "s": "string", "l": [0]}, limits=LIMITS)
    assert conform({"n": "3", "f": "2.5", "s": 4, "l": [2.0, "x", "007"], "z": 1}, schema) == {
        "n": 3,
        "f": 2.5,
        "s": 4,
        "l": [2, "x", "007"],
    }
    assert conform({"n": 3.5, "f": True}, schema) == {"n": 3.5, "f": True}
