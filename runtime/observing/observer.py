"""The shell of self-observation: reads outcomes, lets the rules look at each window in a thread, hands drafts to the controller.

Built by build.py; the controller asks ``propose`` once a round (runtime/controlling/ports.py: Source). What is looked for is
decided in runtime/topology/ (pure). Nothing here waits for a model: introspection runs beside it, and its drafts are handed over
when they are there. Times between windows are of a clock that never jumps; what the ledger says of the time is never relied on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from agents.records import AgentError
from runtime.cluster import WarmUse
from runtime.config.observe import ObserveSettings
from runtime.ledger.observing import PIECE
from runtime.ledger.records import LedgerError
from runtime.observing.introspection import Introspection
from runtime.routing.distill import Finding
from runtime.topology import shrinking
from runtime.topology.claims import Claims
from runtime.topology.compare import answers_alike
from runtime.topology.efficiency import Efficiency, efficiency
from runtime.topology.memory_wire import memory_text, remembered_from
from runtime.topology.observe import due, observe
from runtime.topology.outcomes import MAX_OUTCOMES, Log, Outcomes
from runtime.topology.propose import Proposed, propose
from runtime.topology.records import Draft
from runtime.topology.shape import Topology
from runtime.topology.situation import Check, Memory, Rules, Seen, Situation
from runtime.topology.verify import Terms

log = logging.getLogger(__name__)

READ_AGAIN: Final = 500
"""So many of the newest outcomes are read again before a window: judges and people speak later than answers."""
FINDINGS_EVERY: Final = 6
"""Looks between two distillations of the router's log."""
MAX_HISTORY: Final = 200
CLAIMS_S: Final = 28 * 86_400.0
"""How long what went on without a specialist counts: its backends and prices change."""
MAX_CHECKED: Final = 5_000
"""Outcomes whose traces are searched for checks that found something."""
MAX_COMPARED: Final = 8
"""Pairs of nodes whose answers are compared in one look."""


class Reads(Protocol):
    """What is needed of the ledger (runtime/ledger/observing.py)."""

    async def first(self, *, since: float, most: int = ...) -> int: ...

    async def after(self, key: int, *, locale_of: Mapping[str, str], limit: int = ...) -> tuple[list[int], Outcomes]: ...

    async def checks(self, after: int) -> list[Check]: ...

    async def answers(self, node: str, after: int) -> list[tuple[str, str]]: ...

    async def claims(self, since: float) -> Mapping[str, Claims]: ...

    async def memory(self) -> str: ...

    async def remember(self, text: str) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One look at the network: the window with the shape that it was held against, the score, and what the rules said. ``took_s``
    is the time of the thread."""

    at: float
    situation: Situation
    efficiency: Efficiency
    proposed: Proposed
    took_s: float


async def nothing_waits() -> None:
    """Every request has its pattern at once."""


async def all_of_it() -> float:
    """No promise was broken yet."""
    return 1.0


class Observer:
    """A ``Source`` of the controller. ``patterns`` are those known now, ``findings`` what the router's log says could go;
    ``on_look`` hears of every look; ``labelled`` returns when the newest requests have their patterns; ``terms`` are those of
    probations, ``prices`` what backends take for a prompt token, ``trust`` how far promises of better answers are believed,
    ``warm`` what was asked of the pool of blank nodes. ``introspection`` None: no model is asked."""

    def __init__(
        self,
        *,
        reads: Reads,
        settings: ObserveSettings,
        patterns: Callable[[], Mapping[str, Seen]] = dict,
        findings: Callable[[], Awaitable[Sequence[Finding]]] | None = None,
        introspection: Introspection | None = None,
        labelled: Callable[[], Awaitable[None]] = nothing_waits,
        terms: Callable[[], Terms] | None = None,
        prices: Callable[[], Mapping[str, float]] = dict,
        warm: Callable[[], WarmUse | None] = lambda: None,
        trust: Callable[[], Awaitable[float]] = all_of_it,
        on_look: Callable[[Look], None] = lambda look: None,
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self.introspection = introspection
        self.on_look = on_look
        self.looks: deque[Look] = deque(maxlen=MAX_HISTORY)
        self._reads, self._patterns, self._find, self._labelled = reads, patterns, findings, labelled
        self._wall, self._clock, self._terms, self._prices = wall, clock, terms, prices
        self._trust, self._warm = trust, warm
        self._log = Log()
        self._memory = Memory()
        self._key, self._looked_key = -1, 0
        self._looked_at = clock()
        self._known: frozenset[str] = frozenset()
        self._findings: Sequence[Finding] = ()
        self._busy = asyncio.Lock()
        self._asked: asyncio.Task[None] | None = None
        self._waiting: list[Draft] = []

    @property
    def newest(self) -> Look | None:
        return self.looks[-1] if self.looks else None

    @property
    def windows(self) -> int:
        """How many windows were looked at since the start."""
        return self._memory.window

    def outcomes(self) -> Outcomes:
        """Those of the horizon, as far as they were read."""
        return self._log.newest(MAX_OUTCOMES)

    # ── Source ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def propose(
        self, topology: Topology, *, open_keys: frozenset[str], held_back: frozenset[str], now: float
    ) -> Sequence[Draft]:
        """What a window that is over brings; nothing while it is not. Raises LedgerError."""
        async with self._busy:
            await self._read(topology, now)
            fresh, elapsed = self._log.since(self._looked_key), self._clock() - self._looked_at
            found: list[Draft] = []
            rules = self.settings
            if due(requests=fresh, elapsed_s=elapsed, every_requests=rules.every_requests, every_s=rules.every_s):
                look = await self._look(topology, fresh, open_keys, held_back, now)
                found += look.proposed.drafts
            found += self._waiting
            self._waiting = []
            return found

    async def look(self, topology: Topology, *, now: float) -> Look:
        """Look now, whether or not a window is over; nothing is proposed by it and nothing counted. Raises LedgerError."""
        async with self._busy:
            await self._read(topology, now)
            fresh = self._log.since(self._looked_key)
            situation = await self._situation(topology, fresh, now)
            return await asyncio.to_thread(self._judge, situation, frozenset(), frozenset())

    async def catch_up(self, topology: Topology, *, now: float) -> None:
        """Read what was written since. Raises LedgerError."""
        async with self._busy:
            await self._read(topology, now)

    async def hear(self, look: Look) -> None:
        """Ask a model about a look now; what it recommends is handed to the controller in its next round."""
        if self.introspection is not None:
            await self._hear(self.introspection, look)

    async def close(self) -> None:
        """End the question to a model that is under way."""
        if self._asked is not None:
            self._asked.cancel()
            await asyncio.gather(self._asked, return_exceptions=True)

    # ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _read(self, topology: Topology, now: float) -> None:
        """Take up what was written since the last time."""
        if self._key < 0:
            first = await self._reads.first(since=now - self.settings.horizon_s)
            kept = await self._kept(topology, now)
            self._key, self._looked_key = first, max(first, kept)
        locales = {member.spec.name: member.spec.locale for member in topology.members.values()}
        while True:
            keys, outcomes = await self._reads.after(self._key, locale_of=locales, limit=PIECE)
            if keys:
                self._log.append(keys, outcomes)
                self._key = keys[-1]
            if len(keys) < PIECE:
                break
        # Keys begin anew in a ledger that was emptied: what was looked at is never beyond what there is.
        self._looked_key = min(self._looked_key, self._key)

    async def _kept(self, topology: Topology, now: float) -> int:
        """Go on where the daemon before this one was: what its rules remembered, and the key up to which it looked."""
        text = await self._reads.memory()
        # Patterns are kept by their own desk: what is known there is no news.
        self._known = frozenset(self._patterns())
        found = remembered_from(text, topology=topology, now=now, rules=Rules()) if text else None
        if found is None:
            return 0
        self._memory = found.memory
        self._looked_at = self._clock() - min(found.since_s, self.settings.every_s)
        return found.key

    async def _read_again(self, topology: Topology, now: float) -> None:
        """The newest outcomes once more: by now they may have been judged."""
        key = self._log.key_before(READ_AGAIN)
        if key:
            self._log.cut(key)
            self._key = key - 1
            await self._read(topology, now)

    # ── looking ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _look(
        self, topology: Topology, fresh: int, open_keys: frozenset[str], held_back: frozenset[str], now: float
    ) -> Look:
        await self._labelled()
        await self._read_again(topology, now)
        if self._find is not None and self._memory.window % FINDINGS_EVERY == 0:
            self._findings = await self._find()
        situation = await self._situation(topology, fresh, now)
        look = await asyncio.to_thread(self._judge, situation, open_keys, held_back)
        self._memory = look.proposed.memory
        self._known |= frozenset(situation.window.patterns.names)
        if len(self._known) > MAX_OUTCOMES:
            self._known = frozenset(situation.window.patterns.names)
        self._looked_key, self._looked_at = self._log.last, self._clock()
        await self._remember(topology, now)
        self.looks.append(look)
        self.on_look(look)
        self._ask(look)
        return look

    async def _remember(self, topology: Topology, now: float) -> None:
        """What a restart must not take from the rules. The look stands without it."""
        text = memory_text(self._memory, key=self._looked_key, topology=topology, now=now, rules=Rules())
        try:
            await self._reads.remember(text)
        except (AgentError, LedgerError) as error:
            log.warning("what the rules remember is not kept: %s", error)

    async def _situation(self, topology: Topology, fresh: int, now: float) -> Situation:
        count = max(fresh, self.settings.every_requests)
        after = max(0, self._log.key_before(count) - 1)
        checks = await self._reads.checks(max(after, self._log.key_before(MAX_CHECKED) - 1))
        rules = Rules(
            least_seen=self.settings.least_seen, least_gain=self.settings.least_gain, cooldown_s=self.settings.cooldown_s
        )
        rules = replace(rules, headroom=rules.headroom * await self._trust())
        if self._terms is not None:
            terms = self._terms()
            rules = replace(rules, watch_s=terms.probation_s * (1 + terms.extensions), watch_least=terms.least)
        outcomes, known, number = self._log.newest(count), self._known, self._memory.window + 1
        window = await asyncio.to_thread(observe, outcomes, number=number, known_patterns=known)
        situation = Situation(
            window=window,
            topology=topology,
            patterns=self._patterns(),
            checks=checks,
            findings=self._findings,
            memory=self._memory,
            rules=rules,
            now=now,
            simulated=bool(outcomes.simulated.any()),
            input_usd=self._prices(),
            warm=self._warm(),
            claims=await self._reads.claims(now - CLAIMS_S),
        )
        return replace(situation, likeness=await self._likeness(situation, after))

    async def _likeness(self, situation: Situation, after: int) -> dict[tuple[str, str], float]:
        """How alike the nodes answer that are asked the same."""
        names = situation.window.nodes.names
        said: dict[str, list[tuple[str, str]]] = {}
        found: dict[tuple[str, str], float] = {}
        for a, b, _ in (await asyncio.to_thread(shrinking.pairs, situation))[:MAX_COMPARED]:
            for name in (names[a], names[b]):
                if name not in said:
                    said[name] = await self._reads.answers(name, after)
            alike = await asyncio.to_thread(answers_alike, said[names[a]], said[names[b]])
            if alike is not None:
                found[shrinking.pair_key(names[a], names[b])] = alike
        return found

    def _judge(self, situation: Situation, open_keys: frozenset[str], held_back: frozenset[str]) -> Look:
        began = time.perf_counter()
        score = efficiency(situation)
        proposed = propose(situation, open_keys=open_keys, held_back=held_back)
        return Look(at=self._wall(), situation=situation, efficiency=score, proposed=proposed, took_s=time.perf_counter() - began)

    # ── asking a model ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _ask(self, look: Look) -> None:
        """Let a model look as well, where it is time for that and none is asked already."""
        if self.introspection is None or not self.settings.ask_models or (self._asked is not None and not self._asked.done()):
            return
        if look.efficiency.asks_for_changes or look.situation.window.number % self.settings.ask_every == 0:
            self._asked = asyncio.create_task(self._hear(self.introspection, look), name="introspection")

    async def _hear(self, introspection: Introspection, look: Look) -> None:
        try:
            found = await introspection.ask(look.situation, look.efficiency)
        except (AgentError, LedgerError) as error:
            log.warning("no model could be asked about the network: %s", error)
            return
        self._waiting = list(found.drafts)
