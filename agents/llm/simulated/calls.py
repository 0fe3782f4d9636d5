"""One chat call to the simulated server: its body checked, its answers made, before anything is sent. No I/O.

Called by app.py; what is sent of it, and how fast, is delivery.py's business.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Annotated, Any

import orjson
from pydantic import BaseModel, ConfigDict, Field

from agents.llm.simulated.answers import Answer, answer, arguments_for, seed_of
from agents.llm.simulated.faults import Fault
from agents.llm.simulated.profiles import PROFILES, Profile
from agents.llm.simulated.reading import Reading, text_of
from agents.records import Json

CREATED = 1_760_000_000
FINGERPRINT = "simulated"
CHARS_PER_TOKEN = 4
TOKENS_PER_MESSAGE = 4
MAX_MESSAGES = 5000
MAX_N = 8

_Tokens = Annotated[int, Field(ge=1, le=10_000_000)]


class ChatBody(BaseModel):
    """What is read of a chat request; parameters that change nothing here are taken and left."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    model: Annotated[str, Field(min_length=1, max_length=200)]
    messages: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=MAX_MESSAGES)]
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    n: Annotated[int, Field(ge=1, le=MAX_N)] | None = None
    max_tokens: _Tokens | None = None
    max_completion_tokens: _Tokens | None = None
    temperature: Annotated[float, Field(ge=0, le=2, strict=False)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1, strict=False)] | None = None
    seed: int | None = None
    response_format: dict[str, Any] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None

    @property
    def limit(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One choice: its text or its tool call, and why it ended."""

    text: str
    finish_reason: str
    tool_calls: tuple[Mapping[str, Json], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call whose answers are known. ``model`` is the name as it was asked for."""

    model: str
    seed: int
    first_token_s: float
    tokens_per_s: float
    fault: Fault | None
    said: tuple[Said, ...]
    structured: bool
    prompt_tokens: int

    @property
    def usage(self) -> dict[str, int]:
        completion = sum(tokens(one.text) + sum(tokens(str(call)) for call in one.tool_calls) for one in self.said)
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": completion,
            "total_tokens": self.prompt_tokens + completion,
        }

    def head(self, kind: str) -> dict[str, Json]:
        """What every body and every chunk begins with."""
        return {
            "id": f"chatcmpl-sim-{self.seed:016x}",
            "object": kind,
            "created": CREATED,
            "model": self.model,
            "system_fingerprint": FINGERPRINT,
        }


def tokens(text: str) -> int:
    """About four characters each; at least one for a text that is not empty."""
    return math.ceil(len(text) / CHARS_PER_TOKEN)


def prepare(body: ChatBody, profile: Profile, fault: Fault | None, seed: int) -> Call:
    """The call with its answers. The same for the same seed, model, messages and parameters."""
    last = body.messages[-1]
    partial = text_of(last.get("content")) if last.get("role") == "assistant" and len(body.messages) > 1 else ""
    asked: Sequence[Mapping[str, Any]] = body.messages[:-1] if partial else body.messages
    schema, name, json_mode = _form(body.response_format)
    reading = Reading(asked, schema, name)
    tools = None if partial else _tool_calls(body, reading, seed)
    said = []
    structured = False
    for number in range(body.n or 1):
        if tools is not None:
            said.append(Said(text="", finish_reason="tool_calls", tool_calls=tools))
            continue
        own = _seed(seed, profile, asked, body, number)
        made = answer(reading, profile, own, json_mode=json_mode)
        structured = structured or made.structured
        text = _spoiled(made, fault)
        if partial:
            text = _continued(text, partial, reading, body, seed, json_mode)
        said.append(_cut(text, body.limit))
    own = _seed(seed, profile, asked, body, 0)
    first_token_s, tokens_per_s = profile.latency(Random(own))
    return Call(
        model=body.model,
        seed=own,
        first_token_s=first_token_s,
        tokens_per_s=tokens_per_s,
        fault=fault,
        said=tuple(said),
        structured=structured,
        prompt_tokens=sum(tokens(text_of(message.get("content"))) + TOKENS_PER_MESSAGE for message in body.messages),
    )


def _seed(seed: int, profile: Profile, asked: Sequence[Mapping[str, Any]], body: ChatBody, number: int) -> int:
    turns = [{"role": message.get("role"), "content": message.get("content")} for message in asked]
    form = body.response_format
    return seed_of(seed, profile.name, turns, body.temperature, body.top_p, body.seed, form, number)


def _form(form: Mapping[str, Any] | None) -> tuple[Json, str, bool]:
    """(schema, its name, whether JSON of any form is asked for)."""
    if form is None or form.get("type") not in ("json_schema", "json_object"):
        return None, "", False
    inner = form.get("json_schema")
    if form.get("type") == "json_object" or not isinstance(inner, Mapping) or not isinstance(inner.get("schema"), Mapping):
        return None, "", True
    return inner["schema"], str(inner.get("name") or ""), False


def _continued(text: str, partial: str, reading: Reading, body: ChatBody, seed: int, json_mode: bool) -> str:
    """What follows ``partial``: the rest of the own answer, else of that of the model which began it, else the whole answer."""
    if text.startswith(partial):
        return text[len(partial) :]
    for other in PROFILES.values():
        theirs = answer(reading, other, _seed(seed, other, reading.messages, body, 0), json_mode=json_mode).text
        if theirs.startswith(partial):
            return theirs[len(partial) :]
    return text


def _cut(text: str, limit: int | None) -> Said:
    if limit is not None and tokens(text) > limit:
        return Said(text=text[: limit * CHARS_PER_TOKEN], finish_reason="length")
    return Said(text=text, finish_reason="stop")


def _spoiled(made: Answer, fault: Fault | None) -> str:
    """Faults of what a model says, as far as it was to say JSON; for free text they spoil the protocol instead (delivery.py)."""
    if fault is None or not made.structured:
        return made.text
    if fault.name == "truncated_json":
        return made.text[: max(1, len(made.text) * 2 // 3)]
    if fault.name == "invalid_json":
        return made.text.replace('":', '" =')
    return '{"unexpected": [1, 2]}' if fault.name == "wrong_schema" else made.text


def _tool_calls(body: ChatBody, reading: Reading, seed: int) -> tuple[Mapping[str, Json], ...] | None:
    """A call of the tool that is required: the named one, else the one whose words the question shares. None: no tool."""
    choice = body.tool_choice
    if not body.tools or (choice != "required" and not isinstance(choice, dict)):
        return None
    functions = [tool["function"] for tool in body.tools if isinstance(tool.get("function"), dict)]
    named = choice.get("function", {}).get("name") if isinstance(choice, dict) else None
    usable = [one for one in functions if named is None or one.get("name") == named]
    if not usable:
        raise ValueError("tool_choice: names a function that is not among the tools")
    heard = set(reading.asked.lower().split())

    def shared(function: Mapping[str, Any]) -> int:
        about = f"{function.get('name', '')} {function.get('description', '')}".lower().replace("_", " ")
        return len(heard & set(about.split()))

    function = max(usable, key=shared)
    own = seed_of(seed, body.messages, str(function.get("name")))
    arguments = arguments_for(function.get("parameters") or {"type": "object"}, reading, own)
    spoken = {"name": function.get("name"), "arguments": orjson.dumps(arguments).decode()}
    return ({"id": f"call_{own:016x}", "type": "function", "function": spoken},)
