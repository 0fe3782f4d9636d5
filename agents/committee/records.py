"""The words of committees: how one is designed, who sits in it, what is said there, and what a node asks a peer.

Frozen and picklable: they travel between nodes and the daemon. Imports strategies as data alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from agents.strategy_specs import Seat

Origin = Literal["given", "pooled", "model", "rules"]
"""Who designed a committee: the strategy itself, an earlier request like this one, a model, or the rules of design.py."""
By = Literal["specialist", "kept", "warm", "role"]
"""Who takes a seat: a specialist that is live anyway, a member of an earlier committee that waited, a node from the warm pool, or
the node that works on the request, in that role."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """Who is to sit in a committee, and how long it discusses. ``chair`` is the speciality of whoever writes the answer."""

    members: tuple[Seat, ...]
    rounds: int
    origin: Origin
    chair: str = "Integration specialist"


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A seat that is taken. ``node`` is the member's name; None: a role of the node that works on the request."""

    speciality: str
    node: str | None = None
    by: By = "role"


@dataclass(frozen=True, slots=True, kw_only=True)
class Convened:
    """A committee as it was formed; ``seats`` in the order of its design. ``committee_id`` is empty where it holds no node."""

    committee_id: str
    seats: tuple[Taken, ...]
    took_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What a member said: ``round`` 0 is its contribution. ``agrees`` None: it took no side. ``objection`` in its own words."""

    member: str
    round: int
    text: str
    agrees: bool | None = None
    objection: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerAnswer:
    """What a peer said, and what that took."""

    text: str
    backend: str = ""
    cost_usd: float = 0.0
    tokens: int = 0
