"""A daemon in the command line's place: what commands send, and what they make of the replies."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from runtime.cli import client

URL = "http://127.0.0.1:5116"
Handler = Callable[[httpx.Request], httpx.Response]


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Callable[[Handler], list[httpx.Request]]:
    """Put a handler in the daemon's place; gives the requests that it saw."""

    def install(handler: Handler) -> list[httpx.Request]:
        seen: list[httpx.Request] = []

        def note(request: httpx.Request) -> httpx.Response:
            seen.append(request)
            return handler(request)

        made = httpx.MockTransport(note)
        monkeypatch.setattr(client, "open_client", lambda: client.Client(URL, key="mg-operator-x", transport=made))
        return seen

    return install
