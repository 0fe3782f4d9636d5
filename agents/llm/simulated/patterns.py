"""A text that matches a regular expression. Called by shapes.py for ``pattern``. Pure.

Walks the parse tree of the standard library; what it does not know (look-arounds, back-references to nothing) gives None, and the
caller falls back.
"""

from __future__ import annotations

import importlib
import re
import string
from functools import lru_cache
from random import Random
from typing import Any

from agents.records import AgentError
from agents.schema_check import compile_schema

_parser: Any = importlib.import_module("re._parser")  # typed nowhere; the sre names moved here in 3.11
MAX_REPEAT = 12
"""An open repetition adds at most so many."""
MAX_CHARS = 2000
_PRINTABLE = string.ascii_lowercase + string.digits
_CATEGORIES = {
    "CATEGORY_DIGIT": string.digits,
    "CATEGORY_NOT_DIGIT": string.ascii_lowercase,
    "CATEGORY_WORD": string.ascii_lowercase + string.digits,
    "CATEGORY_NOT_WORD": "-.",
    "CATEGORY_SPACE": " ",
    "CATEGORY_NOT_SPACE": _PRINTABLE,
}


class _Unknown(ValueError):
    """The pattern uses something this sampler has no answer for."""


@lru_cache(maxsize=512)
def _parse(pattern: str) -> Any:
    return _parser.parse(pattern)


def sample(pattern: str, rng: Random, *, min_chars: int = 0, max_chars: int = MAX_CHARS) -> str | None:
    """A text in which ``pattern`` is found, of the given length where that can be had; None when none was found."""
    if len(pattern) > 1000:
        return None
    try:
        tree = _parse(pattern)
        # Not with re: a pattern may take it exponential time, and this one gives up.
        valid = compile_schema({"type": "string", "pattern": pattern})
    except (re.error, AgentError, RecursionError, OverflowError):
        return None
    for attempt in range(12):
        try:
            text = _walk(tree, rng, {}, attempt if min_chars else 0)
        except (_Unknown, RecursionError):
            return None
        if min_chars <= len(text) <= max_chars and valid.is_valid(text):
            return text
    return None


def _walk(tree: Any, rng: Random, groups: dict[int, str], stretch: int) -> str:
    text = ""
    for op, argument in tree:
        text += _one(str(op), argument, rng, groups, stretch)
        if len(text) > MAX_CHARS:
            raise _Unknown
    return text


def _one(op: str, argument: Any, rng: Random, groups: dict[int, str], stretch: int) -> str:
    if op == "LITERAL":
        return chr(argument)
    if op == "NOT_LITERAL":
        return rng.choice([c for c in _PRINTABLE if ord(c) != argument])
    if op == "ANY":
        return rng.choice(string.ascii_lowercase)
    if op == "IN":
        return _from_class(argument, rng)
    if op == "BRANCH":
        return _walk(rng.choice(argument[1]), rng, groups, stretch)
    if op in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
        return _repeat(argument, rng, groups, stretch)
    if op == "SUBPATTERN":
        text = _walk(argument[3], rng, groups, stretch)
        if argument[0] is not None:
            groups[argument[0]] = text
        return text
    if op == "ATOMIC_GROUP":
        return _walk(argument, rng, groups, stretch)
    if op == "GROUPREF":
        return groups.get(argument, "")
    if op in ("AT", "ASSERT", "ASSERT_NOT"):
        return ""  # the final search says whether it held
    raise _Unknown(op)


def _repeat(argument: Any, rng: Random, groups: dict[int, str], stretch: int) -> str:
    low, high, inner = int(argument[0]), int(argument[1]), argument[2]
    if low > MAX_CHARS:
        raise _Unknown
    times = rng.randint(min(low + stretch * 2, high), min(high, low + MAX_REPEAT // 2 + stretch * 4))
    return "".join(_walk(inner, rng, groups, stretch) for _ in range(times))


def _from_class(items: Any, rng: Random) -> str:
    if str(items[0][0]) == "NEGATE":
        banned = _members(items[1:])
        allowed = [c for c in _PRINTABLE + string.ascii_uppercase + " -_." if c not in banned]
    else:
        allowed = sorted(_members(items))
    if not allowed:
        raise _Unknown
    return rng.choice(allowed)


def _members(items: Any) -> set[str]:
    found: set[str] = set()
    for op, argument in items:
        kind = str(op)
        if kind == "LITERAL":
            found.add(chr(argument))
        elif kind == "RANGE":
            found.update(chr(code) for code in range(argument[0], min(argument[1], argument[0] + 255) + 1))
        elif kind == "CATEGORY":
            found.update(_CATEGORIES.get(str(argument), ""))
        else:
            raise _Unknown
    return found
