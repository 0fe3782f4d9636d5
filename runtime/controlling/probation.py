"""Watches changes on probation: what was measured since they were carried out, and what follows from it.

Called by controller.py each round. What was measured is read again from the first request on after a restart, so that the test is
the same as if there had been none.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from agents.records import Json
from runtime.controlling.book import Case
from runtime.controlling.ports import Samples
from runtime.topology.records import Proposal
from runtime.topology.shape import ProposalId
from runtime.topology.verify import Ruling, Terms, Watch, begin, rule, seen
from runtime.topology.wire import encode

MOST_A_ROUND: Final = 5000
SPOKEN: Final = 0.1
"""Part of a probation after which an answer's score is read: people and judges speak later than answers, and each request counts
once."""


def carried_out_at(proposal: Proposal) -> float:
    """Requests count from when the change was carried out."""
    return proposal.applied_at if proposal.applied_at is not None else proposal.updated_at


class Probation:
    """One ``look`` a round and case. ``begins``: from when on requests tell something of a change (Unix seconds), None: not yet,
    because what it brought is not at work."""

    def __init__(self, samples: Samples) -> None:
        self._samples = samples
        self.begins: Callable[[Proposal], float | None] = carried_out_at
        self._watches: dict[ProposalId, tuple[Watch, ...]] = {}
        self._cursors: dict[ProposalId, list[int]] = {}

    async def look(self, case: Case, terms: Terms, *, now: float) -> tuple[Ruling, Json]:
        """What follows now, and what was measured as JSON. Raises LedgerError."""
        proposal = case.proposal
        name = proposal.proposal_id
        if name not in self._watches:
            self._watches[name] = begin(proposal.draft.predictions, terms)
            self._cursors[name] = [0] * len(proposal.draft.predictions)
        over = proposal.until is not None and now >= proposal.until
        watches = await self._read(proposal, spoken=now if over else now - SPOKEN * terms.probation_s)
        ruling = rule(proposal.draft, watches, terms, over=over, extended=proposal.extended)
        return ruling, [measured(watch) for watch in watches]

    async def _read(self, proposal: Proposal, *, spoken: float) -> tuple[Watch, ...]:
        name, cursors = proposal.proposal_id, self._cursors[proposal.proposal_id]
        watches = list(self._watches[name])
        if (since := self.begins(proposal)) is None:
            return self._watches[name]
        for place, watch in enumerate(watches):
            each = watch.prediction
            until = spoken if each.metric == "quality" else math.inf
            values, cursors[place] = await self._samples.of(
                each.metric, each.scope, after=cursors[place], limit=MOST_A_ROUND, since=since, until=until
            )
            watches[place] = seen(watch, values)
        self._watches[name] = tuple(watches)
        return self._watches[name]

    def measured(self, name: ProposalId) -> Json:
        """The last look; None where there was none."""
        found = self._watches.get(name)
        return None if found is None else [measured(watch) for watch in found]

    def forget(self, name: ProposalId) -> None:
        self._watches.pop(name, None)
        self._cursors.pop(name, None)


def measured(watch: Watch) -> Json:
    """One prediction and what came of it, as JSON."""
    low, high = watch.interval
    return {
        **encode(watch.prediction),
        "units": watch.prediction.units,
        "limit": watch.prediction.limit,
        "measured": watch.measured,
        "low": low if watch.mean.n else None,
        "high": high if watch.mean.n else None,
        "requests": watch.mean.n,
        "odd": watch.odd,
        "verdict": "fails" if watch.fails else "holds" if watch.holds else "undecided",
    }
