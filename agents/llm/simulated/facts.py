"""Facts in plain text by a field's name: "Berta is 52 years old" has an age. Pure; called by shapes.py and words.py."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from agents.llm.simulated.rules import words_of
from agents.llm.simulated.vocabulary import word_set
from agents.records import Json

MAX_CHARS = 20_000
EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
URL = re.compile(r"https?://[^\s)\"'>]+[^\s)\"'>.,;]")
PHONE = re.compile(r"\+?\d[\d ()/-]{6,18}\d")
DATE = re.compile(
    r"\d{4}-\d{2}-\d{2}(?:T[\d:.]+Z?)?|\d{1,2}[./]\d{1,2}[./]\d{2,4}"
    r"|(?:\d{1,2}(?:st|nd|rd|th)? )?(?:January|February|March|April|May|June|July|August|September|October|November|December)"
    r"(?: \d{1,2}(?:st|nd|rd|th)?)?(?:,? \d{4})?"
)
MONEY = re.compile(r"(?:[$€£]\s?(\d[\d,]*(?:\.\d+)?)|(\d[\d,]*(?:\.\d+)?)\s?(?:€|\$|£|USD|EUR|GBP|CHF|dollars|euros|pounds))")
NUMBER = re.compile(r"(?<![\w.-])-?\d[\d,]*(?:\.\d+)?(?![\w-])")
PERSON = re.compile(r"\b(?:(?:Mr|Mrs|Ms|Dr)\.? )?([A-Z][a-zà-ÿ'-]+(?: (?:van |de |von |[A-Z]\.? )?[A-Z][a-zà-ÿ'-]+){0,2})")
_AGE = re.compile(r"(\d{1,3})[ -]?(?:years?|yrs?|y/o)\b|\b(?:age[d]?|is|turned|turns)\s*:?\s*(\d{1,3})\b", re.I)
_PLACE = re.compile(r"\b(?:in|from|to|at|near)\s+((?:[A-Z][\w'-]+)(?: [A-Z][\w'-]+){0,2})")
_FIRM = re.compile(
    r"\b(?:at|for|by|with)\s+((?:[A-Z][\w&'-]+)(?: (?:[A-Z][\w&'-]+|&)){0,3}(?: (?:Inc|Ltd|GmbH|Corp|LLC|AG)\.?)?)"
)
_JOB = re.compile(r"\b(?:is|was|as|works as|worked as)\s+an?\s+([a-z]+(?: [a-z]+)?)(?=[,. ]|$)")
_NOT_NAMES = word_set("""
    the a an i we he she it they this that these there please extract read find from in on at to and or but for
    with what who when return give order invoice contact call my our your his her text name age email phone date
    monday tuesday wednesday thursday friday saturday sunday january february march april may june july august
    september october november december answer keep use identify parse
    """)

Finder = Callable[[str], str | None]


def _first(pattern: re.Pattern[str]) -> Finder:
    def find(text: str) -> str | None:
        match = pattern.search(text)
        return None if match is None else next((group for group in match.groups() if group), match.group())

    return find


def people(text: str) -> list[str]:
    """Names of people as far as capital letters show them, those of several words first, in order."""
    found = []
    for match in PERSON.finditer(text[:MAX_CHARS]):
        words = match[1].split()
        while words and words[0].lower().rstrip(".") in _NOT_NAMES:
            words.pop(0)
        while words and words[-1].lower() in _NOT_NAMES:
            words.pop()
        if words and words[0][0].isupper():
            found.append(" ".join(words).removesuffix("'s"))
    return sorted(dict.fromkeys(found), key=lambda name: " " not in name)


def _person(text: str) -> str | None:
    return next(iter(people(text)), None)


def _part(place: int) -> Finder:
    def find(text: str) -> str | None:
        name = _person(text)
        words = name.split() if name else []
        return words[place] if len(words) > 1 or (words and place == 0) else None

    return find


_BY_NAME: Mapping[str, Finder] = {
    "email": _first(EMAIL),
    "mail": _first(EMAIL),
    "url": _first(URL),
    "website": _first(URL),
    "link": _first(URL),
    "phone": _first(PHONE),
    "telephone": _first(PHONE),
    "mobile": _first(PHONE),
    "date": _first(DATE),
    "day": _first(DATE),
    "deadline": _first(DATE),
    "age": _first(_AGE),
    "price": _first(MONEY),
    "amount": _first(MONEY),
    "cost": _first(MONEY),
    "total": _first(MONEY),
    "salary": _first(MONEY),
    "first name": _part(0),
    "last name": _part(-1),
    "surname": _part(-1),
    "name": _person,
    "person": _person,
    "customer": _person,
    "author": _person,
    "sender": _person,
    "city": _first(_PLACE),
    "location": _first(_PLACE),
    "place": _first(_PLACE),
    "destination": _first(_PLACE),
    "company": _first(_FIRM),
    "employer": _first(_FIRM),
    "organization": _first(_FIRM),
    "job": _first(_JOB),
    "occupation": _first(_JOB),
    "profession": _first(_JOB),
}


def fact(text: str, name: str) -> str | None:
    """What ``text`` says of a field called ``name``: by a label ("order number: 4711"), else by what such a field looks like."""
    text = text[:MAX_CHARS]
    words = words_of(name)
    if not words:
        return None
    label = r"[\s_-]*".join(re.escape(word) for word in words)
    if "email" in words:
        label = r"e-?mail(?: address)?"
    labelled = re.search(rf"\b{label}\s*(?:is|was|:|=|of|number|no\.?|#)\s*:?\s*([^\n,;|]{{1,80}})", text, re.I)
    if labelled and not labelled[1].lower().startswith(("a ", "the text", "and ", "following")):
        return labelled[1].strip().rstrip(".").strip(" \"'")
    for size in (2, 1):
        finder = _BY_NAME.get(" ".join(words[-size:]))
        if finder is not None:
            return finder(text)
    counted = re.search(rf"\b(\d[\d,.]*)\s+(?:\w+\s+)?{re.escape(words[-1].removesuffix('s'))}", text, re.I)
    return counted[1].rstrip(".,") if counted else None


def as_type(found: str, kind: str) -> Json:
    """``found`` as a value of a JSON type; None where it is none of that type."""
    if kind == "string":
        return found
    if kind == "boolean":
        return {"yes": True, "true": True, "no": False, "false": False}.get(found.lower())
    number = NUMBER.search(found.replace("$", "").replace("€", "").replace("£", ""))
    if number is None:
        return None
    value = float(number.group().replace(",", ""))
    if kind == "integer":
        return int(value) if value.is_integer() else None
    return value
