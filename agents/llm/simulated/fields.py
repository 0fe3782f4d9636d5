"""Plausible values for a field by its name. Called by shapes.py; the data behind it is Faker's, seeded per answer.

An ``Entity`` is what the fields of one object share, so that a person's e-mail fits the name and an end comes after its begin.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from random import Random
from typing import Any

from faker import Faker

from agents.llm.simulated.rules import words_of

_EPOCH = datetime(2026, 1, 15, 9, 30, tzinfo=UTC)
"""Dates lie around here; a clock would make answers differ from day to day."""


@lru_cache(maxsize=1)
def _faker() -> Any:
    return Faker("en_US", use_weighting=False)


def seeded_faker(seed: int) -> Any:
    """The one Faker of this process, seeded anew (building one costs a hundred times more)."""
    faker = _faker()
    faker.seed_instance(seed)
    return faker


class Entity:
    """One thing that an object describes. ``kind`` is a hint such as "product" or "company" (from names around it)."""

    def __init__(self, faker: Any, rng: Random, kind: str, topic: str) -> None:
        self.faker, self.rng, self.kind, self.topic = faker, rng, kind, topic
        self._made: dict[str, Any] = {}

    def once(self, key: str, make: Callable[[], Any]) -> Any:
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def know(self, key: str, value: str) -> None:
        """Tell what a field already says, so that the others follow it."""
        if value and key in ("first", "last", "company", "city", "state"):
            self._made.setdefault(key, value)

    @property
    def first(self) -> str:
        return str(self.once("first", self.faker.first_name))

    @property
    def last(self) -> str:
        return str(self.once("last", self.faker.last_name))

    @property
    def company(self) -> str:
        return str(self.once("company", self.faker.company))

    @property
    def handle(self) -> str:
        plain = "".join(c for c in f"{self.first}.{self.last}".lower() if c.isascii() and (c.isalnum() or c == "."))
        return plain.strip(".") or "someone"

    def moment(self, words: tuple[str, ...]) -> datetime:
        """A time for a field of these words: begins lie before ends, births long ago, what is next in the future."""
        base: datetime = self.once(
            "begin", lambda: _EPOCH - timedelta(days=self.rng.randint(60, 700), minutes=self.rng.randint(0, 1400))
        )
        if _any(words, _BIRTH):
            return _EPOCH - timedelta(days=self.rng.randint(20 * 365, 65 * 365))
        if _any(words, _FUTURE):
            return _EPOCH + timedelta(days=self.rng.randint(5, 200), minutes=self.rng.randint(0, 1400))
        if _any(words, _LATER):
            return base + timedelta(days=self.rng.randint(1, 58), minutes=self.rng.randint(1, 1400))
        return base

    def product(self) -> str:
        nouns = self.topic.split()[-1].title() if self.topic and self.kind == "product" and self.rng.random() < 0.3 else ""
        noun = nouns or self.rng.choice(_PRODUCTS)
        return f"{self.rng.choice(_ADJECTIVES)} {self.rng.choice(_MATERIALS)} {noun}"

    def name(self) -> str:
        if self.kind == "product":
            return self.product()
        if self.kind == "company":
            return self.company
        if self.kind == "place":
            return str(self.faker.city())
        if self.kind == "thing":
            return self.phrase()
        return f"{self.first} {self.last}"

    def phrase(self) -> str:
        return f"{self.rng.choice(_ADJECTIVES)} {self.faker.word()}".capitalize()

    def sentence(self) -> str:
        subject = self.topic or self.kind or "this entry"
        form = self.rng.choice(_SENTENCES)
        return form.format(
            topic=subject, Topic=subject[:1].upper() + subject[1:], bs=self.faker.bs(), phrase=self.faker.catch_phrase().lower()
        )


_BIRTH = frozenset({"birth", "dob", "birthday", "birthdate", "born"})
_FUTURE = frozenset(
    {"next", "due", "expiry", "expires", "expiration", "expected", "planned", "scheduled", "deadline", "restock", "eta"}
)
_LATER = frozenset(
    {
        "end",
        "ended",
        "ends",
        "updated",
        "modified",
        "last",
        "closed",
        "finished",
        "completed",
        "delivered",
        "to",
        "until",
        "checkout",
        "arrival",
        "resolved",
        "shipped",
    }
)
_ADJECTIVES = ("Compact", "Sturdy", "Quiet", "Bright", "Light", "Classic", "Smart", "Soft", "Swift", "Durable", "Modern", "Handy")
_MATERIALS = ("oak", "steel", "cotton", "aluminium", "ceramic", "leather", "bamboo", "wool", "glass", "recycled plastic")
_PRODUCTS = (
    "Lamp",
    "Backpack",
    "Kettle",
    "Desk",
    "Jacket",
    "Speaker",
    "Chair",
    "Notebook",
    "Bottle",
    "Keyboard",
    "Shelf",
    "Blanket",
)
_SENTENCES = (
    "{Topic} that helps to {bs}.",
    "A {phrase} made for {topic}.",
    "{Topic} built around a {phrase}.",
    "Made to {bs} wherever {topic} matters.",
)
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
    "address": lambda e: f"{e.faker.street_address()}, {e.once('city', e.faker.city)}",
    "city": lambda e: e.once("city", e.faker.city),
    "town": lambda e: e.once("city", e.faker.city),
    "state": lambda e: e.once("state", e.faker.state_abbr),
    "region": lambda e: e.faker.state(),
    "province": lambda e: e.faker.state(),
    "country code": lambda e: e.faker.country_code(),
    "country": lambda e: e.faker.country(),
    "zip": lambda e: e.faker.postcode(),
    "zip code": lambda e: e.faker.postcode(),
    "postcode": lambda e: e.faker.postcode(),
    "postal code": lambda e: e.faker.postcode(),
    "location": lambda e: f"{e.once('city', e.faker.city)}, {e.once('state', e.faker.state_abbr)}",
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
    "material": lambda e: e.rng.choice(_MATERIALS),
    "size": _pick("S", "M", "L", "XL"),
    "category": _pick(*_CATEGORIES),
    "weight": lambda e: f"{e.rng.randint(2, 90) / 10} kg",
    "dimensions": lambda e: f"{e.rng.randint(5, 90)} x {e.rng.randint(5, 60)} x {e.rng.randint(2, 40)} cm",
    "height": lambda e: f"{e.rng.randint(5, 200)} cm",
    "width": lambda e: f"{e.rng.randint(5, 200)} cm",
    "warehouse": lambda e: f"{e.once('city', e.faker.city)} warehouse {e.rng.choice('ABCD')}",
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
_LONG = frozenset(
    [
        "description",
        "summary",
        "text",
        "comment",
        "body",
        "content",
        "bio",
        "about",
        "notes",
        "note",
        "reason",
        "message",
        "feedback",
        "review",
        "details",
        "detail",
        "explanation",
        "rationale",
        "abstract",
        "overview",
        "answer",
        "instructions",
    ]
)
_DATED = frozenset(
    [
        "date",
        "at",
        "on",
        "time",
        "timestamp",
        "created",
        "updated",
        "modified",
        "birthday",
        "dob",
        "deadline",
        "expiry",
        "expires",
        "since",
        "until",
        "begin",
        "start",
        "end",
        "login",
        "restock",
    ]
)

_NUMBERS: Mapping[str, tuple[float, float]] = {
    "age": (19, 74),
    "year": (1990, 2025),
    "month": (1, 12),
    "day": (1, 28),
    "hour": (0, 23),
    "minute": (0, 59),
    "price": (4, 480),
    "msrp": (6, 600),
    "cost": (3, 400),
    "amount": (5, 900),
    "total": (10, 2400),
    "subtotal": (10, 2000),
    "tax": (1, 90),
    "fee": (1, 40),
    "balance": (50, 9000),
    "income": (28_000, 140_000),
    "salary": (30_000, 150_000),
    "revenue": (20_000, 900_000),
    "budget": (1000, 90_000),
    "quantity": (1, 60),
    "qty": (1, 60),
    "stock": (0, 400),
    "count": (1, 80),
    "discount": (0, 35),
    "percent": (0, 100),
    "percentage": (0, 100),
    "rate": (0, 20),
    "rating": (1, 5),
    "stars": (1, 5),
    "score": (40, 100),
    "confidence": (0.5, 1),
    "probability": (0, 1),
    "latitude": (-60, 65),
    "lat": (-60, 65),
    "longitude": (-170, 170),
    "lon": (-170, 170),
    "lng": (-170, 170),
    "weight": (0.2, 60),
    "height": (5, 200),
    "width": (5, 200),
    "length": (5, 200),
    "depth": (2, 120),
    "temperature": (-5, 34),
    "humidity": (20, 95),
    "speed": (3, 130),
    "distance": (1, 800),
    "duration": (1, 240),
    "port": (1024, 49151),
    "id": (1000, 99_999),
    "number": (1, 9999),
    "index": (0, 50),
    "rank": (1, 50),
    "rooms": (1, 6),
    "floor": (0, 12),
    "zip": (10_000, 99_999),
    "population": (800, 2_000_000),
}
_KINDS: Mapping[str, str] = {
    **dict.fromkeys(["product", "item", "article", "goods", "sku", "catalog", "catalogue", "merchandise", "listing"], "product"),
    **dict.fromkeys(
        [
            "company",
            "vendor",
            "supplier",
            "employer",
            "organization",
            "organisation",
            "business",
            "firm",
            "manufacturer",
            "brand",
        ],
        "company",
    ),
    **dict.fromkeys(["city", "place", "location", "venue", "station", "destination", "town"], "place"),
    **dict.fromkeys(
        [
            "event",
            "course",
            "project",
            "book",
            "movie",
            "song",
            "recipe",
            "plan",
            "task",
            "category",
            "dataset",
            "feature",
            "service",
            "team",
            "warehouse",
            "department",
        ],
        "thing",
    ),
    **dict.fromkeys(
        [
            "user",
            "person",
            "customer",
            "employee",
            "patient",
            "student",
            "author",
            "contact",
            "member",
            "client",
            "people",
            "profile",
            "account",
            "owner",
            "guest",
            "driver",
        ],
        "person",
    ),
}


def kind_of(words: tuple[str, ...]) -> str:
    """What the words are about: person, product, company, place, thing; "" when they do not say. The last word that says wins."""
    for word in reversed(words):
        found = _KINDS.get(word) or _KINDS.get(word.removesuffix("s"))
        if found:
            return found
    return ""


def is_moment(name: str) -> bool:
    """Whether a text field of this name holds a date or time."""
    words = words_of(name)
    return bool(words) and (words[-1] in _DATED or _any(words, _BIRTH)) and "zone" not in words


def text_for(name: str, entity: Entity) -> str:
    """A text for a field of this name."""
    words = words_of(name)
    if "email" in words or words[-2:] == ("e", "mail"):
        return str(_TEXTS["email"](entity))
    for size in (2, 1):
        maker = _TEXTS.get(" ".join(words[-size:])) or _TEXTS.get(" ".join(words[-size:]).removesuffix("s"))
        if maker is not None and words:
            return str(maker(_as_kind(entity, words[:-1])))
    if _any(words, _LONG):
        return entity.sentence()
    if is_moment(name):
        moment = entity.moment(words)
        return moment.strftime("%H:%M") if words[-1] == "time" and len(words) == 1 else moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    return entity.phrase()


def _as_kind(entity: Entity, words: tuple[str, ...]) -> Entity:
    kind = kind_of(words)
    if not kind or kind == entity.kind:
        return entity
    other = Entity(entity.faker, entity.rng, kind, entity.topic)
    other._made = entity._made
    return other


def range_for(name: str) -> tuple[float, float]:
    """A plausible range for a number of this name."""
    for word in reversed(words_of(name)):
        found = _NUMBERS.get(word) or _NUMBERS.get(word.removesuffix("s"))
        if found:
            return found
    return (1, 500)


def truth_for(name: str, rng: Random) -> bool:
    """True or false for a flag of this name: good news is more likely than bad."""
    bad = _any(
        words_of(name),
        frozenset({"deleted", "error", "failed", "blocked", "banned", "suspended", "expired", "fraud", "spam", "broken"}),
    )
    return rng.random() < (0.1 if bad else 0.75)


def _any(words: tuple[str, ...], members: frozenset[str]) -> bool:
    return not members.isdisjoint(words)
