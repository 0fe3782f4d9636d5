"""The words of a proposal: why, what it promises, where it stands, and what the host allows.

The shape itself is in shape.py, what may be proposed in payloads.py; wire.py writes all of them as JSON. Frozen data without
behaviour but what follows from it. Imports those two and nothing else of runtime/.

The error tree::

    TopologyError                 root; its message is for the operator
    ├── BadProposal               what is asked for makes no sense (names the field in ``param``)
    ├── UnknownProposal           there is no such proposal or revision
    ├── NotNow                    the proposal's state does not allow it (``status`` says which it is in)
    └── OverCap                   a cap of the host is reached (``cap`` names the setting)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

from runtime.topology.payloads import KIND_OF, Kind, Payload, subject_of
from runtime.topology.shape import ProposalId

Origin = Literal["rules", "model", "operator"]
"""Who made a proposal: a rule over the measures, a model that looked at the network, or a person."""

MAX_REASON_CHARS: Final = 2000
MAX_EVIDENCE: Final = 32
MAX_PREDICTIONS: Final = 8


class Status(StrEnum):
    """Where a proposal stands. moves.py holds which may follow which."""

    PROPOSED = "proposed"
    APPROVED = "approved"
    REJECTED = "rejected"
    SNOOZED = "snoozed"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"
    APPLYING = "applying"
    VERIFYING = "verifying"
    KEPT = "kept"
    ROLLING_BACK = "rolling_back"
    ROLLED_BACK = "rolled_back"
    STUCK = "stuck"


# ── why, and what for ───────────────────────────────────────────────────────────────────────────────────────────────────────

ScopeKind = Literal["all", "nodes", "patterns"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Which requests a measure is over: all, those that the nodes called ``names`` answered, or those of patterns ``names``."""

    kind: ScopeKind = "all"
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One thing that was measured, so that it can be measured again: ``metric`` over the requests of ``scope`` that ended between
    ``since`` and ``until`` (Unix seconds) came to ``value`` ``units`` over ``count`` requests. ``source`` names where (a table, a
    window's id); ``note`` says it in words."""

    metric: str
    value: float
    units: str
    count: int
    since: float
    until: float
    scope: Scope = Scope()
    source: str = "outcomes"
    note: str = ""


Metric = Literal["cost_usd", "latency_s", "quality", "failure"]
"""Of one request: US dollars, seconds, score 0 to 1, and 1.0 where it failed (else 0.0)."""
HIGHER_IS_BETTER: Final[frozenset[str]] = frozenset({"quality"})
UNITS: Final[Mapping[str, str]] = {"cost_usd": "USD", "latency_s": "s", "quality": "score", "failure": "share"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What will be measured after the change: the mean of ``metric`` over the requests of ``scope`` was ``baseline`` and becomes
    ``expected``. It holds while the mean is not worse than ``expected`` by more than ``margin``. A request counts at most
    ``bound`` (values above it are cut: a test of means needs one; 1 for quality and failure)."""

    metric: Metric
    baseline: float
    expected: float
    margin: float
    bound: float = 1.0
    scope: Scope = Scope()

    @property
    def units(self) -> str:
        return UNITS[self.metric]

    @property
    def change(self) -> float:
        """Expected minus baseline, in ``units``."""
        return self.expected - self.baseline

    @property
    def limit(self) -> float:
        """The worst mean that still counts as the prediction holding."""
        return self.expected - self.margin if self.metric in HIGHER_IS_BETTER else self.expected + self.margin


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What proposers hand to the controller: a proposal before it has an id, a base revision and an end.

    ``predictions``: the first is the gain, the others are guards; all must hold. None at all where nothing can be measured
    (an operator's wish): then only failures of all requests are watched. ``share`` is the part of the traffic that it touches
    (0 to 1), ``cost_usd`` what carrying it out costs once.
    """

    payload: Payload
    reason: str
    evidence: tuple[Evidence, ...] = ()
    predictions: tuple[Prediction, ...] = ()
    origin: Origin = "rules"
    share: float = 0.0
    cost_usd: float = 0.0
    simulated: bool = False

    @property
    def kind(self) -> Kind:
        return KIND_OF[type(self.payload)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A draft that was taken up. ``digest`` is the SHA-256 (hex) of its content (wire.digest_of): an approval names it.

    ``status`` and what follows it say where it stands: ``until`` is when a snooze or a probation ends, ``extended`` how often the
    probation was prolonged, ``note`` the last word on it. Times are Unix seconds."""

    proposal_id: ProposalId
    draft: Draft
    base_revision: int
    created_at: float
    expires_at: float
    digest: str
    status: Status = Status.PROPOSED
    updated_at: float = 0.0
    until: float | None = None
    applied_at: float | None = None
    extended: int = 0
    note: str = ""

    @property
    def kind(self) -> Kind:
        return self.draft.kind

    @property
    def subject(self) -> str:
        """What it is about (subject_of)."""
        return subject_of(self.draft.payload)

    @property
    def key(self) -> str:
        """``kind:subject``: one open proposal a key; a rejection holds back the key."""
        return f"{self.kind}:{self.subject}"


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldBack:
    """A rejection that the rules heed: nothing of ``key`` is proposed before ``until``. ``times``: how often it was rejected."""

    key: str
    until: float
    reason: str
    who: str
    times: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """What the host allows, whoever asks. ``descendants`` counts over a lifetime, per ancestor, those that are gone included;
    ``spend_usd_per_day`` is the sum of ``cost_usd`` of what is carried out in a day (UTC)."""

    live_nodes: int = 16
    nodes: int = 10_000
    depth: int = 3
    descendants: int = 200
    spawns_per_minute: int = 6
    open_proposals: int = 100
    verifying: int = 8
    spend_usd_per_day: float = 1.0


# ── errors ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


class TopologyError(Exception):
    """Root of this room's errors."""

    def __init__(self, message: str, *, param: str | None = None, status: Status | None = None, cap: str | None = None) -> None:
        super().__init__(message)
        self.message, self.param, self.status, self.cap = message, param, status, cap


class BadProposal(TopologyError):
    pass


class UnknownProposal(TopologyError):
    pass


class NotNow(TopologyError):
    pass


class OverCap(TopologyError):
    pass
