"""The result of a run as JSON, by the methods of the builtin types alone, so that an author's own subclass cannot interfere.

Called by child.py. Tuples become lists, keys become text as json.dumps does it, numpy's numbers and arrays become numbers and
lists, dates and decimals text. What is no JSON is refused with its place: NaN, too deep, circular, objects, bytes.
"""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import json
import math
import types
import uuid
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import orjson

from sandbox.facade_stdlib import SimpleNamespace
from sandbox.names import reveal

MAX_DEPTH = 100
MAX_VALUES = 1_000_000
MAX_INTEGER_BITS = 8192
_WRITERS: tuple[tuple[type, Callable[[Any], str]], ...] = (
    (decimal.Decimal, decimal.Decimal.__str__),
    (fractions.Fraction, fractions.Fraction.__str__),
    (uuid.UUID, uuid.UUID.__str__),
    (datetime.datetime, datetime.datetime.isoformat),
    (datetime.date, datetime.date.isoformat),
    (datetime.time, datetime.time.isoformat),
    (datetime.timedelta, datetime.timedelta.__str__),
)
_PROXY = types.MappingProxyType
_VIEWS: tuple[type, ...] = (
    collections.deque,
    range,
    type({}.keys()),
    type({}.values()),
    type({}.items()),
    types.MappingProxyType,
)


class NotJson(Exception):
    """``str()`` says what is not JSON, and where in the result. Containers add their step to ``place`` as it passes them."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.place: list[str] = []

    def __str__(self) -> str:
        return self.reason.replace("@", f"result{''.join(reversed(self.place))[:200]}", 1)


class TooLarge(Exception):
    """The result has more than MAX_VALUES values, or more bytes than allowed."""


def encode(value: Any, output_bytes: int) -> bytes:
    """``value`` as JSON. Raises NotJson, TooLarge; RecursionError and MemoryError pass."""
    plain = _Walk(output_bytes).plain(value, 0)
    try:
        encoded = orjson.dumps(plain)
    except TypeError:  # integers beyond 64 bits, deep nesting
        encoded = json.dumps(plain, allow_nan=False, separators=(",", ":")).encode()
    if len(encoded) > output_bytes:
        raise TooLarge(f"the result has {len(encoded)} bytes as JSON; at most {output_bytes}")
    return encoded


class _Walk:
    def __init__(self, output_bytes: int) -> None:
        self._values_left = MAX_VALUES
        self._chars_left = output_bytes
        self._output_bytes = output_bytes

    def plain(self, value: Any, depth: int) -> Any:
        """``value`` built of exact builtin types."""
        self._count(1)
        kind = type(value)
        if value is None or kind is bool:
            return value
        if kind is float:
            return self._float(value)
        if kind is int:
            return self._integer(value)
        if kind is str:
            return self._text(value)
        if depth > MAX_DEPTH:
            raise NotJson(f"the result is nested more than {MAX_DEPTH} levels deep, or contains itself, at @")
        if kind is list and self._all_finite(value):
            return value
        if issubclass(kind, dict):
            return self._mapping(dict.items(value), depth)
        if issubclass(kind, list):
            return self._sequence(list.__iter__(value), depth)
        if issubclass(kind, tuple):
            return self._sequence(tuple.__iter__(value), depth)
        return self._other(value, kind, depth)

    def _count(self, values: int) -> None:
        self._values_left -= values
        if self._values_left < 0:
            raise TooLarge(f"the result has more than {MAX_VALUES} values")

    def _integer(self, value: int) -> int:
        if value.bit_length() > MAX_INTEGER_BITS:
            raise NotJson(f"the number at @ has more than {MAX_INTEGER_BITS} bits; return it as text")
        return value

    def _float(self, value: float) -> float:
        if not math.isfinite(value):
            raise NotJson(f"{value} at @ is not JSON; return None or leave it out")
        return value

    def _text(self, value: str) -> str:
        self._chars_left -= len(value)
        if self._chars_left < 0:
            raise TooLarge(f"the result has more than {self._output_bytes} bytes as JSON")
        return value if value.isascii() else value.encode("utf-8", "surrogatepass").decode("utf-8", "replace")

    def _all_finite(self, values: list[Any]) -> bool:
        """A list of nothing but finite floats needs no walk: results of simulations are long."""
        if set(map(type, values)) != {float} or not all(map(math.isfinite, values)):
            return False
        self._count(len(values))
        return True

    def _sequence(self, values: Iterable[Any], depth: int) -> list[Any]:
        made: list[Any] = []
        try:
            for each in values:
                made.append(self.plain(each, depth + 1))
        except NotJson as error:
            error.place.append(f"[{len(made)}]")
            raise
        return made

    def _mapping(self, pairs: Iterable[tuple[Any, Any]], depth: int) -> dict[str, Any]:
        made: dict[str, Any] = {}
        name = ""
        try:
            for key, each in pairs:
                name = ""
                name = self._key(key)
                made[name] = self.plain(each, depth + 1)
        except NotJson as error:
            if name:
                error.place.append(f"[{name[:40]!r}]")
            raise
        return made

    def _key(self, key: Any) -> str:
        kind = type(key)
        if issubclass(kind, enum.Enum):
            return self._key(key._value_)
        if issubclass(kind, str):
            return reveal(self._text(str.__str__(key)))
        if key is None or kind in (bool, int, float):
            return json.dumps(self._integer(key) if kind is int else key)
        if issubclass(kind, np.generic) and not issubclass(kind, np.void):
            return self._key(key.item())
        if issubclass(kind, tuple):
            parts = [self._key(each) for each in tuple.__iter__(key)]
            return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"
        text = _as_text(key, kind)
        if text is None:
            raise NotJson(f"a key of @ is of type {kind.__name__[:60]}; keys must be text")
        return text

    def _other(self, value: Any, kind: type, depth: int) -> Any:
        if issubclass(kind, enum.Enum):
            return self.plain(value._value_, depth + 1)
        if issubclass(kind, str):
            return self._text(str.__str__(value))
        if issubclass(kind, np.generic) and not issubclass(kind, np.void):
            return self.plain(value.item(), depth + 1)
        if issubclass(kind, int):
            return self._integer(int.__index__(value))
        if issubclass(kind, float):
            return self._float(float.__float__(value))
        if kind is np.ndarray:
            return self.plain(value.tolist(), depth + 1)
        if issubclass(kind, (set, frozenset)):
            walk = set.__iter__(value) if issubclass(kind, set) else frozenset.__iter__(value)
            return _sorted(self._sequence(walk, depth))
        if kind in _VIEWS:
            return self.plain(dict(value) if kind is types.MappingProxyType else list(value), depth + 1)
        text = _as_text(value, kind)
        if text is not None:
            return text
        if dataclasses.is_dataclass(kind):
            names = [field.name for field in dataclasses.fields(kind)]
            return self._mapping(((name, object.__getattribute__(value, name)) for name in names), depth)
        if kind is SimpleNamespace:
            return self._mapping(dict.items(object.__getattribute__(value, "__dict__")), depth)
        raise NotJson(f"@ is of type {kind.__name__[:60]}, which is not JSON{_advice(kind)}")


def _as_text(value: Any, kind: type) -> str | None:
    """Decimals, fractions, UUIDs, dates and times as text; by the library's own method also in a subclass."""
    for base, write in _WRITERS:
        if issubclass(kind, base):
            return str(write(value))[:10_000]
    return None


def _sorted(values: list[Any]) -> list[Any]:
    try:
        return sorted(values)
    except TypeError:
        return values


def _advice(kind: type) -> str:
    if issubclass(kind, (bytes, bytearray)):
        return ": decode it, or encode it with base64"
    if issubclass(kind, complex):
        return ": return its real and imaginary part"
    if hasattr(kind, "__next__"):
        return ": wrap it in list()"
    return ": return a dict, list, text, number, true, false or None"
