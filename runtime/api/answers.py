"""How an answer is shown: our headers, and OpenAI's completion, chunk and error bytes.

Called by openai.py and mock.py. Pure but for reading backends' limits from the service; must not await anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from agents.records import Draft, Json
from runtime.api.errors import Fault, error_body
from runtime.api.wire import dumps, header_value, mark, usd
from runtime.jobs.views import library_view
from runtime.records import Answer, Service, Target


def answer_headers(answer: Answer, service: Service) -> dict[str, str]:
    """What came of a request, as headers; ``x-ratelimit-*`` where its backend has a limit."""
    backend = answer.backend
    headers = {
        "x-morphogen-request-id": answer.request_id,
        "x-morphogen-backend": header_value(backend),
        "x-morphogen-strategy": header_value(answer.strategy),
        "x-morphogen-cost-usd": usd(answer.cost_usd),
        "x-morphogen-attempts": str(answer.attempts),
    }
    if answer.node is not None:
        headers["x-morphogen-node"] = header_value(answer.node)
    if answer.library is not None:
        headers["x-morphogen-library"] = answer.library.result
    headers |= mark(simulated=answer.simulated)
    headers.update(rate_limit_headers(backend, service))
    return headers


def only_simulated(target: Target, service: Service) -> bool:
    """Whether none but simulated backends can answer ``target``: what a stream can say of itself before it begins."""
    statuses = service.backends()
    if target.kind == "backend":
        named = [status for status in statuses if target.name == status.spec.name or target.name in status.spec.aliases]
        if named:
            return named[0].spec.simulated
    return bool(statuses) and all(status.spec.simulated for status in statuses)


def rate_limit_headers(backend: str, service: Service) -> dict[str, str]:
    """OpenAI's ``x-ratelimit-*`` of one backend; empty where it has no limit of requests."""
    if not any(found.requests_per_minute for found in service.settings.backends):
        return {}
    for status in service.backends():
        if status.spec.name != backend or not status.spec.requests_per_minute:
            continue
        headers = {"x-ratelimit-limit-requests": str(status.spec.requests_per_minute)}
        if status.remaining_requests is not None:
            headers["x-ratelimit-remaining-requests"] = str(status.remaining_requests)
        if status.reset_s is not None:
            headers["x-ratelimit-reset-requests"] = f"{max(0.0, status.reset_s):.3f}s"
        return headers
    return {}


def extension(answer: Answer) -> dict[str, Json]:
    """The ``morphogen`` object of a body or of a stream's last chunk."""
    return {
        "id": answer.request_id,
        "backend": answer.backend,
        "node": answer.node,
        "strategy": answer.strategy,
        "attempts": answer.attempts,
        "cost_usd": answer.cost_usd,
        "simulated": answer.simulated,
        "complete": answer.draft.complete,
        "issues": list(answer.draft.issues),
        "quality": None if answer.verdict is None else {"score": answer.verdict.score, "source": answer.verdict.source},
        "usage_estimated": answer.usage.estimated,
        "library": library_view(answer.library),
    }


def usage_body(answer: Answer) -> dict[str, int]:
    usage = answer.usage
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
    }


def choices_of(draft: Draft) -> list[Mapping[str, Json]]:
    """The draft as OpenAI's choices: the backend's own where there are any, so that nothing it said is lost."""
    if draft.choices:
        return [{"index": index, **choice} for index, choice in enumerate(draft.choices)]
    message = {"role": "assistant", "content": draft.text, "refusal": None}
    if draft.message:
        message |= draft.message
    return [{"index": 0, "message": message, "logprobs": None, "finish_reason": draft.finish_reason}]


def completion(answer: Answer, *, model: str, created: int) -> bytes:
    """A whole ``chat.completion`` as bytes."""
    return dumps(
        {
            "id": f"chatcmpl-{answer.request_id}",
            "object": "chat.completion",
            "created": created,
            "model": model,
            "choices": choices_of(answer.draft),
            "usage": usage_body(answer),
            "system_fingerprint": "simulated" if answer.simulated else None,
            "morphogen": extension(answer),
        }
    )


def sse_error(fault: Fault) -> bytes:
    """An error in mid-stream. No ``[DONE]`` follows it."""
    return b"data: " + dumps(error_body(fault)) + b"\n\n"


class ChunkWriter:
    """The chunks of one streamed completion. Keeps count of which choices have been opened, so that each gets its role once."""

    DONE = b"data: [DONE]\n\n"

    def __init__(self, *, request_id: str, model: str, created: int, simulated: bool) -> None:
        self._base: dict[str, Any] = {
            "id": f"chatcmpl-{request_id}",
            "object": "chat.completion.chunk",
            "created": created,
            "model": model,
            "system_fingerprint": "simulated" if simulated else None,
        }
        # Everything before the text of a plain delta is the same for the whole stream.
        self._text_head = b"data: " + orjson.dumps(self._base)[:-1] + b',"choices":[{"index":0,"delta":{"content":'
        self._text_tail = b'},"logprobs":null,"finish_reason":null}]}\n\n'
        self._opened: set[int] = set()
        self._said = False

    def delta(self, data: Mapping[str, Json]) -> bytes:
        """The chunk (or chunks) of one ``delta`` event: ``{"text"}`` or ``{"raw", "index"}``."""
        raw = data.get("raw")
        index = int(data.get("index") or 0)
        head = self._open(index)
        self._said = True
        if raw is None and index == 0:
            return head + self._text_head + dumps(str(data.get("text") or "")) + self._text_tail
        delta = {"content": data.get("text") or ""} if raw is None else {k: v for k, v in raw.items() if k != "role"}
        return head + self._chunk(index, delta, None)

    def finish(self, answer: Answer, *, include_usage: bool) -> Iterator[bytes]:
        """What ends a stream that went well: what was not streamed, the finish reasons, the usage, ``[DONE]``."""
        if not self._said:
            yield from self._whole(answer)
        choices = choices_of(answer.draft)
        for number, choice in enumerate(choices):
            index = int(choice.get("index") or 0)
            last = number == len(choices) - 1
            extra = {"morphogen": extension(answer)} if last else {}
            yield self._open(index) + self._chunk(index, {}, choice.get("finish_reason") or "stop", answer=answer, **extra)
        if include_usage:
            yield b"data: " + dumps({**self._base, "choices": [], "usage": usage_body(answer)}) + b"\n\n"
        yield self.DONE

    def _whole(self, answer: Answer) -> Iterator[bytes]:
        """An answer of which nothing was streamed (it was checked as a whole first) as one delta a choice."""
        for choice in choices_of(answer.draft):
            index = int(choice.get("index") or 0)
            message = choice.get("message") or {}
            delta = {key: value for key, value in message.items() if key != "role" and value is not None}
            if isinstance(delta.get("tool_calls"), list):
                delta["tool_calls"] = [{"index": place, **call} for place, call in enumerate(delta["tool_calls"])]
            yield self._open(index) + self._chunk(index, delta, None)

    def _open(self, index: int) -> bytes:
        if index in self._opened:
            return b""
        self._opened.add(index)
        return self._chunk(index, {"role": "assistant", "content": ""}, None)

    def _chunk(
        self, index: int, delta: Mapping[str, Json], reason: Json, *, answer: Answer | None = None, **extra: Json
    ) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}
        body = {**self._base, "choices": [choice], **extra}
        if answer is not None and answer.simulated:
            body["system_fingerprint"] = "simulated"
        return b"data: " + dumps(body) + b"\n\n"
