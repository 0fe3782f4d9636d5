"""What nodes say to each other through the daemon: a question, its answer, an announcement.

Made by hub.py, heard by dispatch.py, which lays them into the trace of the request that they belong to and tells them on the
event stream. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from agents.calls import CallRecord, cost_usd_of
from agents.records import Json

MessageKind = Literal["ask", "answer", "announce"]
MAX_TEXT_CHARS: Final = 400
"""Of each message this much is in the trace; the calls of the models have the rest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message in the work of ``task_id``: ``asking`` asks or announces (empty: the node that has the request's own task),
    ``asked`` is its peer. ``calls`` are what the answer took, in ``latency_s`` seconds; one that failed has an ``error``."""

    kind: MessageKind
    task_id: str
    asking: str = ""
    asked: str = ""
    text: str = ""
    calls: Sequence[CallRecord] = ()
    error: str | None = None
    latency_s: float | None = None


def in_trace(message: Message, *, node: str | None) -> dict[str, Json]:
    """``message`` as a trace shows it; ``node`` has the request's own task."""
    text = message.text if len(message.text) <= MAX_TEXT_CHARS else message.text[: MAX_TEXT_CHARS - 1] + "…"
    return {**on_board(message, node=node), "text": text}


def on_board(message: Message, *, node: str | None) -> dict[str, Json]:
    """``message`` as the event stream tells it: who, how long, at what cost, and none of its words."""
    said: dict[str, Json] = {"message": message.kind, "asking": message.asking or node, "asked": message.asked or None}
    if message.kind == "answer":
        said |= {
            "error": message.error,
            "latency_s": message.latency_s,
            "calls": len(message.calls),
            "cost_usd": cost_usd_of(message.calls),
        }
    return {**said, "characters": len(message.text)}
