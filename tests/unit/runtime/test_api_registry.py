"""The registry's routes over fakes: who may, what comes back, what bad input is told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from registry.records import VersionId
from registry.search import Search
from registry.upkeep import fold
from tests.fakes import http
from tests.fakes.registry import World
from tests.fakes.service import FakeService

CODE = "def run(x):\n    return x\n"


class Desk:
    """An open desk over a World."""

    def __init__(self, world: World, search: Search) -> None:
        self.registry, self.search = world.registry, search

    def status(self) -> str:
        return "ok"


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    await made.open()
    yield made
    await made.registry.close()


@pytest.fixture
async def client(world: World) -> AsyncIterator[httpx.AsyncClient]:
    service: Any = FakeService()
    service.registry = Desk(world, await world.search())
    async with http.client(service, headers=http.OPERATOR) as made:
        yield made


def artifact(name: str = "revenue-check", **more: Any) -> dict[str, Any]:
    cases = [{"inputs": 1, "expected": 1, "name": "a"}]
    return {"name": name, "kind": "validator", "content": CODE, "problem": "validate revenue data", "cases": cases, **more}


async def test_from_publishing_to_the_report(client: httpx.AsyncClient, world: World) -> None:
    made = await client.post("/v1/registry/artifacts", json=artifact(author="node-1"))
    assert (made.status_code, made.json()["version_id"]) == (201, "revenue-check@1.0.0")
    assert made.json()["standing"]["state"] == "published"
    fork = {"name": "risk-check", "author": "node-2", "content": CODE + "# bounded", "improvements": ["bounded"]}
    forked = await client.post("/v1/registry/artifacts/revenue-check@1.0.0/fork", json={**fork, "cases": [{"inputs": 1}]})
    assert forked.json()["contributors"] == ["node-2", "node-1"]
    hits = (await client.get("/v1/registry/artifacts", params={"query": "validate revenue", "by": "problem"})).json()
    assert {hit["version_id"] for hit in hits["data"]} == {"revenue-check@1.0.0", "risk-check@1.0.0"}
    listed = (await client.get("/v1/registry/artifacts", params={"kind": "validator", "after": "revenue-check"})).json()["data"]
    assert [(row["name"], row["state"]) for row in listed] == [("risk-check", "published")]
    shown = (await client.get("/v1/registry/artifacts/risk-check")).json()
    assert shown["version"]["content"] == CODE + "# bounded"
    assert [version["number"] for version in shown["artifact"]["versions"]] == ["1.0.0"]
    differ = (await client.get("/v1/registry/diff", params={"from": "revenue-check", "to": "risk-check"})).json()["diff"]
    assert "+# bounded" in differ
    line = (await client.get("/v1/registry/artifacts/risk-check/lineage")).json()
    assert line["drawing"] == [
        "revenue-check@1.0.0 (node-1, published)",
        "└─ risk-check@1.0.0 (node-2, published) ◀",
    ]
    await world.run(VersionId("risk-check@1.0.0"), "node-3", good=9, bad=1)
    await fold(world.registry)
    assert (await client.post("/v1/registry/artifacts/risk-check/stars", json={})).status_code == 201
    report = (await client.get("/v1/registry")).json()
    assert (report["totals"]["artifacts"], report["totals"]["stars"]) == (2, 1)
    assert report["most_used"][0]["name"] == "risk-check"


async def test_moves_aliases_snapshots_and_the_log(client: httpx.AsyncClient) -> None:
    await client.post("/v1/registry/artifacts", json=artifact())
    base = "/v1/registry/artifacts/revenue-check"
    alias = await client.post(f"{base}/alias", json={"alias": "champion", "version": "1.0.0"})
    assert alias.json()["champion"] == "revenue-check@1.0.0"
    assert (await client.post("/v1/registry/snapshots", json={"name": "before"})).status_code == 201
    moved = await client.post(f"{base}/state", json={"to": "deprecated", "reason": "old"})
    assert [row["state"] for row in moved.json()["data"]] == ["deprecated"]
    assert (await client.post(f"{base}/state", json={"to": "restored"})).json()["data"][0]["state"] == "published"
    assert (await client.post(f"{base}/state", json={"to": "archived"})).status_code == 200
    at = (await client.get("/v1/registry/at", params={"snapshot": "before"})).json()
    assert at["standings"][0]["state"] == "published"
    back = await client.post("/v1/registry/snapshots/before/restore", json={})
    assert back.json() == {"snapshot": "before", "changed": 2}
    assert [row["name"] for row in (await client.get("/v1/registry/snapshots")).json()["data"]] == ["before"]
    log = (await client.get(f"{base}/log")).json()["data"]
    assert [row["state"] for row in log if "state" in row] == ["published", "archived", "published", "deprecated", "published"]


async def test_a_review_says_what_is_decided(client: httpx.AsyncClient) -> None:
    await client.post("/v1/registry/artifacts", json=artifact(author="node-1"))
    body = {"role": "security", "opinion": "reject", "score": 0.1, "secure": False, "concerns": ["reads too much"]}
    found = await client.post("/v1/registry/artifacts/revenue-check/reviews", json=body)
    assert found.status_code == 201
    assert (found.json()["verdict"], found.json()["standing"]["state"]) == ("reject", "archived")


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "param"),
    [
        ("POST", "/artifacts", artifact(name="Bad Name"), 400, "name"),
        ("POST", "/artifacts", artifact(kind="song"), 400, "kind"),
        ("POST", "/artifacts", artifact(content="x" * 70_000), 400, "content"),
        ("POST", "/artifacts", artifact(cases=[]), 400, "cases"),
        ("POST", "/artifacts", artifact(cases=[{"inputs": 1, "more": 2}]), 400, "cases.0.more"),
        ("POST", "/artifacts", artifact(content="def run(x): return 2", relation="fork", parents=["gone@1.0.0"]), 404, None),
        ("POST", "/artifacts", artifact(number="0.1"), 400, "number"),
        ("POST", "/artifacts", artifact(surprise=1), 400, "surprise"),
        ("POST", "/artifacts", {}, 400, "name"),
        ("POST", "/artifacts/gone/fork", {"name": "x"}, 404, None),
        ("POST", "/artifacts/revenue-check/reviews", {"role": "x", "opinion": "accept", "score": 1}, 400, "role"),
        ("POST", "/artifacts/revenue-check/reviews", {"role": "quality", "opinion": "accept", "score": 2}, 400, "score"),
        ("POST", "/artifacts/revenue-check/stars", {}, 409, None),
        ("POST", "/artifacts/revenue-check/state", {"to": "published"}, 400, "to"),
        ("POST", "/artifacts/revenue-check/state", {"to": "restored"}, 409, None),
        ("POST", "/artifacts/revenue-check/alias", {"alias": "champion", "version": "9.9.9"}, 404, None),
        ("POST", "/artifacts/revenue-check/alias", {"alias": "champion", "version": "x"}, 400, "version"),
        ("POST", "/snapshots", {"name": "../../x"}, 400, "name"),
        ("POST", "/snapshots/gone/restore", {}, 404, None),
        ("GET", "/artifacts/gone", None, 404, None),
        ("GET", "/artifacts/revenue-check@2.0.0", None, 404, None),
        ("GET", "/artifacts/revenue-check@champion", None, 404, None),
        ("GET", "/artifacts/NO%20THING", None, 400, "name"),
        ("GET", "/artifacts?query=%20", None, 400, "query"),
        ("GET", "/artifacts?query=x&limit=0", None, 400, "limit"),
        ("GET", "/artifacts?query=x&limit=1.5", None, 400, "limit"),
        ("GET", "/artifacts?query=x&by=magic", None, 400, "by"),
        ("GET", "/artifacts?query=x&min_quality=nan", None, 400, "min_quality"),
        ("GET", "/artifacts?kind=song", None, 400, "kind"),
        ("GET", "/diff?from=revenue-check", None, 400, "to"),
        ("GET", "/at?time=yesterday", None, 400, "time"),
        ("GET", "/at?time=-1", None, 400, "time"),
        ("GET", "/at?time=1e300", None, 400, "time"),
        ("GET", "/at", None, 400, "time"),
    ],
)
async def test_bad_input_is_named(
    client: httpx.AsyncClient, world: World, method: str, path: str, body: Any, status: int, param: str | None
) -> None:
    await client.post("/v1/registry/artifacts", json=artifact())
    puts = len(world.journal.puts)
    found = await client.request(method, f"/v1/registry{path}", json=body)
    assert (found.status_code, found.json().get("param")) == (status, param), found.text
    assert found.headers["content-type"] == "application/problem+json"
    assert len(world.journal.puts) == puts


async def test_what_fails_in_the_sandbox_is_422(client: httpx.AsyncClient, world: World) -> None:
    world.checker.failing = {"a"}
    found = await client.post("/v1/registry/artifacts", json=artifact())
    assert (found.status_code, found.json()["code"]) == (422, "check_failed")


async def test_only_operators_may(client: httpx.AsyncClient) -> None:
    for method, path in (("GET", ""), ("GET", "/artifacts"), ("POST", "/artifacts"), ("POST", "/snapshots")):
        found = await client.request(method, f"/v1/registry{path}", headers=http.CLIENT)
        assert found.status_code == 403


async def test_while_it_opens_it_says_so() -> None:
    async with http.client(FakeService(), headers=http.OPERATOR) as client:
        found = await client.get("/v1/registry")
    assert (found.status_code, found.json()["detail"]) == (503, "the registry is opening")
    assert found.headers["retry-after"] == "5"
