"""The table ``[sandbox]``: whether code that models wrote may run, and what one run may use. Part of settings.py."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from runtime.config.section import Section
from sandbox.records import Limits, Setup


class SandboxSettings(Section):
    enabled: bool = True
    """Run code that models wrote, in locked processes; false refuses all of it."""
    allow_reduced: bool = False
    """Run code also where a layer of the lock-down is missing and not made up for (morphogen sandbox probe shows them)."""
    wall_s: Annotated[float, Field(ge=0.01, le=600)] = 5.0
    """Longest time of one run."""
    cpu_s: Annotated[float, Field(ge=0.01, le=600)] = 5.0
    """CPU time of one run; the kernel counts whole seconds, rounded up."""
    memory_bytes: int = Field(default=256 * 2**20, ge=8 * 2**20, le=8 * 2**30)
    """Memory of one run, beyond the interpreter's."""
    output_bytes: int = Field(default=2**20, ge=1024, le=64 * 2**20)
    """Largest result of one run, as JSON."""
    max_running: int = Field(default=0, ge=0, le=1000)
    """Runs at once on this machine, four times as many where some take long; 0 means twice the cores, at least 4."""
    max_held: int = Field(default=64, ge=1, le=10_000)
    """Functions kept resident at once on this machine."""

    def setup(self) -> Setup:
        """The sandbox's own record."""
        limits = Limits(wall_s=self.wall_s, cpu_s=self.cpu_s, memory_bytes=self.memory_bytes, output_bytes=self.output_bytes)
        rest = self.model_dump(include={"enabled", "allow_reduced", "max_running", "max_held"})
        return Setup(limits=limits, **rest)
