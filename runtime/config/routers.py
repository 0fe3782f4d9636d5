"""The section ``[routers]``. Called by settings.py."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from runtime.config.section import Section

_Share = Annotated[float, Field(gt=0, lt=0.9, allow_inf_nan=False)]


class RoutersSettings(Section):
    enabled: bool = True
    """Let the router in force (an artifact whose code a model or a person wrote) choose before the learner does."""
    write: bool = True
    """Have a model write better routers from measured mistakes; off: those that there are serve on."""
    write_every_s: Annotated[float, Field(ge=0.05, le=30 * 86_400, allow_inf_nan=False)] = 900.0
    """How often mistakes are looked at for a next router."""
    least_judged: Annotated[int, Field(ge=20, le=1_000_000)] = 300
    """Judged choices since the last attempt before a model is asked again."""
    usd_per_day: Annotated[float, Field(ge=0, le=10_000, allow_inf_nan=False)] = 0.2
    """Most that writing routers may cost in a day (UTC), in USD."""
    asks_per_hour: Annotated[int, Field(ge=0, le=10_000)] = 4
    """Most routers, and prompts for them, that models are asked for in an hour; 0: none."""
    least_confidence: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.5
    """A router that is less sure leaves the choice to the learner."""
    explore: Annotated[float, Field(ge=0.01, le=0.5, allow_inf_nan=False)] = 0.05
    """Share of the choices that the learner makes all the same, so that the others stay known."""
    limit_ms: Annotated[float, Field(ge=10, le=1_000, allow_inf_nan=False)] = 100.0
    """Longest call of a router; then the learner chooses."""
    share: _Share = 0.3
    """Share of the conversations that a new router gets in its experiment."""
    min_requests: Annotated[int, Field(ge=10, le=1_000_000)] = 100
    """Judged requests of each side before an experiment ends for the new one."""
    max_requests: Annotated[int, Field(ge=10, le=10_000_000)] = 5_000
    """Requests of the new router after which an experiment that says nothing is given up."""
