"""Variants of mock answers that are kept ready: primed, served in turn, refilled, bounded."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from agents.llm.chat import BackendSpec
from agents.records import BackendTimeout, Draft
from runtime.api.app import create_app
from runtime.api.mock_cache import VariantCache
from tests.fakes.service import FakeService

SHAPE = {"users": [{"name": "string", "age": 0}]}


def counting(**kwargs: Any) -> FakeService:
    numbers = itertools.count()
    return FakeService(reply=lambda request: Draft(text="", data={"n": next(numbers)}), **kwargs)


async def test_variants_are_primed_served_in_turn_and_refilled() -> None:
    service = counting()
    app = create_app(service)
    cache = app.state.mock.cache
    body = {"shape": {"$cache": 3, "n": 0}}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as http:
        first = await http.post("/api/mock/x", json=body)
        await cache.idle()
        assert len(service.asked) == 3
        hits = [await http.post("/api/mock/x", json=body) for _ in range(2)]
        await cache.idle()
        later = await http.post("/api/mock/x", json=body)
        other = await http.post("/api/mock/y", json=body)
        await cache.idle()
    assert (first.json(), first.headers["x-cache-hit"]) == ({"n": 0}, "false")
    assert [(hit.json()["n"], hit.headers["x-cache-hit"], hit.headers["x-morphogen-cost-usd"]) for hit in hits] == [
        (1, "true", "0"),
        (2, "true", "0"),
    ]
    assert (later.json(), later.headers["x-cache-hit"]) == ({"n": 3}, "true")
    assert other.headers["x-cache-hit"] == "false"
    assert service.looked_up == [False, True, True, True, False]
    ids = [request.request_id for request in service.asked]
    assert len(set(ids)) == len(ids)
    assert hits[0].headers["x-morphogen-request-id"] == ids[1]
    assert len({request.messages[1]["content"] for request in service.asked[:3]}) == 3
    assert service.asked[0].schema is not None
    assert "$cache" not in service.asked[0].schema["properties"]


async def test_method_backend_count_and_data_are_part_of_the_key() -> None:
    service = counting(backends=[BackendSpec(name="fast"), BackendSpec(name="good")])
    app = create_app(service)
    body = {"shape": {"$cache": 1, "list": [{"n": 0}]}}
    calls: list[dict[str, Any]] = [
        {"method": "POST", "json": body},
        {"method": "PUT", "json": body},
        {"method": "POST", "json": body, "headers": {"x-llm-backend": "good"}},
        {"method": "POST", "json": {**body, "count": 2}},
        {"method": "POST", "json": {**body, "user": {"id": 7}}},
    ]
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as http:
        for expected in ("false", "true"):
            for call in calls:
                reply = await http.request(url="/api/mock/x", **call)
                assert reply.headers["x-cache-hit"] == expected
            await app.state.mock.cache.idle()
    await app.state.mock.aclose()


@dataclass(frozen=True)
class Piece:
    name: str
    size_bytes: int = 10


async def test_the_first_answer_does_not_wait_for_the_others() -> None:
    gate = asyncio.Event()
    made: list[str] = []

    async def make() -> Piece:
        made.append("x")
        if len(made) > 1:
            await gate.wait()
        return Piece(str(len(made)))

    cache: VariantCache[Piece] = VariantCache()
    assert await asyncio.wait_for(cache.get(b"k", 3, make), 1) == (Piece("1"), False)
    await cache.aclose()
    await cache.idle()
    assert len(made) <= 2


async def test_keys_and_bytes_are_bounded_and_the_least_used_go() -> None:
    numbers = itertools.count()

    async def make() -> Piece:
        return Piece(str(next(numbers)))

    cache: VariantCache[Piece] = VariantCache(max_keys=2, max_bytes=35)
    for key in (b"a", b"b", b"a", b"c"):
        await cache.get(key, 2, make)
        await cache.idle()
    assert len(cache) == 2
    assert (await cache.get(b"b", 2, make))[1] is False
    await cache.idle()
    small: VariantCache[Piece] = VariantCache(max_bytes=15)
    for key in (b"a", b"b"):
        await small.get(key, 2, make)
        await small.idle()
    assert [(await small.get(key, 2, make))[1] for key in (b"b", b"a")] == [True, False]
    await small.aclose()


async def test_a_failing_backend_is_not_asked_again_and_again_to_prime() -> None:
    asked = 0

    async def make() -> Piece:
        nonlocal asked
        asked += 1
        if asked > 1:
            raise BackendTimeout("too slow")
        return Piece("1")

    cache: VariantCache[Piece] = VariantCache()
    await cache.get(b"k", 50, make)
    await cache.idle()
    assert asked == 2
    with pytest.raises(BackendTimeout):
        await cache.get(b"k", 50, make)
    assert asked == 3
