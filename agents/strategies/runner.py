"""What every strategy has in common: its signature, and how a request is added to without losing any of it.

Called by the strategies and compose.py. Imports no strategy, no backend and nothing of runtime.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, Protocol

import orjson

from agents.llm.prompts import render
from agents.quality.constraints import to_rules, within
from agents.records import Choice, Draft, Json, Work
from agents.strategy_specs import Single, StrategySpec
from agents.toolbox import Toolbox

MAX_QUOTED_CHARS: Final = 200_000
MAX_ISSUES: Final = 50
# What only makes sense for the answer that the client gets: an inner ask must not call its tools or make five choices.
_OUTER_PARAMS: Final = frozenset(
    {"n", "tools", "tool_choice", "parallel_tool_calls", "functions", "function_call", "logprobs", "top_logprobs", "stop"}
    | {"response_format", "modalities", "audio", "prediction"}
)


class RunChild(Protocol):
    """How a strategy runs another one: ``compose.run_strategy``."""

    async def __call__(self, work: Work, spec: StrategySpec, toolbox: Toolbox, choice: Choice, *, visible: bool) -> Draft: ...


class Runner(Protocol):
    """One strategy. ``visible``: its answer is the client's, and may be streamed. Raises AgentError.

    ``spec`` is the strategy's own record (Single, Pipeline …); the table in compose.py pairs the two.
    """

    async def __call__(
        self, work: Work, spec: Any, toolbox: Toolbox, choice: Choice, *, visible: bool, run_child: RunChild
    ) -> Draft: ...


def choice_for(spec: Single, choice: Choice) -> Choice:
    """Which backend a Single asks: the client's own word where it allows no other, then the spec's, then the task's."""
    if choice.backend is not None and not choice.fallback:
        return choice
    if spec.backend is not None:
        return replace(choice, backend=spec.backend)
    if spec.tier is not None and choice.backend is None:
        # A preference of the node would win over the tier, and every stage would land on one backend.
        return replace(choice, preferred=(), tier=spec.tier)
    return choice


def with_system(work: Work, text: str | None) -> Work:
    """``work`` with ``text`` in front, joined to a system message that is there already (many templates allow one only)."""
    if not text:
        return work
    first = work.messages[0] if work.messages else None
    if first is not None and first.get("role") == "system" and isinstance(first.get("content"), str):
        merged = {**first, "content": f"{text}\n\n{first['content']}"}
        return replace(work, messages=(merged, *work.messages[1:]))
    return replace(work, messages=({"role": "system", "content": text}, *work.messages))


def with_user(work: Work, text: str) -> Work:
    """``work`` with one more user message at its end."""
    return replace(work, messages=(*work.messages, {"role": "user", "content": text}))


def with_rules(work: Work) -> Work:
    """``work`` with its rules and constraints told to the model."""
    rules = (*work.rules, *to_rules(within(work.constraints, work.schema)))
    if not rules:
        return work
    return with_system(work, render("rules", rules="\n".join(f"- {rule}" for rule in rules)))


def number_of(request_id: str) -> int:
    """A number from 1 to 2^32 that follows from the request's id, so that ``index % 10 == 0`` holds for one request in ten."""
    return zlib.crc32(request_id.encode()) + 1


def inner(work: Work) -> Work:
    """``work`` for an ask whose answer is not the client's."""
    return replace(work, params={key: value for key, value in work.params.items() if key not in _OUTER_PARAMS})


def to_text(data: Json) -> str:
    """Data as the text of a draft: compact JSON."""
    return orjson.dumps(data).decode()


def quoted(draft: Draft, limit: int = MAX_QUOTED_CHARS) -> str:
    """A draft's text for another model to read, cut (and marked as cut) at ``limit`` characters."""
    return draft.text if len(draft.text) <= limit else draft.text[:limit] + "\n[cut]"


def request_text(messages: tuple[Mapping[str, Json], ...], limit: int = MAX_QUOTED_CHARS) -> str:
    """The words of a conversation, for a model that judges its answer; the end counts most, so the beginning is cut."""
    parts = []
    for message in messages:
        content = message.get("content")
        if isinstance(content, list):
            content = "\n".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))
        if content:
            parts.append(f"{message.get('role', 'user')}: {content}")
    text = "\n\n".join(parts)
    return text if len(text) <= limit else "[cut]\n" + text[-limit:]


def joined_issues(*groups: tuple[str, ...] | list[str]) -> tuple[str, ...]:
    """Issues without repetitions, bounded."""
    return tuple(dict.fromkeys(issue for group in groups for issue in group))[:MAX_ISSUES]
