"""For tests of the command line, a daemon in its place; for tests of the request path, none of its pauses."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from runtime import dispatch, open_request
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


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr(open_request, "GRACE_S", 0.0)
