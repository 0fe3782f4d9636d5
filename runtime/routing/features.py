"""A request as numbers: twelve features of its shape, and its embedding cut to a few dimensions.

Called by dispatch and by ops/bench/routing.py. Pure; imports numpy alone. Costs some tens of microseconds.

Shape tells kinds of work apart that embeddings of topics do not (the same topic as a multiple choice, as a program, as a sum).
The embedding is cut by a random projection, which keeps distances (Johnson and Lindenstrauss 1984; Achlioptas 2003): the same
matrix always, so that a state that was saved stays readable.
"""

from __future__ import annotations

import re
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Point = npt.NDArray[np.float32]

TEXT_DIMENSIONS = 128
SHAPE_SCALE = 0.2
"""A shape feature's step of 1 is so long in a point, beside an embedding of length 1."""
READ_CHARS = 4000
"""The shape of a longer text is that of its beginning; its length still counts in full."""

SHAPE_NAMES = (
    "length", "words", "digits", "not_ascii", "symbols", "capitals", "lines", "question", "choices", "program_words", "formula",
    "word_length",
)  # fmt: skip
# About the mean and the spread of each over requests of many kinds, so that a step of 1 means the same for all.
SHAPE_MIDDLE = np.array([0.63, 0.56, 0.1, 0.02, 0.06, 0.17, 0.15, 0.55, 0.35, 0.11, 0.1, 0.58])
SHAPE_SPREAD = np.array([0.12, 0.15, 0.15, 0.2, 0.15, 0.13, 0.25, 0.5, 0.5, 0.35, 0.35, 0.1])
_SYMBOLS = re.compile(r"[{}\[\]()=;<>+*/\\_#$^|]")
_CHOICES = re.compile(r"(?:^|\s)\(?[A-E][).:]\s")
_PROGRAM = re.compile(r"\b(?:def|function|class|return|import|const|var)\b")
_DIGITS = re.compile(r"[0-9]")
_CAPITALS = re.compile(r"[A-Z]")
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")


def shape_of(text: str) -> npt.NDArray[np.float64]:
    """``(12,)``, each about 0 with a spread of about 1; names in SHAPE_NAMES."""
    read = text[:READ_CHARS]
    n = max(len(read), 1)
    words = max(len(read.split()), 1)

    def share(pattern: re.Pattern[str]) -> float:
        return len(pattern.findall(read)) / n

    raw = np.array(
        [
            np.log1p(len(text)) / 8,
            np.log1p(words * max(len(text) / n, 1.0)) / 6,
            min(5 * share(_DIGITS), 1.0),
            share(_NOT_ASCII),
            min(5 * share(_SYMBOLS), 1.0),
            min(5 * share(_CAPITALS), 1.0),
            min(read.count("\n") / 10, 1.0),
            float("?" in read),
            float(_CHOICES.search(read) is not None),
            float(_PROGRAM.search(read) is not None),
            float("$" in read or "\\" in read),
            min(n / words / 10, 1.0),
        ]
    )
    scaled: npt.NDArray[np.float64] = np.clip((raw - SHAPE_MIDDLE) / SHAPE_SPREAD, -3.0, 3.0)
    return scaled


EXTRA_NAMES = ("complexity", "tools", "schema", "load", "hour_sin", "hour_cos", "computes", "computes_and_words")
SHAPE = len(SHAPE_NAMES) + len(EXTRA_NAMES)


def extra_of(
    *,
    complexity: float = 0.5,
    tools: int = 0,
    schema: bool = False,
    load: float = 0.0,
    hour: float | None = None,
    kind: str = "pattern",
) -> npt.NDArray[np.float64]:
    """``(8,)``: complexity and load from 0 to 1, tools offered, whether a schema is asked for, the hour of the day (0 to 24), and
    what kind of work it is ("pattern", "computational", "hybrid")."""
    turn = None if hour is None else 2 * np.pi * hour / 24
    return np.array(
        [
            2 * (min(max(complexity, 0.0), 1.0) - 0.5),
            min(np.log1p(tools), 3.0),
            float(schema),
            min(max(load, 0.0), 1.0),
            # Half a step: what depends on the hour is learned, but no two hours make two kinds of requests.
            0.0 if turn is None else 0.5 * np.sin(turn),
            0.0 if turn is None else 0.5 * np.cos(turn),
            float(kind != "pattern"),
            float(kind == "hybrid"),
        ]
    )


def point(text: str, embedding: npt.NDArray[np.floating] | None = None, extra: npt.NDArray[np.float64] | None = None) -> Point:
    """``(20 + 128,) float32``. ``embedding (d,)`` of unit length; None (no model, or it is not ready) leaves that part 0."""
    found = np.zeros(SHAPE + TEXT_DIMENSIONS, dtype=np.float32)
    found[: len(SHAPE_NAMES)] = SHAPE_SCALE * shape_of(text)
    found[len(SHAPE_NAMES) : SHAPE] = SHAPE_SCALE * (extra_of() if extra is None else extra)
    if embedding is not None and np.isfinite(embedding).all():
        found[SHAPE:] = embedding.astype(np.float32) @ _projection(len(embedding))
    return found


@lru_cache(maxsize=4)
def _projection(d: int) -> npt.NDArray[np.float32]:
    drawn = np.random.default_rng(20_250_101).standard_normal((d, TEXT_DIMENSIONS)) / np.sqrt(TEXT_DIMENSIONS)
    found: npt.NDArray[np.float32] = drawn.astype(np.float32)
    return found
