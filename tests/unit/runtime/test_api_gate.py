"""Who is let in: keys, this machine and others, operators, and how many at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from runtime.api.auth import is_loopback
from tests.fakes.http import CLIENT, HELLO, client
from tests.fakes.service import FakeService, fake_settings


async def test_any_key_serves_on_loopback_until_keys_are_required() -> None:
    dummy = {"authorization": "Bearer whatever"}
    async with client(FakeService()) as http:
        assert (await http.post("/v1/chat/completions", json=HELLO, headers=dummy)).status_code == 200
        revoked = {"authorization": "Bearer mg-client-0011-revoked"}
        assert (await http.post("/v1/chat/completions", json=HELLO, headers=revoked)).status_code == 401
    strict = FakeService(settings=fake_settings(server={"require_client_key": True}))
    async with client(strict) as http:
        refused = await http.post("/v1/chat/completions", json=HELLO, headers=dummy)
        missing = await http.post("/v1/chat/completions", json=HELLO)
        served = await http.post("/v1/chat/completions", json=HELLO, headers=CLIENT)
    assert refused.status_code == missing.status_code == 401
    assert refused.json()["error"]["type"] == "authentication_error"
    assert served.status_code == 200
    assert strict.asked[0].key_id == "client"


async def test_who_is_not_on_loopback_needs_a_key() -> None:
    async with client(FakeService(), peer="10.0.0.9") as http:
        assert (await http.post("/v1/chat/completions", json=HELLO)).status_code == 401
        assert (await http.get("/healthz")).status_code == 200
    async with client(FakeService()) as http:
        for headers in ({"x-forwarded-for": "1.2.3.4"}, {"host": "evil.example:5116"}):
            assert (await http.post("/v1/chat/completions", json=HELLO, headers=headers)).status_code == 401


async def test_more_than_max_inflight_is_refused_with_a_429() -> None:
    service = FakeService(settings=fake_settings(server={"max_inflight": 1}))
    service.release = asyncio.Event()
    async with client(service) as http:
        first = asyncio.create_task(http.post("/v1/chat/completions", json=HELLO))
        await asyncio.wait_for(service.arrived.wait(), 5)
        second = await http.post("/v1/chat/completions", json=HELLO)
        assert (await http.get("/healthz")).status_code == 200
        service.release.set()
        assert (await first).status_code == 200
        assert second.status_code == 429
        assert second.headers["retry-after"] == "1"
        assert (await http.post("/v1/chat/completions", json=HELLO)).status_code == 200


MANAGED = [
    ("GET", "/v1/requests"),
    ("GET", "/v1/keys"),
    ("POST", "/v1/keys"),
    ("DELETE", "/v1/keys/k"),
    ("GET", "/v1/config"),
    ("POST", "/v1/config/reload"),
]


@pytest.mark.parametrize(("method", "path"), MANAGED)
async def test_traces_and_keys_need_the_operator(method: str, path: str) -> None:
    async with client(FakeService()) as http:
        for headers, status in (
            ({}, 403),
            (CLIENT, 403),
            ({"x-api-key": "mg-operator-wrong"}, 401),
        ):
            reply = await http.request(method, path, headers=headers)
            assert reply.status_code == status
            assert reply.headers["content-type"] == "application/problem+json"
            assert reply.json()["status"] == status
            assert reply.json()["title"]


@pytest.mark.parametrize(
    ("peer", "headers", "expected"),
    [
        (("127.0.0.1", 1), {}, True),
        (("::1", 1), {b"host": b"[::1]:5116"}, True),
        (("::ffff:127.0.0.1", 1), {b"host": b"localhost"}, True),
        (("127.0.0.1", 1), {b"host": b"evil.example"}, False),
        (("127.0.0.1", 1), {b"forwarded": b"for=1.2.3.4"}, False),
        (("192.168.1.2", 1), {b"host": b"localhost"}, False),
        (None, {}, False),
    ],
)
def test_loopback_is_who_speaks_for_itself_on_this_machine(peer: Any, headers: dict[bytes, bytes], expected: bool) -> None:
    assert is_loopback(peer, headers, own_host="127.0.0.1") is expected
