"""Many calls at once are spread over several clients, few stay on one."""

from __future__ import annotations

import asyncio

import httpx

from agents.llm.chat import BackendSpec, ChatRequest
from agents.llm.http import LANE_CALLS, HttpBackend

REQUEST = ChatRequest(messages=({"role": "user", "content": "hi"},))
ANSWER = {"model": "m", "choices": [{"message": {"content": "hello"}}], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}


class Gate(httpx.AsyncBaseTransport):
    """Answers once ``open`` is set."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.waiting = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.waiting += 1
        await self.open.wait()
        self.waiting -= 1
        return httpx.Response(200, json=ANSWER)


def backend(gate: Gate, **fields: int) -> HttpBackend:
    return HttpBackend(BackendSpec(name="b", base_url="http://b.test/v1", model="m", **fields), transport=gate)


async def under_way(gate: Gate, b: HttpBackend, count: int) -> list[asyncio.Task[object]]:
    wanted = gate.waiting + count
    tasks: list[asyncio.Task[object]] = [asyncio.create_task(b.chat(REQUEST, timeout_s=30)) for _ in range(count)]
    while gate.waiting < wanted:
        await asyncio.sleep(0)
    return tasks


async def test_no_client_has_more_calls_than_a_lane_takes() -> None:
    gate = Gate()
    b = backend(gate, max_concurrency=100)
    tasks = await under_way(gate, b, 2 * LANE_CALLS + 3)
    assert [lane.calls for lane in b._lanes] == [LANE_CALLS, LANE_CALLS, 3]
    gate.open.set()
    await asyncio.gather(*tasks)
    assert [lane.calls for lane in b._lanes] == [0, 0, 0]


async def test_few_calls_stay_on_the_first_client_also_after_many() -> None:
    gate = Gate()
    b = backend(gate, max_concurrency=100)
    many = await under_way(gate, b, LANE_CALLS + 1)
    gate.open.set()
    await asyncio.gather(*many)
    gate.open.clear()
    few = await under_way(gate, b, 2)
    assert [lane.calls for lane in b._lanes] == [2, 0]
    gate.open.set()
    await asyncio.gather(*few)


async def test_a_backend_that_takes_few_calls_has_as_few_connections_a_client() -> None:
    gate = Gate()
    b = backend(gate, max_concurrency=3)
    tasks = await under_way(gate, b, 3)
    assert [lane.calls for lane in b._lanes] == [3]
    gate.open.set()
    await asyncio.gather(*tasks)


async def test_a_retired_client_gets_no_new_call_and_goes_after_its_last() -> None:
    gate = Gate()
    b = backend(gate, max_concurrency=100)
    tasks = await under_way(gate, b, 1)
    first = b._lanes[0]
    first.retired = True
    more = await under_way(gate, b, 2)
    assert (first.calls, [lane.calls for lane in b._lanes if lane is not first]) == (1, [2])
    gate.open.set()
    await asyncio.gather(*tasks, *more)
    assert first not in b._lanes
    await b.aclose()
