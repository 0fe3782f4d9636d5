"""What two requests have in common as texts: words, numbers, names, negations, the kind of question.

An embedding says what a text is about; it hardly sees «without», «not», 13 against 17, or who does what to whom. These cheap
features see just that. Called by trust.py (as evidence) and alignment.py (what differs). Pure; imports numpy and nothing of the
project.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

MAX_CHARS: Final = 4000
"""Longer texts are read to here: the embedding reads no further either, and set operations stay under a millisecond."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_TOKEN: Final = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?|\d+(?:[.,]\d+)*%?")
_NAME: Final = re.compile(r"(?<=[\w,;:)\"'] )[A-Z][\w+#.-]*")
_FUNCTION_WORDS: Final = _words(
    """
    a an the is are was were be been am do does did i you we they he she it me my your his her its our their them us one of
    in on at to for from by with as and or if so that this these those there can could should would will shall may might
    must has have had what which who whom whose when where why how any some it's what's i'm best way ways get s t much many
    most please
    """
)
_NEGATIONS: Final = _words(
    """
    not no never none nothing nobody nor neither without except excluding excludes exclude cannot can't cant don't dont
    doesn't didn't won't wouldn't shouldn't isn't aren't wasn't weren't hasn't haven't hadn't couldn't mustn't ain't minus
    un non
    """
)
_OPPOSITES: Final = (
    ("with", "without"),
    ("increase", "decrease"),
    ("ascending", "descending"),
    ("minimum", "maximum"),
    ("min", "max"),
    ("lowest", "highest"),
    ("before", "after"),
    ("above", "below"),
    ("more", "less"),
    ("include", "exclude"),
    ("including", "excluding"),
    ("enable", "disable"),
    ("encode", "decode"),
    ("buy", "sell"),
    ("first", "last"),
    ("best", "worst"),
    ("pros", "cons"),
)
_QUESTIONS: Final = _words(
    """
    what which who whom when where why how can could should would will is are was were do does did if
    """
)
_SAME_QUESTION: Final = {
    "which": "what",
    "are": "is",
    "was": "is",
    "were": "is",
    "do": "does",
    "did": "does",
    "could": "can",
    "whom": "who",
}
_HOW: Final = _words("much many long old far often big tall")
_ENDINGS: Final = ("ing", "ies", "ied", "es", "ed", "ly", "s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """One text, read once. ``stems`` in order of the text; sets are of stems, but ``numbers`` and ``names`` (lower case)."""

    stems: tuple[str, ...]
    words: frozenset[str]
    content: frozenset[str]
    numbers: frozenset[str]
    names: frozenset[str]
    negations: int
    poles: frozenset[str]
    question: str
    trigrams: frozenset[str]


def stem(word: str) -> str:
    """``word`` without a common English ending; crude on purpose, two forms of a word only have to meet."""
    for ending in _ENDINGS:
        if len(word) > len(ending) + 3 and word.endswith(ending):
            return word[: -len(ending)]
    return word


def tokens_of(text: str) -> list[str]:
    """Words and numbers in lower case, typographic apostrophes made plain; at most what 4,000 characters hold."""
    return [token.lower().replace("’", "'") for token in _TOKEN.findall(text[:MAX_CHARS])]


def read(text: str) -> Wording:
    """Read ``text`` (its first 4,000 characters)."""
    tokens = tokens_of(text)
    stems = tuple(stem(token) for token in tokens)
    plain = " ".join(tokens)
    return Wording(
        stems=stems,
        words=frozenset(stems),
        content=frozenset(stem(token) for token in tokens if token not in _FUNCTION_WORDS),
        numbers=frozenset(token for token in tokens if token[0].isdigit()),
        names=frozenset(name.lower().rstrip(".") for name in _NAME.findall(text[:MAX_CHARS])),
        negations=sum(token in _NEGATIONS for token in tokens),
        poles=frozenset(token for token in tokens if token in _POLES),
        question=_question(tokens),
        trigrams=frozenset(plain[at : at + 3] for at in range(len(plain) - 2)),
    )


_POLES: Final = frozenset(word for pair in _OPPOSITES for word in pair)


def _question(tokens: Sequence[str]) -> str:
    for at, word in enumerate(tokens):
        if word in _QUESTIONS:
            following = tokens[at + 1] if at + 1 < len(tokens) else ""
            return f"how {following}" if word == "how" and following in _HOW else _SAME_QUESTION.get(word, word)
    return ""


def negation_differs(a: Wording, b: Wording) -> bool:
    """Whether one text negates and the other does not, or they stand at opposite poles («with» / «without»)."""
    if (a.negations > 0) != (b.negations > 0):
        return True
    return any(
        (left in a.poles and right in b.poles and right not in a.poles and left not in b.poles)
        or (right in a.poles and left in b.poles and left not in a.poles and right not in b.poles)
        for left, right in _OPPOSITES
    )


def rarity(word: str) -> float:
    """In [0.35, 1]: longer words say more. Stands in for an inverse document frequency, which would need a corpus as state."""
    return min(1.0, 0.25 + 0.1 * len(word))


FEATURES: Final = (
    "jaccard",
    "containment",
    "shared_content",
    "less_missing",
    "more_missing",
    "most_telling",
    "less_telling",
    "pairs",
    "length_ratio",
    "log_length",
    "numbers_differ",
    "numbers_conflict",
    "negation",
    "question",
    "names_missing",
    "names_conflict",
    "order",
    "trigrams",
    "same_content",
    "one_contains",
    "shared_weight",
)


def agreement(a: Wording, b: Wording) -> tuple[float, ...]:
    """How far ``a`` and ``b`` agree, in the order of ``FEATURES``; symmetric; every value is finite, most in [0, 1]."""
    shared = a.words & b.words
    missing_b, missing_a = a.content - b.content, b.content - a.content
    common = a.content & b.content
    weight = sum(map(rarity, common))
    lacks_b, lacks_a = sum(map(rarity, missing_b)), sum(map(rarity, missing_a))
    telling_b, telling_a = max(map(rarity, missing_b), default=0.0), max(map(rarity, missing_a), default=0.0)
    new_names_a, new_names_b = len(a.names - b.names - b.words), len(b.names - a.names - a.words)
    pairs_a, pairs_b = set(zip(a.stems, a.stems[1:], strict=False)), set(zip(b.stems, b.stems[1:], strict=False))
    short, long = sorted((len(a.stems), len(b.stems)))
    return (
        _share(len(shared), len(a.words | b.words)),
        _share(len(shared), min(len(a.words), len(b.words))),
        weight / (weight + lacks_a + lacks_b) if weight + lacks_a + lacks_b else 0.0,
        min(lacks_a, lacks_b, 8.0),
        min(max(lacks_a, lacks_b), 8.0),
        max(telling_a, telling_b),
        min(telling_a, telling_b),
        _share(len(pairs_a & pairs_b), len(pairs_a | pairs_b)),
        1.0 - _share(short, long),
        min(4.0, (1 + short) ** 0.5),
        float(a.numbers != b.numbers),
        float(bool(a.numbers - b.numbers) and bool(b.numbers - a.numbers)),
        float(negation_differs(a, b)),
        float(a.question != b.question),
        float(min(3, new_names_a + new_names_b)),
        float(new_names_a > 0 and new_names_b > 0),
        float([word for word in a.stems if word in shared] != [word for word in b.stems if word in shared]),
        _share(len(a.trigrams & b.trigrams), len(a.trigrams | b.trigrams)),
        float(not missing_a and not missing_b),
        float(not missing_a or not missing_b),
        min(weight, 8.0),
    )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
