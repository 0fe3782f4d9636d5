"""How much answers to one question agree: 0 (nothing in common) to 1 (the same). Pure; called by consensus.py."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from agents.records import Draft, Json
from agents.strategies.merging import canonical

MAX_WORDS: Final = 5_000
MAX_LEAVES: Final = 5_000
_WORD: Final = re.compile(r"\w+")


def agreement(drafts: Sequence[Draft]) -> list[float]:
    """For each draft its mean likeness to the others; 1.0 for one that stands alone."""
    likenesses = [[likeness(a, b) if i != j else 0.0 for j, b in enumerate(drafts)] for i, a in enumerate(drafts)]
    return [sum(row) / (len(drafts) - 1) if len(drafts) > 1 else 1.0 for row in likenesses]


def likeness(a: Draft, b: Draft) -> float:
    """Of data: the share of all places at which both say (nearly) the same; of text: the words in common (Jaccard, 1912)."""
    if a.data is None or b.data is None:
        return overlap(a.text, b.text)
    left, right = dict(_leaves(a.data)), dict(_leaves(b.data))
    places = left.keys() | right.keys()
    if not places:
        return 1.0
    return sum(_alike(left[place], right[place]) for place in left.keys() & right.keys()) / len(places)


def overlap(a: str, b: str) -> float:
    """The share of words, counted once, that two texts have in common; 1.0 for two without words."""
    left, right = (set(_WORD.findall(text.casefold())[:MAX_WORDS]) for text in (a, b))
    return len(left & right) / len(left | right) if left or right else 1.0


def _alike(a: Json, b: Json) -> float:
    if canonical(a) == canonical(b):
        return 1.0
    return overlap(a, b) if isinstance(a, str) and isinstance(b, str) else 0.0


def _leaves(value: Json) -> Iterator[tuple[tuple[str | int, ...], Json]]:
    """Every plain value with its place, at most ``MAX_LEAVES``; empty objects and lists count as values."""
    stack: list[tuple[tuple[str | int, ...], Json]] = [((), value)]
    given = 0
    while stack and given < MAX_LEAVES:
        place, one = stack.pop()
        if isinstance(one, dict) and one:
            stack.extend(((*place, key), inner) for key, inner in one.items())
        elif isinstance(one, list) and one:
            stack.extend(((*place, index), inner) for index, inner in enumerate(one))
        else:
            given += 1
            yield place, one
