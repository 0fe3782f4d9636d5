"""How the sandbox stands, as probes and metrics say it; what is counted, and what a reload changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from runtime.sandbox_desk import LEVELS, SandboxDesk, level_of
from sandbox.records import Health, Limits, Problem, RunResult, Setup
from tests.fakes.cluster import RecordingMetrics

FULL = Health(level="full")
REDUCED = Health(level="reduced", missing=("network",), reason="missing and not made up for: a network")
BROKEN = Health(level="off", missing=("seccomp",), reason="needed and missing: seccomp")


class Sandbox:
    """Stands as ``now`` says."""

    def __init__(self, setup: Setup, *, on_result: Callable[[RunResult], None]) -> None:
        self.setup, self.tell, self.now, self.asked, self.deaths = setup, on_result, FULL, 0, 0

    async def health(self) -> Health:
        self.asked += 1
        return self.now

    def renew(self, setup: Setup) -> None:
        self.setup = setup


def desk(**setup: Any) -> tuple[SandboxDesk, Any, RecordingMetrics]:
    metrics = RecordingMetrics()
    made = SandboxDesk(Setup(**setup), metrics, make=Sandbox)  # type: ignore[arg-type]
    return made, made.sandbox, metrics


@pytest.mark.parametrize(
    ("health", "setup", "level"),
    [
        (None, Setup(), "starting"),
        (FULL, Setup(), "full"),
        (REDUCED, Setup(), "refuses"),
        (REDUCED, Setup(allow_reduced=True), "reduced"),
        (BROKEN, Setup(allow_reduced=True), "refuses"),
        (FULL, Setup(enabled=False), "off"),
        (None, Setup(enabled=False), "off"),
    ],
)
def test_the_level_follows_from_the_layers_and_the_operators_word(health: Health | None, setup: Setup, level: str) -> None:
    assert level_of(health, setup) == level


async def test_what_is_missing_is_named_and_full_again_when_it_is_there() -> None:
    made, sandbox, _ = desk(allow_reduced=True)
    assert made.standing() == {"level": "starting", "runs_code": False, "missing": [], "reason": ""}
    sandbox.now = REDUCED
    await made.look()
    assert made.standing() == {"level": "reduced", "runs_code": True, "missing": ["network"], "reason": REDUCED.reason}
    sandbox.now = BROKEN
    await made.look()
    assert made.standing() == {"level": "refuses", "runs_code": False, "missing": ["seccomp"], "reason": BROKEN.reason}
    sandbox.now = FULL
    await made.look()
    assert made.standing() == {"level": "full", "runs_code": True, "missing": [], "reason": ""}


async def test_a_reload_takes_effect_and_a_switched_off_sandbox_is_not_started() -> None:
    made, sandbox, _ = desk(enabled=False)
    await made.look()
    assert (made.level, sandbox.asked, made.standing()["runs_code"]) == ("off", 0, False)
    made.renew(Setup(limits=Limits(wall_s=1)))
    await made.look()
    assert (made.level, sandbox.asked, sandbox.setup.limits.wall_s) == ("full", 1, 1)
    made.renew(Setup(enabled=False))
    assert made.level == "off"


async def test_the_gauges_show_one_level_and_the_restarts() -> None:
    made, sandbox, _ = desk()
    sandbox.deaths = 3
    levels, deaths = made.gauges()
    assert (sum(levels.values()), levels["starting"], deaths) == (1.0, 1.0, 3)
    assert tuple(levels) == LEVELS


def test_the_daemons_own_runs_are_counted() -> None:
    _, sandbox, metrics = desk()
    sandbox.tell(RunResult(value=1, wall_s=0.5))
    sandbox.tell(RunResult(problem=Problem.TIMED_OUT, wall_s=2.0))
    assert metrics.runs == [("ok", 0.5), ("timed_out", 2.0)]
