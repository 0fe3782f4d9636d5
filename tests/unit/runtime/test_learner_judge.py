"""Judges beside the request path: of another family, bounded in money, seen through by canaries, missed by nobody when down."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from agents.calls import CallRecord, Usage
from agents.llm.chat import BackendSpec, ChatReply, ChatRequest
from agents.records import BackendFailed, Draft, RequestId
from agents.verdicts import Verdict
from runtime.config.routing import RoutingSettings
from runtime.learner import judge as judge_module
from runtime.learner.judge import JudgeDesk, family
from runtime.learner.records import Counts, Evidence
from runtime.records import Answer, Request

CAN = frozenset({"critique", "words"})
OWN = BackendSpec(name="own", model="llama-3.1-8b", capabilities=CAN)
KIN = BackendSpec(name="kin", model="meta/llama-3.3-70b", capabilities=CAN, output_usd_per_mtok=50.0)
OTHER = BackendSpec(name="other", model="qwen2.5-72b", capabilities=CAN, output_usd_per_mtok=10.0)
MUTE = BackendSpec(name="mute", model="gpt-oss", output_usd_per_mtok=90.0)


@dataclass
class World:
    score: float = 0.8
    empty_score: float = 0.0
    down: bool = False
    share: float = 1.0
    usd: float = 1.0
    now: float = 0.0
    asked: list[tuple[str, ChatRequest]] = field(default_factory=list)
    heard: list[tuple[str, Evidence]] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)

    def __post_init__(self) -> None:
        self.desk = JudgeDesk(
            ask=self.ask,
            hear=lambda name, evidence: self.heard.append((name, evidence)),
            backends=lambda: [OWN, KIN, OTHER, MUTE],
            counts=self.counts,
            rng=np.random.default_rng(3),
            wall=lambda: self.now,
        )
        self.desk.settings = RoutingSettings(judge_share=self.share, judge_usd_per_day=self.usd)

    async def ask(self, request: ChatRequest, spec: BackendSpec, booked: Callable[[CallRecord], None]) -> ChatReply:
        self.asked.append((spec.name, request))
        if self.down:
            raise BackendFailed("down")
        booked(CallRecord(backend=spec.name, model=spec.model, started_at=0.0, latency_s=0.1, cost_usd=0.002))
        shown = str(request.messages[1]["content"])
        score = self.score if "an answer" in shown else self.empty_score
        return ChatReply(text=json.dumps({"score": score, "issues": []}), model=spec.model, usage=Usage())

    def offer(self, name: str = "d", **fields: Any) -> None:
        request = Request(
            request_id=RequestId("r"), source="native", messages=({"role": "user", "content": "which river is it?"},)
        )
        call = CallRecord(backend="own", model=OWN.model, started_at=0.0, latency_s=0.1)
        draft = Draft(text="an answer", backend="own")
        told: dict[str, Any] = {"draft": draft, "calls": (call,), "node": None, "strategy": "single", "attempts": 1, **fields}
        self.desk.offer(name, request, Answer(request_id=request.request_id, latency_s=0.1, **told))

    def judged(self) -> None:
        async def until_idle() -> None:
            task = asyncio.create_task(self.desk.run())
            for _ in range(2000):
                await asyncio.sleep(0)
            task.cancel()

        asyncio.run(until_idle())


def test_a_model_of_another_family_judges_and_its_word_is_heard() -> None:
    world = World()
    for number in range(30):
        world.offer(f"d{number}")
    world.judged()
    assert {name for name, _ in world.asked} == {"other"}
    canaries = world.counts.judged["canary"]
    assert canaries > 0
    assert len(world.heard) == world.counts.judged["judged"] == 30 - canaries
    assert all(evidence.score == 0.8 and 0.4 < evidence.reliability <= 0.6 for _, evidence in world.heard)


def test_a_judge_that_praises_empty_answers_is_believed_less() -> None:
    honest, flatterer = World(), World(empty_score=0.9)
    for world in (honest, flatterer):
        for number in range(60):
            world.offer(f"d{number}")
        world.judged()
    assert flatterer.desk.trust("other") < 0.6 < honest.desk.trust("other")
    assert flatterer.heard[-1][1].reliability < honest.heard[-1][1].reliability


def test_judging_never_costs_more_than_its_day() -> None:
    world = World(usd=0.02)
    for number in range(60):
        world.offer(f"d{number}")
    world.judged()
    assert 0 < world.desk.spent_usd <= 0.02
    assert world.counts.judged["no_judge"] > 0
    world.now = 86_400.0 * 3
    world.offer("next day")
    world.judged()
    assert world.desk.spent_usd == pytest.approx(0.002)


def test_a_judge_that_is_down_loses_samples_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge_module, "REST_S", 0.0)
    world = World(down=True)
    for number in range(10):
        world.offer(f"d{number}")
    world.judged()
    assert (world.heard, world.counts.judged["failed"]) == ([], 10)
    world.down = False
    world.offer("later")
    world.offer("later still")
    world.judged()
    assert world.heard


def test_what_waits_is_bounded_and_what_needs_no_judge_is_not_offered() -> None:
    world = World()
    world.offer(draft=Draft(text="  "))
    world.offer(verdict=Verdict(score=1.0, source="checks"))
    assert not world.counts.judged
    for number in range(100):
        world.offer(f"d{number}")
    assert world.counts.judged["dropped"] == 100 - judge_module.MAX_WAITING


def test_what_is_known_of_judges_survives() -> None:
    world = World(empty_score=1.0)
    for number in range(40):
        world.offer(f"d{number}")
    world.judged()
    again = World()
    again.desk.load(json.loads(json.dumps(world.desk.dump())))
    assert again.desk.trust("other") == world.desk.trust("other")
    assert again.desk.spent_usd == world.desk.spent_usd


@pytest.mark.parametrize(
    ("model", "name"), [("Qwen/Qwen2.5-7B", "qwen"), ("gpt-4o-mini", "gpt"), ("meta-llama/Llama-3", "llama"), ("7b", "b")]
)
def test_families(model: str, name: str) -> None:
    assert family(model) == name
