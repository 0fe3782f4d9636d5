"""A real GGUF file served by the embedded llama.cpp server in its child process."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from agents.llm.child import ChildServer
from agents.llm.local import find_packaged_gguf, local_server
from agents.records import InvalidRequest

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(importlib.util.find_spec("xllamacpp") is None, reason="xllamacpp (extra 'local') is not installed"),
    pytest.mark.skipif(find_packaged_gguf() is None, reason="no packaged GGUF file is installed"),
]


@pytest_asyncio.fixture
async def server() -> AsyncIterator[ChildServer]:
    gguf = find_packaged_gguf()
    assert gguf is not None
    child = local_server("smol", gguf, threads=1, context_tokens=1024, parallel=2)
    await child.start()
    try:
        yield child
    finally:
        await child.stop()


async def _ask(server: ChildServer, **body: object) -> dict[str, object]:
    async with httpx.AsyncClient(base_url=server.base_url + "/", timeout=90, trust_env=False) as client:
        reply = await client.post("chat/completions", json={"model": "smol", "temperature": 0, **body})
    assert reply.status_code == 200, reply.text
    answer: dict[str, object] = reply.json()
    return answer


async def test_a_real_model_answers_freely_and_by_schema_and_comes_back_after_a_crash(server: ChildServer) -> None:
    free = await _ask(server, messages=[{"role": "user", "content": "Name one colour."}], max_tokens=24)
    assert free["choices"][0]["message"]["content"].strip()  # type: ignore[index]
    assert free["usage"]["completion_tokens"] > 0  # type: ignore[index]

    schema = {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 20}, "age": {"type": "integer"}},
        "required": ["name", "age"],
        "additionalProperties": False,
    }
    shaped = await _ask(
        server,
        messages=[{"role": "user", "content": "Extract name and age: Berta is 52 years old."}],
        max_tokens=80,
        response_format={"type": "json_schema", "json_schema": {"name": "person", "schema": schema}},
    )
    data = json.loads(shaped["choices"][0]["message"]["content"])  # type: ignore[index]
    assert set(data) == {"name", "age"}
    assert isinstance(data["age"], int)

    first = server.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    async with asyncio.timeout(60):
        while server.pid in (None, first) or not await server.healthy():
            await asyncio.sleep(0.05)
    assert server.restarts == 1
    again = await _ask(server, messages=[{"role": "user", "content": "Name one colour."}], max_tokens=8)
    assert again["usage"]["completion_tokens"] > 0  # type: ignore[index]


def test_a_missing_or_wrong_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="cannot be read"):
        local_server("x", tmp_path / "none.gguf")
    (tmp_path / "text.gguf").write_text("not a model")
    with pytest.raises(InvalidRequest, match="not a GGUF"):
        local_server("x", tmp_path / "text.gguf")
