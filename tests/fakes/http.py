"""The API in process over a fake service, for tests of the surfaces: no socket, and errors as a client would get them."""

from __future__ import annotations

from collections.abc import Mapping

import httpx

from runtime.api.app import create_app
from tests.fakes.service import CLIENT_KEY, OPERATOR_KEY, FakeService

OPERATOR = {"authorization": f"Bearer {OPERATOR_KEY}"}
CLIENT = {"authorization": f"Bearer {CLIENT_KEY}"}
CHAT = "/v1/chat/completions"
HELLO = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}


def client(
    service: FakeService,
    *,
    at: float = 1060.0,
    host: str = "127.0.0.1",
    peer: str = "127.0.0.1",
    headers: Mapping[str, str] | None = None,
) -> httpx.AsyncClient:
    """A client of the API of ``service``. ``at`` is the daemon's time in epoch seconds, ``peer`` the address that it sees."""
    app = create_app(service, clock=lambda: at)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=(peer, 123))
    return httpx.AsyncClient(transport=transport, base_url=f"http://{host}:5116", headers=headers)
