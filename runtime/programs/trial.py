"""Trying a program again: what it was run on and held against when it worked, kept with its version, and runs on other seeds.

Called by desk.py and code_review.py. What was kept is read back as data that anybody may have changed: bounded, validated.
Must not import the registry.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import orjson

from agents.programs import CodeUsed
from agents.quality.constraints import parse_constraints, to_json
from agents.records import InvalidRequest, Json, Work
from agents.strategies.program import Problem as Asked
from agents.strategies.program import judge_run
from agents.verdicts import Constraint
from sandbox.records import Limits, RunResult
from sandbox.records import Problem as RunProblem

SEEDS: Final = 3
MAX_TRIAL_CHARS: Final = 4_000
"""What a version's description takes."""
_SEED_STEP: Final = 104_729
UNSAFE: Final = frozenset({RunProblem.REJECTED, RunProblem.CRASHED})


class Runner(Protocol):
    """What is needed of ``sandbox.runner.Sandbox``."""

    async def run(self, code: str, inputs: Json = None, limits: Limits | None = None) -> RunResult: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Inputs that a program was run on, and what its result was held against."""

    inputs: Mapping[str, Json]
    constraints: tuple[Constraint, ...] = ()
    schema: Mapping[str, Json] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What came of ``runs`` runs on as many seeds. ``unsafe`` says why the sandbox would not let it go on; ``away``: nothing
    could be run at all."""

    runs: int
    passed: int
    failures: tuple[str, ...] = ()
    unsafe: str = ""
    away: bool = False
    wall_s: float = 0.0
    peak_bytes: int = 0

    @property
    def good(self) -> bool:
        """It passed on most seeds: what is drawn at random may miss a strict check once."""
        return not self.unsafe and self.runs > 0 and 2 * self.passed > self.runs

    def __str__(self) -> str:
        said = f"{self.passed} of {self.runs} runs on different seeds passed all checks, {self.wall_s:.3f} s the slowest"
        said += f", {self.peak_bytes // 1024} KiB of memory at most"
        return said + (f"; failures: {'; '.join(self.failures)}" if self.failures else "")


def kept(used: CodeUsed) -> str:
    """The trial of a program as text for its version's description; the schema and then the constraints are left out where all of
    it is too long, and "" where even the inputs are."""
    parts: dict[str, Json] = {"inputs": used.inputs, "constraints": to_json(used.constraints), "schema": used.schema}
    for left_out in (None, "schema", "constraints"):
        parts.pop(left_out or "", None)
        try:
            text = orjson.dumps({"trial": parts}, default=dict).decode()
        except TypeError:
            return ""
        if len(text) <= MAX_TRIAL_CHARS:
            return text
    return ""


def trial_of(description: str) -> Trial | None:
    """What ``kept`` wrote; None where there is none, or not one that can be read."""
    try:
        found = orjson.loads(description)["trial"]
        inputs, schema = found["inputs"], found.get("schema")
        constraints = parse_constraints(found.get("constraints") or None)
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError, InvalidRequest):
        return None
    if not isinstance(inputs, dict) or not (schema is None or isinstance(schema, dict)):
        return None
    return Trial(inputs=inputs, constraints=constraints, schema=schema)


async def tried(runner: Runner, code: str, trial: Trial) -> Tried:
    """Run ``code`` on the inputs of ``trial`` with its own and two other seeds, and hold each result against it."""
    asked = Asked(
        work=Work(messages=()),
        layout=None,
        schema=trial.schema,
        constraints=trial.constraints if trial.schema else (),
        total=None,
    )
    seed = trial.inputs.get("seed", 0)
    first = seed if isinstance(seed, int) else 0
    passed, failures, wall_s, peak = 0, dict[str, None](), 0.0, 0
    for number in range(SEEDS):
        result = await runner.run(code, {**trial.inputs, "seed": (first + number * _SEED_STEP) % 2**31})
        if result.problem is RunProblem.UNAVAILABLE:
            return Tried(runs=0, passed=0, away=True, failures=(result.error,))
        if result.problem in UNSAFE:
            return Tried(runs=number + 1, passed=passed, unsafe=f"{result.problem}: {result.error}"[:300])
        judged = await asyncio.to_thread(judge_run, asked, result)
        passed += not judged.failures
        failures.update(dict.fromkeys(judged.failures))
        wall_s, peak = max(wall_s, result.wall_s), max(peak, result.peak_bytes)
    return Tried(runs=SEEDS, passed=passed, failures=tuple(failures)[:5], wall_s=wall_s, peak_bytes=peak)
