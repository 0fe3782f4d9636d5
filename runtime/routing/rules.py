"""A short readable rule list that does what a policy does: a small decision tree over the request's shape.

Called by distill.py. Imports numpy and this room alone; pure. The tree is CART with Gini impurity (Breiman et al. 1984), at most
DEPTH deep; leaves that say the same are joined, so that nothing is asked that changes no answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from runtime.routing.features import EXTRA_NAMES, SHAPE_MIDDLE, SHAPE_NAMES, SHAPE_SPREAD

Matrix = npt.NDArray[np.float64]
Labels = npt.NDArray[np.intp]

DEPTH: Final = 3
LEAST_LEAF: Final = 20
LEAST_GAIN: Final = 0.01
"""Of the impurity of all rows, so much must go at a split."""
CUTS: Final = 15
NAMES: Final = (*SHAPE_NAMES, *EXTRA_NAMES)
_USED: Final = tuple(place for place, name in enumerate(NAMES) if name not in ("load", "hour_sin", "hour_cos"))
"""Rules speak of the request, not of the hour in which it came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """At most ``cut`` in feature ``at`` goes to ``low``, more to ``high``."""

    at: int
    cut: float
    low: Tree
    high: Tree


Tree = Split | int
"""A split, or the label of a leaf."""


def grow(facts: Matrix, labels: Labels, depth: int = DEPTH) -> Tree:
    """A tree that says ``labels (n,)`` of ``facts (n, SHAPE)`` as well as it can."""
    return _joined(_grow(facts, labels, depth, _impurity(labels) * len(labels)))


def says(tree: Tree, facts: Sequence[float]) -> int:
    """The label of one row."""
    while isinstance(tree, Split):
        tree = tree.low if facts[tree.at] <= tree.cut else tree.high
    return tree


def leaves(tree: Tree) -> list[tuple[tuple[str, ...], int]]:
    """(conditions in words, label) of each leaf."""
    if not isinstance(tree, Split):
        return [((), tree)]
    found = []
    for branch, words in ((tree.low, _words(tree, high=False)), (tree.high, _words(tree, high=True))):
        found += [((words, *rest), label) for rest, label in leaves(branch)]
    return found


def _grow(facts: Matrix, labels: Labels, depth: int, whole: float) -> Tree:
    usual = int(np.bincount(labels).argmax())
    if depth == 0 or len(labels) < 2 * LEAST_LEAF:
        return usual
    best = _best_split(facts, labels)
    if best is None or best[0] < LEAST_GAIN * max(whole, 1e-9):
        return usual
    _, at, cut = best
    low = facts[:, at] <= cut
    return Split(
        at=at,
        cut=cut,
        low=_grow(facts[low], labels[low], depth - 1, whole),
        high=_grow(facts[~low], labels[~low], depth - 1, whole),
    )


def _best_split(facts: Matrix, labels: Labels) -> tuple[float, int, float] | None:
    before, best = _impurity(labels) * len(labels), None
    for at in _USED:
        column = facts[:, at]
        for cut in np.unique(np.quantile(column, np.linspace(0.05, 0.95, CUTS)))[:CUTS]:
            low = column <= cut
            n = int(low.sum())
            if n < LEAST_LEAF or len(labels) - n < LEAST_LEAF:
                continue
            gain = before - n * _impurity(labels[low]) - (len(labels) - n) * _impurity(labels[~low])
            if best is None or gain > best[0]:
                best = (gain, at, float(cut))
    return best


def _impurity(labels: Labels) -> float:
    part = np.bincount(labels) / max(len(labels), 1)
    return float(1.0 - (part**2).sum())


def _joined(tree: Tree) -> Tree:
    if not isinstance(tree, Split):
        return tree
    low, high = _joined(tree.low), _joined(tree.high)
    return low if not isinstance(low, Split) and low == high else Split(at=tree.at, cut=tree.cut, low=low, high=high)


# ── in words ────────────────────────────────────────────────────────────────────────────────────────────────────────────

_YES_NO: Final = {
    "question": ("it asks no question", "it asks a question"),
    "choices": ("it offers no choices", "it offers choices"),
    "program_words": ("it holds no code", "it holds code"),
    "formula": ("it holds no formula", "it holds a formula"),
    "schema": ("it wants no form", "it wants a form (schema)"),
    "computes": ("nothing in it is to be computed", "something in it is to be computed"),
    "computes_and_words": ("it is not of both, numbers and words", "it is of both, numbers and words"),
}
_MEASURES: Final[dict[str, tuple[str, Callable[[float], float]]]] = {
    "length": ("characters", lambda raw: math.expm1(8 * raw)),
    "words": ("words", lambda raw: math.expm1(6 * raw)),
    "digits": ("% of it digits", lambda raw: 20 * raw),
    "not_ascii": ("% of it beyond ASCII", lambda raw: 100 * raw),
    "symbols": ("% of it symbols", lambda raw: 20 * raw),
    "capitals": ("% of it capitals", lambda raw: 20 * raw),
    "lines": ("lines", lambda raw: 10 * raw),
    "word_length": ("characters a word", lambda raw: 10 * raw),
    "complexity": ("of 10 in complexity", lambda raw: 10 * (raw / 2 + 0.5)),
    "tools": ("tools offered", math.expm1),
}


def _words(split: Split, *, high: bool) -> str:
    name = NAMES[split.at]
    if name in _YES_NO:
        return _YES_NO[name][high]
    raw = split.cut
    if split.at < len(SHAPE_NAMES):
        raw = split.cut * float(SHAPE_SPREAD[split.at]) + float(SHAPE_MIDDLE[split.at])
    what, value = _MEASURES[name]
    return f"{'more than' if high else 'at most'} {max(0.0, value(raw)):.3g} {what}"
