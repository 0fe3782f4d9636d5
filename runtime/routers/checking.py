"""A router before it may serve: asked about sampled requests twice, in two processes and two orders, each answer held to the
contract.

Called by evolve.py and the bench. What the answers mean is decided purely (runtime/routing/generated.py: check).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from agents.records import Json
from runtime.config.routers import RoutersSettings
from runtime.routers.desk import fault_of, limits_of
from runtime.routing.generated import MAX_SAMPLES, Answered, Checked, Fault, check
from runtime.routing.records import Arm
from sandbox.held import Held
from sandbox.records import Problem, RunResult, SandboxUnavailable
from sandbox.runner import Sandbox

MOST_P50_MS: Final = 20.0
"""Calls are measured on a machine that works: what takes longer at the median loops over more than it should."""
MOST_FAULTS: Final = 3
"""A router that failed so often is not asked further: a loop costs its whole time limit each time."""
TRIES: Final = 2


async def checked(
    sandbox: Sandbox,
    code: str,
    samples: Sequence[tuple[Mapping[str, Any], Sequence[Arm]]],
    *,
    settings: RoutersSettings,
    configured: frozenset[str],
) -> Checked:
    """Hold a router against ``samples`` (features, open arms). Raises SandboxUnavailable where no code can be run now."""
    chosen = samples[:MAX_SAMPLES]
    order = range(len(chosen))
    first = await _asked(sandbox, code, [chosen[at][0] for at in order], settings)
    faulty = sum(fault_of(result) is not None for result in first) >= MOST_FAULTS
    again = [] if faulty else await _asked(sandbox, code, [chosen[at][0] for at in reversed(order)], settings)
    again = list(reversed(again)) if len(again) == len(first) else list(first)
    answers = [
        Answered(first=one.value, again=other.value, fault=_fault(one, other), wall_s=one.wall_s)
        for one, other in zip(first, again, strict=True)
    ]
    open_ = [arms for _, arms in chosen[: len(answers)]]
    return check(answers, open_, configured=configured, most_p50_ms=MOST_P50_MS)


def _fault(one: RunResult, other: RunResult) -> Fault | None:
    return fault_of(one) or fault_of(other)


async def _asked(sandbox: Sandbox, code: str, inputs: Sequence[Json], settings: RoutersSettings) -> list[RunResult]:
    """Each input in turn in one process; ends early where the router keeps failing."""
    await sandbox.health(code)
    held = sandbox.hold(code, limits_of(settings))
    found: list[RunResult] = []
    try:
        for each in inputs:
            result = await available(held, each)
            found.append(result)
            if sum(fault_of(one) is not None for one in found) >= MOST_FAULTS:
                break
    finally:
        await held.aclose()
    return found


async def available(held: Held, inputs: Json) -> RunResult:
    """One call, again where the machine may have been too busy for it. Raises SandboxUnavailable where it stays so."""
    result = await held.call(inputs)
    for _ in range(TRIES):
        if result.problem not in (Problem.UNAVAILABLE, Problem.TIMED_OUT):
            return result
        result = await held.call(inputs)
    if result.problem is Problem.UNAVAILABLE:
        raise SandboxUnavailable(result.error)
    return result
