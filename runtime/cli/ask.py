"""``morphogen ask``: one question to the daemon, streamed as it comes, with a line that says where the answer is from.

Called by main.py. Speaks OpenAI's surface, as any client would, and the native one where that is not enough (a strategy as JSON,
an answer for later).
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runtime.cli import client, jobs, tables
from runtime.cli.errors import CliError

Json = Any
MAX_PROMPT_BYTES = 8 * 2**20
CHAT = "/v1/chat/completions"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What the command line asked for. ``shape`` is an example of the answer or a JSON Schema, parsed."""

    prompt: str
    model: str = "auto"
    shape: Json | None = None
    count: int | None = None
    system: str | None = None
    strategy: Json | None = None
    later: bool = False

    def native(self) -> dict[str, Json]:
        """The body of POST /v1/requests."""
        fields = ("prompt", "model", "shape", "count", "system", "strategy")
        return {name: value for name in fields if (value := getattr(self, name)) is not None}

    def body(self, *, stream: bool) -> dict[str, Json]:
        """OpenAI's request; shape and count travel in the ``morphogen`` extension."""
        messages = [{"role": "system", "content": self.system}] if self.system else []
        messages.append({"role": "user", "content": self.prompt})
        own = {name: value for name, value in (("shape", self.shape), ("count", self.count)) if value is not None}
        body: dict[str, Json] = {"model": self.model, "messages": messages}
        if own:
            body["morphogen"] = own
        if stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return body


@dataclass(slots=True, kw_only=True)
class Heard:
    """What a stream has said so far."""

    text: list[str] = field(default_factory=list)
    about: dict[str, Json] = field(default_factory=dict)
    usage: dict[str, Json] = field(default_factory=dict)

    def take(self, chunk: Json) -> str:
        """Take one chunk in; gives the text that it adds."""
        self.about |= chunk.get("morphogen") or {}
        self.usage |= chunk.get("usage") or {}
        if chunk.get("system_fingerprint") == "simulated":
            self.about.setdefault("simulated", True)
        added = ""
        for choice in chunk.get("choices") or ():
            if not choice.get("index"):
                added += (choice.get("delta") or {}).get("content") or ""
        if added:
            self.text.append(added)
        return added


def run(question: Question, *, as_json: bool) -> None:
    """Ask and print: text as it streams, a shaped answer as indented JSON, or with ``as_json`` the daemon's whole reply."""
    with client.open_client() as daemon:
        if question.later:
            jobs.submit(daemon, question.native(), as_json=as_json)
            return
        if question.strategy is not None:
            _native(daemon, question, as_json=as_json)
            return
        if as_json:
            tables.print_json(daemon.post(CHAT, question.body(stream=False)))
            return
        began = time.monotonic()
        heard = Heard()
        ask = _stream if question.shape is None else _whole
        try:
            ask(daemon, question, heard)
        finally:
            if heard.text or heard.about:  # also where it broke off: what was printed must not pass for real
                footer = footer_of(heard.about, latency_s=time.monotonic() - began, url=daemon.url)
                tables.console(stderr=True).print(footer, style="dim", soft_wrap=True)


def _stream(daemon: client.Client, question: Question, heard: Heard) -> None:
    try:
        for chunk in daemon.events(CHAT, question.body(stream=True)):
            sys.stdout.write(tables.printable(heard.take(chunk)))
            sys.stdout.flush()
    finally:
        if heard.text and not heard.text[-1].endswith("\n"):
            sys.stdout.write("\n")


def _whole(daemon: client.Client, question: Question, heard: Heard) -> None:
    # A spinner on stderr only: stdout holds the JSON and nothing else.
    what = f"{question.count} items" if question.count else "an answer of that shape"
    with tables.console(stderr=True).status(f"Waiting for {what} …"):
        reply = daemon.post(CHAT, question.body(stream=False))
    text = reply["choices"][0]["message"].get("content") or ""
    heard.text.append(text)
    heard.about |= reply.get("morphogen") or {}
    try:
        tables.print_json(json.loads(text))
    except ValueError:
        sys.stdout.write(tables.printable(text) + "\n")


def _native(daemon: client.Client, question: Question, *, as_json: bool) -> None:
    """A strategy as JSON goes through the native surface."""
    with tables.console(stderr=True).status("Waiting for the answer …"):
        reply = daemon.post(jobs.REQUESTS, question.native())
    if as_json:
        tables.print_json(reply)
        return
    answer = reply.get("answer") or {}
    if "data" in answer:
        tables.print_json(answer["data"])
    else:
        sys.stdout.write(tables.printable(str(answer.get("text") or "")) + "\n")
    footer = footer_of(reply, latency_s=reply.get("latency_s") or 0.0, url=daemon.url)
    tables.console(stderr=True).print(footer, style="dim", soft_wrap=True)


def read_strategy(argument: str | None) -> Json | None:
    """``--strategy``: a name, JSON, or ``@FILE`` that holds it. Raises CliError(exit 2)."""
    if argument is None or not argument.lstrip().startswith(("{", "@")):
        return argument
    return read_json(argument, option="--strategy", example='{"pipeline": [{"single": {}}]}')


def footer_of(about: dict[str, Json], *, latency_s: float, url: str = client.DEFAULT_URL) -> str:
    """The line under an answer: whether it is simulated, by which backend, what it cost, how to ask why."""
    parts = ["SIMULATED"] if about.get("simulated") else []
    parts += [str(about[name]) for name in ("backend", "strategy") if about.get(name)]
    if about.get("node"):
        parts.append(f"node {about['node']}")
    if about.get("cost_usd") is not None:
        estimated = "≈ " if about.get("usage_estimated") else ""
        parts.append(estimated + tables.usd(about["cost_usd"]))
    parts.append(tables.seconds(latency_s))
    if about.get("complete") is False:
        parts.append("INCOMPLETE")
    if about.get("id"):
        parts.append(f"why: morphogen trace {about['id']}")
    return " · ".join(tables.printable(part) for part in parts)


def read_prompt(words: list[str]) -> str:
    """The question: the words, or stdin for ``-``. Raises CliError(exit 2) when there is none or it is too long."""
    if words == ["-"]:
        raw = sys.stdin.buffer.read(MAX_PROMPT_BYTES + 1)
        if len(raw) > MAX_PROMPT_BYTES:
            raise CliError(f"stdin holds more than {MAX_PROMPT_BYTES} bytes", exit_code=2)
        text = raw.decode("utf-8", errors="replace")
    else:
        text = " ".join(words)
    if not text.strip():
        raise CliError(
            "There is no question", hint='morphogen ask "Why is the sky blue?"   or   … | morphogen ask -', exit_code=2
        )
    return text


def read_shape(argument: str | None) -> Json | None:
    """``--shape``: JSON, or ``@FILE`` that holds it. Raises CliError(exit 2) that says where it is not JSON."""
    return (
        None if argument is None else read_json(argument, option="--shape", example='{"users": [{"name": "string", "age": 0}]}')
    )


def read_json(argument: str, *, option: str, example: str) -> Json:
    """The JSON of ``option``, or of the file that ``@FILE`` names. Raises CliError(exit 2)."""
    text, source = argument, option
    if argument.startswith("@"):
        source = argument[1:]
        try:
            text = Path(source).expanduser().read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise CliError(f"{option}: {source} cannot be read: {error}", exit_code=2) from None
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        hint = f"Example: {option} '{example}'   or {option} @file.json"
        raise CliError(f"{source} is not JSON: {error}", hint=hint, exit_code=2) from None
