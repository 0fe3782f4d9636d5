"""The library's routes and the fields that clients steer it with, over a fake service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from registry.solution_records import Miss, Request, Solved, Stored
from tests.fakes.http import OPERATOR
from tests.fakes.http import client as api
from tests.fakes.service import FakeService


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture
async def client(service: FakeService) -> AsyncIterator[httpx.AsyncClient]:
    async with api(service) as http:
        yield http


async def kept(service: FakeService, words: str, tenant: str = "loopback") -> str:
    asked = Request(text=words, tenant=tenant)
    solved = Solved(request=asked, miss=Miss(reason=""), answer={"text": "42"}, complete=True, verified=True)
    found = await service.library.library.record(solved)
    assert isinstance(found, Stored)
    return found.solution


@pytest.mark.parametrize("path", ["/v1/library", "/v1/library/solutions", "/v1/library/solutions/x"])
async def test_only_operators_look(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code in (401, 403)


async def test_looking_and_forgetting(client: httpx.AsyncClient, service: FakeService) -> None:
    first, second = await kept(service, "one"), await kept(service, "two", "k2")
    stats = (await client.get("/v1/library", headers=OPERATOR)).json()
    assert (stats["status"], stats["solutions"]) == ("ok", 2)
    listed = (await client.get("/v1/library/solutions?tenant=k2", headers=OPERATOR)).json()["data"]
    assert [row["id"] for row in listed] == [second]
    shown = (await client.get(f"/v1/library/solutions/{first}", headers=OPERATOR)).json()
    assert (shown["request"], shown["answer"]) == ("one", {"text": "42"})
    assert (await client.get("/v1/library/solutions/nobody", headers=OPERATOR)).status_code == 404
    assert (await client.post("/v1/library/purge", json={}, headers=OPERATOR)).status_code == 400
    assert (await client.post("/v1/library/purge", json={"ids": [3]}, headers=OPERATOR)).status_code == 400
    gone = await client.post("/v1/library/purge", json={"tenant": "k2"}, headers=OPERATOR)
    assert gone.json() == {"purged": 1}
    assert (await client.get(f"/v1/library/solutions/{second}", headers=OPERATOR)).status_code == 404


async def test_a_dry_run_reads_a_native_request_for_a_tenant(client: httpx.AsyncClient, service: FakeService) -> None:
    body = {"prompt": "one", "tenant": "k7", "shape": [{"age": "integer"}], "count": 3}
    found = await client.post("/v1/library/dry-run", json=body, headers=OPERATOR)
    assert (found.status_code, found.json()["result"]) == (200, "miss")
    assert (service.library.asked[0].key_id, service.library.asked[0].count) == ("k7", 3)
    wrong = await client.post("/v1/library/dry-run", json={"prompt": "one", "nonsense": 1}, headers=OPERATOR)
    assert (wrong.status_code, wrong.json()["param"]) == (400, "nonsense")


@pytest.mark.parametrize(
    ("cache", "header", "use"), [(None, "", "default"), (False, "", "off"), (True, "", "on"), (None, "no-cache", "refresh")]
)
async def test_what_a_client_says_reaches_the_request(
    client: httpx.AsyncClient, service: FakeService, cache: bool | None, header: str, use: str
) -> None:
    headers = {"cache-control": header} if header else {}
    more = {} if cache is None else {"cache": cache}
    assert (await client.post("/v1/requests", json={"prompt": "x", **more}, headers=headers)).status_code == 200
    body = {"model": "auto", "messages": [{"role": "user", "content": "x"}], "morphogen": more}
    assert (await client.post("/v1/chat/completions", json=body, headers=headers)).status_code == 200
    assert [one.library for one in service.asked] == [use, use]


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/v1/requests", {"prompt": "x", "cache": "no"}, "cache"),
        (
            "/v1/chat/completions",
            {"model": "auto", "messages": [{"role": "user", "content": "x"}], "morphogen": {"cache": 1}},
            "cache",
        ),
    ],
)
async def test_a_wrong_word_is_named(client: httpx.AsyncClient, path: str, body: Any, param: str) -> None:
    found = await client.post(path, json=body)
    assert found.status_code == 400
    assert param in found.text


async def test_feedback_reaches_the_library(client: httpx.AsyncClient, service: FakeService) -> None:
    service.traces["req_1"]["request"] = {"id": "req_1", "key_id": None}
    assert (await client.post("/v1/requests/req_1/feedback", json={"score": 0.1})).status_code == 200
    assert service.library.told == [("req_1", 0.1)]
