"""What a mock call asks for, read from its query, headers and body: the form of the answer, how many, and by which rules.

Called by mock.py. Pure: it knows neither a service nor HTTP; errors are ApiError and InvalidRequest, and name the field.

Where no shape is given the answer's form follows from the body, in this order: a ``targetSchema`` to reach · a ``schema`` to make
test cases for · a record or rules to validate (a verdict) · data to work over · the body itself · anything at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from agents.records import InvalidRequest, Json
from agents.shaping import ShapeLimits, array_path, infer_shape, parse_shape, split_controls
from runtime.api.body import parse_json
from runtime.api.errors import bad_request
from runtime.api.openai_models import read_count
from runtime.config.settings import RequestSettings

ANY_OBJECT: Mapping[str, Json] = {"type": "object"}
ANY_OBJECTS: Mapping[str, Json] = {"type": "array", "items": ANY_OBJECT}

_MAX_SHAPE_CHARS = 16_384
_MAX_RULES = 100
_MAX_RULE_CHARS = 2000
_DATA_FIELDS = ("data", "previous", "record")
_CONTROL_FIELDS = frozenset(
    {
        "shape",
        "count",
        "backend",
        "rules",
        "validationRules",
        "issues",
        "scenarios",
        "errorTypes",
        "prompt",
        "instructions",
    }
)
_BREAKING_WORDS = frozenset({"invalid", "edge", "negative", "malformed", "boundary", "error", "errors"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to ask for. ``cache`` is the number of variants to keep ready (0: none); ``data`` goes into the prompt."""

    schema: Mapping[str, Json]
    count: int | None
    cache: int
    rules: tuple[str, ...]
    data: Json


def read_plan(
    path: str,
    *,
    body: Json,
    query_shape: str | None,
    header_shape: str | None,
    query_count: str | None,
    requests: RequestSettings,
    max_json_depth: int,
) -> Plan:
    """The plan of one mock call. ``body`` is parsed JSON, None where there was none.

    A shape in the query comes before the header's, and that before the body's.
    """
    fields = body if isinstance(body, dict) else {}
    count = _count(fields, query_count, most=requests.max_count)
    limits = ShapeLimits(max_depth=requests.max_shape_depth, max_fields=requests.max_shape_fields)
    given = _shape(fields, query_shape, header_shape, max_json_depth)
    rest = {name: value for name, value in fields.items() if name not in ("shape", "count")} if fields else body
    if given is not None:
        shape, controls = split_controls(given, max_cache=requests.max_cache_variants)
        return Plan(
            schema=parse_shape(shape, limits=limits), count=count, cache=controls["cache"] or 0, rules=_rules(fields), data=rest
        )
    schema, count, rules = _inferred(path, body, fields, count, limits, most=requests.max_count)
    return Plan(schema=schema, count=count, cache=0, rules=rules, data=rest)


def _inferred(
    path: str, body: Json, fields: dict[str, Json], count: int | None, limits: ShapeLimits, *, most: int
) -> tuple[Mapping[str, Json], int | None, tuple[str, ...]]:
    last_word = path.rstrip("/").rpartition("/")[2].lower()
    if isinstance(fields.get("targetSchema"), dict | list):
        return _named(fields["targetSchema"], limits, "targetSchema"), count, _rules(fields)
    if "schema" in fields:
        return _test_cases(fields, last_word, limits), count, ()
    if last_word == "validate" and ("rules" in fields or "record" in fields):
        # The rules are about the record: they must not be applied to the verdict.
        return {**parse_shape({"passed": True, "issues": ["string"]}, limits=limits)}, None, ()
    data = next((fields[name] for name in _DATA_FIELDS if isinstance(fields.get(name), dict | list)), None)
    if data is None:
        data = {name: value for name, value in fields.items() if name not in _CONTROL_FIELDS} if fields else body
    schema = like(data, limits)
    place = array_path(schema)
    if count is not None:
        return (schema if place is not None else ANY_OBJECTS), count, _rules(fields)
    items = data if place == () else data[place[0]] if place and isinstance(data, dict) else None
    # Work over a list is about every item of it.
    given_items = len(items) if isinstance(items, list) and 0 < len(items) <= most else None
    return schema, given_items, _rules(fields)


def like(data: Json, limits: ShapeLimits) -> Mapping[str, Json]:
    """The schema of something like ``data``: the same fields, more allowed. Anything where it is empty or too large to say."""
    if not isinstance(data, dict | list) or not data:
        return ANY_OBJECT
    try:
        return _opened(parse_shape(infer_shape(data), limits=limits))
    except InvalidRequest:
        return ANY_OBJECTS if isinstance(data, list) else ANY_OBJECT


def _opened(schema: Json) -> dict[str, Json]:
    """``schema`` with objects that may have more fields: who enriches a record adds some."""
    opened = {key: value for key, value in schema.items() if key != "additionalProperties"}
    if isinstance(opened.get("properties"), dict):
        opened["properties"] = {name: _opened(part) for name, part in opened["properties"].items()}
    if isinstance(opened.get("items"), dict):
        opened["items"] = _opened(opened["items"])
    return opened


def _test_cases(fields: dict[str, Json], last_word: str, limits: ShapeLimits) -> Mapping[str, Json]:
    """A list of inputs for ``schema``. Only good ones can be held to it: the point of the others is to break it."""
    kind = fields.get("type")
    if {last_word, kind.lower() if isinstance(kind, str) else ""} & _BREAKING_WORDS:
        return ANY_OBJECTS
    try:
        item = parse_shape(fields["schema"], limits=limits) if isinstance(fields["schema"], dict) else ANY_OBJECT
    except InvalidRequest:
        # Here the schema describes somebody's endpoint, in whatever notation: it goes into the prompt as it is.
        item = ANY_OBJECT
    definitions = {key: item[key] for key in ("$defs", "definitions") if key in item}
    return {**definitions, "type": "array", "items": item}


def _named(shape: Json, limits: ShapeLimits, param: str) -> Mapping[str, Json]:
    try:
        return parse_shape(shape, limits=limits)
    except InvalidRequest as error:
        raise bad_request(f"'{param}': {error.message}", param=param) from None


def _shape(fields: dict[str, Json], query: str | None, header: str | None, max_json_depth: int) -> Json:
    for text, param in ((query, "shape"), (header, "X-Response-Shape")):
        if text is not None and text.strip():
            return _parse_shape_text(text, param, max_json_depth)
    shape = fields.get("shape")
    if isinstance(shape, str) and shape.lstrip().startswith(("{", "[")):
        return _parse_shape_text(shape, "shape", max_json_depth)
    return shape


def _parse_shape_text(text: str, param: str, max_json_depth: int) -> Json:
    if len(text) > _MAX_SHAPE_CHARS:
        raise bad_request(f"'{param}' is longer than {_MAX_SHAPE_CHARS} characters; send it in the body", param=param)
    try:
        raw = text.encode("utf-8")
    except UnicodeEncodeError:
        raise bad_request(f"'{param}' is not valid UTF-8", param=param) from None
    return parse_json(raw, max_depth=max_json_depth, param=param)


def _count(fields: dict[str, Json], query: str | None, *, most: int) -> int | None:
    value: Json = query if query is not None else fields.get("count")
    if isinstance(value, str):
        # Only query strings and form fields send numbers as text.
        text = value.strip()
        value = int(text) if text.isascii() and text.isdecimal() and len(text) <= 12 else value
    return None if value is None else read_count(value, most=most, param="count")


def _rules(fields: dict[str, Json]) -> tuple[str, ...]:
    """``validationRules`` and ``rules`` that are lists of sentences. Other forms are only shown to the model, as data."""
    rules: list[str] = []
    for name in ("validationRules", "rules"):
        value = fields.get(name)
        if not isinstance(value, list):
            continue
        sentences = [rule.strip() for rule in value if isinstance(rule, str) and rule.strip()]
        if len(sentences) > _MAX_RULES or any(len(rule) > _MAX_RULE_CHARS for rule in sentences):
            raise bad_request(f"'{name}' holds more than {_MAX_RULES} rules or one over {_MAX_RULE_CHARS} characters", param=name)
        rules.extend(sentences)
    return tuple(rules)
