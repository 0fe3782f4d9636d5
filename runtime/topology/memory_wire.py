"""What the rules remember as one JSON text, and back: streaks, cooldowns, grace and good states outlive a restart. Pure.

Called by runtime/observing/observer.py. Times are kept as ages, so that a clock that was set while the daemon was down neither
ends a cooldown nor makes it last: time that went backwards counts as none. What cannot be read is left out, never raised.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from agents.records import Json, NodeId, NodeSpec
from runtime.topology.records import BadProposal
from runtime.topology.shape import Topology
from runtime.topology.situation import Memory, Quiet, Rules
from runtime.topology.wire import encode, spec_from

log = logging.getLogger(__name__)

VERSION: Final = 1
MOST: Final = 2_000
"""Entries of each kind."""
MAX_BYTES: Final = 1_000_000
MAX_AGE_S: Final = 365 * 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """``key``: up to which outcome the windows looked; ``since_s``: how long ago the last one was looked at."""

    memory: Memory
    key: int = 0
    since_s: float = 0.0


def memory_text(memory: Memory, *, key: int, topology: Topology, now: float, rules: Rules) -> str:
    """At most MAX_BYTES: where they are more, good states are forgotten, of which the present one is as good as any."""
    members = topology.members
    good = {name: spec for name, spec in memory.good.items() if name in members}
    body: dict[str, Any] = {
        "version": VERSION,
        "at": now,
        "key": key,
        "window": memory.window,
        "streaks": _newest(memory.streaks),
        "quiet": {name: [held.until, max(0.0, now - held.at)] for name, held in _newest(memory.quiet).items()},
        # Who has been there for long needs no entry; that is nearly everybody.
        "new": _newest({name: list(each) for name, each in memory.known.items() if memory.window - each[0] < rules.grace}),
        "idle": _newest({name: count for name, count in memory.idle.items() if count}),
        "good_now": list(_newest({name: 1 for name, spec in good.items() if spec == members[name].spec})),
        "good": encode(_newest({name: spec for name, spec in good.items() if spec != members[name].spec})),
    }
    text = orjson.dumps(body)
    return (text if len(text) <= MAX_BYTES else orjson.dumps({**body, "good": {}})).decode()


def remembered_from(text: str, *, topology: Topology, now: float, rules: Rules) -> Remembered | None:
    """None where there is nothing that can be read."""
    try:
        body = orjson.loads(text)
    except ValueError:
        body = None
    if not isinstance(body, dict) or body.get("version") != VERSION:
        log.warning("what the rules remembered cannot be read; they begin anew")
        return None
    window = _count(body.get("window"))
    at: Any = body.get("at")
    away_s = min(MAX_AGE_S, max(0.0, now - at)) if _finite(at) else 0.0
    new = {name: (int(each[0]), str(each[1])) for name, each in _table(body, "new") if _pair(each) and _whole(each[0])}
    memory = Memory(
        window=window,
        streaks={name: each for name, each in _table(body, "streaks") if _count(each)},
        quiet={
            name: Quiet(until=int(each[0]), at=now - away_s - min(MAX_AGE_S, max(0.0, each[1])))
            for name, each in _table(body, "quiet")
            if _pair(each) and _whole(each[0]) and _finite(each[1])
        },
        known={name: new.get(name, (window - rules.grace, member.life)) for name, member in topology.members.items()},
        good=_good(body, topology),
        idle={NodeId(name): each for name, each in _table(body, "idle") if _count(each)},
    )
    return Remembered(memory=memory, key=_count(body.get("key")), since_s=away_s)


def _good(body: Mapping[str, Json], topology: Topology) -> dict[NodeId, NodeSpec]:
    listed = body.get("good_now")
    names = (NodeId(name) for name in listed if isinstance(name, str)) if isinstance(listed, list) else ()
    good = {name: topology.members[name].spec for name in names if name in topology.members}
    for name, each in _table(body, "good"):
        try:
            good[NodeId(name)] = spec_from(each)
        except BadProposal as error:
            log.warning("the good state of %s cannot be read: %s", name, error)
    return good


def _table(body: Mapping[str, Json], name: str) -> list[tuple[str, Any]]:
    found = body.get(name)
    return list(found.items())[-MOST:] if isinstance(found, dict) else []


def _newest(table: Mapping[Any, Any]) -> dict[Any, Any]:
    return dict(list(table.items())[-MOST:])


def _pair(value: Json) -> bool:
    return isinstance(value, list) and len(value) == 2


def _whole(value: Json) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _finite(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _count(value: Json) -> int:
    """A whole number from 0 on, 0 for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
