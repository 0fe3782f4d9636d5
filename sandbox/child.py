"""A child of the zygote: locks itself, then reads one piece of code with its inputs, runs it and answers. Never returns.

Called by zygote.py after a fork. Speaks frames (wire.py) over descriptors 0 and 1. What it says about itself is not to be
trusted: the code runs in this process. A child runs one piece of code in its life; a resident one calls the same function again.
"""

from __future__ import annotations

import builtins
import gc
import json
import marshal
import os
import random
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import CodeType
from typing import Any

import numpy as np

from sandbox import confine, guards, wire
from sandbox.compiling import compile_code, compile_plain
from sandbox.jsonable import NotJson, TooLarge, encode
from sandbox.names import reveal
from sandbox.records import CodeRefused, Problem
from sandbox.rewrite import FILENAME
from sandbox.seccomp import Filter
from sandbox.world import World

MAX_ERROR_CHARS = 2000
_BASE_RECURSION = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Locks:
    """What a child puts on itself: the filter (None: switched off for measuring) and whether its limits are set."""

    seccomp: Filter | None
    rlimits: bool


def main(descriptor: int, parent: int, world: World, locks: Locks, *, policy: bool) -> None:
    """The whole life of a child, from the fork on."""
    try:
        lock(descriptor, parent, locks)
        _serve(Runner(world, policy=policy))
    except BaseException:  # noqa: S110 - there is nobody to tell: the parent sees the end of the stream
        pass
    finally:
        os._exit(0)


def lock(descriptor: int, parent: int, locks: Locks) -> None:
    """Keep one socket, forget everything of the zygote's, draw new random states, and shut the doors."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.dup2(descriptor, 0)
    os.dup2(descriptor, 1)
    os.closerange(2, 1 << 16)
    confine.die_with_parent(parent)
    seed = int.from_bytes(os.urandom(32))
    random.seed(seed)
    np.random.seed(seed & 0xFFFF_FFFF)
    guards.reseed_mask(seed >> 64 & 0xFFFF_FFFF_FFF0)
    if locks.rlimits:
        confine.limit_child()
    if locks.seccomp is not None:
        locks.seccomp.install()


def _read(count: int) -> bytes:
    parts = []
    while count:
        part = os.read(0, min(count, 1 << 20))
        if not part:
            os._exit(0)
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def _send(frame: bytes) -> None:
    view = memoryview(frame)
    while view:
        view = view[os.write(1, view[: 1 << 18]) :]


def _serve(runner: Runner) -> None:
    while True:
        request = wire.request_header(_read(wire.REQUEST.size))
        code, inputs = _read(request.code_bytes), _read(request.inputs_bytes)
        answer, value = runner.answer(request.kind, code, inputs, request.output_bytes, _send)
        _send(wire.answer(answer, value))


class Runner:
    """Runs code in this process, and keeps it for further calls."""

    def __init__(self, world: World, *, policy: bool) -> None:
        self._world = world
        self._policy = policy
        self._function: Any = None

    def answer(
        self, kind: int, code: bytes, inputs: bytes, output_bytes: int, send: Callable[[bytes], None]
    ) -> tuple[dict[str, Any], bytes]:
        """The answer's header and the value as JSON; never raises but MemoryError in the worst case."""
        output = self._world.output
        output.clear()
        try:
            if kind != wire.CALL:
                self._load(kind, code, send)
            value = encode(self._function(json.loads(inputs)), output_bytes)
            problem: dict[str, Any] = {}
        except BaseException as error:
            problem, value = _described(error), b""
        return {**problem, "stdout": output.text(), "cut": output.cut}, value

    def _load(self, kind: int, code: bytes, send: Callable[[bytes], None]) -> None:
        if kind == wire.RUN_COMPILED:
            compiled = marshal.loads(code)  # noqa: S302 - it is about to be executed in here anyway
        else:
            compiled = self._compile(code.decode("utf-8", "surrogatepass"))
            send(wire.compiled(marshal.dumps(compiled)))
        space = self._world.fresh()
        if not self._policy:
            space = {"__builtins__": builtins, "__name__": "__code__", "print": space["__builtins__"]["print"]}
        sys.setrecursionlimit(_BASE_RECURSION)
        gc.enable()
        exec(compiled, space)  # noqa: S102 - this is what the room is for
        self._function = space.get("run")
        if not callable(self._function):
            raise _NoRun

    def _compile(self, source: str) -> CodeType:
        return compile_code(source, self._world.modules) if self._policy else compile_plain(source)


class _NoRun(Exception):
    """The code defines no function ``run``."""


def _described(error: BaseException) -> dict[str, Any]:
    """What went wrong, as the header of an answer. The error may be the code's own, so nothing of it is relied on."""
    if isinstance(error, CodeRefused):
        return {"problem": Problem.REJECTED, "error": error.reason[:MAX_ERROR_CHARS], "line": error.line}
    if isinstance(error, NotJson):
        return {"problem": Problem.NOT_SERIALISABLE, "error": str(error)[:MAX_ERROR_CHARS]}
    if isinstance(error, TooLarge):
        return {"problem": Problem.OUTPUT_TOO_LARGE, "error": str(error)}
    if isinstance(error, _NoRun):
        return {"problem": Problem.RAISED, "error": "the code defines no function run(inputs)"}
    kind = Problem.OUT_OF_MEMORY if isinstance(error, MemoryError) else Problem.RAISED
    return {"problem": kind, "error": _message(error), "line": _line(error)}


def _message(error: BaseException) -> str:
    try:
        text = str.__str__(str(error))[:MAX_ERROR_CHARS]
        return reveal(f"{type(error).__name__}: {text}" if text else type(error).__name__)
    except BaseException:  # the author's own __str__ may do anything
        return "an exception that cannot be shown"


def _line(error: BaseException) -> int | None:
    """The last line of the code itself that the exception passed."""
    found = None
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == FILENAME:
            found = trace.tb_lineno
        trace = trace.tb_next
    return found
