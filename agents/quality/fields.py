"""Fields of an answer by path: ``users[].age`` read, walked over data and spelled out again; values told apart by digest. Pure.

Called by the modules that read and check constraints, and by strategies/problem.py. Imports only the error tree.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final

import orjson

from agents.records import InvalidRequest, Json

MAX_CHARS: Final = 200
MAX_STEPS: Final = 16
_MAX_DEPTH: Final = 64
_STEP: Final = re.compile(r"(?P<name>[^.\[\]\s$*][^.\[\]]*)|\[(?P<index>[0-9]{0,6})\]")
_SHOWN: Final = 60

Steps = tuple[str | int | None, ...]
"""A path: a field's name, an index, or None for every item."""


class _Missing:
    """Where a path leads nowhere; null is a value."""


MISSING: Final = _Missing()


@lru_cache(maxsize=1024)
def parse_field(text: str) -> Steps:
    """``users[].address.city`` as steps; empty for the whole answer. Raises InvalidRequest without a param."""
    if len(text) > MAX_CHARS:
        raise InvalidRequest(f"a path must not be longer than {MAX_CHARS} characters")
    steps: list[str | int | None] = []
    at = 0
    while at < len(text):
        if text[at] == "." and steps and text[at + 1 : at + 2] not in ("", "."):
            at += 1
        match = _STEP.match(text, at)
        follows = match is not None and (not steps or match["name"] is None or text[at - 1] == ".")
        if match is None or not follows:
            raise InvalidRequest(f"{text!r} is not a path such as users[].age (at character {at + 1})")
        steps.append(match["name"] if match["name"] is not None else int(match["index"]) if match["index"] else None)
        at = match.end()
    if len(steps) > MAX_STEPS:
        raise InvalidRequest(f"a path must not have more than {MAX_STEPS} steps")
    return tuple(steps)


def spots(data: Json, steps: Steps, offset: int = 0) -> Iterator[tuple[tuple[int, ...], Json]]:
    """Every value that ``steps`` lead to, with the indices taken at its ``[]``; MISSING where they lead nowhere.

    A list answer may also be entered as ``items``, its name in expressions. ``offset``: how many items came in earlier parts of
    the answer; the first index counts on from there.
    """
    if isinstance(data, list) and steps[:1] == ("items",):
        steps = steps[1:]
    return _spots(data, steps, (), offset)


def _spots(value: Json, steps: Steps, indices: tuple[int, ...], offset: int) -> Iterator[tuple[tuple[int, ...], Json]]:
    for place, step in enumerate(steps):
        if step is None and isinstance(value, list):
            rest = steps[place + 1 :]
            for index, item in enumerate(value, offset):
                yield from _spots(item, rest, (*indices, index), 0)
            return
        value = _below(value, step)
        if value is MISSING:
            break
    yield indices, value


def _below(value: Json, step: str | int | None) -> Json:
    if isinstance(step, str) and isinstance(value, Mapping):
        return value.get(step, MISSING)
    if isinstance(step, int) and isinstance(value, list) and step < len(value):
        return value[step]
    return MISSING


def spelled(steps: Steps, indices: tuple[int, ...]) -> str:
    """``users[3].age``: the path with its ``[]`` filled in as far as ``indices`` go."""
    text, left = "", list(indices)
    for step in steps:
        if isinstance(step, str):
            text += f".{step}" if text else step
        else:
            text += f"[{left.pop(0) if step is None and left else '' if step is None else step}]"
    return text or "the answer"


def shown(value: Json) -> str:
    """A value for a message: short JSON."""
    try:
        text = json.dumps(value, ensure_ascii=False) if not isinstance(value, list | Mapping) else type(value).__name__
    except (TypeError, ValueError):
        text = type(value).__name__
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def digest(value: Json) -> bytes:
    """16 bytes, the same for the same JSON value: order of fields aside, and 1 is 1.0. Raises ValueError when too deep."""
    plain = _plain(value, 0)
    try:
        text = orjson.dumps(plain, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # integers beyond 64 bits, lone surrogates
        text = json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()
    return blake2b(text, digest_size=16).digest()


def _plain(value: Any, depth: int) -> Any:
    if isinstance(value, float):
        if not math.isfinite(value):
            return {"number": str(value)}
        return int(value) if value.is_integer() else value
    if not isinstance(value, list | tuple | Mapping):
        return value
    if depth >= _MAX_DEPTH:
        raise ValueError(f"nested deeper than {_MAX_DEPTH}")
    if isinstance(value, Mapping):
        return {str(name): _plain(item, depth + 1) for name, item in value.items()}
    return [_plain(item, depth + 1) for item in value]
