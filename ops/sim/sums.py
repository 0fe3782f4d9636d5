"""What a month came to: a row a week, and each change with what was predicted and measured. Pure.

Called by __main__.py and the tests with what the ledger holds. Costs are of the simulated pool, latencies real.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ops.sim.clock import START, day_of
from runtime.topology.outcomes import Outcomes

WEEK_DAYS: Final = 7
COMMITTEES: Final = frozenset({"committee", "consensus"})
ROUNDED: Final = 8

Json = dict[str, Any]


def weeks(
    outcomes: Outcomes, *, days: int, shape: Sequence[Mapping[str, Any]], roles: Mapping[str, str], spent_usd: Sequence[float]
) -> list[Json]:
    """A row for each week of ``days``. ``shape`` is what there was at the end of each day (live, parked); ``roles`` the role of
    each node that ever was, by name; ``spent_usd`` all that was spent on each day, the network's own questions included."""
    week = np.floor((outcomes.at - START) / (WEEK_DAYS * 86_400.0)).astype(np.int64)
    found = []
    for number in range(-(-days // WEEK_DAYS)):
        some = outcomes.part(week == number)
        last = min(days, (number + 1) * WEEK_DAYS)
        ends = [each for each in shape if each["day"] < last]
        spent = sum(spent_usd[number * WEEK_DAYS : last])
        found.append({"week": number + 1, "days": [number * WEEK_DAYS + 1, last], **_row(some, roles, spent), **_ends(ends)})
    return found


def _row(some: Outcomes, roles: Mapping[str, str], spent_usd: float) -> Json:
    n = len(some)
    judged = some.score[np.isfinite(some.score)]
    costs = float(np.nan_to_num(some.cost_usd).sum())
    by = {role: some.of("node", [name for name, own in roles.items() if own == role]) for role in set(roles.values())}
    committee = some.of("strategy", sorted(COMMITTEES))
    specialists = by.get("specialist", np.zeros(n, dtype=np.bool_)) | by.get("recovery", np.zeros(n, dtype=np.bool_))
    return {
        "requests": n,
        "answered": _part(float(some.ok.sum()), n),
        "cost_usd_per_request": _part(costs, n),
        "own_usd_per_request": _part(max(0.0, spent_usd - costs), n),
        "latency_p50_s": _quantile(some.latency_s[some.ok], 0.5),
        "latency_p95_s": _quantile(some.latency_s[some.ok], 0.95),
        "quality": _part(float(judged.sum()), len(judged)),
        "judged": len(judged),
        "shares": {
            "library": _part(float(some.of("strategy", ["library"]).sum()), n),
            "specialists": _part(float((specialists & ~committee).sum()), n),
            "committee": _part(float(committee.sum()), n),
        },
    }


def _ends(ends: Sequence[Mapping[str, Any]]) -> Json:
    """How many nodes there were when it ended, and the most of it."""
    if not ends:
        return {"live": None, "parked": None, "most_live": None}
    return {"live": ends[-1]["live"], "parked": ends[-1]["parked"], "most_live": max(each["live"] for each in ends[-WEEK_DAYS:])}


def _part(some: float, whole: float) -> float | None:
    return round(some / whole, ROUNDED) if whole else None


def _quantile(values: npt.NDArray[np.float64], share: float) -> float | None:
    known = values[np.isfinite(values)]
    return round(float(np.quantile(known, share)), ROUNDED) if len(known) else None


def changes(proposals: Sequence[Mapping[str, Any]]) -> list[Json]:
    """Every proposal of GET /v1/proposals, the oldest first. ``predicted`` and ``measured`` are of its first prediction, the gain
    that it is for (of those without one: what must not get worse)."""
    return [_change(each) for each in sorted(proposals, key=lambda one: float(one["created_at"]))]


def _change(each: Mapping[str, Any]) -> Json:
    first = (each["predictions"] or [None])[0]
    told = (each["measured"] or [None])[0]
    applied = each["applied_at"]
    return {
        "day": round(day_of(each["created_at"]), 2),
        "applied": None if applied is None else round(day_of(applied), 2),
        "ended": round(day_of(each["updated_at"]), 2),
        "kind": each["kind"],
        "subject": each["subject"],
        "node": each["node"],
        "origin": each["origin"],
        "status": each["status"],
        "metric": None if first is None else first["metric"],
        "predicted": None if first is None else {name: first[name] for name in ("baseline", "expected", "limit", "units")},
        "measured": None
        if told is None or told["measured"] is None
        else {name: told[name] for name in ("measured", "low", "high", "requests", "verdict")},
        "reason": each["reason"],
        "note": each["note"],
    }


def effect(change: Mapping[str, Any]) -> str:
    """Prediction and measured effect of a change in a line."""
    said, told = change["predicted"], change["measured"]
    if said is None:
        return "nothing predicted"
    words = f"{change['metric']} {said['baseline']:.3g} → {said['expected']:.3g}"
    if told is None:
        return f"{words}, not measured"
    low, high = (f"{told[name]:.3g}" if math.isfinite(told[name]) else "?" for name in ("low", "high"))
    return f"{words}, measured {told['measured']:.3g} ({low} to {high}, n={told['requests']})"


def restless(told: Sequence[Mapping[str, Any]]) -> list[Json]:
    """Subjects that were changed again and again: (kind, subject, how often it was carried out), more than twice. A network that
    ends simple has none."""
    done: dict[tuple[str, str], int] = {}
    for each in told:
        if each["applied"] is not None:
            key = (each["kind"], each["subject"])
            done[key] = done.get(key, 0) + 1
    return [{"kind": kind, "subject": subject, "times": n} for (kind, subject), n in done.items() if n > 2]
