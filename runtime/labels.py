"""Labels of metrics whose values come from outside, kept to a bounded number. Called by metrics.py. Pure."""

from __future__ import annotations

MAX_LABEL_VALUES = 64
"""Distinct values of one label that are told apart."""
OTHER = "other"


class Bounded:
    """The first ``limit`` values pass, later ones become ``other``: a typo in a loop must not fill a time-series database."""

    def __init__(self, limit: int = MAX_LABEL_VALUES) -> None:
        self._limit = limit
        self._seen: set[str] = set()

    def __call__(self, value: str) -> str:
        if value in self._seen:
            return value
        if len(self._seen) >= self._limit or len(value) > 100:
            return OTHER
        self._seen.add(value)
        return value
