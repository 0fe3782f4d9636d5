"""The most that one call may cost in tokens, known before it is made: what is reserved for it. Pure.

Called by pool.py for every call while a budget is in force, and by the daemon for the call that opens a task. Money is no
business of this room: who reserves knows the prices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import orjson

from agents.calls import CallCost
from agents.llm.chat import BackendSpec, ChatRequest
from agents.llm.wire import content_text
from agents.records import Json

CHARS_PER_TOKEN_AT_LEAST = 3
"""English takes about four characters a token, code and figures fewer: the reservation counts with three."""
BYTES_PER_TOKEN_AT_LEAST = 2
"""The same for other scripts, in bytes of UTF-8."""
MESSAGE_TOKENS = 8
"""What a chat template wraps around a message, at most."""
SCHEMA_TOKENS = 150
"""The instruction that goes with a schema where the backend takes none."""
ATTACHMENT_TOKENS = 2_000
"""An image or a sound."""
LEAST_TOKENS = 64
"""An answer is never cut below this, or a quarter of its cap where that is more, to fit what is left of a budget."""

_ADDED = ("tools", "functions", "response_format")
_CAPS = ("max_completion_tokens", "max_tokens")


def worst_case(spec: BackendSpec, request: ChatRequest, *, assumed_tokens: int) -> CallCost:
    """What ``request`` may cost at ``spec``; ``assumed_tokens`` completion tokens where nothing else caps them."""
    caps = [cap for name in _CAPS if isinstance(cap := request.params.get(name), int) and cap > 0]
    cap = max(caps, default=spec.max_output_tokens or assumed_tokens)
    for bound in (spec.max_output_tokens, spec.context_tokens):
        cap = cap if bound is None else min(cap, bound)
    n = request.params.get("n")
    choices = n if isinstance(n, int) and n > 0 else 1
    return CallCost(
        prompt_tokens=prompt_tokens(request),
        completion_tokens=cap * choices,
        least_tokens=min(cap, max(LEAST_TOKENS, cap // 4)) * choices,
    )


def embed_cost(texts: Sequence[str]) -> CallCost:
    """What embedding ``texts`` may cost."""
    return CallCost(prompt_tokens=sum(_tokens(text) + 2 for text in texts))


def prompt_tokens(request: ChatRequest) -> int:
    """Tokens of the prompt, rather too many than too few. A backend's tokenizer may still count more."""
    total = sum(_message(message) for message in request.messages)
    total += sum(_tokens(_dumped(request.params[name])) for name in _ADDED if request.params.get(name))
    if request.schema is not None:
        total += SCHEMA_TOKENS + _tokens(_dumped(request.schema))
    return total


def covers(reserved: CallCost | None, needed: CallCost) -> bool:
    """Whether what was reserved ahead is enough for a call that needs ``needed``, its answer cut at most to its least."""
    return (
        reserved is not None
        and reserved.prompt_tokens >= needed.prompt_tokens
        and reserved.completion_tokens >= needed.least_tokens
    )


def capped(request: ChatRequest, granted: CallCost) -> ChatRequest:
    """``request`` with its answer capped at what was reserved, so that the reservation is an upper bound."""
    n = request.params.get("n")
    cap = max(1, granted.completion_tokens // (n if isinstance(n, int) and n > 0 else 1))
    named = [name for name in _CAPS if isinstance(request.params.get(name), int)] or ["max_tokens"]
    changed = {name: min(cap, request.params.get(name) or cap) for name in named}
    if all(request.params.get(name) == value for name, value in changed.items()):
        return request
    return replace(request, params={**request.params, **changed})


def _message(message: Mapping[str, Json]) -> int:
    content = message.get("content")
    count = MESSAGE_TOKENS + _tokens(content_text(content))
    if isinstance(content, list):
        others = sum(not (isinstance(part, Mapping) and part.get("type") == "text") for part in content)
        count += ATTACHMENT_TOKENS * others
    if message.get("tool_calls"):
        count += _tokens(_dumped(message["tool_calls"]))
    return count


def _tokens(text: str) -> int:
    if text.isascii():
        return -(-len(text) // CHARS_PER_TOKEN_AT_LEAST)
    return -(-len(text.encode("utf-8", "replace")) // BYTES_PER_TOKEN_AT_LEAST)


def _dumped(value: Json) -> str:
    try:
        return orjson.dumps(value, default=str).decode()
    except TypeError:
        return str(value)
