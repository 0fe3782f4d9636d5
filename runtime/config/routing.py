"""The section ``[routing]``. Called by settings.py."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from runtime.config.section import Section

_Weight = Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)]
_Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class RoutingSettings(Section):
    enabled: bool = True
    """Learn which backend (strategy, node) answers what best at which price, where a request leaves it open; with one it does
    nothing."""
    objective: Literal["difference", "ratio"] = "difference"
    """difference: quality - cost_weight x USD - latency_weight x seconds. ratio: quality^w / (cost^c x latency^l)."""
    quality_weight: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] = 1.0
    """The power of quality in the ratio."""
    cost_weight: _Weight | None = None
    """What a US dollar is worth in points of quality (1: a perfect answer), in the ratio the power of cost; none: 2, ratio 1."""
    latency_weight: _Weight | None = None
    """What a second is worth in points of quality, in the ratio the power of latency; none: 0.002, ratio 1."""
    usd_per_thousand: Annotated[float, Field(gt=0, le=1_000_000, allow_inf_nan=False)] | None = None
    """Budget mode: the best quality at so many US dollars per thousand requests (objective difference)."""
    exploration_floor: Annotated[float, Field(ge=0, le=0.5, allow_inf_nan=False)] = 0.01
    """Share of the choices that is spread evenly over all candidates, so that each stays known."""
    exploration_cost_share: _Share = 0.1
    """Most that trying others may add to the spend, as a share of it."""
    switch_margin: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)] = 0.05
    """A conversation keeps its backend unless another one's estimate is better by this."""
    strategies: Annotated[
        tuple[Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$")], ...], Field(max_length=8)
    ] = ()
    """Strategies that may be tried beside the node's own where a request names none."""
    max_arms: int = Field(default=50, ge=2, le=200)
    """Most candidates (strategy x node x backend) of one choice."""
    half_life_days: Annotated[float, Field(gt=0, le=3650, allow_inf_nan=False)] = 14.0
    """Evidence of this age counts half."""
    judge_share: _Share = 0.02
    """Share of the answers that a model of another family is asked to judge, beside the request path."""
    judge_usd_per_day: Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)] = 0.5
    """Most that judging may cost in a day (UTC)."""
    save_every_s: Annotated[float, Field(ge=0.1, le=3600, allow_inf_nan=False)] = 2.0
    """How often what was learned is written; a kill loses at most so much."""
