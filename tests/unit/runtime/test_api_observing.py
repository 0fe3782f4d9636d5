"""/v1/events, /v1/topology/analysis and simulations over fakes: who may, bad input, and coming back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from runtime.api.events import EventSurface
from runtime.events import MAX_READERS
from tests.fakes import http
from tests.fakes.service import FakeService


@pytest.fixture
def service() -> Any:
    return FakeService()


@pytest.fixture
async def client(service: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with http.client(service, headers=http.OPERATOR) as made:
        yield made


async def test_it_is_the_operators(client: httpx.AsyncClient) -> None:
    for path in ("/v1/events", "/v1/topology/analysis"):
        assert (await client.get(path, headers=http.CLIENT)).status_code == 403
    for path in ("/v1/topology/analysis", "/v1/proposals/prop_1/simulate"):
        assert (await client.post(path, headers=http.CLIENT)).status_code == 403


async def test_the_analysis_is_shown_and_asked_for(client: httpx.AsyncClient, service: Any) -> None:
    found = await client.get("/v1/topology/analysis")
    assert found.json()["efficiency"]["score"] == 68.0
    assert found.headers["x-morphogen-simulated"] == "true"
    assert service.observing.asked == 0
    assert (await client.post("/v1/topology/analysis")).status_code == 200
    assert service.observing.asked == 1


async def test_a_proposal_is_simulated(client: httpx.AsyncClient) -> None:
    assert (await client.post("/v1/proposals/prop_1/simulate")).json()["effects"] == {}
    gone = await client.post("/v1/proposals/other/simulate")
    assert (gone.status_code, gone.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("query", "param"), [("kinds=request,nonsense", "kinds"), ("from_seq=-1", "from_seq"), ("from_seq=x", "from_seq")]
)
async def test_bad_parameters_name_the_field(client: httpx.AsyncClient, query: str, param: str) -> None:
    answer = await client.get(f"/v1/events?{query}")
    assert (answer.status_code, answer.json()["param"]) == (400, param)


async def test_no_more_readers_than_are_allowed(client: httpx.AsyncClient, service: Any) -> None:
    service.board.readers = MAX_READERS
    answer = await client.get("/v1/events")
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "5")


async def chunks(service: Any, seq: int, kinds: tuple[str, ...] = (), count: int = 3) -> list[str]:
    surface = EventSurface(service, ping_s=0.01)
    stream = surface._chunks(service.board, seq, kinds)
    found = [(await anext(stream)).decode() for _ in range(count)]
    assert service.board.readers == 1
    await stream.aclose()
    assert service.board.readers == 0
    return found


async def test_events_come_as_they_happen_and_a_quiet_stream_is_kept_alive(service: Any) -> None:
    seq = service.board.following
    service.board.publish("node", {"name": "n"})
    begin, first, ping = await chunks(service, seq)
    assert begin.startswith("retry: ")
    assert first == f'id: {seq}\nevent: node\ndata: {{"name":"n","at":1000.0}}\n\n'
    assert ping.startswith(":")


async def test_kinds_that_were_not_asked_for_are_left_out(service: Any) -> None:
    seq = service.board.following
    service.board.publish("request", {"n": 1})
    service.board.publish("proposal", {"n": 2})
    _, first = await chunks(service, seq, ("proposal",), count=2)
    assert first.startswith(f"id: {seq + 1}\nevent: proposal")


async def test_who_comes_back_too_late_is_told_of_the_gap(service: Any) -> None:
    service.board.publish("node", {"name": "n"})
    _, gap, first = await chunks(service, 5)
    oldest = service.board.since(5).tidings[0].seq
    assert gap == f'id: {oldest - 1}\nevent: gap\ndata: {{"from":5}}\n\n'
    assert first.startswith(f"id: {oldest}\n")


async def test_a_reader_wakes_at_once(service: Any) -> None:
    surface = EventSurface(service, ping_s=60.0)
    stream = surface._chunks(service.board, service.board.following, ())
    await anext(stream)
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    service.board.publish("look", {"window": 1})
    assert b"event: look" in await asyncio.wait_for(waiting, timeout=5.0)
    await stream.aclose()
