"""A request as the learner sees it. Called by desk.py. Pure; some tenths of a millisecond at the most."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

import numpy as np
import numpy.typing as npt

from agents.records import Json, Work
from agents.strategies.complexity import complexity
from agents.strategies.problem import classify
from runtime.open_request import OpenRequest
from runtime.records import Request
from runtime.routing.features import READ_CHARS, SHAPE, SHAPE_SCALE, extra_of, point
from runtime.routing.records import Context
from runtime.topology.shape import Member

KIND_CHARS: Final = 500


def text_of(messages: Sequence[Mapping[str, Json]]) -> str:
    """The words of the last user message."""
    for message in reversed(messages):
        if message.get("role") == "user":
            return _words(message.get("content"))
    return _words(messages[-1].get("content")) if messages else ""


def kind_of(work: Work, text: str) -> str:
    """Pattern, computational or hybrid, by its form and its first words: to read all of a long text takes milliseconds."""
    return classify(replace(work, messages=({"role": "user", "content": text[:KIND_CHARS]},))).kind


def context_of(run: OpenRequest, *, load: float, now: float, locale: str | None = None) -> Context:
    """Shape, complexity, kind, tools, schema, load (0 to 1), the hour (UTC) and, where it is at hand, the embedding."""
    request = run.request
    text = text_of(request.messages)
    read = Work(
        messages=({"role": "user", "content": text[:READ_CHARS]},),
        schema=request.schema,
        count=request.count,
        rules=request.rules,
        constraints=request.constraints,
    )
    tools = request.params.get("tools")
    moment = datetime.fromtimestamp(now, UTC)
    extra = extra_of(
        complexity=complexity(read).score / 10,
        tools=len(tools) if isinstance(tools, list) else 0,
        schema=request.schema is not None,
        load=load,
        hour=moment.hour + moment.minute / 60,
        kind=kind_of(read, text),
    )
    return Context(point=point(text, run.embedding, extra), pattern=run.pattern, locale=locale)


def locale_of(run: OpenRequest, members: Iterable[Member]) -> str | None:
    """The neighbourhood that a request belongs to: that of the node it names, else of whom its pattern is the speciality of."""
    target = run.request.target
    for member in members:
        if member.spec.name == target.name if target.kind == "node" else run.pattern in member.patterns:
            return member.spec.locale
    return None


def facts_of(at: npt.NDArray[np.float32]) -> tuple[float, ...]:
    """The readable part of a point, (SHAPE,): each about 0 with a spread of about 1."""
    return tuple(round(float(value), 2) for value in at[:SHAPE] / SHAPE_SCALE)


def conversation_of(request: Request) -> tuple[str, bool]:
    """(the conversation's name, whether it goes on): its key and all up to its first user message; it goes on where a model has
    spoken already."""
    digest = hashlib.blake2b((request.key_id or "").encode("utf-8", "replace"), digest_size=16)
    for message in request.messages:
        words = f"\x1f{message.get('role')}\x1f{_words(message.get('content'))}"
        digest.update(words.encode("utf-8", "replace"))
        if message.get("role") == "user":
            break
    return digest.hexdigest(), any(message.get("role") == "assistant" for message in request.messages)


def _words(content: Json) -> str:
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))
    return content if isinstance(content, str) else ""
