"""Texts and numbers as a row can hold them: cut to their limit and marked, storable, in range, without credentials.

Called by the other files of this room. Pure. Imports of the project only what JSON is.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from agents.records import Json

_MAX_DEPTH = 40
_MAX_NAME = 256
MAX_NOTE = 2048
_LAST = 2**63 - 1

_SECRET_KEYS = frozenset(
    {"authorization", "proxy-authorization", "api_key", "api-key", "apikey", "x-api-key", "cookie", "set-cookie", "headers"}
    | {"extra_headers", "access_token", "password", "secret", "client_secret"}
)
_OUR_KEYS = re.compile(r"\bmg-(client|operator)-[\w-]+")
_CREDENTIALS = re.compile(r"\b([Bb]earer|BEARER|[Bb]asic)\s+[\w.~+/=-]{8,}|\b(sk|pk)-[\w-]{12,}")
_LEFT_OUT = "[left out]"


@dataclass(slots=True)
class _Room:
    left: int
    redact: bool


def to_json(value: Json, *, limit: int, redact: bool) -> str:
    """``value`` as JSON with at most about ``limit`` characters of text; what was cut is marked in place.

    ``redact`` leaves out values under names such as ``authorization`` and anything that looks like a bearer token.
    """
    kept = _clip(value, _Room(limit, redact), 0)
    return scrub(orjson.dumps(kept).decode(), credentials=redact)


def scrub(text: str, *, credentials: bool = True) -> str:
    """``text`` without Morphogen's keys and, with ``credentials``, without bearer tokens and provider keys."""
    if "mg-" in text:
        text = _OUR_KEYS.sub(rf"mg-\1-{_LEFT_OUT}", text)
    if credentials:
        text = _CREDENTIALS.sub(_LEFT_OUT, text)
    return text


def _clip(value: Any, room: _Room, depth: int) -> Json:
    if isinstance(value, str):
        return _cut(value, room)
    if value is None or isinstance(value, bool):
        room.left -= 4
        return value
    if isinstance(value, (int, float)):
        room.left -= 8
        return value if isinstance(value, float) or -_LAST <= value <= _LAST else "[a number beyond 64 bits]"
    if depth >= _MAX_DEPTH:
        return f"[cut: nested deeper than {_MAX_DEPTH}]"
    if isinstance(value, Mapping):
        return _clip_mapping(value, room, depth)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _clip_mapping({f.name: getattr(value, f.name) for f in dataclasses.fields(value)}, room, depth)
    if isinstance(value, (set, frozenset)):
        value = sorted(value, key=str)
    if isinstance(value, (list, tuple)):
        items: list[Json] = []
        for item in value:
            if room.left <= 0:
                items.append(f"[cut: {len(value) - len(items)} more items]")
                break
            room.left -= 2
            items.append(_clip(item, room, depth + 1))
        return items
    return _cut(type(value).__name__, room)


def _clip_mapping(value: Mapping[Any, Any], room: _Room, depth: int) -> dict[str, Json]:
    kept: dict[str, Json] = {}
    for key, item in value.items():
        if room.left <= 0:
            kept["[cut]"] = f"{len(value) - len(kept)} more fields"
            break
        name = _storable(str(key)[:_MAX_NAME])
        room.left -= len(name) + 4
        kept[name] = _LEFT_OUT if room.redact and name.lower() in _SECRET_KEYS else _clip(item, room, depth + 1)
    return kept


def _cut(text: str, room: _Room) -> str:
    size, left = len(text), max(0, room.left)
    room.left -= size + 2
    if size <= left:
        return _storable(text)
    return f"{_storable(text[:left])}… [cut: {left} of {size} characters kept]"


def _storable(text: str) -> str:
    """Lone surrogates, which JSON may carry and UTF-8 may not, become question marks."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def name_of(text: object) -> str:
    """``text`` as a short name, cut without a mark."""
    return _storable(str(text)[:_MAX_NAME])


def maybe_name(text: object | None) -> str | None:
    """The same; None stays None."""
    return None if text is None else name_of(text)


def note_of(text: str) -> str:
    """``text`` as a remark of at most MAX_NOTE characters, cut with a mark, without credentials."""
    return scrub(_cut(text, _Room(MAX_NOTE, False)))


def whole(number: int) -> int:
    """The nearest number of 64 bits."""
    return max(-_LAST, min(_LAST, int(number)))


def real(number: float) -> float:
    """``number``; 0 for what is none or has no end."""
    return float(number) if math.isfinite(number) else 0.0
