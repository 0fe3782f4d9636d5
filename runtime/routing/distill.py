"""From logged decisions and outcomes to something simpler: what adds no measurable value, and a few rules that say the same.

Called by the router's views. Imports numpy and this room alone; pure. Rows are those of learner/records.py, as mappings.

What an arm (a strategy, a backend) is worth is measured on the log: the value of the policy that never gives it, against the
value of what was done, doubly robust (off_policy.py) on the same requests. Value is quality less its price, by what a dollar was
worth when it was spent: a part that is a little better and much dearer is worth nothing. Where the interval of that loss excludes
one that matters, its removal is proposed. Rules are learned on the older two thirds of the log and judged on the newest third.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from runtime.routing.features import SHAPE
from runtime.routing.off_policy import Logged, doubly_robust
from runtime.routing.rules import grow, leaves, says
from runtime.routing.sequential import Interval

WORTH: Final = 0.01
"""A loss of quality less its price below this is not worth a part."""
LEAST_ROWS: Final = 60
MOST_ROWS: Final = 5_000
QUALITY, COST, SHARE, UTILITY = 3, 6, 9, 8
"""Places in a candidate (learner/records.py: CANDIDATE_COLUMNS)."""

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A part of the router and what is lost without it; ``remove``: the interval excludes a loss worth its price."""

    part: str
    kind: str
    loss: Interval
    usd_each: float
    given: int
    remove: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """When, and then which arm; ``requests`` of the log fell under it."""

    when: tuple[str, ...]
    arm: str
    requests: int

    @property
    def text(self) -> str:
        return f"if {' and '.join(self.when)}: {self.arm}" if self.when else f"always: {self.arm}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Distilled:
    """``fidelity``: on how much of the newest third the rules choose what the policy holds for best. Paths are the different ways
    that requests took: arm, manner of choice, who answered in the end."""

    rows: int
    rules: tuple[Rule, ...]
    fidelity: float | None
    findings: tuple[Finding, ...]
    paths_before: int
    paths_after: int
    proposals: tuple[str, ...]


def distill(rows: Sequence[Row], *, worth: float = WORTH) -> Distilled:
    """``rows``: decisions, the newest first. With fewer than LEAST_ROWS nothing is said."""
    rows = rows[:MOST_ROWS]
    paths = len({(_label(row), row["way"], row["served_by"]) for row in rows})
    known = [row for row in rows if len(row["facts"]) > 0 and row["candidates"]]
    if len(known) < LEAST_ROWS:
        return Distilled(
            rows=len(rows), rules=(), fidelity=None, findings=(), paths_before=paths, paths_after=paths, proposals=()
        )
    rules, fidelity = _rules(known)
    findings = tuple(_findings(known, worth))
    return Distilled(
        rows=len(rows),
        rules=rules,
        fidelity=fidelity,
        findings=findings,
        paths_before=paths,
        paths_after=len(rules),
        proposals=tuple(_proposals(rules, fidelity, findings, paths)),
    )


def _rules(rows: Sequence[Row]) -> tuple[tuple[Rule, ...], float]:
    names = sorted({_best(row) for row in rows})
    place = {name: at for at, name in enumerate(names)}
    oldest_first = list(reversed(rows))
    facts = np.zeros((len(rows), SHAPE))
    for at, row in enumerate(oldest_first):
        # Older rows know less of a request: what they do not tell is taken for the usual.
        facts[at, : len(row["facts"])] = row["facts"][:SHAPE]
    labels = np.array([place[_best(row)] for row in oldest_first], dtype=np.intp)
    cut = 2 * len(rows) // 3
    tree = grow(facts[:cut], labels[:cut])
    said = [says(tree, each) for each in facts.tolist()]
    fidelity = float(np.mean([told == label for told, label in zip(said[cut:], labels[cut:], strict=True)]))
    each = Counter(said)
    found: dict[int, list[tuple[str, ...]]] = {}
    for when, label in leaves(tree):
        found.setdefault(label, []).append(when)
    rules = [Rule(when=when, arm=names[label], requests=each[label]) for label, all_ in found.items() for when in all_]
    return tuple(sorted(rules, key=lambda rule: -rule.requests)), fidelity


def _findings(rows: Sequence[Row], worth: float) -> list[Finding]:
    parts: dict[tuple[str, str], None] = {}
    for row in rows:
        for each in row["candidates"]:
            parts |= {("arm", _arm(each)): None, ("strategy", each[0]): None, ("backend", each[2]): None}
    one_backend_an_arm = len({key for kind, key in parts if kind == "arm"}) == len({k for kind, k in parts if kind == "backend"})
    found = []
    for kind, name in parts:
        # Where each arm has a backend of its own both are the same part, and the backend is what can be taken away.
        if (kind == "arm" and one_backend_an_arm) or (finding := _finding(rows, kind, name, worth)) is None:
            continue
        found.append(finding)
    return sorted(found, key=lambda one: (not one.remove, one.loss.mean))


def _finding(rows: Sequence[Row], kind: str, name: str, worth: float) -> Finding | None:
    """None where nothing else could be chosen, or too few verdicts say anything."""
    logged, usd, given = [], 0.0, 0
    for row in rows:
        mine = [_is(each, kind, name) for each in row["candidates"]]
        if not any(mine) or all(mine) or not _usable(row):
            continue
        logged.append(_without(row, mine))
        if _is((row["strategy"], row["node"], row["backend"]), kind, name):
            given += 1
            usd += row["cost_usd"]
    if len(logged) < LEAST_ROWS:
        return None
    result = doubly_robust(logged)
    gain = result.gain
    loss = Interval(mean=-gain.mean, low=-gain.high, high=-gain.low)
    remove = result.enough and loss.high < worth
    reason = (
        f"without it quality less its price falls by at most {max(loss.high, 0.0):.3f}, and it would have to be {worth:g}"
        if remove
        else f"without it quality less its price changes by {-loss.high:+.3f} to {-loss.low:+.3f}"
        if result.enough
        else "the log says too little of it"
    )
    return Finding(
        part=name, kind=kind, loss=loss, usd_each=usd / given if given else 0.0, given=given, remove=remove, reason=reason
    )


def _usable(row: Row) -> bool:
    """Chosen freely, judged, and answered by whom it was given to."""
    own = row["served_by"] in (row["backend"], "") or row["backend"] == "own"
    freely = row["way"] in ("best", "drawn", "floor", "usual", "router") and row["propensity"] > 0
    return bool(own and freely and row["score"] is not None and row["weight"] > 0)


def _without(row: Row, mine: Sequence[bool]) -> Logged:
    """The row under a policy that gives what was given, but never the part in question."""
    candidates = row["candidates"]
    share = np.array([each[SHARE] for each in candidates])
    guesses = np.array([_net(row, each[QUALITY], each[COST]) for each in candidates])
    left = np.where(mine, 0.0, share)
    if left.sum() <= 0:
        left = np.where(mine, 0.0, 1.0)
    target = left / left.sum()
    at = next((p for p, each in enumerate(candidates) if list(each[:3]) == [row["strategy"], row["node"], row["backend"]]), None)
    return Logged(
        score=_net(row, row["score"], row["cost_usd"]),
        propensity=min(1.0, row["propensity"]),
        target=0.0 if at is None else float(min(target[at], 1.0)),
        guess=0.0 if at is None else float(guesses[at]),
        target_guess=float(target @ guesses),
    )


def _net(row: Row, quality: float, cost_usd: float | None) -> float:
    """Quality less its price, at most down to 0."""
    return max(0.0, quality - float(row["per_usd"]) * (cost_usd or 0.0))


def _proposals(rules: Sequence[Rule], fidelity: float, findings: Sequence[Finding], paths: int) -> list[str]:
    found = [f"remove {one.kind} {one.part}: {one.reason}" for one in findings if one.remove]
    if len(rules) < paths and fidelity >= 0.8:
        rule = "1 rule" if len(rules) == 1 else f"{len(rules)} rules"
        found.append(f"replace {paths} paths by {rule}: the same choice in {fidelity:.0%} of the newest requests")
    return found


def _best(row: Row) -> str:
    """What the policy held for best, apart from what it tried."""
    return _arm(max(row["candidates"], key=lambda each: each[UTILITY]))


def _arm(each: Sequence[Any]) -> str:
    return f"{each[0]} x {each[1]} x {each[2]}"


def _label(row: Row) -> str:
    return _arm((row["strategy"], row["node"], row["backend"]))


def _is(each: Sequence[Any], kind: str, name: str) -> bool:
    return (_arm(each) if kind == "arm" else each[0] if kind == "strategy" else each[2]) == name
