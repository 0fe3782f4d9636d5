"""Asking for JSON of a schema: ask, extract, validate, and one repair round with the validator's words.

Called by toolboxes; ``ask`` is whatever reaches a model (a pool, a node's toolbox, a fake). Knows nothing of HTTP: how a backend
is told the schema is wire.py's business. Code is never asked for in JSON.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import replace

import orjson

from agents.llm import prompts
from agents.llm.chat import ChatReply, ChatRequest
from agents.records import InvalidRequest, Json, StructuredFailed
from agents.schema_check import Validator, compile_schema
from agents.toolbox import Structured

MAX_TEXT_CHARS = 8 * 2**20
MAX_DEPTH = 64
MAX_CANDIDATES = 64
MAX_PROBLEMS = 8
MAX_PROBLEM_CHARS = 240
MAX_QUOTED_CHARS = 16_000
"""How much of a wrong answer is shown to the model again."""

_THOUGHT = re.compile(r"\A\s*<think>.*?</think>", re.S)
_FENCE = re.compile(r"```[A-Za-z0-9_-]*[ \t]*\r?\n(.*?)```", re.S)
_OPEN = re.compile(r"[{\[]")
_TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[{}\[\]"]', re.S)


async def ask_structured(ask: Callable[[ChatRequest], Awaitable[ChatReply]], request: ChatRequest) -> Structured:
    """JSON that is valid against ``request.schema`` (required), with at most one repair round.

    Raises InvalidRequest for a missing or impossible schema, StructuredFailed (``partial``: the best JSON that came, or None)
    when the second answer is wrong too, and whatever ``ask`` raises.
    """
    if request.schema is None:
        raise InvalidRequest("a structured answer needs a schema", param="schema")
    # A wrong format is left to the strategies' checks, which may correct it; here it would cost the whole answer.
    validator = compile_schema(request.schema, formats=False, param="schema")
    reply = await ask(request)
    data, problems = _judge(validator, reply)
    if not problems:
        return Structured(data=data, reply=reply)
    second = await ask(_repair(request, reply, problems))
    repaired, still = _judge(validator, second)
    if not still:
        return Structured(data=repaired, reply=second, repaired=True)
    partial = repaired if repaired is not None else data
    raise StructuredFailed(
        f"no valid answer after a repair round: {'; '.join(still)}", partial=partial, backend=second.backend or None
    )


def extract_json(text: str) -> Json:
    """The JSON value in a model's answer: the whole text, a fenced block, or the longest value within prose.

    Raises ValueError when there is none, when it is cut short, too deep or too long. NaN and Infinity are no JSON. Parts of a
    broken value are never taken for the answer.
    """
    if len(text) > MAX_TEXT_CHARS:
        raise ValueError(f"the answer is longer than {MAX_TEXT_CHARS} characters")
    text = _THOUGHT.sub("", text).strip().lstrip("\ufeff")
    if not text:
        raise ValueError("the answer is empty")
    for candidate in (text, *(match[1].strip() for match in _FENCE.finditer(text))):
        try:
            return _parse(candidate)
        except orjson.JSONDecodeError:
            continue
    return _longest(text)


def _longest(text: str) -> Json:
    found: list[tuple[int, Json]] = []
    place = 0
    words = "the answer holds no JSON"
    for _ in range(MAX_CANDIDATES):
        start = _OPEN.search(text, place)
        if start is None:
            break
        end = _end_of(text, start.start())
        if end is None:
            words = "the JSON of the answer is cut short"
            break
        try:
            found.append((end - start.start(), _parse(text[start.start() : end])))
        except orjson.JSONDecodeError as error:
            words = f"the answer is not valid JSON: {error}"
        place = end
    if not found:
        raise ValueError(words)
    return max(found, key=lambda pair: pair[0])[1]


def _end_of(text: str, start: int) -> int | None:
    """Where the bracket that opens at ``start`` closes (the index after it); None when it never does."""
    depth = 0
    for token in _TOKEN.finditer(text, start):
        mark = token[0]
        if mark == '"':
            return None
        if mark in "{[":
            depth += 1
        elif mark in "}]":
            depth -= 1
            if depth == 0:
                return token.end()
    return None


def _parse(text: str) -> Json:
    value = orjson.loads(text)
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise ValueError(f"the answer is nested deeper than {MAX_DEPTH} levels")
        level = [inner for outer in level for inner in _inner(outer) if isinstance(inner, dict | list)]
    return value


def _inner(value: Json) -> list[Json]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _judge(validator: Validator, reply: ChatReply) -> tuple[Json, list[str]]:
    try:
        data = extract_json(reply.text)
    except ValueError as error:
        cut = " (the answer hit its length limit)" if reply.finish_reason == "length" else ""
        return None, [f"{error}{cut}"[:MAX_PROBLEM_CHARS]]
    if validator.is_valid(data):
        return data, []
    places = validator.places(data, limit=MAX_PROBLEMS)
    problems = [f"at {'/'.join(map(str, path)) or 'the whole value'}: {words}"[:MAX_PROBLEM_CHARS] for path, words in places]
    return data, problems or ["it is not valid against the schema"]


def _repair(request: ChatRequest, reply: ChatReply, problems: list[str]) -> ChatRequest:
    quoted = reply.text[:MAX_QUOTED_CHARS] or "(nothing)"
    words = prompts.render("repair", problems="\n".join(f"- {problem}" for problem in problems))
    turns = ({"role": "assistant", "content": quoted}, {"role": "user", "content": words})
    return replace(request, messages=(*request.messages, *turns))
