"""One text or number that a JSON Schema allows and that suits its field's name. Pure; called by shapes.py."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeGuard

from agents.llm.simulated.entity import Entity
from agents.llm.simulated.fields import is_moment, range_for, text_for
from agents.llm.simulated.patterns import sample
from agents.llm.simulated.rules import Rule, words_of
from agents.records import AgentError, Json
from agents.schema_check import compile_schema

MAX_CHARS = 100_000
HUGE = 10**15


def number(schema: Mapping[str, Any], name: str, entity: Entity, rule: Rule | None, *, whole: bool) -> Json:
    """A number within the schema's bounds, the rule's bounds where both allow it, and what is usual for the name."""
    low, high = range_for(name)
    if rule is not None and not rule.length:
        low, high = _narrowed(low, high, rule.low, rule.high, 1.0 if rule.strict and whole else 0.01 if rule.strict else 0.0)
    floor, ceiling = _bounds(schema, whole)
    low, high = _narrowed(low, high, floor, ceiling, 0.0)
    step = schema.get("multipleOf")
    if isinstance(step, int | float) and step > 0:
        first, last = math.ceil(low / step), math.floor(high / step)
        value = step * entity.rng.randint(first, max(first, last))
        return int(value) if whole or float(value).is_integer() else round(value, 10)
    if whole:
        first = math.ceil(low)
        return entity.rng.randint(first, max(first, math.floor(high)))
    value = round(entity.rng.uniform(low, high), 2)
    return value if low <= value <= high else (low + high) / 2


def _bounds(schema: Mapping[str, Any], whole: bool) -> tuple[float | None, float | None]:
    floors = [schema["minimum"]] if _is_number(schema.get("minimum")) else []
    ceilings = [schema["maximum"]] if _is_number(schema.get("maximum")) else []
    over, under = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if _is_number(over):
        floors.append(math.floor(over) + 1 if whole else over + _little(over, under, schema.get("maximum")))
    if _is_number(under):
        ceilings.append(math.ceil(under) - 1 if whole else under - _little(under, over, schema.get("minimum")))
    return max(floors, default=None), min(ceilings, default=None)


def _little(edge: float, *others: Any) -> float:
    """A step away from an exclusive edge that does not cross the other one."""
    gaps = [abs(other - edge) / 4 for other in others if _is_number(other)]
    return min([0.01, *gaps]) or math.ulp(edge)


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _narrowed(low: float, high: float, floor: float | None, ceiling: float | None, inset: float) -> tuple[float, float]:
    """``low … high`` cut to the bounds; a range that lies outside moves to them."""
    if floor is not None:
        low = max(low, floor + inset)
    if ceiling is not None:
        high = min(high, ceiling - inset)
    if low <= high:
        return low, high
    if floor is not None and ceiling is not None:
        return floor + inset, max(floor + inset, ceiling - inset)
    if floor is not None:
        return low, min(low + max(10.0, abs(low)), max(low, HUGE))
    return high - max(10.0, abs(high)), high


def text(schema: Mapping[str, Any], name: str, entity: Entity, rule: Rule | None) -> str:
    """A text of the schema's pattern, format and length."""
    low, high = _size(schema.get("minLength"), 0), _size(schema.get("maxLength"), MAX_CHARS)
    if rule is not None and rule.options:
        return entity.rng.choice(rule.options)
    if rule is not None and rule.length:
        low, high = max(low, int(rule.low or 0)), min(high, int(rule.high if rule.high is not None else MAX_CHARS))
    low = min(low, high, MAX_CHARS)
    if isinstance(pattern := schema.get("pattern"), str):
        found = sample(pattern, entity.rng, min_chars=low, max_chars=min(high, 2000))
        if found is not None:
            return found
    form = schema.get("format") or ("date-time" if is_moment(name) and high >= 20 else None)
    made = _formatted(str(form), name, entity) if form else None
    if made is None:
        examples = [example for example in schema.get("examples") or () if isinstance(example, str)]
        made = examples[0] if examples and entity.rng.random() < 0.5 else text_for(name, entity)
    elif low <= len(made) <= high:
        return made
    elif form in ("email", "idn-email") and high >= 6:
        return "a@b.co" if low <= 6 else f"{'a' * max(1, min(low, 60) - 12)}@example.com"
    if len(made) < low:
        more = f" {entity.faker.sentence()}"
        made = (made + more * ((low - len(made)) // len(more) + 1)).lstrip()
        made += "." * (low - len(made))
    cut = made[:high].strip()
    return cut if len(cut) >= low else made[:high]


def _size(value: Any, default: int) -> int:
    return int(value) if _is_number(value) and value >= 0 else default


def _formatted(form: str, name: str, entity: Entity) -> str | None:
    faker, rng = entity.faker, entity.rng
    if form in ("date-time", "date", "time"):
        moment = entity.moment(words_of(name))
        return moment.strftime({"date-time": "%Y-%m-%dT%H:%M:%SZ", "date": "%Y-%m-%d", "time": "%H:%M:%SZ"}[form])
    if form in ("email", "idn-email"):
        return text_for("email", entity)
    if form in ("uri", "url", "iri", "uri-reference", "iri-reference"):
        return text_for("url", entity)
    simple = {
        "uuid": faker.uuid4,
        "hostname": faker.domain_name,
        "idn-hostname": faker.domain_name,
        "ipv4": faker.ipv4_private,
        "ipv6": faker.ipv6,
        "duration": lambda: f"P{rng.randint(1, 20)}DT{rng.randint(1, 23)}H",
        "json-pointer": lambda: f"/{faker.word()}/{rng.randint(0, 9)}",
        "regex": lambda: f"^{faker.word()}$",
    }.get(form)
    return None if simple is None else str(simple())


def fits(schema: Mapping[str, Any], value: Json) -> bool:
    """Whether a value that is no object or array is valid against ``schema`` (its references resolved)."""
    kinds = schema.get("type")
    if kinds is not None and not any(_is_of(value, kind) for kind in (kinds if isinstance(kinds, list) else [kinds])):
        return False
    if not _HARD.isdisjoint(schema):
        return _compiled_fits(schema, value)
    if "const" in schema and schema["const"] != value:
        return False
    if "enum" in schema and value not in schema["enum"]:
        return False
    if isinstance(value, str):
        return _size(schema.get("minLength"), 0) <= len(value) <= _size(schema.get("maxLength"), HUGE)
    if _is_number(value):
        return _inside(schema, value)
    return True


_HARD = frozenset({"format", "pattern", "multipleOf", "anyOf", "oneOf", "allOf", "not", "if"})


def _inside(schema: Mapping[str, Any], value: Any) -> bool:
    low, high = schema.get("minimum"), schema.get("maximum")
    over, under = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    return (
        not (_is_number(low) and value < low)
        and not (_is_number(high) and value > high)
        and not (_is_number(over) and value <= over)
        and not (_is_number(under) and value >= under)
    )


def _compiled_fits(schema: Mapping[str, Any], value: Json) -> bool:
    try:
        return compile_schema(schema).is_valid(value)
    except AgentError:
        return False


def _is_of(value: Json, kind: Any) -> bool:
    if kind == "integer":
        return isinstance(value, int | float) and not isinstance(value, bool) and float(value).is_integer()
    if kind == "number":
        return _is_number(value)
    types: Any = {"string": str, "boolean": bool, "object": dict, "array": list, "null": type(None)}.get(str(kind))
    return types is not None and isinstance(value, types)


@lru_cache(maxsize=512)
def _option_pattern(option: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(option.replace('_', ' '))}(?!\w)", re.I)


def mentions(option: str, prose: str) -> int:
    """How often a short text names ``option`` as a word."""
    return len(_option_pattern(option).findall(prose.replace("_", " ")))
