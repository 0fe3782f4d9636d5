"""A look at the whole window of requests: which groups there are, beginning from those that were there.

Called by whoever keeps patterns, between ``Patterns.snapshot`` and ``Patterns.adopt``, in a thread where requests go on. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from runtime.topology.clustering import NONE, Floats, Ints, Partition, Projection, fit, means, sizes_of_linked, unit
from runtime.topology.pattern_records import Rules

_SETTLE_ROUNDS: Final = 3
_KEEPS: Final = 0.05
"""A number of groups that differs by less than this part is not changed for."""
_MEAN_SQUARE: Final = 0.4
"""Of what all requests have in common so much is taken off at most (squared length of the mean): where all are one kind, its
noise must not cut it up."""
_GROWS_WITH: Final = 350
_RAISED_BY: Final = 1.2
"""A group must grow with the window to be counted, by one a so many requests, or noise alone would make more and more of them;
the count is on the cautious side for it, and is raised by what it misses, where groups are apart."""
_APART: Final = 0.8
"""Of the distance at which groups are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What ``refined`` works on: copies, so that requests may go on coming."""

    vectors: Floats
    labels: Ints
    stamps: Ints
    ids: tuple[int, ...]
    rules: Rules


@dataclass(frozen=True, slots=True, kw_only=True)
class Refined:
    """A look at the window: ``names`` has the id of each group, None for a new one; ``labels`` index it, or are NONE."""

    snapshot: Snapshot
    projection: Projection
    centroids: Floats
    raw: Floats
    names: tuple[int | None, ...]
    labels: Ints
    absorbed: Mapping[int, int]

    @property
    def births(self) -> int:
        """How many new ids adopting it may take."""
        return self.names.count(None)


def refined(snapshot: Snapshot) -> Refined:
    """Look at the window anew; 0.2 s for 3,200 requests. Deterministic."""
    rules, vectors = snapshot.rules, snapshot.vectors
    projection = fit(vectors, rules.dimensions, _MEAN_SQUARE)
    points = projection(vectors)
    linked = sizes_of_linked(points, rules.distance)
    counted = int((linked >= 1 + len(points) / _GROWS_WITH).sum())
    most = min(max(1, round(_RAISED_BY * counted)), rules.most)
    index = {each: at for at, each in enumerate(snapshot.ids)}
    labels = np.array([index.get(each, NONE) for each in snapshot.labels.tolist()])
    names: list[int | None] = list(snapshot.ids)
    if names and (labels != NONE).any():
        known = labels != NONE
        labels = (points @ unit(means(points[known], labels[known], len(names))).T).argmax(axis=1)
    else:
        names, labels = [None], np.zeros(len(points), dtype=np.int64)
    parts = Partition(points, labels, names)
    parts.settle(1)
    if abs(most - len(parts.names)) <= _KEEPS * len(parts.names):
        most = len(parts.names)
    parts.bend_to(min(counted, most), most, _APART * rules.distance)
    parts.settle(_SETTLE_ROUNDS)
    centroids = parts.centroids()
    near = projection.near(vectors, centroids)[np.arange(len(vectors)), parts.labels] >= rules.floor
    return Refined(
        snapshot=snapshot,
        projection=projection,
        centroids=centroids,
        raw=unit(means(vectors, parts.labels, len(parts.names))),
        names=tuple(parts.names),
        labels=np.where(near, parts.labels, NONE),
        absorbed=parts.absorbed,
    )
