"""The backend over HTTP, on a transport without a network: errors, sizes and times."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import orjson
import pytest

from agents.llm import http
from agents.llm.chat import Chunk
from agents.llm.http import HttpBackend
from agents.records import BackendGarbled, BackendRejected, BackendTimeout, BackendUnreachable
from tests.fakes.protocol import ANSWER, DONE, REQUEST, SPEC, event, spec


def backend(handler: Callable[[httpx.Request], httpx.Response], **fields: Any) -> HttpBackend:
    return HttpBackend(spec(api_key="sk-very-secret", **fields), transport=httpx.MockTransport(handler))


async def collect(stream: AsyncIterator[Chunk]) -> list[Chunk]:
    return [chunk async for chunk in stream]


async def test_a_call_has_the_right_url_and_key() -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json=ANSWER)

    b = backend(handler)
    assert (await b.chat(REQUEST, timeout_s=5)).text == "hello"
    assert str(seen[0].url) == "http://127.0.0.1:9/v1/chat/completions"
    assert seen[0].headers["authorization"] == "Bearer sk-very-secret"
    assert orjson.loads(seen[0].content)["model"] == "m"
    await b.aclose()


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (httpx.ConnectError("refused"), BackendUnreachable),
        (httpx.ConnectTimeout("slow"), BackendUnreachable),
        (httpx.ReadTimeout("slow"), BackendTimeout),
        (httpx.ReadError("reset"), BackendUnreachable),
        (httpx.RemoteProtocolError("Server disconnected without sending a response."), BackendUnreachable),
        (httpx.RemoteProtocolError("illegal status line"), BackendGarbled),
        (httpx.LocalProtocolError("Illegal header value b'Bearer sk-very-secret'"), BackendRejected),
        (httpx.PoolTimeout("full"), BackendTimeout),
    ],
)
async def test_every_error_of_the_library_is_translated(error: Exception, kind: type[Exception]) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        raise error

    b = backend(handler)
    with pytest.raises(kind) as caught:
        await b.chat(REQUEST, timeout_s=5)
    assert "sk-very-secret" not in str(caught.value)
    with pytest.raises(kind):
        await collect(b.stream(REQUEST, timeout_s=5))
    await b.aclose()


async def test_html_is_garbled_and_a_large_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    b = backend(lambda request: httpx.Response(200, html="<html>hello</html>"))
    with pytest.raises(BackendGarbled, match="HTML"):
        await b.chat(REQUEST, timeout_s=5)
    monkeypatch.setattr(http, "MAX_REPLY_BYTES", 50)
    b = backend(lambda request: httpx.Response(200, json=ANSWER))
    with pytest.raises(BackendGarbled, match="larger"):
        await b.chat(REQUEST, timeout_s=5)
    stream = {"content-type": "text/event-stream"}
    b = backend(lambda request: httpx.Response(200, headers=stream, content=event("x" * 100) + DONE))
    with pytest.raises(BackendGarbled, match="larger"):
        await collect(b.stream(REQUEST, timeout_s=5))


async def test_a_backend_that_does_not_stream_is_read_all_the_same() -> None:
    b = backend(lambda request: httpx.Response(200, json=ANSWER))
    chunks = await collect(b.stream(REQUEST, timeout_s=5))
    assert [chunk.text for chunk in chunks] == ["hello", ""]
    assert chunks[0].finish_reason == "stop"
    assert chunks[-1].usage is not None


async def test_the_total_time_is_bounded() -> None:
    class Silent(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            await asyncio.Event().wait()
            raise AssertionError

    b = HttpBackend(spec(total_timeout_s=0.02), transport=Silent())
    with pytest.raises(BackendTimeout):
        await b.chat(REQUEST, timeout_s=5)
    with pytest.raises(BackendTimeout):
        await collect(b.stream(REQUEST, timeout_s=0.01))


async def test_a_pool_timeout_gets_a_new_client() -> None:
    calls = 0

    def handler(request: httpx.Request) -> httpx.Response:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise httpx.PoolTimeout("full")
        return httpx.Response(200, json=ANSWER)

    b = backend(handler)
    before = b._lanes[0].client
    assert (await b.chat(REQUEST, timeout_s=5)).text == "hello"
    assert [lane.client is before for lane in b._lanes] == [False]


def test_the_key_is_never_shown() -> None:
    assert "sk-very-secret" not in repr(SPEC)
