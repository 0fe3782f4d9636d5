"""Who decides on a proposal, and whether a decision still counts. Pure.

Called by the controller when a proposal is taken up and when an operator speaks. The policy is the operator's configuration: each
kind is carried out by itself (auto), waits for an operator, or is refused; auto ends where a proposal is large, risky, dear or
comes at the wrong hour. There is no way to switch approval off as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final, Literal

from runtime.topology.moves import WAITING
from runtime.topology.payloads import Kind
from runtime.topology.records import HoldBack, NotNow, Proposal, Status
from runtime.topology.shape import MemberStep, Plan
from runtime.topology.steps import act_of

Rule = Literal["auto", "operator", "refuse"]
Risk = Literal["low", "medium", "high"]

DEFAULT_RULES: Final[Mapping[Kind, Rule]] = MappingProxyType(
    {kind: "auto" if kind in (Kind.WAKE, Kind.PARK, Kind.RECOVER) else "operator" for kind in Kind}
)
MAX_HOLD_BACK_S: Final = 90 * 86_400.0
_RISKS: Final[tuple[Risk, ...]] = ("low", "medium", "high")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """``rules`` by kind. Auto holds for at most ``max_nodes`` touched nodes, a risk up to ``max_risk``, ``max_usd`` of cost, and
    between the ``hours`` (of the day, UTC; the end is not in it; from an hour to itself is the whole day)."""

    rules: Mapping[Kind, Rule] = field(default_factory=lambda: DEFAULT_RULES)
    max_nodes: int = 4
    max_risk: Risk = "medium"
    max_usd: float = 0.05
    hours: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Auto:
    """Carry it out; nobody is asked."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AskOperator:
    """Wait for an operator's word until it expires."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse:
    """It is not even proposed."""

    reason: str


Decision = Auto | AskOperator | Refuse


def decide(proposal: Proposal, plan: Plan, policy: Policy, *, now: float) -> Decision:
    """What the policy says of a new proposal. What is not in its rules is the operator's to decide."""
    kind = proposal.kind
    rule = policy.rules.get(kind, "operator")
    if rule == "refuse":
        return Refuse(reason=f"the policy refuses {kind} (topology.approval.{kind})")
    if rule == "operator":
        return AskOperator(reason=f"the policy leaves {kind} to an operator (topology.approval.{kind})")
    return _bounded(proposal, plan, policy, now)


def _bounded(proposal: Proposal, plan: Plan, policy: Policy, now: float) -> Decision:
    touched, risk, cost_usd = size_of(plan), risk_of(proposal, plan), proposal.draft.cost_usd
    hour, (first, end) = datetime.fromtimestamp(now, UTC).hour, policy.hours
    inside = first <= hour < end if first < end else hour >= first or hour < end
    if touched > policy.max_nodes:
        return AskOperator(reason=f"it touches {touched} nodes, more than topology.approval.max_nodes ({policy.max_nodes})")
    if _RISKS.index(risk) > _RISKS.index(policy.max_risk):
        return AskOperator(reason=f"its risk is {risk}, above topology.approval.max_risk ({policy.max_risk})")
    if not cost_usd <= policy.max_usd:
        return AskOperator(reason=f"it costs {cost_usd:.4f} USD, more than topology.approval.max_usd ({policy.max_usd:g})")
    if not inside:
        return AskOperator(reason=f"it is {hour:02}:00 UTC, outside of topology.approval.hours ({first}-{end})")
    return Auto(reason=f"the policy allows {proposal.kind} by itself: {touched} nodes, risk {risk}, {cost_usd:.4f} USD")


def size_of(plan: Plan) -> int:
    """How many nodes it touches."""
    return len({step.node_id for step in (*plan.apply, *plan.finish) if isinstance(step, MemberStep)})


def risk_of(proposal: Proposal, plan: Plan) -> Risk:
    """High where it cannot be undone once it is kept, or touches more than half of the traffic; medium where a node that works is
    changed or put away, or is chosen for other reasons; low where something is added or woken."""
    if plan.finish or proposal.draft.share > 0.5:
        return "high"
    acts = {act_of(step) for step in plan.apply if isinstance(step, MemberStep)}
    return "medium" if acts & {"park", "respec", "end"} or proposal.kind in (Kind.ADOPT_ROUTER, Kind.TUNE) else "low"


def check_decision(proposal: Proposal, digest: str | None, *, now: float) -> None:
    """Whether a person may decide on it now; ``digest`` is of what the person saw (None: it is not asked, for a no).

    Raises NotNow: it was decided, it is over, it has expired, or it is not what the person saw.
    """
    if proposal.status not in WAITING:
        raise NotNow(
            f"proposal {proposal.proposal_id} is {proposal.status}: {proposal.note}".rstrip(": "), status=proposal.status
        )
    if now >= proposal.expires_at:
        raise NotNow(f"proposal {proposal.proposal_id} has expired", status=Status.EXPIRED)
    if digest is not None and digest != proposal.digest:
        raise NotNow("the hash is not that of this proposal: look at it again and approve what it is now", status=proposal.status)


def hold_back(old: HoldBack | None, key: str, *, reason: str, who: str, now: float, first_s: float) -> HoldBack:
    """What a rejection leaves behind, and a change that was undone because it did not keep its promise: for ``first_s`` seconds
    nothing of ``key`` is proposed, each further time twice as long, at most MAX_HOLD_BACK_S."""
    times = 1 if old is None else old.times + 1
    length_s = min(first_s * 2.0 ** min(times - 1, 30), MAX_HOLD_BACK_S)
    return HoldBack(key=key, until=now + length_s, reason=reason, who=who, times=times)
