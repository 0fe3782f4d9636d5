"""After an adoption: a small frozen part of the conversations goes on without what won, and shows whether it is still worth it.

Called by trials.py. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from agents.records import Json
from runtime.config.routing import RoutingSettings
from runtime.routing.experiment import Plan, State, lasting_gain
from runtime.routing.sequential import Interval

WATCHED: Final = 4
"""So many times as long as an experiment may take is looked on."""


def frozen_of(settings: RoutingSettings, changes: Mapping[str, Json]) -> dict[str, Json]:
    """What the champion has where the challenger differs."""
    return {name: getattr(settings, name) for name in changes}


def holds(settings: RoutingSettings, changes: Mapping[str, Json]) -> bool:
    """Whether these settings are those that won."""
    return all(getattr(settings, name, None) == value for name, value in changes.items())


def without(settings: RoutingSettings, frozen: Mapping[str, Json]) -> RoutingSettings:
    """``settings`` as the holdout has them: with the champion's values, which were checked when it was in force."""
    return settings.model_copy(update=dict(frozen))


def looked_at(plan: Plan, state: State, now: float) -> tuple[Interval, str]:
    """The gain over the holdout, and why nobody needs to look on; empty where somebody should."""
    gain = lasting_gain(state)
    told = f"the gain over those that went without lies between {gain.low:+.3f} and {gain.high:+.3f}"
    if gain.high < 0:
        return gain, f"worth it no more: {told}"
    if now - plan.began_at >= WATCHED * plan.max_s or state.sides["holdout"].requests >= plan.max_requests:
        return gain, f"looked on to the end: {told}"
    return gain, ""
