"""What became of the network in the demo's weeks: read from replies and from what the daemon says of itself, and put into words.

Called by demo_life.py. Pure: it is given JSON. Nothing is assumed of what should have happened; what cannot be found is said to
be missing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from runtime.cli.tables import clip, seconds, usd

Json = Any
_WORDS: Final = 150
_DONE: Final = frozenset({"verifying", "kept"})
_TOLD: Final[Mapping[str, str]] = {
    "proposed": "proposed",
    "approved": "decided",
    "verifying": "carried out",
    "kept": "kept",
    "rolled_back": "taken back",
    "rejected": "rejected",
    "superseded": "superseded",
    "stuck": "STUCK",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """One request and what came back. ``score`` is that of its checks, where it had any; ``node`` is "" for the library's
    answers; ``open`` says that the client left it open who answers."""

    kind: str
    open: bool
    problem: str = ""
    request_id: str = ""
    node: str = ""
    strategy: str = ""
    library: bool = False
    score: float | None = None
    latency_s: float = 0.0
    cost_usd: float = 0.0
    simulated: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Measures of some requests: cost of one, the middle latency, the mean score of what was checked, the library's share."""

    requests: int
    failed: int
    cost_usd: float
    latency_s: float
    quality: float | None
    library: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What is known: all that was heard, and the daemon's patterns, proposals (whole, the oldest first), shape."""

    heard: Sequence[Heard]
    patterns: Sequence[Json]
    cases: Sequence[Json]
    shape: Json
    routines: frozenset[str] = frozenset()
    """Patterns whose routine is published in the registry."""

    def live(self) -> Sequence[Json]:
        return [node for node in self.shape["nodes"] if node["desired"] == "live"]

    def of(self, kind: str, status: frozenset[str]) -> list[Json]:
        return [case for case in self.cases if case["kind"] == kind and case["status"] in status]


def heard_of(kind: str, body: Mapping[str, Json], reply: Json, latency_s: float) -> Heard:
    """A reply of POST /v1/requests as the client saw it."""
    verdict = reply.get("verdict") or {}
    library = reply.get("strategy") == "library"
    return Heard(
        kind=kind,
        open=body.get("model", "auto") == "auto",
        problem="" if reply.get("status") in ("done", "partial") else f"it ended as {reply.get('status')}",
        request_id=reply["id"],
        node="" if library else reply.get("node") or "",
        strategy=reply.get("strategy") or "",
        library=library,
        score=verdict.get("score"),
        latency_s=latency_s,
        cost_usd=float(reply.get("cost_usd") or 0.0),
        simulated=bool(reply.get("simulated")),
    )


def figures(heard: Sequence[Heard]) -> Figures:
    """Of those that were answered."""
    good = [each for each in heard if not each.problem]
    scores = [each.score for each in good if each.score is not None]
    n = max(1, len(good))
    return Figures(
        requests=len(heard),
        failed=len(heard) - len(good),
        cost_usd=sum(each.cost_usd for each in good) / n,
        latency_s=median(each.latency_s for each in good) if good else 0.0,
        quality=sum(scores) / len(scores) if scores else None,
        library=sum(each.library for each in good) / n,
    )


# ── did it come about ───────────────────────────────────────────────────────────────────────────────────────────────────


def _patterns(sight: Sight) -> str:
    found = [each for each in sight.patterns if each["state"] == "found"]
    names = ", ".join(f"{each['name']!r} {each['share']:.0%}" for each in found[:6])
    return f"{len(found)} patterns found: {names}" if len(found) >= 3 else ""


def _spawned(sight: Sight) -> str:
    born = [case for case in sight.of("spawn", _DONE) if case["origin"] != "operator"]
    return f"specialists that the rules proposed: {', '.join(str(case['node']) for case in born)}" if len(born) >= 2 else ""


def _proved(sight: Sight) -> str:
    good = [str(case["node"]) for case in sight.of("spawn", frozenset({"kept"})) if case["origin"] != "operator"]
    return f"proved themselves: {', '.join(good)}" if len(good) >= 2 else ""


def _written(sight: Sight) -> str:
    served = {pattern for node in sight.live() if node["role"] == "specialist" for pattern in node["patterns"]}
    names = ", ".join(f"specialist-{pattern}" for pattern in sorted(served))
    return f"routines written, checked and published: {names}" if served and served <= sight.routines else ""


def taken(sight: Sight) -> Counter[str]:
    """How many requests that left it open came to each specialist: its routine took them."""
    special = {node["name"] for node in sight.shape["nodes"] if node["role"] == "specialist"}
    return Counter(each.node for each in sight.heard if each.open and each.node in special)


def _routine(sight: Sight) -> str:
    counts = taken(sight)
    told = ", ".join(f"{name} {number}" for name, number in counts.most_common())
    return f"routines took requests that named nobody: {told}" if counts.total() >= 5 else ""


def _committee(sight: Sight) -> str:
    met = [each for each in sight.heard if each.strategy == "committee" and not each.problem]
    return f"{len(met)} hard requests went to a committee, {usd(sum(each.cost_usd for each in met))}" if met else ""


def _of_kind(kind: str, words: str, status: frozenset[str] = _DONE) -> Callable[[Sight], str]:
    def told(sight: Sight) -> str:
        names = [str(case["node"] or case["subject"]) for case in sight.of(kind, status)]
        return f"{words}: {', '.join(names)}" if names else ""

    return told


_KEPT: Final = frozenset({"kept"})
_CAME_ABOUT: Final[Mapping[str, tuple[Callable[[Sight], str], str]]] = {
    "patterns": (_patterns, "three recurring kinds of requests"),
    "spawned": (_spawned, "two specialists that the rules propose"),
    "written": (_written, "the routines of these specialists"),
    "routine": (_routine, "requests that a specialist's routine takes"),
    "committee": (_committee, "a committee"),
    "parked": (_of_kind("park", "parked, because nobody asks for it"), "the parking of a specialist that nobody asks"),
    "merged": (_of_kind("merge", "merged"), "the merge of two nodes that do the same"),
    "kept": (_proved, "two specialists that proved themselves"),
    "merge kept": (_of_kind("merge", "the merge proved itself", _KEPT), "a merge that proved itself"),
    "pruned": (_of_kind("prune", "pruned", _KEPT), "the end of a node that nobody needs"),
}


def came_about(what: str, sight: Sight) -> str:
    """In words; "" while it has not."""
    return _CAME_ABOUT[what][0](sight)


def missing(what: str) -> str:
    """What did not come about, in words."""
    return f"{_CAME_ABOUT[what][1]} did not come about"


# ── in words ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def came(heard: Sequence[Heard]) -> str:
    """What came in a week, and how it was answered."""
    kinds = ", ".join(f"{kind} {number}" for kind, number in Counter(each.kind for each in heard).most_common())
    seen = figures(heard)
    failed = f", {seen.failed} FAILED" if seen.failed else ""
    return f"{seen.requests} requests ({kinds}){failed}: {told(seen)}"


def told(seen: Figures) -> str:
    quality = "-" if seen.quality is None else f"{seen.quality:.2f}"
    return f"{usd(seen.cost_usd)} and {seconds(seen.latency_s)} each, quality {quality}, {seen.library:.0%} from the library"


def moves(case: Json, shown: int) -> Iterator[tuple[str, str]]:
    """(what, words) of each move of a proposal from its ``shown``-th on: who decided what and why, and what was measured."""
    about = f"{case['kind']} {case['node'] or case['subject']}"
    made = case["decisions"]
    for place in range(shown, len(made)):
        move, before = made[place], made[place - 1]["became"] if place else ""
        what = _TOLD.get(move["became"]) if move["became"] != before else None  # a probation that is prolonged is no news
        if what == "proposed":
            yield what, f"{about} (by {case['origin']}): {clip(case['reason'], _WORDS)}"
        elif what == "carried out":
            yield what, f"{about}: {clip('; '.join(case['steps']), _WORDS)}"
        elif what in ("kept", "taken back"):
            yield what, f"{about}: {measured(case)}"
        elif what is not None:
            yield what, f"{about} by {move['who']}: {clip(move['why'], _WORDS)}"


def measured(case: Json) -> str:
    """The first prediction of which something was measured, and what it was."""
    for promise, seen in zip(case["predictions"], case["measured"] or [], strict=False):
        if seen.get("measured") is not None:
            was, hoped, is_now = promise["baseline"], promise["expected"], seen["measured"]
            return (
                f"{promise['metric']} was {was:.3g}, predicted {hoped:.3g}, measured {is_now:.3g} {promise['units']} "
                f"over {seen['requests']} requests"
            )
    return clip(case["note"], _WORDS)


def comparison(first: Sequence[Heard], last: Sequence[Heard], nodes: tuple[int, int, int]) -> list[tuple[str, str, str]]:
    """Rows of the last table: measure, in the first week, in the last. ``nodes`` live then, at most, and now. What committees
    cost stands apart: who asks what is hard pays for it in any week."""
    one, most, now = nodes
    (before, met_before), (after, met_after) = map(_apart, (first, last))

    def quality(seen: Figures) -> str:
        return "-" if seen.quality is None else f"{seen.quality:.2f}"

    return [
        ("live nodes", str(one), f"{now} (at most {most} on the way)"),
        ("cost of an everyday request", usd(before.cost_usd), usd(after.cost_usd)),
        ("latency (median)", seconds(before.latency_s), seconds(after.latency_s)),
        ("quality of what was checked", quality(before), quality(after)),
        ("answered by the library", f"{before.library:.0%}", f"{after.library:.0%}"),
        ("hard requests, by committees", _hard(met_before), _hard(met_after)),
    ]


def _apart(heard: Sequence[Heard]) -> tuple[Figures, Figures]:
    """Of everyday requests, and of those that committees met for."""
    met = [each for each in heard if each.strategy == "committee"]
    return figures([each for each in heard if each.strategy != "committee"]), figures(met)


def _hard(seen: Figures) -> str:
    return f"{seen.requests}, {usd(seen.cost_usd)} each" if seen.requests else "none"
