"""A router's book in memory, and a router that has nothing to choose from, for tests of what it is a part of."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runtime.config import Settings
from runtime.router.desk import Router
from runtime.router.records import DecisionRow


@dataclass
class MemoryBook:
    """``runtime.router.records.DecisionBook``: what was written, in order."""

    rows: list[DecisionRow] = field(default_factory=list)
    verdicts: list[tuple[str, float, float, str]] = field(default_factory=list)

    def write(self, row: DecisionRow) -> None:
        self.rows.append(row)

    def heard(self, decision_id: str, *, score: float, weight: float, source: str) -> None:
        self.verdicts.append((decision_id, score, weight, source))

    async def of_request(self, request_id: str) -> list[dict[str, Any]]:
        return []

    async def newest(self, *, since: float, limit: int) -> list[dict[str, Any]]:
        return []


def idle_router(settings: Settings) -> Router:
    """One without backends; it keeps nothing."""
    return Router(
        settings=settings,
        backends=lambda: (),
        health=dict,
        nodes=lambda: (),
        book=MemoryBook(),
        folder=Path("/nonexistent"),
    )
