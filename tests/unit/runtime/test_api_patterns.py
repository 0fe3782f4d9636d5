"""The surface and the command line of patterns: who may see them, what is refused by name, what is shown."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import httpx
import numpy as np
import pytest
from typer.testing import CliRunner

from runtime.cli.main import app
from runtime.topology.clustering import unit
from runtime.topology.pattern_look import refined
from runtime.topology.pattern_records import Rules
from runtime.topology.patterns import Patterns
from tests.fakes.http import OPERATOR
from tests.fakes.http import client as api
from tests.fakes.service import FakeService
from tests.unit.runtime.conftest import Handler


@pytest.fixture
def service() -> FakeService:
    service, rng = FakeService(), np.random.default_rng(0)
    found = Patterns(Rules(window=100, first=12, dimensions=8), 32, rng)
    middles = unit(rng.standard_normal((2, 32)))
    for at in range(60):
        vector = unit(middles[at % 2] + 0.05 * rng.standard_normal(32))
        found.see(vector, now=float(at), request_id=f"r{at}", text=f"kind {at % 2} at {at}")
        if found.due:
            found.adopt(refined(found.snapshot()), now=float(at))
    service.patterns.found = found
    return service


@pytest.fixture
async def client(service: FakeService) -> AsyncIterator[httpx.AsyncClient]:
    async with api(service) as http:
        yield http


@pytest.mark.parametrize("path", ["/v1/patterns", "/v1/patterns/p1"])
async def test_only_operators_look(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code in (401, 403)


async def test_patterns_are_listed_and_shown_with_examples(client: httpx.AsyncClient) -> None:
    listed = (await client.get("/v1/patterns", headers=OPERATOR)).json()
    assert listed["states"]["found"] == len(listed["data"]) == 2
    first = listed["data"][0]
    shown = (await client.get(f"/v1/patterns/{first['id']}?examples=3", headers=OPERATOR)).json()
    assert {name: shown[name] for name in first} == first
    assert len({example["text"].split(" at ")[0] for example in shown["examples"]}) == 1
    assert len(shown["examples"]) == 3
    assert (await client.get("/v1/patterns?state=merged", headers=OPERATOR)).json()["data"] == []
    assert len((await client.get("/v1/patterns?limit=1", headers=OPERATOR)).json()["data"]) == 1


@pytest.mark.parametrize(
    ("path", "status", "param"),
    [
        ("/v1/patterns?state=lost", 400, "state"),
        ("/v1/patterns?limit=0", 400, "limit"),
        ("/v1/patterns/p999", 404, "pattern"),
        ("/v1/patterns/..%2e", 404, "pattern"),
        ("/v1/patterns/p1?examples=x", 400, "examples"),
    ],
)
async def test_what_cannot_be_is_refused_by_name(client: httpx.AsyncClient, path: str, status: int, param: str) -> None:
    answer = await client.get(path, headers=OPERATOR)
    assert answer.status_code == status
    assert param in answer.text


def test_the_command_line_tells_them(daemon: Callable[[Handler], list[httpx.Request]]) -> None:
    row = {"id": "p3", "name": "card\x1b[2J freeze", "named_by": "words", "state": "found", "count": 12, "share": 0.25}
    row |= {"trend": -0.05, "first_at": 1.0, "last_at": 2.0, "merged_into": None}
    counts = {"requests_seen": 50, "requests_clustered": 40}

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/patterns":
            return httpx.Response(200, json={"status": "ok", "states": {}, "counts": counts, "data": [row]})
        return httpx.Response(200, json={**row, "examples": [{"request_id": "r1", "text": "freeze it", "similarity": 0.9}]})

    asked = daemon(answer)
    listed = CliRunner().invoke(app, ["patterns", "list", "--state", "found"])
    assert listed.exit_code == 0
    assert "50 requests were looked at, 40 of them" in listed.stdout
    assert "25.0 %" in listed.stdout
    assert "\x1b" not in listed.stdout
    shown = CliRunner().invoke(app, ["patterns", "show", "p3"])
    assert "0.90  freeze it" in shown.stdout
    assert [request.url.path for request in asked] == ["/v1/patterns", "/v1/patterns/p3"]
