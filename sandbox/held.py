"""Resident functions: a process that keeps the code loaded and answers many calls (routers, validators).

Made by runner.Sandbox.hold. A call that ends in anything but a value or the function's own exception costs the process its life.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Protocol

from sandbox.link import Lease, ZygoteGone
from sandbox.records import Json, Limits, Problem, RunResult, SandboxUnavailable
from sandbox.talk import Payload, Talk, encode_inputs, measured, prepare, why_it_ended

_ATTEMPTS = 2


class Keeper(Protocol):
    """What a resident function needs of its Sandbox."""

    def cached(self, payload: Payload) -> bytes | None: ...
    def remember(self, payload: Payload, compiled: bytes | None) -> None: ...
    def forget(self, held: Held) -> None: ...
    def told(self, result: RunResult) -> RunResult: ...
    @property
    def enabled(self) -> bool: ...
    async def lease(self, payload: Payload, limits: Limits, *, held: bool, max_calls: int = 1) -> Lease: ...


class Held:
    """A resident function. Calls are one at a time; each is a RunResult under the limits given to ``hold``."""

    def __init__(self, sandbox: Keeper, code: str, limits: Limits, max_calls: int) -> None:
        self._sandbox = sandbox
        self._limits = limits
        self._max_calls = max_calls
        prepared = prepare(code, None)
        self._payload = prepared if isinstance(prepared, Payload) else None
        self._refused = prepared if isinstance(prepared, RunResult) else None
        self._lease: Lease | None = None
        self._calls = 0
        self._turn = asyncio.Lock()
        self._closed = False

    async def call(self, inputs: Json = None) -> RunResult:
        """``run(inputs)`` in the resident process; a fresh one where there is none. Cancelling ends the process."""
        began = time.perf_counter()
        deadline = began + self._limits.wall_s
        encoded = encode_inputs(inputs)
        result = self._refused
        if result is None:
            result = encoded if isinstance(encoded, RunResult) else await self._in_turn(encoded, deadline)
        return self._sandbox.told(replace(result, wall_s=time.perf_counter() - began))

    async def _in_turn(self, inputs: bytes, deadline: float) -> RunResult:
        try:
            async with asyncio.timeout(max(0.0, deadline - time.perf_counter())):
                await self._turn.acquire()
        except TimeoutError:
            return RunResult(problem=Problem.UNAVAILABLE, error="the calls before it took all its time")
        try:
            return await self._call(inputs, deadline)
        finally:
            self._turn.release()

    async def _call(self, inputs: bytes, deadline: float) -> RunResult:
        for _ in range(_ATTEMPTS):
            if self._lease is not None and not (self._lease.line.alive and self._sandbox.enabled):
                self._drop()
            try:
                result = await self._once(inputs, deadline)
            except SandboxUnavailable as error:
                return RunResult(problem=Problem.UNAVAILABLE, error=str(error))
            except TimeoutError:
                return RunResult(problem=Problem.UNAVAILABLE, error="no process was free within the time limit")
            except ZygoteGone:
                continue
            if result is not None:
                return result
        return RunResult(problem=Problem.UNAVAILABLE, error="the sandbox's process was killed")

    async def _once(self, inputs: bytes, deadline: float) -> RunResult | None:
        """One call; None where the zygote died under it."""
        if self._closed or self._payload is None:
            raise SandboxUnavailable("this resident function was closed")
        fresh = self._lease is None
        if self._lease is None:
            async with asyncio.timeout(max(0.0, deadline - time.perf_counter())):
                self._lease = await self._sandbox.lease(self._payload, self._limits, held=True, max_calls=self._max_calls)
        lease, keep = self._lease, False
        talk = Talk(lease, self._limits.output_bytes)
        try:
            if fresh:
                payload = replace(self._payload, inputs=inputs)
                result = await talk.run(payload, self._sandbox.cached(payload), deadline)
                self._sandbox.remember(payload, talk.compiled)
            else:
                result = await talk.call(inputs, deadline)
            self._calls += 1
            keep = result is not None and result.problem in _KEEPS and self._calls < self._max_calls
        finally:
            if not keep:
                self._drop()
        if result is None:
            measures = await measured(lease)
            if measures is None and not lease.line.alive:
                return None
            return why_it_ended(measures, self._limits, deadline)
        return result

    def _drop(self) -> None:
        if self._lease is not None:
            self._lease.kill()
        self._lease, self._calls = None, 0

    async def aclose(self) -> None:
        """End the process. Idempotent."""
        self._closed = True
        self._drop()
        self._sandbox.forget(self)


_KEEPS = (None, Problem.RAISED, Problem.NOT_SERIALISABLE)
"""What a resident process survives: an answer, and the function's own exception."""
