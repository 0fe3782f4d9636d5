"""The words of how routers come to be: a round is one attempt to write a better one. Imports the words of agents alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Final, Literal, Protocol, get_args

from agents.records import Json, Refused

Stage = Literal[
    "reviewing",
    "trying",
    "won",
    "adopted",
    "unusable",
    "refused",
    "rejected",
    "lost",
    "inconclusive",
    "declined",
    "expired",
    "superseded",
]
STAGES: Final[tuple[str, ...]] = get_args(Stage)
OPEN: Final[frozenset[str]] = frozenset({"reviewing", "trying", "won"})
"""``reviewing``: it beat its parent on logged choices, and reviewers look at it. ``trying``: an experiment runs. ``won``: it
waits for approval. In all others it is over: in force; the model's answer was no router; checks or the log refused it;
reviewers did; the experiment was lost, or said nothing; an operator said no, or nothing in time; another came into force
meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """``version`` is the router (empty where there is none), ``parent`` what it changes (empty: the learner alone), ``prompt``
    the version of the guidance that it was written by. ``data`` is JSON: edits, check, shadow, experiment, ruling, simulated."""

    round_id: str
    at: float
    stage: Stage
    version: str = ""
    parent: str = ""
    prompt: str = ""
    note: str = ""
    data: Mapping[str, Json] = field(default_factory=dict)
    updated_at: float = 0.0

    @property
    def is_open(self) -> bool:
        return self.stage in OPEN

    def view(self) -> dict[str, Json]:
        return asdict(self)


class RoundBook(Protocol):
    """Where rounds are kept."""

    async def save(self, each: Round) -> None:
        """Durable on return. Raises LedgerError."""
        ...

    async def load(self, *, limit: int) -> Sequence[Round]:
        """The newest first. Raises LedgerError."""
        ...


class Approvals(Protocol):
    """Who lets a router come into force (proposing.py: the controller's proposals). Raises TopologyError, LedgerError."""

    async def approve(self, version: str | None, reason: str) -> None:
        """An operator's yes to this version (None: the learner alone)."""
        ...

    async def reject(self, version: str, reason: str) -> None:
        """An operator's no."""
        ...

    def held_back(self, now: float) -> bool:
        """Whether an operator said no lately."""
        ...


class NobodyApproves:
    """Before the controller is there: a router that won waits."""

    async def approve(self, version: str | None, reason: str) -> None:
        raise Refused("the daemon is starting: nothing can be approved yet")

    async def reject(self, version: str, reason: str) -> None:
        raise Refused("the daemon is starting: nothing can be rejected yet")

    def held_back(self, now: float) -> bool:
        return False
