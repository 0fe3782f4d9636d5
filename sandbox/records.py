"""The words of the sandbox: what is run, under which limits, what came of it, and the error tree.

Imported by everything in this package and by its callers; imports nothing of the house.

The error tree (for the sandbox itself, never for what the code did, which is a RunResult)::

    SandboxError
    ├── SandboxUnavailable    it cannot run code here and now; ``reason`` says why
    └── CodeRefused           the policy refuses the code; ``line`` and ``reason`` (inside the package only)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

Json = Any

MIB = 2**20
MAX_SOURCE_BYTES = 64 * 1024
MAX_INPUT_BYTES = 16 * MIB
MAX_STDOUT_BYTES = 64 * 1024

Level = Literal["full", "reduced", "off"]


class Problem(StrEnum):
    """Why a run has no value."""

    REJECTED = "rejected"
    """The policy refused the code before it ran."""
    RAISED = "raised"
    """The code raised an exception, or defines no ``run``."""
    TIMED_OUT = "timed_out"
    """It took longer than ``wall_s`` or ``cpu_s``."""
    OUT_OF_MEMORY = "out_of_memory"
    """It asked for more than ``memory_bytes``."""
    OUTPUT_TOO_LARGE = "output_too_large"
    """The result is larger than ``output_bytes``."""
    CRASHED = "crashed"
    """The process ended by itself: a forbidden system call, a fault of memory, a garbled answer."""
    NOT_SERIALISABLE = "not_serialisable"
    """The result, or the inputs, are not JSON."""
    UNAVAILABLE = "unavailable"
    """Not the code's fault: the sandbox is off, starting, too busy, or could not make a process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one run may use. ``wall_s`` counts from the call, waiting for a free process included; ``cpu_s`` is enforced by the
    kernel in whole seconds, rounded up; ``memory_bytes`` is what the run may map on top of the interpreter; ``output_bytes``
    bounds the result as JSON."""

    wall_s: float = 5.0
    cpu_s: float = 5.0
    memory_bytes: int = 256 * MIB
    output_bytes: int = MIB

    def __post_init__(self) -> None:
        """Raises ValueError that names the field."""
        _within("wall_s", self.wall_s, 0.01, 600)
        _within("cpu_s", self.cpu_s, 0.01, 600)
        _within("memory_bytes", self.memory_bytes, 8 * MIB, 8192 * MIB)
        _within("output_bytes", self.output_bytes, 1024, 64 * MIB)


def _within(name: str, value: float, least: float, most: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise ValueError(f"{name} must be a number from {least:g} to {most:g}, not {value!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """What came of one run. ``problem`` is None exactly when it succeeded; then ``value`` holds the result.

    ``error`` says what went wrong in words that the code's author can act on, ``line`` where (1-based, in the code as given).
    ``cpu_s`` and ``peak_bytes`` (resident memory beyond the interpreter's) are the kernel's count for the whole process, 0 when
    no process ran, or for a resident function, whose process lives on. ``wall_s`` is what the caller waited.
    """

    value: Json = None
    problem: Problem | None = None
    error: str = ""
    line: int | None = None
    stdout: str = ""
    stdout_cut: bool = False
    cpu_s: float = 0.0
    wall_s: float = 0.0
    peak_bytes: int = 0

    @property
    def ok(self) -> bool:
        return self.problem is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One set of inputs for ``check``; with ``has_expected`` the value must equal ``expected`` (numbers within 1e-9)."""

    inputs: Json = None
    expected: Json = None
    has_expected: bool = False
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseReport:
    """One case: ``passed`` when the run succeeded and gave what was expected, where something was."""

    name: str
    result: RunResult
    passed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer of the lock-down: whether it holds, shown by a probe in a real child where there is one, and how or why not."""

    name: str
    holds: bool
    how: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What holds on this machine. ``missing`` names the layers that make it less than full."""

    level: Level
    layers: tuple[Layer, ...] = ()
    missing: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """How the sandbox of this process is set up. The machine's actors with the same setup share one zygote.

    ``allow_reduced``: run code though a layer is missing and not made up for. ``without`` switches layers off and
    ``policy = False`` the language policy: only for measuring what the others hold alone; such a zygote is never shared with
    others. ``runtime_dir``: where the socket lives; a private folder is made when None.
    """

    enabled: bool = True
    allow_reduced: bool = False
    limits: Limits = field(default_factory=Limits)
    max_running: int = 0
    """Runs at once on this machine, four times as many where some take long; 0 means twice the cores, at least 4."""
    max_held: int = 64
    """Resident functions at once on this machine."""
    warm: int = 4
    """Children forked ahead."""
    retire_after: int = 50_000
    """Children of one zygote, which share its memory layout, before another takes over."""
    runtime_dir: str | None = None
    policy: bool = True
    without: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """What the kernel counted for one ended child. ``signal`` is 0 where it ended by itself."""

    signal: int
    cpu_s: float
    peak_bytes: int


class SandboxError(Exception):
    """Root of the package's errors. Picklable: built from its message alone."""


class SandboxUnavailable(SandboxError):
    """The sandbox cannot run code; the message says why."""


class CodeRefused(SandboxError):
    """The policy refuses the code: ``reason`` in words that its author can act on, at ``line`` (1-based) where one is known."""

    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(reason, line)
        self.reason = reason
        self.line = line

    def __str__(self) -> str:
        return f"line {self.line}: {self.reason}" if self.line else self.reason


def same_json(left: Json, right: Json) -> bool:
    """Equality of two JSON values, numbers within 1e-9 (relative or absolute); true is not 1."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, int | float) and isinstance(right, int | float):
        if isinstance(left, int) and isinstance(right, int):
            return left == right
        try:
            return left == right or abs(left - right) <= 1e-9 * max(1.0, abs(left), abs(right))
        except OverflowError:
            return False
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(same_json(value, right[key]) for key, value in left.items())
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same_json, left, right))
    return type(left) is type(right) and bool(left == right)
