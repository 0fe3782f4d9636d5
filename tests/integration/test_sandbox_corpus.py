"""Programs that try to get out, and ordinary ones as models write them: none of the first gets there, all of the second run.

``corpus/hostile.jsonl``: each returns or prints REACHED once it has what the policy withholds, or once a bound did not hold.
``corpus/benign.jsonl``: each with the result that plain Python gives.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from sandbox.records import Limits, Problem, Setup, same_json
from sandbox.runner import Sandbox

pytestmark = [pytest.mark.integration, pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")]

FOLDER = Path(__file__).parent / "corpus"
AT_ONCE = 4
LIMITS = Limits(wall_s=3, cpu_s=1)
EASY = Limits(wall_s=30, cpu_s=20)


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FOLDER / name).read_text().splitlines()]


@pytest_asyncio.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(Setup(allow_reduced=True)) as made:
        await made.health()
        await made.health("scipy")
        yield made


async def test_no_hostile_program_reaches_its_goal(sandbox: Sandbox) -> None:
    gate = asyncio.Semaphore(AT_ONCE)

    async def reached(row: dict[str, Any]) -> str:
        async with gate:
            result = await sandbox.run(row["code"], {}, LIMITS)
        told = json.dumps(result.value) + result.stdout
        fine = "REACHED" not in told and result.problem not in (None, Problem.UNAVAILABLE, Problem.CRASHED)
        return "" if fine else f"{row['name']}: {result.problem} {told[:200]} {result.error[:200]}"

    corpus = rows("hostile.jsonl")
    assert len(corpus) > 250
    assert [found for found in await asyncio.gather(*map(reached, corpus)) if found] == []
    assert (await sandbox.run("def run(i):\n    return 41 + i\n", 1, EASY)).value == 42


async def test_ordinary_programs_give_what_plain_python_gives(sandbox: Sandbox) -> None:
    wrong = []
    for row in rows("benign.jsonl"):
        result = await sandbox.run(row["code"], row["inputs"], EASY)
        if not result.ok or not same_json(result.value, row["expected"]):
            wrong.append(f"{row['name']}: line {result.line}: {result.error[:200]} {result.value}")
    assert wrong == []
