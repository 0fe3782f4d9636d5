"""Plausible data for any JSON Schema, by the names of its fields. Pure for a seed; called by answers.py.

What the conversation already says about a field is kept where it is valid; rules in plain words bound what is made up; what is to
be judged is judged. Sizes, depth and the number of values are bounded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from agents.llm.simulated import counterparts, scalars
from agents.llm.simulated.critic import Finding, fill_judgement, is_judgement
from agents.llm.simulated.entity import Entity, seeded_faker
from agents.llm.simulated.facts import as_type, fact
from agents.llm.simulated.fields import kind_of, truth_for
from agents.llm.simulated.lexicon import choose
from agents.llm.simulated.rules import Rule, rules_in, words_of
from agents.llm.simulated.sanity import problem_with
from agents.llm.simulated.schemas import is_complex, is_person, joined, names_in, without
from agents.llm.simulated.vocabulary import NUMBER_WORDS
from agents.records import AgentError, Json
from agents.schema_check import compile_schema, resolve

MAX_ITEMS = 2000
MAX_DEPTH = 40
MAX_VALUES = 50_000
DEFAULT_ITEMS = 3
UNIQUE_TRIES = 40
TRIES = 5
_NUMBER = r"(\d{1,4}|" + "|".join(NUMBER_WORDS) + ")"


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What the conversation gives: ``data`` latest first, ``prose`` the words around it, ``facts`` text to extract from,
    ``findings`` what is wrong with the data (None: there is nothing to judge)."""

    data: Sequence[Json] = ()
    prose: str = ""
    everything: str = ""
    topic: str = ""
    facts: str | None = None
    findings: Sequence[Finding] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spot:
    """Where a value is made: its field's name, its path, what is known, how often a reference was followed on the way."""

    name: str
    path: str
    entity: Entity
    known: tuple[Json, ...] = ()
    many: bool = False
    depth: int = 0
    refs: tuple[str, ...] = field(default=())

    @property
    def recursing(self) -> bool:
        return self.depth > 12 or (bool(self.refs) and self.refs.count(self.refs[-1]) > 1)


def make(schema: Json, context: Context, *, seed: int) -> Json:
    """A value that is valid against ``schema`` wherever one is found within a few tries."""
    root = schema if isinstance(schema, Mapping) else {}
    try:
        validator = compile_schema(root) if is_complex(root, 0) else None
    except AgentError:
        validator = None
    value = _Maker(root, context, seed).value()
    for attempt in range(1, TRIES if validator is not None else 0):
        if validator is None or validator.is_valid(value):
            break
        value = _Maker(root, context, seed + attempt).value()
    return value


class _Maker:
    def __init__(self, root: Mapping[str, Any], context: Context, seed: int) -> None:
        self._root, self._context = root, context
        self._rng = Random(seed)
        self._faker = seeded_faker(seed)
        self._left = MAX_VALUES
        names = sorted(set(names_in(root, 0)))
        text = context.everything
        self._rules: dict[str, list[Rule]] = {}
        for rule in rules_in(text, names) if names and text else ():
            self._rules.setdefault(rule.field, []).append(rule)
        self._disputed = counterparts.disputed(text, context.data) if context.data else frozenset()
        self._hint = kind_of(tuple(words_of(context.prose[:2000])))

    def value(self) -> Json:
        known = counterparts.candidates(self._context.data, self._root, self._root)
        return self._value(self._root, _Spot(name="", path="", entity=self._entity(""), known=known))

    def _entity(self, name: str, outer: Entity | None = None) -> Entity:
        own = kind_of(words_of(name))
        if outer is not None and own in ("", outer.kind):
            return outer
        return Entity(self._faker, self._rng, own or self._hint, self._context.topic)

    def _value(self, schema: Json, spot: _Spot) -> Json:
        self._left -= 1
        if not isinstance(schema, Mapping):
            return self._free(spot)
        if isinstance(reference := schema.get("$ref"), str):
            resolved = resolve(schema, self._root)
            beside = {key: value for key, value in schema.items() if key != "$ref"}
            if not isinstance(resolved, Mapping) or spot.depth > MAX_DEPTH:
                return None
            return self._value({**resolved, **beside} if "$ref" not in resolved else {}, _deeper(spot, reference))
        if "const" in schema:
            return schema["const"]
        kept = next((k for k in spot.known if not isinstance(k, dict | list) and self._keeps(schema, k, spot)), None)
        if kept is not None:
            return kept
        if isinstance(options := schema.get("enum"), list) and options:
            return self._option(schema, options, spot)
        for word in ("anyOf", "oneOf"):
            if isinstance(choices := schema.get(word), list) and choices:
                return self._value({**without(schema, word), **self._branch(choices, spot)}, _deeper(spot))
        if isinstance(parts := schema.get("allOf"), list) and parts:
            return self._value(joined(schema, parts, self._root), _deeper(spot))
        return self._of_kind(self._kind(schema, spot), schema, spot)

    def _kind(self, schema: Mapping[str, Any], spot: _Spot) -> str:
        kind = schema.get("type")
        if isinstance(kind, list) and kind:
            if spot.recursing and "null" in kind:
                return "null"
            real = [one for one in kind if one != "null"] or ["null"]
            return str(real[0] if len(real) < 2 else self._rng.choice(real))
        if isinstance(kind, str):
            return kind
        if "properties" in schema or "additionalProperties" in schema or "required" in schema:
            return "object"
        if "items" in schema or "prefixItems" in schema or "minItems" in schema:
            return "array"
        if not {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}.isdisjoint(schema):
            return "number"
        return "string" if not {"pattern", "format", "minLength", "maxLength"}.isdisjoint(schema) else "any"

    def _of_kind(self, kind: str, schema: Mapping[str, Any], spot: _Spot) -> Json:
        if kind == "object":
            return self._object(schema, spot)
        if kind == "array":
            return self._array(schema, spot)
        if kind == "null":
            return None
        if kind == "any":
            return self._free(spot)
        found = self._fact(schema, kind, spot)
        if found is not None:
            return found
        rule = next((rule for rule in self._rules.get(spot.name, ()) if rule.options or not (rule.below or rule.above)), None)
        if kind == "boolean":
            return truth_for(spot.name, self._rng)
        if kind in ("integer", "number"):
            return scalars.number(schema, spot.name, spot.entity, rule, whole=kind == "integer")
        return self._text(schema, spot, rule)

    def _text(self, schema: Mapping[str, Any], spot: _Spot, rule: Rule | None) -> str:
        made = scalars.text(schema, spot.name, spot.entity, rule)
        return made if rule is None or scalars.fits(schema, made) else scalars.text(schema, spot.name, spot.entity, None)

    def _free(self, spot: _Spot) -> Json:
        """Anything is allowed: what is known, else a text for the name."""
        return spot.known[0] if spot.known else scalars.text({}, spot.name, spot.entity, None)

    def _fact(self, schema: Mapping[str, Any], kind: str, spot: _Spot) -> Json:
        if self._context.facts is None or spot.many or not spot.name:
            return None
        found = fact(self._context.facts, spot.name)
        value = as_type(found, kind) if found else None
        return value if value is not None and scalars.fits(schema, value) else None

    def _keeps(self, schema: Mapping[str, Any], known: Json, spot: _Spot) -> bool:
        """Whether what the conversation says stands: valid, sensible, and nobody complained about it."""
        if known is None or spot.path in self._disputed or spot.name in self._disputed:
            return False
        return scalars.fits(schema, known) and problem_with(spot.name, known) is None

    def _option(self, schema: Mapping[str, Any], options: list[Json], spot: _Spot) -> Json:
        fitting = [option for option in options if scalars.fits(without(schema, "enum"), option)] or options
        texts = [option for option in fitting if isinstance(option, str)]
        if not spot.many and len(texts) == len(fitting) and self._context.prose:
            chosen = choose(texts, self._context.prose)
            if chosen is not None:
                return chosen
        real = [option for option in fitting if option is not None] or fitting
        return self._rng.choice(real)

    def _branch(self, choices: list[Json], spot: _Spot) -> Mapping[str, Any]:
        resolved = [choice for choice in (resolve(one, self._root) for one in choices) if isinstance(choice, Mapping)]
        usable = [c for c in resolved if c.get("type") != "null"] or resolved or [{}]
        if spot.recursing:
            simple = [c for c in resolved if c.get("type") == "null" or not ({"properties", "items"} & set(c))]
            return simple[0] if simple else usable[0]
        for known in spot.known:
            for choice in usable:
                wanted = choice.get("properties")
                if isinstance(wanted, Mapping) and isinstance(known, dict) and set(known) & set(wanted):
                    return choice
                if isinstance(known, list) and choice.get("type") == "array":
                    return choice
        return usable[0] if len(usable) == 1 else self._rng.choice(usable)

    def _object(self, schema: Mapping[str, Any], spot: _Spot) -> Json:
        entity = self._entity(spot.name, None if spot.depth == 0 else spot.entity)
        if not entity.kind and spot.name and not is_person(schema):
            entity = entity.as_kind("thing")
        known = tuple(value for value in spot.known if isinstance(value, dict))
        for key, value in (pair for one in reversed(known) for pair in list(one.items())[:200]):
            if isinstance(value, str):
                entity.know(words_of(str(key)), value)
        properties = schema.get("properties")
        properties = properties if isinstance(properties, Mapping) else {}
        required = [key for key in schema.get("required") or () if isinstance(key, str)]
        made: dict[str, Json] = {}
        for key, part in properties.items():
            if (spot.recursing or self._left < 0) and key not in required:
                continue
            made[key] = self._value(part, self._inner(spot, key, entity, counterparts.child(known, key)))
        for key in required:
            if key not in made:
                made[key] = self._value({}, self._inner(spot, key, entity, counterparts.child(known, key)))
        self._add_extra(schema, spot, entity, known, made)
        self._compare(made, properties)
        if self._context.findings is not None and is_judgement(properties):
            fill_judgement(made, properties, self._context.findings, self._root)
        return made

    def _inner(self, spot: _Spot, name: str, entity: Entity, known: tuple[Json, ...], *, many: bool = False) -> _Spot:
        path = f"{spot.path}.{name}" if spot.path else name
        return _Spot(
            name=name, path=path, entity=entity, known=known, many=many or spot.many, depth=spot.depth + 1, refs=spot.refs
        )

    def _add_extra(
        self, schema: Mapping[str, Any], spot: _Spot, entity: Entity, known: Sequence[dict[str, Json]], made: dict[str, Json]
    ) -> None:
        extra = schema.get("additionalProperties", True)
        least = schema.get("minProperties", 0)
        if extra is False or spot.recursing:
            return
        if not schema.get("properties"):
            for key, value in list((known[0] if known else {}).items())[:200]:
                made.setdefault(key, value if extra is True else self._value(extra, self._inner(spot, key, entity, (value,))))
            least = max(least, 0 if made else 2)
        while len(made) < min(least, 200):
            key = f"{self._faker.word()}{len(made) + 1}"
            made[key] = self._value(
                extra if isinstance(extra, Mapping) else {"type": "string"}, self._inner(spot, key, entity, ())
            )

    def _compare(self, made: dict[str, Json], properties: Mapping[str, Any]) -> None:
        """Values that a rule sets against each other are exchanged where they stand the wrong way round."""
        for key in list(made):
            for rule in self._rules.get(key, ()):
                other = rule.below or rule.above
                a: Any = made.get(key)
                b: Any = made.get(other) if other else None
                if other is None or a is None or type(a) is not type(b) or isinstance(a, dict | list | bool):
                    continue
                wrong = a > b if rule.below else a < b
                fits = scalars.fits(properties.get(key, {}), b) and scalars.fits(properties.get(other, {}), a)
                if wrong and fits:
                    made[key], made[other] = b, a

    def _array(self, schema: Mapping[str, Any], spot: _Spot) -> Json:
        known = tuple(value for value in spot.known if isinstance(value, list))
        prefix = schema.get("prefixItems") or ()
        part = schema.get("items", {})
        count = self._count(schema, spot, known, len(prefix))
        single = spot.name.removesuffix("s")
        made: list[Json] = []
        seen: set[str] = set()
        for index in range(count):
            if self._left < 0 and index >= schema.get("minItems", 0):
                break
            inner = prefix[index] if index < len(prefix) else part
            below = self._inner(spot, single, self._fresh(single, spot), counterparts.item(known, index), many=count > 1)
            below = _Spot(**{**_fields(below), "path": f"{spot.path}.{index}" if spot.path else str(index)})
            value = self._value(inner, below)
            for _ in range(UNIQUE_TRIES if schema.get("uniqueItems") or not isinstance(value, dict | list | bool) else 0):
                if repr(value) not in seen or known:
                    break
                value = self._value(inner, _Spot(**{**_fields(below), "known": (), "entity": self._fresh(single, spot)}))
            if schema.get("uniqueItems") and repr(value) in seen and index >= schema.get("minItems", 0):
                continue
            seen.add(repr(value))
            made.append(value)
        return made

    def _fresh(self, name: str, spot: _Spot) -> Entity:
        return Entity(self._faker, self._rng, kind_of(words_of(name)) or spot.entity.kind, self._context.topic)

    def _count(self, schema: Mapping[str, Any], spot: _Spot, known: Sequence[list[Json]], prefix: int) -> int:
        low = schema.get("minItems") or 0
        high = schema.get("maxItems", MAX_ITEMS)
        if spot.recursing or schema.get("items") is False:
            return min(max(low, prefix if schema.get("items") is False else 0), MAX_ITEMS)
        asked = _asked_count(self._context.prose, spot.name) if spot.depth <= 1 else None
        usual = max((len(value) for value in known), default=0) or asked or max(DEFAULT_ITEMS, prefix)
        return int(min(max(low, min(high, usual)), MAX_ITEMS))


def _asked_count(prose: str, name: str) -> int | None:
    """How many the words ask for: "five short recipes" for a field ``recipes``."""
    words = words_of(name)
    stem = re.escape(words[-1].removesuffix("s").removesuffix("ie")) if words else "item"
    match = re.search(rf"\b{_NUMBER}\s+(?:[\w-]+\s+){{0,3}}(?:{stem}\w*|items|entries|records|examples|results)\b", prose, re.I)
    if match is None:
        return None
    word = match[1].lower()
    return NUMBER_WORDS.get(word) or (int(word) if word.isdigit() else None)


def _deeper(spot: _Spot, reference: str | None = None) -> _Spot:
    refs = (*spot.refs, reference)[-64:] if reference else spot.refs
    return _Spot(**{**_fields(spot), "depth": spot.depth + 1 if reference else spot.depth, "refs": refs})


def _fields(spot: _Spot) -> dict[str, Any]:
    return {name: getattr(spot, name) for name in ("name", "path", "entity", "known", "many", "depth", "refs")}
