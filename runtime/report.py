"""The measures of a window: quality, satisfaction, money saved, latency, the ways that answers took, simplicity, adaptability,
resilience. ``morphogen report`` and GET /v1/report show them.

Pure: the rows come from runtime/ledger (measures.py, decisions.py). A measure of which nothing is known is None, never a guess.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from agents.llm.chat import BackendSpec
from agents.records import Json
from runtime.routing.distill import distill

LIBRARY: Final = frozenset({"library", "solution"})
SINGLE: Final = frozenset({"single"})
COMMITTEE: Final = frozenset({"committee", "consensus"})
WINDOW: Final = 20
"""Decisions that are looked at together when a favourite is looked for."""
BAD: Final = 0.5
"""A favourite whose scores fall below this part of what they were has turned bad."""
LEFT: Final = 0.25
"""Traffic has left an arm when it gets no more than this share."""
FEW: Final = 5
EVEN: Final = 0.1
"""A committee that wins so much more or less than half is better or worse."""

Row = Mapping[str, Any]


def report(
    sums: Mapping[str, Any], decisions: Sequence[Row], backends: Sequence[BackendSpec], *, since: float, until: float
) -> dict[str, Json]:
    """``sums`` as of MeasureLedger, ``decisions`` newest first."""
    outcomes = sums["outcomes"]
    answered = outcomes["ok"] + outcomes["partial"]
    finished = outcomes["finished"]
    return {
        "since": since,
        "until": until,
        "requests": {**outcomes, "answered": answered},
        "quality": _quality(sums["quality"]),
        "satisfaction": _satisfaction(sums["feedback"], answered),
        "cost": cost_of(sums["tokens"], backends),
        "latency_s": _latency(sums["latencies_s"]),
        "ways": _ways(sums["ways"]),
        "committees": committees_of(sums["committees"], sums["ways"]),
        "simplicity": _simplicity(decisions),
        "adaptability": adaptability(list(reversed(decisions))),
        "resilience": {
            "hit_by_failures": sums["hit"]["hit"],
            "answered_all_the_same": sums["hit"]["answered"],
            "share": _part(sums["hit"]["answered"], sums["hit"]["hit"]),
            "answered_of_finished": _part(answered, finished - outcomes["cancelled"]),
        },
        "simulated": bool(outcomes["simulated"]),
    }


def _quality(rows: Sequence[Row]) -> dict[str, Json]:
    judged = [row for row in rows if row["source"] not in (None, "none")]
    n = sum(row["answers"] for row in judged)
    return {
        "judged": n,
        "score": sum(row["score"] * row["answers"] for row in judged) / n if n else None,
        "by_source": {row["source"]: {"answers": row["answers"], "score": row["score"]} for row in judged},
    }


def _satisfaction(feedback: Row, answered: int) -> dict[str, Json]:
    given = feedback["given"]
    return {
        "given": given,
        "score": feedback["score"],
        "good_share": _part(feedback["good"], given),
        "heard_of_answers": _part(given, answered),
    }


def cost_of(tokens: Sequence[Row], backends: Sequence[BackendSpec]) -> dict[str, Json]:
    """What was spent against what the same tokens would have cost at the dearest backend there is now."""
    spent = sum(row["cost_usd"] for row in tokens)
    if not backends:
        return {"spent_usd": spent, "premium": None, "premium_usd": None, "saved_usd": None, "saved_share": None}
    dearest = max(backends, key=lambda spec: (spec.output_usd_per_mtok, spec.input_usd_per_mtok))
    premium = sum(
        row["prompt_tokens"] * dearest.input_usd_per_mtok + row["completion_tokens"] * dearest.output_usd_per_mtok
        for row in tokens
    )
    premium_usd = premium / 1_000_000
    return {
        "spent_usd": spent,
        "premium": dearest.name,
        "premium_usd": premium_usd,
        "saved_usd": premium_usd - spent,
        "saved_share": _part(premium_usd - spent, premium_usd),
    }


def _latency(latencies_s: Sequence[float]) -> dict[str, Json]:
    if not latencies_s:
        return {"p50": None, "p95": None, "mean": None}
    p50, p95 = np.quantile(np.array(latencies_s), (0.5, 0.95))
    return {"p50": float(p50), "p95": float(p95), "mean": float(np.mean(latencies_s))}


def _ways(rows: Sequence[Row]) -> dict[str, Json]:
    """Answers by library, a single model, a committee, or a path of several stages."""
    total = sum(row["answers"] for row in rows)

    def of(names: frozenset[str]) -> int:
        return sum(int(row["answers"]) for row in rows if row["strategy"] in names)

    counts = {"library": of(LIBRARY), "single": of(SINGLE), "committee": of(COMMITTEE)}
    counts["full"] = total - sum(counts.values())
    return {
        "answers": total,
        "shares": {name: _part(count, total) for name, count in counts.items()},
        "by_strategy": {row["strategy"]: row["answers"] for row in rows},
    }


def committees_of(rows: Sequence[Row], ways: Sequence[Row]) -> dict[str, Json]:
    """How committees did beside the best other way at the same tokens: how often they won, and what they cost more. Ties count
    half in ``won_share``; below FEW comparisons the verdict is that too little is known."""
    counts = {row["outcome"]: int(row["compared"]) for row in rows}
    won, lost, tied = (counts.get(name, 0) for name in ("won", "lost", "tied"))
    judged = won + lost + tied
    told = [row for row in rows if row["outcome"] != "none"]
    share = _part(won + tied / 2, judged)
    if judged < FEW or share is None:
        verdict = "too few comparisons"
    else:
        verdict = "better" if share > 0.5 + EVEN else "worse" if share < 0.5 - EVEN else "as good"
    return {
        "answers": sum(int(row["answers"]) for row in ways if row["strategy"] == "committee"),
        "compared": judged,
        "won": won,
        "lost": lost,
        "tied": tied,
        "not_compared": counts.get("none", 0),
        "won_share": share,
        "cost_ratio": _part(sum(row["committee_usd"] for row in told), sum(row["other_usd"] for row in told)),
        "latency_ratio": _part(sum(row["committee_s"] for row in told), sum(row["other_s"] for row in told)),
        "compared_usd": sum(row["other_usd"] + row["judge_usd"] for row in rows),
        "verdict": verdict,
        "simulated": any(row["simulated"] for row in rows),
    }


def _simplicity(decisions: Sequence[Row]) -> dict[str, Json]:
    found = distill(decisions)
    return {
        "decisions": len(decisions),
        "paths": found.paths_before,
        "rules": len(found.rules) or None,
        "fidelity": found.fidelity,
        "proposals": list(found.proposals),
    }


def adaptability(oldest_first: Sequence[Row]) -> dict[str, Json]:
    """How long it took traffic to leave a favourite that turned bad: requests and seconds from its first bad outcome until it got
    no more than LEFT of the next WINDOW choices. ``open`` are those that it has not left."""
    recoveries: list[dict[str, Json]] = []
    at = WINDOW
    while at + WINDOW <= len(oldest_first):
        before = oldest_first[at - WINDOW : at]
        name = max({row["backend"] for row in before}, key=lambda one: sum(row["backend"] == one for row in before))
        if not _turned_bad(before, oldest_first[at : at + WINDOW], name):
            at += 1
            continue
        left = _left_at(oldest_first, at, name)
        recoveries.append(
            {
                "backend": name,
                "at": oldest_first[at]["at"],
                "requests": None if left is None else left - at,
                "seconds": None if left is None else oldest_first[left]["at"] - oldest_first[at]["at"],
            }
        )
        at = len(oldest_first) if left is None else left + WINDOW
    closed = sorted(each["requests"] for each in recoveries if each["requests"] is not None)
    return {
        "drifts": len(recoveries),
        "open": len(recoveries) - len(closed),
        "requests_to_recover": float(np.median(closed)) if closed else None,
        "recoveries": recoveries[-20:],
    }


def _turned_bad(before: Sequence[Row], after: Sequence[Row], name: str) -> bool:
    """It had half of the choices, and what it is worth fell below BAD of what it was, over at least four outcomes each."""
    was = _scores(before, name)
    now = _scores(after, name)[:8]
    many = sum(row["backend"] == name for row in before) >= WINDOW / 2
    return many and len(was) >= 4 and len(now) >= 4 and now[0] < BAD and _mean(now) < BAD * _mean(was)


def _scores(rows: Sequence[Row], name: str) -> list[float]:
    return [row["score"] for row in rows if row["backend"] == name and row["score"] is not None]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _left_at(rows: Sequence[Row], start: int, name: str) -> int | None:
    for at in range(start, len(rows) - WINDOW + 1):
        if sum(row["backend"] == name for row in rows[at : at + WINDOW]) <= LEFT * WINDOW:
            return at
    return None


def _part(some: float, whole: float) -> float | None:
    return some / whole if whole > 0 else None
