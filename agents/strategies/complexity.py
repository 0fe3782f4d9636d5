"""How hard a request is, 0 to 10, from its form and its words; pure, and cheap enough for every request. Called by routed.py.

The score is the sum of these parts, at most 10. ``up(x, half, most)`` is most · x / (x + half): it rises at once, reaches half of
its most at x = half, and never more than its most, so that no single factor decides alone.

===========  ==========================  =====================================================================================
fields       up(fields, 12, 3)           all fields of the schema, those of an array's items once
depth        0.5 a level, at most 2      levels of objects and arrays below the first
arrays       up(arrays, 1, 1.5)          arrays in the schema
rules        up(rules, 3, 2.5)           rules, constraints, and the schema's own patterns, enums and bounds (a fifth each)
count        0.3 · log10(items), max 1   items asked for
length       up(words, 250, 2)           words of what the users wrote
numbers      up(numbers, 10, 1)          numbers in it
reasoning    up(words, 2, 4)             different words that ask for reasoning ("prove", "compare", "trade-off" …)
code         1.5                         code, or asked for it
parts        up(parts - 1, 2, 2)         questions and numbered or dashed points, when there are several
languages    0.75 each, at most 1.5      translation asked for; a second script beside Latin
===========  ==========================  =====================================================================================
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from agents.records import Json, Work
from agents.shaping import array_path, array_schema

MAX_SCORE: Final = 10.0
MAX_CHARS: Final = 100_000
MAX_PARTS: Final = 5_000
MAX_DEPTH: Final = 64
_BOUNDS: Final = frozenset(
    {"pattern", "enum", "format", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "uniqueItems"}
    | {"minLength", "maxLength", "if", "not", "dependentRequired"}
)
_REASONING: Final = re.compile(
    r"why|prove|proof|derive|deduce|infer|compare|contrast|optimi[sz]e|optimal|analy[sz]e|analysis|evaluate|justify"
    r"|explain|argue|critique|debug|diagnose|design|architect(?:ure)?|plan|strategy|constraint|consistent|contradict\w*|assum\w+"
    r"|reason\w*|calculate|estimate|probability|statistic\w*|correlat\w+|distribution|simulat\w+|schedule"
    r"|exactly|unless|depending|therefore|implications?"
    r"|warum|beweise|vergleiche|begründe|erkläre|berechne|pourquoi|compare[rz]|expliquez?|demuestra|explica"
)
_PHRASES: Final = re.compile(r"\b(?:trade-?offs?|step[- ]by[- ]step|at least|at most|edge cases?|por qu[eé])\b")
_CODE_WORDS: Final = frozenset(
    {"python", "javascript", "typescript", "rust", "golang", "java", "sql", "regex", "algorithm", "refactor"}
)
_CODE: Final = re.compile(
    r"```|\bdef \w+\(|\bclass \w+[:({]|\bselect\b.{1,200}?\bfrom\b|\bfunction\s*\w*\(|=>|;\s*\n"
    r"|\b(?:unit tests?|source code|stack trace)\b",
    re.S,
)
_CODE_HINTS: Final = ("```", "def ", "class ", "select", "function", "=>", ";", "unit test", "source code", "stack trace")
"""One of these stands in whatever _CODE finds; to look for them costs a tenth."""
_TRANSLATION: Final = re.compile(r"translat\w+|übersetz\w+|tradu(?:ce|is|ire|cir|zca)\w*|bilingual|multilingual")
_WORD: Final = re.compile(r"\w+")
_OTHER_SCRIPTS: Final = re.compile(
    "[\u0370-\u03ff]{2}|[\u0400-\u04ff]{2}|[\u0590-\u05ff]{2}|[\u0600-\u06ff]{2}|[\u0900-\u097f]{2}|[\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af]"
)
_POINT: Final = re.compile(r"^\s{0,8}(?:[-*•]|\(?(?:\d{1,2}|[a-z])[.)])\s+\S", re.M)
_NUMBER: Final = re.compile(r"(?<![\w.])[-+]?\d[\d.,]*%?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Complexity:
    """``score`` 0 to 10, and what each factor gave to it (those that gave nothing are left out)."""

    score: float
    parts: Mapping[str, float]

    @property
    def reason(self) -> str:
        """The factors in words, the largest first."""
        ordered = sorted(self.parts.items(), key=lambda part: -part[1])
        return ", ".join(f"{name} {value:.1f}" for name, value in ordered) or "nothing that makes it hard"


def complexity(work: Work, *, chars: int = MAX_CHARS) -> Complexity:
    """How hard ``work`` is; see the module's table. Of the users' words the last ``chars`` characters are read."""
    parts = {**_of_form(work), **_of_words(words_of_users(work)[-chars:])}
    found = {name: round(value, 3) for name, value in parts.items() if value > 0.0005}
    return Complexity(score=round(min(MAX_SCORE, sum(found.values())), 2), parts=found)


def field_count(schema: Mapping[str, Json]) -> int:
    """All fields of a schema, those of an array's items once; bounded."""
    shape = _Form()
    shape.walk(schema, schema)
    return shape.fields


def up(x: float, half: float, most: float) -> float:
    """Rises from 0 to ``most``; half of it at ``x = half``."""
    return most * x / (x + half) if x > 0 else 0.0


def _of_form(work: Work) -> dict[str, float]:
    shape = _Form()
    if work.schema is not None:
        shape.walk(work.schema, work.schema)
    rules = len(work.rules) + len(work.constraints) + shape.bounds / 5
    items = work.count or _fixed_length(work.schema) or 1
    return {
        "fields": up(shape.fields, 12, 3),
        "depth": min(2.0, 0.5 * max(0, shape.depth - 1)),
        "arrays": up(shape.arrays, 1, 1.5),
        "rules": up(rules, 3, 2.5),
        "count": min(1.0, 0.3 * math.log10(items)) if items > 1 else 0.0,
    }


class _Form:
    """Counts over a schema; bounded in parts and depth, so that a hostile or recursive one ends."""

    def __init__(self) -> None:
        self.fields = self.arrays = self.depth = self.bounds = self._seen = 0

    def walk(self, schema: Json, root: Mapping[str, Any], depth: int = 0, refs: tuple[str, ...] = ()) -> None:
        self._seen += 1
        if not isinstance(schema, Mapping) or depth > MAX_DEPTH or self._seen > MAX_PARTS:
            return
        reference = schema.get("$ref")
        if isinstance(reference, str):
            if reference not in refs:
                self.walk(_found(reference, root), root, depth, (*refs, reference))
            return
        self.bounds += len(_BOUNDS & schema.keys())
        properties, items = schema.get("properties"), schema.get("items")
        if isinstance(properties, Mapping):
            self.fields += len(properties)
            self.depth = max(self.depth, depth + 1)
            for part in properties.values():
                self.walk(part, root, depth + 1, refs)
        if isinstance(items, Mapping) or schema.get("type") == "array":
            self.arrays += 1
            self.depth = max(self.depth, depth + 1)
            self.walk(items, root, depth + 1, refs)
        for word in ("anyOf", "oneOf", "allOf"):
            options = schema.get(word)
            for option in options[:50] if isinstance(options, list) else ():
                self.walk(option, root, depth, refs)


def _found(reference: str, root: Mapping[str, Any]) -> Json:
    """What a reference into the schema itself points at; None for any other."""
    found: Json = root if reference.startswith("#") else None
    for step in reference.removeprefix("#").strip("/").split("/"):
        if step:
            found = found.get(step) if isinstance(found, Mapping) else None
    return found


def _fixed_length(schema: Mapping[str, Json] | None) -> int:
    path = array_path(schema) if schema is not None else None
    if schema is None or path is None:
        return 0
    least = array_schema(schema, path).get("minItems", 0)
    return least if isinstance(least, int) else 0


def words_of_users(work: Work) -> str:
    """What the users wrote, its end where it is long."""
    texts = list(_texts(work))
    return "\n".join(texts)[-MAX_CHARS:]


def _texts(work: Work) -> Iterator[str]:
    for message in work.messages:
        content = message.get("content")
        if message.get("role") != "user":
            continue
        if isinstance(content, str):
            yield content
        elif isinstance(content, list):
            yield from (str(part["text"]) for part in content if isinstance(part, Mapping) and "text" in part)


def _of_words(text: str) -> dict[str, float]:
    """Every regular expression runs over the different words, or only where something says that it may find something: this is
    asked of every request, and a long text must cost it no more than a millisecond."""
    questions = text.count("?")
    parts = questions + len(_POINT.findall(text))
    small = text.lower()
    words = set(_WORD.findall(small))
    reasoning = {word for word in words if _REASONING.fullmatch(word)} | set(_PHRASES.findall(small))
    code = not words.isdisjoint(_CODE_WORDS) or (any(hint in small for hint in _CODE_HINTS) and _CODE.search(small))
    foreign = not text.isascii() and _OTHER_SCRIPTS.search(text) and re.search(r"[A-Za-z]{3}", text)
    languages = 0.75 * any(_TRANSLATION.fullmatch(word) for word in words) + 0.75 * bool(foreign)
    return {
        "length": up(len(text.split()), 250, 2),
        "numbers": up(len(_NUMBER.findall(text)), 10, 1),
        "reasoning": up(len(reasoning), 2, 4),
        "code": 1.5 if code else 0.0,
        "parts": up(parts - 1, 2, 2) if parts > 1 else 0.0,
        "languages": languages,
    }
