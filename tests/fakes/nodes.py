"""A node, a hub and a backend for tests of the clusters: real processes, leases and sockets, no language model.

``FakeNode`` does what the task's last message says (see ``SCRIPT``); it is built by reference inside Ray actors, so this module
must be importable there. ``DeskHub`` is a hub over the real Desk. ``LoopbackBackend`` is an OpenAI-like server that counts.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from agents.calls import CallRecord, Permit
from agents.committee.records import Convened, Design, Taken
from agents.llm.breaker import BreakerPolicy
from agents.llm.chat import BackendSpec
from agents.llm.desk import Desk
from agents.programs import Candidate, CodeFound
from agents.records import (
    Budget,
    Draft,
    Draining,
    Event,
    Json,
    NodeId,
    NodeSpec,
    NotFound,
    RateLimited,
    Reply,
    RequestId,
    Task,
    TaskId,
    Work,
)
from agents.strategy_specs import Seat

SCRIPT = {
    "echo TEXT": "one delta, then TEXT",
    "deltas N": "N numbered deltas",
    "sleep S": "answer after S seconds",
    "fail": "one note, then RateLimited",
    "bug": "ValueError",
    "call PORT": "lease a permit of backend b, call 127.0.0.1:PORT",
    "lease": "lease a permit of backend b and hold it until cancelled",
    "embed A B": "the hub's embeddings as text",
    "search WORDS": "what the registry has, as text",
    "peer NAME": "ask a peer",
    "announce TOPIC": "tell the others",
    "convene A B": "a committee with these seats, dissolved again; who sits in it, as text",
    "kit [S]": "names of the backends in the kit as it was S seconds ago",
    "env NAME": "a variable of this process",
}


class FakeNode:
    """Implements what the clusters use of ``agents.node.Node``."""

    def __init__(self, spec: NodeSpec, kit: Any, hub: Any) -> None:
        self.spec = spec
        self.kit = kit
        self.hub = hub
        self.draining = False
        self.running = 0
        self.idle = asyncio.Event()
        self.idle.set()

    async def handle(self, task: Task) -> AsyncIterator[Event | Reply]:
        if self.draining:
            raise Draining("the node is draining")
        self.running += 1
        self.idle.clear()
        try:
            word, _, rest = str(task.work.messages[-1]["content"]).partition(" ")
            async for event in self._events(word, rest):
                yield event
            yield Reply(
                task_id=task.task_id,
                node_id=self.spec.node_id,
                draft=Draft(text=await self._text(word, rest, task)),
                strategy="fake",
            )
        finally:
            self.running -= 1
            if not self.running:
                self.idle.set()

    async def _events(self, word: str, rest: str) -> AsyncIterator[Event]:
        for number in range(int(rest) if word == "deltas" else int(word == "echo")):
            yield Event(kind="delta", at=time.time(), data={"text": str(number)})
        if word == "fail":
            yield Event(kind="note", at=time.time(), data={"about": "failing"})

    async def _text(self, word: str, rest: str, task: Task) -> str:
        if word == "sleep":
            await asyncio.sleep(float(rest))
        elif word == "fail":
            record = CallRecord(backend="b", model="m", started_at=1.0, latency_s=0.5, error="rate_limited")
            raise RateLimited("slow down", param="model", retry_after_s=2.5, backend="b", status=429, calls=(record,))
        elif word == "bug":
            raise ValueError("a defect of the node")
        elif word == "kit":
            kit = self.kit
            await asyncio.sleep(float(rest or 0))
            return ",".join(backend.name for backend in kit.backends)
        elif word == "env":
            return os.environ.get(rest, "")
        elif word in ("call", "lease"):
            return await self._called(word, rest, task)
        elif word == "embed":
            return json.dumps(await self.hub.embed(rest.split()))
        elif word == "search":
            found = await self.hub.search_code(rest, node=self.spec.name, locale=self.spec.locale, task_id=task.task_id)
            return ",".join(each.version for each in found.candidates)
        elif word == "peer":
            return str((await self.hub.ask_peer(rest, "how?", task_id=task.task_id, hops=1, deadline_s=5.0)).text)
        elif word == "convene":
            return await self._convened(rest.split(), task)
        elif word == "announce":
            await self.hub.announce(rest, {"from": self.spec.name}, task_id=task.task_id)
        return rest if rest else str(os.getpid())

    async def _convened(self, names: Sequence[str], task: Task) -> str:
        seats = tuple(Seat(speciality=name) for name in names)
        known = await self.hub.pooled_design("problem", task_id=task.task_id)
        found = await self.hub.convene("problem", seats, task_id=task.task_id, hops=task.hops, locale=self.spec.locale)
        design = Design(members=seats, rounds=1, origin="given")
        await self.hub.dissolve(found.committee_id, task_id=task.task_id, design=design, problem="problem", passed=True)
        return f"{known} {found.committee_id} " + ",".join(f"{seat.speciality}@{seat.node}" for seat in found.seats)

    async def _called(self, word: str, rest: str, task: Task) -> str:
        permit = task.permits[0] if task.permits else await self.hub.lease("b", holder=task.task_id, wait_s=30.0)
        try:
            if word == "lease":
                await asyncio.Event().wait()
            return await http_call(int(rest))
        finally:
            self.hub.release(permit, None)

    async def update(self, kit: Any) -> None:
        self.kit = kit

    async def drain(self, timeout_s: float) -> None:
        self.draining = True
        try:
            await asyncio.wait_for(self.idle.wait(), timeout_s)
        except TimeoutError:
            return

    async def park(self) -> None:
        self.draining = True

    def status(self) -> dict[str, Json]:
        return {"running": self.running}


def build_fake(spec: NodeSpec, kit: Any, hub: Any) -> Any:
    return FakeNode(spec, kit, hub)


async def http_call(port: int) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}")
        await writer.drain()
        return (await reader.read()).decode().rpartition("\r\n\r\n")[2]
    finally:
        writer.close()


class LoopbackBackend:
    """Answers chat completions after ``delay_s``; counts calls in flight, their peak, and clients that hung up."""

    def __init__(self, *, delay_s: float) -> None:
        self.delay_s = delay_s
        self.port = 0
        self.calls = 0
        self.inflight = 0
        self.peak = 0
        self.hangups = 0
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> LoopbackBackend:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = next((int(line.split(":")[1]) for line in head.split("\r\n") if line.startswith("content-length")), 0)
            await reader.readexactly(length)
            await self._answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            self.hangups += 1
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.calls += 1
        self.inflight += 1
        self.peak = max(self.peak, self.inflight)
        try:
            async with asyncio.timeout(self.delay_s):
                await reader.read(1)
            self.hangups += 1
            return
        except TimeoutError:
            pass
        finally:
            self.inflight -= 1
        message = {"role": "assistant", "content": "done"}
        usage = {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        answer = {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
        body = json.dumps(answer).encode()
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()


class DeskHub:
    """A hub over the real Desk, for one backend called b. Remembers what it was told."""

    def __init__(self, *, limit: int = 3, base_url: str = "") -> None:
        self.backend = BackendSpec(
            name="b", base_url=base_url, model="m", max_concurrency=limit, queue_limit=1000, queue_timeout_s=60.0
        )
        self.desk = Desk((self.backend,), breaker=BreakerPolicy())
        self.announced: list[tuple[str, Mapping[str, Json], str]] = []
        self.released = 0
        self.lost: list[tuple[NodeId, tuple[TaskId, ...]]] = []

    async def lease(self, backend: str, *, holder: str, wait_s: float) -> Permit:
        return await self.desk.lease(backend, holder=holder, wait_s=wait_s)

    def release(self, permit: Permit, record: CallRecord | None) -> None:
        self.released += 1
        self.desk.release(permit, record)

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        return [[float(len(text)), 1.0] for text in texts]

    async def search_code(self, problem: str, *, node: str, locale: str, task_id: str) -> CodeFound:
        found = Candidate(version=f"{problem}-for-{node}-of-{locale}@1.0.0", code="", parameters={}, author="somebody")
        return CodeFound(candidates=(found,))

    async def ask_peer(self, peer: str, question: str, **more: Any) -> Any:
        if peer == "defect":
            raise RuntimeError("a defect of the hub")
        raise NotFound(f"no node {peer!r}", param="peer")

    async def pooled_design(self, problem: str, *, task_id: str) -> Any:
        return None

    async def convene(self, problem: str, seats: Sequence[Seat], *, task_id: str, hops: int, locale: str) -> Convened:
        return Convened(committee_id=task_id, seats=tuple(Taken(speciality=seat.speciality, node=locale) for seat in seats))

    async def dissolve(self, committee_id: str, **more: Any) -> None:
        self.announced.append(("dissolved", {"passed": more["passed"]}, more["task_id"]))

    async def announce(self, topic: str, body: Mapping[str, Json], *, task_id: str) -> None:
        self.announced.append((topic, body, task_id))

    def on_node_lost(self, node_id: NodeId, tasks: tuple[TaskId, ...]) -> None:
        self.lost.append((node_id, tasks))
        for task_id in tasks:
            self.desk.release_all(task_id)


def a_spec(name: str = "n") -> NodeSpec:
    return NodeSpec(node_id=NodeId(f"id-{name}"), name=name, role="generalist")


def a_task(text: str, *, task_id: str = "t1", stream: bool = False, deadline_s: float = 30.0) -> Task:
    """A task for a node; a FakeNode takes ``text`` as its script."""
    return Task(
        task_id=TaskId(task_id),
        request_id=RequestId(f"r-{task_id}"),
        work=Work(messages=({"role": "user", "content": text},)),
        budget=Budget(deadline_s=deadline_s),
        stream=stream,
    )


async def until(condition: Any, *, within_s: float = 10.0) -> None:
    """Wait for a condition of another process; asserts that it comes true."""
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(0.01)
