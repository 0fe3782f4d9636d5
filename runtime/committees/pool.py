"""Designs of committees that did well, by the kind of request that they were made for.

Called by desk.py. Pure; bounded; in memory alone: what is lost at a restart is one question to a model each.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from agents.committee.records import Design

ALIKE: Final = 0.6
"""Requests whose words have at least this Jaccard index are of one kind: other values, the same task."""
MAX_WORDS: Final = 200
LEAST_WORDS: Final = 4
_WORD: Final = re.compile(r"[^\W\d_]{4,}")


@dataclass(slots=True)
class Pooled:
    """A design with what came of it. It goes when it failed more often than it passed."""

    design: Design
    passed: int = 1
    failed: int = 0


class DesignPool:
    """At most ``most`` designs; the one that was used longest ago goes first."""

    def __init__(self) -> None:
        self._kept: OrderedDict[frozenset[str], Pooled] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, problem: str) -> Design | None:
        """The design of the most similar kind of request; None where none is alike."""
        words = words_of(problem)
        key = self._nearest(words)
        if key is None:
            return None
        self._kept.move_to_end(key)
        return self._kept[key].design

    def ended(self, problem: str, design: Design, *, passed: bool, most: int) -> None:
        """A committee has ended. Designs of a model that passed are kept; one that fails more often than it passes goes."""
        words = words_of(problem)
        key = self._nearest(words)
        if key is not None:
            pooled = self._kept[key]
            pooled.passed += passed
            pooled.failed += not passed
            if pooled.failed > pooled.passed:
                del self._kept[key]
        elif passed and design.origin == "model" and len(words) >= LEAST_WORDS:
            self._kept[words] = Pooled(design)
        self.shrink(most)

    def lost(self, problem: str) -> None:
        """A committee of this kind did worse than a single model: its design is not to be used again."""
        key = self._nearest(words_of(problem))
        if key is not None:
            del self._kept[key]

    def shrink(self, most: int) -> None:
        """No more than ``most`` from now on."""
        while len(self._kept) > most:
            self._kept.popitem(last=False)

    def _nearest(self, words: frozenset[str]) -> frozenset[str] | None:
        best = max(self._kept, key=lambda kept: likeness(kept, words), default=None)
        return best if best is not None and likeness(best, words) >= ALIKE else None


def words_of(problem: str) -> frozenset[str]:
    """The different words of four letters and more, in small letters, without numbers: the first MAX_WORDS."""
    found = dict.fromkeys(word.casefold() for word in _WORD.findall(problem))
    return frozenset(list(found)[:MAX_WORDS])


def likeness(one: frozenset[str], other: frozenset[str]) -> float:
    """Jaccard index, 0 to 1."""
    return len(one & other) / len(one | other) if one or other else 0.0


def fits(wanted: str, offered: str) -> bool:
    """Whether a node's speciality is the one that a seat wants: every word of the shorter one is in the longer one."""
    one, other = (frozenset(word.casefold() for word in _WORD.findall(text)) for text in (wanted, offered))
    return bool(one and other) and (one <= other or other <= one)
