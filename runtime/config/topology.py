"""The section ``[topology]``. Called by settings.py."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from runtime.config.section import Section
from runtime.topology.approval import DEFAULT_RULES, Policy, Risk, Rule
from runtime.topology.payloads import Kind
from runtime.topology.records import Caps
from runtime.topology.verify import Terms

_Usd = Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)]
_Span = Annotated[float, Field(gt=0, le=3650 * 86_400.0, allow_inf_nan=False)]
_Hour = Annotated[int, Field(ge=0, le=23)]


class ApprovalSettings(Section):
    """auto: carried out by itself, within the bounds below. operator: waits for a person. refuse: never."""

    spawn: Rule = DEFAULT_RULES[Kind.SPAWN]
    """A new node."""
    split: Rule = DEFAULT_RULES[Kind.SPLIT]
    """New nodes below one."""
    prune: Rule = DEFAULT_RULES[Kind.PRUNE]
    """A node is parked, and deleted once that has proved itself."""
    merge: Rule = DEFAULT_RULES[Kind.MERGE]
    """A node takes over others, which are parked and then deleted."""
    park: Rule = DEFAULT_RULES[Kind.PARK]
    """A node gives its process back."""
    wake: Rule = DEFAULT_RULES[Kind.WAKE]
    """A parked node is live again."""
    recover: Rule = DEFAULT_RULES[Kind.RECOVER]
    """A node takes the place of a failing one."""
    rewire: Rule = DEFAULT_RULES[Kind.REWIRE]
    """A node works in another way."""
    adopt_router: Rule = DEFAULT_RULES[Kind.ADOPT_ROUTER]
    """A generated router decides."""
    tune: Rule = DEFAULT_RULES[Kind.TUNE]
    """Settings of routing that won an experiment hold."""
    pool: Rule = DEFAULT_RULES[Kind.POOL]
    """More or fewer are kept ready."""
    restore: Rule = DEFAULT_RULES[Kind.RESTORE]
    """The shape of an earlier revision."""
    max_nodes: int = Field(default=4, ge=1, le=1000)
    """Touches more nodes: an operator decides, also where the kind is auto."""
    max_risk: Risk = "medium"
    """Has a higher risk: an operator decides. low adds or wakes; medium changes what works; high cannot be undone, or touches
    more than half of the traffic."""
    max_usd: _Usd = 0.05
    """Costs more: an operator decides."""
    from_hour: _Hour = 0
    """Auto holds from this hour (UTC) on …"""
    until_hour: _Hour = 0
    """… and before this one; the same twice is the whole day."""

    def policy(self) -> Policy:
        return Policy(
            rules={kind: getattr(self, kind.value) for kind in Kind},
            max_nodes=self.max_nodes,
            max_risk=self.max_risk,
            max_usd=self.max_usd,
            hours=(self.from_hour, self.until_hour),
        )


class ProbationSettings(Section):
    lasts_s: _Span = 3600.0
    """A change that was carried out is watched for so long; it is kept or undone sooner where that is sure."""
    extensions: int = Field(default=2, ge=0, le=100)
    """How often the probation is prolonged by as much while neither is sure."""
    requests: int = Field(default=20, ge=1, le=1_000_000)
    """Requests of each prediction before it counts as seen."""
    error: Annotated[float, Field(gt=0, le=0.5, allow_inf_nan=False)] = 0.05
    """How often the test may undo a change that keeps its promise."""

    def terms(self) -> Terms:
        return Terms(error=self.error, probation_s=self.lasts_s, extensions=self.extensions, least=self.requests)


class TopologySettings(Section):
    propose: bool = True
    """Let rules and models propose changes; operators always may."""
    round_s: Annotated[float, Field(ge=0.05, le=3600, allow_inf_nan=False)] = 5.0
    """How often the controller looks for something to do; an operator's word is done at once."""
    max_nodes: int = Field(default=10_000, ge=1, le=100_000)
    """Nodes altogether, parked ones included; cluster.max_live_nodes caps the live ones."""
    max_depth: int = Field(default=3, ge=0, le=16)
    """Generations below the first nodes."""
    max_descendants: int = Field(default=200, ge=0, le=100_000)
    """Descendants of one node over its life, those that are gone included."""
    max_spawns_per_minute: int = Field(default=6, ge=1, le=1000)
    """New nodes in a minute; further changes wait."""
    max_open_proposals: int = Field(default=100, ge=1, le=10_000)
    """Proposals that are not over; further ones are dropped."""
    max_verifying: int = Field(default=8, ge=1, le=1000)
    """Changes on probation at once; further ones wait."""
    spend_usd_per_day: _Usd = 1.0
    """Most that changes may cost in a day (UTC)."""
    expire_s: _Span = 7 * 86_400.0
    """A proposal that nobody approved for so long expires."""
    hold_back_s: _Span = 7 * 86_400.0
    """So long a rejected change is not proposed again; after each further rejection twice as long."""
    step_attempts: int = Field(default=3, ge=1, le=100)
    """How often a step is tried before the change is undone, and before a change that cannot be undone is an operator's to look
    at."""
    drain_s: Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)] = 10.0
    """How long a node that is parked may finish its tasks."""
    keep_revisions: int = Field(default=10_000, ge=10, le=1_000_000)
    """About so many revisions of the shape are kept; those before them are compacted into one, which nobody can look behind."""
    keep_proposals: int = Field(default=10_000, ge=10, le=1_000_000)
    """So many proposals are kept that are over; those stay as well that a node which is there came from."""
    keep_days: Annotated[float, Field(ge=2, le=36_500, allow_inf_nan=False)] = 400.0
    """Revisions and proposals that are older are forgotten, but for the newest hundred revisions."""
    approval: ApprovalSettings = ApprovalSettings()
    probation: ProbationSettings = ProbationSettings()

    def caps(self, *, live_nodes: int) -> Caps:
        return Caps(
            live_nodes=live_nodes,
            nodes=self.max_nodes,
            depth=self.max_depth,
            descendants=self.max_descendants,
            spawns_per_minute=self.max_spawns_per_minute,
            open_proposals=self.max_open_proposals,
            verifying=self.max_verifying,
            spend_usd_per_day=self.spend_usd_per_day,
        )
