"""Management calls, probes and the description of the API, over a fake service."""

from __future__ import annotations

from html import unescape
from typing import Any

import pytest

from agents.llm.chat import BackendSpec
from runtime.config.status import ConfigFault, ConfigStatus, ReloadResult
from tests.fakes.http import OPERATOR, client
from tests.fakes.service import FakeService, fake_settings


async def test_nodes_backends_and_status_are_for_any_client_and_hold_no_secret() -> None:
    service = FakeService(backends=[BackendSpec(name="fast", base_url="http://me:pw@host:1/v1?key=k", api_key="sk-hidden")])
    async with client(service) as http:
        nodes = (await http.get("/v1/nodes")).json()["data"]
        backends = await http.get("/v1/backends")
        status = (await http.get("/v1/status")).json()
    assert (nodes[0]["name"], nodes[0]["state"], nodes[0]["strategy"]) == ("first", "live", "single")
    assert backends.json()["data"][0]["base_url"] == "http://host:1/v1"
    assert all(secret not in backends.text for secret in ("sk-hidden", "pw", "key=k"))
    assert (status["uptime_s"], status["ready"], status["pool_reason"]) == (60.0, True, "configured")
    assert status["cluster"]["kind"] == "local"


async def test_the_configuration_shows_its_faults_and_no_secret() -> None:
    fault = ConfigFault(message="should be greater than 0", setting="retry.max_attempts", line=7, file="/etc/m.toml", at=5.0)
    backend = {"name": "b", "base_url": "http://h/v1", "model": "m", "api_key": "sk-secret"}
    service = FakeService(settings=fake_settings(backends=[backend]))
    service.config_status = ConfigStatus(
        path="/etc/m.toml", digest="d", loaded_at=1.0, reloads=2, last_error=fault, needs_restart=("server.port",)
    )
    service.reload_result = ReloadResult(outcome="invalid", summary="no", error=fault)
    async with client(service) as http:
        shown = await http.get("/v1/config", headers=OPERATOR)
        refused = await http.post("/v1/config/reload", headers=OPERATOR)
        service.reload_result = ReloadResult(outcome="ok", summary="changed: retry.enabled", changed=("retry.enabled",))
        taken = await http.post("/v1/config/reload", headers=OPERATOR)
    body = shown.json()
    assert (body["valid"], body["reloads"], body["needs_restart"]) == (False, 2, ["server.port"])
    assert (body["last_error"]["line"], body["last_error"]["setting"]) == (7, "retry.max_attempts")
    assert body["settings"]["backends"][0]["name"] == "b"
    assert "sk-secret" not in shown.text
    assert (refused.status_code, refused.json()["code"], refused.json()["param"]) == (422, "config_invalid", "retry.max_attempts")
    assert "/etc/m.toml:7: retry.max_attempts: should be greater than 0" in refused.json()["detail"]
    assert (taken.status_code, taken.json()["result"], taken.json()["changed"]) == (200, "ok", ["retry.enabled"])


async def test_requests_are_listed_in_pages_and_traced() -> None:
    service = FakeService()
    async with client(service) as http:
        assert (await http.get("/v1/requests", headers=OPERATOR)).json() == {"data": [{"id": "req_1"}]}
        await http.get("/v1/requests?limit=7&before=req_0", headers=OPERATOR)
        assert (await http.get("/v1/requests/req_1", headers=OPERATOR)).json()["request"] == {"id": "req_1"}
        for unknown in ("nothing", "x" * 500):
            missing = await http.get(f"/v1/requests/{unknown}", headers=OPERATOR)
            assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
    assert service.listed == [(50, None), (7, "req_0")]


@pytest.mark.parametrize("query", ["limit=-1", "limit=0", "limit=NaN", "limit=1000000", "limit=²", f"before={'x' * 500}"])
async def test_a_wrong_page_is_refused_by_name(query: str) -> None:
    async with client(FakeService()) as http:
        reply = await http.get(f"/v1/requests?{query}", headers=OPERATOR)
    assert (reply.status_code, reply.json()["param"]) == (400, query.partition("=")[0])


async def test_a_key_is_made_listed_without_its_secret_and_revoked() -> None:
    service = FakeService()
    async with client(service) as http:
        made = await http.post("/v1/keys", json={"name": "ci", "scope": "client"}, headers=OPERATOR)
        listed = await http.get("/v1/keys", headers=OPERATOR)
        gone = await http.delete(f"/v1/keys/{made.json()['id']}", headers=OPERATOR)
        again = await http.delete(f"/v1/keys/{made.json()['id']}", headers=OPERATOR)
    assert (made.status_code, made.json()["secret"]) == (201, "secret-of-key_0")
    assert "secret" not in listed.text
    assert (gone.status_code, again.status_code) == (204, 404)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": "a\n"}, "name"),
        ({"name": 3}, "name"),
        ({"name": "a", "scope": "root"}, "scope"),
        ({"name": "a", "x": 1}, "x"),
        ([], "body"),
    ],
)
async def test_a_wrong_key_request_is_refused_by_name(body: Any, param: str) -> None:
    service = FakeService()
    async with client(service) as http:
        reply = await http.post("/v1/keys", json=body, headers=OPERATOR)
    assert (reply.status_code, reply.json()["param"]) == (400, param)
    assert service.keys == {}


async def test_probes_and_measures() -> None:
    service = FakeService()
    async with client(service) as http:
        assert (await http.get("/healthz")).json() == {"status": "ok"}
        assert (await http.get("/readyz")).status_code == 200
        assert (await http.get("/metrics")).text.startswith("# HELP")
        service.parts["cluster"] = "starting"
        waiting = await http.get("/readyz")
    assert waiting.status_code == 503
    assert waiting.json()["parts"] == {"ledger": "ok", "cluster": "starting"}


async def test_the_description_names_every_route() -> None:
    async with client(FakeService()) as http:
        document = (await http.get("/openapi.json")).json()
        page = await http.get("/docs", headers={"host": '127.0.0.1"><script>'})
    assert page.status_code == 200
    assert "src=" not in page.text, "nothing comes from the network"
    assert "<script" not in page.text
    paths = document["paths"]
    for path, item in paths.items():
        assert f"<code>{path}</code>" in page.text
        assert all(operation["summary"] in unescape(page.text) for operation in item.values())
    assert set(paths["/api/mock/{path}"]) == {"get", "post", "put", "patch", "delete", "head", "options"}
    assert {"/v1/chat/completions", "/v1/models/{model}", "/v1/keys/{key_id}", "/metrics", "/healthz"} <= set(paths)
    ids = [operation["operationId"] for item in paths.values() for operation in item.values()]
    assert len(set(ids)) == len(ids)
    chat = paths["/v1/chat/completions"]["post"]
    assert chat["requestBody"]["content"]["application/json"]["schema"]["required"] == ["model", "messages"]
    assert chat["responses"]["429"]["content"]["application/json"]["schema"]["$ref"].endswith("/Error")
