"""A simulated pool with distinct strengths, and traffic for it: what ops/bench/routers.py lets routers evolve on.

The backends are simulated models (agents/llm/simulated) with skills of their own; they really answer each request, and an
answer is right where it is what the same model says with all its skill. A small library of solved requests answers what was
asked before with other numbers. Nothing here is known to the model that writes the routers: it sees measured mistakes alone.
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from random import Random
from typing import Any

from agents.llm.simulated.answers import answer, seed_of
from agents.llm.simulated.profiles import Kind, Profile
from agents.llm.simulated.reading import Reading
from agents.records import RequestId
from runtime.learner.advice import features_of
from runtime.learner.shadow import worth
from runtime.library.looked import Looked
from runtime.open_request import OpenRequest
from runtime.records import Request
from runtime.routing.lessons import ArmKey
from runtime.routing.records import Arm, Weights

WEIGHTS = Weights(per_usd=300.0, per_s=0.002)
"""What an operator might set who pays for each answer: the dearest backend costs about a fifth of a perfect answer."""
REUSE: ArmKey = ("reuse", "library")
NEAR = 0.9
"""From this similarity on, a stored program answers with the new numbers."""
CHARS_A_TOKEN = 4

_KINDS: tuple[Kind, ...] = (
    "words", "lists", "extraction", "classification", "summary", "translation", "structured", "plan", "maths", "code", "critique",
)  # fmt: skip


def _profile(name: str, price: float, speed: float, usual: float, **skills: float) -> Profile:
    known: dict[Kind, float] = {kind: skills.get(kind, usual) for kind in _KINDS}
    return Profile(
        name=name,
        first_token_s=0.1 * price**0.3,
        first_token_sigma=0.3,
        tokens_per_s=speed,
        tokens_per_s_sigma=0.15,
        input_usd_per_mtok=price,
        output_usd_per_mtok=4 * price,
        schema_compliance=1.0,
        skills=known,
        failure_rate=0.0,
    )


POOL = (
    _profile("swift", 0.05, 400.0, 0.9, maths=0.35, code=0.3, translation=0.45, summary=0.6),
    _profile("counter", 0.5, 150.0, 0.6, maths=0.88, code=0.95, translation=0.3),
    _profile("linguist", 0.5, 150.0, 0.9, maths=0.4, code=0.3, translation=0.97, summary=0.96),
    _profile("grand", 4.0, 70.0, 0.97),
)
_PERFECT = replace(POOL[-1], name="perfect", skills=dict.fromkeys(_KINDS, 1.0))
ARMS = (
    *(Arm(strategy="single", node="node", backend=each.name, usd_per_1m=2.5 * each.input_usd_per_mtok) for each in POOL),
    Arm(strategy=REUSE[0], node="node", backend=REUSE[1], usd_per_1m=0.0),
)
KEYS: tuple[ArmKey, ...] = tuple((arm.strategy, arm.backend) for arm in ARMS)

_SENTENCES = (
    "The harbour was closed on Monday because of a storm", "My friend has a new house near the river",
    "The train to the city is late again", "Good morning, we need bread and coffee",
    "The old bridge was repaired last summer", "She reads a book about the sea every night",
)  # fmt: skip
_LATER = (
    "Ships waited outside for two days", "Nobody had told the guests", "It opened again on Tuesday",
    "The council paid for most of it", "Visitors were pleased with the result", "The owner blamed the weather",
)  # fmt: skip
_TOPICS = ("a glacier", "the tides", "a compiler", "photosynthesis", "inflation", "a lighthouse", "yeast", "a violin")
_THINGS = ("a bakery", "a sailing boat", "a small museum", "a garden cafe", "a chess club")
_LANGUAGES = ("French", "German", "Spanish")

_TEMPLATES: Mapping[str, Sequence[str]] = {
    "figures": (
        "What is {a} percent of {b}?", "How much is {a} * {b} + {c}?",
        "Work out {a} * {b} for me.", "What is {b} - {a}, exactly?",
        "How much is {b} / {c}? Only the number.", "Please work out {a} + {b} + {c}.",
    ),
    "programs": (
        "Write a Python function run(inputs) that returns the sum of values.",
        "Write a Python function run(inputs) that sorts the list values, largest first.",
        "Python: define run(inputs) which counts how many values there are, and explain nothing.",
        "Write a Python function run(inputs) that returns the product of numbers {a}.",
        "I need Python code, run(inputs), that reverses the list values.",
    ),
    "languages": (
        "Translate into {language}: {sentence}.", "Translate this to {language} for a letter: {sentence}.",
        "Please translate '{sentence}' into {language}.", "How would you translate '{sentence} at {a} percent' into {language}?",
    ),
    "digests": (
        "Summarise in one sentence: {sentence}. {later}. {later2}.",
        "Give me a summary of this note: {sentence}. {later}. {later2}.",
        "Summarise for my boss: {sentence}. {later}. {later2}. {later}.",
    ),
    "chat": (
        "Explain what {topic} is.", "List five names for {thing}.", "Tell me something about {topic}.",
        "Why do people like {thing}?",
        "Describe {topic} to a child of {c}.", "List {c} reasons to visit {thing}.",
    ),
    "reports": (
        "Invoice check {a}: what is {b} * {c}?", "Stock report for shelf {a}: what is {b} + {c}?",
        "Payroll line {a}: how much is {b} * {c}?",
    ),
}  # fmt: skip
MIX = {"figures": 0.2, "programs": 0.12, "languages": 0.18, "digests": 0.12, "chat": 0.23, "reports": 0.15}


@dataclass(frozen=True, slots=True)
class Came:
    """What came of one request with one arm."""

    quality: float
    cost_usd: float
    latency_s: float

    @property
    def worth(self) -> float:
        return worth(self.quality, self.cost_usd, self.latency_s, WEIGHTS)


class Asked:
    """One request: what routers see of it, and, once it is looked at, what comes of it with each arm."""

    def __init__(self, unit: str, domain: str, text: str, luck: int, hour: int) -> None:
        self.unit, self.domain, self._luck = unit, domain, luck
        self._messages = ({"role": "user", "content": text},)
        self._near = similarity(text)
        looked = Looked(result="miss", reason="", similarity=self._near)
        request = Request(request_id=RequestId(unit), source="native", messages=self._messages)
        run = OpenRequest(request=request, started=0.0, deadline_s=60.0, number=1, work_id=unit, library=looked)
        self.features: Mapping[str, Any] = features_of(run, ARMS, load=0.2, now=3600.0 * hour)
        self._came: dict[ArmKey, Came] = {REUSE: Came(float(self._near >= NEAR), 0.0, 0.02)}

    def came(self, key: ArmKey) -> Came:
        """The same whenever it is asked."""
        if key not in self._came:
            self._came[key] = self._answered(next(each for each in POOL if each.name == key[1]))
        return self._came[key]

    def best(self) -> float:
        """The worth of the best arm."""
        return max(self.came(key).worth for key in KEYS)

    def _answered(self, profile: Profile) -> Came:
        said = answer(Reading(self._messages), profile, self._luck).text
        tokens_in, tokens_out = 40 + len(self._messages[0]["content"]) // CHARS_A_TOKEN, 20 + len(said) // CHARS_A_TOKEN
        cost_usd = (tokens_in * profile.input_usd_per_mtok + tokens_out * profile.output_usd_per_mtok) / 1e6
        first_s, per_s = profile.latency(Random(self._luck))
        return Came(float(said == self._right), cost_usd, first_s + tokens_out / per_s)

    @cached_property
    def _right(self) -> str:
        return answer(Reading(self._messages), _PERFECT, self._luck).text


def _filled(template: str, rng: Random) -> str:
    first, second = rng.sample(_LATER, 2)
    return template.format(
        a=rng.randint(3, 97), b=rng.randint(100, 990), c=rng.randint(4, 29),
        language=rng.choice(_LANGUAGES), topic=rng.choice(_TOPICS),
        sentence=rng.choice(_SENTENCES), later=first, later2=second, thing=rng.choice(_THINGS),
    )  # fmt: skip


def _shape(text: str) -> str:
    return re.sub(r"\d+", "#", text).lower().translate(str.maketrans("", "", string.punctuation.replace("#", "")))


LIBRARY = frozenset(_shape(template.format(a=1, b=1, c=1)) for template in _TEMPLATES["reports"])
"""Solved before: the shapes of these requests, each with a program that takes the numbers."""


def similarity(text: str) -> float:
    """The share of words in common with the nearest solved request, 0 to 1."""
    words = set(_shape(text).split())
    return max(len(words & set(each.split())) / len(words | set(each.split())) for each in LIBRARY)


def draw(number: int, seed: int) -> Asked:
    """The ``number``-th request of a stream."""
    rng = Random(seed_of("routers", seed, number))
    domain = rng.choices(list(MIX), list(MIX.values()))[0]
    text = _filled(rng.choice(_TEMPLATES[domain]), rng)
    return Asked(f"{seed}-{number}", domain, text, rng.getrandbits(48), rng.randrange(24))
