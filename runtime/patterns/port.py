"""Patterns as the surfaces see them. Implemented by desk.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from runtime.topology.pattern_records import Pattern
from runtime.topology.patterns import Patterns


class PatternsPort(Protocol):
    """Recurring kinds of requests."""

    @property
    def found(self) -> Patterns | None:
        """None while they are not open."""
        ...

    def all(self) -> tuple[Pattern, ...]:
        """What is known, the largest share first."""
        ...

    def status(self) -> str:
        """``ok``, ``off``, or what is wrong."""
        ...

    def gauges(self) -> tuple[Mapping[str, int], Mapping[str, float]]:
        """How many there are in which state, and counts."""
        ...
