"""Logged choices as lessons and as the shadow of a router: what it would have said on them, and what that would have been worth.

Called by evolve.py and the bench. Rows are those of learner/records.py, as mappings, the newest first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from runtime.config.routers import RoutersSettings
from runtime.learner import shadow
from runtime.learner.records import CANDIDATE_COLUMNS
from runtime.routers.checking import available
from runtime.routers.desk import fault_of, limits_of
from runtime.routing.generated import Advice, offered, read
from runtime.routing.lessons import MOST_WEIGHT, ArmKey, Seen
from runtime.routing.off_policy import Logged, OffPolicy, doubly_robust
from runtime.routing.records import Arm, Weights
from sandbox.runner import Sandbox

_AT = {name: place for place, name in enumerate(CANDIDATE_COLUMNS)}


def seen_of(row: Mapping[str, Any], weights: Weights) -> Seen | None:
    """A row as a lesson; None where it was not chosen freely, was judged by nobody, or has no features."""
    usable = row["way"] in shadow.CHOSEN_FREELY and row["score"] is not None and row["weight"] > 0 and row["propensity"] > 0
    if not usable or not row["features"] or len(row["candidates"]) < 2:
        return None
    guesses: dict[ArmKey, float] = {}
    for each in row["candidates"]:
        quality, cost, latency = (each[_AT[name]] or 0.0 for name in ("quality", "cost_usd", "latency_s"))
        guesses.setdefault((each[0], each[2]), shadow.worth(quality, cost, latency, weights))
    return Seen(
        unit=str(row["request_id"]),
        features=row["features"],
        arm=(row["strategy"], row["backend"]),
        worth=shadow.worth(row["score"], row["cost_usd"], row["latency_s"], weights),
        propensity=min(1.0, row["propensity"]),
        guesses=guesses,
        step=row["step"],
    )


def arms_of(features: Mapping[str, Any]) -> list[Arm]:
    """What was open, from the features that were kept."""
    return [
        Arm(strategy=each["strategy"], node="", backend=each["backend"], usd_per_1m=each["usd_per_1m"])
        for each in features.get("arms", ())
    ]


def arms_offered(seen: Sequence[Seen]) -> list[dict[str, Any]]:
    """Every arm that was open in the log."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for each in seen:
        for arm in offered(arms_of(each.features)):
            found.setdefault((arm["backend"], arm["strategy"]), arm)
    return list(found.values())


async def sayings(
    sandbox: Sandbox, code: str, seen: Sequence[Seen], *, settings: RoutersSettings, configured: frozenset[str]
) -> list[tuple[ArmKey | None, str]]:
    """What the router says on each, and which step; None where it leaves the choice to the learner, or fails. Raises
    SandboxUnavailable."""
    await sandbox.health(code)
    held = sandbox.hold(code, limits_of(settings))
    found: list[tuple[ArmKey | None, str]] = []
    try:
        for each in seen:
            result, arms = await available(held, dict(each.features)), arms_of(each.features)
            said = fault_of(result) or read(result.value, arms, configured=configured, least_confidence=settings.least_confidence)
            if isinstance(said, Advice):
                found.append(((arms[said.at].strategy, arms[said.at].backend), said.step))
            else:
                found.append((None, ""))
    finally:
        await held.aclose()
    return found


def scored(seen: Sequence[Seen], said: Sequence[tuple[ArmKey | None, str]], *, explore: float) -> OffPolicy:
    """A router on logged choices (at least one), doubly robust; ``explore`` of them are made as they were. Where it says nothing,
    the learner's best guess counts."""
    rows = [_logged(each, arm, explore) for each, (arm, _) in zip(seen, said, strict=True)]
    return doubly_robust(rows, most_weight=MOST_WEIGHT)


def shadowed(
    seen: Sequence[Seen], said: Sequence[tuple[ArmKey | None, str]], *, explore: float
) -> tuple[OffPolicy | None, float]:
    """How a router does on these, and its gain over the one in force (``Seen.now``; silence is the learner's best guess);
    (None, 0) where it decides on none."""
    if not any(arm is not None for arm, _ in said):
        return None, 0.0
    found, before = scored(seen, said, explore=explore), scored(seen, [(each.now, "") for each in seen], explore=explore)
    return found, found.value.mean - before.value.mean


def in_force(seen: Sequence[Seen], said: Sequence[tuple[ArmKey | None, str]]) -> list[Seen]:
    """``seen`` with what the router in force says of each."""
    return [replace(each, now=arm, now_step=step) for each, (arm, step) in zip(seen, said, strict=True)]


def _logged(each: Seen, arm: ArmKey | None, explore: float) -> Logged:
    wanted = arm if arm in each.guesses else each.usual
    guess = each.guesses.get(each.arm, each.worth)
    same = wanted == each.arm
    return Logged(
        score=each.worth,
        propensity=each.propensity,
        target=(1 - explore) * same + explore * each.propensity,
        guess=guess,
        target_guess=(1 - explore) * (each.guesses[wanted] if wanted is not None else guess) + explore * guess,
    )
