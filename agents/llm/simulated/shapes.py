"""Plausible data for any JSON Schema, by the names of its fields. Pure for a seed; called by answers.py.

What the conversation already says about a field is kept; rules in plain words bound what is made up. Sizes are bounded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import timedelta
from random import Random
from typing import Any

from agents.llm.simulated.entity import Entity, seeded_faker
from agents.llm.simulated.fields import is_moment, kind_of, range_for, text_for, truth_for
from agents.llm.simulated.patterns import sample
from agents.llm.simulated.rules import Rule, rules_in, words_of
from agents.records import Json
from agents.schema_check import compile_schema, resolve

MAX_ITEMS = 2000
MAX_TEXT_CHARS = 100_000
MAX_DEPTH = 24
MAX_VALUES = 50_000
DEFAULT_ITEMS = 3
UNIQUE_TRIES = 40


class Maker:
    """Makes one answer. ``known`` is data of the conversation, the latest first; ``text`` the words around it."""

    def __init__(self, root: Json, *, seed: int, known: Sequence[Json] = (), text: str = "", topic: str = "") -> None:
        self._root = root if isinstance(root, Mapping) else {}
        self._rng = Random(seed)
        self._faker = seeded_faker(seed)
        self._known = [part for value in known for part in _parts(value, 0)]
        self._topic = topic
        self._left = MAX_VALUES
        names = set(_names(self._root, 0))
        self._rules: dict[str, Rule] = {}
        for rule in rules_in(text, names) if names else ():
            self._rules.setdefault(rule.field, rule)

    def make(self) -> Json:
        """A value that is valid where one can be found."""
        start = next((value for value in self._known if _alike(value, self._root)), None)
        return self._value(self._root, "", self._entity(""), start, 0)

    def _entity(self, name: str) -> Entity:
        kind = kind_of(words_of(name)) or ("" if name else kind_of(tuple(self._topic.lower().split())))
        return Entity(self._faker, self._rng, kind, self._topic)

    def _value(self, schema: Json, name: str, entity: Entity, known: Json, depth: int) -> Json:
        self._left -= 1
        if schema is True or not isinstance(schema, Mapping) or depth > MAX_DEPTH or self._left < 0:
            return known if known is not None else self._text({}, name, entity)
        schema = resolve(schema, self._root)
        if known is not None and not isinstance(known, dict | list) and _holds(schema, known, self._root):
            return known
        if "const" in schema:
            return schema["const"]
        if options := schema.get("enum"):
            return self._rng.choice(options)
        for word in ("anyOf", "oneOf"):
            if choices := schema.get(word):
                real = [choice for choice in choices if choice != {"type": "null"}] or choices
                return self._value({**_without(schema, word), **real[0]}, name, entity, known, depth + 1)
        if parts := schema.get("allOf"):
            return self._value(_joined(schema, parts, self._root), name, entity, known, depth + 1)
        kind = schema.get("type")
        if isinstance(kind, list):
            kind = next((one for one in kind if one != "null"), "null")
        if kind is None:
            kind = "object" if "properties" in schema else "array" if "items" in schema else "string"
        return self._of_kind(kind, schema, name, entity, known, depth)

    def _of_kind(self, kind: str, schema: Mapping[str, Any], name: str, entity: Entity, known: Json, depth: int) -> Json:
        if kind == "object":
            return self._object(schema, name, known, depth)
        if kind == "array":
            return self._array(schema, name, entity, known, depth)
        if kind == "boolean":
            return truth_for(name, self._rng)
        if kind in ("integer", "number"):
            return self._number(schema, name, whole=kind == "integer")
        return None if kind == "null" else self._text(schema, name, entity)

    def _object(self, schema: Mapping[str, Any], name: str, known: Json, depth: int) -> Json:
        entity = self._entity(name)
        given = known if isinstance(known, dict) else {}
        for key, value in given.items():
            if isinstance(value, str):
                entity.know(" ".join(words_of(key)), value)
        made: dict[str, Json] = {}
        for key, part in schema.get("properties", {}).items():
            made[key] = self._value(part, key, entity, given.get(key), depth + 1)
        for key in schema.get("required", ()):
            if key not in made:
                made[key] = given.get(key, self._value({}, key, entity, None, depth + 1))
        extra = schema.get("additionalProperties", True)
        if extra is not False and not schema.get("properties"):
            made.update(given)
            while len(made) < min(schema.get("minProperties", 0 if made else 3), 50):
                key = f"{self._faker.word()}_{len(made) + 1}"
                made[key] = self._value(extra if isinstance(extra, Mapping) else {}, key, entity, None, depth + 1)
        return made

    def _array(self, schema: Mapping[str, Any], name: str, entity: Entity, known: Json, depth: int) -> Json:
        given = known if isinstance(known, list) else []
        low = schema.get("minItems", 0)
        high = schema.get("maxItems", max(low, MAX_ITEMS))
        count = min(max(low, min(high, len(given) or DEFAULT_ITEMS)), MAX_ITEMS)
        prefix, item = schema.get("prefixItems", ()), schema.get("items", {})
        single = name.removesuffix("s")
        made: list[Json] = []
        for index in range(count):
            part = prefix[index] if index < len(prefix) else item
            start = given[index] if index < len(given) else None
            for _ in range(UNIQUE_TRIES if schema.get("uniqueItems") else 1):
                value = self._value(part, single, Entity(self._faker, self._rng, entity.kind, self._topic), start, depth + 1)
                if value not in made:
                    break
                start = None
            made.append(value)
        return made

    def _number(self, schema: Mapping[str, Any], name: str, *, whole: bool) -> Json:
        low, high = range_for(name)
        rule = self._rules.get(name)
        floor = _first(schema.get("minimum"), _over(schema.get("exclusiveMinimum"), whole), rule.low if rule else None)
        ceiling = _first(schema.get("maximum"), _under(schema.get("exclusiveMaximum"), whole), rule.high if rule else None)
        if floor is not None:
            low, high = floor, high if high > floor else floor + max(10.0, abs(floor))
        if ceiling is not None:
            high, low = ceiling, low if low < ceiling or floor is not None else ceiling - max(10.0, abs(ceiling))
        step = schema.get("multipleOf")
        if step:
            first, last = math.ceil(low / step), math.floor(high / step)
            value = step * self._rng.randint(first, max(first, last))
            return int(value) if whole else round(value, 10)
        if whole:
            return self._rng.randint(math.ceil(low), max(math.ceil(low), math.floor(high)))
        return min(high, max(low, round(self._rng.uniform(low, high), 2)))

    def _text(self, schema: Mapping[str, Any], name: str, entity: Entity) -> str:
        low, high = schema.get("minLength", 0), schema.get("maxLength", 100_000)
        if pattern := schema.get("pattern"):
            found = sample(str(pattern), self._rng, min_chars=low, max_chars=min(high, 2000))
            if found is not None:
                return found
        form = schema.get("format") or ("date-time" if is_moment(name) else None)
        text = self._formatted(str(form), name, entity) if form else None
        if text is None:
            examples = [example for example in schema.get("examples", ()) if isinstance(example, str)]
            text = examples[0] if examples and self._rng.random() < 0.5 else text_for(name, entity)
        if len(text) < low:
            more = f" {self._faker.sentence()}"
            text += more * ((min(low, MAX_TEXT_CHARS) - len(text)) // len(more) + 1)
        return text[:high]

    def _formatted(self, form: str, name: str, entity: Entity) -> str | None:
        moment = entity.moment(words_of(name)) + timedelta(seconds=self._rng.randint(0, 86_399))
        made = {
            "date-time": lambda: moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "date": lambda: moment.strftime("%Y-%m-%d"),
            "time": lambda: moment.strftime("%H:%M:%SZ"),
            "email": lambda: text_for("email", entity),
            "uuid": self._faker.uuid4,
            "uri": lambda: f"https://{self._faker.word()}.example.com/{self._faker.word()}",
            "hostname": lambda: f"{self._faker.word()}.example.com",
            "ipv4": self._faker.ipv4_private,
            "ipv6": self._faker.ipv6,
        }.get(form)
        return None if made is None else str(made())


def _names(schema: Json, depth: int) -> list[str]:
    if not isinstance(schema, Mapping) or depth > MAX_DEPTH:
        return []
    found = [str(key) for key in schema.get("properties", {})]
    parts = [*schema.get("properties", {}).values(), schema.get("items"), *schema.get("$defs", {}).values()]
    return found + [name for part in parts for name in _names(part, depth + 1)]


def _parts(value: Json, depth: int) -> list[Json]:
    """``value`` and the objects in it: what is to be worked over often comes inside an envelope."""
    inner = value.values() if isinstance(value, dict) and depth < 3 else ()
    return [value, *(part for one in inner if isinstance(one, dict | list) for part in _parts(one, depth + 1))]


def _alike(value: Json, schema: Mapping[str, Any]) -> bool:
    """Whether the data could be an earlier form of the answer: it shares a field with the schema."""
    if isinstance(value, list):
        return schema.get("type") == "array"
    wanted = set(schema.get("properties", {}))
    return isinstance(value, dict) and (bool(wanted & set(value)) or not wanted)


def _holds(schema: Mapping[str, Any], value: Json, root: Mapping[str, Any]) -> bool:
    shared = {key: root[key] for key in ("$defs", "definitions") if key in root}
    return compile_schema({**schema, **shared}).is_valid(value)


def _joined(schema: Mapping[str, Any], parts: Sequence[Json], root: Mapping[str, Any]) -> dict[str, Any]:
    whole = _without(schema, "allOf")
    for part in parts:
        inner = resolve(part, root)
        if isinstance(inner, Mapping):
            properties = {**whole.get("properties", {}), **inner.get("properties", {})}
            required = [*whole.get("required", ()), *inner.get("required", ())]
            whole = {**whole, **inner}
            if properties:
                whole["properties"] = properties
            if required:
                whole["required"] = list(dict.fromkeys(required))
    return whole


def _without(schema: Mapping[str, Any], word: str) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key != word}


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _over(value: Any, whole: bool) -> Any:
    return None if value is None else math.floor(value) + 1 if whole else math.nextafter(value, math.inf) + 0.01


def _under(value: Any, whole: bool) -> Any:
    return None if value is None else math.ceil(value) - 1 if whole else math.nextafter(value, -math.inf) - 0.01
