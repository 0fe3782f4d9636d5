"""The section ``[observe]``. Called by settings.py."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from runtime.config.section import Section

_Span = Annotated[float, Field(gt=0, le=30 * 86_400.0, allow_inf_nan=False)]


class ObserveSettings(Section):
    every_requests: int = Field(default=1000, ge=1, le=100_000)
    """The network looks at itself after so many requests …"""
    every_s: _Span = 600.0
    """… or after so long, where any came. It looks at these requests, or at the newest every_requests where there are fewer."""
    horizon_s: _Span = 86_400.0
    """Older requests are not looked at."""
    least_seen: int = Field(default=10, ge=2, le=100_000)
    """A pattern was seen so often before a specialist is proposed for it."""
    least_gain: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.02
    """A new node must promise so much: quality - 2 x USD - 0.002 x seconds of a request."""
    cooldown_s: _Span = 600.0
    """So long nothing is said of a node or a pattern that was just spoken of (and for six looks)."""
    ask_models: bool = True
    """Let a model look at the network too, the cheapest that can judge."""
    asks_per_hour: int = Field(default=12, ge=0, le=10_000)
    """Most such questions in an hour."""
    ask_usd_per_day: Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)] = 0.2
    """Most that they may cost in a day (UTC)."""
    ask_every: int = Field(default=12, ge=1, le=10_000)
    """Looks between two questions to a model; at an efficiency below 70 it is asked after every look."""
