"""Outcomes as columns: what the control loop looks at instead of rows, so that 100,000 of them take milliseconds.

Filled by runtime/ledger/outcome_columns.py, read by observe.py and simulate.py. Pure; imports numpy alone. What the ledger holds
may be damaged: a number that is not finite, or below zero, is unknown (NaN) and counts for nothing; times may jump and order
nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

Dimension = Literal["node", "pattern", "strategy", "backend", "locale"]
DIMENSIONS: Final[tuple[Dimension, ...]] = ("node", "pattern", "strategy", "backend", "locale")
MAX_OUTCOMES: Final = 100_000
"""Most outcomes that are looked at together; the newest ones count."""

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int32]
Flags = npt.NDArray[np.bool_]

# What says something of the node itself, and not of its backends, its caller or the money.
OWN_FAULTS: Final = frozenset({"node_lost", "internal_error", "overloaded"})
# Nobody can be blamed for these, so that they are no failures of anything.
NOT_HEARD: Final = frozenset({"cancelled", "invalid_request", "not_found", "draining", "budget_exceeded", "rate_limited"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """``n`` outcomes in the order in which they were written.

    ``at`` ``(n,)`` Unix seconds; ``ok`` whether it was answered; ``fault``: it failed by its node's own fault; ``score`` 0 to 1,
    NaN where nobody said; ``latency_s`` and ``cost_usd``, NaN where unknown; ``simulated``: a simulated backend had a part in it.
    ``codes[dimension]`` ``(n,) int32`` are places in ``names[dimension]``, -1 for none.
    """

    at: Floats
    ok: Flags
    fault: Flags
    score: Floats
    latency_s: Floats
    cost_usd: Floats
    simulated: Flags
    codes: Mapping[Dimension, Codes]
    names: Mapping[Dimension, tuple[str, ...]]

    def __len__(self) -> int:
        return len(self.at)

    def part(self, kept: npt.NDArray[Any] | slice) -> Outcomes:
        """Those that ``kept`` (a mask ``(n,)``, places, or a slice) picks, with the same names."""
        return Outcomes(
            at=self.at[kept],
            ok=self.ok[kept],
            fault=self.fault[kept],
            score=self.score[kept],
            latency_s=self.latency_s[kept],
            cost_usd=self.cost_usd[kept],
            simulated=self.simulated[kept],
            codes={dimension: codes[kept] for dimension, codes in self.codes.items()},
            names=self.names,
        )

    def code(self, dimension: Dimension, name: str) -> int:
        """The code of ``name``; -2, which no outcome has, where it is unknown."""
        names = self.names[dimension]
        return names.index(name) if name in names else -2

    def of(self, dimension: Dimension, names: Sequence[str]) -> Flags:
        """``(n,)``: those that belong to one of ``names``."""
        return np.isin(self.codes[dimension], [self.code(dimension, name) for name in names])


def outcomes_of(
    *,
    at: Sequence[float] | Floats,
    ok: Sequence[bool] | Flags,
    fault: Sequence[bool] | Flags | None = None,
    score: Sequence[float | None] | Floats,
    latency_s: Sequence[float | None] | Floats,
    cost_usd: Sequence[float | None] | Floats,
    simulated: Sequence[bool] | Flags | None = None,
    labels: Mapping[Dimension, Sequence[str | None]],
) -> Outcomes:
    """Columns of one length as Outcomes; the newest MAX_OUTCOMES. None and impossible numbers become NaN."""
    n = len(at)
    newest = slice(max(0, n - MAX_OUTCOMES), n)
    codes: dict[Dimension, Codes] = {}
    names: dict[Dimension, tuple[str, ...]] = {}
    for dimension in DIMENSIONS:
        codes[dimension], names[dimension] = coded(labels.get(dimension, ())[newest], n - newest.start)
    scores = numbers(score)[newest]
    scores[scores > 1.0] = np.nan
    return Outcomes(
        at=np.nan_to_num(np.asarray(at, dtype=np.float64)[newest], posinf=0.0, neginf=0.0),
        ok=np.asarray(ok, dtype=np.bool_)[newest],
        fault=_flags(fault, n)[newest],
        score=scores,
        latency_s=numbers(latency_s)[newest],
        cost_usd=numbers(cost_usd)[newest],
        simulated=_flags(simulated, n)[newest],
        codes=codes,
        names=names,
    )


def _flags(values: Sequence[bool] | Flags | None, n: int) -> Flags:
    return np.zeros(n, dtype=np.bool_) if values is None else np.asarray(values, dtype=np.bool_)


def coded(labels: Sequence[str | None], n: int) -> tuple[Codes, tuple[str, ...]]:
    """Names as codes ``(n,) int32`` and the table of names; without labels every code is -1."""
    places: dict[str | None, int] = {None: -1, "": -1}
    names: list[str] = []
    found = np.full(n, -1, dtype=np.int32)
    if not len(labels):
        return found, ()
    for label in dict.fromkeys(labels):
        if label not in places:
            places[label] = len(names)
            names.append(str(label))
    found[:] = np.fromiter(map(places.__getitem__, labels), dtype=np.int32, count=n)
    return found, tuple(names)


def numbers(values: Sequence[float | None] | Floats) -> Floats:
    """A fresh ``(n,) float64``; what is missing, infinite or negative is NaN."""
    found = np.array(values, dtype=np.float64)
    found[~np.isfinite(found) | (found < 0.0)] = np.nan
    return found


class Log:
    """The newest outcomes with the keys of their rows (ascending), fed in pieces: what a window is cut from without reading the
    ledger again. Holds at most ``most``; names that no outcome has any more are forgotten now and then."""

    def __init__(self, most: int = MAX_OUTCOMES) -> None:
        self._most = most
        self._pieces: list[tuple[npt.NDArray[np.int64], Outcomes]] = []

    def __len__(self) -> int:
        return sum(len(keys) for keys, _ in self._pieces)

    @property
    def last(self) -> int:
        """The newest key; 0 where there is none."""
        return int(self._pieces[-1][0][-1]) if self._pieces else 0

    def append(self, keys: Sequence[int], outcomes: Outcomes) -> None:
        """Newer outcomes. Those of the same keys or later ones that are here already go: they were read again."""
        if not len(outcomes):
            return
        self.cut(int(keys[0]))
        self._pieces.append((np.asarray(keys, dtype=np.int64)[-len(outcomes) :], outcomes))

    def cut(self, key: int) -> None:
        """Forget the outcomes from ``key`` on."""
        while self._pieces and self._pieces[-1][0][-1] >= key:
            keys, outcomes = self._pieces.pop()
            kept = int(np.searchsorted(keys, key))
            if kept:
                self._pieces.append((keys[:kept], outcomes.part(slice(0, kept))))

    def key_before(self, count: int) -> int:
        """The key from which on the newest ``count`` outcomes stand; 0 where there are none."""
        self._join()
        keys = self._pieces[0][0] if self._pieces else np.zeros(0, dtype=np.int64)
        return int(keys[max(0, len(keys) - count)]) if len(keys) and count > 0 else 0

    def since(self, key: int) -> int:
        """How many have a later key."""
        return sum(len(keys) - int(np.searchsorted(keys, key, side="right")) for keys, _ in self._pieces)

    def newest(self, count: int) -> Outcomes:
        """At most ``count``, in order."""
        self._join()
        if not self._pieces:
            return empty()
        outcomes = self._pieces[0][1]
        return outcomes.part(slice(max(0, len(outcomes) - count), None))

    def _join(self) -> None:
        """Make one piece of all."""
        if len(self._pieces) > 1 or len(self) > self._most:
            keys = np.concatenate([keys for keys, _ in self._pieces])[-self._most :]
            self._pieces = [(keys, joined([outcomes for _, outcomes in self._pieces], self._most))]


def joined(pieces: Sequence[Outcomes], most: int = MAX_OUTCOMES) -> Outcomes:
    """The newest ``most`` of several pieces as one, with the names that occur in them."""
    if not pieces:
        return empty()
    codes: dict[Dimension, Codes] = {}
    names: dict[Dimension, tuple[str, ...]] = {}
    for dimension in DIMENSIONS:
        places: dict[str, int] = {}
        parts = []
        for piece in pieces:
            to = np.array([places.setdefault(name, len(places)) for name in piece.names[dimension]] + [-1], dtype=np.int32)
            parts.append(to[piece.codes[dimension]])
        every = np.concatenate(parts)[-most:]
        used = np.unique(every[every >= 0])
        dense = np.full(len(places) + 1, -1, dtype=np.int32)
        dense[used] = np.arange(len(used), dtype=np.int32)
        known = tuple(places)
        codes[dimension], names[dimension] = dense[every], tuple(known[place] for place in used.tolist())

    def column(name: str) -> npt.NDArray[Any]:
        return np.concatenate([getattr(piece, name) for piece in pieces])[-most:]

    return Outcomes(
        at=column("at"),
        ok=column("ok"),
        fault=column("fault"),
        score=column("score"),
        latency_s=column("latency_s"),
        cost_usd=column("cost_usd"),
        simulated=column("simulated"),
        codes=codes,
        names=names,
    )


def empty() -> Outcomes:
    """No outcomes."""
    return outcomes_of(at=(), ok=(), score=(), latency_s=(), cost_usd=(), labels={})
