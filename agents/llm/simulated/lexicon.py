"""Which of several labels suits a text: by mention, mood, urgency, shared words. Pure; for enums and classification."""

from __future__ import annotations

import re
from collections.abc import Sequence

from agents.llm.simulated.scalars import mentions
from agents.llm.simulated.vocabulary import BAD_WORDS, CALM_WORDS, GOOD_WORDS, STOP, URGENT_WORDS

MAX_CHARS = 20_000
_WORD = re.compile(r"[a-zà-ÿ]+(?:-[a-z]+)*", re.I)
_GOOD_LABELS = ("positive", "good", "happy", "satisfied", "praise", "favourable", "favorable")
_BAD_LABELS = ("negative", "bad", "unhappy", "dissatisfied", "complaint", "unfavourable", "angry")
_CALM_LABELS = ("low", "minor", "p3", "p4", "trivial")
_URGENT_LABELS = ("critical", "urgent", "high", "major", "p1", "severe")
_NOT = frozenset({"not", "never", "no", "hardly", "isn't", "wasn't", "don't", "didn't"})
_TOPICS: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        ("billing", "payment", "finance", "invoice"),
        "invoice charged charge refund bill billed payment paid card bank price money fee",
    ),
    (
        ("technical", "bug", "tech", "engineering", "it", "software"),
        "error crash bug screen login app server install code page fails api",
    ),
    (("shipping", "delivery", "logistics"), "parcel package delivery arrived tracking courier late shipped shipping order"),
    (("sales", "quote", "purchase"), "buy quote offer discount demo licence license upgrade purchase pricing"),
    (("account", "access", "security"), "password login account locked access user profile sign hacked"),
    (("sports", "sport"), "match team goal season player league coach win game"),
    (("science", "research"), "study researchers experiment cells physics species planet theory data"),
    (("politics", "government"), "minister election parliament vote law government president policy"),
    (("food", "cooking", "restaurant"), "recipe bake cook bread soup oven dish taste restaurant meal"),
    (("travel", "tourism"), "flight hotel trip train beach journey airport tour visit"),
    (("health", "medical"), "doctor patient pain medicine symptom hospital treatment fever"),
    (("spam", "junk"), "winner prize click free offer lottery claim congratulations"),
)


def words_in(text: str) -> list[str]:
    """The words of ``text`` in lower case, in order."""
    return [word.lower() for word in _WORD.findall(text[:MAX_CHARS])]


def choose(options: Sequence[str], text: str) -> str | None:
    """The option that suits ``text``; None when nothing speaks for any of them."""
    counts = [mentions(option, text[:MAX_CHARS]) for option in options]
    if all(counts):  # the text lists the options; only further mentions say something
        counts = [count - 1 for count in counts]
    best = max(counts, default=0)
    if best and counts.count(best) == 1:
        return options[counts.index(best)]
    words = words_in(text)
    return _by_mood(options, words) or _by_urgency(options, words) or _by_topic(options, words)


def mood(words: Sequence[str]) -> int:
    """Good words minus bad ones; a "not" before one turns it round."""
    score = 0
    for place, word in enumerate(words):
        value = (word in GOOD_WORDS) - (word in BAD_WORDS)
        turned = not _NOT.isdisjoint(words[max(0, place - 3) : place])
        score += -value if turned else value
    return score


def _label(options: Sequence[str], names: Sequence[str]) -> str | None:
    return next((option for name in names for option in options if option.lower() == name), None)


def _by_mood(options: Sequence[str], words: Sequence[str]) -> str | None:
    good, bad = _label(options, _GOOD_LABELS), _label(options, _BAD_LABELS)
    if good is None or bad is None:
        return None
    score = mood([word for word in words if word not in {option.lower() for option in options}])
    if score:
        return good if score > 0 else bad
    return _label(options, ("neutral", "mixed"))


def _by_urgency(options: Sequence[str], words: Sequence[str]) -> str | None:
    calm, urgent = _label(options, _CALM_LABELS), _label(options, _URGENT_LABELS)
    if calm is None or urgent is None:
        return None
    labels = {option.lower() for option in options}
    heard = [word for word in words if word not in labels]
    score = sum((word in URGENT_WORDS) - (word in CALM_WORDS) for word in heard)
    if score:
        return urgent if score > 0 else calm
    return _label(options, ("medium", "normal", "moderate", "p2"))


def _by_topic(options: Sequence[str], words: Sequence[str]) -> str | None:
    heard = set(words) - STOP
    scores = []
    for option in options:
        own = set(words_in(option))
        hints = {hint for names, line in _TOPICS if own & set(names) for hint in line.split()}
        near = sum(1 for word in heard for mine in own if len(mine) > 4 and word[:5] == mine[:5] and word != mine)
        scores.append(len(hints & heard) + near)
    best = max(scores, default=0)
    return options[scores.index(best)] if best and scores.count(best) == 1 else None
