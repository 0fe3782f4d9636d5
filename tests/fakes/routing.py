"""A router's book in memory, and a router that has nothing to choose from, for tests of what it is a part of."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from agents.calls import CallRecord
from agents.llm.chat import BackendSpec, ChatReply, ChatRequest
from agents.records import BackendUnreachable, Json
from runtime.config.settings import Settings
from runtime.learner.desk import Router
from runtime.learner.records import DecisionRow
from runtime.learner.trials import ExperimentBusy
from runtime.learner.tuning import changed


@dataclass
class MemoryBook:
    """``runtime.learner.records.DecisionBook``: what was written, in order."""

    rows: list[DecisionRow] = field(default_factory=list)
    verdicts: list[tuple[str, float, float, str]] = field(default_factory=list)

    def write(self, row: DecisionRow) -> None:
        self.rows.append(row)

    def heard(self, decision_id: str, *, score: float, weight: float, source: str) -> None:
        self.verdicts.append((decision_id, score, weight, source))

    async def of_request(self, request_id: str) -> list[dict[str, Any]]:
        return [row for row in await self.newest(since=0.0, limit=len(self.rows)) if row["request_id"] == request_id]

    async def newest(self, *, since: float, limit: int) -> list[dict[str, Any]]:
        found = {row.decision_id: {**asdict(row), "candidates": list(row.candidates)} for row in self.rows if row.at >= since}
        for name, score, weight, source in self.verdicts:
            if name in found:
                found[name] |= {"score": score, "weight": weight, "source": source}
        return list(reversed(found.values()))[:limit]


@dataclass
class MemoryTrials:
    """``runtime.learner.trials.TrialBook``: JSON texts by id, as they were saved last."""

    rows: dict[str, str] = field(default_factory=dict)
    saves: int = 0

    async def save(self, row: Mapping[str, Json]) -> None:
        self.rows[row["experiment_id"]] = json.dumps(dict(row))
        self.saves += 1

    async def load(self, *, limit: int) -> list[dict[str, Json]]:
        return [json.loads(text) for text in reversed(self.rows.values())][:limit]


async def no_judge(request: ChatRequest, judge: BackendSpec, booked: Callable[[CallRecord], None]) -> ChatReply:
    """For a router whose judges are down."""
    raise BackendUnreachable("nobody is there")


def idle_router(settings: Settings, *, wall: Callable[[], float] = time.time) -> Router:
    """One without backends; it keeps nothing."""
    return Router(
        settings=settings,
        backends=lambda: (),
        health=dict,
        nodes=lambda: (),
        book=MemoryBook(),
        trial_book=MemoryTrials(),
        folder=Path("/nonexistent"),
        ask=no_judge,
        wall=wall,
    )


class FakeRouting:
    """``runtime.learner.port.RoutingPort``: one decision, of ``req_1``, and the experiments that were begun."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.trials: list[dict[str, Json]] = []

    async def routes(self) -> dict[str, Json]:
        return {"enabled": True, "arms": []}

    async def explained(self, request_id: str) -> list[dict[str, Json]]:
        return [{"decision_id": f"{request_id}/1", "candidates": []}] if request_id == "req_1" else []

    async def experiments(self) -> list[dict[str, Json]]:
        return self.trials

    async def start_experiment(self, changes: Mapping[str, Json], terms: Mapping[str, Json]) -> dict[str, Json]:
        changed(self._settings.routing, changes)
        if self.trials:
            raise ExperimentBusy("one runs", field="experiment")
        self.trials.append({"experiment_id": "exp-1", "stage": "shadow", "changes": dict(changes), **terms})
        return self.trials[0]

    async def stop_experiment(self, experiment_id: str, why: str) -> dict[str, Json] | None:
        found = [trial for trial in self.trials if trial["experiment_id"] == experiment_id]
        return {**found[0], "stage": "over", "note": why} if found else None

    async def report(self, *, since: float, until: float) -> dict[str, Json]:
        return {"since": since, "until": until}


class FakeGenerated:
    """``runtime.routers.port.RoutersPort``: router@1.0.0 is in force, router@1.1.0 won; ``trouble`` is raised by all."""

    def __init__(self) -> None:
        self.in_force: str | None = "router@1.0.0"
        self.declined = ""
        self.trouble: Exception | None = None

    async def all(self) -> dict[str, Json]:
        self._ready()
        return {"in_force": self.in_force, "routers": [], "rounds": []}

    async def one(self, version: str) -> dict[str, Json] | None:
        self._ready()
        return {"version": version, "steps": []} if version in ("router@1.0.0", "router@1.1.0") else None

    async def evolve(self) -> dict[str, Json]:
        self._ready()
        return {"round": None, "why": "10 judged choices since the last attempt; 20 are needed"}

    async def adopt(self, version: str) -> dict[str, Json] | None:
        self._ready()
        if version == "router@0.9.0":
            raise ExperimentBusy("another is in force by now", field="version")
        self.in_force = version if version == "router@1.1.0" else self.in_force
        return {"version": version, "stage": "adopted"} if version == "router@1.1.0" else None

    async def decline(self, version: str, why: str) -> dict[str, Json] | None:
        self._ready()
        self.declined = why
        return {"version": version, "stage": "declined"} if version == "router@1.1.0" else None

    async def back(self) -> dict[str, Json] | None:
        was, self.in_force = self.in_force, None
        return None if was is None else {"was": was, "in_force": None}

    def _ready(self) -> None:
        if self.trouble is not None:
            raise self.trouble
