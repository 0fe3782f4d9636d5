"""Rules by which the network mends itself: RECOVER a node that fails, REWIRE one that works harder than its work needs. Pure.

Called by propose.py. A backend that is down is no node's fault: a node fails only where others manage the same, or where it is to
blame by itself (it died, it was full, it broke).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from agents.records import NodeId, NodeSpec
from agents.strategy_specs import Consensus, Parallel, Pipeline, SelfDialogue, SelfHealing, StrategySpec, ValidationLoop
from runtime.topology.compare import Against
from runtime.topology.growing import guards
from runtime.topology.observe import Row, surely_below
from runtime.topology.payloads import Recover, Rewire
from runtime.topology.records import Draft, Evidence, Prediction, Scope
from runtime.topology.shape import Member
from runtime.topology.situation import Check, Situation, Wish, predicted

LEAST_RUNS: Final = 30
"""A check ran so often before it is said to find nothing."""
CHECKS: Final = frozenset({"validation", "self_healing", "gate"})
"""Parts that look for something; others add something."""
LEAST_MEMBERS: Final = 2
"""A consensus has so many members."""
MAX_NAME: Final = 60
_SUFFIX: Final = "-recovery"


def recovers(situation: Situation) -> Iterator[Wish]:
    """RECOVER: a node of the recovery role takes over from the failing one's last good state. Not for the last generalist, whose
    actor the cluster restarts by itself, nor twice for the same work."""
    rules, window = situation.rules, situation.window
    for member in situation.live:
        place = window.nodes.places.get(member.spec.name)
        last = member.spec.role == "generalist" and situation.generalists <= 1
        if place is None or last or member.spec.role in ("recovery", "reviewer", "advisor"):
            continue
        row = window.nodes.row(place)
        why = why_failing(row, situation.compared[place], failing=rules.failing, least=rules.least_seen)
        if not why:
            continue
        scope = Scope(kind="nodes", names=(row.name,))
        # Whoever takes over has another name: what is promised is of the requests that this one gets now.
        of = Scope(kind="patterns", names=situation.patterns_of(member)[:8]) if member.patterns else Scope()
        whole = row if member.patterns else window.total.row(0)
        failing = 1.0 - whole.success
        yield Wish(
            draft=Draft(
                payload=Recover(node=member.node_id, spec=recovery_of(situation, member)),
                reason=why,
                evidence=tuple(situation.evidence(row, name, scope=scope) for name in ("count", "success", "faults")),
                predictions=(predicted("failure", failing, failing / 2, scope=of, slack=0.0),),
                share=row.share,
                simulated=situation.simulated,
            ),
            gain=row.share * (1.0 - row.success),
        )


def why_failing(row: Row, against: Against | None, *, failing: float, least: int) -> str:
    """Why the node of ``row`` counts as failing; empty where it does not, or where others fail at the same work as well."""
    if row.count < least or row.success_high >= failing:
        return ""
    failures = row.count - round(row.success * row.count)
    if row.faults >= max(3, failures / 2):
        return f"{row.name} failed {failures} of {row.count} requests, {row.faults} by its own fault"
    others_manage = against is not None and against.covered >= 0.5 and not row.judged and against.quality_low > 0.2
    if others_manage:
        return f"{row.name} failed {failures} of {row.count} requests, and others manage the same patterns"
    return ""


def recovery_of(situation: Situation, member: Member) -> NodeSpec:
    """The spec that takes over: as the node was when it last did well."""
    return recovery_spec(situation.memory.good.get(member.node_id, member.spec), revision=situation.topology.revision)


def recovery_spec(good: NodeSpec, *, revision: int) -> NodeSpec:
    """``good`` under another name and id, which are the same for the same ``revision``."""
    digest = hashlib.sha256(f"{good.node_id}/{revision}".encode()).hexdigest()[:6]
    name = f"{good.name.partition(_SUFFIX)[0][: MAX_NAME - 20]}{_SUFFIX}-{digest}"
    return replace(good, node_id=NodeId(name), name=name, role="recovery")


# ── REWIRE ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def rewires(situation: Situation) -> Iterator[Wish]:
    """REWIRE: drop a check that finds nothing, a stage or branch that changes no answer, and a backend that the log of decisions
    says adds nothing."""
    changed: set[NodeId] = set()
    for check in situation.checks:
        member = situation.by_name.get(check.node)
        inner = None if member is None else without_part(member.spec.strategy, check.kind)
        if member is None or inner is None or not situation.settled(member) or member.node_id in changed:
            continue
        high = surely_below(check.found, check.runs)
        if check.runs < LEAST_RUNS or high >= 2 * situation.rules.caught:
            continue
        changed.add(member.node_id)
        found = situation.window.nodes.get(check.node)
        if found is not None:
            held = high >= situation.rules.caught
            yield Wish(draft=_without(situation, member, check, inner, found), after=2, held=held, gain=check.seconds)
    for finding in situation.findings:
        if finding.kind != "backend" or not finding.remove:
            continue
        for member in situation.live:
            left = tuple(name for name in member.spec.backends if name != finding.part)
            if not left or left == member.spec.backends or member.node_id in changed or not situation.settled(member):
                continue
            row = situation.window.nodes.get(member.spec.name)
            if row is None:
                continue
            changed.add(member.node_id)
            scope = Scope(kind="nodes", names=(member.spec.name,))
            loss = Evidence(
                metric="quality_loss_high",
                value=finding.loss.high,
                units="score",
                count=finding.given,
                since=situation.window.since,
                until=situation.window.until,
                scope=scope,
                source="decisions",
                note=finding.reason,
            )
            yield Wish(
                draft=Draft(
                    payload=Rewire(spec=replace(member.spec, backends=left)),
                    reason=f"{member.spec.name} no longer asks {finding.part}: {finding.reason}",
                    evidence=(loss, situation.evidence(row, "count", scope=scope)),
                    predictions=guards(row, scope),
                    share=row.share,
                    simulated=situation.simulated,
                ),
                after=2,
            )


def without_part(strategy: StrategySpec, kind: str) -> StrategySpec | None:
    """What is left of a strategy without its outermost part of ``kind`` (situation.Check); None where it has none, or nothing
    would be left."""
    sort, _, name = kind.partition(":")
    match strategy:
        case ValidationLoop(generate=inner) if kind == "validation":
            return inner
        case SelfHealing(generate=inner) if kind == "self_healing":
            return inner
        case ValidationLoop(generate=inner) | SelfHealing(generate=inner) | SelfDialogue(generate=inner):
            left = without_part(inner, kind)
            return None if left is None else replace(strategy, generate=left)
        case Pipeline(stages=stages) if sort == "stage":
            kept = tuple(stage for stage in stages if stage.name != name)
            return replace(strategy, stages=kept) if 0 < len(kept) < len(stages) else None
        case Pipeline(stages=stages) if sort == "gate":
            open_ = tuple(replace(stage, gate=None) if stage.name == name else stage for stage in stages)
            return replace(strategy, stages=open_) if open_ != stages else None
        case Parallel(aspects=aspects) if sort == "aspect":
            others = tuple(aspect for aspect in aspects if aspect.name != name)
            return replace(strategy, aspects=others) if 0 < len(others) < len(aspects) else None
        case Consensus(members=members) if sort == "member" and name.isdecimal() and len(members) > LEAST_MEMBERS:
            rest = tuple(each for number, each in enumerate(members, start=1) if number != int(name))
            quorum = None if strategy.quorum is None else min(strategy.quorum, len(rest))
            return replace(strategy, members=rest, quorum=quorum) if len(rest) < len(members) else None
    return None


def _called(kind: str) -> str:
    sort, _, name = kind.partition(":")
    if not name:
        return f"the {sort.replace('_', ' ')}"
    return f"the gate of stage {name!r}" if sort == "gate" else f"{sort} {name!r}"


def _without(situation: Situation, member: Member, check: Check, inner: StrategySpec, row: Row) -> Draft:
    scope, words = Scope(kind="nodes", names=(check.node,)), _called(check.kind)
    found = "found something" if check.kind.partition(":")[0] in CHECKS else "changed the answer"
    seen = Evidence(
        metric="part_useful",
        value=float(check.found),
        units="requests",
        count=check.runs,
        since=situation.window.since,
        until=situation.window.until,
        scope=scope,
        source="events",
        note=f"{words}: {check.seconds:.3f} s each" if check.seconds > 0 else words,
    )
    latency: tuple[Prediction, ...] = ()
    if row.latency_p50_s > 0 and check.seconds > 0:
        then = max(0.0, row.latency_p50_s - check.seconds)
        latency = (predicted("latency_s", row.latency_p50_s, then, scope=scope, slack=0.1, bound=20 * row.latency_p50_s),)
    return Draft(
        payload=Rewire(spec=replace(member.spec, strategy=inner)),
        reason=f"{words} of {check.node} {found} in {check.found} of {check.runs} cases: drop it",
        evidence=(seen, situation.evidence(row, "count", scope=scope)),
        predictions=(*latency, *guards(row, scope)),
        share=row.share,
        simulated=situation.simulated,
    )
