"""The daemon's side of the mailbox: takes what nodes left there, asks the real hub, brings the answers.

Started by cluster.py, which also says when an actor is gone. A call id is answered once, however often it is sent; calls of an
actor that is gone are ended, and what it may still have left in the mailbox is ignored, but for the permits it gave back.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from ray.exceptions import RayError

from agents.records import AgentError
from agents.toolbox import Hub
from runtime.ray_cluster.mailbox import Answer, Call, Message, Method, Release, Withdraw

_log = logging.getLogger(__name__)

POLL_S = 10.0
"""How long one ``take`` waits in the mailbox."""
KEPT_ANSWERS = 1024
"""Answers kept for calls that are sent again after the mailbox died."""
_MADE_AGAIN = frozenset({"embed", "search_code"})
"""Their answers are large, and made again instead."""
KEPT_GONE = 4096
"""Names of gone actors whose late messages are ignored."""
MAX_BACKOFF_S = 5.0


class HubServer:
    """Serves one hub to all nodes of one daemon. ``start`` and ``stop`` are idempotent."""

    def __init__(self, *, hub: Hub, mailbox: Any) -> None:
        self._hub = hub
        self._mailbox = mailbox
        self._serving: dict[str, tuple[str, asyncio.Task[Any]]] = {}
        self._answered: OrderedDict[str, Answer] = OrderedDict()
        self._gone: OrderedDict[str, None] = OrderedDict()
        self._outbox: list[Answer] = []
        self._stirred = asyncio.Event()
        self._loops: list[asyncio.Task[None]] = []

    def start(self) -> None:
        if not self._loops:
            self._loops = [asyncio.create_task(self._take_forever()), asyncio.create_task(self._deliver_forever())]

    async def stop(self) -> None:
        tasks = [*self._loops, *(task for _, task in self._serving.values())]
        self._loops = []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def forget(self, host: str) -> None:
        """The actor ``host`` is gone: end what is being done for it. Idempotent."""
        self._gone[host] = None
        while len(self._gone) > KEPT_GONE:
            self._gone.popitem(last=False)
        for owner, task in list(self._serving.values()):
            if owner == host:
                task.cancel()

    async def _take_forever(self) -> None:
        backoff_s = 0.05
        while True:
            answers, self._outbox = self._outbox, []
            try:
                messages: list[Message] = await self._mailbox.take.remote(answers, POLL_S)
            except RayError as error:
                _log.warning("the mailbox does not answer (%s); trying again in %.2f s", type(error).__name__, backoff_s)
                self._outbox[:0] = answers
                await asyncio.sleep(backoff_s)
                backoff_s = min(backoff_s * 2, MAX_BACKOFF_S)
                continue
            backoff_s = 0.05
            for message in messages:
                self._receive(message)
            # Two turns of the loop: what can be answered at once then rides along with the next take, a call less.
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    async def _deliver_forever(self) -> None:
        """Answers that were not ready when the last ``take`` left."""
        while True:
            await self._stirred.wait()
            self._stirred.clear()
            await asyncio.sleep(0)
            answers, self._outbox = self._outbox, []
            if answers:
                try:
                    await self._mailbox.deliver.remote(answers)
                except RayError as error:
                    # Those who wait have lost the mailbox as well: they send again, and are answered from what is kept.
                    _log.warning("%d answers met a dead mailbox (%s)", len(answers), type(error).__name__)

    def _receive(self, message: Message) -> None:
        if isinstance(message, Release):
            self._hub.release(message.permit, message.record)
        elif message.host in self._gone:
            return
        elif isinstance(message, Withdraw):
            serving = self._serving.get(message.call_id)
            if serving is not None:
                serving[1].cancel()
        elif (answer := self._answered.get(message.call_id)) is not None:
            self._send(answer)
        elif message.call_id not in self._serving:
            task = asyncio.ensure_future(self._ask_hub(message))
            self._serving[message.call_id] = (message.host, task)
            task.add_done_callback(partial(self._done, message))

    async def _ask_hub(self, call: Call) -> Any:
        hub = self._hub
        served: dict[Method, Callable[..., Awaitable[Any]]] = {
            "lease": hub.lease,
            "embed": hub.embed,
            "search_code": hub.search_code,
            "ask_peer": hub.ask_peer,
            "announce": hub.announce,
            "pooled_design": hub.pooled_design,
            "convene": hub.convene,
            "dissolve": hub.dissolve,
        }
        return await served[call.method](**call.args)

    def _done(self, call: Call, task: asyncio.Task[Any]) -> None:
        self._serving.pop(call.call_id, None)
        if task.cancelled():
            answer = Answer(call_id=call.call_id, error=AgentError("withdrawn"))
        elif (error := task.exception()) is None:
            if call.host in self._gone and call.method == "lease":
                self._hub.release(task.result(), None)
                return
            answer = Answer(call_id=call.call_id, value=task.result())
        elif isinstance(error, AgentError):
            answer = Answer(call_id=call.call_id, error=error)
        else:
            _log.error("the hub failed at %s", call.method, exc_info=error)
            answer = Answer(call_id=call.call_id, error=AgentError(f"the hub failed at {call.method}: {type(error).__name__}"))
        if call.method not in _MADE_AGAIN:
            self._answered[call.call_id] = answer
        while len(self._answered) > KEPT_ANSWERS:
            self._answered.popitem(last=False)
        self._send(answer)

    def _send(self, answer: Answer) -> None:
        self._outbox.append(answer)
        self._stirred.set()
