"""The network described to a model, and what of the model's recommendations can be believed. Pure.

Called by runtime/observing/introspection.py, which asks. A model's answer is a suggestion from outside: it is checked against
SCHEMA, bounded, and each recommendation must name measures of the window that we find there as it says, or it is dropped and told
why. What is left must also be possible in the shape as it is, and be supported by the measures, by thresholds that are wider than
those of our own rules. Whatever it says, one window never removes more than one node.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from agents.records import Json
from runtime.topology.efficiency import Efficiency
from runtime.topology.growing import guards, spawn_draft, specialist
from runtime.topology.observe import MEASURES, Row
from runtime.topology.outlook import Outlook
from runtime.topology.payloads import Merge, Park, Payload, Prune, Spawn, Wake
from runtime.topology.propose import key_of
from runtime.topology.records import Draft, Evidence, Scope
from runtime.topology.shape import Member, PatternId
from runtime.topology.shrinking import pair_key
from runtime.topology.situation import Seen, Situation

MAX_RECOMMENDATIONS: Final = 10
MAX_TAKEN: Final = 3
MAX_REMOVED: Final = 1
MAX_SHOWN: Final = 40
TABLES: Final = ("node", "pattern", "arm", "locale", "total")
KINDS: Final = ("spawn", "prune", "merge", "park", "wake")
"""What a model may recommend; other changes need measures that it is not shown."""
WITHIN: Final = 0.05
"""A named value is right if it is no further off than this part of it (or 0.01)."""
WIDER: Final = 5.0
"""A model may call a node hardly used at this multiple of the rules' share."""

SCHEMA: Final[dict[str, Json]] = {
    "type": "object",
    "required": ["summary", "efficiency_score", "recommendations"],
    "additionalProperties": False,
    "properties": {
        "summary": {"type": "string", "maxLength": 600},
        "efficiency_score": {"type": "number", "minimum": 0, "maximum": 100},
        "recommendations": {
            "type": "array",
            "maxItems": MAX_RECOMMENDATIONS,
            "items": {
                "type": "object",
                "required": ["action", "subject", "reason", "evidence"],
                "additionalProperties": False,
                "properties": {
                    "action": {"enum": ["keep", *KINDS]},
                    "subject": {"type": "string", "maxLength": 128},
                    "into": {"type": "string", "maxLength": 128},
                    "reason": {"type": "string", "maxLength": 400},
                    "expected": {"type": "string", "maxLength": 200},
                    "evidence": {
                        "type": "array",
                        "minItems": 1,
                        "maxItems": 5,
                        "items": {
                            "type": "object",
                            "required": ["table", "name", "measure", "value"],
                            "additionalProperties": False,
                            "properties": {
                                "table": {"enum": list(TABLES)},
                                "name": {"type": "string", "maxLength": 128},
                                "measure": {"enum": list(MEASURES)},
                                "value": {"type": "number"},
                            },
                        },
                    },
                },
            },
        },
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """One recommendation and what came of it: ``kept`` (nothing to change), ``taken``, or ``dropped`` with the reason."""

    action: str
    subject: str
    reason: str
    expected: str
    result: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Introspected:
    """``score`` is the model's own, beside the computed one; ``drafts`` are what its recommendations came to."""

    summary: str
    score: float
    heard: tuple[Heard, ...]
    drafts: tuple[Draft, ...]
    model: str = ""
    simulated: bool = False


class Unsupported(Exception):
    """Why a recommendation is dropped."""


# ── what the model is shown ─────────────────────────────────────────────────────────────────────────────────────────────


def describe(situation: Situation, score: Efficiency, changes: Sequence[Mapping[str, Json]] = ()) -> dict[str, Json]:
    """The network as JSON: nodes, measures, patterns, recent ``changes``; bounded, the busiest first. No words of any client but
    the patterns' names."""
    window = situation.window
    nodes = [
        {
            "name": member.spec.name,
            "role": member.spec.role,
            "speciality": member.spec.speciality,
            "state": member.life,
            "locale": member.spec.locale,
            "patterns": list(member.patterns)[:8],
            "parent": member.parent,
        }
        for member in sorted(situation.topology.members.values(), key=lambda each: (each.life, each.spec.name))[:MAX_SHOWN]
    ]
    return {
        "window": {"number": window.number, "requests": window.requests, "seconds": round(window.until - window.since, 1)},
        "efficiency": {"score": _rounded(score.score), "parts": {name: _rounded(part) for name, part in score.parts.items()}},
        "topology": {"revision": situation.topology.revision, "nodes": nodes, "nodes_in_all": len(situation.topology.members)},
        "measures": {
            table: [_shown(row, situation) for row in found.rows(MAX_SHOWN)]
            for table in TABLES
            if (found := window.table(table)) is not None
        },
        "recent_changes": list(changes)[:20],
    }


def _shown(row: Row, situation: Situation) -> dict[str, Json]:
    seen = situation.patterns.get(row.name)
    named = {"name": row.name} if seen is None else {"name": row.name, "called": seen.name[:80], "trend": _rounded(seen.trend)}
    return named | {name: _rounded(value) for name, value in row.measures().items() if value is not None}


def _rounded(value: float | int | None) -> Json:
    return value if value is None or isinstance(value, int) else float(f"{value:.4g}") if math.isfinite(value) else None


# ── what is believed of what it says ────────────────────────────────────────────────────────────────────────────────────


def judged(situation: Situation, answer: Mapping[str, Any]) -> Introspected:
    """Which recommendations of an ``answer`` (valid against SCHEMA) become drafts, and why the others do not."""
    heard: list[Heard] = []
    drafts: list[Draft] = []
    said: set[str] = set()
    removed = 0
    outlook = Outlook(situation)
    for each in list(answer["recommendations"])[:MAX_RECOMMENDATIONS]:
        action = str(each["action"])
        removal = action in ("prune", "merge", "park")
        try:
            evidence = _verified(situation, each["evidence"])
            if action == "keep":
                heard.append(_heard(each, "kept", "nothing to change"))
                continue
            draft = _draft(situation, outlook, each, evidence)
            if (key := key_of(draft)) in said:
                raise Unsupported("it was recommended above already")
            if len(drafts) >= MAX_TAKEN:
                raise Unsupported(f"at most {MAX_TAKEN} changes are taken up at once")
            if removal and removed >= MAX_REMOVED:
                raise Unsupported(f"at most {MAX_REMOVED} node is removed at once")
        except Unsupported as error:
            heard.append(_heard(each, "dropped", str(error)))
            continue
        said.add(key)
        removed += removal
        drafts.append(draft)
        heard.append(_heard(each, "taken", f"proposed as {key}"))
    return Introspected(
        summary=str(answer["summary"])[:600], score=float(answer["efficiency_score"]), heard=tuple(heard), drafts=tuple(drafts)
    )


def _heard(each: Mapping[str, Any], result: str, why: str) -> Heard:
    return Heard(
        action=str(each["action"]),
        subject=str(each["subject"])[:128],
        reason=str(each["reason"])[:400],
        expected=str(each.get("expected", ""))[:200],
        result=result,
        why=why,
    )


def _verified(situation: Situation, named: Sequence[Mapping[str, Any]]) -> tuple[Evidence, ...]:
    """The evidence, measured again. Raises Unsupported where anything of it is not as it was said."""
    found = []
    for each in named[:5]:
        table, name, measure, said = each["table"], each["name"], each["measure"], float(each["value"])
        rows = situation.window.table(table)
        row = None if rows is None else rows.get("all" if table == "total" else name)
        if row is None:
            raise Unsupported(f"its evidence names the {table} {name!r}, which this window does not have")
        value = float(getattr(row, measure))
        if not math.isfinite(value) or not math.isfinite(said):
            raise Unsupported(f"its evidence says {measure} of {name!r} is {said:g}, which nobody measured")
        if abs(value - said) > max(0.01, WITHIN * abs(value)):
            raise Unsupported(f"its evidence says {measure} of {name!r} is {said:g}, and it is {value:.4g}")
        kinds = {"node": Scope(kind="nodes", names=(name,)), "pattern": Scope(kind="patterns", names=(name,))}
        found.append(situation.evidence(row, measure, scope=kinds.get(table, Scope()), note="named by a model, measured again"))
    return tuple(found)


def _draft(situation: Situation, outlook: Outlook, each: Mapping[str, Any], evidence: tuple[Evidence, ...]) -> Draft:
    """The change as a draft of its own measures. Raises Unsupported where it is impossible, or the measures do not support it."""
    makers: dict[str, Callable[[], Draft]] = {
        "spawn": lambda: _spawn(situation, outlook, str(each["subject"])),
        "prune": lambda: _removal(situation, _member(situation, str(each["subject"])), Prune),
        "park": lambda: _removal(situation, _member(situation, str(each["subject"])), Park),
        "wake": lambda: _wake(situation, _member(situation, str(each["subject"]))),
        "merge": lambda: _merge(situation, str(each["subject"]), str(each.get("into", ""))),
    }
    draft = makers[each["action"]]()
    reason = f"{str(each['reason'])[:400]} (a model's recommendation; measured: {draft.reason})"
    return replace(draft, reason=reason[:2000], evidence=(*draft.evidence, *evidence)[:32], origin="model")


def _spawn(situation: Situation, outlook: Outlook, pattern: str) -> Draft:
    row = situation.window.patterns.get(pattern)
    if row is None:
        raise Unsupported(f"there is no pattern {pattern!r} in this window")
    if situation.flooded:
        raise Unsupported("new patterns come too fast for any of them to be worth a node")
    seen = situation.patterns.get(pattern) or Seen(pattern_id=pattern, name=pattern, count=row.count)
    if max(seen.count, row.count) < situation.rules.least_seen:
        raise Unsupported(f"{pattern!r} was seen {max(seen.count, row.count)} times, of {situation.rules.least_seen}")
    if pattern in situation.served:
        raise Unsupported(f"{situation.served[pattern].spec.name} is there for {pattern!r} already")
    promise = outlook.promise(pattern)
    if promise is None:
        raise Unsupported(f"nothing measured promises a gain for {pattern!r}")
    root = next((member for member in situation.live if member.spec.role == "generalist"), None)
    spawn = Spawn(spec=specialist(situation, seen, promise, root), patterns=(PatternId(pattern),))
    return spawn_draft(situation, spawn, promise)


def _member(situation: Situation, name: str) -> Member:
    member = situation.by_name.get(name)
    if member is None:
        raise Unsupported(f"there is no node {name!r}")
    return member


def _removable(situation: Situation, member: Member) -> None:
    if not situation.removable(member):
        raise Unsupported(f"{member.spec.name} is the last generalist, one of the registry's own, or too new to be judged")


def _removal(situation: Situation, member: Member, kind: type[Prune] | type[Park]) -> Draft:
    _removable(situation, member)
    window, rules = situation.window, situation.rules
    if kind is Park and (member.life == "parked" or member.spec.role == "generalist"):
        raise Unsupported(f"{member.spec.name} cannot be parked")
    place = window.nodes.places.get(member.spec.name)
    row = None if place is None else window.nodes.row(place)
    share = 0.0 if row is None else row.share
    if window.requests < 5 * rules.least_seen:
        raise Unsupported(f"{window.requests} requests say too little of a node that is not used")
    hardly = share < WIDER * min(rules.unused_share, 0.25 / max(1, len(situation.live)))
    against = None if place is None else situation.compared[place]
    no_worse = against is not None and against.covered >= 0.5 and against.quality_low >= -2 * rules.equal_within
    less = against is not None and min(against.cost_ratio, against.latency_ratio) <= rules.cheaper
    dominated = against is not None and no_worse and less and max(against.cost_ratio, against.latency_ratio) <= 1.1
    if not hardly and (kind is Park or not dominated):
        raise Unsupported(
            f"{member.spec.name} answers {share:.1%} of the requests, and nobody else does its work as well for less"
        )
    measured = f"{member.spec.name} answers {share:.2%} of {window.requests} requests"
    payload: Payload = kind(node=member.node_id)
    return Draft(
        payload=payload,
        reason=measured,
        predictions=guards(window.total.row(0), Scope()),
        share=share,
        simulated=situation.simulated,
    )


def _wake(situation: Situation, member: Member) -> Draft:
    if member.life != "parked":
        raise Unsupported(f"{member.spec.name} is not parked")
    rows = [row for pattern in member.patterns if (row := situation.window.patterns.get(pattern)) is not None]
    busiest = max(rows, key=lambda row: row.count, default=None)
    if busiest is None or busiest.count < situation.rules.least_seen // 2:
        raise Unsupported(f"hardly anything came of what {member.spec.name} is for")
    scope = Scope(kind="patterns", names=(busiest.name,))
    return Draft(
        payload=Wake(node=member.node_id),
        reason=f"{busiest.count} requests of {busiest.name!r} came",
        predictions=guards(busiest, scope),
        share=busiest.share,
        simulated=situation.simulated,
    )


def _merge(situation: Situation, subject: str, into: str) -> Draft:
    goes, stays = _member(situation, subject), _member(situation, into)
    if goes.node_id == stays.node_id or "parked" in (goes.life, stays.life):
        raise Unsupported("two live nodes are needed for a merge")
    _removable(situation, goes)
    alike = situation.likeness.get(pair_key(subject, into))
    if alike is None or alike < 0.75:
        said = "nobody compared their answers" if alike is None else f"their answers are {alike:.0%} alike"
        raise Unsupported(f"{subject} and {into} are no duplicates by what they answer: {said}")
    row = situation.window.nodes.get(into)
    return Draft(
        payload=Merge(into=stays.node_id, gone=(goes.node_id,)),
        reason=f"{subject} and {into} answer alike ({alike:.0%})",
        predictions=guards(situation.window.total.row(0), Scope()),
        share=0.0 if row is None else row.share,
        simulated=situation.simulated,
    )
