"""The HTTP backend against real servers on loopback that misbehave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from agents.calls import CallRecord
from agents.llm.breaker import BreakerPolicy
from agents.llm.chat import BackendSpec, ChatRequest
from agents.llm.desk import Desk
from agents.llm.http import HttpBackend
from agents.llm.pool import Pool
from agents.records import AgentError, BackendFailed, BackendGarbled, BackendTimeout, BackendUnreachable, Choice, StreamBroken

pytestmark = pytest.mark.integration

REQUEST = ChatRequest(messages=({"role": "user", "content": "hi"},))
ANSWER = orjson.dumps({"choices": [{"message": {"content": "hello"}, "finish_reason": "stop"}]})
SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def whole(content: bytes = ANSWER, *, status: str = "200 OK", length: int | None = None, kind: str = "application/json") -> bytes:
    size = len(content) if length is None else length
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {size}\r\n\r\n".encode() + content


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def event(content: str, finish: str | None = None) -> bytes:
    return chunk(b"data: " + orjson.dumps({"choices": [{"delta": {"content": content}, "finish_reason": finish}]}) + b"\n\n")


END = chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"

Handler = Callable[["Exchange"], Awaitable[None]]


class Exchange:
    """One request as the server got it; ``number`` counts requests, ``hung_up`` is set when the client goes away."""

    def __init__(self, server: Server, writer: asyncio.StreamWriter, body: dict[str, Any], hung_up: asyncio.Event) -> None:
        self.server = server
        self.writer = writer
        self.body = body
        self.hung_up = hung_up
        self.number = server.requests

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()


class Server:
    """A loopback server that lets a handler write raw bytes."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.requests = 0
        self.connections = 0
        self.hung_up = asyncio.Event()
        self.url = ""
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                lines = head.lower().split(b"\r\n")
                length = next(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
                body = orjson.loads(await reader.readexactly(length))
                self.requests += 1
                await self.handler(Exchange(self, writer, body, self.hung_up))
                if writer.is_closing():
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            self.hung_up.set()
        except asyncio.CancelledError:
            pass  # stop() was called; asyncio's own callback would report a cancelled task as an error
        finally:
            writer.close()

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def serving(handler: Handler, **fields: Any) -> AsyncIterator[tuple[Server, HttpBackend]]:
    server = Server(handler)
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    fields.setdefault("read_timeout_s", 2.0)
    backend = HttpBackend(BackendSpec(name="b", base_url=f"http://127.0.0.1:{port}/v1", model="m", **fields))
    try:
        yield server, backend
    finally:
        await backend.aclose()
        listener.close()
        await server.stop()


def always(data: bytes, *, close: bool = False) -> Handler:
    async def handler(exchange: Exchange) -> None:
        await exchange.send(data)
        if close:
            exchange.writer.close()

    return handler


async def hang(exchange: Exchange) -> None:
    await asyncio.Event().wait()


async def streamed(backend: HttpBackend, timeout_s: float = 5.0) -> str:
    return "".join([piece.text async for piece in backend.stream(REQUEST, timeout_s=timeout_s)])


async def test_connections_are_kept_after_answers_and_streams() -> None:
    async def handler(exchange: Exchange) -> None:
        await exchange.send(SSE + event("hel") + event("lo", "stop") + END if exchange.body.get("stream") else whole())

    async with serving(handler) as (server, backend):
        for _ in range(3):
            assert (await backend.chat(REQUEST, timeout_s=5)).text == "hello"
            assert await streamed(backend) == "hello"
        assert (server.requests, server.connections) == (6, 1)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (whole(b"<html>nginx</html>", kind="text/html; charset=utf-8"), BackendGarbled),
        (whole(length=len(ANSWER) + 50), BackendGarbled),
        (whole(length=len(ANSWER) - 5), BackendGarbled),
        (b"HELLO I AM NOT HTTP\r\n\r\n", BackendGarbled),
        (b"", BackendUnreachable),
        (whole(b'{"error": {"message": "Loading model"}}', status="503 Service Unavailable"), BackendFailed),
        (SSE + event("hel")[:-9], BackendGarbled),
    ],
)
async def test_lies_and_garbage_get_their_error(data: bytes, error: type[AgentError]) -> None:
    async with serving(always(data, close=True)) as (_, backend):
        with pytest.raises(error):
            await backend.chat(REQUEST, timeout_s=5)


async def test_after_a_lie_about_the_length_the_next_call_is_clean() -> None:
    async def handler(exchange: Exchange) -> None:
        await exchange.send(whole(length=len(ANSWER) - 5) if exchange.number == 1 else whole())

    async with serving(handler) as (_, backend):
        with pytest.raises(BackendGarbled):
            await backend.chat(REQUEST, timeout_s=5)
        for _ in range(2):
            try:
                assert (await backend.chat(REQUEST, timeout_s=5)).text == "hello"
            except (BackendGarbled, BackendUnreachable):
                continue


@pytest.mark.parametrize(
    "data",
    [
        SSE + event("hel"),
        SSE + event("hel") + event("lo")[:-9],
        SSE + event("hel") + b"0\r\n\r\n",
        SSE + event("hel") + chunk(b'data: {"error": {"message": "died"}}\n\n'),
    ],
)
async def test_a_stream_that_ends_before_its_end_is_broken(data: bytes) -> None:
    async with serving(always(data, close=True)) as (_, backend):
        with pytest.raises(StreamBroken):
            await streamed(backend)


async def test_a_hanging_backend_times_out_by_gap_and_by_total() -> None:
    async def drip(exchange: Exchange) -> None:
        await exchange.send(SSE)
        while True:
            await exchange.send(event("x"))
            await asyncio.sleep(0.02)

    async with serving(hang, read_timeout_s=0.05) as (_, backend):
        with pytest.raises(BackendTimeout):
            await backend.chat(REQUEST, timeout_s=5)
    async with serving(drip) as (server, backend):
        with pytest.raises(BackendTimeout):
            await streamed(backend, timeout_s=0.2)
        await asyncio.wait_for(server.hung_up.wait(), 2)


async def test_nobody_listens() -> None:
    async with serving(hang) as (_, backend):
        spec = backend.spec
    closed = HttpBackend(spec)
    with pytest.raises(BackendUnreachable):
        await closed.chat(REQUEST, timeout_s=5)
    await closed.aclose()


async def test_the_backend_sees_the_hang_up() -> None:
    async def endless(exchange: Exchange) -> None:
        await exchange.send(SSE + event("hello"))
        while True:
            await exchange.send(event("."))
            await asyncio.sleep(0.01)

    async with serving(endless) as (server, backend):
        stream = backend.stream(REQUEST, timeout_s=30)
        assert (await anext(stream)).text == "hello"
        await stream.aclose()  # type: ignore[attr-defined]
        await asyncio.wait_for(server.hung_up.wait(), 2)
    async with serving(endless) as (server, backend):
        records: list[CallRecord] = []
        desk = Desk([backend.spec], breaker=BreakerPolicy())
        pool = Pool([backend], admission=desk)

        async def read() -> None:
            async for _ in pool.stream(REQUEST, Choice(), deadline_s=30, holder="t", on_call=records.append):
                pass

        task = asyncio.ensure_future(read())
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.wait_for(server.hung_up.wait(), 2)
        assert desk.inflight("b") == 0
        assert [record.error for record in records] == ["cancelled"]
        assert records[0].usage.completion_tokens > 0


async def cancelled_after(ticks: int, work: Coroutine[Any, Any, Any]) -> None:
    task = asyncio.ensure_future(work)
    for _ in range(ticks):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_calls_cancelled_at_any_tick_do_not_wear_the_backend_out() -> None:
    async with serving(always(whole()), max_concurrency=4) as (_, backend):
        for ticks in range(20):
            for _ in range(4):
                await cancelled_after(ticks, backend.chat(REQUEST, timeout_s=5))
            started = asyncio.get_running_loop().time()
            replies = await asyncio.gather(*(backend.chat(REQUEST, timeout_s=5) for _ in range(4)))
            assert [reply.text for reply in replies] == ["hello"] * 4
            assert asyncio.get_running_loop().time() - started < 1.5
        await asyncio.sleep(0.05)
        assert len(backend._lanes) == 1


async def test_slots_that_leaked_are_found_by_the_pool_timeout() -> None:
    async with serving(always(whole()), max_concurrency=2) as (_, backend):
        backend._timeouts["pool"] = 0.05
        lane = backend._lanes[0]
        for ticks in range(20):
            for _ in range(4):
                await cancelled_after(ticks, lane.client.post(backend._chat_url, content=b"{}"))
        assert (await backend.chat(REQUEST, timeout_s=5)).text == "hello"
        assert lane not in backend._lanes, "the slots did not leak: has the library been repaired?"
        assert len(backend._lanes) == 1


async def test_through_the_pool_a_dead_backend_is_replaced_and_rests() -> None:
    async with serving(always(whole(b"{}", status="500 Oops"))) as (sick, broken), serving(always(whole())) as (_, healthy):
        bad = HttpBackend(BackendSpec(name="bad", base_url=broken.spec.base_url, model="m"))
        good = HttpBackend(BackendSpec(name="good", base_url=healthy.spec.base_url, model="m"))
        desk = Desk([bad.spec, good.spec], breaker=BreakerPolicy(failures=3))
        pool = Pool([bad, good], admission=desk)
        records: list[CallRecord] = []
        for _ in range(3):
            choice = Choice(preferred=("bad", "good"))
            reply = await pool.chat(REQUEST, choice, deadline_s=10, holder="t", health=desk.health(), on_call=records.append)
            assert reply.backend == "good"
        assert sick.requests == 3
        assert desk.health()["bad"].state == "open"
        assert desk.inflight("bad") == desk.inflight("good") == 0
        await pool.aclose()
