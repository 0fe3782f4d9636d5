"""A pool that gets another configuration while it is asked."""

from __future__ import annotations

import asyncio

import pytest

from agents.llm.chat import BackendSpec, ChatReply, ChatRequest
from agents.llm.retry import RetryPolicy
from agents.records import Choice, NotFound
from tests.fakes.backends import ScriptedBackend
from tests.fakes.pool import Bench, spec


class Gated(ScriptedBackend):
    """Answers when it is let."""

    gate = asyncio.Event()

    async def chat(self, request: ChatRequest, *, timeout_s: float) -> ChatReply:
        await self.gate.wait()
        assert not self.closed
        return await super().chat(request, timeout_s=timeout_s)


async def test_a_running_ask_ends_with_its_client_and_new_ones_take_the_new() -> None:
    old, stays = Gated(spec("a"), "old"), ScriptedBackend(spec("b"))
    bench = Bench(old, stays)
    running = asyncio.create_task(bench.chat(Choice(backend="a")))
    await asyncio.sleep(0)
    made: list[ScriptedBackend] = []

    def make(wanted: BackendSpec) -> ScriptedBackend:
        made.append(ScriptedBackend(wanted, "new"))
        return made[-1]

    bench.pool.renew([spec("a", output_usd_per_mtok=5.0), spec("b"), spec("c")], make=make, retry=RetryPolicy(enabled=False))
    assert [backend.spec.name for backend in made] == ["a", "c"], "a client whose spec stayed is kept"
    assert [found.name for found in bench.pool.specs] == ["b", "c", "a"]
    assert (await bench.chat(Choice(backend="a"))).text == "new"
    assert bench.pool.has_leaving
    assert not old.closed
    old.gate.set()
    assert (await running).text == "old"
    await asyncio.sleep(0)
    assert (old.closed, stays.closed, bench.pool.has_leaving) == (True, False, False)
    bench.pool.renew([spec("c")], make=make, retry=RetryPolicy())
    await asyncio.sleep(0)
    assert [backend.closed for backend in (*made, stays)] == [True, False, True]
    with pytest.raises(NotFound):
        await bench.chat(Choice(backend="a"))
    await bench.pool.aclose()
    assert made[1].closed
