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
from agents.strategy_specs import SelfHealing, StrategySpec, ValidationLoop
from runtime.topology.compare import Against
from runtime.topology.growing import guards
from runtime.topology.observe import Row, surely_below
from runtime.topology.payloads import Recover, Rewire
from runtime.topology.records import Draft, Evidence, Prediction, Scope
from runtime.topology.shape import Member
from runtime.topology.situation import Check, Situation, Wish, predicted

LEAST_RUNS: Final = 30
"""A check ran so often before it is said to find nothing."""
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
    """REWIRE: drop a check that finds nothing, and a backend that the log of decisions says adds nothing."""
    changed: set[NodeId] = set()
    for check in situation.checks:
        member = situation.by_name.get(check.node)
        inner = None if member is None else without_check(member.spec.strategy, check.kind)
        if member is None or inner is None or not situation.settled(member) or member.node_id in changed:
            continue
        high = surely_below(check.found, check.runs)
        if check.runs < LEAST_RUNS or high >= 2 * situation.rules.caught:
            continue
        changed.add(member.node_id)
        found = situation.window.nodes.get(check.node)
        if found is not None:
            held = high >= situation.rules.caught
            yield Wish(draft=_without_check(situation, member, check, inner, found), after=2, held=held, gain=check.seconds)
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


def without_check(strategy: StrategySpec, kind: str) -> StrategySpec | None:
    """What is left of a strategy without its outermost check of ``kind``; None where it has none."""
    match strategy:
        case ValidationLoop(generate=inner) if kind == "validation":
            return inner
        case SelfHealing(generate=inner) if kind == "self_healing":
            return inner
    return None


def _without_check(situation: Situation, member: Member, check: Check, inner: StrategySpec, row: Row) -> Draft:
    scope, words = Scope(kind="nodes", names=(check.node,)), check.kind.replace("_", " ")
    seen = Evidence(
        metric="check_found",
        value=float(check.found),
        units="requests",
        count=check.runs,
        since=situation.window.since,
        until=situation.window.until,
        scope=scope,
        source="events",
        note=f"{check.kind}: {check.seconds:.3f} s each",
    )
    latency: tuple[Prediction, ...] = ()
    if row.latency_p50_s > 0:
        then = max(0.0, row.latency_p50_s - check.seconds)
        latency = (predicted("latency_s", row.latency_p50_s, then, scope=scope, slack=0.1, bound=20 * row.latency_p50_s),)
    return Draft(
        payload=Rewire(spec=replace(member.spec, strategy=inner)),
        reason=f"the {words} of {check.node} found something in {check.found} of {check.runs} answers: drop it",
        evidence=(seen, situation.evidence(row, "count", scope=scope)),
        predictions=(*latency, *guards(row, scope)),
        share=row.share,
        simulated=situation.simulated,
    )
