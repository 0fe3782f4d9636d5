"""What a conversation says: its question, the JSON data that it carries, the schemas and rules in it. Pure.

Called by answers.py; everything that the pretender "understands" of a prompt is found here. Every scan is bounded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from agents.records import AgentError, Json
from agents.schema_check import ShapeLimits
from agents.shaping import is_json_schema, parse_shape

MAX_CHARS = 400_000
"""Longer prompts are read at their beginning and their end."""
MAX_VALUES = 40
_SCAFFOLD = re.compile(
    r"request above|stage \d+ of \d+|^your last answer|work on the same request|part of a longer list"
    r"|correct(?:ed)? .{0,40}defects",
    re.I,
)
MAX_FAILURES = 60
_LIMITS = ShapeLimits(max_depth=32, max_fields=2000)
_OPENING = re.compile(r"[\[{]")
_BEFORE_SCHEMA = re.compile(r"(schema|shape|format|form|structure)\b[^\n{\[]*[:\n][^{\[]*$", re.I)
_ANSWER_SCHEMA = re.compile(r"(answer|reply|respond|return|output|produce|must be valid against)", re.I)
_NAMED = re.compile(r"(?:named|called)\s+[\"'`]?([A-Za-z_][\w-]{0,63})", re.I)
_DECODER = json.JSONDecoder()


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A JSON value in the prompt: where it stood, what stood before it, who said it."""

    value: Json
    before: str
    role: str
    start: int
    end: int

    @property
    def is_schema(self) -> bool:
        return is_json_schema(self.value) and bool(
            {"properties", "items", "$ref", "anyOf", "oneOf", "allOf", "enum", "$defs"} & set(self.value) or self.says_schema
        )

    @property
    def says_schema(self) -> bool:
        return bool(_BEFORE_SCHEMA.search(self.before))


def text_of(content: Json) -> str:
    """The text of a message's content: a text, or the text parts of a list."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict) and "text" in part)
    return ""


def json_values(text: str, role: str = "user") -> Iterator[Found]:
    """The JSON objects and arrays in ``text``, outermost first. At most ``MAX_VALUES``."""
    place = failures = count = 0
    while count < MAX_VALUES and failures < MAX_FAILURES:
        opening = _OPENING.search(text, place)
        if opening is None:
            return
        start = opening.start()
        try:
            value, end = _DECODER.raw_decode(text, start)
        except (ValueError, RecursionError):
            failures += 1
            place = start + 1
            continue
        place = end
        if value:
            count += 1
            yield Found(value=value, before=text[max(0, start - 240) : start], role=role, start=start, end=end)


def _bounded(text: str) -> str:
    half = MAX_CHARS // 2
    return text if len(text) <= MAX_CHARS else f"{text[:half]}\n{text[-half:]}"


@dataclass(frozen=True)
class Reading:
    """A conversation, read. ``schema`` and ``schema_name`` are those that came with the request (None: none came)."""

    messages: Sequence[Mapping[str, Any]]
    schema: Json | None = None
    schema_name: str = ""
    _texts: dict[int, str] = field(default_factory=dict, repr=False)

    def text(self, index: int) -> str:
        if index not in self._texts:
            self._texts[index] = _bounded(text_of(self.messages[index].get("content")))
        return self._texts[index]

    @cached_property
    def found(self) -> tuple[Found, ...]:
        """Every JSON value, in the order of the conversation."""
        return tuple(
            item
            for index, message in enumerate(self.messages)
            for item in json_values(self.text(index), str(message.get("role", "user")))
        )

    @cached_property
    def question(self) -> str:
        """The text of the last user message."""
        for index in range(len(self.messages) - 1, -1, -1):
            if self.messages[index].get("role") == "user":
                return self.text(index)
        return self.text(len(self.messages) - 1) if self.messages else ""

    @cached_property
    def asked(self) -> str:
        """The text of the user message that says what is wanted: the last one that does not only speak of an earlier one."""
        users = [self.text(index) for index in range(len(self.messages)) if self.messages[index].get("role") == "user"]
        return next((text for text in reversed(users) if not _SCAFFOLD.search(text[:400])), self.question)

    @cached_property
    def spoken(self) -> str:
        """What was said before the last question, without the system's words."""
        last = max((i for i, message in enumerate(self.messages) if message.get("role") == "user"), default=0)
        said = [self.text(i) for i in range(last) if self.messages[i].get("role") in ("user", "assistant")]
        return "\n".join(said)

    @cached_property
    def all_text(self) -> str:
        return "\n".join(self.text(index) for index in range(len(self.messages)))

    @cached_property
    def prose(self) -> str:
        """What the users wrote, without the JSON in it."""
        parts = []
        for index, message in enumerate(self.messages):
            if message.get("role") != "user":
                continue
            text, place = self.text(index), 0
            for item in json_values(text):
                parts.append(text[place : item.start])
                place = item.end
            parts.append(text[place:])
        return " ".join(parts)

    @cached_property
    def wanted(self) -> Json | None:
        """The schema of the answer: the request's own, else the one that the prompt gives; None when it is free text."""
        if self.schema is not None:
            return self.schema
        found = self._answer_schema
        return None if found is None else _as_schema(found)

    @cached_property
    def wanted_name(self) -> str:
        """The name of the answer's schema, lower case; "" when it has none."""
        if self.schema_name:
            return self.schema_name.lower()
        found = self._answer_schema
        named = _NAMED.findall(found.before) if found is not None else []
        return str(named[-1]).lower() if named else ""

    @cached_property
    def _answer_schema(self) -> Found | None:
        if self.schema is not None:
            return None
        candidates = [item for item in self.found if item.role != "assistant" and (item.is_schema or item.says_schema)]
        asked = [item for item in candidates if _ANSWER_SCHEMA.search(item.before)]
        usable = [item for item in (asked or candidates) if _as_schema(item) is not None]
        return usable[-1] if usable else None

    @cached_property
    def data(self) -> tuple[Json, ...]:
        """The data that the conversation carries, latest first, without schemas and shapes."""
        kept = [item.value for item in self.found if not item.is_schema and not item.says_schema]
        return tuple(value for value in reversed(kept) if _is_data(value))

    @cached_property
    def other_schemas(self) -> tuple[Json, ...]:
        """The schemas in the prompt that are not the answer's: what data in it should look like."""
        answer = self._answer_schema
        schemas = [_as_schema(item) for item in self.found if item is not answer and (item.is_schema or item.says_schema)]
        return tuple(schema for schema in schemas if schema is not None and schema != self.wanted)


def _as_schema(found: Found) -> Json | None:
    if found.is_schema:
        return found.value
    try:
        return parse_shape(found.value, limits=_LIMITS)
    except AgentError:
        return None


def _is_data(value: Json) -> bool:
    if isinstance(value, dict):
        return True
    return isinstance(value, list) and not all(isinstance(item, int) and not isinstance(item, bool) for item in value[:1])
