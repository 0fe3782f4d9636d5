"""Vectors to groups, without being told how many: a projection, an estimate of the number of groups, and a partition that is
bent to that number instead of being made anew, so that groups keep who they are.

Called by patterns.py. Pure; numpy alone, in pieces of a few milliseconds: a thread that runs it holds up nobody (scipy's linkage
keeps the interpreter's lock for a fifth of a second). Must not import anything of the daemon.

The number comes from average linkage (Sokal and Michener 1958): groups are joined while the mean cosine distance between their
members is below a bound, and those of some size are counted. Average linkage is reducible (Bruynooghe 1978; Murtagh 1983):
joining all pairs that are each other's nearest at once gives the same tree, and the mean similarity of two groups of unit vectors
is the product of their means. The partition itself is spherical k-means (Dhillon and Modha 2001) that starts from what was there;
groups are split in two and merged by what that does to the squared error, as in Ward (1963).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

NONE: Final = -1
"""The label of what is in no group."""
_BLOCK: Final = 512
_HALVING_ROUNDS: Final = 6
_POWER_ROUNDS: Final = 8
_ANY: Final = 3.0
"""More than any distance."""
_SMALLEST_SPLIT: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """Where groups are looked for: vectors less their ``mean (d,)``, along the ``basis (d, p)`` of most variance, at unit length.

    What all requests have in common says nothing of their differences, and in a narrow domain it is most of each vector."""

    mean: Floats
    basis: Floats

    def __call__(self, vectors: Floats) -> Floats:
        """``(..., d)`` to ``(..., p)``, unit length."""
        return unit((vectors - self.mean) @ self.basis)

    def near(self, vectors: Floats, centroids: Floats) -> Floats:
        """``(..., d)`` against ``(k, p)`` of unit length: ``(..., k)``, the cosines in the whole space. A vector of which the
        projection holds little is near to nothing, however well that little fits."""
        centred = vectors - self.mean
        length = np.linalg.norm(centred, axis=-1, keepdims=True)
        near: Floats = ((centred @ self.basis) @ centroids.T / np.where(length == 0, 1, length)).astype(np.float32)
        return near


def fit(vectors: Floats, dimensions: int, mean_square: float = 1.0) -> Projection:
    """The ``dimensions`` directions of most variance of ``vectors (n, d)``, unit length. Of their mean no more is taken off than
    the squared length ``mean_square``."""
    mean = vectors.mean(axis=0)
    mean *= min(1.0, float(np.sqrt(mean_square / max(float(mean @ mean), 1e-12))))
    centred = vectors - mean
    _, directions = np.linalg.eigh(centred.T @ centred)
    return Projection(mean=mean, basis=np.ascontiguousarray(directions[:, ::-1][:, :dimensions]))


def unit(vectors: npt.NDArray[np.floating]) -> Floats:
    """Rows of length 1; rows of zeros stay zeros."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    found: Floats = (vectors / np.where(length == 0, 1, length)).astype(np.float32)
    return found


def means(points: Floats, labels: Ints, k: int) -> Floats:
    """``(k, p)``: the mean of each of the groups 0..k-1; zeros for an empty one."""
    order = np.argsort(labels, kind="stable")
    bounds = np.searchsorted(labels[order], np.arange(k + 1))
    counts = np.diff(bounds)
    found = np.zeros((k, points.shape[1]), dtype=np.float32)
    there = np.flatnonzero(counts)
    if len(there):
        sums = np.add.reduceat(points[order[bounds[0] : bounds[-1]]], bounds[there] - bounds[0], axis=0)
        found[there] = sums / counts[there, None]
    return found


# ── how many ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def sizes_of_linked(points: Floats, distance: float) -> Ints:
    """Sizes of the groups of average linkage over cosine distances, cut at ``distance``. ``points (n, p)`` of unit length."""
    at, size = points.copy(), np.ones(len(points), dtype=np.int64)
    while len(at) > 1:
        nearest, similarity = _nearest(at)
        mine = np.arange(len(at))
        pairs = np.flatnonzero((nearest[nearest] == mine) & (mine < nearest) & (similarity >= 1.0 - distance))
        if not len(pairs):
            break
        others = nearest[pairs]
        both = size[pairs] + size[others]
        at[pairs] = (at[pairs] * size[pairs, None] + at[others] * size[others, None]) / both[:, None]
        size[pairs] = both
        keep = np.ones(len(at), dtype=bool)
        keep[others] = False
        at, size = at[keep], size[keep]
    return size


def _nearest(at: Floats) -> tuple[Ints, Floats]:
    """Of each row the other row with the largest product, and that product."""
    nearest, similarity = np.empty(len(at), dtype=np.int64), np.empty(len(at), dtype=np.float32)
    for low in range(0, len(at), _BLOCK):
        rows = np.arange(low, min(low + _BLOCK, len(at)))
        products = at[rows] @ at.T
        products[np.arange(len(rows)), rows] = -np.inf
        nearest[rows] = products.argmax(axis=1)
        similarity[rows] = products[np.arange(len(rows)), nearest[rows]]
    return nearest, similarity


# ── the partition ───────────────────────────────────────────────────────────────────────────────────────────────────────


class Partition:
    """Groups of ``points (n, p)``, unit length. ``names`` holds one a group: what was given, or None for a group that is new.

    ``labels (n,)`` says which group (0..k-1) each point is in. ``absorbed`` maps names that were merged away to the name of the
    group that took them up, which may have been merged away in its turn."""

    def __init__(self, points: Floats, labels: Ints, names: list[int | None]) -> None:
        self.points, self.labels, self.names = points, labels, names
        self.absorbed: dict[int, int] = {}
        self._splits: dict[int, tuple[float, float, Ints]] = {}

    def settle(self, rounds: int) -> None:
        """Give each point to the nearest mean, ``rounds`` times. Groups that end up empty are dropped."""
        for _ in range(rounds):
            self.labels = (self.points @ unit(means(self.points, self.labels, len(self.names))).T).argmax(axis=1)
            there = np.bincount(self.labels, minlength=len(self.names)) > 0
            if not there.all():
                self.labels = (np.cumsum(there) - 1)[self.labels]
                self.names = [name for name, is_there in zip(self.names, there, strict=True) if is_there]
        self._splits.clear()

    def bend_to(self, least: int, most: int, apart: float) -> None:
        """Split where that helps most, or merge where it costs least, until there are at least ``least`` groups (where so many
        can be split off) and at most ``most``. Between the two only what is ``apart`` is two: the mean cosine distance from
        members of the one to members of the other."""
        while len(self.names) < least and self._split_one(0.0):
            pass
        while len(self.names) < most and self._split_one(apart):
            pass
        while len(self.names) > max(most, 1):
            self._merge_two(_ANY)
        while len(self.names) > max(least, 1) and self._merge_two(apart):
            pass

    def centroids(self) -> Floats:
        """``(k, p)``, unit length."""
        return unit(means(self.points, self.labels, len(self.names)))

    def _split_one(self, apart: float) -> bool:
        for group in range(len(self.names)):
            if group not in self._splits:
                self._splits[group] = self._halved(np.flatnonzero(self.labels == group))
        open_ = [group for group, (gain, distance, _) in self._splits.items() if gain > 0 and distance >= apart]
        if not open_:
            return False
        group = max(open_, key=lambda each: self._splits[each][0])
        leaving = self._splits.pop(group)[2]
        self.labels[leaving] = len(self.names)
        self.names.append(None)
        return True

    def _halved(self, members: Ints) -> tuple[float, float, Ints]:
        """What two groups instead of one take off the squared error, how far apart they are, and who would leave: the smaller
        half. 2-means, begun on both sides of the direction of most variance."""
        if len(members) < _SMALLEST_SPLIT:
            return 0.0, 0.0, members
        own = self.points[members]
        middle = own.mean(axis=0)
        centred = own - middle
        direction = centred[int((centred * centred).sum(axis=1).argmax())]
        for _ in range(_POWER_ROUNDS):
            direction = unit(centred.T @ (centred @ direction))
        side = centred @ direction > 0
        for _ in range(_HALVING_ROUNDS):
            if side.all() or not side.any():
                return 0.0, 0.0, members
            apart = own[side].mean(axis=0) - own[~side].mean(axis=0)
            halfway = (own[side].mean(axis=0) + own[~side].mean(axis=0)) / 2
            side = (own - halfway) @ apart > 0
        there = int(side.sum())
        smaller = side if 2 * there <= len(members) else ~side
        if min(there, len(members) - there) < _SMALLEST_SPLIT // 2:
            return 0.0, 0.0, members
        one, other = own[side].mean(axis=0), own[~side].mean(axis=0)
        gain = float((one - other) @ (one - other)) * there * (len(members) - there) / len(members)
        return gain, 1.0 - float(one @ other), members[smaller]

    def _merge_two(self, apart: float) -> bool:
        """Of all pairs that are not ``apart`` the one whose merging adds least to the squared error; the larger keeps its name,
        if it has one. False where there is no such pair."""
        k = len(self.names)
        at, size = means(self.points, self.labels, k), np.bincount(self.labels, minlength=k)
        squares = (at * at).sum(axis=1)
        cost = (squares[:, None] + squares[None] - 2 * at @ at.T) * (size[:, None] * size[None]) / (size[:, None] + size[None])
        cost[1.0 - at @ at.T >= apart] = np.inf
        np.fill_diagonal(cost, np.inf)
        if not np.isfinite(cost).any():
            return False
        one, other = (int(each) for each in np.unravel_index(int(cost.argmin()), cost.shape))
        if (size[one], -one) < (size[other], -other):
            one, other = other, one
        kept, gone = self.names[one], self.names[other]
        if kept is None:
            self.names[one] = gone
        elif gone is not None:
            self.absorbed[gone] = kept
        self.labels[self.labels == other] = one
        self.labels[self.labels == k - 1] = other if other != k - 1 else one
        self.names[other] = self.names[k - 1]
        self.names.pop()
        self._splits.clear()
        return True
