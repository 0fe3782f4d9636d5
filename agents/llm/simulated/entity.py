"""What an object describes, so that its fields fit together. Called by fields.py and shapes.py; the data is Faker's, seeded.

A person's e-mail follows the name, an end comes after its begin, and what a prompt already says is known to the other fields.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from random import Random
from typing import Any

from faker import Faker

from agents.llm.simulated.vocabulary import BIRTH, FUTURE, LATER

_EPOCH = datetime(2026, 1, 15, 9, 30, tzinfo=UTC)
"""Dates lie around here; a clock would make answers differ from day to day."""
_ADJECTIVES = ("Compact", "Sturdy", "Quiet", "Bright", "Light", "Classic", "Smart", "Soft", "Swift", "Durable", "Modern", "Handy")
MATERIALS = ("oak", "steel", "cotton", "aluminium", "ceramic", "leather", "bamboo", "wool", "glass", "recycled plastic")
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
_KNOWN_AS = {
    "first name": "first",
    "given name": "first",
    "firstname": "first",
    "last name": "last",
    "surname": "last",
    "family name": "last",
    "lastname": "last",
    "company": "company",
    "company name": "company",
    "city": "city",
    "town": "city",
    "state": "state",
}


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

    def __init__(self, faker: Any, rng: Random, kind: str, topic: str, made: dict[str, Any] | None = None) -> None:
        self.faker, self.rng, self.kind, self.topic = faker, rng, kind, topic
        self._made: dict[str, Any] = {} if made is None else made

    def as_kind(self, kind: str) -> Entity:
        """The same thing seen as ``kind``: what is known stays known."""
        return self if not kind or kind == self.kind else Entity(self.faker, self.rng, kind, self.topic, self._made)

    def once(self, key: str, make: Callable[[], Any]) -> Any:
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def know(self, words: tuple[str, ...], value: str) -> None:
        """Tell what a field says already, so that the others follow it. ``words`` are those of its name."""
        name = " ".join(words)
        key = _KNOWN_AS.get(name)
        if key and value:
            self._made.setdefault(key, value)
        elif name in ("name", "full name", "customer", "author") and self.kind in ("", "person") and " " in value:
            first, _, last = value.partition(" ")
            self._made.setdefault("first", first)
            self._made.setdefault("last", last)

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
    def city(self) -> str:
        return str(self.once("city", self.faker.city))

    @property
    def state(self) -> str:
        return str(self.once("state", self.faker.state_abbr))

    @property
    def handle(self) -> str:
        text = f"{self.first}.{self.last}".lower().replace(" ", ".")
        plain = "".join(c for c in text if c.isascii() and (c.isalnum() or c == "."))
        return plain.strip(".").replace("..", ".")[:40].strip(".") or "someone"

    def moment(self, words: tuple[str, ...]) -> datetime:
        """A time for a field of these words: begins lie before ends, births long ago, what is next in the future."""
        base: datetime = self.once("begin", self._begin)
        if has_any(words, BIRTH):
            return _EPOCH - timedelta(days=self.rng.randint(20 * 365, 65 * 365))
        if has_any(words, FUTURE):
            return _EPOCH + timedelta(days=self.rng.randint(5, 200), minutes=self.rng.randint(0, 1400))
        if has_any(words, LATER):
            return base + timedelta(days=self.rng.randint(1, 58), minutes=self.rng.randint(1, 1400))
        return base

    def _begin(self) -> datetime:
        return _EPOCH - timedelta(days=self.rng.randint(60, 700), seconds=self.rng.randint(0, 86_399))

    def product(self) -> str:
        own = self.topic.split()[-1].title() if self.topic and self.kind == "product" and self.rng.random() < 0.3 else ""
        return f"{self.rng.choice(_ADJECTIVES)} {self.rng.choice(MATERIALS)} {own or self.rng.choice(_PRODUCTS)}"

    def name(self) -> str:
        if self.kind == "product":
            return str(self.once("product", self.product))
        if self.kind == "company":
            return self.company
        if self.kind == "place":
            return self.city
        if self.kind == "thing":
            return f"{self.rng.choice(_ADJECTIVES)} {self.faker.last_name()}"
        return f"{self.first} {self.last}"

    def phrase(self) -> str:
        return f"{self.rng.choice(_ADJECTIVES)} {self.faker.word()}".capitalize()

    def sentence(self) -> str:
        subject = self.topic or self.kind or "this entry"
        form = self.rng.choice(_SENTENCES)
        return form.format(
            topic=subject, Topic=subject[:1].upper() + subject[1:], bs=self.faker.bs(), phrase=self.faker.catch_phrase().lower()
        )


def has_any(words: tuple[str, ...], members: frozenset[str]) -> bool:
    """Whether one of ``words`` is a member."""
    return not members.isdisjoint(words)
