"""How much of a schema an answer fills: fields that hold something, counted against those that the schema knows. Pure, linear.

Called by tally.py. Imports only the schema's tools.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from agents.records import Json
from agents.schema_check import resolve
from agents.verdicts import Check

MAX_DEPTH: Final = 32
MAX_WORDS: Final = 5
# What stands where a value should: an echo of the shape, or a gap left for somebody else. "None" and "unknown" can be answers.
_PLACEHOLDER: Final = re.compile(
    r"n/a|tbd|to ?do|null|undefined|placeholder|string|xxx+|\.{3}|…|lorem ipsum.*"
    r"|<[\w .-]{1,40}>|\{\{.{0,40}\}\}|\[[a-z _-]{1,40}\]",
    re.IGNORECASE | re.DOTALL,
)


class Filled:
    """Counts over an answer that may come in parts."""

    def __init__(self) -> None:
        self.required = self.required_filled = self.fields = self.fields_filled = self.empty = 0
        self.words: list[str] = []

    def add(self, data: Json, schema: Mapping[str, Json], *, offset: int = 0) -> None:
        """A part of the answer under the whole answer's schema. ``offset``: items that came before, for the paths of lists."""
        self._look(data, schema, schema, (), offset, 0)

    def result(self) -> Check | None:
        """The mean of the share of the required fields and of all fields that are filled; None where there are no fields."""
        if not self.fields:
            return None
        required = self.required_filled / self.required if self.required else 1.0
        words = list(self.words)
        if self.empty > len(words):
            words.append(f"and {self.empty - len(words)} more")
        detail = f"not filled: {'; '.join(words)}" if words else ""
        return Check(name="completeness", score=(required + self.fields_filled / self.fields) / 2, detail=detail)

    def _look(
        self, data: Json, schema: Json, root: Mapping[str, Json], path: tuple[str | int, ...], offset: int, depth: int
    ) -> None:
        part = resolve(schema, root)
        if depth > MAX_DEPTH or not isinstance(part, Mapping):
            return
        if isinstance(data, list):
            items = part.get("items")
            for index, item in enumerate(data):
                self._look(item, items, root, (*path, index + offset), 0, depth + 1)
        elif isinstance(data, Mapping):
            required = part.get("required", ())
            for name, field in part.get("properties", {}).items():
                value = data.get(name)
                self._count(value, resolve(field, root), name in required, (*path, name))
                if isinstance(value, list | Mapping):
                    self._look(value, field, root, (*path, name), 0 if depth else offset, depth + 1)

    def _count(self, value: Json, schema: Json, required: bool, path: tuple[str | int, ...]) -> None:
        """A required field is filled by anything but nothing; to be one of all that is filled, a list must have items."""
        schema = schema if isinstance(schema, Mapping) else {}
        there = _is_there(value, schema)
        filled = there and value is not None and value != [] and value != {}
        self.fields += 1
        self.fields_filled += filled
        if required:
            self.required += 1
            self.required_filled += there
        if not (there if required else filled):
            self.empty += 1
            if len(self.words) < MAX_WORDS:
                self.words.append(_spelled(path))


def _is_there(value: Json, schema: Mapping[str, Json]) -> bool:
    if value is None:
        kinds = schema.get("type")
        return kinds == "null" or (isinstance(kinds, list) and "null" in kinds)
    if not isinstance(value, str) or "enum" in schema or "const" in schema:
        return True
    text = value.strip()
    return bool(text) and not (len(text) < 200 and _PLACEHOLDER.fullmatch(text))


def _spelled(path: tuple[str | int, ...]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".")[:200]
