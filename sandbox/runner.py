"""The way in: run code that nobody trusts, check it on cases, keep a function resident.

Called by registry, agents and runtime, in any number of processes; one Sandbox belongs to one event loop. Nothing that the code
does comes out as an exception: every run ends in a RunResult, within its wall limit and a fifth of a second.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace

from sandbox import launch
from sandbox.held import Held
from sandbox.link import Lease, Line, Link, ZygoteGone
from sandbox.records import (
    Case,
    CaseReport,
    Health,
    Json,
    Limits,
    Measures,
    Problem,
    RunResult,
    SandboxUnavailable,
    Setup,
    same_json,
)
from sandbox.talk import Payload, Talk, measured, needs_scipy, prepare, why_it_ended

_ATTEMPTS = 2
_CACHE_BYTES = 32 * 2**20


class _Cache:
    """Compiled code by the hash of its source, as children made it; never read here."""

    def __init__(self, max_bytes: int) -> None:
        self._entries: OrderedDict[bytes, bytes] = OrderedDict()
        self._room = max_bytes

    def get(self, key: bytes) -> bytes | None:
        found = self._entries.get(key)
        if found is not None:
            self._entries.move_to_end(key)
        return found

    def put(self, key: bytes, compiled: bytes) -> None:
        if key in self._entries:
            return
        self._entries[key] = compiled
        self._room -= len(compiled)
        while self._room < 0:
            _, dropped = self._entries.popitem(last=False)
            self._room += len(dropped)


class Sandbox:
    """``async with Sandbox() as sandbox: result = await sandbox.run(code, inputs)``. Starts nothing before the first run."""

    def __init__(self, setup: Setup | None = None, *, on_result: Callable[[RunResult], None] = lambda result: None) -> None:
        """``on_result`` is told of every run and call as it ends. For metrics."""
        self.setup = setup or Setup()
        self._links = self._new_links()
        self._old_links: list[Link] = []
        self._deaths = 0
        self._cache = _Cache(_CACHE_BYTES)
        self._held: set[Held] = set()
        self._on_result = on_result

    def _new_links(self) -> dict[bool, Link]:
        return {scientific: Link(self.setup, scientific=scientific) for scientific in (False, True)}

    def renew(self, setup: Setup) -> None:
        """Runs that begin from now on go by ``setup``; running ones, and the calls of resident functions, end as they began.

        Another zygote takes over where ``setup`` needs one. A sandbox that is switched off ends its resident functions.
        """
        old, self.setup = self.setup, setup
        if launch.same_zygote(old, setup):
            return
        self._old_links = [link for link in self._old_links if not link.is_over]
        for link in self._links.values():
            self._deaths += link.deaths
            link.retire()
            self._old_links.append(link)
        self._links = self._new_links()

    @property
    def deaths(self) -> int:
        """How often a zygote was found dead, and another started in its place. For metrics."""
        return self._deaths + sum(link.deaths for link in self._links.values())

    async def __aenter__(self) -> Sandbox:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End resident functions and hang up; the zygote ends with its last caller. Idempotent."""
        for held in list(self._held):
            await held.aclose()
        for link in (*self._links.values(), *self._old_links):
            await link.aclose()

    async def health(self, code: str = "") -> Health:
        """What holds on this machine. Starts the zygote that ``code`` needs, so that a run of it does not pay for that: scipy's
        takes seconds. Never raises."""
        if not self.setup.enabled:
            return Health(level="off", reason="switched off in the configuration")
        try:
            return (await self._links[needs_scipy(code)].line()).health
        except SandboxUnavailable as error:
            return Health(level="off", reason=str(error))

    async def run(self, code: str, inputs: Json = None, limits: Limits | None = None) -> RunResult:
        """Run ``run(inputs)`` of ``code`` in a process of its own. Cancelling ends the process."""
        began = time.perf_counter()
        chosen = limits or self.setup.limits
        payload = prepare(code, inputs)
        result = payload if isinstance(payload, RunResult) else await self._within(payload, chosen, began + chosen.wall_s)
        return self.told(replace(result, wall_s=time.perf_counter() - began))

    async def check(self, code: str, cases: Sequence[Case], limits: Limits | None = None) -> tuple[CaseReport, ...]:
        """``run`` on each case, each in a fresh process, in their order; ``limits`` are those of each run."""
        reports = []
        for index, case in enumerate(cases):
            result = await self.run(code, case.inputs, limits)
            passed = result.ok and (not case.has_expected or same_json(result.value, case.expected))
            reports.append(CaseReport(name=case.name or f"case {index + 1}", result=result, passed=passed))
        return tuple(reports)

    def hold(self, code: str, limits: Limits | None = None, *, max_calls: int = 10_000) -> Held:
        """Keep the function of ``code`` resident for many calls; ``limits`` hold for each. Nothing is started before the first.

        Its module state lives from call to call, until a fresh process takes over after ``max_calls`` or any violation.
        """
        held = Held(self, code, limits or self.setup.limits, max_calls)
        self._held.add(held)
        return held

    # ── one run ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _within(self, payload: Payload, limits: Limits, deadline: float) -> RunResult:
        """One run, once more where the zygote died under it: a run has no effects but its result."""
        waited = RunResult(problem=Problem.UNAVAILABLE, error="no process was free within the time limit")
        for _ in range(_ATTEMPTS):
            try:
                async with asyncio.timeout(deadline - time.perf_counter()):
                    lease = await self.lease(payload, limits, held=False)
            except TimeoutError:
                return waited
            except SandboxUnavailable as error:
                return RunResult(problem=Problem.UNAVAILABLE, error=str(error))
            except ZygoteGone:
                continue
            talk = Talk(lease, limits.output_bytes)
            try:
                result = await talk.run(payload, self.cached(payload), deadline)
                self.remember(payload, talk.compiled)
                lease.kill()
                measures = await measured(lease)
            finally:
                lease.kill()
            if result is None and measures is None and not lease.line.alive:
                continue
            return _with_measures(result, measures, limits, deadline)
        return RunResult(problem=Problem.UNAVAILABLE, error="the sandbox's process was killed")

    def cached(self, payload: Payload) -> bytes | None:
        return self._cache.get(payload.key)

    def remember(self, payload: Payload, compiled: bytes | None) -> None:
        if compiled is not None:
            self._cache.put(payload.key, compiled)

    async def lease(self, payload: Payload, limits: Limits, *, held: bool, max_calls: int = 1) -> Lease:
        """A child for this code. Raises SandboxUnavailable where the layers do not suffice, ZygoteGone."""
        if not self.setup.enabled:
            raise SandboxUnavailable("the sandbox is switched off in the configuration")
        line: Line = await self._links[payload.scientific].line()
        level = line.health.level
        if level == "off" or (level == "reduced" and not self.setup.allow_reduced):
            hint = "" if level == "off" else " (sandbox.allow_reduced = true runs code all the same)"
            raise SandboxUnavailable(f"the sandbox refuses to run code on this machine: {line.health.reason}{hint}")
        return await line.lease(limits, wall_s=limits.wall_s, cpu_s=limits.cpu_s * max_calls, held=held)

    @property
    def known_health(self) -> Health | None:
        """What is known without starting anything: None before the first run. For metrics and health checks."""
        return self._links[False].known_health

    @property
    def enabled(self) -> bool:
        return self.setup.enabled

    def told(self, result: RunResult) -> RunResult:
        self._on_result(result)
        return result

    def forget(self, held: Held) -> None:
        self._held.discard(held)


def _with_measures(result: RunResult | None, measures: Measures | None, limits: Limits, deadline: float) -> RunResult:
    cpu_s, peak = (measures.cpu_s, measures.peak_bytes) if measures else (0.0, 0)
    return replace(result or why_it_ended(measures, limits, deadline), cpu_s=cpu_s, peak_bytes=peak)
