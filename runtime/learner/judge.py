"""A second opinion on a share of the answers: a model of another family scores them, beside the request path.

Run by build.py; desk.py offers answers. Everything is bounded: the share, the answers that wait, each call's money, the day's
money (UTC). A judge that is down costs nothing but its samples. Now and then a judge is given an empty answer instead (a canary):
one that praises it is believed less from then on.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from agents.calls import CallRecord
from agents.llm.chat import BackendSpec, ChatReply, ChatRequest
from agents.llm.costs import worst_case
from agents.llm.prompts import render
from agents.llm.structured import ask_structured
from agents.records import AgentError, Draft
from agents.strategies.judging import JUDGE
from agents.strategies.runner import quoted, request_text
from runtime.accounts import PICO
from runtime.admission import ask_of
from runtime.config.routing import RoutingSettings
from runtime.learner.records import Counts, Evidence
from runtime.records import Answer, Request

log = logging.getLogger(__name__)

MAX_WAITING: Final = 64
MAX_READ_CHARS: Final = 12_000
MAX_JUDGE_TOKENS: Final = 400
CALLS_EACH: Final = 2
"""A judgement may take one repair round."""
CANARIES: Final = 0.1
PRAISE: Final = 0.4
"""An empty answer that is given more than this was praised."""
JUDGED: Final = 0.6
REST_S: Final = 60.0
FAILURES_BEFORE_REST: Final = 3
DAY_S: Final = 86_400.0
MAX_TRUSTED: Final = 256
_FAMILY: Final = re.compile(r"[a-z]+")

Ask = Callable[[ChatRequest, BackendSpec, Callable[[CallRecord], None]], Awaitable[ChatReply]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """An answer to be judged. ``canary``: the judge gets an empty one in its place."""

    decision_id: str
    question: str
    answer: str
    backend: str
    model: str
    canary: bool


class JudgeDesk:
    """``hear`` is told the verdict on a decision; ``ask`` makes one call and books it."""

    def __init__(
        self,
        *,
        ask: Ask,
        hear: Callable[[str, Evidence], object],
        backends: Callable[[], Sequence[BackendSpec]],
        counts: Counts,
        rng: np.random.Generator,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._ask, self._hear, self._backends, self._counts = ask, hear, backends, counts
        self._rng, self._wall = rng, wall
        self._waiting: deque[Sample] = deque()
        self._bell = asyncio.Event()
        self._failures = 0
        self.settings = RoutingSettings()
        self.day = 0
        self.spent_usd = 0.0
        self.canaries: dict[str, list[int]] = {}

    def offer(self, decision_id: str, request: Request, answer: Answer) -> None:
        """Take the answer as a sample, or do not. Never waits."""
        share, text = self.settings.judge_share, answer.draft.text
        if share <= 0 or self._rng.random() >= share or not text.strip() or answer.verdict is not None:
            return
        question = request_text(request.messages, MAX_READ_CHARS)
        if len(self._waiting) >= MAX_WAITING or len(text) > MAX_READ_CHARS or not question:
            self._counts.bump(self._counts.judged, "dropped")
            return
        model = next((call.model for call in reversed(answer.calls) if call.backend == answer.backend), answer.backend)
        canary = bool(self._rng.random() < CANARIES)
        self._waiting.append(
            Sample(decision_id=decision_id, question=question, answer=text, backend=answer.backend, model=model, canary=canary)
        )
        self._bell.set()

    async def run(self) -> None:
        """Judge what waits, one after the other. Until cancelled."""
        while True:
            while self._waiting:
                await self._one(self._waiting.popleft())
                if self._failures >= FAILURES_BEFORE_REST:
                    self._failures = 0
                    await asyncio.sleep(REST_S)
            self._bell.clear()
            await self._bell.wait()

    async def _one(self, sample: Sample) -> None:
        request = _asked(sample)
        judge = self.judge_of(sample, request)
        if judge is None:
            self._counts.bump(self._counts.judged, "no_judge")
            return
        try:
            score = await self._score(request, judge)
        except AgentError as error:
            self._failures += 1
            self._counts.bump(self._counts.judged, "failed")
            log.info("a judge could not be heard: %s", error)
            return
        self._failures = 0
        if sample.canary:
            self._note(judge.name, score <= PRAISE)
            self._counts.bump(self._counts.judged, "canary")
            return
        self._counts.bump(self._counts.judged, "judged")
        self._hear(sample.decision_id, Evidence(score=score, reliability=JUDGED * self.trust(judge.name), source="judge"))

    async def _score(self, request: ChatRequest, judge: BackendSpec) -> float:
        def booked(call: CallRecord) -> None:
            self.spent_usd += call.cost_usd

        found = await ask_structured(lambda again: self._ask(again, judge, booked), request)
        return min(max(float(found.data["score"]), 0.0), 1.0)

    def judge_of(self, sample: Sample, request: ChatRequest) -> BackendSpec | None:
        """The dearest one of another family that can judge and that the day's money still pays for in the worst case."""
        today = int(self._wall() // DAY_S)
        if today != self.day:
            self.day, self.spent_usd = today, 0.0
        left = self.settings.judge_usd_per_day - self.spent_usd
        able = [
            spec
            for spec in self._backends()
            if "critique" in spec.capabilities and family(spec.model) != family(sample.model) and _most_usd(spec, request) <= left
        ]
        return max(able, key=lambda spec: (self.trust(spec.name) >= 0.5, spec.output_usd_per_mtok, spec.name), default=None)

    def trust(self, judge: str) -> float:
        """How often it saw through an empty answer, shrunk to 0.8 as if five had been tried."""
        passed, tried = self.canaries.get(judge, (0, 0))
        return (4.0 + passed) / (5.0 + tried)

    def _note(self, judge: str, passed: bool) -> None:
        known = self.canaries.setdefault(judge, [0, 0])
        known[0] += passed
        known[1] += 1
        if len(self.canaries) > MAX_TRUSTED:
            del self.canaries[next(iter(self.canaries))]

    def dump(self) -> dict[str, Any]:
        """What survives a restart, as JSON."""
        return {"day": self.day, "spent_usd": self.spent_usd, "canaries": self.canaries}

    def load(self, kept: Mapping[str, Any]) -> None:
        """What ``dump`` gave. Raises TypeError, ValueError, KeyError for anything else."""
        day, spent = int(kept["day"]), float(kept["spent_usd"])
        canaries = {str(name): [int(passed), int(tried)] for name, (passed, tried) in kept["canaries"].items()}
        self.day, self.spent_usd, self.canaries = day, max(0.0, spent), canaries


def family(model: str) -> str:
    """The first word of a model's own name: models of one family like each other's answers too much."""
    found = _FAMILY.search(model.lower().rpartition("/")[2])
    return found[0] if found else model.lower()


def _asked(sample: Sample) -> ChatRequest:
    answer = Draft(text="" if sample.canary else sample.answer)
    question = render("critique_question", request=sample.question, answer=quoted(answer, MAX_READ_CHARS))
    return ChatRequest(
        messages=({"role": "system", "content": render(JUDGE.prompt, rules="")}, {"role": "user", "content": question}),
        params={"max_tokens": MAX_JUDGE_TOKENS, "temperature": 0.0},
        schema=JUDGE.schema,
        schema_name=JUDGE.name,
    )


def _most_usd(spec: BackendSpec, request: ChatRequest) -> float:
    cost = worst_case(spec, request, assumed_tokens=MAX_JUDGE_TOKENS)
    return CALLS_EACH * ask_of(spec, cost).amount(cost.completion_tokens).usd / PICO
