"""Shapes and JSON Schema, both ways: the form that a client asks its answer to have.

A shape is the mock API's way of saying it by example: ``{"users": [{"name": "string", "age": 0, "tier": "free|paid"}]}``.
Called by the API (parsing what clients send), the strategies and counting.py (cutting, merging and checking answers).
Pure. Imports only the error tree and schema_check.py, whose public names it offers again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from agents.records import InvalidRequest, Json
from agents.schema_check import TYPES, ShapeLimits, Validator, check_schema, compile_schema, resolve, type_name

__all__ = [
    "ShapeLimits",
    "Validator",
    "array_path",
    "array_schema",
    "check_schema",
    "compile_schema",
    "conform",
    "infer_shape",
    "is_json_schema",
    "merge_deep",
    "parse_shape",
    "split_controls",
    "sub_schema",
    "to_shape",
    "type_name",
    "with_count",
]

_DATE_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d)")
_ISO_WORDS: Final = frozenset({"iso-8601", "iso8601"})
_TYPE_WORDS: Final = frozenset({"integer", "number", "boolean"})
_NUMBER: Final = re.compile(r"-?(0|[1-9]\d{0,17})(\.\d{1,17})?([eE][+-]?\d{1,2})?")
_MAX_CONFORM_DEPTH: Final = 64
_SCHEMA_KEYS: Final[Mapping[str, type | tuple[type, ...]]] = {
    "properties": dict,
    "items": dict,
    "enum": list,
    "required": list,
    "anyOf": list,
    "oneOf": list,
    "allOf": list,
    "additionalProperties": (bool, dict),
    "minimum": (int, float),
    "maximum": (int, float),
    "minLength": int,
    "maxLength": int,
    "minItems": int,
    "maxItems": int,
}


# ── shape → schema ──────────────────────────────────────────────────────────────────────────────────────────────────────


def split_controls(shape: Json, *, max_cache: int = 100) -> tuple[Json, dict[str, int | None]]:
    """``shape`` without its ``$`` keys, and what they said: ``{"cache": N or None}``.

    ``$cache`` is read from the shape's top, or from the first item of an array there. In a JSON Schema only ``$cache`` is a
    control. Raises InvalidRequest(param="$cache") unless N is a whole number from 0 to ``max_cache`` (0 means no cache).
    """
    top = shape[0] if isinstance(shape, list) and shape else shape
    cache = top.get("$cache") if isinstance(top, dict) else None
    if cache is not None and (isinstance(cache, bool) or not isinstance(cache, int) or not 0 <= cache <= max_cache):
        raise InvalidRequest(f"$cache must be a whole number from 0 to {max_cache}", param="$cache")
    if isinstance(shape, dict) and is_json_schema({key: value for key, value in shape.items() if key != "$cache"}):
        return {key: value for key, value in shape.items() if key != "$cache"}, {"cache": cache or None}
    return _without_controls(shape, 0), {"cache": cache or None}


def _without_controls(shape: Json, depth: int) -> Json:
    if depth > 250:  # parse_shape refuses such a shape with its place; here it only must not overflow the stack
        return shape
    if isinstance(shape, dict):
        return {key: _without_controls(value, depth + 1) for key, value in shape.items() if not key.startswith("$")}
    if isinstance(shape, list):
        return [_without_controls(value, depth + 1) for value in shape]
    return shape


def is_json_schema(value: Json) -> bool:
    """Whether ``value`` is a JSON Schema and not a shape that happens to have a field called ``type``."""
    if not isinstance(value, dict):
        return False
    if isinstance(value.get("$schema"), str) or isinstance(value.get("$ref"), str):
        return True
    kinds = value.get("type")
    names = kinds if isinstance(kinds, list) and kinds else [kinds]
    if all(isinstance(name, str) and name in TYPES for name in names):
        return any(_is_keyword(value, key) for key in _SCHEMA_KEYS)
    if "type" in value:
        return False
    return any(isinstance(value.get(key), list) and all(isinstance(x, dict) for x in value[key]) for key in ("anyOf", "oneOf"))


def _is_keyword(value: Mapping[str, Json], key: str) -> bool:
    # A shape's field may be called "items" or "minimum" as well; a keyword also has the keyword's type of value.
    found, kind = value.get(key), _SCHEMA_KEYS[key]
    if key not in value or not isinstance(found, kind):
        return False
    if key in ("minimum", "maximum"):
        return value.get("type") in ("integer", "number")
    return True


def parse_shape(shape: Json, *, limits: ShapeLimits) -> dict[str, Json]:
    """The JSON Schema of a shape (a JSON Schema is taken as it is). ``$`` keys are ignored.

    ``"string"`` string · any other text: a string with that example · ``"a|b|c"`` one of these · ``"ISO-8601"`` date-time ·
    whole number: integer · other number: number · true/false boolean · null anything · ``[x]`` array of x · ``[]`` any array ·
    ``{…}`` object with exactly these fields, ``{}`` any object. Raises InvalidRequest(param="shape") naming the place.
    """
    bare, _ = split_controls(shape, max_cache=2**31)
    schema = dict(bare) if is_json_schema(bare) else _parse(bare, "shape", 1, limits, [0])
    check_schema(schema, limits)
    return schema


def _parse(shape: Json, path: str, depth: int, limits: ShapeLimits, fields: list[int]) -> dict[str, Json]:
    if depth > limits.max_depth:
        raise InvalidRequest(f"shape: nested deeper than {limits.max_depth} levels", param="shape")
    if isinstance(shape, dict):
        fields[0] += len(shape)
        if fields[0] > limits.max_fields:
            raise InvalidRequest(f"shape: more than {limits.max_fields} fields", param="shape")
        if is_json_schema(shape) and "$ref" not in shape:
            return shape
        if not shape:
            return {"type": "object"}
        parts = {key: _parse(value, f"{path}/{key}", depth + 1, limits, fields) for key, value in shape.items()}
        return {"type": "object", "properties": parts, "required": list(parts), "additionalProperties": False}
    if isinstance(shape, list):
        return _parse_array(shape, path, depth, limits, fields)
    return _parse_scalar(shape, path)


def _parse_array(shape: list[Json], path: str, depth: int, limits: ShapeLimits, fields: list[int]) -> dict[str, Json]:
    """Further items only repeat the first one's form (clients paste examples); another type among them is refused."""
    if not shape:
        return {"type": "array"}
    if len({type_name(item).replace("number", "integer") for item in shape}) > 1:
        raise InvalidRequest(f"{path}: the items of an array have one shape, these differ", param="shape")
    return {"type": "array", "items": _parse(shape[0], f"{path}/0", depth + 1, limits, fields)}


def _parse_scalar(shape: Json, path: str) -> dict[str, Json]:
    if shape is None:
        return {}
    if isinstance(shape, bool):
        return {"type": "boolean"}
    if isinstance(shape, int):
        return {"type": "integer"} if shape == 0 else {"type": "integer", "examples": [shape]}
    if isinstance(shape, float):
        if shape != shape or shape in (float("inf"), float("-inf")):
            raise InvalidRequest(f"{path}: not a JSON number", param="shape")
        return {"type": "number"} if shape == 0 else {"type": "number", "examples": [shape]}
    if not isinstance(shape, str):
        raise InvalidRequest(f"{path}: not JSON", param="shape")
    if "|" in shape:
        options = list(dict.fromkeys(part.strip() for part in shape.split("|")))
        if "" in options:
            raise InvalidRequest(f"{path}: an option of {shape[:80]!r} is empty", param="shape")
        return {"type": "string", "enum": options}
    word = shape.strip().lower()
    if word in _ISO_WORDS:
        return {"type": "string", "format": "date-time"}
    if word in _TYPE_WORDS:
        return {"type": word}
    return {"type": "string"} if word in ("string", "") else {"type": "string", "examples": [shape]}


def to_shape(schema: Mapping[str, Json]) -> Json:
    """The shape that says the same as far as shapes can; recursion in a schema ends in null."""
    return _shape_of(schema, schema, 0)


def _shape_of(schema: Json, root: Mapping[str, Json], depth: int) -> Json:
    schema = resolve(schema, root)
    if not isinstance(schema, Mapping) or depth > 16:
        return None
    for key in ("anyOf", "oneOf", "allOf"):
        options = [option for option in schema.get(key, ()) if option != {"type": "null"}]
        if options and "type" not in schema:
            return _shape_of(options[0], root, depth + 1)
    if "const" in schema:
        return schema["const"]
    kinds = schema.get("type")
    kind = next((name for name in kinds if name != "null"), None) if isinstance(kinds, list) else kinds
    allowed: list[Json] = schema.get("enum") or []
    if allowed:
        texts = all(isinstance(option, str) and option and "|" not in option for option in allowed)
        return "|".join(allowed) if texts and len(allowed) > 1 else allowed[0]
    if kind == "object" or (kind is None and "properties" in schema):
        return {key: _shape_of(part, root, depth + 1) for key, part in schema.get("properties", {}).items()}
    if kind == "array" or (kind is None and "items" in schema):
        return [_shape_of(schema["items"], root, depth + 1)] if isinstance(schema.get("items"), Mapping) else []
    if schema.get("examples"):
        return schema["examples"][0]
    if kind == "string":
        return "ISO-8601" if schema.get("format") == "date-time" else "string"
    defaults: dict[Any, Json] = {"integer": 0, "number": 0.0, "boolean": True}
    return defaults.get(kind)


def infer_shape(value: Json) -> Json:
    """The shape of given data: what it would have to look like to be asked for again. Arrays are judged by 20 items."""
    return _infer(value, 0)


def _infer(value: Json, depth: int) -> Json:
    if depth > 64:
        return None
    if isinstance(value, dict):
        return {key: _infer(part, depth + 1) for key, part in value.items() if not key.startswith("$")}
    if isinstance(value, list):
        shape: Json = None
        for part in value[:20]:
            shape = merge_deep(shape, _infer(part, depth + 1))
        return [shape] if value else []
    if isinstance(value, bool) or value is None:
        return True if value is not None else None
    if isinstance(value, str):
        return "ISO-8601" if _DATE_TIME.fullmatch(value) else "string"
    return 0 if isinstance(value, int) else 0.0


def array_path(schema: Mapping[str, Json]) -> tuple[str, ...] | None:
    """Where the one array is that ``count`` applies to: ``()`` the root, ``("users",)`` the only array field; else None."""
    top = resolve(schema, schema)
    if top.get("type") == "array":
        return ()
    names = [
        name
        for name, part in top.get("properties", {}).items()
        if isinstance(found := resolve(part, schema), Mapping) and found.get("type") == "array"
    ]
    return (names[0],) if len(names) == 1 else None


def array_schema(schema: Mapping[str, Json], path: tuple[str, ...]) -> dict[str, Json]:
    """The array's own schema at ``path`` (as ``array_path`` gives it), references followed."""
    top = resolve(schema, schema)
    return dict(top if not path else resolve(top["properties"][path[0]], schema))


def with_count(schema: Mapping[str, Json], n: int) -> dict[str, Json]:
    """``schema`` with exactly ``n`` items in its one array; a schema without one array becomes an array of ``n`` of itself.

    Raises InvalidRequest(param="count") when the schema's own bounds forbid ``n``.
    """
    if isinstance(n, bool) or not isinstance(n, int) or n < 0:
        raise InvalidRequest("count must be a whole number, zero or more", param="count")
    path = array_path(schema)
    if path is None:
        definitions = {key: schema[key] for key in ("$defs", "definitions", "$schema") if key in schema}
        return {**definitions, "type": "array", "items": dict(schema), "minItems": n, "maxItems": n}
    top = dict(resolve(schema, schema))
    part = array_schema(schema, path)
    if not part.get("minItems", 0) <= n <= part.get("maxItems", n):
        raise InvalidRequest(f"count {n} is outside of what the schema allows", param="count")
    part |= {"minItems": n, "maxItems": n}
    result = part if not path else {**top, "properties": {**top["properties"], path[0]: part}}
    return {**{key: schema[key] for key in ("$defs", "definitions") if key in schema}, **result}


def sub_schema(schema: Mapping[str, Json], fields: tuple[str, ...]) -> dict[str, Json]:
    """``schema`` with only ``fields``: of the root object, or, when it has none of them, of the items of its one array."""
    top = dict(resolve(schema, schema))
    keep = {key: schema[key] for key in ("$defs", "definitions") if key in schema}
    properties = top.get("properties", {})
    if any(name in properties for name in fields):
        return {**keep, **_only(top, fields)}
    path = array_path(schema)
    if path is None:
        return dict(schema)
    part = dict(top if not path else resolve(properties[path[0]], schema))
    items = resolve(part.get("items", {}), schema)
    if not isinstance(items, Mapping) or not any(name in items.get("properties", {}) for name in fields):
        return dict(schema)
    part["items"] = _only(items, fields)
    return {**keep, **(part if not path else {**_only(top, path), "properties": {path[0]: part}})}


def _only(schema: Mapping[str, Json], fields: tuple[str, ...]) -> dict[str, Json]:
    properties = {name: part for name, part in schema["properties"].items() if name in fields}
    return {**schema, "properties": properties, "required": [name for name in schema.get("required", ()) if name in fields]}


# ── answers ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def merge_deep(a: Json, b: Json, *, clashes: list[str] | None = None, path: str = "") -> Json:
    """``a`` with what it lacks taken from ``b``: objects by key, arrays by index, null is lacking; otherwise ``a`` wins.

    Where the two differ in type, the place is put into ``clashes`` as ``"users/0/age: integer and string"``.
    """
    if a is None or b is None:
        return b if a is None else a
    if isinstance(a, dict) and isinstance(b, dict):
        keys = [*a, *(key for key in b if key not in a)]
        return {key: merge_deep(a.get(key), b.get(key), clashes=clashes, path=f"{path}/{key}" if path else key) for key in keys}
    if isinstance(a, list) and isinstance(b, list):
        joint = min(len(a), len(b))
        merged = [merge_deep(a[i], b[i], clashes=clashes, path=f"{path}/{i}" if path else str(i)) for i in range(joint)]
        return merged + (a[joint:] or b[joint:])
    kinds = {type_name(a), type_name(b)}
    if clashes is not None and len(kinds) > 1 and kinds != {"integer", "number"}:
        clashes.append(f"{path or '(root)'}: {type_name(a)} and {type_name(b)}")
    return a


def conform(value: Json, schema: Mapping[str, Json]) -> Json:
    """``value`` with harmless corrections only; what it cannot correct harmlessly it leaves for the validator to name.

    Text that is a number becomes one where the schema wants a number (``"29.99"`` → 29.99, ``"3"`` → 3) · ``3.0`` becomes 3
    where it wants an integer · fields that the schema forbids (``additionalProperties: false``) are dropped. Nothing is
    invented, rounded or filled in.
    """
    return _conform(value, schema, schema, 0)


def _conform(value: Json, schema: Json, root: Mapping[str, Json], depth: int) -> Json:
    schema = resolve(schema, root)
    if not isinstance(schema, Mapping) or depth > _MAX_CONFORM_DEPTH:
        return value
    kind = schema.get("type")
    if isinstance(value, dict) and kind in ("object", None):
        properties = schema.get("properties", {})
        closed = schema.get("additionalProperties") is False and "patternProperties" not in schema
        kept = {key: part for key, part in value.items() if key in properties} if closed else value
        return {
            key: _conform(part, properties[key], root, depth + 1) if key in properties else part for key, part in kept.items()
        }
    if isinstance(value, list) and kind in ("array", None) and isinstance(schema.get("items"), Mapping):
        return [_conform(part, schema["items"], root, depth + 1) for part in value]
    if kind in ("integer", "number"):
        if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
            number = float(value)
            value = int(value) if value.strip().lstrip("-").isdigit() else number
        if kind == "integer" and isinstance(value, float) and value.is_integer():
            return int(value)
    return value
