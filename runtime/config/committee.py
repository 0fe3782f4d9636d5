"""The section ``[committee]``. Called by settings.py."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from runtime.config.section import Section

_Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class CommitteeSettings(Section):
    enabled: bool = True
    """Requests that name no strategy and are harder than threshold go to a committee, unless it was learned that this is not
    worth it. strategy/committee can be asked for either way."""
    threshold: _Share = 0.7
    """From this complexity on, as a share of its scale (0 to 1)."""
    size: int = Field(default=5, ge=2, le=8)
    """Most members of a committee."""
    rounds: int = Field(default=3, ge=0, le=5)
    """Most rounds of discussion after the contributions; it ends sooner when all agree."""
    max_nodes: int = Field(default=4, ge=0, le=32)
    """Nodes that all committees together may take from the warm pool; 0: members are roles of the node that works."""
    keep_s: Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)] = 60.0
    """How long such a node waits for another committee before it is put away."""
    pooled: int = Field(default=32, ge=0, le=1000)
    """Designs that did well and are used again for requests like theirs; 0: each committee is designed anew."""
    compare_share: _Share = 0.1
    """Share of the requests answered by a committee that the best other way answers as well, to see which is better."""
    compare_usd_per_day: Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)] = 0.5
    """Most that such comparisons may cost in a day (UTC)."""
