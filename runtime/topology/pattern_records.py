"""The words of patterns: what is told of one, what is kept of one, and by which rules they are found.

Used by patterns.py and whoever reads it. Imports the topology's words and numpy.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np

from runtime.topology.clustering import NONE, Floats
from runtime.topology.shape import PatternId

State = Literal["candidate", "found", "dormant", "merged"]
"""A candidate has too few requests yet; a dormant pattern has none in the window; a merged one lives on in ``merged_into``."""

MAX_TEXT_CHARS: Final = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How patterns are found; one setting for all traffic.

    ``window`` requests are kept (some kilobytes each). The first look is after ``first`` requests, the next when ``step`` of the
    window is new. Groups are counted at the mean cosine ``distance`` in the projected space of ``dimensions``; below the cosine
    ``floor`` to the nearest centroid a request is in no pattern. A pattern is found with ``least`` requests. No more than
    ``most`` are live, and no more than ``known`` remembered.
    """

    window: int = 3200
    first: int = 24
    step: float = 0.16
    dimensions: int = 96
    distance: float = 0.65
    floor: float = 0.32
    least: int = 10
    most: int = 400
    known: int = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A request of the window; ``similarity`` to its pattern's centroid. ``text`` may be cut, or "" where words are not kept."""

    request_id: str
    text: str
    similarity: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """``count`` requests ever had this label at arrival. ``share`` is the part of the window (0 to 1), ``trend`` how much more or
    less it is of the last requests. ``centroid (d,) float32`` is of unit length. Times are Unix seconds."""

    pattern_id: PatternId
    name: str
    count: int
    share: float
    trend: float
    state: State
    first_at: float
    last_at: float
    centroid: Floats
    merged_into: PatternId | None = None
    named_by: str = ""


@dataclass(slots=True, kw_only=True)
class Known:
    """What is kept of a pattern, whatever its state. ``recent`` is its faded count at request number ``recent_at``."""

    name: str = ""
    named_by: str = ""
    count: int = 0
    first_at: float = 0.0
    last_at: float = 0.0
    recent: float = 0.0
    recent_at: int = 0
    centroid: Floats = field(default_factory=lambda: np.zeros(0, dtype=np.float32))
    merged_into: int | None = None


@dataclass(slots=True, kw_only=True)
class Slot:
    """One request of the window, beside its vector and label. ``stamp`` is its number."""

    stamp: int
    request_id: str
    text: str


def told(i: int) -> PatternId:
    """``p12`` of 12."""
    return PatternId(f"p{i}")


def number(pattern_id: str) -> int:
    """12 of ``p12``; NONE of what is no pattern's id."""
    digits = pattern_id[1:]
    return int(digits) if pattern_id[:1] == "p" and digits.isascii() and digits.isdigit() and len(digits) <= 12 else NONE
