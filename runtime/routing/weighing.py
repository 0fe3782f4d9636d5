"""The arms as one decision weighed them, and what is told of it: candidates with estimates and intervals, and one sentence why.

Called by bandit.py. Imports numpy and this room alone; pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from runtime.routing.levels import Slots, Vector
from runtime.routing.quality import Judgement
from runtime.routing.records import Arm, Candidate, Way

Z_90 = 1.645


class Weighed(NamedTuple):
    """``(n,)`` each: the arms' places, expected cost and latency, utility, and the share with which each is given."""

    slots: Slots
    judged: Judgement
    cost: Vector
    latency: Vector
    utility: Vector
    share: Vector


def known(values: Vector) -> Vector:
    """With 0 for what is not known: nobody is punished for a price that was never seen."""
    return np.where(np.isnan(values), 0.0, values)


def candidates_of(arms: Sequence[Arm], weighed: Weighed, seen: Sequence[float]) -> tuple[Candidate, ...]:
    """The arms in their order; ``seen`` are the outcomes behind each."""
    half = Z_90 * np.sqrt(weighed.judged.variance)
    columns = (
        np.clip(weighed.judged.mean, 0.0, 1.0).tolist(),
        np.clip(weighed.judged.mean - half, 0.0, 1.0).tolist(),
        np.clip(weighed.judged.mean + half, 0.0, 1.0).tolist(),
        weighed.cost.tolist(),
        weighed.latency.tolist(),
        weighed.utility.tolist(),
        weighed.share.tolist(),
    )
    return tuple(
        Candidate(
            arm=arm,
            quality=row[0],
            low=row[1],
            high=row[2],
            cost_usd=None if row[3] != row[3] else row[3],
            latency_s=None if row[4] != row[4] else row[4],
            utility=row[5],
            share=row[6],
            seen=count,
        )
        for arm, count, *row in zip(arms, seen, *columns, strict=True)
    )


def reason_of(way: Way, arms: Sequence[Arm], weighed: Weighed, at: int, best: int) -> str:
    """One sentence for the trace."""
    name, mean = arms[at].label, weighed.judged.mean
    if way == "only":
        return f"{name} is the only candidate"
    if way == "held":
        return f"{name} has the conversation, and the best candidate is not better by the switch margin"
    if way == "router":
        return f"{name} by the router in force"
    if way == "usual":
        return f"{name} by the configured weights: too little is known yet"
    if way == "best":
        return f"{name} has the best estimate: quality {mean[at]:.2f}, utility {weighed.utility[at]:.3f}"
    why = (
        "to keep every candidate known"
        if way == "floor"
        else f"it may be better: chosen in {weighed.share[at]:.0%} of such draws"
    )
    return f"{name} is tried {why}; the best estimate is {arms[best].label} with quality {mean[best]:.2f} against {mean[at]:.2f}"
