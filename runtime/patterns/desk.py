"""Patterns in the daemon: each request is labelled as it arrives, the window is looked at again from time to time, and what is
known outlives a restart.

Built and run by work.py; dispatch reaches ``arrived`` through the look-up that comes before a node is chosen. A request never
waits for it: one whose words were embedded already is labelled at once (some tens of microseconds), another one beside its own
work, as many as a bounded queue takes. Must not import dispatch.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np

from agents.records import Event
from registry.embedding import Embedder
from registry.records import RegistryError
from runtime.config.patterns import PatternSettings
from runtime.learner.features import text_of
from runtime.ledger.records import LedgerError
from runtime.open_request import OpenRequest
from runtime.patterns.naming import BY_WORDS, by_words
from runtime.patterns.records import Kept, PatternBook
from runtime.records import Request
from runtime.topology.clustering import Floats, unit
from runtime.topology.pattern_look import refined
from runtime.topology.pattern_records import Pattern, Rules
from runtime.topology.patterns import Patterns
from runtime.topology.situation import Seen

log = logging.getLogger(__name__)

MAX_WAITING: Final = 64
"""Requests that wait to be embedded for their label alone; more are left unlabelled, and counted."""
AT_ONCE: Final = 16
"""Such embeddings take their turn every ``label_every_s``, so that they never take much of the processor from requests."""
LABELS_WITHIN_S: Final = 5.0
"""So long a look at the network waits for the labels of what it looks at."""
MAX_REMEMBERED: Final = 20_000
"""Requests of which it is remembered in memory which pattern they are of."""
EXAMPLES: Final = 40
CLIENTS: Final = frozenset({"openai", "native", "mock"})
"""Sources of requests that are not the daemon's own."""
FACTS: Final = 3
_FACT: Final = 0.25
"""The length of a fact of a request's form beside an embedding of length 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Waiting:
    run: OpenRequest
    text: str


class PatternDesk:
    """``run`` until cancelled, then ``save``. ``found`` is None while it is not open."""

    def __init__(
        self,
        settings: PatternSettings,
        *,
        embedder: Embedder | None,
        book: PatternBook,
        keeps_bodies: bool = True,
        rng: np.random.Generator | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.settings, self._embedder, self._book = settings, embedder, book
        self._keeps_bodies, self._rng, self._wall = keeps_bodies, rng or np.random.default_rng(), wall
        self.found: Patterns | None = None
        self.dropped, self.looks = 0, 0
        self._queued, self._labelled, self._moved = 0, 0, asyncio.Event()
        self._waiting: asyncio.Queue[_Waiting] = asyncio.Queue(MAX_WAITING)
        self._of: OrderedDict[str, str] = OrderedDict()
        self._new_of: dict[str, str] = {}
        self._trouble = "patterns are opening"
        self._saved = wall()

    # ── a request ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def arrived(self, run: OpenRequest) -> None:
        """Label a request of a client. Never waits, never raises."""
        if self.found is None or run.request.source not in CLIENTS:
            return
        text = text_of(run.request.messages)
        if not text.strip():
            return
        if run.embedding is not None:
            self._label(run, text, np.asarray(run.embedding, dtype=np.float32))
            return
        try:
            self._waiting.put_nowait(_Waiting(run=run, text=text))
            self._queued += 1
        except asyncio.QueueFull:
            self.dropped += 1

    async def embed(self, run: OpenRequest) -> None:
        """Embed a request's words now, where nothing has: its label is wanted before a node is chosen. Waits embed_within_s at
        the most, and leaves it without an embedding where that fails."""
        text = text_of(run.request.messages)
        if self.found is None or self._embedder is None or run.embedding is not None or not text.strip():
            return
        try:
            async with asyncio.timeout(self.settings.embed_within_s):
                run.embedding = (await self._embedder.embed([text]))[0]
        except (TimeoutError, RegistryError) as error:
            log.info("a request's words were not embedded in time: %s", error)

    def _label(self, run: OpenRequest, text: str, embedding: Floats) -> None:
        found, request = self.found, run.request
        vector = vector_of(embedding, request)
        if found is None or len(vector) != found.dimension or not np.isfinite(vector).all():
            return
        if request.place is not None:  # a part of a longer list: the list came once
            pattern = found.label(vector)
        else:
            kept = text if self._keeps_bodies else ""
            pattern = found.see(vector, now=self._wall(), request_id=request.request_id, text=kept)
        if pattern is None:
            return
        run.pattern = pattern
        self._remember(request.request_id, pattern)
        self._new_of[request.request_id] = pattern
        if not run.closed:
            name = found.known[int(pattern[1:])].name or pattern
            run.note(Event(kind="pattern", at=self._wall(), data={"pattern": pattern, "name": name}))

    def _remember(self, request_id: str, pattern: str) -> None:
        self._of[request_id] = pattern
        if len(self._of) > MAX_REMEMBERED:
            self._of.popitem(last=False)

    # ── life ────────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Open, then look and write at times. Until cancelled."""
        if not self.settings.enabled or self._embedder is None:
            self._trouble = "off"
            return
        try:
            dimension = len((await self._embedder.embed(["dimension"]))[0]) + FACTS
            await self.open(self._embedder.model, dimension)
        except (RegistryError, LedgerError) as error:
            self._trouble = str(error)
            log.error("no patterns are found: %s", error)
            return
        # Labels do not wait for a look at the window, which may take seconds in its thread.
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_up(partial(self.label_waiting, self._embedder)))
            tasks.create_task(self._keep_up(self._look_and_save))

    async def _keep_up(self, turn: Callable[[], Awaitable[None]]) -> None:
        """One turn after the other; what fails is tried again."""
        while True:
            await asyncio.sleep(self.settings.label_every_s)
            try:
                await turn()
            except (RegistryError, LedgerError) as error:
                log.error("patterns are put off: %s", error)

    async def _look_and_save(self) -> None:
        await self.look()
        if not 0 <= self._wall() - self._saved < self.settings.save_every_s:
            self._saved = self._wall()
            await self.save()

    async def open(self, model: str, dimension: int) -> None:
        """Take up what was kept; vectors of ``dimension`` come from ``model``. Raises LedgerError."""
        settings = self.settings
        rules = Rules(
            window=settings.window, least=settings.min_requests, most=settings.max_patterns, known=5 * settings.max_patterns
        )
        found = Patterns(rules, dimension, self._rng)
        kept = await self._book.load(settings.window)
        if kept is not None:
            if (kept.model, kept.dimension) == (model, dimension):
                found.resume(
                    seen=kept.seen, clustered=kept.clustered, known=kept.known, slots=kept.slots, vectors=kept.vectors,
                    labels=kept.labels,
                )  # fmt: skip
                found.changed.update(range(len(found.slots)) if kept.moved else ())
            else:
                log.warning("patterns begin anew: those that were found are of the embedding model %s", kept.model)
                await self._book.clear()
            found.next_id = max(found.next_id, kept.next_id)
            for request_id, pattern in (await self._book.requests(MAX_REMEMBERED)).items():
                self._remember(request_id, pattern)
        self.found, self._trouble = found, "ok"
        await self.look()

    async def label_waiting(self, embedder: Embedder) -> None:
        """Label some of those whose words were not embedded yet. Raises EmbeddingUnavailable, EmbeddingBusy."""
        taken = [self._waiting.get_nowait() for _ in range(min(AT_ONCE, self._waiting.qsize()))]
        try:
            vectors = await embedder.embed([each.text for each in taken]) if taken else ()
            for each, vector in zip(taken, vectors, strict=True):
                self._label(each.run, each.text, vector)
        finally:
            self._labelled += len(taken)
            self._moved.set()  # wakes those who wait now
            self._moved.clear()

    async def caught_up(self) -> None:
        """Return once the requests that wait for their label now have it, or after LABELS_WITHIN_S."""
        wanted = self._queued
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LABELS_WITHIN_S):
                while self.found is not None and self._labelled < wanted:
                    await self._moved.wait()

    async def look(self) -> None:
        """Look at the window again, where that is due. Raises LedgerError."""
        found = self.found
        if found is None or not found.due or self._embedder is None:
            return
        look = await asyncio.to_thread(refined, found.snapshot())
        # Before any new id is given: a kill must not let another pattern have it.
        await self._book.reserve(self._embedder.model, found.dimension, found.next_id + look.births)
        changes = found.adopt(look, now=self._wall())
        self.looks += 1
        if changes.born or changes.merged:
            log.info("patterns: %d new, %d merged", len(changes.born), len(changes.merged))
        self._name_by_words(found)

    def _name_by_words(self, found: Patterns) -> None:
        taken = {each.name for each in found.known.values() if each.name}
        for pattern in found.all():
            if pattern.state == "found" and not pattern.named_by:
                own = [each.text for each in found.examples(pattern.pattern_id, EXAMPLES)]
                if own:
                    others = [each.text for each in found.others(pattern.pattern_id, 4 * EXAMPLES)]
                    name = by_words(own, others, taken, pattern.pattern_id)
                    found.rename(pattern.pattern_id, name, BY_WORDS)
                    taken.add(name)

    async def save(self) -> None:
        """Write what changed. Raises LedgerError; then it is tried again."""
        found = self.found
        if found is None or self._embedder is None or not (found.changed or self._new_of):
            return
        places = sorted(found.changed) if self._keeps_bodies else []
        found.changed.clear()
        of, self._new_of = self._new_of, {}
        kept = Kept(
            model=self._embedder.model,
            dimension=found.dimension,
            seen=found.seen,
            clustered=found.clustered,
            next_id=found.next_id,
            known=dict(found.known),
            slots=[found.slots[place] for place in places],
            labels=[int(found.labels[place]) for place in places],
            vectors=found.vectors[places],
        )
        try:
            await self._book.save(kept, places, of)
        except LedgerError:
            found.changed.update(places)
            self._new_of = {**of, **self._new_of}
            raise

    async def close(self) -> None:
        """Write what is not written. Idempotent."""
        try:
            await self.save()
        except LedgerError as error:
            log.error("the last counts of patterns are lost: %s", error)

    # ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def status(self) -> str:
        """``ok``, ``off``, or what is wrong."""
        return self._trouble

    def all(self) -> tuple[Pattern, ...]:
        """What is known, the largest share first; nothing while it is not open."""
        return self.found.all() if self.found is not None else ()

    def of(self, request_ids: Sequence[str]) -> Mapping[str, str]:
        """The pattern that each of these requests is of, by what it is called now; those without one are left out."""
        if self.found is None:
            return {}
        told = {each: self.found.current(self._of[each]) for each in request_ids if each in self._of}
        return {each: pattern for each, pattern in told.items() if pattern is not None}

    def current(self, pattern: str) -> str | None:
        """What it is called now: patterns that turn out to be one are merged. None where it is not known."""
        return None if self.found is None else self.found.current(pattern)

    def seen(self) -> Mapping[str, Seen]:
        """Patterns as the rules that propose changes see them: those that are found now. Trend: recent share over share."""
        was: dict[str, list[str]] = {}
        for each in self.all():
            if each.state == "merged" and (into := self.current(each.pattern_id)) is not None:
                was.setdefault(into, []).append(each.pattern_id)
        return {
            each.pattern_id: Seen(
                pattern_id=each.pattern_id,
                name=each.name,
                count=each.count,
                trend=(each.share + each.trend) / each.share if each.share else 0.0,
                was=tuple(was.get(each.pattern_id, ())),
            )
            for each in self.all()
            if each.state == "found"
        }

    def gauges(self) -> tuple[Mapping[str, int], Mapping[str, float]]:
        """For metrics: patterns by state, and counts since the start."""
        if self.found is None:
            return {}, {}
        states = dict.fromkeys(("candidate", "found", "dormant", "merged"), 0)
        for each in self.all():
            states[each.state] += 1
        found = self.found
        return states, {
            "requests_seen": found.seen,
            "requests_clustered": found.clustered,
            "looks": self.looks,
            "requests_dropped": self.dropped,
        }


def vector_of(embedding: Floats, request: Request) -> Floats:
    """``(d,)`` and a few facts of the form that is asked for, ``(d + 3,)`` of unit length: the same words with a schema, with
    tools or for many items are another kind of request."""
    tools = request.params.get("tools")
    facts = np.array([request.schema is not None, bool(tools), np.log1p(min(request.count or 0, 1_000_000)) / 6])
    return unit(np.concatenate([embedding, _FACT * facts]))
