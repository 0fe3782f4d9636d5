"""The chat protocol in small: a backend, a request, an answer, and the events of a stream."""

from __future__ import annotations

from typing import Any

import orjson

from agents.llm.chat import BackendSpec, ChatRequest

SPEC = BackendSpec(name="b", base_url="http://127.0.0.1:9/v1", model="m", api_key="sk-very-secret")
REQUEST = ChatRequest(messages=({"role": "user", "content": "12345678"},))
ANSWER: dict[str, Any] = {
    "model": "m-2",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 7, "completion_tokens": 2},
}
DONE = b"data: [DONE]\n\n"


def spec(**fields: Any) -> BackendSpec:
    return BackendSpec(name="b", base_url="http://127.0.0.1:9/v1", model="m", **fields)


def event(content: str | None = None, finish: str | None = None, **more: Any) -> bytes:
    delta = {} if content is None else {"content": content}
    return b"data: " + orjson.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}) + b"\n\n"
