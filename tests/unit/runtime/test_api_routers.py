"""/v1/routes/routers over fakes: who may, what is unknown, what stands in the way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from registry.records import RegistryUnavailable
from runtime.ledger.records import LedgerUnavailable
from sandbox.records import SandboxUnavailable
from tests.fakes import http
from tests.fakes.service import FakeService

BASE = "/v1/routes/routers"


@pytest.fixture
def service() -> Any:
    return FakeService()


@pytest.fixture
async def client(service: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with http.client(service, headers=http.OPERATOR) as made:
        yield made


async def test_it_is_the_operators(client: httpx.AsyncClient) -> None:
    for path in (BASE, f"{BASE}/router@1.0.0"):
        assert (await client.get(path, headers=http.CLIENT)).status_code == 403
    for path in (BASE, f"{BASE}/back", f"{BASE}/router@1.1.0/adopt", f"{BASE}/router@1.1.0/decline"):
        assert (await client.post(path, json={}, headers=http.CLIENT)).status_code == 403


async def test_what_is_there_is_shown_and_what_is_not_is_unknown(client: httpx.AsyncClient) -> None:
    assert (await client.get(BASE)).json()["in_force"] == "router@1.0.0"
    assert (await client.get(f"{BASE}/router@1.0.0")).json()["version"] == "router@1.0.0"
    for path in ("router@9.9.9", "other", "x" * 3000):
        assert (await client.get(f"{BASE}/{path}")).status_code == 404
    assert "20 are needed" in (await client.post(BASE, json={})).json()["why"]


async def test_a_word_of_the_operator(client: httpx.AsyncClient, service: Any) -> None:
    assert (await client.post(f"{BASE}/router@1.1.0/adopt", json={})).json()["stage"] == "adopted"
    assert (await client.post(f"{BASE}/router@2.0.0/adopt", json={})).status_code == 404
    busy = await client.post(f"{BASE}/router@0.9.0/adopt", json={})
    assert (busy.status_code, busy.json()["code"]) == (409, "conflict")
    assert (await client.post(f"{BASE}/router@1.1.0/decline", json={"why": "later"})).json()["stage"] == "declined"
    assert service.generated.declined == "later"
    wrong = await client.post(f"{BASE}/router@1.1.0/decline", json={"why": 5})
    assert (wrong.status_code, wrong.json()["param"]) == (400, "why")
    assert (await client.post(f"{BASE}/back", json={})).json() == {"was": "router@1.1.0", "in_force": None}
    assert (await client.post(f"{BASE}/back", json={})).status_code == 404


@pytest.mark.parametrize(
    "trouble", [RegistryUnavailable("the registry is opening"), LedgerUnavailable("no disk"), SandboxUnavailable("busy")]
)
async def test_what_is_away_says_so_and_when_to_come_again(client: httpx.AsyncClient, service: Any, trouble: Exception) -> None:
    service.generated.trouble = trouble
    for reply in (await client.get(BASE), await client.post(BASE, json={})):
        assert (reply.status_code, "retry-after" in reply.headers) == (503, True)
        assert str(trouble) in reply.json()["detail"]
