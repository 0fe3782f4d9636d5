"""Kinds of requests, found by the learner itself: a coarse k-means over shape and embedding together.

Called by quality.py. Imports numpy alone; no I/O, no clock.

Patterns (runtime/topology) are many, named and come late; kinds are few and there after some dozens of requests, so that arms
can be told apart by them early. They are found anew at growing distances, with about the square root of the requests seen, and
then stay: what was learned of a kind would be worth little if kinds kept moving. k-means++ is Arthur and Vassilvitskii (SODA
2007).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float32]

FOUND_AT = (64, 128, 256, 512, 1024, 2048)
"""How many requests have been seen when kinds are looked for."""
ROUNDS = 12


def due(seen: int) -> bool:
    """Whether kinds are looked for after so many requests."""
    return seen in FOUND_AT


def how_many(seen: int, most: int) -> int:
    """So many kinds are looked for: the square root of the requests seen, from 1 to ``most``."""
    return max(1, min(most, int(seen**0.5)))


def find(points: Matrix, k: int, rng: np.random.Generator) -> Matrix:
    """``(<= k, d)`` centres of ``points (n, d)``: k-means++ and some rounds of Lloyd. Empty kinds are left out."""
    centres = _spread_out(points, k, rng)
    for _ in range(ROUNDS):
        nearest = assign(points, centres)
        count = np.bincount(nearest, minlength=len(centres))
        # As a product: adding row by row took ten times as long.
        sums = (nearest == np.arange(len(centres))[:, None]).astype(np.float32) @ points
        centres = (sums[count > 0] / count[count > 0, None]).astype(np.float32)
    return centres


def assign(points: Matrix, centres: Matrix) -> npt.NDArray[np.intp]:
    """The nearest centre of each point, ``(n,)``."""
    found: npt.NDArray[np.intp] = ((centres**2).sum(axis=1) - 2 * points @ centres.T).argmin(axis=1)
    return found


def _spread_out(points: Matrix, k: int, rng: np.random.Generator) -> Matrix:
    chosen = [int(rng.integers(len(points)))]
    nearest = ((points - points[chosen[0]]) ** 2).sum(axis=1).astype(np.float64)
    while len(chosen) < k and nearest.sum() > 1e-9:
        chosen.append(int(rng.choice(len(points), p=nearest / nearest.sum())))
        nearest = np.minimum(nearest, ((points - points[chosen[-1]]) ** 2).sum(axis=1))
    return points[chosen]
