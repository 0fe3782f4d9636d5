"""/v1/topology and /v1/proposals over fakes: who may, what bad input is told, what an operator's wish becomes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.fakes import http
from tests.fakes.service import FakeService
from tests.fakes.topology_port import DIGEST

READS = (
    *("/v1/topology", "/v1/topology?revision=1", "/v1/topology/history", "/v1/topology/diff?from=1&to=2"),
    *("/v1/proposals", "/v1/proposals/prop_1", "/v1/topology/nodes/id-generalist"),
)
WORDS: dict[str, Any] = {
    "/v1/proposals": {"kind": "park", "node": "generalist"},
    "/v1/proposals/prop_1/approve": {"hash": DIGEST},
    "/v1/proposals/prop_1/reject": {"reason": "no"},
    "/v1/proposals/prop_1/snooze": {"for_s": 60.0},
    "/v1/proposals/prop_1/undo": {},
    "/v1/proposals/prop_1/settle": {"reason": "by hand"},
    "/v1/topology/rollback": {"revision": 1},
}


@pytest.fixture
def service() -> Any:
    return FakeService()


@pytest.fixture
async def client(service: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with http.client(service, headers=http.OPERATOR) as made:
        yield made


async def test_all_of_it_is_the_operators(client: httpx.AsyncClient, service: Any) -> None:
    for path in READS:
        assert (await client.get(path, headers=http.CLIENT)).status_code == 403
    for path, body in WORDS.items():
        assert (await client.post(path, json=body, headers=http.CLIENT)).status_code == 403
    assert service.topology.said == []


async def test_every_word_is_heard_and_signed(client: httpx.AsyncClient, service: Any) -> None:
    for path in READS:
        assert (await client.get(path)).status_code in (200, 404)
    for path, body in WORDS.items():
        answer = await client.post(path, json=body)
        assert answer.status_code in (200, 201, 202), answer.text
    assert [words[0] for words in service.topology.said] == [
        "propose",
        "approve",
        "reject",
        "snooze",
        "undo",
        "settle",
        "restore",
    ]
    assert all(words[-1].startswith("operator ") for words in service.topology.said)


async def test_a_second_yes_is_told_that_it_was_decided(client: httpx.AsyncClient) -> None:
    body = {"hash": DIGEST}
    assert (await client.post("/v1/proposals/prop_1/approve", json=body)).status_code == 202
    again = await client.post("/v1/proposals/prop_1/approve", json=body)
    assert (again.status_code, again.json()["code"]) == (409, "not_now")
    assert (await client.post("/v1/proposals/prop_9/approve", json=body)).status_code == 404
    assert (await client.get("/v1/proposals/prop_9")).status_code == 404
    assert (await client.get("/v1/topology?revision=9")).json()["param"] == "revision"


async def test_a_cap_is_named(client: httpx.AsyncClient, service: Any) -> None:
    service.topology.full = True
    answer = await client.post("/v1/proposals", json={"kind": "park", "node": "generalist"})
    assert (answer.status_code, answer.json()["code"]) == (409, "over_cap")
    assert "topology.max_open_proposals" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/v1/proposals", {}, "kind"),
        ("/v1/proposals", {"kind": "explode"}, "kind"),
        ("/v1/proposals", {"kind": "restore"}, "kind"),
        ("/v1/proposals", {"kind": "park"}, "node"),
        ("/v1/proposals", {"kind": "park", "node": "nobody"}, "node"),
        ("/v1/proposals", {"kind": "park", "node": "generalist", "prompt": "x"}, "prompt"),
        ("/v1/proposals", {"kind": "spawn"}, "name"),
        ("/v1/proposals", {"kind": "spawn", "name": "a b"}, "name"),
        ("/v1/proposals", {"kind": "spawn", "name": "x", "role": "god"}, "role"),
        ("/v1/proposals", {"kind": "spawn", "name": "x", "parent": "nobody"}, "parent"),
        ("/v1/proposals", {"kind": "spawn", "name": "x", "backends": ["plain", "none"]}, "backends[1]"),
        ("/v1/proposals", {"kind": "spawn", "name": "x", "strategy": {"no": {}}}, "strategy"),
        ("/v1/proposals", {"kind": "spawn", "name": "x", "prompt": "x" * 30_000}, "prompt"),
        ("/v1/proposals", {"kind": "merge", "into": "generalist", "gone": ["nobody"]}, "gone[0]"),
        ("/v1/proposals", {"kind": "merge", "into": "generalist"}, "gone"),
        ("/v1/proposals", {"kind": "pool", "name": "nodes", "size": 900}, "size"),
        ("/v1/proposals", {"kind": "split", "node": "generalist"}, "children"),
        ("/v1/proposals", {"kind": "split", "node": "generalist", "children": []}, "children"),
        ("/v1/proposals", {"kind": "split", "node": "generalist", "children": [{"speciality": "x"}]}, "children.0.name"),
        (
            "/v1/proposals",
            {"kind": "split", "node": "generalist", "children": [{"name": "x"}, {"name": "y", "backends": ["none"]}]},
            "children[1].backends[0]",
        ),
        ("/v1/proposals", {"kind": "recover", "node": "nobody"}, "node"),
        ("/v1/proposals", {"kind": "recover", "node": "generalist", "strategy": {"no": {}}}, "strategy"),
        ("/v1/proposals", {"kind": "park", "node": "generalist", "more": 1}, "more"),
        ("/v1/proposals/prop_1/approve", {}, "hash"),
        ("/v1/proposals/prop_1/approve", {"hash": "short"}, "hash"),
        ("/v1/proposals/prop_1/reject", {"reason": "  "}, "reason"),
        ("/v1/proposals/prop_1/snooze", {"for_s": -1.0}, "for_s"),
        ("/v1/proposals/prop_1/snooze", {"for_s": 1e12}, "for_s"),
        ("/v1/proposals/prop_1/settle", {}, "reason"),
        ("/v1/topology/rollback", {"revision": -1}, "revision"),
        ("/v1/topology/rollback", {"revision": 9}, "revision"),
    ],
)
async def test_bad_input_names_the_field(client: httpx.AsyncClient, service: Any, path: str, body: Any, param: str) -> None:
    answer = await client.post(path, json=body)
    assert answer.status_code in (400, 404), answer.text
    assert answer.json()["param"] == param
    assert service.topology.said == []


@pytest.mark.parametrize(
    "path",
    [
        "/v1/topology?revision=x",
        "/v1/topology/diff?from=1",
        "/v1/proposals?status=odd",
        "/v1/proposals?before=nan",
        "/v1/topology/history?limit=0",
    ],
)
async def test_bad_parameters_are_named(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    assert answer.status_code == 400
    assert answer.json()["param"] in path


async def test_a_wish_becomes_a_payload(client: httpx.AsyncClient) -> None:
    body = {
        "kind": "spawn",
        "name": "legal",
        "speciality": "contracts",
        "backends": ["plain"],
        "parent": "generalist",
        "strategy": "consensus",
    }
    payload = (await client.post("/v1/proposals", json=body)).json()["payload"]
    assert (payload["spec"]["name"], payload["spec"]["role"], payload["spec"]["backends"]) == ("legal", "specialist", ["plain"])
    assert "consensus" in payload["spec"]["strategy"]
    body = {"kind": "rewire", "node": "generalist", "prompt": "short answers"}
    payload = (await client.post("/v1/proposals", json=body)).json()["payload"]
    assert (payload["spec"]["prompt"], payload["spec"]["role"]) == ("short answers", "generalist")
    children = [{"name": "leases", "patterns": ["p1"]}, {"name": "patents", "prompt": "You know patents."}]
    payload = (await client.post("/v1/proposals", json={"kind": "split", "node": "generalist", "children": children})).json()[
        "payload"
    ]
    assert [(each["spec"]["name"], each["spec"]["role"], each["patterns"]) for each in payload["children"]] == [
        ("leases", "specialist", ["p1"]),
        ("patents", "specialist", []),
    ]
    body = {"kind": "recover", "node": "generalist", "backends": ["plain"]}
    payload = (await client.post("/v1/proposals", json=body)).json()["payload"]
    assert (payload["node"], payload["spec"]["role"], payload["spec"]["backends"]) == ("id-generalist", "recovery", ["plain"])
    assert payload["spec"]["name"].startswith("generalist-recovery-")
