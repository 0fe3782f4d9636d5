"""The router as the operator sees it: how it stands, one decision explained, its metrics. JSON-able.

Called by the operator's surface (runtime/api/routing.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from agents.records import Json
from runtime.learner.desk import Router
from runtime.learner.records import CANDIDATE_COLUMNS, Advisor
from runtime.learner.trials import ENDED
from runtime.present import Series
from runtime.routing.distill import Distilled, distill

SHOWN_S: Final = 7 * 86_400.0
SHOWN_ROWS: Final = 5_000


async def shown(router: Router, *, now: float) -> dict[str, Json]:
    """What is chosen from, how it did, what was learned of whom, and the policy in a few rules."""
    rows = await router.book.newest(since=now - SHOWN_S, limit=SHOWN_ROWS)
    distilled = await asyncio.to_thread(distill, rows)
    standing = router.learner.standing()
    trial = router.trials.trial
    return {
        "enabled": router.settings.enabled,
        "objective": router.settings.objective,
        "tuned": list(router.tuned),
        "decisions": len(rows),
        "window_s": SHOWN_S,
        "explored_share": _share(rows, lambda row: row["way"] in ("drawn", "floor")),
        "by_weight_share": _share(rows, lambda row: row["way"] == "usual"),
        "regret_mean": sum(row["regret"] for row in rows) / len(rows) if rows else 0.0,
        "verdicts": dict(router.counts.verdicts),
        "judges": {**router.counts.judged, "spent_usd_today": router.judge.spent_usd},
        "alarms": dict(standing.alarms),
        "trusts": dict(standing.trusts),
        "waiting": standing.waiting,
        "per_usd": standing.per_usd,
        "arms": arms_of(rows),
        "experiment": None if trial is None or trial.stage in ENDED else trial.plan.experiment_id,
        "simplification": _distilled(distilled),
    }


def arms_of(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Json]]:
    """Each arm of ``rows`` (newest first): how often it was given, what came of it, and what is thought of it now."""
    found: dict[tuple[str, str, str], dict[str, Json]] = {}
    given: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        given.setdefault((row["strategy"], row["node"], row["backend"]), []).append(row)
        for each in row["candidates"]:
            # The first that is met is the newest.
            found.setdefault(tuple(each[:3]), dict(zip(CANDIDATE_COLUMNS, each, strict=True)))
    for key, arm in found.items():
        mine = given.get(key, [])
        scored = [row for row in mine if row["score"] is not None]
        weight = sum(row["weight"] for row in scored)
        arm["given"] = len(mine)
        arm["share"] = len(mine) / len(rows)
        arm["score"] = sum(row["score"] * row["weight"] for row in scored) / weight if weight else None
        arm["failed"] = sum(row["status"] not in ("ok", "partial") for row in mine)
    return sorted(found.values(), key=lambda arm: -arm["given"])


def explained(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Json]]:
    """The decisions of one request, each with its candidates as objects, the likeliest first."""
    told = []
    for row in rows:
        candidates = [dict(zip(CANDIDATE_COLUMNS, each, strict=True)) for each in row["candidates"]]
        candidates.sort(key=lambda each: (-each["share"], -each["utility"]))
        told.append({**{name: value for name, value in row.items() if name != "facts"}, "candidates": candidates})
    return told


def series_of(router: Router) -> list[Series]:
    """For /metrics. Backends are as many as are configured; ways and words are fixed."""
    counts, standing = router.counts, router.learner.standing()
    chosen = sum(counts.decisions.values())
    tried = sum(count for (_, way), count in counts.decisions.items() if way in ("drawn", "floor"))
    rows = tuple(((backend, way), float(count)) for (backend, way), count in counts.decisions.items())
    return [
        Series(
            name="morphogen_route_decisions",
            text="Choices of the router, by the backend that was chosen and how.",
            labels=("backend", "way"),
            rows=rows,
            kind="counter",
        ),
        _by_word("morphogen_route_verdicts", "Verdicts that were learned from.", "source", counts.verdicts),
        _by_word("morphogen_route_judge_samples", "Answers taken for a second opinion.", "result", counts.judged),
        _one("morphogen_route_alarms", "Times that an arm was found to have changed.", counts.alarms, counter=True),
        _one(
            "morphogen_route_regret", "What trying others cost so far, in utility, by the estimates.", counts.regret, counter=True
        ),
        _one(
            "morphogen_route_exploration_ratio", "Share of the choices that tried another than the best.", tried / max(chosen, 1)
        ),
        _one("morphogen_route_arms", "Arms that the router knows.", standing.arms),
        _one("morphogen_route_judge_spent_usd", "Spent on judges today (UTC).", router.judge.spent_usd),
        *_of_routers(router.advisor),
    ]


def _of_routers(advisor: Advisor | None) -> list[Series]:
    if advisor is None:
        return []
    counts = advisor.counts
    calls = {word: counts[word] for word in ("decided", "passed", "failed", "unavailable")}
    return [
        _by_word("morphogen_router_calls", "Calls of generated routers, by what came of them.", "result", calls),
        _one("morphogen_routers_retired", "Routers taken out of service for their failures.", counts["retired"], counter=True),
        _one("morphogen_router_serves", "1 while a generated router is in force.", advisor.champion is not None),
    ]


def _by_word(name: str, text: str, label: str, counts: Mapping[str, int]) -> Series:
    rows = tuple(((word,), float(count)) for word, count in counts.items())
    return Series(name=name, text=text, labels=(label,), rows=rows, kind="counter")


def _one(name: str, text: str, value: float, *, counter: bool = False) -> Series:
    return Series(name=name, text=text, rows=(((), float(value)),), kind="counter" if counter else "gauge")


def _distilled(found: Distilled) -> dict[str, Json]:
    return {
        **asdict(found),
        "rules": [{**asdict(rule), "text": rule.text} for rule in found.rules],
    }


def _share(rows: Sequence[Mapping[str, Any]], is_one: Any) -> float:
    return sum(bool(is_one(row)) for row in rows) / len(rows) if rows else 0.0
