"""What nodes reach of the daemon: permits from the desk, embeddings, their peers, committees, the event stream.

Built by daemon.py, served to nodes by the clusters (in process, or through the mailbox). The cluster is handed in after it was
built, because the two need each other.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial

from agents.calls import CallCost, CallRecord, Permit, cost_usd_of, usage_of
from agents.committee.records import Convened, Design, PeerAnswer, Taken
from agents.llm.desk import Desk
from agents.programs import CodeFound
from agents.records import (
    AgentError,
    Budget,
    DeadlineExceeded,
    Event,
    InvalidRequest,
    Json,
    NodeLost,
    NotFound,
    Reply,
    RequestId,
    Task,
    TaskId,
    Work,
)
from agents.strategy_specs import Seat
from registry.embedding import Embedder
from registry.records import RegistryError
from runtime.admission import Cashier
from runtime.cluster import Cluster, NodeStatus
from runtime.committees.desk import CommitteeDesk
from runtime.messages import Message

MAX_QUESTION_CHARS = 32_768
GRACE_S = 2.0
"""A peer ends its work at the deadline by itself; this much later nobody waits for it."""


Ran = Callable[[str, float], None]
"""Takes how a run of code ended on a peer, and how long it took."""
SearchCode = Callable[[str, str, str, str], Awaitable[CodeFound]]
"""Takes the problem, the node's name, its locale and the task's id."""


async def _nothing_found(problem: str, node: str, locale: str, task_id: str) -> CodeFound:
    return CodeFound()


class DaemonHub:
    """Implements ``agents.toolbox.Hub`` on the daemon's own parts. ``heard`` is told each message between nodes."""

    def __init__(
        self,
        *,
        desk: Desk,
        cashier: Cashier | None = None,
        embedder: Embedder | None,
        max_hops: int,
        announce: Callable[[Event], None] = lambda event: None,
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._desk = desk
        self.cashier = cashier or Cashier(desk)
        self._embedder = embedder
        self.max_hops = max_hops
        self._announce = announce
        self._wall, self._clock = wall, clock
        self._ids = itertools.count(1)
        self.cluster: Cluster | None = None
        self.committees: CommitteeDesk | None = None
        self.search_registry: SearchCode = _nothing_found
        self.heard: Callable[[Message], None] = lambda message: None
        self._asked: dict[str, str] = {}
        self.ran: Ran = lambda outcome, wall_s: None

    async def lease(self, backend: str, *, holder: str, wait_s: float, cost: CallCost | None = None) -> Permit:
        return await self.cashier.lease(backend, holder=holder, wait_s=wait_s, cost=cost)

    def release(self, permit: Permit, record: CallRecord | None) -> None:
        self.cashier.release(permit, record)

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Unit-length vectors ``(n, d)``. Raises InvalidRequest where the daemon has no embedding model."""
        if self._embedder is None:
            raise InvalidRequest("no embedding model: set embedding.enabled = true", param="embedding.enabled")
        try:
            vectors = await self._embedder.embed(texts)
        except RegistryError as error:
            raise InvalidRequest(str(error), param="input") from error
        return [[float(x) for x in row] for row in vectors]

    async def search_code(self, problem: str, *, node: str, locale: str, task_id: str) -> CodeFound:
        return await self.search_registry(problem[:MAX_QUESTION_CHARS], node, locale, task_id)

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
        """The peer's answer in words. Raises NotFound, InvalidRequest (too many hops), and what the peer raises."""
        if hops >= self.max_hops:
            raise InvalidRequest(f"a question may pass {self.max_hops} nodes (cluster.max_hops)", param="cluster.max_hops")
        if deadline_s <= 0:
            raise DeadlineExceeded("no time is left to ask a peer")
        if len(question) > MAX_QUESTION_CHARS or len(instructions) > MAX_QUESTION_CHARS:
            raise InvalidRequest(f"a question to a peer has at most {MAX_QUESTION_CHARS} characters", param="question")
        node = self._find(peer)
        usd, tokens = self.cashier.own_left(task_id)
        system = ({"role": "system", "content": instructions},) if instructions else ()
        task = Task(
            task_id=TaskId(f"{task_id}/peer{next(self._ids)}"),
            request_id=RequestId(task_id.split("/", 1)[0]),
            work=Work(
                messages=(*system, {"role": "user", "content": question}),
                params={} if max_tokens is None else {"max_tokens": max_tokens},
            ),
            budget=Budget(deadline_s=deadline_s, usd=usd, tokens=tokens, assumed_tokens=self.cashier.assumed_tokens(task_id)),
            health=self._desk.health(),
            hops=hops + 1,
        )
        spent, began = _Spent(), self._clock()
        between = partial(Message, task_id=task_id, asking=self._asked.get(task_id, ""), asked=peer)
        self._asked[task.task_id] = peer
        self.heard(between(kind="ask", text=question))
        try:
            async with asyncio.timeout(deadline_s + GRACE_S):
                answer = await self._answer(node, task, spent)
                spent.text = answer.text
                return answer
        except NodeLost as lost:
            spent.calls, spent.error = list(dict.fromkeys((*spent.calls, *lost.calls))), lost.code
            self.cashier.release_all(task.task_id)
            raise
        except TimeoutError:
            spent.error = DeadlineExceeded.code
            raise DeadlineExceeded(f"node {peer!r} gave no answer within {deadline_s:g} s") from None
        except AgentError as error:
            spent.calls, spent.error = list(dict.fromkeys((*spent.calls, *error.calls))), error.code
            self.cashier.release_all(task.task_id, spent.calls)
            raise
        finally:
            del self._asked[task.task_id]
            self.cashier.release_later(task.task_id)
            took_s = self._clock() - began
            self.heard(between(kind="answer", text=spent.text, calls=spent.calls, error=spent.error, latency_s=took_s))

    async def _answer(self, node: NodeStatus, task: Task, spent: _Spent) -> PeerAnswer:
        assert self.cluster is not None
        async with aclosing(self.cluster.ask(node.spec.node_id, task)) as items:
            async for item in items:
                if isinstance(item, Reply):
                    spent.calls = list(item.calls)
                    self.cashier.release_all(task.task_id, item.calls)
                    backend = item.draft.backend or next((call.backend for call in reversed(item.calls) if not call.error), "")
                    return PeerAnswer(
                        text=item.draft.text,
                        backend=backend,
                        cost_usd=cost_usd_of(item.calls),
                        tokens=usage_of(item.calls).total_tokens,
                    )
                if item.kind == "call":
                    spent.calls.append(item.data["record"])
                elif item.kind == "run":
                    self.ran(item.data["outcome"], item.data["wall_s"])
        raise NotFound(f"node {node.spec.name!r} gave no answer", param="peer")

    async def announce(self, topic: str, body: Mapping[str, Json], *, task_id: str) -> None:
        self._announce(Event(kind="peer", at=self._wall(), data={"topic": topic, "task_id": task_id, **body}))
        self.heard(Message(kind="announce", task_id=task_id, asking=self._asked.get(task_id, ""), text=topic))

    async def pooled_design(self, problem: str, *, task_id: str) -> Design | None:
        return self.committees.design(problem) if self.committees is not None else None

    async def convene(self, problem: str, seats: Sequence[Seat], *, task_id: str, hops: int, locale: str) -> Convened:
        if self.committees is None:
            return Convened(committee_id="", seats=tuple(Taken(speciality=seat.speciality) for seat in seats))
        return await self.committees.convene(seats, task_id=task_id, hops=hops, locale=locale)

    async def dissolve(self, committee_id: str, *, task_id: str, design: Design, problem: str, passed: bool) -> None:
        if self.committees is not None:
            self.committees.dissolve(committee_id, design=design, problem=problem, passed=passed)

    def _find(self, name: str) -> NodeStatus:
        for node in self.cluster.nodes() if self.cluster else ():
            if node.spec.name == name and node.state == "live":
                return node
        raise NotFound(f"there is no live node called {name!r}", param="peer")


@dataclass(slots=True)
class _Spent:
    """What a question to a peer took, known also when it failed."""

    calls: list[CallRecord] = field(default_factory=list)
    error: str | None = None
    text: str = ""
