"""Rules in plain words turned into bounds on fields: "the quantity must be between 1 and 40". Pure.

Called by critic.py (does the data keep them?) and shapes.py (make data that keeps them).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

MAX_RULES = 60
MAX_SENTENCES = 400
_NUMBER = r"(-?\d+(?:[.,]\d{3})*(?:\.\d+)?)"
_SENTENCE = re.compile(r"[\n;]+|(?<=[.!?])\s+|(?<=\"),\s*(?=\")")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_BETWEEN = re.compile(rf"(?:between|from|in the range(?: of)?|within)\s+{_NUMBER}\s*(?:and|to|-|–|\.\.)\s*{_NUMBER}")
_BOUNDS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("over", re.compile(rf"(?:greater than|more than|above|exceeds?|over|larger than|higher than|(?<![<=-])>(?!=))\s*{_NUMBER}")),
    ("under", re.compile(rf"(?:less than|fewer than|below|under|smaller than|lower than|<(?!=))\s*{_NUMBER}")),
    ("low", re.compile(rf"(?:at least|no less than|not less than|minimum(?: of)?|min|>=|≥|from)\s*{_NUMBER}")),
    ("high", re.compile(rf"(?:at most|no more than|not more than|up to|maximum(?: of)?|max|<=|≤|not exceed)\s*{_NUMBER}")),
)
_NEGATED_OVER = re.compile(r"(?:not|no|never|cannot|can't|mustn't)\s+(?:be\s+)?(?:greater|more|above|exceed|over|larger|higher)")
_NEGATED_UNDER = re.compile(r"(?:not|no|never|cannot|can't|mustn't)\s+(?:be\s+)?(?:less|fewer|below|under|smaller|lower)")
_ONE_OF = re.compile(r"(?:one of|either|any of)\s*:?\s*([^.;\n]{3,200})")
_OTHER = re.compile(
    r"\b(before|after|earlier than|later than|less than|greater than|lower than|higher than|below|above)\b\s+(?:the\s+)?(.+)"
)

_REQUIRED = re.compile(
    r"\b(required|mandatory|must (?:be )?(?:present|exist|given|set|filled)|non-?empty"
    r"|not be (?:empty|missing|blank|null))\b"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule on one field. ``low``/``high`` inclusive unless ``strict``; ``other`` names the field to compare with."""

    field: str
    text: str
    low: float | None = None
    high: float | None = None
    strict: bool = False
    required: bool = False
    length: bool = False
    options: tuple[str, ...] = ()
    unique: bool = False
    below: str | None = None
    above: str | None = None
    looks_like: str | None = None


@lru_cache(maxsize=4096)
def words_of(name: str) -> tuple[str, ...]:
    """The words of a field's name in lower case: ``shippingWeight`` and ``shipping_weight`` are (shipping, weight)."""
    return tuple(word.lower() for word in _WORD.findall(name[:200]))


def rules_in(text: str, fields: Iterable[str]) -> tuple[Rule, ...]:
    """The rules on ``fields`` that ``text`` states, in order; at most ``MAX_RULES``."""
    names = sorted(set(fields), key=lambda name: (-len(name), name))[:300]
    patterns = [(name, _mention(name)) for name in names if words_of(name)]
    rules: list[Rule] = []
    for raw in _SENTENCE.split(text[:100_000])[:MAX_SENTENCES]:
        sentence = raw.strip().strip("-*•\"',[] ")
        if len(sentence) < 6 or "{" in sentence:
            continue
        taken: list[tuple[int, int]] = []
        for name, pattern in patterns:
            mention = pattern.search(sentence)
            if mention is None or any(a < mention.end() and mention.start() < b for a, b in taken):
                continue
            taken.append(mention.span())
            others = [other for other in names if other != name]
            rule = _rule(name, sentence, sentence[mention.end() :].lower(), sentence[: mention.start()].lower(), others)
            if rule is not None:
                rules.append(rule)
            if len(rules) >= MAX_RULES:
                return tuple(rules)
    return tuple(rules)


@lru_cache(maxsize=2048)
def _mention(name: str) -> re.Pattern[str]:
    words = words_of(name)
    body = r"[\s_-]*".join(re.escape(word) for word in words)
    plural = "" if words[-1].endswith("s") else "(?:s|es)?"
    return re.compile(rf"(?<![A-Za-z]){body}{plural}(?![A-Za-z])", re.I)


def _rule(name: str, sentence: str, after: str, before: str, others: list[str]) -> Rule | None:
    """What ``sentence`` says of ``name``: mostly behind its mention, sometimes before it ("at least 3 tags")."""
    text = sentence[:200]
    around = f"{before} {after}"
    length = bool(re.search(r"\b(characters?|chars|letters|long|items|entries|elements|length)\b", around))
    between = _BETWEEN.search(after)
    if between:
        return Rule(field=name, text=text, low=_value(between[1]), high=_value(between[2]), length=length)
    bound = _bound(name, text, after, length) or _compared(name, text, after, others)
    if bound is not None:
        return bound
    if re.search(r"\b(non-?negative|not be negative|never negative|not negative)\b", after):
        return Rule(field=name, text=text, low=0)
    if re.search(r"\bpositive\b", around):
        return Rule(field=name, text=text, low=0, strict=True)
    one_of = _ONE_OF.search(after)
    if one_of:
        options = tuple(o.strip(" \"'`") for o in re.split(r",|\bor\b|\||/", one_of[1]) if o.strip(" \"'`"))
        if len(options) > 1:
            return Rule(field=name, text=text, options=options[:50])
    if re.search(r"\bunique\b|\bduplicate", around):
        return Rule(field=name, text=text, unique=True)
    if re.search(r"\b(iso|date|timestamp)\b", after):
        return Rule(field=name, text=text, looks_like="date")
    if _REQUIRED.search(around):
        return Rule(field=name, text=text, required=True)
    return _bound(name, text, before, length) if length else None


def _bound(name: str, text: str, words: str, length: bool) -> Rule | None:
    low = high = None
    strict = False
    for kind, pattern in _BOUNDS:
        match = pattern.search(words)
        if match is None:
            continue
        value = _value(match[1])
        if kind == "over" and _NEGATED_OVER.search(words):
            high = value
        elif kind == "under" and _NEGATED_UNDER.search(words):
            low = value
        elif kind in ("over", "low"):
            low, strict = value, strict or kind == "over"
        else:
            high, strict = value, strict or kind == "under"
    if low is None and high is None:
        return None
    return Rule(field=name, text=text, low=low, high=high, strict=strict, length=length)


def _compared(name: str, text: str, after: str, others: list[str]) -> Rule | None:
    match = _OTHER.search(after)
    if match is None:
        return None
    other = next((o for o in others if _mention(o).match(match[2])), None)
    if other is None:
        return None
    if match[1] in ("before", "earlier than", "less than", "lower than", "below"):
        return Rule(field=name, text=text, below=other)
    return Rule(field=name, text=text, above=other)


def _value(digits: str) -> float:
    return float(digits.replace(",", ""))
