"""The hub as a node sees it from inside its actor: every call goes through the mailbox.

Built by actor.py. ``lease`` is a round trip; ``release`` returns at once and travels in batches. A call that is cancelled is
withdrawn, and a permit that was granted all the same is given back.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from ray.exceptions import RayError

from agents.calls import CallCost, CallRecord, Permit
from agents.committee.records import Convened, Design, PeerAnswer
from agents.programs import CodeFound
from agents.records import Draining, Json
from agents.strategy_specs import Seat
from runtime.ray_cluster.mailbox import Answer, Call, Message, Method, Release, Withdraw

_log = logging.getLogger(__name__)

RESENDS_AFTER_S = (0.05, 0.2, 0.5, 1.0, 2.0)
"""Waits before a message is sent again to a mailbox that died; Ray is starting it again meanwhile."""


class MailboxHub:
    """Implements ``agents.toolbox.Hub``. ``mailbox`` is an actor handle; ``host`` is this actor's name."""

    def __init__(self, mailbox: Any, host: str) -> None:
        self._mailbox = mailbox
        self._host = host
        self._ids = itertools.count(1)
        self._pending: list[Message] = []
        self._stirred = asyncio.Event()
        self._settled = asyncio.Event()
        self._settled.set()
        # Made here and not on the first release: a task inherits its maker's context, and this one must belong to no task.
        self._poster = asyncio.get_running_loop().create_task(self._post_forever(), name="hub-poster")

    async def lease(self, backend: str, *, holder: str, wait_s: float, cost: CallCost | None = None) -> Permit:
        more = {} if cost is None else {"cost": cost}
        permit: Permit = await self._call("lease", backend=backend, holder=holder, wait_s=wait_s, **more)
        return permit

    def release(self, permit: Permit, record: CallRecord | None) -> None:
        self._post(Release(host=self._host, permit=permit, record=record))

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        vectors: list[list[float]] = await self._call("embed", texts=list(texts))
        return vectors

    async def search_code(self, problem: str, *, node: str, locale: str, task_id: str) -> CodeFound:
        found: CodeFound = await self._call("search_code", problem=problem, node=node, locale=locale, task_id=task_id)
        return found

    async def ask_peer(
        self,
        peer: str,
        question: str,
        *,
        task_id: str,
        hops: int,
        deadline_s: float,
        instructions: str = "",
        max_tokens: int | None = None,
    ) -> PeerAnswer:
        answer: PeerAnswer = await self._call(
            "ask_peer",
            peer=peer,
            question=question,
            task_id=task_id,
            hops=hops,
            deadline_s=deadline_s,
            instructions=instructions,
            max_tokens=max_tokens,
        )
        return answer

    async def pooled_design(self, problem: str, *, task_id: str) -> Design | None:
        design: Design | None = await self._call("pooled_design", problem=problem, task_id=task_id)
        return design

    async def convene(self, problem: str, seats: Sequence[Seat], *, task_id: str, hops: int, locale: str) -> Convened:
        convened: Convened = await self._call(
            "convene", problem=problem, seats=tuple(seats), task_id=task_id, hops=hops, locale=locale
        )
        return convened

    async def dissolve(self, committee_id: str, *, task_id: str, design: Design, problem: str, passed: bool) -> None:
        await self._call("dissolve", committee_id=committee_id, task_id=task_id, design=design, problem=problem, passed=passed)

    async def announce(self, topic: str, body: Mapping[str, Json], *, task_id: str) -> None:
        await self._call("announce", topic=topic, body=dict(body), task_id=task_id)

    async def flush(self) -> None:
        """Return when everything released so far has left this actor."""
        await self._settled.wait()

    async def _call(self, method: Method, **args: Any) -> Any:
        call = Call(call_id=f"{self._host}/{next(self._ids)}", host=self._host, method=method, args=args)
        sending = asyncio.ensure_future(self._send(call))
        try:
            answer = await asyncio.shield(sending)
        except asyncio.CancelledError:
            if not sending.done():
                self._post(Withdraw(call_id=call.call_id, host=self._host))
            sending.add_done_callback(self._give_back)
            raise
        if answer.error is not None:
            raise answer.error
        return answer.value

    async def _send(self, call: Call) -> Answer:
        for wait_s in (*RESENDS_AFTER_S, None):
            try:
                answer: Answer = await self._mailbox.ask.remote(call)
                return answer
            except RayError as error:
                if wait_s is None:
                    raise Draining("the daemon cannot be reached from this node") from error
                await asyncio.sleep(wait_s)
        raise AssertionError("unreachable")

    def _give_back(self, sending: asyncio.Future[Answer]) -> None:
        """A permit that was granted to a call nobody waits for any more."""
        if not sending.cancelled() and sending.exception() is None and isinstance(sending.result().value, Permit):
            self.release(sending.result().value, None)

    def _post(self, message: Message) -> None:
        self._pending.append(message)
        self._settled.clear()
        self._stirred.set()

    async def _post_forever(self) -> None:
        """One post in flight at a time: whatever is released meanwhile leaves with the next, so load makes larger batches."""
        while True:
            await self._stirred.wait()
            self._stirred.clear()
            while self._pending:
                batch, self._pending = self._pending, []
                await self._send_batch(batch)
            self._settled.set()

    async def _send_batch(self, batch: list[Message]) -> None:
        for wait_s in (*RESENDS_AFTER_S, None):
            try:
                await self._mailbox.post.remote(batch)
                return
            except RayError:
                if wait_s is None:
                    _log.error("%d messages to the daemon are lost: its mailbox is gone", len(batch))
                    return
                await asyncio.sleep(wait_s)
