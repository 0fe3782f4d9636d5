"""Plausible values for a field by its name: texts, ranges of numbers, flags. Called by shapes.py. Pure given an Entity."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from agents.llm.simulated.entity import MATERIALS, Entity, has_any
from agents.llm.simulated.rules import words_of
from agents.llm.simulated.vocabulary import BAD_NEWS, BIRTH, DATED, KINDS, LONG, NUMBERS

_INTERESTS = (
    "gardening",
    "chess",
    "running",
    "pottery",
    "cycling",
    "astronomy",
    "cooking",
    "sailing",
    "painting",
    "climbing",
    "jazz",
    "travel",
)
_STATUSES = ("active", "pending", "completed", "on hold", "archived")
_COLOURS = ("blue", "green", "black", "white", "red", "grey", "yellow", "silver")
_CATEGORIES = ("home", "outdoor", "office", "electronics", "clothing", "kitchen", "sports", "garden")
_DEGREES = ("Secondary school", "Bachelor's degree", "Master's degree", "Doctorate", "Vocational training")
_CHANNELS = ("email", "phone", "sms", "post", "chat")
_DEPARTMENTS = ("Finance", "Logistics", "Research", "Sales", "Support", "Design")

Maker = Callable[[Entity], Any]


def _pick(*values: str) -> Maker:
    return lambda e: e.rng.choice(values)


def _code(prefix: str, digits: int) -> Maker:
    return lambda e: f"{prefix}{e.rng.randrange(10 ** (digits - 1), 10**digits)}"


_TEXTS: Mapping[str, Maker] = {
    "first name": lambda e: e.first,
    "given name": lambda e: e.first,
    "forename": lambda e: e.first,
    "last name": lambda e: e.last,
    "family name": lambda e: e.last,
    "surname": lambda e: e.last,
    "full name": lambda e: f"{e.first} {e.last}",
    "user name": lambda e: e.handle.replace(".", ""),
    "username": lambda e: e.handle.replace(".", ""),
    "login": lambda e: e.handle.replace(".", ""),
    "handle": lambda e: e.handle.replace(".", "_"),
    "author": lambda e: f"{e.first} {e.last}",
    "owner": lambda e: f"{e.first} {e.last}",
    "customer": lambda e: f"{e.first} {e.last}",
    "product name": lambda e: e.product(),
    "product": lambda e: e.product(),
    "item": lambda e: e.product(),
    "company name": lambda e: e.company,
    "company": lambda e: e.company,
    "employer": lambda e: e.company,
    "organization": lambda e: e.company,
    "organisation": lambda e: e.company,
    "vendor": lambda e: e.company,
    "supplier": lambda e: e.company,
    "manufacturer": lambda e: e.company,
    "brand": lambda e: e.company.split()[0].strip(","),
    "name": lambda e: e.name(),
    "email": lambda e: f"{e.handle}@example.{e.rng.choice(('com', 'org', 'net'))}",
    "mail": lambda e: f"{e.handle}@example.com",
    "phone": lambda e: f"+1-555-{e.rng.randint(200, 999)}-{e.rng.randint(1000, 9999)}",
    "mobile": lambda e: f"+1-555-{e.rng.randint(200, 999)}-{e.rng.randint(1000, 9999)}",
    "telephone": lambda e: f"+1-555-{e.rng.randint(200, 999)}-{e.rng.randint(1000, 9999)}",
    "fax": lambda e: f"+1-555-{e.rng.randint(200, 999)}-{e.rng.randint(1000, 9999)}",
    "street": lambda e: e.faker.street_address(),
    "address": lambda e: f"{e.faker.street_address()}, {e.city}",
    "city": lambda e: e.city,
    "town": lambda e: e.city,
    "state": lambda e: e.state,
    "region": lambda e: e.faker.state(),
    "province": lambda e: e.faker.state(),
    "country code": lambda e: e.faker.country_code(),
    "country": lambda e: e.faker.country(),
    "zip": lambda e: e.faker.postcode(),
    "zip code": lambda e: e.faker.postcode(),
    "postcode": lambda e: e.faker.postcode(),
    "postal code": lambda e: e.faker.postcode(),
    "location": lambda e: f"{e.city}, {e.state}",
    "occupation": lambda e: e.faker.job().split(",")[0],
    "job": lambda e: e.faker.job().split(",")[0],
    "job title": lambda e: e.faker.job().split(",")[0],
    "profession": lambda e: e.faker.job().split(",")[0],
    "position": lambda e: e.faker.job().split(",")[0],
    "department": _pick(*_DEPARTMENTS),
    "education": _pick(*_DEGREES),
    "education level": _pick(*_DEGREES),
    "degree": _pick(*_DEGREES),
    "gender": _pick("female", "male", "non-binary"),
    "language": lambda e: e.faker.language_name(),
    "locale": lambda e: e.faker.locale().replace("_", "-"),
    "nationality": lambda e: e.faker.country(),
    "url": lambda e: f"https://www.example.com/{e.faker.slug()}",
    "website": lambda e: f"https://www.example.com/{e.faker.slug()}",
    "link": lambda e: f"https://www.example.com/{e.faker.slug()}",
    "image": lambda e: f"https://images.example.com/{e.faker.slug()}.jpg",
    "avatar": lambda e: f"https://images.example.com/{e.handle}.png",
    "slug": lambda e: e.faker.slug(),
    "domain": lambda e: f"{e.faker.word()}.example.com",
    "host": lambda e: f"{e.faker.word()}.example.com",
    "ip": lambda e: e.faker.ipv4_private(),
    "mac": lambda e: e.faker.mac_address(),
    "path": lambda e: f"/{e.faker.word()}/{e.faker.word()}",
    "file": lambda e: e.faker.file_name(),
    "filename": lambda e: e.faker.file_name(),
    "version": lambda e: f"{e.rng.randint(0, 9)}.{e.rng.randint(0, 20)}.{e.rng.randint(0, 9)}",
    "uuid": lambda e: e.faker.uuid4(),
    "guid": lambda e: e.faker.uuid4(),
    "sku": lambda e: f"{e.faker.lexify('???').upper()}-{e.rng.randint(1000, 9999)}",
    "barcode": lambda e: e.faker.ean13(),
    "ean": lambda e: e.faker.ean13(),
    "isbn": lambda e: e.faker.isbn13(),
    "iban": lambda e: e.faker.iban(),
    "vin": lambda e: e.faker.vin(),
    "currency": _pick("USD", "EUR", "GBP", "CHF"),
    "colour": _pick(*_COLOURS),
    "color": _pick(*_COLOURS),
    "material": lambda e: e.rng.choice(MATERIALS),
    "size": _pick("S", "M", "L", "XL"),
    "category": _pick(*_CATEGORIES),
    "weight": lambda e: f"{e.rng.randint(2, 90) / 10} kg",
    "dimensions": lambda e: f"{e.rng.randint(5, 90)} x {e.rng.randint(5, 60)} x {e.rng.randint(2, 40)} cm",
    "height": lambda e: f"{e.rng.randint(5, 200)} cm",
    "width": lambda e: f"{e.rng.randint(5, 200)} cm",
    "warehouse": lambda e: f"{e.city} warehouse {e.rng.choice('ABCD')}",
    "status": _pick(*_STATUSES),
    "priority": _pick("low", "medium", "high"),
    "severity": _pick("minor", "major", "critical"),
    "level": _pick("basic", "intermediate", "advanced"),
    "tier": _pick("basic", "standard", "plus"),
    "plan": _pick("basic", "standard", "plus"),
    "type": _pick("standard", "special", "trial"),
    "role": _pick("member", "editor", "administrator"),
    "sentiment": _pick("positive", "neutral", "negative"),
    "mood": _pick("calm", "cheerful", "tense"),
    "channel": _pick(*_CHANNELS),
    "method": _pick("card", "transfer", "invoice"),
    "interest": _pick(*_INTERESTS),
    "interests": _pick(*_INTERESTS),
    "hobbies": _pick(*_INTERESTS),
    "hobby": _pick(*_INTERESTS),
    "tag": lambda e: e.faker.word(),
    "tags": lambda e: e.faker.word(),
    "keyword": lambda e: e.faker.word(),
    "skill": _pick("planning", "welding", "statistics", "negotiation", "drafting", "writing"),
    "skills": _pick("planning", "welding", "statistics", "negotiation", "drafting", "writing"),
    "title": lambda e: f"{e.faker.prefix()}" if e.kind == "person" else e.faker.catch_phrase(),
    "subject": lambda e: e.faker.catch_phrase(),
    "headline": lambda e: e.faker.catch_phrase(),
    "slogan": lambda e: e.faker.catch_phrase(),
    "id": lambda e: f"{(e.kind or 'rec')[:3]}-{e.rng.randrange(16**8):08x}",
    "code": _code("C", 6),
    "number": _code("", 8),
    "key": lambda e: e.faker.slug(),
    "token": lambda e: f"{e.rng.randrange(16**16):016x}",
    "hash": lambda e: f"{e.rng.randrange(16**32):032x}",
    "timezone": lambda e: e.faker.timezone(),
    "duration": lambda e: f"{e.rng.randint(1, 12)} hours",
    "equation": lambda e: f"{e.rng.randint(2, 9)} + {e.rng.randint(2, 9)}",
}


def kind_of(words: tuple[str, ...]) -> str:
    """What the words are about: person, product, company, place, thing; "" when they do not say. The last word that says wins."""
    for word in reversed(words):
        found = KINDS.get(word) or KINDS.get(word.removesuffix("s"))
        if found:
            return found
    return ""


def is_moment(name: str) -> bool:
    """Whether a text field of this name holds a date or time."""
    words = words_of(name)
    return bool(words) and (words[-1] in DATED or has_any(words, BIRTH)) and "zone" not in words


def text_for(name: str, entity: Entity) -> str:
    """A text for a field of this name."""
    words = words_of(name)
    if "email" in words or words[-2:] == ("e", "mail"):
        return str(_TEXTS["email"](entity))
    for size in (2, 1):
        maker = _TEXTS.get(" ".join(words[-size:])) or _TEXTS.get(" ".join(words[-size:]).removesuffix("s"))
        if maker is not None and words:
            return str(maker(entity.as_kind(kind_of(words[:-1]))))
    if has_any(words, LONG):
        return entity.sentence()
    if is_moment(name):
        moment = entity.moment(words)
        return moment.strftime("%H:%M") if words[-1] == "time" and len(words) == 1 else moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    return entity.phrase()


def range_for(name: str) -> tuple[float, float]:
    """A plausible range for a number of this name."""
    for word in reversed(words_of(name)):
        found = NUMBERS.get(word) or NUMBERS.get(word.removesuffix("s"))
        if found:
            return found
    return (1, 500)


def truth_for(name: str, rng: Random) -> bool:
    """True or false for a flag of this name: good news is more likely than bad."""
    bad = has_any(words_of(name), BAD_NEWS)
    return rng.random() < (0.1 if bad else 0.75)
