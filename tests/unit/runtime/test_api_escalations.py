"""/v1/escalations over fakes: who may, what is shown, what an answer must be, what bad input is told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from agents.records import Escalated, RequestId
from agents.schema_check import ShapeLimits
from agents.shaping import parse_shape
from agents.verdicts import Constraint
from runtime.jobs import wire
from runtime.records import Request
from tests.fakes import http
from tests.fakes.service import FakeService

NAME = "esc-r1"


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    service: Any = FakeService()
    schema = parse_shape([{"age": "integer"}], limits=ShapeLimits())
    messages = ({"role": "user", "content": "two ages"},)
    kept = (Constraint(kind="range", field="[].age", value=[0, 99]),)
    asked = Request(request_id=RequestId("r1"), source="native", messages=messages, schema=schema, count=2, constraints=kept)
    await service.escalations.open("r1", wire.encode(asked), Escalated("nothing passed", partial=[{"age": 0}]))
    async with http.client(service, headers=http.OPERATOR) as made:
        yield made


async def test_the_queue_is_the_operators(client: httpx.AsyncClient) -> None:
    other = http.CLIENT
    assert (await client.get("/v1/escalations", headers=other)).status_code == 403
    assert (await client.post(f"/v1/escalations/{NAME}/answer", json={"data": []}, headers=other)).status_code == 403
    (row,) = (await client.get("/v1/escalations")).json()["data"]
    assert (row["id"], row["state"], row["asked"], row["reason"]) == (NAME, "open", "two ages", "nothing passed")
    shown = (await client.get(f"/v1/escalations/{NAME}")).json()
    assert (shown["partial"], shown["request"]["count"]) == ([{"age": 0}], 2)
    assert shown["request"]["constraints"] == [{"field": "[].age", "range": [0, 99]}]


@pytest.mark.parametrize(
    ("path", "body", "status", "param"),
    [
        ("answer", {}, 400, "data"),
        ("answer", {"data": [], "text": "x"}, 400, "data"),
        ("answer", {"data": [{"age": 1}]}, 400, "data"),
        ("answer", {"text": "two"}, 400, "text"),
        ("answer", {"data": [], "more": 1}, 400, "more"),
        ("answer", {"data": [], "force": "yes"}, 400, "force"),
        ("close", {"comment": 3}, 400, "comment"),
    ],
)
async def test_bad_answers_name_the_field(client: httpx.AsyncClient, path: str, body: Any, status: int, param: str) -> None:
    reply = await client.post(f"/v1/escalations/{NAME}/{path}", json=body)
    assert (reply.status_code, reply.json()["param"]) == (status, param)
    assert (await client.get("/v1/escalations?state=open")).json()["data"], "nothing is lost"


@pytest.mark.parametrize("query", ["state=maybe", "limit=0", "limit=x", "limit=99999"])
async def test_bad_queries_name_the_field(client: httpx.AsyncClient, query: str) -> None:
    reply = await client.get(f"/v1/escalations?{query}")
    assert (reply.status_code, reply.json()["param"]) == (400, query.partition("=")[0])


async def test_an_answer_is_taken_once(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/escalations/esc-no")).status_code == 404
    given = {"data": [{"age": 1}, {"age": 2}], "comment": "asked them"}
    done = await client.post(f"/v1/escalations/{NAME}/answer", json=given)
    assert (done.status_code, done.json()["state"], done.json()["comment"]) == (200, "answered", "asked them")
    assert (await client.post(f"/v1/escalations/{NAME}/answer", json=given)).status_code == 409
    assert (await client.post(f"/v1/escalations/{NAME}/close", json={})).status_code == 409
    assert (await client.get(f"/v1/escalations/{NAME}")).json()["answer"] == {"data": given["data"]}
