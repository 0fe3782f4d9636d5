"""The probe for an Ollama on loopback, against real sockets."""

import asyncio
import time

import pytest

from runtime.first_backends import probe_ollama

pytestmark = pytest.mark.integration

BODY = b'{"models": [{"name": "b", "size": 2}, {"name": "a", "size": 1}]}'


async def served(reply: bytes, *, hang: bool = False) -> tuple[list[str], float]:
    """What the probe makes of a server that sends ``reply``, and how long it took."""
    asked, done = asyncio.Event(), asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(reply)
        if hang:
            await asked.wait()
        writer.close()
        done.set()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        begun = time.monotonic()
        found = await probe_ollama("127.0.0.1", server.sockets[0].getsockname()[1])
        took_s = time.monotonic() - begun
        asked.set()
        await done.wait()
        return found, took_s


async def test_models_are_found() -> None:
    assert (await served(b"HTTP/1.0 200 OK\r\n\r\n" + BODY))[0] == ["a", "b"]


async def test_another_server_on_the_port_is_no_ollama() -> None:
    assert (await served(b"HTTP/1.0 200 OK\r\n\r\n<html>"))[0] == []
    assert (await served(b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 3_000_000))[0] == []


async def test_a_server_that_hangs_costs_half_a_second() -> None:
    found, took_s = await served(b"HTTP/1.0 200 OK\r\n", hang=True)
    assert found == []
    assert took_s < 1.5


async def test_nobody_there() -> None:
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    assert await probe_ollama("127.0.0.1", port) == []
