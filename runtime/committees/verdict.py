"""Whether a committee's answer is better than another one: by checks where these differ, else by a judge who reads both blind,
in both orders.

Called by compare.py. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from agents.llm.chat import BackendSpec, ChatRequest
from agents.llm.prompts import render
from agents.records import Draft
from agents.strategies.judging import schema_of
from agents.strategies.runner import quoted, request_text
from runtime.records import Answer, Request

Outcome = Literal["won", "lost", "tied", "none"]
"""Of the committee; ``none``: it could not be compared."""

CLEAR: Final = 0.02
"""Checks that differ by less leave it to a judge."""
MAX_READ_CHARS: Final = 12_000
MAX_TOKENS: Final = 300
SCHEMA: Final = schema_of(better={"type": "string", "enum": ["first", "second", "equal"]}, reason={"type": "string"})
SCORES: Final[dict[Outcome, float]] = {"won": 1.0, "tied": 0.5, "lost": 0.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """How the committee did, who says so, and why."""

    outcome: Outcome
    by: Literal["checks", "judge", "failure", "nobody"]
    why: str = ""


def by_checks(committee: Answer, other: Answer) -> Compared | None:
    """By what is sure: verdicts of checks, and whether an answer is whole. None where these do not tell them apart."""
    ours, theirs = _checked(committee), _checked(other)
    if abs(ours - theirs) <= CLEAR:
        return None
    return Compared(outcome="won" if ours > theirs else "lost", by="checks", why=f"checks give {ours:.3f} against {theirs:.3f}")


def _checked(answer: Answer) -> float:
    verdict = answer.verdict
    score = verdict.score if verdict is not None and verdict.source == "checks" else 1.0
    return score if answer.draft.complete else min(score, 0.9)


def question(request: Request, first: Answer, second: Answer) -> ChatRequest:
    """What a judge is asked; it is not told which of the two is the committee's."""
    user = render(
        "compare_question",
        request=request_text(request.messages, MAX_READ_CHARS),
        first=_read(first.draft),
        second=_read(second.draft),
    )
    rules = "\n".join(f"Rule: {rule}" for rule in request.rules)
    return ChatRequest(
        messages=({"role": "system", "content": render("compare", rules=rules)}, {"role": "user", "content": user}),
        params={"max_tokens": MAX_TOKENS, "temperature": 0.0},
        schema=SCHEMA,
        schema_name="comparison",
    )


def _read(draft: Draft) -> str:
    return quoted(draft, MAX_READ_CHARS)


def of_judge(committee_first: Any, committee_second: Any) -> Compared:
    """Both orders must say the same: a judge who prefers a place has not seen a difference. Its reasons may quote the client, and
    are not kept."""
    ahead = (_better(committee_first) == "first") + (_better(committee_second) == "second")
    behind = (_better(committee_first) == "second") + (_better(committee_second) == "first")
    if ahead == 2 or behind == 2:
        return Compared(outcome="won" if ahead else "lost", by="judge", why="the judge says so in both orders")
    equal = ahead == behind == 0
    return Compared(outcome="tied", by="judge", why="neither is better" if equal else "the judge's word changes with the order")


def _better(said: Any) -> str:
    return str(said.get("better")) if isinstance(said, dict) else "equal"


def judge_of(backends: Sequence[BackendSpec], answers: Sequence[Answer]) -> BackendSpec | None:
    """The dearest one that can judge, one that gave neither answer where there is such a one."""
    served = {answer.backend for answer in answers}
    able = [spec for spec in backends if "critique" in spec.capabilities]
    return max(able, key=lambda spec: (spec.name not in served, spec.output_usd_per_mtok, spec.name), default=None)
