"""What generated routers need, in this process: a sandbox that runs code as it is, a book of rounds, a model that writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from registry.artifacts import Registry
from runtime.programs.asks import Said
from runtime.routers.records import Round
from sandbox.records import Case, CaseReport, Health, Json, Limits, Problem, RunResult

LOOP = "while True"


class OpenHeld:
    """``sandbox.held.Held``: code of tests alone runs here. A program with ``while True`` counts as one that never ends."""

    def __init__(self, owner: OpenSandbox, code: str) -> None:
        self._owner, self._code = owner, code
        self._scope: dict[str, Any] | None = None
        self.closed = False

    async def call(self, inputs: Json = None) -> RunResult:
        if self.closed or self._owner.away:
            return RunResult(problem=Problem.UNAVAILABLE, error="the sandbox is away")
        if self._owner.slow > 0:
            self._owner.slow -= 1
            return RunResult(problem=Problem.TIMED_OUT, error="it did not end within the wall-clock limit")
        if LOOP in self._code:
            return RunResult(problem=Problem.TIMED_OUT, error="it did not end within the wall-clock limit")
        try:
            if self._scope is None:
                self._scope = {}
                exec(self._code, self._scope)
            return RunResult(value=self._scope["run"](inputs), wall_s=0.0002)
        except MemoryError:
            return RunResult(problem=Problem.OUT_OF_MEMORY, error="it asked for more than 64 MiB")
        except (ValueError, TypeError, KeyError, ZeroDivisionError) as error:
            return RunResult(problem=Problem.RAISED, error=f"{type(error).__name__}: {error}")

    async def aclose(self) -> None:
        self.closed = True


class OpenSandbox:
    """``slow``: so many calls from now on time out, as on a busy machine. ``away``: nothing can be run."""

    def __init__(self) -> None:
        self.slow, self.away = 0, False
        self.held: list[OpenHeld] = []

    async def health(self, code: str = "") -> Health:
        return Health(level="full")

    def hold(self, code: str, limits: Limits | None = None, *, max_calls: int = 10_000) -> OpenHeld:
        self.held.append(OpenHeld(self, code))
        return self.held[-1]

    async def run(self, code: str, inputs: Json = None, limits: Limits | None = None) -> RunResult:
        return await OpenHeld(self, code).call(inputs)

    async def check(self, code: str, cases: Sequence[Case], limits: Limits | None = None) -> tuple[CaseReport, ...]:
        results = [await self.run(code, case.inputs, limits) for case in cases]
        return tuple(CaseReport(name=case.name, result=r, passed=r.ok) for case, r in zip(cases, results, strict=True))


@dataclass
class MemoryRounds:
    """``runtime.routers.records.RoundBook``."""

    kept: dict[str, Round] = field(default_factory=dict)

    async def save(self, each: Round) -> None:
        self.kept[each.round_id] = each

    async def load(self, *, limit: int) -> Sequence[Round]:
        return sorted(self.kept.values(), key=lambda each: -each.at)[:limit]

    @property
    def last(self) -> Round:
        return max(self.kept.values(), key=lambda each: each.at)


class Writer:
    """``runtime.programs.asks.Asks``: answers by ``says(text)``; None is no answer."""

    def __init__(self, says: Callable[[str], Json]) -> None:
        self.says, self.why, self.asked = says, "the bounds are reached", list[str]()

    def able(self, need: str) -> str | None:
        return "coder"

    async def ask(self, text: str, **more: Any) -> Said | None:
        self.asked.append(text)
        data = self.says(text)
        return None if data is None else Said(text="", data=data, node="generalist", simulated=True)


class OpenDesk:
    """``RegistryDesk`` as far as routers need it."""

    def __init__(self, registry: Registry) -> None:
        self.registry, self.is_open = registry, True


class Clock:
    """One second a look."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        self.now += 1.0
        return self.now
