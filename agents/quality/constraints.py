"""Constraints as clients write them: read, written back, and told to models in words. Pure.

Called by the surfaces (``parse_constraints``), the strategies (``to_rules``, ``within``), counting.py and jobs (``of_parts``);
constraint_checks.py holds answers against them. Must not import a toolbox, a backend or runtime.

One entry of the list is an object with an optional ``field`` (a path such as ``users[].age``; left out: the whole answer) and one
or more kinds::

    {"field": "users[].age", "range": [18, 99]}     a number, or a text such as a date, from … to …; null leaves an end open
    {"field": "users[].sku", "pattern": "^[A-Z]+$"} a regular expression that is found in the text
    {"field": "users[].email", "unique": true}      no value twice (without [] in the path: no item of that list twice)
    {"field": "state", "enum": ["open", "paid"]}    one of these
    {"field": "users", "count": 10}                 that many items, or [low, high]
    {"field": "users[].email", "format": "email"}   a JSON Schema format
    {"field": "orders[]", "expression": "end > start"}   holds for the fields of each item; without ``field``: of the answer

and those on all values of a field together (``distribution``, ``correlation``, ``ratios``, ``monotonic``, ``sum``), which
stand in statistical_constraints.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import orjson

from agents.expressions import parse
from agents.quality.distributions import LAST
from agents.quality.fields import digest, parse_field
from agents.quality.statistical_constraints import (
    OF_THE_WHOLE,
    READERS,
    STATISTICAL,
    fields_of,
    read_pair,
    statistical_rule,
    write,
)
from agents.records import InvalidRequest, Json
from agents.schema_check import MAX_ITEMS, compile_pattern, is_number, resolve
from agents.verdicts import Constraint, ConstraintKind

MAX_CONSTRAINTS: Final = 100
MAX_PATTERN_CHARS: Final = 1000
MAX_OPTIONS: Final = 500
MAX_OPTIONS_BYTES: Final = 20_000
_TOLD_OPTIONS: Final = 50
FORMATS: Final[Mapping[str, str]] = {
    "date": "a date (YYYY-MM-DD)",
    "time": "a time of day with zone (ISO 8601)",
    "date-time": "a date and time with zone (ISO 8601)",
    "duration": "an ISO 8601 duration",
    "email": "a valid e-mail address",
    "idn-email": "a valid e-mail address",
    "hostname": "a host name",
    "idn-hostname": "a host name",
    "ipv4": "an IPv4 address",
    "ipv6": "an IPv6 address",
    "uri": "an absolute URI",
    "uri-reference": "a URI or relative reference",
    "iri": "an absolute IRI",
    "uuid": "a UUID",
    "regex": "a regular expression",
    "json-pointer": "a JSON pointer",
}


def parse_constraints(value: Json, *, param: str = "constraints") -> tuple[Constraint, ...]:
    """The constraints of a request's JSON list; an entry with several kinds becomes one for each, in the order of the kinds.

    Raises InvalidRequest whose param names the place (``constraints[3].range``).
    """
    if value is None:
        return ()
    if not isinstance(value, list | tuple):
        raise InvalidRequest("must be a list of constraints", param=param)
    found: list[Constraint] = []
    for index, entry in enumerate(value):
        if len(found) >= MAX_CONSTRAINTS:
            raise InvalidRequest(f"more than {MAX_CONSTRAINTS} constraints", param=param)
        found.extend(_entry(entry, f"{param}[{index}]"))
    if len(found) > MAX_CONSTRAINTS:
        raise InvalidRequest(f"more than {MAX_CONSTRAINTS} constraints", param=param)
    return tuple(found)


def to_json(constraints: Iterable[Constraint]) -> list[dict[str, Json]]:
    """What ``parse_constraints`` reads as the same constraints."""
    return [write(one) for one in constraints]


def to_rules(constraints: Iterable[Constraint]) -> tuple[str, ...]:
    """A sentence for the model about each constraint."""
    return tuple(rule_of(one) for one in constraints)


def of_parts(constraints: Iterable[Constraint]) -> tuple[Constraint, ...]:
    """Those that already hold for a part of the items when they hold for all: not the count of a list, and not what is said of
    the answer or of a sample as a whole. (Unique values are also unique in a part, but only the whole shows that they are.)"""
    return tuple(one for one in constraints if None in parse_field(one.field) and not _of_the_whole(one))


def _of_the_whole(constraint: Constraint) -> bool:
    return constraint.kind in OF_THE_WHOLE or (constraint.kind == "count" and _counts_whole(constraint))


def within(constraints: Iterable[Constraint], schema: Mapping[str, Json] | None) -> tuple[Constraint, ...]:
    """Those about fields that ``schema`` knows, for work that fills only some of the fields; all of them without a schema."""
    if schema is None:
        return tuple(constraints)
    return tuple(one for one in constraints if _known(one, schema))


def _known(constraint: Constraint, root: Mapping[str, Json]) -> bool:
    return all(_known_field(constraint, field, root) for field in fields_of(constraint))


def _known_field(constraint: Constraint, field: str, root: Mapping[str, Json]) -> bool:
    steps = parse_field(field)
    top = resolve(root, root)
    if steps[:1] == ("items",) and isinstance(top, Mapping) and top.get("type") == "array":
        steps = steps[1:]
    part: Json = root
    for step in steps:
        part = _below(part, step, root)
        if part is None:
            return False
    if constraint.kind != "expression":
        return True
    named = resolve(part, root)
    if not isinstance(named, Mapping) or named.get("type") != "object":
        return True
    return all(_below(named, name, root) is not None for name in parse(constraint.value).names)


def _below(schema: Json, step: str | int | None, root: Mapping[str, Json]) -> Json:
    """The schema of what a step leads to: None where there can be none, True where it may be anything."""
    part = resolve(schema, root)
    if not isinstance(part, Mapping):
        return True
    wanted = "object" if isinstance(step, str) else "array"
    if wanted not in part.get("type", wanted):
        return None
    if isinstance(step, str):
        properties = part.get("properties")
        return properties.get(step) if isinstance(properties, Mapping) else True
    return part.get("items", True)


def _counts_whole(constraint: Constraint) -> bool:
    steps = parse_field(constraint.field)
    return None not in (steps[:-1] if steps[-1:] == (None,) else steps)


# ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _entry(entry: Json, where: str) -> list[Constraint]:
    if not isinstance(entry, Mapping):
        raise InvalidRequest("a constraint must be an object", param=where)
    if "correlation" in entry and "fields" in entry:
        return _pair(entry, where)
    unknown = [name for name in entry if name != "field" and name not in _READERS]
    if unknown:
        known = ", ".join(_READERS)
        raise InvalidRequest(f"there is no kind {str(unknown[0])[:60]!r}; kinds: {known}", param=where)
    kinds = [kind for kind in _READERS if kind in entry]
    if not kinds:
        raise InvalidRequest(f"a constraint needs a kind: {', '.join(_READERS)}", param=where)
    if "correlation" in entry:
        raise InvalidRequest("a correlation needs fields: two of them", param=f"{where}.fields")
    field = entry.get("field", "")
    if not isinstance(field, str):
        raise InvalidRequest("must be a text such as users[].age", param=f"{where}.field")
    try:
        parse_field(field)
    except InvalidRequest as error:
        raise InvalidRequest(error.message, param=f"{where}.field") from error
    return [Constraint(kind=kind, field=field, value=_READERS[kind](entry[kind], f"{where}.{kind}")) for kind in kinds]


def _pair(entry: Mapping[str, Json], where: str) -> list[Constraint]:
    """A correlation is about two fields, so that nothing else can stand beside it."""
    if set(entry) != {"fields", "correlation"}:
        raise InvalidRequest("a correlation stands alone with its fields", param=where)
    one, other = read_pair(entry["fields"], f"{where}.fields")
    value = READERS["correlation"](entry["correlation"], f"{where}.correlation")
    return [Constraint(kind="correlation", field=one, value={**value, "with": other})]


def _range(value: Json, where: str) -> Json:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise InvalidRequest("must be [low, high], one of them may be null", param=where)
    low, high = value
    ends = [end for end in (low, high) if end is not None]
    texts = all(isinstance(end, str) for end in ends)
    if not ends or not (texts or all(is_number(end) for end in ends)):
        raise InvalidRequest("must have two numbers or two texts; one of them may be null", param=where)
    if any(len(end) > MAX_PATTERN_CHARS if texts else not -LAST <= end <= LAST for end in ends):
        raise InvalidRequest("must have short texts or finite numbers", param=where)
    if len(ends) == 2 and low > high:
        raise InvalidRequest(f"the low end {low} is above the high end {high}", param=where)
    return [low, high]


def _pattern(value: Json, where: str) -> Json:
    if not isinstance(value, str) or not value or len(value) > MAX_PATTERN_CHARS:
        raise InvalidRequest(f"must be a regular expression of at most {MAX_PATTERN_CHARS} characters", param=where)
    try:
        compile_pattern(value)
    except InvalidRequest as error:
        raise InvalidRequest(error.message, param=where) from error
    return value


def _unique(value: Json, where: str) -> Json:
    if value is not True:
        raise InvalidRequest("must be true; leave it out where values may repeat", param=where)
    return True


def _enum(value: Json, where: str) -> Json:
    if not isinstance(value, list | tuple) or not 1 <= len(value) <= MAX_OPTIONS:
        raise InvalidRequest(f"must be a list of 1 to {MAX_OPTIONS} values", param=where)
    try:
        text = orjson.dumps(value)
        digest(value)
    except (TypeError, ValueError) as error:
        raise InvalidRequest("must be JSON that is not deep, with numbers of at most 64 bits", param=where) from error
    if len(text) > MAX_OPTIONS_BYTES or any(isinstance(item, float) and not math.isfinite(item) for item in value):
        raise InvalidRequest(f"must be finite values of at most {MAX_OPTIONS_BYTES} bytes together", param=where)
    return list(value)


def _count(value: Json, where: str) -> Json:
    ends = list(value) if isinstance(value, list | tuple) else [value, value]
    whole = all(isinstance(end, int) and not isinstance(end, bool) and 0 <= end <= MAX_ITEMS for end in ends)
    if len(ends) != 2 or not whole:
        raise InvalidRequest(f"must be a whole number from 0 to {MAX_ITEMS}, or [low, high]", param=where)
    if ends[0] > ends[1]:
        raise InvalidRequest(f"the low end {ends[0]} is above the high end {ends[1]}", param=where)
    return ends if isinstance(value, list | tuple) else value


def _format(value: Json, where: str) -> Json:
    if not isinstance(value, str) or value not in FORMATS:
        raise InvalidRequest(f"there is no format {str(value)[:60]!r}; formats: {', '.join(FORMATS)}", param=where)
    return value


def _expression(value: Json, where: str) -> Json:
    return parse(value, param=where).text


_READERS: Final[Mapping[ConstraintKind, Callable[[Any, str], Json]]] = {
    "range": _range,
    "pattern": _pattern,
    "unique": _unique,
    "enum": _enum,
    "count": _count,
    "format": _format,
    "expression": _expression,
    **READERS,
}


# ── telling ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def rule_of(constraint: Constraint) -> str:
    """The constraint as one sentence."""
    if constraint.kind in STATISTICAL:
        return statistical_rule(constraint)
    field, value = constraint.field or "the answer", constraint.value
    match constraint.kind:
        case "range":
            return f"{field} must be {_between(value)}"
        case "pattern":
            return f"{field} must match the regular expression {value}"
        case "unique":
            what = field if "[]" in field else f"every item of {field}"
            return f"{what} must be unique: no value may occur twice"
        case "enum":
            told = ", ".join(orjson.dumps(option).decode() for option in value[:_TOLD_OPTIONS])
            return f"{field} must be one of: {told}{' …' if len(value) > _TOLD_OPTIONS else ''}"
        case "count":
            low, high = count_bounds(value)
            amount = f"exactly {low}" if low == high else f"{low} to {high}"
            return f"{field} must have {amount} item{'' if high == 1 else 's'}"
        case "format":
            return f"{field} must be {FORMATS[value]}"
        case _:
            where = f"for each of {field} this must hold" if constraint.field else "this must hold"
            return f"{where}: {value}"


def count_bounds(value: int | Sequence[int]) -> tuple[int, int]:
    """The least and the most of a count."""
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _between(value: Sequence[Json]) -> str:
    low, high = value
    if low is None:
        return f"at most {high}"
    return f"at least {low}" if high is None else f"between {low} and {high}"
