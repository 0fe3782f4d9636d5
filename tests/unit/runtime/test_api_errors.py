"""What clients see when something is wrong: the status and the form of every error."""

from __future__ import annotations

import re

import pytest

from agents.records import (
    AgentError,
    BackendRejected,
    BudgetExceeded,
    Draft,
    Incomplete,
    Overloaded,
    RateLimited,
    StructuredFailed,
)
from runtime.api.auth import OPEN_PATHS
from runtime.api.errors import from_agent_error, problem_body
from runtime.api.wire import usd
from runtime.records import Request
from tests.fakes.http import HELLO, client
from tests.fakes.service import FakeService

FAILURES: list[tuple[AgentError, int, str]] = [
    (Overloaded("full", retry_after_s=2.2), 429, "rate_limit_error"),
    (RateLimited("slow down"), 429, "rate_limit_error"),
    (BudgetExceeded("spent"), 429, "insufficient_quota"),
    (BackendRejected("context overflow", status=400), 400, "invalid_request_error"),
    (BackendRejected("bad key", status=401), 502, "server_error"),
    (StructuredFailed("no valid answer"), 502, "server_error"),
    (Incomplete("3 of 10 are missing"), 502, "server_error"),
    (AgentError("?"), 500, "server_error"),
]


@pytest.mark.parametrize(("error", "status", "kind"), FAILURES)
async def test_errors_from_below_have_their_status(error: AgentError, status: int, kind: str) -> None:
    def fail(request: Request) -> Draft:
        raise error

    async with client(FakeService(reply=fail)) as http:
        reply = await http.post("/v1/chat/completions", json=HELLO)
    assert (reply.status_code, reply.json()["error"]["type"]) == (status, kind)
    assert reply.json()["error"]["message"] == error.message
    if kind == "rate_limit_error":
        assert reply.headers["retry-after"] == ("3" if error.retry_after_s else "1")


async def test_an_unexpected_error_is_a_500_without_details(caplog: pytest.LogCaptureFixture) -> None:
    def fail(request: Request) -> Draft:
        raise ZeroDivisionError("secret detail")

    async with client(FakeService(reply=fail)) as http:
        reply = await http.post("/v1/chat/completions", json=HELLO)
    assert reply.status_code == 500
    assert "secret detail" not in reply.text
    assert reply.json()["error"]["type"] == "server_error"
    assert any(reply.headers["x-request-id"] in record.message for record in caplog.records)


async def test_unknown_paths_and_methods_answer_in_openais_shape() -> None:
    async with client(FakeService()) as http:
        for method, path, status in (
            ("GET", "/nothing", 404),
            ("GET", "/v1/chat/completions", 405),
            ("TRACE", "/api/mock/x", 405),
        ):
            reply = await http.request(method, path)
            assert reply.status_code == status
            assert reply.json()["error"]["type"] == "invalid_request_error"
            assert reply.headers["x-request-id"]
        assert (await http.get("/v1/chat/completions")).headers["allow"] == "POST"
        managed = await http.put("/v1/keys")
    assert managed.headers["content-type"] == "application/problem+json"


def test_every_error_from_below_has_its_place_in_the_table() -> None:
    kinds, waiting = {AgentError}, [AgentError]
    while waiting:
        found = waiting.pop().__subclasses__()
        kinds.update(found)
        waiting.extend(found)
    for kind in kinds:
        fault = from_agent_error(kind("x", param="p"))
        assert (fault.status == 500) is (kind is AgentError), kind
        assert problem_body(fault)["title"]


def test_amounts_have_no_exponent() -> None:
    assert [usd(amount) for amount in (0.0, 0.0000125, 2.0)] == ["0", "0.0000125", "2"]


_FORMS = {
    **dict.fromkeys(("operator", "native"), "application/problem+json"),
    **dict.fromkeys(("openai", "mock", "health"), "application/json"),
}


async def test_every_route_answers_errors_in_the_form_of_its_surface_and_says_so() -> None:
    async with client(FakeService()) as http:
        paths = (await http.get("/openapi.json")).json()["paths"]
        asked = [(path, method, operation) for path, item in paths.items() for method, operation in item.items()]
        for path, method, operation in asked:
            if path in OPEN_PATHS:
                continue
            form = _FORMS[operation["tags"][0]]
            reply = await http.request(method, re.sub(r"{\w+}", "x", path), headers={"authorization": "Bearer mg-revoked"})
            assert (reply.status_code, reply.headers["content-type"]) == (401, form), path
            if method not in ("head", "options"):
                described = {
                    kind for status in operation["responses"].items() if status[0] >= "400" for kind in status[1]["content"]
                }
                assert described == {form}, path
