"""Which requests the library may answer, under which partition, and which answers it may keep. Pure.

Called by desk.py. The rules, as a client would expect them:

- Who names a backend or a node wants that one; ``cache: true`` says that a stored answer will do as well. ``no-store`` keeps a
  request out of the library, ``no-cache`` has it solved anew. The mock API has a cache of its own, and wants variety.
- Nothing crosses keys, targets, strategies, system prompts, earlier turns, forms, rules, constraints or parameters.
- Tools, several choices, log probabilities and anything but text are not the library's.
- Who wants new data each time (a count, statistics, words such as «generate» or «random», a temperature, or anything that goes
  with the time) is never given stored rows again: only code can answer, with a new seed. A ``seed`` asks for the same again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from agents.quality.constraints import to_json as constraints_json
from agents.quality.statistical_constraints import STATISTICAL
from agents.records import Json, Work
from agents.strategies.compose import to_json as strategy_json
from agents.strategies.problem import names_statistics
from registry.solution_records import MAX_REQUEST_CHARS, Repeat
from registry.solution_records import Request as Asked
from runtime.records import Answer, Request

LOOPBACK: Final = "loopback"
"""The tenant of callers on this machine without a key."""
GOOD: Final = 0.8
"""A judge or a person who says at least so much has verified an answer."""
BAD: Final = 0.5
_NOT_OURS: Final = frozenset(
    {"tools", "tool_choice", "functions", "function_call", "logprobs", "top_logprobs", "modalities", "audio"}
    | {"prediction", "web_search_options", "parallel_tool_calls", "logit_bias"}
)
_NOTHING_TO_THE_ANSWER: Final = frozenset(
    {"seed", "n", "user", "metadata", "store", "service_tier", "prompt_cache_key", "safety_identifier", "temperature"}
)
_NEW: Final = re.compile(
    r"\b(?:generat\w+|creat\w+|make (?:up|me)|invent\w*|random\w*|sampl\w+|simulat\w+|synthe\w+|fake|mock|dummy|fictional"
    r"|imagin\w+|brainstorm\w*|suggest\w*|come up with|surprise|another|different"
    r"|new|writ\w+|compos\w+|draft|tell me a|roll|pick|shuffle"
    r"|draw|give me (?:a|an|some|\d+))\b",
    re.I,
)
_TIMELY: Final = re.compile(
    r"\b(?:today|tonight|now|current\w*|latest|newest|recent\w*|yesterday|tomorrow|this (?:week|month|year|morning|evening)"
    r"|what time|weather|news|so far|still|yet|as of)\b",
    re.I,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ours:
    """A request that the library may answer. ``look`` is False where it is to be solved anew, and kept."""

    asked: Asked
    look: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class NotOurs:
    """One that it neither answers nor learns from."""

    reason: str


def read(request: Request, *, simulated_pool: bool) -> Ours | NotOurs:
    """What the library is asked. ``simulated_pool``: nothing but simulated backends can answer now; what they said is not given
    again once there are others."""
    if reason := _why_not(request):
        return NotOurs(reason=reason)
    text, before = _split(request.messages)
    if not text:
        return NotOurs(reason="it has no words")
    if max(len(text), len(before)) > MAX_REQUEST_CHARS:
        return NotOurs(reason="it is too long")
    if request.count is not None:
        text = f"{text}\n({request.count} items)"
    seed = request.params.get("seed")
    asked = Asked(
        text=text,
        tenant=request.key_id or LOOPBACK,
        backend_policy=_policy(request, simulated_pool),
        system_prompt=before,
        shape="" if request.schema is None else _dumped(request.schema),
        kind="text" if request.schema is None else "data",
        repeat=_repeat(request, text),
        variant="" if seed is None else f"seed {seed}",
        inputs={} if seed is None else {"seed": int(seed) % 2**31},
    )
    return Ours(asked=asked, look=request.library != "refresh")


def _why_not(request: Request) -> str:
    if request.library == "off":
        return "the client does not want it"
    if request.source == "mock":
        return "the mock API has a cache of its own"
    if request.place is not None:
        return "a part of a longer list"
    if request.library != "on" and (request.target.kind in ("backend", "node") or request.backend is not None):
        return f"the client named a {'node' if request.target.kind == 'node' else 'backend'}"
    params = request.params
    if params.get("n") not in (None, 1):
        return "several choices"
    for name in _NOT_OURS:
        if params.get(name):
            return f"it has {name}"
    for message in request.messages:
        if message.get("role") in ("tool", "function") or message.get("tool_calls") or message.get("function_call"):
            return "a tool had a part in it"
        if not _is_text(message.get("content")):
            return "it is not text alone"
    return "" if request.messages[-1].get("role") == "user" else "it does not end with the client's words"


def _is_text(content: Json) -> bool:
    if isinstance(content, list):
        return all(isinstance(part, Mapping) and part.get("type") == "text" for part in content)
    return content is None or isinstance(content, str)


def _split(messages: Sequence[Mapping[str, Json]]) -> tuple[str, str]:
    """The client's last words, and all that stands before them: the system prompt and earlier turns, as they are."""
    last = _text_of(messages[-1].get("content"))
    before = [[message.get("role"), _text_of(message.get("content")), message.get("name")] for message in messages[:-1]]
    return last.strip(), _dumped(before) if before else ""


def _text_of(content: Json) -> str:
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content)
    return content or ""


def _policy(request: Request, simulated_pool: bool) -> str:
    """Everything but the words and the form that makes an answer another one."""
    params = {name: value for name, value in request.params.items() if name not in _NOTHING_TO_THE_ANSWER}
    policy: dict[str, Any] = {
        "target": [request.target.kind, request.target.name],
        "backend": request.backend,
        "strategy": None if request.strategy is None else strategy_json(request.strategy),
        "params": params,
        "rules": request.rules,
        "constraints": constraints_json(request.constraints),
        "simulated": simulated_pool,
    }
    return _dumped(policy)


def _repeat(request: Request, text: str) -> Repeat:
    """Whether a stored answer may be given again as it stands."""
    if _TIMELY.search(text):
        return "no"
    if request.params.get("seed") is not None:
        return "exact"
    if request.count is not None or any(one.kind in STATISTICAL for one in request.constraints):
        return "no"
    if _NEW.search(text) or names_statistics(Work(messages=request.messages)):
        return "no"
    temperature = request.params.get("temperature")
    if temperature is not None and temperature > 0 and request.library != "on":
        return "no"
    return "near"


def _dumped(value: Json) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS, default=dict).decode()


# ── what may be kept ────────────────────────────────────────────────────────────────────────────────────────────────────


def flaw(answer: Answer) -> str:
    """Why an answer must not be kept whoever praises it, or ""."""
    draft = answer.draft
    if answer.library is not None and answer.library.is_hit:
        return "it came from the library"
    if not draft.complete or draft.issues:
        return "it is not complete"
    if draft.finish_reason != "stop":
        return f"it ended by {draft.finish_reason}"
    if (draft.message or {}).get("tool_calls") or len(draft.choices or ()) > 1:
        return "it calls tools, or has several choices"
    return "" if draft.data is not None or draft.text.strip() else "it is empty"


def verified(request: Request, answer: Answer) -> bool:
    """Whether somebody else than its author says that its content is right.

    The right form alone says nothing of what stands in it: a schema without constraints verifies nothing, neither do a program's
    own checks. A plain question is verified by a judge or a person, or not at all.
    """
    verdict = answer.verdict
    if verdict is not None and verdict.source in ("judge", "feedback"):
        return verdict.score >= GOOD
    code = answer.draft.code
    held = bool(request.constraints) or (code is not None and bool(code.constraints))
    return held and request.schema is not None and verdict is not None and verdict.source == "checks" and verdict.score >= 1.0
