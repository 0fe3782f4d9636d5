"""JSON Schema, checked and compiled: what a client may ask for, and whether an answer keeps to it.

Called by shaping.py (which re-exports the public names), the strategies, llm/structured.py and the API. Pure. Imports only
the error tree: no toolbox, no backend.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any, Final, TypeGuard

import jsonschema_rs
import orjson

from agents.records import InvalidRequest, Json

TYPES: Final = frozenset({"string", "integer", "number", "boolean", "array", "object", "null"})
MAX_ERRORS: Final = 20
MAX_ERROR_CHARS: Final = 300
MAX_ITEMS: Final = 1_000_000
MAX_TEXT_CHARS: Final = 100_000
# Patterns come from clients: a hostile one must fail, not spin.
_PATTERNS: Final = jsonschema_rs.FancyRegexOptions(backtrack_limit=100_000, size_limit=1_000_000)
# One pattern is tried on every item of a long answer: first as one that takes linear time, and only where it needs looking around
# or back, as one that may backtrack, with a tighter limit (some 0.3 ms for a value that reaches it).
_LINEAR: Final = jsonschema_rs.RegexOptions(size_limit=1_000_000)
_BACKTRACKING: Final = jsonschema_rs.FancyRegexOptions(backtrack_limit=10_000, size_limit=1_000_000)
_PAIRS: Final = (
    ("minimum", "maximum"),
    ("minLength", "maxLength"),
    ("minItems", "maxItems"),
    ("minProperties", "maxProperties"),
)
_ONE: Final = ("items", "not", "contains", "propertyNames", "if", "then", "else", "unevaluatedItems", "unevaluatedProperties")
_MAPS: Final = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_LISTS: Final = ("allOf", "anyOf", "oneOf", "prefixItems")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShapeLimits:
    """How large a shape or schema may be. ``max_fields`` counts fields of all levels together."""

    max_depth: int = 16
    max_fields: int = 500


class Validator:
    """A compiled schema. Cheap to call, safe to share."""

    __slots__ = ("_inner",)

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def is_valid(self, value: Json) -> bool:
        """Whether ``value`` keeps to the schema; False for what is not JSON at all."""
        try:
            return bool(self._inner.is_valid(value))
        except (ValueError, TypeError, RecursionError):
            return False

    def errors(self, value: Json, *, limit: int = MAX_ERRORS) -> list[str]:
        """At most ``limit`` readable errors such as ``users/3/age: "x" is not of type "integer"``; empty when valid."""
        found: list[str] = []
        try:
            for error in self._inner.iter_errors(value):
                path = "/".join(str(part) for part in error.instance_path) or "(root)"
                found.append(_cut(f"{path}: {error.message}"))
                if len(found) >= limit:
                    break
        except (ValueError, TypeError, RecursionError) as error:
            found.append(_cut(f"(root): not JSON: {error}"))
        return found

    def places(self, value: Json, *, limit: int) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """At most ``limit`` errors as (path into ``value``, words); empty when valid."""
        try:
            for error in islice(self._inner.iter_errors(value), limit):
                yield tuple(error.instance_path), _cut(error.message)
        except (ValueError, TypeError, RecursionError) as error:
            yield (), _cut(f"not JSON: {error}")


def _cut(text: str) -> str:
    """The beginning, which says where, and the end, which says what is wrong: between them stands the value."""
    if len(text) <= MAX_ERROR_CHARS:
        return text
    end = MAX_ERROR_CHARS // 2
    return f"{text[: MAX_ERROR_CHARS - end - 1]}…{text[-end:]}"


def compile_schema(schema: Mapping[str, Json], *, formats: bool = True, param: str = "shape") -> Validator:
    """The validator of ``schema``, with or without its ``format`` words; no ``$ref`` is ever fetched. Cached.

    Raises InvalidRequest(param=``param``) for what is no schema.
    """
    try:
        return _compiled(orjson.dumps(schema, default=dict), formats)
    except TypeError as error:
        raise InvalidRequest(_cut(f"The schema is not JSON: {error}"), param=param) from error
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        words = str(error).split("\n", 1)[0]
        raise InvalidRequest(_cut(f"The schema is not valid: {words}"), param=param) from error


@lru_cache(maxsize=256)
def _compiled(key: bytes, formats: bool) -> Validator:
    schema = orjson.loads(key)
    return Validator(jsonschema_rs.validator_for(schema, validate_formats=formats, offline=True, pattern_options=_PATTERNS))


class TextPattern(Validator):
    """A compiled pattern; ``is_valid(text)`` says whether it is found in ``text``. ``linear`` when it never backtracks."""

    __slots__ = ("linear",)

    def __init__(self, inner: Any, *, linear: bool) -> None:
        super().__init__(inner)
        self.linear = linear


@lru_cache(maxsize=256)
def compile_pattern(pattern: str) -> TextPattern:
    """``pattern`` as a validator of texts in which it is found anywhere (``^`` and ``$`` anchor it). Never spins: what would take
    more than the backtracking limit does not match. Raises InvalidRequest(param="pattern")."""
    schema = {"type": "string", "pattern": pattern}
    try:
        return TextPattern(jsonschema_rs.validator_for(schema, pattern_options=_LINEAR), linear=True)
    except ValueError:
        pass
    try:
        return TextPattern(jsonschema_rs.validator_for(schema, pattern_options=_BACKTRACKING), linear=False)
    except ValueError as error:
        raise InvalidRequest(_cut(f"{pattern[:100]!r} is not a regular expression"), param="pattern") from error


def check_schema(schema: Mapping[str, Json], limits: ShapeLimits, *, param: str = "shape") -> None:
    """Raises InvalidRequest naming the place when ``schema`` is too large, malformed, or has no value that satisfies it."""
    fields = 0
    for path, part, depth in _walk(schema, param):
        if depth > limits.max_depth:
            _refuse(param, path, f"nested deeper than {limits.max_depth} levels")
        properties = part.get("properties")
        fields += len(properties) if isinstance(properties, Mapping) else 0
        if fields > limits.max_fields:
            _refuse(param, param, f"more than {limits.max_fields} fields")
        _check_words(part, path, param)
    compile_schema(schema, param=param)
    # From here on the schema is well formed, so that its bounds may be compared.
    for path, part, _ in _walk(schema, param):
        _check_possible(part, path, param)
    _check_finite(schema, param)


def resolve(schema: Json, root: Mapping[str, Json]) -> Json:
    """``schema`` with local references (``#/$defs/x``) followed, at most 16 in a row."""
    for _ in range(16):
        reference = schema.get("$ref") if isinstance(schema, Mapping) else None
        if not isinstance(reference, str):
            return schema
        target = _pointer(reference, root)
        if target is None:
            return schema
        schema = target
    return schema


def _walk(schema: Json, param: str) -> Iterator[tuple[str, Mapping[str, Json], int]]:
    """Every sub-schema with its place and its depth in levels of the answer; iterative, so that depth cannot hurt."""
    stack: list[tuple[str, Json, int]] = [(param, schema, 1)]
    while stack:
        path, part, depth = stack.pop()
        if isinstance(part, bool):
            continue
        if not isinstance(part, Mapping):
            _refuse(param, path, "a schema must be an object")
        yield path, part, depth
        for key in _ONE:
            if key in part:
                stack.append((f"{path}/{key}", part[key], depth + 1))
        if isinstance(part.get("additionalProperties"), Mapping):
            stack.append((f"{path}/additionalProperties", part["additionalProperties"], depth + 1))
        for key in _MAPS:
            children = part.get(key, {})
            if not isinstance(children, Mapping):
                _refuse(param, f"{path}/{key}", "must be an object")
            stack.extend((f"{path}/{key}/{name}", child, depth + 1) for name, child in children.items())
        for key in _LISTS:
            options = part.get(key, [])
            if not isinstance(options, list):
                _refuse(param, f"{path}/{key}", "must be an array")
            stack.extend((f"{path}/{key}/{index}", child, depth + 1) for index, child in enumerate(options))


def _refuse(param: str, path: str, words: str) -> Any:
    raise InvalidRequest(_cut(f"{path}: {words}"), param=param)


def _check_words(part: Mapping[str, Json], path: str, param: str) -> None:
    kinds = part.get("type", [])
    for kind in kinds if isinstance(kinds, list) else [kinds]:
        if not isinstance(kind, str) or kind not in TYPES:
            _refuse(param, path, f"unknown type {kind!r}")
    reference = part.get("$ref")
    if reference is not None and not (isinstance(reference, str) and reference.startswith("#")):
        _refuse(param, path, "only references inside the schema (#/…) are followed")


def _check_possible(part: Mapping[str, Json], path: str, param: str) -> None:
    for low, high in _PAIRS:
        below, above = part.get(low), part.get(high)
        if is_number(below) and is_number(above) and below > above:
            _refuse(param, path, f"{low} {below} is above {high} {above}")
    for name, most in (("minItems", MAX_ITEMS), ("maxItems", MAX_ITEMS), ("minLength", MAX_TEXT_CHARS)):
        if is_number(part.get(name)) and part[name] > most:
            _refuse(param, path, f"{name} is above {most}")
    _check_range(part, path, param)
    _check_values(part, path, param)
    required, properties = part.get("required", []), part.get("properties", {})
    closed = part.get("additionalProperties") is False and "patternProperties" not in part
    if closed and isinstance(required, list):
        for name in required:
            if name not in properties:
                _refuse(param, path, f"{name!r} is required and not allowed")


def _check_range(part: Mapping[str, Json], path: str, param: str) -> None:
    """An empty range of numbers, exclusive bounds included; integers need one whole number inside."""
    lows = [(part[key], key != "minimum") for key in ("minimum", "exclusiveMinimum") if is_number(part.get(key))]
    highs = [(part[key], key != "maximum") for key in ("maximum", "exclusiveMaximum") if is_number(part.get(key))]
    if not lows or not highs:
        return
    (low, low_open), (high, high_open) = max(lows), min(highs, key=lambda bound: (bound[0], not bound[1]))
    empty = low > high or (low == high and (low_open or high_open))
    if not empty and part.get("type") == "integer":
        first = math.floor(low) + 1 if low_open else math.ceil(low)
        last = math.ceil(high) - 1 if high_open else math.floor(high)
        empty = first > last
    if empty:
        _refuse(param, path, f"no number lies between {low} and {high}")


def _check_values(part: Mapping[str, Json], path: str, param: str) -> None:
    options = part.get("enum")
    if "const" in part:
        options = [part["const"]] if options is None or part["const"] in options else []
    if options is None:
        return
    if not isinstance(options, list) or not options:
        _refuse(param, path, "no value is allowed: enum is empty")
    if not any(_fits(option, part.get("type")) for option in options):
        _refuse(param, path, f"no value of enum is of type {part.get('type')!r}")


def _fits(value: Json, kinds: Json) -> bool:
    if kinds is None:
        return True
    names = kinds if isinstance(kinds, list) else [kinds]
    kind = type_name(value)
    whole = isinstance(value, float) and value.is_integer()
    return kind in names or (kind == "integer" and "number" in names) or (whole and "integer" in names)


def type_name(value: Json) -> str:
    """The JSON Schema type of a value; ``integer`` for int, ``number`` for float."""
    for kind, name in ((bool, "boolean"), (int, "integer"), (float, "number"), (str, "string"), (list, "array")):
        if isinstance(value, kind):
            return name
    return "null" if value is None else "object"


def is_number(value: Json) -> TypeGuard[int | float]:
    """Whether JSON calls it a number: true and false are none. It may be too large for a float, or not finite."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_finite(root: Mapping[str, Json], param: str) -> None:
    """A schema that must contain itself has no finite value: look for a cycle over what is obligatory."""
    open_: set[int] = set()
    done: set[int] = set()
    stack: list[tuple[Json, bool]] = [(root, False)]
    while stack:
        part, leaving = stack.pop()
        if not isinstance(part, Mapping):
            continue
        if leaving:
            open_.discard(id(part))
            done.add(id(part))
        elif id(part) in open_:
            _refuse(param, param, "the schema must contain itself, so no finite value satisfies it")
        elif id(part) not in done:
            open_.add(id(part))
            stack.append((part, True))
            stack.extend((child, False) for child in _obligatory(part, root))


def _obligatory(part: Mapping[str, Json], root: Mapping[str, Json]) -> Iterator[Json]:
    if isinstance(part.get("$ref"), str):
        target = _pointer(part["$ref"], root)
        if target is not None:
            yield target
    yield from part.get("allOf", ())
    if part.get("type") in (None, "object"):
        properties = part.get("properties", {})
        yield from (properties[name] for name in part.get("required", ()) if name in properties)
    if part.get("minItems", 0) >= 1 and part.get("type") in (None, "array") and "items" in part:
        yield part["items"]


def _pointer(reference: str, root: Mapping[str, Json]) -> Json:
    target: Json = root
    for step in [piece for piece in reference.removeprefix("#").split("/") if piece]:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(target, list):
            target = target[int(name)] if name.isdigit() and int(name) < len(target) else None
        else:
            target = target.get(name) if isinstance(target, Mapping) else None
    return target
