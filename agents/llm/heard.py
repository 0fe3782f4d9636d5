"""A streamed answer, put together again from its chunks. Pure. Called by task_toolbox.py."""

from __future__ import annotations

from agents.calls import Usage
from agents.llm.chat import ChatReply, Chunk
from agents.records import Json

PLAIN = frozenset({"role", "content"})
"""The fields of a delta that is nothing but text."""


class Heard:
    """What ``chat`` would have returned."""

    def __init__(self) -> None:
        self._messages: dict[int, dict[str, Json]] = {}
        self._texts: dict[int, list[str]] = {}
        self._finish: dict[int, str] = {}
        self._usage = Usage()
        self._model = ""

    def feed(self, chunk: Chunk) -> None:
        self._usage, self._model = chunk.usage or self._usage, chunk.model or self._model
        if chunk.finish_reason:
            self._finish[chunk.index] = chunk.finish_reason
        if chunk.text:
            self._texts.setdefault(chunk.index, []).append(chunk.text)
        message = self._messages.setdefault(chunk.index, {"role": "assistant", "content": None})
        for key, value in (chunk.delta or {}).items():
            if key == "tool_calls" and isinstance(value, list):
                _add_tool_calls(message.setdefault("tool_calls", []), value)
            elif key not in PLAIN and value is not None:
                both = isinstance(value, str) and isinstance(message.get(key), str)
                message[key] = message[key] + value if both else value

    def reply(self) -> ChatReply:
        choices: tuple[dict[str, Json], ...] = tuple(
            {"index": index, "message": self._whole(index), "finish_reason": self._finish.get(index, "stop")}
            for index in sorted(self._messages)
        )
        first: dict[str, Json] = (
            choices[0] if choices else {"message": {"role": "assistant", "content": ""}, "finish_reason": "stop"}
        )
        return ChatReply(
            text="".join(self._texts.get(0, ())),
            model=self._model,
            usage=self._usage,
            finish_reason=first["finish_reason"],
            message=first["message"],
            choices=choices,
        )

    def _whole(self, index: int) -> dict[str, Json]:
        text = "".join(self._texts.get(index, ()))
        message = self._messages[index]
        return {**message, "content": text if text or "tool_calls" not in message else None}


def _add_tool_calls(calls: list[dict[str, Json]], deltas: list[Json]) -> None:
    """Tool calls come in pieces: the first names the call, the others lengthen its arguments. ``index`` says which one."""
    for delta in deltas:
        if not isinstance(delta, dict):
            continue
        place = delta.get("index", len(calls))
        place = place if isinstance(place, int) and 0 <= place < len(calls) else len(calls)
        if place == len(calls):
            calls.append({"id": None, "type": "function", "function": {"name": "", "arguments": ""}})
        call, function = calls[place], delta.get("function") or {}
        call["id"], call["type"] = delta.get("id") or call["id"], delta.get("type") or call["type"]
        for key in ("name", "arguments"):
            call["function"][key] += function.get(key) or ""
