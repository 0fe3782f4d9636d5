"""The prompts by which routers are written, compared by how well their routers did: which one is taken next, and when it is time
for a better one. Pure; called by evolve.py.

The guidance of ``router_write`` is an artifact (kind prompt); each finished round is an outcome of the version that it was
written by. Versions are drawn by Thompson sampling over their mean reward (Beta posteriors with fractional outcomes, as Agrawal
and Goyal, "Analysis of Thompson Sampling for the Multi-armed Bandit Problem", COLT 2012, have it).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from runtime.routers.records import Round

GUIDANCE: Final = "router-guidance"
"""The artifact."""
REWARDS: Final[Mapping[str, float]] = {
    "won": 1.0,
    "adopted": 1.0,
    "expired": 1.0,
    "declined": 0.5,
    "superseded": 0.5,
    "inconclusive": 0.3,
    "lost": 0.2,
    "rejected": 0.1,
    "refused": 0.0,
    "unusable": 0.0,
}
"""What a round says of its prompt: how far its router came. What an operator did with one that won is not the prompt's doing."""
REFLECT_AFTER: Final = 4
"""So many outcomes of a prompt are something to learn from."""
MOST_VERSIONS: Final = 8


def rewards(rounds: Sequence[Round]) -> dict[str, list[float]]:
    """The outcomes of each prompt's rounds, the newest first."""
    found: dict[str, list[float]] = {}
    for each in rounds:
        if each.prompt and each.stage in REWARDS:
            found.setdefault(each.prompt, []).append(REWARDS[each.stage])
    return found


def choose(versions: Sequence[str], rounds: Sequence[Round], rng: np.random.Generator) -> str:
    """One of ``versions`` (at least one; the newest MOST_VERSIONS are considered)."""
    known = rewards(rounds)
    considered = versions[-MOST_VERSIONS:]
    drawn = [rng.beta(1 + sum(got := known.get(each, [])), 1 + len(got) - sum(got)) for each in considered]
    return considered[int(np.argmax(drawn))]


def to_improve(newest: str, rounds: Sequence[Round]) -> bool:
    """Whether the newest guidance has had enough outcomes, and not all of them good."""
    got = rewards(rounds).get(newest, [])
    return len(got) >= REFLECT_AFTER and sum(got) / len(got) < 0.9


def outcome(each: Round) -> str:
    """A round as a sentence for whoever improves the guidance."""
    edits = "; ".join(str(edit) for edit in each.data.get("edits", ()))
    return f"{each.stage}: {edits or 'no usable edit'}. {each.note}"[:300]
