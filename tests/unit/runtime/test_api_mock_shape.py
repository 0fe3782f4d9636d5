"""Which form a mock call asks for, and over which data."""

from __future__ import annotations

from typing import Any

from agents.records import Json
from agents.shaping import compile_schema
from runtime.api.mock_shape import ANY_OBJECTS, Plan, read_plan
from runtime.config.settings import RequestSettings
from tests.fakes.service import fake_settings

SHAPE = {"users": [{"name": "string", "age": 0}]}


TEXTS = {"type": "string"}


def plan(path: str, body: Json = None, **given: Any) -> Plan:
    given = {"query_shape": None, "header_shape": None, "query_count": None} | given
    return read_plan(path, body=body, requests=RequestSettings(), max_json_depth=64, **given)


def required(schema: Any) -> list[str]:
    return list(schema["required"])


def test_an_explicit_shape_is_kept_exactly() -> None:
    found = plan("users", {"count": 4, "shape": SHAPE, "tone": "dry"})
    assert (found.count, found.cache, found.data) == (4, 0, {"tone": "dry"})
    assert found.schema["additionalProperties"] is False
    assert found.schema["properties"]["users"]["items"]["properties"] == {"name": TEXTS, "age": {"type": "integer"}}


def test_the_query_comes_before_the_header_and_that_before_the_body() -> None:
    body = {"shape": {"c": 0}}
    assert required(plan("x", body, query_shape='{"a": 0}', header_shape='{"b": 0}').schema) == ["a"]
    assert required(plan("x", body, header_shape='{"b": 0}').schema) == ["b"]
    assert required(plan("x", body, query_shape="", header_shape=" ").schema) == ["c"]
    assert required(plan("x", {"shape": '{"d": 0}'}).schema) == ["d"]


def test_a_target_schema_is_what_a_transformation_reaches() -> None:
    body = {"legacyRecord": {"nm": "A"}, "targetSchema": {"fullName": "string"}}
    assert required(plan("transform", body).schema) == ["fullName"]
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    assert plan("transform", {"targetSchema": schema}).schema == schema


def test_test_cases_are_lists_held_to_the_schema_only_when_they_are_to_be_valid() -> None:
    body = {"endpoint": "/orders", "schema": {"sku": "string"}, "count": 5}
    valid = plan("cases/valid", {**body, "type": "valid"})
    assert (valid.count, valid.schema["type"], required(valid.schema["items"])) == (5, "array", ["sku"])
    for path, kind in (("cases/invalid", None), ("cases", "invalid"), ("cases", "edge")):
        assert plan(path, {**body, "type": kind}).schema == ANY_OBJECTS
    assert plan("cases/valid", {**body, "schema": "see the wiki"}).schema == ANY_OBJECTS
    assert plan("cases/valid", {**body, "schema": {"role": ["admin", 7]}}).schema == ANY_OBJECTS


def test_validating_a_record_gives_a_verdict_to_which_the_rules_do_not_apply() -> None:
    found = plan("orders/validate", {"record": {"id": 1}, "rules": ["ids are positive"]})
    assert required(found.schema) == ["passed", "issues"]
    assert found.rules == ()
    assert found.data == {"record": {"id": 1}, "rules": ["ids are positive"]}


def test_data_to_work_over_gives_its_form_and_may_grow() -> None:
    found = plan("validate", {"data": {"name": "A", "when": "2020-01-02T03:04:05Z"}, "validationRules": ["no nulls", " "]})
    assert required(found.schema) == ["name", "when"]
    assert found.rules == ("no nulls",)
    assert compile_schema(found.schema)
    assert "additionalProperties" not in found.schema
    assert required(plan("heal", {"data": {"a": 1}, "issues": ["a is odd"]}).schema) == ["a"]
    assert required(plan("refine", {"previous": {"b": 1}}).schema) == ["b"]


def test_a_whole_body_to_enrich_keeps_its_form_and_the_number_of_its_items() -> None:
    found = plan("customers/enrich", {"customers": [{"id": "a"}, {"id": "b"}, {"id": "c"}]})
    assert found.count == 3
    assert required(found.schema["properties"]["customers"]["items"]) == ["id"]
    assert plan("enrich", [{"id": 1}, {"id": 2}]).count == 2
    assert required(plan("validate", {"id": 1}).schema) == ["id"]


def test_a_count_alone_asks_for_that_many_objects_and_nothing_asks_for_one() -> None:
    assert (plan("things", {"count": 3}).schema, plan("things", {"count": 3}).count) == (ANY_OBJECTS, 3)
    assert plan("things", None, query_count="2").count == 2
    assert plan("things", {"count": "2"}).count == 2
    assert plan("things").schema == {"type": "object"}
    assert plan("things", {"prompt": "a boat", "shape": None}).schema == {"type": "object"}


def test_data_that_is_too_large_to_describe_gets_any_object() -> None:
    wide = {f"f{index}": 1 for index in range(1000)}
    assert plan("enrich", wide).schema == {"type": "object"}


def test_settings_bound_what_is_asked() -> None:
    assert fake_settings(requests={"max_count": 5}).requests.max_count == 5
