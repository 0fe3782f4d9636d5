"""/v1/routes and /v1/report over fakes: who may, what bad input is told; and a request's own weights."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

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
    for path in ("/v1/routes", "/v1/routes/decisions/req_1", "/v1/routes/experiments", "/v1/report", "/v1/report?window=x"):
        assert (await client.get(path, headers=http.CLIENT)).status_code == 403
    body = {"changes": {"cost_weight": 3.0}}
    assert (await client.post("/v1/routes/experiments", json=body, headers=http.CLIENT)).status_code == 403


async def test_what_is_there_is_shown_and_what_is_not_is_unknown(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/routes")).json()["enabled"] is True
    assert (await client.get("/v1/routes/decisions/req_1")).json()["data"][0]["decision_id"] == "req_1/1"
    assert (await client.get("/v1/routes/decisions/other")).status_code == 404
    found = (await client.get("/v1/report?window=2h")).json()
    assert found["until"] - found["since"] == 7200.0


async def test_an_experiment_begins_once_and_ends(client: httpx.AsyncClient) -> None:
    body = {"changes": {"cost_weight": 3.0}, "share": 0.1}
    assert (await client.post("/v1/routes/experiments", json=body)).status_code == 201
    again = await client.post("/v1/routes/experiments", json=body)
    assert (again.status_code, again.json()["code"]) == (409, "conflict")
    assert len((await client.get("/v1/routes/experiments")).json()["data"]) == 1
    ended = await client.post("/v1/routes/experiments/exp-1/stop", json={"why": "enough"})
    assert (ended.json()["stage"], ended.json()["note"]) == ("over", "enough")
    assert (await client.post("/v1/routes/experiments/gone/stop", json={})).status_code == 404


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "changes"),
        ({"changes": {}}, "changes"),
        ({"changes": {"enabled": 0.0}}, "changes.enabled"),
        ({"changes": {"cost_weight": -1.0}}, "changes.cost_weight"),
        ({"changes": {"cost_weight": 3.0}, "share": 2.0}, "share"),
        ({"changes": {"cost_weight": 3.0}, "more": 1}, "more"),
    ],
)
async def test_a_bad_experiment_names_the_field(client: httpx.AsyncClient, body: Any, param: str) -> None:
    reply = await client.post("/v1/routes/experiments", json=body)
    assert (reply.status_code, reply.json()["param"]) == (400, param)


@pytest.mark.parametrize("window", ["0h", "yesterday", "9999d", "-1h", "24", "1.5h"])
async def test_a_bad_window_names_itself(client: httpx.AsyncClient, window: str) -> None:
    reply = await client.get("/v1/report", params={"window": window})
    assert (reply.status_code, reply.json()["param"]) == (400, "window")


async def test_a_request_may_weigh_for_itself_on_both_surfaces(client: httpx.AsyncClient, service: Any) -> None:
    wish = {"objective": "ratio", "cost_weight": 2.5}
    assert (await client.post("/v1/requests", json={"prompt": "hi", "routing": wish})).status_code == 200
    chat = {"model": "auto", "messages": [{"role": "user", "content": "hi"}], "morphogen": {"routing": wish}}
    assert (await client.post("/v1/chat/completions", json=chat)).status_code == 200
    assert [request.routing for request in service.asked] == [wish, wish]
    bad = await client.post("/v1/requests", json={"prompt": "hi", "routing": {"cost_weight": -1}})
    assert (bad.status_code, bad.json()["param"]) == (400, "routing.cost_weight")
    chat["morphogen"] = {"routing": {"speed": 1}}
    worse = await client.post("/v1/chat/completions", json=chat)
    assert (worse.status_code, worse.json()["error"]["param"]) == (400, "morphogen.routing.speed")
