"""The section ``[simulated]``. Called by settings.py."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from runtime.config.section import Section


class SimulatedSettings(Section):
    seed: int = 7
    """The simulated pool answers the same for the same seed and question."""
    speed: Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)] = 1.0
    """Multiplies simulated latencies; 0 answers at once."""
