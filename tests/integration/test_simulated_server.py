"""The simulated server as the daemon runs it: a real child process on a real port, with faults on the wire."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from agents.llm.child import ChildServer, free_port
from agents.llm.simulated import simulated_server
from agents.records import BackendUnreachable

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]


@pytest_asyncio.fixture
async def server() -> AsyncIterator[ChildServer]:
    child = simulated_server(seed=5, speed=0)
    await child.start()
    try:
        yield child
    finally:
        await child.stop()


def body(**fields: object) -> dict[str, object]:
    return {"model": "validator", "messages": [{"role": "user", "content": "Describe a lighthouse."}], **fields}


def client(server: ChildServer, timeout_s: float = 10.0) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=f"{server.base_url}/", timeout=timeout_s, trust_env=False)


async def test_two_servers_of_one_seed_say_the_same(server: ChildServer) -> None:
    other = simulated_server(seed=5, speed=0)
    await other.start()
    try:
        async with client(server) as one, client(other) as two:
            first = (await one.post("chat/completions", json=body())).json()
            second = (await two.post("chat/completions", json=body())).json()
    finally:
        await other.stop()
    assert first == second
    assert other.pid is None


async def test_faults_on_the_wire(server: ChildServer) -> None:
    async with client(server, 2.0) as ask:

        async def faulty(fault: str, **fields: object) -> httpx.Response:
            return await ask.post("chat/completions", json=body(**fields), headers={"x-sim-fault": fault})

        with pytest.raises(httpx.ReadTimeout):
            await faulty("hang")
        for fault, fields in (("broken_stream", {"stream": True}), ("broken_stream", {}), ("wrong_length", {})):
            with pytest.raises(httpx.RemoteProtocolError):
                await faulty(fault, **fields)
        assert (await ask.post("chat/completions", json=body())).status_code == 200
    assert not [line for line in server.last_lines if "Traceback" in line]


async def test_a_client_that_hangs_up_leaves_nothing_in_flight(server: ChildServer) -> None:
    async with client(server, 0.3) as ask:
        for stream in (False, True):
            with pytest.raises(httpx.ReadTimeout):
                await ask.post("chat/completions", json=body(model="generator!fault=hang", stream=stream))
    async with client(server) as ask:
        async with asyncio.timeout(5):
            while True:
                stats = (await ask.get(server.base_url.removesuffix("/v1") + "/sim/stats")).json()
                if stats["in_flight"]["generator"] == 0:
                    break
                await asyncio.sleep(0.1)
    assert stats["calls"]["generator"] == 2


async def test_it_comes_back_on_the_same_port_when_it_dies(server: ChildServer) -> None:
    first, url = server.pid, server.base_url
    assert first is not None
    os.kill(first, signal.SIGKILL)
    async with asyncio.timeout(20):
        while server.pid in (None, first) or not await server.healthy():
            await asyncio.sleep(0.05)
    assert (server.base_url, server.restarts) == (url, 1)
    async with client(server) as ask:
        assert (await ask.post("chat/completions", json=body())).status_code == 200


async def test_stop_and_start_again(server: ChildServer) -> None:
    first = server.pid
    await server.start()
    assert server.pid == first
    await server.stop()
    await server.stop()
    assert not await server.healthy()
    await server.start()
    assert await server.healthy()


async def test_a_port_in_use_and_a_child_that_dies_are_named(server: ChildServer) -> None:
    taken = ChildServer([sys.executable, "-c", "pass"], port=server.port, health_path="/", name="second")
    with pytest.raises(BackendUnreachable, match="already in use"):
        await taken.start()
    words = "import sys; print('no such model', file=sys.stderr); sys.exit(3)"
    dying = ChildServer([sys.executable, "-c", words], port=free_port(), health_path="/", name="dying")
    with pytest.raises(BackendUnreachable, match=r"code 3 .*no such model"):
        await dying.start()
    mute = ChildServer(
        [sys.executable, "-c", "import time; time.sleep(60)"], port=free_port(), health_path="/", name="mute", start_timeout_s=0.5
    )
    with pytest.raises(BackendUnreachable, match="not ready"):
        await mute.start()
    assert mute.pid is None


def test_the_child_dies_with_a_parent_that_was_killed() -> None:
    words = (
        "import asyncio\nfrom agents.llm.simulated import simulated_server\n"
        "async def main():\n    child = simulated_server(seed=1, speed=0)\n    await child.start()\n"
        "    print(child.pid, flush=True)\n    await asyncio.sleep(60)\nasyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", words], stdout=subprocess.PIPE, cwd=ROOT, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
    deadline = time.monotonic() + 5
    while _alive(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _alive(child)


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
