"""Idempotency keys over a fake service: done once, given again, refused when they name two requests."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agents.records import BackendFailed, Draft, Event
from runtime.api.errors import ApiError
from runtime.api.idempotency import check_same, digest_of, read_key
from runtime.records import Request
from tests.fakes.http import HELLO, OPERATOR, client
from tests.fakes.service import CLIENT_KEY, OPERATOR_KEY, FakeService, fake_settings

KEY = {"idempotency-key": "k1"}
SURFACES: list[tuple[str, dict[str, Any]]] = [
    ("/v1/chat/completions", HELLO),
    ("/v1/embeddings", {"model": "auto", "input": "x"}),
    ("/v1/requests", {"prompt": "x"}),
    ("/v1/requests", {"prompt": "x", "mode": "async"}),
    ("/v1/requests", {"prompt": "x", "mode": "stream"}),
    ("/v1/chat/completions", {**HELLO, "stream": True}),
    ("/api/mock/users", {"shape": {"a": 0}}),
]


@pytest.mark.parametrize(("path", "body"), SURFACES)
async def test_the_same_again_is_given_again_and_asked_once(path: str, body: dict[str, Any]) -> None:
    service = FakeService(script=[Event(kind="delta", at=0.0, data={"text": "he"})])
    async with client(service) as http:
        first = await http.post(path, json=body, headers=KEY)
        second = await http.post(path, json=dict(reversed(body.items())), headers=KEY)
        other = await http.post(path, json={**body, "prompt": "y", "input": "y", "seed": 3}, headers=KEY)
        without = await http.post(path, json=body)
    assert first.status_code in (200, 202), first.text
    assert "idempotent-replayed" not in first.headers
    assert (second.status_code, second.content) == (first.status_code, first.content)
    assert second.headers["idempotent-replayed"] == "true"
    assert second.headers["content-type"] == first.headers["content-type"]
    assert second.headers.get("location") == first.headers.get("location")
    assert other.status_code == 422
    assert without.status_code == first.status_code
    if path != "/v1/embeddings":
        assert len(service.asked) + len(service.jobs.submitted) == 2
    assert service.replays == 1


async def test_the_same_key_of_another_caller_is_another_key() -> None:
    service = FakeService()
    async with client(service) as http:
        for token in (CLIENT_KEY, OPERATOR_KEY):
            reply = await http.post("/v1/requests", json={"prompt": token}, headers={**KEY, "authorization": f"Bearer {token}"})
            assert reply.status_code == 200
    assert len(service.asked) == 2


async def test_errors_have_the_form_of_their_surface() -> None:
    service = FakeService()
    async with client(service) as http:
        for path, body in SURFACES[:3]:
            assert (await http.post(path, json=body, headers={"idempotency-key": path})).status_code == 200
            reply = await http.post(path, json={**body, "seed": 5}, headers={"idempotency-key": path})
            assert reply.status_code == 422
            managed = path.startswith("/v1/requests")
            assert (reply.json()["code"] if managed else reply.json()["error"]["code"]) == "idempotency_key_reused"


async def test_a_failure_is_not_kept() -> None:
    failures = [BackendFailed("no"), None]

    def reply(request: Request) -> Draft:
        error = failures.pop(0)
        if error is not None:
            raise error
        return Draft(text="yes")

    service = FakeService(reply=reply)
    async with client(service) as http:
        assert (await http.post("/v1/requests", json={"prompt": "x"}, headers=KEY)).status_code == 502
        again = await http.post("/v1/requests", json={"prompt": "x"}, headers=KEY)
    assert (again.status_code, again.json()["answer"]) == (200, {"text": "yes"})


async def test_a_second_one_waits_for_the_first() -> None:
    service = FakeService()
    service.release = asyncio.Event()
    async with client(service) as http:
        both = [asyncio.create_task(http.post("/v1/requests", json={"prompt": "x"}, headers=KEY)) for _ in range(2)]
        await service.arrived.wait()
        clash = await http.post("/v1/requests", json={"prompt": "other"}, headers=KEY)
        service.release.set()
        replies = await asyncio.gather(*both)
    assert clash.status_code == 422
    assert len(service.asked) == 1
    assert len({reply.content for reply in replies}) == 1
    assert sorted("idempotent-replayed" in reply.headers for reply in replies) == [False, True]


async def test_who_waits_too_long_is_told_when_to_come_again() -> None:
    service = FakeService(settings=fake_settings(requests={"default_deadline_s": 0.01}))
    service.release = asyncio.Event()
    async with client(service) as http:
        first = asyncio.create_task(http.post("/v1/requests", json={"prompt": "x"}, headers=KEY))
        await service.arrived.wait()
        second = await http.post("/v1/requests", json={"prompt": "x"}, headers=KEY)
        service.release.set()
        await first
    assert (second.status_code, second.json()["code"], second.headers["retry-after"]) == (409, "still_running", "2")


async def test_a_secret_is_not_kept_and_not_made_twice() -> None:
    service = FakeService()
    headers = {**KEY, **OPERATOR}
    async with client(service) as http:
        made = await http.post("/v1/keys", json={"name": "ci"}, headers=headers)
        again = await http.post("/v1/keys", json={"name": "ci"}, headers=headers)
    assert (made.status_code, again.status_code, again.json()["code"]) == (201, 409, "reply_not_kept")
    assert len(service.keys) == 1
    assert all(reply.body is None for reply in service.replies.kept.values())


async def test_a_reply_beyond_a_megabyte_is_said_not_to_be_kept() -> None:
    service = FakeService(reply=lambda request: Draft(text="x" * 2**20))
    async with client(service) as http:
        assert (await http.post("/v1/requests", json={"prompt": "x"}, headers=KEY)).status_code == 200
        again = await http.post("/v1/requests", json={"prompt": "x"}, headers=KEY)
    assert (again.status_code, again.json()["code"]) == (409, "reply_not_kept")


@pytest.mark.parametrize("key", ["", "x" * 256, "a\tb", "é", "\x7f"])
def test_a_key_is_printable_and_bounded(key: str) -> None:
    with pytest.raises(ApiError):
        read_key(key)


def test_spacing_and_order_do_not_make_another_request_and_all_else_does() -> None:
    same = digest_of("POST", "/a?", (None,), b'{"a": 1, "b": [2]}')
    assert same == digest_of("POST", "/a?", (None,), b'{"b":[2],"a":1}')
    check_same(same, same)
    for other in (
        digest_of("POST", "/b?", (None,), b'{"a": 1, "b": [2]}'),
        digest_of("POST", "/a?x=1", (None,), b'{"a": 1, "b": [2]}'),
        digest_of("POST", "/a?", ("gpt",), b'{"a": 1, "b": [2]}'),
        digest_of("POST", "/a?", (None,), b'{"a": 1, "b": [3]}'),
        digest_of("POST", "/a?", (None,), b"{"),
        digest_of("POST", "/a?", (None,), b"[" * 900 + b"]" * 900),
    ):
        with pytest.raises(ApiError):
            check_same(same, other)
