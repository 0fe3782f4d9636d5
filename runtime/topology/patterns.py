"""Recurring kinds of requests, found while requests come: no number of them is told, and what is found keeps its id.

Called by runtime/patterns/ and by ops/bench/patterns.py. Pure: no I/O, no clock, no thread. Imports numpy and its neighbours.

A window keeps the vectors of a bounded number of requests: when it is full, each new one takes the place of one drawn at random,
so that the past fades with a mean age of the window's size. A request is labelled as it arrives, with the pattern whose centroid
is nearest, or none where even that is far: a request like no other stays unclustered. From time to time, often in the beginning,
the window is looked at again (``pattern_look.refined``, which may run in a thread, between ``snapshot`` and ``adopt``): groups
are split and merged, the larger part keeps the id, and a new group where a forgotten pattern was gets that one's id back.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from runtime.topology.clustering import NONE, Floats, Projection
from runtime.topology.pattern_look import Refined, Snapshot
from runtime.topology.pattern_records import MAX_TEXT_CHARS, Example, Known, Pattern, Rules, Slot, State, number, told
from runtime.topology.shape import PatternId

_EXAMPLES_AT_MOST: Final = 200
_RECENT: Final = 16
"""The recent share fades to a half in this part of a window."""
_SAME: Final = 0.8
"""A new group whose centroid is as near as this (cosine) to a dormant pattern's is that pattern again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What a look at the window changed."""

    born: tuple[PatternId, ...]
    merged: Mapping[PatternId, PatternId]


class Patterns:
    """What is known now. ``see`` labels a request; where ``due``, ``adopt(refined(snapshot()))``. Vectors are ``(dimension,)`` of
    unit length; all of one Patterns come from one embedding model."""

    def __init__(self, rules: Rules, dimension: int, rng: np.random.Generator) -> None:
        self.rules, self.dimension, self._rng = rules, dimension, rng
        self.seen, self.clustered, self.next_id = 0, 0, 1
        self.known: dict[int, Known] = {}
        self.slots: list[Slot] = []
        self.vectors = np.zeros((rules.window, dimension), dtype=np.float32)
        self.labels = np.full(rules.window, NONE, dtype=np.int64)
        self.changed: set[int] = set()
        """Slots since whoever keeps this over a restart has emptied it."""
        self._live: list[int] = []
        self._projection: Projection | None = None
        self._centroids = np.zeros((0, rules.dimensions), dtype=np.float32)
        self._look_at = rules.first
        self._fades = 0.5 ** (_RECENT / rules.window)

    # ── a request ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def see(self, vector: Floats, *, now: float, request_id: str = "", text: str = "") -> PatternId | None:
        """The label of a request at its arrival, which also counts it; None: it is like no other."""
        self.seen += 1
        label = self._nearest(vector)
        slot = len(self.slots)
        if slot < self.rules.window:
            self.slots.append(Slot(stamp=self.seen, request_id=request_id, text=text[:MAX_TEXT_CHARS]))
        else:
            slot = int(self._rng.integers(self.rules.window))
            self.slots[slot] = Slot(stamp=self.seen, request_id=request_id, text=text[:MAX_TEXT_CHARS])
        self.vectors[slot], self.labels[slot] = vector, label
        self.changed.add(slot)
        if label == NONE:
            return None
        self.clustered += 1
        known = self.known[label]
        known.count += 1
        known.recent = known.recent * self._fades ** (self.seen - known.recent_at) + 1
        known.recent_at, known.last_at = self.seen, now
        return told(label)

    def label(self, vector: Floats) -> PatternId | None:
        """The pattern that ``vector`` would be given, without counting it."""
        found = self._nearest(vector)
        return told(found) if found != NONE else None

    def _nearest(self, vector: Floats) -> int:
        if self._projection is None or not len(self._centroids):
            return NONE
        near = self._projection.near(vector, self._centroids)
        best = int(near.argmax())
        return self._live[best] if near[best] >= self.rules.floor else NONE

    def resume(
        self,
        *,
        seen: int,
        clustered: int,
        known: Mapping[int, Known],
        slots: Sequence[Slot],
        vectors: Floats,
        labels: Sequence[int],
    ) -> None:
        """Take up what was kept; the next look is due as soon as there is enough. ``slots``, ``vectors (n, dimension)`` and
        ``labels`` are of the same requests."""
        n = min(len(slots), self.rules.window)
        self.seen, self.clustered, self.known = max([seen, *(slot.stamp for slot in slots)]), clustered, dict(known)
        self.next_id = max([self.next_id, *(i + 1 for i in known)])
        self.slots, self.vectors[:n] = list(slots[:n]), vectors[:n]
        self.labels[:n] = [label if label in known else NONE for label in labels[:n]]
        self._live = sorted(set(self.labels[:n].tolist()) - {NONE})
        self._look_at = self.seen if n >= self.rules.first else self.seen + self.rules.first - n

    # ── looking again ───────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def due(self) -> bool:
        """Whether enough has come since the last look."""
        return self.seen >= self._look_at

    def snapshot(self) -> Snapshot:
        """A copy of the window; from now on it is not due before more has come."""
        n = len(self.slots)
        self._look_at = self.seen + max(8, int(self.rules.step * n))
        stamps = np.array([slot.stamp for slot in self.slots], dtype=np.int64)
        labels, vectors = self.labels[:n].copy(), self.vectors[:n].copy()
        return Snapshot(vectors=vectors, labels=labels, stamps=stamps, ids=tuple(self._live), rules=self.rules)

    def adopt(self, found: Refined, *, now: float) -> Changes:
        """Take up a look at the window: new groups get ids, merged ones point to what took them up."""
        born: list[PatternId] = []
        names = [self._named(each, found, at, born, now) for at, each in enumerate(found.names)]
        merged = self._resolved(found)
        for old, new in merged.items():
            self.known[old].merged_into = new
        self._live, self._projection, self._centroids = names, found.projection, found.centroids
        for at, name in enumerate(names):
            self.known[name].centroid = found.raw[at]
        ids = np.array([*names, NONE], dtype=np.int64)
        for slot, (stamp, label) in enumerate(zip(found.snapshot.stamps.tolist(), ids[found.labels].tolist(), strict=True)):
            if self.slots[slot].stamp == stamp:
                self._relabel(slot, label)
        for slot, each in enumerate(self.slots):
            if slot >= len(found.snapshot.stamps) or each.stamp != found.snapshot.stamps[slot]:
                self._relabel(slot, self._nearest(self.vectors[slot]))
        self._forget()
        return Changes(born=tuple(born), merged={told(old): told(new) for old, new in merged.items()})

    def _relabel(self, slot: int, label: int) -> None:
        if self.labels[slot] != label:
            self.labels[slot] = label
            self.changed.add(slot)

    def _named(self, name: int | None, found: Refined, at: int, born: list[PatternId], now: float) -> int:
        """The id of a group: its own, a dormant pattern's that was in the same place, or a new one."""
        if name is not None:
            return name
        taken = {each for each in found.names if each is not None} | {int(each[1:]) for each in born}
        asleep = [i for i, known in self.known.items() if i not in taken and known.merged_into is None and len(known.centroid)]
        if asleep:
            near = found.projection(np.stack([self.known[i].centroid for i in asleep])) @ found.centroids[at]
            if near[best := int(near.argmax())] >= _SAME:
                return asleep[best]
        new = self.next_id
        self.next_id += 1
        self.known[new] = Known(first_at=now, last_at=now, recent_at=self.seen)
        born.append(told(new))
        return new

    def _resolved(self, found: Refined) -> dict[int, int]:
        """Which pattern each merged one is in now."""
        into: dict[int, int] = {}
        for old, by in found.absorbed.items():
            new = by
            while new in found.absorbed:
                new = found.absorbed[new]
            if old in self.known and new in self.known:
                into[old] = new
        return into

    def _forget(self) -> None:
        """No more than ``known`` patterns are remembered: of those that are not live, the ones that were seen last stay."""
        surplus = len(self.known) - self.rules.known
        if surplus <= 0:
            return
        live = set(self._live)
        gone = sorted((known.last_at, i) for i, known in self.known.items() if i not in live)[:surplus]
        for _, i in gone:
            del self.known[i]
        lost = {i for _, i in gone}
        for known in self.known.values():
            if known.merged_into in lost:
                known.merged_into = None

    # ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def all(self) -> tuple[Pattern, ...]:
        """Every pattern that is remembered, the largest share first."""
        n = max(len(self.slots), 1)
        inside = Counter(self.labels[: len(self.slots)].tolist())
        live = set(self._live)
        found = [self._told(i, known, inside[i] / n, i in live) for i, known in self.known.items()]
        return tuple(sorted(found, key=lambda each: (-each.share, -each.count, each.first_at)))

    def _told(self, i: int, known: Known, share: float, live: bool) -> Pattern:
        over = (1 - self._fades ** max(self.seen, 1)) / (1 - self._fades)
        recent = known.recent * self._fades ** (self.seen - known.recent_at) / over
        into = known.merged_into
        enough = known.count >= self.rules.least
        state: State = "merged" if into is not None else "dormant" if not live else "found" if enough else "candidate"
        return Pattern(
            pattern_id=told(i),
            name=known.name or told(i),
            named_by=known.named_by,
            count=known.count,
            share=share,
            trend=recent - share,
            state=state,
            first_at=known.first_at,
            last_at=known.last_at,
            centroid=known.centroid,
            merged_into=told(into) if into is not None else None,
        )

    def get(self, pattern_id: str) -> Pattern | None:
        """The pattern of this id, merged ones included; None where none is remembered."""
        return next((each for each in self.all() if each.pattern_id == pattern_id), None)

    def current(self, pattern_id: str) -> PatternId | None:
        """The id under which it lives now: its own, or that of what it was merged into; None where it is not remembered."""
        i = number(pattern_id)
        hops: deque[int] = deque(maxlen=64)
        while i in self.known and self.known[i].merged_into is not None and i not in hops:
            hops.append(i)
            i = self.known[i].merged_into or NONE
        return told(i) if i in self.known else None

    def examples(self, pattern_id: str, most: int) -> tuple[Example, ...]:
        """Requests of the window with this label and with words, the most typical first, no text twice."""
        i = number(pattern_id)
        return self._examples([at for at in range(len(self.slots)) if self.labels[at] == i], most)

    def others(self, pattern_id: str, most: int, but: Sequence[str] = ()) -> tuple[Example, ...]:
        """Requests of the window without this label: of each of the nearest patterns (``but`` for these) the most typical, then
        of further ones."""
        i, left_out = number(pattern_id), {number(each) for each in but}
        if i not in self.known or i not in self._live:
            return self._examples([at for at in range(len(self.slots)) if self.labels[at] != i], most)
        near = self._centroids @ self._centroids[self._live.index(i)]
        order = [self._live[at] for at in np.argsort(-near, kind="stable").tolist() if self._live[at] not in {i, *left_out}]
        each = max(1, most // max(1, min(len(order), 8)))
        found: list[Example] = []
        for other in (*order, NONE):
            found += self._examples([at for at in range(len(self.slots)) if self.labels[at] == other], each)
            if len(found) >= most:
                break
        return tuple(found[:most])

    def _examples(self, slots: Sequence[int], most: int) -> tuple[Example, ...]:
        found: dict[str, Example] = {}
        for at in slots:
            slot, known = self.slots[at], self.known.get(int(self.labels[at]))
            near = float(self.vectors[at] @ known.centroid) if known is not None and len(known.centroid) else 0.0
            if slot.text and slot.text not in found:
                found[slot.text] = Example(request_id=slot.request_id, text=slot.text, similarity=near)
        return tuple(sorted(found.values(), key=lambda each: -each.similarity)[: min(most, _EXAMPLES_AT_MOST)])

    def rename(self, pattern_id: str, name: str, by: str) -> None:
        """Give it a name, said to be ``by``. Raises KeyError."""
        known = self.known[number(pattern_id)]
        known.name, known.named_by = name, by
