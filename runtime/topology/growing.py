"""Rules by which the network grows: SPAWN, SPLIT, WAKE, POOL. Pure.

Called by propose.py. A new node must promise a gain that was measured: a better arm for its pattern, or a pattern that is
answered badly. A pattern that one model answers well needs no specialist, however often it comes.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from agents.llm.prompts import render
from agents.records import NodeId, NodeSpec
from agents.strategy_specs import Single
from runtime.topology.compare import LEAST
from runtime.topology.observe import Row, added
from runtime.topology.outlook import COMMITTEE, Outlook, Promise
from runtime.topology.payloads import Kind, Payload, Pool, Spawn, Split, Wake
from runtime.topology.records import Draft, Evidence, Prediction, Scope
from runtime.topology.shape import Member, PatternId
from runtime.topology.situation import Seen, Situation, Wish, predicted

COMMITTEE_MEMBERS: Final = 4
MAX_POOL: Final = 4
POOL_GAP_S: Final = 3600.0
"""Committees of a pattern meet at least so often before any is kept ready."""
_NOT_NAME: Final = re.compile(r"[^a-z0-9]+")


def spawns(situation: Situation, outlook: Outlook) -> Iterator[Wish]:
    """SPAWN for a pattern seen often enough that nobody is there for and that promises a gain."""
    if situation.flooded:
        return
    for name in candidates(situation):
        if name in situation.served or (promise := outlook.promise(name)) is None:
            continue
        seen = situation.patterns.get(name) or Seen(pattern_id=name, name=name, count=promise.row.count)
        root = next((m for m in situation.live if m.spec.role == "generalist"), None)
        draft = spawn_draft(
            situation, Spawn(spec=specialist(situation, seen, promise, root), patterns=(PatternId(name),)), promise
        )
        yield Wish(draft=draft, after=situation.rules.spawn_after, gain=promise.gain * promise.row.share)


def candidates(situation: Situation) -> list[str]:
    """Patterns of this window that were seen ``least_seen`` times, here or over their life, the busiest first."""
    table, least = situation.window.patterns, situation.rules.least_seen
    lived = np.array([situation.patterns[name].count if name in situation.patterns else 0 for name in table.names])
    enough = (np.maximum(lived, table.count) >= least) & (table.count >= LEAST) if len(lived) else np.zeros(0, dtype=np.bool_)
    order = np.argsort(-table.count, kind="stable")
    return [table.names[place] for place in order if enough[place]][:200]


def splits(situation: Situation, outlook: Outlook) -> Iterator[Wish]:
    """SPLIT a specialist whose patterns have become different jobs: each child promises a gain of its own."""
    window, rules = situation.window, situation.rules
    if situation.flooded:
        return
    order = np.argsort(window.by_node.right, kind="stable")
    ends = np.searchsorted(window.by_node.right[order], np.arange(len(window.nodes.names) + 1))
    for name, member in situation.by_name.items():
        place = window.nodes.places.get(name)
        fit = member.spec.role == "specialist" and member.life == "live" and member.depth < rules.max_depth
        if place is None or not fit or not situation.settled(member):
            continue
        cells = order[ends[place] : ends[place + 1]]
        mine = cells[window.by_node.table.count[cells] >= rules.least_seen]
        patterns = [window.patterns.names[window.by_node.left[cell]] for cell in mine]
        jobs = [(p, outlook.promise(p)) for p in patterns if situation.served.get(p, member) is member]
        promised = [(p, promise) for p, promise in jobs if promise is not None]
        if len(jobs) < 2 or not promised or not _differ(situation, mine):
            continue
        promised = sorted(promised, key=lambda each: -each[1].gain)[:8]
        yield _split(situation, member, promised)


def _split(situation: Situation, member: Member, promised: Sequence[tuple[str, Promise]]) -> Wish:
    children = tuple(
        Spawn(
            spec=specialist(situation, situation.patterns.get(p) or Seen(pattern_id=p, name=p, count=0), promise, member),
            parent=member.node_id,
            patterns=(PatternId(p),),
        )
        for p, promise in promised
    )
    best = promised[0][1]
    draft = spawn_draft(situation, Split(node=member.node_id, children=children), best, [promise for _, promise in promised])
    gain = sum(promise.gain * promise.row.share for _, promise in promised)
    return Wish(draft=draft, after=max(2, situation.rules.spawn_after), gain=gain)


def _differ(situation: Situation, cells: Sequence[int] | np.ndarray[tuple[int], np.dtype[np.intp]]) -> bool:
    """Whether the node surely does better on one of its patterns than on another."""
    table = situation.window.by_node.table
    judged = table.judged[cells] > 0
    low = np.where(judged, table.quality_low[cells], table.success_low[cells])
    high = np.where(judged, table.quality_high[cells], table.success_high[cells])
    return bool(len(low) > 1 and low.max() > high.min())


def wakes(situation: Situation) -> Iterator[Wish]:
    """WAKE a parked node whose pattern is asked for again. Answers of the library count for nothing: no node was needed."""
    rules, table = situation.rules, situation.window.patterns
    cells = situation.window.by_node
    worked = added(cells.left, cells.table.count, len(table.names))
    for member in situation.topology.members.values():
        if member.life != "parked" or member.spec.role in ("reviewer", "advisor"):
            continue
        for pattern in situation.patterns_of(member):
            row = table.get(pattern)
            needed = worked[table.places[pattern]] if row is not None else 0.0
            wanted = row is not None and needed >= rules.least_seen and row.share >= rules.unused_share
            if row is None or not wanted or situation.served.get(pattern, member) is not member:
                continue
            scope = Scope(kind="patterns", names=(pattern,))
            yield Wish(
                draft=Draft(
                    payload=Wake(node=member.node_id),
                    reason=f"{row.count} requests of {_called(situation, pattern)} came, and {member.spec.name} is parked",
                    evidence=(situation.evidence(row, "count", scope=scope), situation.evidence(row, "share", scope=scope)),
                    predictions=guards(row, scope),
                    share=row.share,
                    simulated=situation.simulated,
                ),
                gain=row.share,
            )
            break


def pools(situation: Situation) -> Iterator[Wish]:
    """POOL: keep committees ready for patterns that often need one, as many as meet at once (Little's law), and let go of the
    pools that nobody needs any more."""
    window, rules = situation.window, situation.rules
    cells, span_s = window.by_arm, max(1.0, window.until - window.since)
    committee = np.array([name.startswith(COMMITTEE) for name in window.arms.names], dtype=np.bool_)
    needed: set[str] = set()
    for cell in np.flatnonzero(committee[cells.right]) if len(committee) else ():
        pattern, row = window.patterns.names[cells.left[cell]], cells.table.row(int(cell))
        at_once = row.count / span_s * _known(float(cells.table.latency_mean_s[cell]))
        pool, size = f"committee:{pattern}", min(MAX_POOL, max(1, math.ceil(at_once)))
        held = situation.topology.pools.get(pool)
        # What is there stays at half of what makes it, so that a pattern on the edge does not make one and let it go for ever.
        part = 0.5 if held else 1.0
        if row.count < part * rules.least_seen or span_s / row.count > POOL_GAP_S / part:
            continue
        needed.add(pool)
        if held != size:
            scope = Scope(kind="patterns", names=(pattern,))
            reason = f"{row.count} committees met for {_called(situation, pattern)}, {at_once:.2f} at once: keep {size} ready"
            yield Wish(draft=_pool(situation, pool, size, reason, row, scope), after=2, gain=row.share)
    for pool, held in situation.topology.pools.items():
        if pool.startswith("committee:") and pool not in needed and held:
            reason = f"no committee met for {_called(situation, pool.partition(':')[2])} in the last windows"
            yield Wish(draft=_pool(situation, pool, None, reason, window.total.row(0), Scope()), after=rules.prune_after)


def _pool(situation: Situation, name: str, size: int | None, reason: str, row: Row, scope: Scope) -> Draft:
    evidence = (situation.evidence(row, "count", scope=scope), situation.evidence(row, "latency_p50_s", scope=scope))
    payload: Payload = Pool(name=name, size=size)
    return Draft(
        payload=payload,
        reason=reason,
        evidence=evidence if math.isfinite(row.latency_p50_s) else evidence[:1],
        predictions=guards(row, scope),
        share=row.share,
        simulated=situation.simulated,
    )


# ── what a proposal of a new node says ──────────────────────────────────────────────────────────────────────────────────


def spawn_draft(situation: Situation, payload: Spawn | Split, promise: Promise, more: Sequence[Promise] = ()) -> Draft:
    """The draft of one or more new nodes, with what was measured and what is predicted of the first pattern."""
    row, every = promise.row, more or (promise,)
    scope = Scope(kind="patterns", names=(row.name,))
    evidence: list[Evidence] = []
    for each in every:
        of = Scope(kind="patterns", names=(each.row.name,))
        measures = ("count", "share", *(("quality",) if each.row.judged else ("success",)))
        evidence += [situation.evidence(each.row, measure, scope=of) for measure in measures]
    names = ", ".join(_called(situation, each.row.name) for each in every)
    share = sum(each.row.share for each in every)
    kind = "a specialist" if isinstance(payload, Spawn) else f"{len(every)} specialists below it"
    count = sum(each.row.count for each in every)
    worth = promise.gain / situation.rules.usd_weight if situation.rules.usd_weight > 0 else 0.0
    return Draft(
        payload=payload,
        reason=f"{names}: {count} requests, {share:.0%} of the traffic; {kind}, because {promise.why}",
        evidence=tuple(evidence[:32]),
        predictions=_predictions(promise, scope, worth_usd=worth),
        share=min(1.0, share),
        simulated=situation.simulated,
    )


def _predictions(promise: Promise, scope: Scope, *, worth_usd: float) -> tuple[Prediction, ...]:
    """The gain first (the measure that is to change most), then what must not get worse. Where quality is what is gained, a
    request may cost a quarter of what the gain is worth (``worth_usd``) beyond what was foreseen: the whole is still a gain."""
    row = promise.row
    then = {"quality": promise.quality, "cost_usd": promise.cost_usd}
    found: list[tuple[float, Prediction]] = []
    if row.judged and promise.scored:
        found.append((promise.quality - row.quality, predicted("quality", row.quality, then["quality"], scope=scope)))
    if math.isfinite(row.cost_usd) and row.cost_usd > 0:
        prediction = predicted("cost_usd", row.cost_usd, promise.cost_usd, scope=scope, slack=0.5, bound=20 * row.cost_usd)
        if promise.scored and promise.cost_usd >= row.cost_usd:
            margin = max(prediction.margin, worth_usd / 4)
            prediction = replace(prediction, margin=margin, bound=max(prediction.bound, 2 * (promise.cost_usd + margin)))
        found.append((1.0 - promise.cost_usd / row.cost_usd, prediction))
    found.append((0.0, failures(row, scope)))
    return tuple(prediction for _, prediction in sorted(found, key=lambda each: -each[0]))


def guards(row: Row, scope: Scope) -> tuple[Prediction, ...]:
    """What must not get worse by a change that is there for something else."""
    found = [predicted("quality", row.quality, row.quality, scope=scope, slack=0.05)] if row.judged >= LEAST else []
    return (*found, failures(row, scope))


def failures(row: Row, scope: Scope) -> Prediction:
    """That not many more requests fail than now."""
    failing = 1.0 - row.success
    return Prediction(metric="failure", baseline=failing, expected=failing, margin=max(0.1, failing / 2), scope=scope)


def specialist(situation: Situation, seen: Seen, promise: Promise, parent: Member | None) -> NodeSpec:
    """The spec of a new specialist: its parent's ways, a prompt of its own, the backends that did best. Who carries the change
    out may write more into it."""
    named = _NOT_NAME.sub("-", seen.name.lower()).strip("-")[:40] or "pattern"
    digest = hashlib.sha256(f"{seen.pattern_id}/{situation.topology.revision}".encode()).hexdigest()[:6]
    base = parent.spec if parent is not None else None
    return NodeSpec(
        node_id=NodeId(f"{named}-{digest}"),
        name=f"{named}-{digest}",
        role="specialist",
        speciality=seen.name[:120],
        locale=base.locale if base is not None and base.role == "specialist" else named if named != "pattern" else "root",
        prompt=render("specialist", speciality=seen.name[:120]),
        backends=promise.backends or (base.backends if base is not None else ()),
        strategy=promise.strategy or (base.strategy if base is not None else Single()),
        max_concurrency=base.max_concurrency if base is not None else 32,
        inbox_limit=base.inbox_limit if base is not None else 256,
    )


def wishes(situation: Situation) -> Iterator[Wish]:
    """All of this room's."""
    outlook = Outlook(situation)
    yield from spawns(situation, outlook)
    yield from splits(situation, outlook)
    yield from wakes(situation)
    yield from pools(situation)


KINDS: Final = (Kind.SPAWN, Kind.SPLIT, Kind.WAKE, Kind.POOL)


def _called(situation: Situation, pattern: str) -> str:
    seen = situation.patterns.get(pattern)
    return f"{seen.name!r}" if seen is not None else f"pattern {pattern!r}"


def _known(value: float) -> float:
    return value if math.isfinite(value) else 0.0
