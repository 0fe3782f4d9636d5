"""The mailbox: where nodes leave what they want of the daemon, and the daemon picks it up.

An actor cannot call a driver, so nodes call this actor and the daemon drains it by long poll (docs/adr/001-mailbox-hub.md). The
class knows neither nodes nor Ray; cluster.py makes the actor of it. It holds no state that matters: when it dies Ray starts it
again empty, nodes send again under the same call id, and hub_server.py answers a call id once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from agents.calls import CallRecord, Permit
from agents.records import AgentError, Overloaded

MAX_WAITING = 20_000
"""Calls that may wait for the daemon; more are refused."""

Method = Literal["lease", "embed", "search_code", "ask_peer", "announce", "pooled_design", "convene", "dissolve"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A node asks the daemon for something and waits. ``host`` names the actor it comes from."""

    call_id: str
    host: str
    method: Method
    args: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdraw:
    """A node no longer wants the answer to a call."""

    call_id: str
    host: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A node gives a permit back. Nobody waits for it."""

    host: str
    permit: Permit
    record: CallRecord | None


Message = Call | Withdraw | Release


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the daemon says to a call: a value, or an AgentError as ``error``."""

    call_id: str
    value: Any = None
    error: AgentError | None = None


class Mailbox:
    """One per daemon. ``ask`` and ``post`` are for nodes, ``take`` and ``deliver`` for the daemon."""

    def __init__(self) -> None:
        self._queue: list[Message] = []
        self._waiting: dict[str, asyncio.Future[Answer]] = {}
        self._arrived = asyncio.Event()

    async def ready(self) -> bool:
        return True

    async def ask(self, call: Call) -> Answer:
        """Leave a call and wait for its answer."""
        if len(self._waiting) >= MAX_WAITING:
            return Answer(call_id=call.call_id, error=Overloaded("too many calls wait for the daemon", retry_after_s=1.0))
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[call.call_id] = answer
        self._put([call])
        try:
            return await answer
        finally:
            self._waiting.pop(call.call_id, None)

    async def post(self, messages: Sequence[Message]) -> None:
        """Leave messages that nobody waits for. Never refused: a lost release would hold a permit for good."""
        self._put(messages)

    async def take(self, answers: Sequence[Answer], wait_s: float) -> list[Message]:
        """Deliver ``answers``, then return what has arrived, after at most ``wait_s`` seconds of waiting for it."""
        await self.deliver(answers)
        if not self._queue:
            self._arrived.clear()
            try:
                await asyncio.wait_for(self._arrived.wait(), wait_s)
            except TimeoutError:
                return []
        taken, self._queue = self._queue, []
        return taken

    async def deliver(self, answers: Sequence[Answer]) -> None:
        """Hand answers to those who wait for them; an answer that nobody waits for is dropped."""
        for answer in answers:
            waiting = self._waiting.get(answer.call_id)
            if waiting is not None and not waiting.done():
                waiting.set_result(answer)

    def _put(self, messages: Sequence[Message]) -> None:
        self._queue.extend(messages)
        self._arrived.set()
