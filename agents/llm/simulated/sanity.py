"""Common sense about one value by its field's name: what any careful reader would object to. Pure.

Called by critic.py (to object) and by shapes.py (not to keep what is plainly wrong).
"""

from __future__ import annotations

import re
from datetime import datetime

from agents.llm.simulated.entity import has_any
from agents.llm.simulated.fields import is_moment
from agents.llm.simulated.rules import words_of
from agents.llm.simulated.vocabulary import NEVER_NEGATIVE, PLACEHOLDERS
from agents.records import Json

_EMAIL = re.compile(r"[^@\s.]+(?:\.[^@\s.]+)*@[^@\s.]+(?:\.[^@\s.]+)+")
_URL = re.compile(r"(?:[a-z][a-z0-9+.-]*://\S+|www\.\S+|/\S*|[\w-]+(?:\.[\w-]+)+\S*)", re.I)
_CLOCK = re.compile(r"\d{1,2}:\d{2}(:\d{2})?")
_LINKS = frozenset({"url", "website", "link", "homepage", "uri"})
_PHONES = frozenset({"phone", "mobile", "telephone", "fax"})


def problem_with(name: str, value: Json) -> str | None:
    """What is wrong with ``value`` as a field called ``name``, as a predicate ("is empty"); None when nothing is."""
    words = words_of(name)
    if value is None:
        return "is missing"
    if isinstance(value, str):
        return _with_text(words, name, value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if value < 0 and has_any(words, NEVER_NEGATIVE):
        return f"is {value} and must not be negative"
    if "age" in words[-1:] and value > 125:
        return f"is {value}, which is not a plausible age"
    if words[-1:] in (("percent",), ("percentage",), ("discount",)) and value > 100:
        return f"is {value} and must not be above 100"
    if words[-1:] in (("latitude",), ("lat",)) and abs(value) > 90:
        return f"is {value} and must lie between -90 and 90"
    return None


def _with_text(words: tuple[str, ...], name: str, value: str) -> str | None:
    text = value.strip()
    if not text:
        return "is empty"
    if text.lower() in PLACEHOLDERS:
        return f"is only a placeholder ({text[:40]!r})"
    if ("email" in words or words[-2:] == ("e", "mail")) and not _EMAIL.fullmatch(text):
        return f"is not a valid e-mail address ({text[:60]!r})"
    if has_any(words[-1:], _LINKS) and not _URL.fullmatch(text):
        return f"is not a valid URL ({text[:60]!r})"
    if has_any(words[-1:], _PHONES) and sum(char.isdigit() for char in text) < 5:
        return f"is not a valid phone number ({text[:40]!r})"
    if is_moment(name) and any(char.isdigit() for char in text) and moment_of(text) is None and not _CLOCK.fullmatch(text):
        return f"is not a valid ISO-8601 date ({text[:40]!r})"
    return None


def moment_of(text: str) -> datetime | None:
    """The time that an ISO-8601 text names, without its zone; None when it is none."""
    try:
        return datetime.fromisoformat(text.strip().replace("Z", "+00:00")).replace(tzinfo=None)
    except ValueError:
        return None
