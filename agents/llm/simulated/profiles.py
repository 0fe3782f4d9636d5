"""The simulated models: how fast, how dear, how obedient and how skilled each is.

Read by the server, and by the daemon for prices and capabilities. The numbers are made up so that the three differ in ways that a
router can learn; they describe no real product. Pure; imports only the project's words.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from types import MappingProxyType
from typing import Literal

from agents.records import Capability

Kind = Literal[
    "words",
    "lists",
    "extraction",
    "classification",
    "summary",
    "translation",
    "structured",
    "plan",
    "maths",
    "code",
    "critique",
]

_ALL: frozenset[Capability] = frozenset({"plan", "critique", "code", "words", "json_schema"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One simulated model. Latencies are lognormal: a median and a sigma (of the logarithm).

    ``skills`` are probabilities 0..1 that an answer of that kind is right; ``schema_compliance`` that a structured answer obeys
    its schema; ``failure_rate`` that a call answers 500.
    """

    name: str
    first_token_s: float
    first_token_sigma: float
    tokens_per_s: float
    tokens_per_s_sigma: float
    input_usd_per_mtok: float
    output_usd_per_mtok: float
    schema_compliance: float
    skills: Mapping[Kind, float]
    failure_rate: float
    capabilities: frozenset[Capability] = _ALL

    def skill(self, kind: Kind) -> float:
        """Probability 0..1 of a right answer; a kind that is not named gets the mean of those that are."""
        return self.skills.get(kind, sum(self.skills.values()) / max(1, len(self.skills)))

    def latency(self, rng: Random) -> tuple[float, float]:
        """Seconds until the first token, and tokens per second after it; within a factor of 8 of their medians."""
        first = self.first_token_s * _lognormal(rng, self.first_token_sigma)
        return first, self.tokens_per_s * _lognormal(rng, self.tokens_per_s_sigma)


def _lognormal(rng: Random, sigma: float) -> float:
    return min(8.0, max(0.125, math.exp(rng.gauss(0.0, sigma))))


_SKILLS: Mapping[Kind, tuple[float, float, float]] = {
    "words": (0.94, 0.95, 0.98),
    "lists": (0.95, 0.95, 0.97),
    "extraction": (0.93, 0.94, 0.98),
    "classification": (0.85, 0.92, 0.97),
    "summary": (0.86, 0.94, 0.97),
    "translation": (0.75, 0.9, 0.96),
    "structured": (0.9, 0.95, 0.99),
    "plan": (0.6, 0.85, 0.96),
    "maths": (0.45, 0.78, 0.98),
    "code": (0.4, 0.75, 0.96),
    "critique": (0.35, 0.72, 0.97),
}
"""Of the generator, the enricher and the validator."""


def _skills(place: int) -> Mapping[Kind, float]:
    return MappingProxyType({kind: of_all[place] for kind, of_all in _SKILLS.items()})


_GENERATOR = Profile(
    name="generator",
    first_token_s=0.055,
    first_token_sigma=0.3,
    tokens_per_s=420.0,
    tokens_per_s_sigma=0.15,
    input_usd_per_mtok=0.06,
    output_usd_per_mtok=0.22,
    schema_compliance=0.97,
    skills=_skills(0),
    failure_rate=0.004,
)

_ENRICHER = Profile(
    name="enricher",
    first_token_s=0.16,
    first_token_sigma=0.3,
    tokens_per_s=190.0,
    tokens_per_s_sigma=0.2,
    input_usd_per_mtok=0.45,
    output_usd_per_mtok=1.4,
    schema_compliance=0.985,
    skills=_skills(1),
    failure_rate=0.002,
)

_VALIDATOR = Profile(
    name="validator",
    first_token_s=0.36,
    first_token_sigma=0.35,
    tokens_per_s=95.0,
    tokens_per_s_sigma=0.2,
    input_usd_per_mtok=3.2,
    output_usd_per_mtok=11.0,
    schema_compliance=0.999,
    skills=_skills(2),
    failure_rate=0.001,
)

PROFILES: Mapping[str, Profile] = MappingProxyType({p.name: p for p in (_GENERATOR, _ENRICHER, _VALIDATOR)})
"""The pool, by model name, cheapest first."""
