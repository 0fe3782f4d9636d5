"""One thing that an object describes: what its fields share, so that a person's e-mail fits the name.

Called by fields.py and shapes.py.
The data behind it is Faker's, seeded per answer.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from random import Random
from typing import Any

from faker import Faker

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
        if has_any(words, BIRTH):
            return _EPOCH - timedelta(days=self.rng.randint(20 * 365, 65 * 365))
        if has_any(words, _FUTURE):
            return _EPOCH + timedelta(days=self.rng.randint(5, 200), minutes=self.rng.randint(0, 1400))
        if has_any(words, _LATER):
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


BIRTH = frozenset({"birth", "dob", "birthday", "birthdate", "born"})
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


def has_any(words: tuple[str, ...], members: frozenset[str]) -> bool:
    return not members.isdisjoint(words)
