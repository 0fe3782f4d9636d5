"""From a window to proposals: what the rules want, once they have wanted it for long enough, and not again too soon. Pure.

Called by runtime/observer.py, off the event loop. The rules themselves stand in growing.py, shrinking.py, mending.py and
warming.py; here are hysteresis (a wish becomes a proposal after some windows; a wish that only nearly holds keeps its streak),
cooldown (a subject that was spoken of is left in peace, counted in windows and in seconds, so that a clock that jumps neither
ends it nor makes it last for ever), the bounds of one window, and what is remembered. Caps, approval and what became of earlier
proposals are the controller's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from agents.records import NodeId, NodeSpec
from runtime.topology import growing, mending, shrinking, warming
from runtime.topology.payloads import KIND_OF, Kind, Merge, Payload, Recover, Spawn, Split, subject_of
from runtime.topology.records import Draft
from runtime.topology.situation import Memory, Quiet, Situation, Wish

MAX_REMEMBERED: Final = 10_000
URGENT: Final[tuple[Kind, ...]] = (Kind.RECOVER, Kind.WAKE)
REMOVALS: Final = frozenset({Kind.PRUNE, Kind.MERGE})
BIRTHS: Final = frozenset({Kind.SPAWN, Kind.SPLIT})


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposed:
    """``drafts``, the most urgent and useful first; ``waiting``: keys that are wanted, and for how many windows of how many."""

    drafts: tuple[Draft, ...]
    memory: Memory
    waiting: tuple[tuple[str, int, int], ...] = ()


def key_of(draft: Draft) -> str:
    """``kind:subject``, as ``Proposal.key``."""
    return f"{draft.kind}:{subject_of(draft.payload)}"


def propose(
    situation: Situation, *, open_keys: frozenset[str] = frozenset(), held_back: frozenset[str] = frozenset()
) -> Proposed:
    """What should change after this window, and what to remember for the next. ``open_keys`` and ``held_back`` are proposals
    under way and those that a rejection holds back: nothing is said of them, nor of a node that one of them is about."""
    memory = remembered(situation)
    quiet_subjects = {key.partition(":")[2] for key in open_keys}
    streaks: dict[str, int] = {}
    ripe: list[tuple[str, Wish]] = []
    waiting = []
    for wish in wishes(situation):
        key = key_of(wish.draft)
        subject = subject_of(wish.draft.payload)
        if key in streaks or key in held_back or key in open_keys or subject in quiet_subjects:
            continue
        if is_quiet(memory, subject, situation):
            continue
        before = situation.memory.streaks.get(key, 0)
        streaks[key] = before if wish.held else before + 1
        if streaks[key] >= wish.after and not wish.held:
            ripe.append((key, wish))
        elif streaks[key]:
            waiting.append((key, streaks[key], wish.after))
    chosen = list(_bounded(situation, ripe))
    quiet = dict(memory.quiet)
    for _, wish in chosen:
        for subject in touched(wish.draft.payload):
            quiet[subject] = Quiet(until=situation.window.number + 1 + situation.rules.cooldown, at=situation.now)
    kept = {key: count for key, count in streaks.items() if count and key not in {key for key, _ in chosen}}
    return Proposed(
        drafts=tuple(wish.draft for _, wish in chosen),
        memory=Memory(
            window=situation.window.number,
            streaks=dict(list(kept.items())[:MAX_REMEMBERED]),
            quiet=dict(list(quiet.items())[-MAX_REMEMBERED:]),
            known=memory.known,
            good=memory.good,
            idle=memory.idle,
        ),
        waiting=tuple(waiting[:200]),
    )


def wishes(situation: Situation) -> Iterator[Wish]:
    """All that the rules want of this window, whether or not they wanted it before."""
    if not situation.window.requests:
        return
    yield from mending.recovers(situation)
    yield from growing.wishes(situation)
    yield from warming.warm_nodes(situation)
    yield from mending.rewires(situation)
    yield from shrinking.wishes(situation)


def touched(payload: Payload) -> tuple[str, ...]:
    """What a proposal is about: its subject and every node that it changes."""
    match payload:
        case Merge(into=into, gone=gone):
            return (into, *gone)
        case Split(node=node, children=children):
            return (node, *(pattern for child in children for pattern in child.patterns))
        case Spawn(patterns=patterns):
            return (subject_of(payload), *patterns)
        case Recover(node=node, spec=spec):
            return (node, spec.node_id)
    return (subject_of(payload),)


def is_quiet(memory: Memory, subject: str, situation: Situation) -> bool:
    """Whether the subject was spoken of too lately. A clock that went back counts as time that passed: windows still hold it."""
    held = memory.quiet.get(subject)
    if held is None:
        return False
    return situation.window.number < held.until or 0.0 <= situation.now - held.at < situation.rules.cooldown_s


def _bounded(situation: Situation, ripe: Sequence[tuple[str, Wish]]) -> Iterator[tuple[str, Wish]]:
    """At most so many of one window: few births, a tenth of the live nodes removed, no two changes of one node."""
    rules = situation.rules
    births, removals = rules.most_births, max(1, len(situation.live) // 10)
    taken: set[str] = set()
    given = 0
    order = sorted(ripe, key=lambda each: (KIND_OF[type(each[1].draft.payload)] not in URGENT, -each[1].gain))
    for key, wish in order:
        kind, names = wish.draft.kind, set(touched(wish.draft.payload))
        if given >= rules.most_drafts or names & taken:
            continue
        if kind in BIRTHS:
            born = len(wish.draft.payload.children) if isinstance(wish.draft.payload, Split) else 1
            if births <= 0 or (born > births and births < rules.most_births):
                continue
            births -= born
        if kind in REMOVALS:
            if removals <= 0:
                continue
            removals -= 1
        taken |= names
        given += 1
        yield key, wish


def remembered(situation: Situation) -> Memory:
    """The memory after a look at the shape: nodes that are new or changed since, who did well, who was not asked for."""
    old, window, rules = situation.memory, situation.window, situation.rules
    known: dict[NodeId, tuple[int, str]] = {}
    good: dict[NodeId, NodeSpec] = {}
    idle: dict[NodeId, int] = {}
    for node_id, member in situation.topology.members.items():
        before = old.known.get(node_id)
        # What was there before the first window is no news.
        first = before[0] if before is not None and before[1] == member.life else window.number if old.window else -rules.grace
        known[node_id] = (first, member.life)
        row = window.nodes.get(member.spec.name)
        if row is not None and row.count >= rules.least_seen and row.success_low >= rules.failing:
            good[node_id] = member.spec
        elif node_id in old.good:
            good[node_id] = old.good[node_id]
        if member.life == "parked":
            idle[node_id] = 0 if row is not None and row.count else old.idle.get(node_id, 0) + 1
    number = window.number
    quiet = {
        subject: held
        for subject, held in old.quiet.items()
        if number < held.until or 0.0 <= situation.now - held.at < rules.cooldown_s
    }
    return Memory(window=number, streaks=old.streaks, quiet=quiet, known=known, good=good, idle=idle)
