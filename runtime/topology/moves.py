"""Which status of a proposal may follow which: one table, from which a restart resumes.

Called by the ledger (which refuses every other move) and the controller. Pure; imports this room's records.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from runtime.topology.records import NotNow, Status

S = Status
MOVES: Final[Mapping[Status, frozenset[Status]]] = {
    S.PROPOSED: frozenset({S.APPROVED, S.REJECTED, S.SNOOZED, S.EXPIRED, S.SUPERSEDED}),
    S.SNOOZED: frozenset({S.PROPOSED, S.EXPIRED}),
    S.APPROVED: frozenset({S.APPLYING, S.SUPERSEDED, S.EXPIRED}),
    S.APPLYING: frozenset({S.VERIFYING, S.ROLLING_BACK}),
    S.VERIFYING: frozenset({S.VERIFYING, S.KEPT, S.ROLLING_BACK}),
    S.ROLLING_BACK: frozenset({S.ROLLED_BACK, S.STUCK}),
    S.STUCK: frozenset({S.ROLLING_BACK, S.ROLLED_BACK}),
    S.REJECTED: frozenset(),
    S.EXPIRED: frozenset(),
    S.SUPERSEDED: frozenset(),
    S.KEPT: frozenset(),
    S.ROLLED_BACK: frozenset(),
}
OVER: Final = frozenset(status for status, following in MOVES.items() if not following)
"""Nothing follows."""
WAITING: Final = frozenset({S.PROPOSED, S.SNOOZED})
"""An operator may still decide."""
UNDER_WAY: Final = frozenset({S.APPLYING, S.VERIFYING, S.ROLLING_BACK, S.STUCK})
"""Something of the shape depends on it; a restart takes these up."""


def check_move(before: Status, after: Status) -> None:
    """Raises NotNow where the table does not allow it."""
    if after not in MOVES[before]:
        raise NotNow(f"a proposal that is {before} cannot become {after}", status=before)
