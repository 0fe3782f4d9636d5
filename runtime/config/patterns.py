"""The section ``[patterns]``. Called by settings.py."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from runtime.config.section import Section

_Seconds = Annotated[float, Field(ge=0.1, le=3600, allow_inf_nan=False)]


class PatternSettings(Section):
    enabled: bool = True
    """Find recurring kinds of requests; needs the built-in embeddings."""
    window: int = Field(default=3200, ge=100, le=20_000)
    """Requests that are looked at together (about 3 kB each); older ones fade. Holds from the next start."""
    min_requests: int = Field(default=10, ge=2, le=10_000)
    """A pattern is found when it has so many requests; before it is a candidate."""
    max_patterns: int = Field(default=400, ge=2, le=5_000)
    """Most patterns at a time; those that nobody asks for any more are remembered apart, five times as many."""
    save_every_s: _Seconds = 2.0
    """How often what changed is written; a kill loses counts of at most so long."""
    label_every_s: Annotated[float, Field(ge=0.05, le=60, allow_inf_nan=False)] = 0.5
    """Requests whose words nothing else needed embedded are labelled this often, sixteen at a time; where more come, the others
    are left without a label."""
    embed_within_s: Annotated[float, Field(ge=0.01, le=30, allow_inf_nan=False)] = 0.25
    """So long a request that a specialist could take waits at the most until its words are embedded; then it goes on without."""
    names_per_hour: int = Field(default=20, ge=0, le=10_000)
    """Most often that a model is asked for a pattern's name; 0: names are made of the words that set it apart."""
    names_usd_per_day: Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)] = 0.05
    """Most that names may cost in a day (UTC)."""
    holdout_share: Annotated[float, Field(ge=0, le=0.5, allow_inf_nan=False)] = 0.05
    """Share of a kept specialist's requests that goes on as if it were not there, so that it can be seen what it still brings; 0:
    none, and then it is never found to be dispensable while its kind lasts."""
    routines_per_hour: int = Field(default=12, ge=0, le=10_000)
    """Most often that a model is asked for the routine by which a specialist knows its requests; 0: none is written."""
    routines_usd_per_day: Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)] = 0.2
    """Most that names and routines together may cost in a day (UTC) before no routine is asked for."""
