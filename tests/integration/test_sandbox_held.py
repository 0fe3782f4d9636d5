"""Resident functions of the sandbox: their state, their bounds, their end."""

from __future__ import annotations

import asyncio
import sys

import pytest

from sandbox.records import Limits, Problem
from sandbox.runner import Sandbox
from tests.integration.sandbox_own import COUNT

pytestmark = [pytest.mark.integration, pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")]


async def test_a_resident_function_keeps_its_state_until_a_violation(sandbox: Sandbox) -> None:
    held = sandbox.hold(COUNT, Limits(wall_s=1.5, cpu_s=10))
    assert [(await held.call(None)).value for _ in range(3)] == [1, 2, 3]
    assert (await held.call("fail")).problem is Problem.RAISED
    assert (await held.call(None)).value == 5
    assert (await held.call("hang")).problem is Problem.TIMED_OUT
    assert (await held.call(None)).value == 1
    await held.aclose()
    assert (await held.call(None)).problem is Problem.UNAVAILABLE


async def test_a_resident_function_gets_a_fresh_process_after_so_many_calls(sandbox: Sandbox) -> None:
    held = sandbox.hold(COUNT, max_calls=2)
    assert [(await held.call(None)).value for _ in range(5)] == [1, 2, 1, 2, 1]


async def test_a_refused_resident_function_says_so_at_each_call(sandbox: Sandbox) -> None:
    held = sandbox.hold("import os\ndef run(i):\n    return os.getpid()")
    for _ in range(2):
        assert (await held.call({})).problem is Problem.REJECTED


async def test_calls_at_once_are_answered_one_by_one(sandbox: Sandbox) -> None:
    held = sandbox.hold(COUNT)
    results = await asyncio.gather(*(held.call(None) for _ in range(20)))
    assert sorted(result.value for result in results) == list(range(1, 21))
