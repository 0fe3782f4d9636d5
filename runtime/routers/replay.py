"""Logged choices as lessons and as the shadow of a router: what it would have said on them, and what that would have been worth.

Called by evolve.py and the bench. Rows are those of router/records.py, as mappings, the newest first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from runtime.config_routers import RoutersSettings
from runtime.router import shadow
from runtime.router.records import CANDIDATE_COLUMNS
from runtime.routers.checking import available
from runtime.routers.desk import fault_of, limits_of
from runtime.routing.generated import Advice, offered, read
from runtime.routing.lessons import ArmKey, Seen
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


def scored(seen: Sequence[Seen], said: Sequence[ArmKey | None], *, explore: float) -> OffPolicy | None:
    """The router on logged choices, doubly robust; where it passes, and for ``explore`` of the others, it does what was done.

    None where it says something of nothing that was logged.
    """
    rows = [_logged(each, arm, explore) for each, arm in zip(seen, said, strict=True)]
    return doubly_robust(rows) if any(arm is not None for arm in said) else None


def _logged(each: Seen, arm: ArmKey | None, explore: float) -> Logged:
    guess = each.guesses.get(each.arm, each.worth)
    if arm is None or arm not in each.guesses:
        # As it was: neither gain nor loss.
        return Logged(score=each.worth, propensity=1.0, target=1.0, guess=guess, target_guess=guess)
    same = arm == each.arm
    return Logged(
        score=each.worth,
        propensity=each.propensity,
        target=(1 - explore) * same + explore * each.propensity,
        guess=guess,
        target_guess=(1 - explore) * each.guesses[arm] + explore * guess,
    )
