"""What a conversation already says about the value to make: data with the same field names is found and handed down. Pure.

Called by shapes.py, so that an enriched record keeps what the record said. Searches are bounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from agents.llm.simulated.rules import words_of
from agents.records import Json
from agents.schema_check import resolve

MAX_DICTS = 200
MAX_DEPTH = 5
MAX_CANDIDATES = 6
_DISPUTE = re.compile(r"^\s*(?:[-*•]|\d+\.)?\s*(?:at\s+)?[\"'`]?([A-Za-z_][\w/.\[\]]*|\d+/[\w/]+)[\"'`]?\s*:", re.M)
_DEFECTS = re.compile(r"(?:defects?|issues?|problems?|errors?|what is wrong(?: with it)?)\b[^\n]{0,60}:\s*\n", re.I)


def candidates(data: Sequence[Json], schema: Json, root: Mapping[str, Any]) -> tuple[Json, ...]:
    """Values of ``data`` (latest first) that could be an earlier form of what ``schema`` describes, the most alike first."""
    schema = resolve(schema, root)
    if not isinstance(schema, Mapping):
        return ()
    if isinstance(schema.get("properties"), Mapping):
        return _objects(data, schema, root)
    if schema.get("type") == "array" or "items" in schema:
        lists = [value for top in data for value in _lists(top)]
        return tuple(lists[:MAX_CANDIDATES])
    return tuple(value for value in data if isinstance(value, dict))[:MAX_CANDIDATES] if schema.get("type") == "object" else ()


def _objects(data: Sequence[Json], schema: Mapping[str, Any], root: Mapping[str, Any]) -> tuple[Json, ...]:
    wanted = {words_of(key) for key in schema["properties"]}
    arrays = [key for key, part in schema["properties"].items() if _is_array(resolve(part, root))]
    scored: list[tuple[int, int, Json]] = []
    for top in data:
        if isinstance(top, list) and len(arrays) == 1:
            scored.append((1, len(scored), {arrays[0]: top}))
        for found in _dicts(top):
            alike = sum(words_of(str(key)) in wanted for key in found)
            if alike:
                scored.append((alike, len(scored), found))
    scored.sort(key=lambda entry: (-entry[0], entry[1]))
    return tuple(value for _, _, value in scored[:MAX_CANDIDATES])


def _is_array(schema: Json) -> bool:
    return isinstance(schema, Mapping) and schema.get("type") == "array"


def _dicts(value: Json) -> Iterator[dict[str, Json]]:
    """The objects in ``value``, outermost first, but not those inside arrays: these are many things, not one."""
    level: list[Json] = [value]
    count = 0
    for _ in range(MAX_DEPTH):
        below: list[Json] = []
        for one in level:
            if isinstance(one, dict) and count < MAX_DICTS:
                count += 1
                yield one
                below.extend(one.values())
        level = below


def _lists(value: Json) -> Iterator[list[Json]]:
    if isinstance(value, list):
        yield value
        return
    for found in _dicts(value):
        yield from (inner for inner in found.values() if isinstance(inner, list))


def child(known: Sequence[Json], name: str) -> tuple[Json, ...]:
    """What the known objects hold under ``name``, by its exact spelling or by its words (``first_name`` for ``firstName``)."""
    found: list[Json] = []
    words = words_of(name)
    for value in known:
        if not isinstance(value, dict):
            continue
        if name in value:
            found.append(value[name])
        elif words and len(value) <= 300:
            found.extend(inner for key, inner in value.items() if words_of(str(key)) == words)
    return tuple(found[:MAX_CANDIDATES])


def item(known: Sequence[Json], index: int) -> tuple[Json, ...]:
    """What the known arrays hold at ``index``."""
    return tuple(value[index] for value in known if isinstance(value, list) and index < len(value))


def disputed(text: str, data: Sequence[Json]) -> frozenset[str]:
    """Places that the conversation calls wrong, as ``users.0.age`` or ``age``: what stood there is not to be kept."""
    parts = [text[match.end() : match.end() + 4000] for match in _DEFECTS.finditer(text[-60_000:])][:4]
    for top in data:
        if isinstance(top, dict):
            for key in ("issues", "problems", "errors", "defects"):
                if isinstance(top.get(key), list):
                    parts.extend(str(line)[:300] for line in top[key][:50] if isinstance(line, str))
    return frozenset(place_of(match[1]) for part in parts for match in _DISPUTE.finditer(part))


def place_of(path: str) -> str:
    """``users[0].age`` and ``users/0/age`` as ``users.0.age``."""
    return ".".join(re.findall(r"\w+", path))
