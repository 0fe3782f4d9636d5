"""What the controller needs of others, as ports. Implemented by the rules that propose, by the ledger and by the daemon."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

from runtime.topology.records import Draft, Metric, Scope
from runtime.topology.shape import Topology


class Source(Protocol):
    """Somebody who proposes changes. The controller asks all of them once a round and drops what is held back, known or over a
    cap, so that a source need not know what became of its drafts."""

    async def propose(
        self, topology: Topology, *, open_keys: frozenset[str], held_back: frozenset[str], now: float
    ) -> Sequence[Draft]:
        """Drafts, the most useful first. ``open_keys`` and ``held_back`` are ``Proposal.key`` of proposals that are open or under
        way, and of those that a rejection or a cooldown holds back; ``now`` is Unix seconds. Must not block the event loop."""
        ...


class Samples(Protocol):
    """What was measured of single requests."""

    async def of(
        self, metric: Metric, scope: Scope, *, after: int, limit: int, since: float, until: float = math.inf
    ) -> tuple[Sequence[float], int]:
        """At most ``limit`` values of requests that began at ``since`` (Unix seconds) or later and ended by ``until``, in order
        of arrival after the cursor ``after`` (0: from the first), and the cursor to go on from."""
        ...
