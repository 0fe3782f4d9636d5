"""Plays a script on a network: bursts of requests, leaps of the clock between them, an operator who reads proposals.

Called by __main__.py and the tests. What happens is the network's own doing; nothing here changes its shape but by the operator's
words over HTTP. Latencies are real, on the pretenders' clock (``speed``).
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ops.sim.daemon import Network
from ops.sim.script import Ask, Event, Script, Traffic, moments, score
from runtime.observing.observer import Observer
from runtime.specialists.desk import artifact_of

AT_ONCE: Final = 8
SETTLE_S: Final = 4.0
"""Longest real time that is waited for the rules to look, once their window is over."""
CHORES_S: Final = 0.35
"""Real time after each burst for what goes on beside requests: labels, judges, routines."""
ROUND_S: Final = 0.15
"""Real time for a round of the control loop."""
ROUTINE_S: Final = 15.0
HELD_S: Final = 1.2
"""Real time: most in which the routine of a new specialist is written and checked, and until it is held."""
OPEN_S: Final = 90.0


@dataclass(slots=True, kw_only=True)
class Played:
    """What the driver itself saw: requests by kind, those that failed (HTTP status of each), decisions, the shape by day."""

    asked: Counter[str] = field(default_factory=Counter)
    failed: Counter[int] = field(default_factory=Counter)
    scored: list[float] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    shape: list[dict[str, Any]] = field(default_factory=list)
    took_s: float = 0.0


class Month:
    """``play`` once."""

    def __init__(self, network: Network, script: Script, *, days: int, seed: int) -> None:
        self._network, self._script, self._days = network, script, days
        self._traffic = Traffic(script, seed)
        self._nth: Counter[str] = Counter()
        self._read: set[str] = set()
        self.played = Played()

    async def play(self) -> Played:
        """All days."""
        began = time.monotonic()
        await self._opened()
        before = -1
        for day, n in moments(self._script, self._days):
            if int(day) != before and before >= 0:
                await self._sample(before)
                _say(f"day {before + 1} of {self._days}: {self._told()}, {time.monotonic() - began:.0f} s")
            before = int(day)
            await self._leap(day, looks=False)
            await self._happen(day)
            await self._burst(self._traffic.asks(day, n))
            await self._leap(day + self._script.decides_after_h / 24, looks=n > 0)
            await self._decide()
        await self._sample(before)
        self.played.took_s = time.monotonic() - began
        return self.played

    async def _opened(self) -> None:
        """Wait until embeddings, patterns and the library are there: a month does not begin before."""
        end = time.monotonic() + OPEN_S
        while time.monotonic() < end:
            patterns = (await self._network.call("GET", "/v1/patterns"))[1].get("status")
            if patterns == "ok" and (await self._network.call("GET", "/v1/library"))[0] == 200:
                return
            await asyncio.sleep(0.1)
        raise RuntimeError(f"patterns and library were not ready within {OPEN_S:g} s")

    # ── requests ────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _burst(self, asks: Sequence[Ask]) -> None:
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(ask: Ask) -> None:
            async with gate:
                await self._ask(ask)

        await asyncio.gather(*map(one, asks))
        await asyncio.sleep(CHORES_S)

    async def _ask(self, ask: Ask) -> None:
        played = self.played
        status, reply = await self._network.call("POST", "/v1/requests", dict(ask.body))
        played.asked[ask.kind] += 1
        if status != 200:
            played.failed[status] += 1
            return
        given = reply.get("answer") if isinstance(reply.get("answer"), dict) else {}
        said = score(ask, str(given.get("text") or ""), given.get("data")) if ask.told else None
        if said is not None:
            played.scored.append(said)
            await self._network.call("POST", f"/v1/requests/{reply['id']}/feedback", {"score": said})

    # ── the pool ────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _happen(self, day: float) -> None:
        """Let events begin and end that are due."""
        for number, event in enumerate(self._script.events):
            begins, ends = f"{number} begins", f"{number} ends"
            if event.day <= day and begins not in self._read:
                self._read.add(begins)
                await self._begin(event)
            if event.until is not None and event.until <= day and ends not in self._read:
                self._read.add(ends)
                await self._network.spoil(event.backend, None)
                self.played.events.append({"day": day, "what": f"{event.backend} is well again"})

    async def _begin(self, event: Event) -> None:
        if event.prices is not None:
            await self._network.charge(event.backend, event.prices)
        else:
            await self._network.spoil(event.backend, event.fault)
        self.played.events.append({"day": event.day, "what": event.words})

    # ── the operator ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _decide(self) -> None:
        """Read what is proposed and say yes, or no where the script says so."""
        _, found = await self._network.call("GET", "/v1/proposals?status=proposed&limit=100")
        born: list[str] = []
        for each in sorted(found["data"], key=lambda one: float(one["created_at"])):
            self._nth[each["kind"]] += 1
            no = next((r for r in self._script.refusals if (r.kind, r.nth) == (each["kind"], self._nth[each["kind"]])), None)
            path, who = f"/v1/proposals/{each['id']}", self._script.operator
            if no is not None:
                await self._network.call("POST", f"{path}/reject", {"reason": f"{who}: {no.reason}"})
                continue
            await self._network.call("POST", f"{path}/approve", {"hash": each["hash"], "comment": f"{who}: go on"})
            if each["kind"] == "spawn":
                born.append(artifact_of(each["subject"]))
        if born:
            await self._written(born)
        elif found["data"]:
            await asyncio.sleep(CHORES_S)

    async def _written(self, routines: Sequence[str]) -> None:
        """Give the routines of new specialists the real time that they take: hours pass between bursts, and here seconds."""
        registry = self._network.daemon.service.registry.registry
        for _ in range(int(ROUTINE_S / ROUND_S)):
            await asyncio.sleep(ROUND_S)
            if all(name in registry.catalog.artifacts for name in routines):
                break
        await asyncio.sleep(HELD_S)

    # ── time ────────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _leap(self, day: float, *, looks: bool) -> None:
        """It is ``day``: what is due by then happens now, and with ``looks`` the rules' next look, which comes after requests
        once their window is over."""
        service = self._network.daemon.service
        await service.ledger.flush()
        observer = next(source for source in service.controller.sources if isinstance(source, Observer))
        before = observer.windows
        self._network.clock.leap_to(day)
        service.controller.kick()
        for _ in range(int(SETTLE_S / ROUND_S)):
            await asyncio.sleep(ROUND_S)
            if not looks or observer.windows > before:
                return

    async def _sample(self, day: int) -> None:
        _, shape = await self._network.call("GET", "/v1/topology")
        roles = Counter(node["role"] for node in shape["nodes"] if node["desired"] == "live")
        self.played.shape.append(
            {"day": day, "live": shape["live"], "parked": shape["parked"], "roles": dict(roles), "revision": shape["revision"]}
        )

    def _told(self) -> str:
        last = self.played.shape[-1]
        return f"{self.played.asked.total()} requests, {last['live']} nodes live, {last['parked']} parked"


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)
