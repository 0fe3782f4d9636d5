"""Rules by which the network gets simpler: PRUNE, MERGE, PARK. Pure.

Called by propose.py. A node is held against those who do the same work (compare.py), never against its name or its traffic alone.
The last generalist, the registry's own nodes and whatever is new are left in peace.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from runtime.topology.claims import Gain, gain_of
from runtime.topology.compare import LEAST, Against, twins, utility
from runtime.topology.growing import failures, guards
from runtime.topology.observe import Row, Table, surely_below
from runtime.topology.payloads import MAX_MERGED, Merge, Park, Prune
from runtime.topology.records import Draft, Evidence, Prediction, Scope
from runtime.topology.shape import Member
from runtime.topology.situation import Situation, Wish, predicted

COVERED = 0.8
"""Others must have done the same kinds of work for this part of a node's outcomes."""
OVERLAP = 0.9


def wishes(situation: Situation) -> Iterator[Wish]:
    """All of this room's."""
    yield from parks(situation)
    yield from prunes(situation)
    yield from unions(situation)
    yield from merges(situation)


# ── PARK ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def parks(situation: Situation) -> Iterator[Wish]:
    """PARK a live node that nothing came to while others had work."""
    window, rules = situation.window, situation.rules
    if window.requests < 5 * rules.least_seen:
        return
    for member in situation.live:
        row = window.nodes.get(member.spec.name)
        if not situation.removable(member) or member.spec.role == "generalist":
            continue
        if row is not None and row.count > 0:
            continue
        total = window.total.row(0)
        yield Wish(
            draft=Draft(
                payload=Park(node=member.node_id),
                reason=f"{member.spec.name} got none of the last {window.requests} requests; parked, it wakes when it is needed",
                evidence=(_none_came(situation, member),),
                predictions=nothing_fails(total),
                simulated=situation.simulated,
            ),
            after=rules.park_after,
        )


def nothing_fails(total: Row) -> tuple[Prediction, ...]:
    """What must hold when a node goes to which nothing came: it had no part in how well others were answered, so that a change of
    their quality says nothing of it."""
    return (failures(total, Scope()),)


def _none_came(situation: Situation, member: Member) -> Evidence:
    window = situation.window
    return Evidence(
        metric="count",
        value=0.0,
        units="requests",
        count=window.requests,
        since=window.since,
        until=window.until,
        scope=Scope(kind="nodes", names=(member.spec.name,)),
        source=f"window {window.number}",
    )


# ── PRUNE ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def prunes(situation: Situation) -> Iterator[Wish]:
    """PRUNE what is hardly used, slow without being better, or done as well by another for less. At most a tenth of the live
    nodes, and nobody who is to take over the work of another that goes."""
    window, rules = situation.window, situation.rules
    relied_on: set[str] = set()
    for member in sorted(situation.topology.members.values(), key=lambda each: _count(window.nodes, each)):
        if not situation.removable(member) or member.spec.name in relied_on:
            continue
        if member.life == "parked":
            yield from _forgotten(situation, member)
            continue
        place = window.nodes.places.get(member.spec.name)
        if place is None:
            continue
        row, against = window.nodes.row(place), situation.compared[place]
        if row.count == 0:
            continue
        reason, held = why_prune(situation, row, against)
        gain = _gain(situation, row.name)
        if (not reason or held) and gain is not None and gain.high < 2 * rules.least_gain:
            reason, held = _dispensable(row.name, gain), gain.high >= rules.least_gain
        if not reason:
            continue
        if against is not None and against.best >= 0:
            relied_on.add(window.nodes.names[against.best])
        yield Wish(
            draft=_prune_draft(situation, member, row, against, reason, gain), after=rules.prune_after, held=held, gain=-row.share
        )


def why_prune(situation: Situation, row: Row, against: Against | None) -> tuple[str, bool]:
    """Why the node of ``row`` should go (empty: it should not), and whether that is only nearly so (it keeps a streak alive)."""
    rules, window = situation.rules, situation.window
    live = max(1, len(situation.live))
    least_share = min(rules.unused_share, 0.25 / live)
    if window.requests >= rules.least_requests:
        high = surely_below(row.count, window.requests)
        if high < least_share:
            return f"{row.name} answers {row.share:.2%} of the requests (surely less than {least_share:.2%})", False
        if high < 2 * least_share:
            return f"{row.name} answers {row.share:.2%} of the requests", True
    if against is None or against.covered < COVERED or row.count < 2 * rules.least_seen:
        return "", False
    if against.quality_low < -rules.equal_within:
        return "", False
    slower = 1.0 / max(against.latency_ratio, 1e-9)
    if slower >= rules.slower:
        return (
            f"{row.name} takes {slower:.1f} times as long as others on the same patterns and is no better "
            f"(theirs is {against.quality_low:+.3f} to {against.quality_high:+.3f} in quality)"
        ), False
    if against.cost_ratio <= rules.cheaper and against.latency_ratio <= 1.1:
        return (
            f"others do the work of {row.name} for {against.cost_ratio:.0%} of its cost, as fast and as well "
            f"({against.quality_low:+.3f} to {against.quality_high:+.3f} in quality)"
        ), False
    return "", False


def _gain(situation: Situation, name: str) -> Gain | None:
    claims, rules = situation.claims.get(name), situation.rules
    return None if claims is None else gain_of(claims, usd_weight=rules.usd_weight, second_weight=rules.second_weight)


def _dispensable(name: str, gain: Gain) -> str:
    """By chance some of its requests went on without it: surely it brings less than a new node would have to promise."""
    return (
        f"{name} brings {gain.mean:+.3f} utility to a request ({gain.low:+.3f} to {gain.high:+.3f}): {gain.count} that went on "
        "without it by chance were answered as well"
    )


def _prune_draft(
    situation: Situation, member: Member, row: Row, against: Against | None, reason: str, gain: Gain | None
) -> Draft:
    scope = Scope(kind="nodes", names=(row.name,))
    measures = [name for name in ("count", "share", "quality", "latency_p50_s", "cost_usd") if math.isfinite(getattr(row, name))]
    total = situation.window.total.row(0)
    predictions: tuple[Prediction, ...] = guards(total, Scope())
    if against is not None and against.cost_usd < 0 and math.isfinite(total.cost_usd) and total.cost_usd > 0:
        then = max(0.0, total.cost_usd + against.cost_usd * row.share)
        predictions = (
            predicted("cost_usd", total.cost_usd, then, scope=Scope(), slack=0.2, bound=20 * total.cost_usd),
            *predictions,
        )
    return Draft(
        payload=Prune(node=member.node_id),
        reason=reason,
        evidence=(*(situation.evidence(row, name, scope=scope) for name in measures), *_compared(situation, scope, gain)),
        predictions=predictions,
        share=row.share,
        simulated=situation.simulated,
    )


def _compared(situation: Situation, scope: Scope, gain: Gain | None) -> Iterator[Evidence]:
    if gain is not None:
        window, note = situation.window, f"{gain.low:+.3f} to {gain.high:+.3f}, over those that went on without it"
        yield Evidence(
            metric="gain",
            value=gain.mean,
            units="utility",
            count=gain.count,
            since=window.since,
            until=window.until,
            scope=scope,
            source="claims",
            note=note,
        )


def _forgotten(situation: Situation, member: Member) -> Iterator[Wish]:
    idle = situation.memory.idle.get(member.node_id, 0)
    if idle < situation.rules.forget_after:
        return
    yield Wish(
        draft=Draft(
            payload=Prune(node=member.node_id),
            reason=f"{member.spec.name} is parked, and nobody asked for it in {idle} windows",
            evidence=(_none_came(situation, member),),
            predictions=nothing_fails(situation.window.total.row(0)),
            simulated=situation.simulated,
        ),
    )


def _count(table: Table, member: Member) -> float:
    place = table.places.get(member.spec.name)
    return 0.0 if place is None else float(table.count[place])


# ── MERGE ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def unions(situation: Situation) -> Iterator[Wish]:
    """MERGE specialists whose patterns turned out to be one: only one of them is ever asked."""
    table = situation.window.nodes
    by_pattern: dict[str, list[Member]] = {}
    for member in situation.topology.members.values():
        for pattern in situation.patterns_of(member) if member.spec.role in ("specialist", "recovery") else ():
            by_pattern.setdefault(pattern, []).append(member)
    taken: set[str] = set()
    for pattern, members in by_pattern.items():
        ranked = sorted(members, key=lambda each: (each.life != "live", -_count(table, each), each.spec.name))
        into, own = ranked[0], set(situation.patterns_of(ranked[0]))
        gone = [each for each in ranked[1:] if set(situation.patterns_of(each)) <= own and situation.removable(each)][:MAX_MERGED]
        if not gone or into.life != "live" or {each.node_id for each in (into, *gone)} & taken:
            continue
        taken |= {each.node_id for each in (into, *gone)}
        seen, row = situation.patterns.get(pattern), situation.window.patterns.get(pattern)
        names, total = ", ".join(each.spec.name for each in gone), situation.window.total.row(0)
        scope = Scope(kind="patterns", names=(pattern,))
        yield Wish(
            draft=Draft(
                payload=Merge(into=into.node_id, gone=tuple(each.node_id for each in gone)),
                reason=f"what {names} and {into.spec.name} were made for turned out to be one kind: "
                f"{seen.name if seen is not None else pattern!r}",
                evidence=() if row is None else (situation.evidence(row, "count", scope=scope),),
                predictions=guards(total if row is None else row, Scope() if row is None else scope),
                share=0.0 if row is None else row.share,
                simulated=situation.simulated,
            ),
            after=situation.rules.merge_after,
            gain=0.0 if row is None else row.share,
        )


def merges(situation: Situation) -> Iterator[Wish]:
    """MERGE two live nodes of one locale that are asked the same and answer alike, equally well: the better one stays."""
    window, rules = situation.window, situation.rules
    worth = utility(window.nodes, usd_weight=rules.usd_weight, second_weight=rules.second_weight)
    gone: set[str] = set()
    for a, b, overlap in pairs(situation):
        one, other = window.nodes.row(a), window.nodes.row(b)
        alike = situation.likeness.get(pair_key(one.name, other.name))
        if alike is None or alike < rules.alike - 0.05 or not _equal(one, other, rules.equal_within):
            continue
        stays, goes = (one, other) if worth[a] >= worth[b] else (other, one)
        into, away = situation.by_name[stays.name], situation.by_name[goes.name]
        if away.spec.role == "generalist" and into.spec.role != "generalist":
            into, away, stays, goes = away, into, goes, stays
        if {one.name, other.name} & gone or not situation.removable(away):
            continue
        gone |= {one.name, other.name}
        reason = (
            f"{goes.name} and {stays.name} are asked the same ({overlap:.0%}) and answer alike ({alike:.0%}), equally well: "
            f"{goes.name} is merged into {stays.name}"
        )
        scope = Scope(kind="nodes", names=(stays.name, goes.name))
        total = situation.window.total.row(0)
        yield Wish(
            draft=Draft(
                payload=Merge(into=into.node_id, gone=(away.node_id,)),
                reason=reason,
                evidence=tuple(
                    situation.evidence(row, name, scope=Scope(kind="nodes", names=(row.name,)))
                    for row in (stays, goes)
                    for name in ("count", "quality" if row.judged else "success")
                ),
                predictions=guards(total, Scope()) if not one.judged else guards(stays, scope),
                share=min(1.0, one.share + other.share),
                simulated=situation.simulated,
            ),
            after=rules.merge_after,
            held=alike < rules.alike,
            gain=goes.share,
        )


def pairs(situation: Situation) -> list[tuple[int, int, float]]:
    """Live nodes of one locale that are asked the same (places in the nodes' table, overlap): whose answers are worth
    comparing."""
    nodes = situation.window.nodes
    found = []
    for a, b, overlap in twins(situation.window.by_node, len(nodes.names), least=2 * situation.rules.least_seen, overlap=OVERLAP):
        one, other = situation.by_name.get(nodes.names[a]), situation.by_name.get(nodes.names[b])
        if one is None or other is None or "parked" in (one.life, other.life) or one.spec.locale != other.spec.locale:
            continue
        if not (situation.removable(one) or situation.removable(other)):
            continue
        found.append((a, b, overlap))
    return found


def pair_key(one: str, other: str) -> tuple[str, str]:
    return (one, other) if one <= other else (other, one)


def _equal(one: Row, other: Row, within: float) -> bool:
    """Their qualities may well be the same: the intervals overlap and the means are close."""
    if one.judged >= LEAST and other.judged >= LEAST:
        near = abs(one.quality - other.quality) <= max(within, (one.quality_high - one.quality_low) / 2)
        return near and one.quality_low <= other.quality_high and other.quality_low <= one.quality_high
    return one.success_low <= other.success_high and other.success_low <= one.success_high
