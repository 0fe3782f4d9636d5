"""The ledger: what was asked and what came of it, durable, at next to no cost for the request path.

Called by dispatch.py (accept, finish), the daemon's surfaces (reads), keys.py (keys) and the controller (nodes). Only the daemon
process opens it. ``accept`` and ``finish`` only put a tuple into a queue; one writer task commits what gathered, in a thread.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from agents.calls import CallRecord
from agents.records import AgentError, Draining, Event, Json, NodeSpec
from agents.strategy_specs import StrategySpec
from runtime.accounts import Amount
from runtime.ledger import desired, keyrows, queries, retention
from runtime.ledger.batch import Accepted, Act, Finished, Marker, Write, WritingConnection, weight_of
from runtime.ledger.opening import Connections, Opened, connect, prepare
from runtime.ledger.records import KeyRow, LedgerError, LedgerLoad, LedgerUnavailable
from runtime.ledger.rows import NOWHERE, Keeping, Took
from runtime.records import Answer, Request

log = logging.getLogger(__name__)
T = TypeVar("T")

MAX_BATCH = 512
"""Writes in one transaction; that many are not kept waiting for more."""
MAX_QUEUED_CHARS = 64 * 2**20
_HARD = 4
"""Finishes are taken up to this many times the queue's limit while the disk refuses; beyond it they are lost, and counted."""
_FIRST_RETRY_S, _LAST_RETRY_S = 0.05, 2.0
_CLOSE_S = 5.0
"""How long close goes on trying to write to a disk that refuses."""


class Ledger:
    """Build with ``Ledger.open``; always ``close`` (its threads would keep the process alive)."""

    def __init__(
        self,
        opened: Opened,
        connections: Connections,
        *,
        flush_s: float,
        retention_s: float,
        max_bytes: int,
        max_queued: int,
        clock: Callable[[], float],
        strategy: tuple[Callable[[StrategySpec], Json], Callable[[Json], StrategySpec]],
    ) -> None:
        self.path = opened.path
        self.set_aside = opened.set_aside
        self.interrupted = opened.interrupted
        self._lock_fd = opened.lock_fd
        self._writer, self._desk, self.reader = connections.writer, connections.desk, connections.reader
        self._flush_s, self._retention_s, self.max_bytes, self._max_queued = flush_s, retention_s, max_bytes, max_queued
        self._clock = clock
        self._encode, self._decode = strategy
        self._loop = asyncio.get_running_loop()
        self._queue: deque[Write] = deque()
        self._waiting: deque[Accepted | Marker | Act] = deque()
        self._writing: Sequence[Write] = ()
        self._chars = self._markers = self._over_limit = self._lost = self._commits = 0
        self._trouble = ""
        self._timer: asyncio.TimerHandle | None = None
        self._go = asyncio.Event()
        self._give_up_at: float | None = None
        self._task = self._loop.create_task(self._write_on(), name="ledger-writer")

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        flush_ms: float,
        retention_days: float,
        max_bytes: int,
        store_bodies: bool,
        max_stored_chars: int,
        clock: Callable[[], float] = time.time,
        encode: Callable[[StrategySpec], Json] = desired.encode_single,
        decode: Callable[[Json], StrategySpec] = desired.decode_single,
        max_queued: int = 10_000,
    ) -> Ledger:
        """Open or create the ledger at ``path``; requests that an earlier daemon left running become ``interrupted``.

        A corrupt file is set aside (see ``set_aside``), never deleted. Raises LedgerTooNew, LedgerForeign, LedgerBusy,
        LedgerUnavailable.
        """
        opened = await asyncio.to_thread(prepare, path, now=clock())
        connections = await connect(opened)
        connections.desk.keeping = Keeping(bodies=store_bodies, max_chars=max_stored_chars, strategy=encode)
        return cls(
            opened,
            connections,
            flush_s=flush_ms / 1000,
            retention_s=retention_days * 86_400,
            max_bytes=max_bytes,
            max_queued=max_queued,
            clock=clock,
            strategy=(encode, decode),
        )

    # ── the request path ────────────────────────────────────────────────────────────────────────────────────────────────

    def accept(self, request: Request, *, at: float, foreseen: Amount | None = None) -> asyncio.Future[None]:
        """Queue a request; the future resolves when its row survives a kill. ``foreseen`` is charged if that leaves no outcome.

        When the queue is full it waits for room; cancelling the future while it waits takes it back. The future raises
        Draining after close and LedgerError when this request cannot be stored.
        """
        future: asyncio.Future[None] = self._loop.create_future()
        if self._give_up_at is not None:
            _fail(future, Draining("the ledger is closed"))
            return future
        self._offer(Accepted(future, self._loop.time(), weight_of(request), request, at, foreseen))
        return future

    def act(self, apply: Callable[[WritingConnection], T], *, weight: int = 400, synced: bool = False) -> asyncio.Future[T]:
        """Queue statements that are written together, in order with all else; the future gets their value when they are durable.

        ``apply`` must be free of effects but on the connection. Full queues and errors as with ``accept``.
        """
        future: asyncio.Future[T] = self._loop.create_future()
        if self._give_up_at is not None:
            _fail(future, Draining("the ledger is closed"))
        else:
            self._offer(Act(future, self._loop.time(), weight, apply, synced))
        return future

    def _offer(self, write: Accepted | Act) -> None:
        if self._waiting or self._is_full():
            self._waiting.append(write)
        else:
            self._push(write)

    def finish(
        self,
        request_id: str,
        *,
        answer: Answer | None,
        error: AgentError | None,
        calls: Sequence[CallRecord],
        events: Sequence[Event],
        at: float,
        latency_s: float,
        overhead_s: float,
        took: Took = NOWHERE,
    ) -> None:
        """Queue an outcome. Never blocks; only the first outcome of a request counts. ``at`` is Unix time in seconds."""
        weight = 400 + 200 * (len(calls) + len(events)) + (len(answer.draft.text) if answer else 0)
        if self._is_full():
            self._over_limit += 1
        too_much = len(self._queue) >= _HARD * self._max_queued or self._chars >= _HARD * MAX_QUEUED_CHARS
        if too_much or self._give_up_at is not None:
            self._lost += 1
            return
        now = self._loop.time()
        self._push(Finished(now, weight, request_id, answer, error, calls, events, at, latency_s, overhead_s, took))

    async def flush(self, *, timeout_s: float = 5.0) -> None:
        """Wait until everything queued so far is durable. Raises LedgerUnavailable when that takes longer (all stays queued)
        or was given up."""
        if not (self._queue or self._waiting or self._writing):
            return
        marker = Marker(self._loop.create_future(), self._loop.time())
        self._markers += 1
        (self._waiting if self._waiting else self._queue).append(marker)
        self._go.set()
        done, _ = await asyncio.wait([marker.future], timeout=timeout_s)
        if not done:
            raise LedgerUnavailable(self._trouble or f"{self.path} was not written within {timeout_s:g} s")
        marker.future.result()

    def healthy(self) -> str:
        """``ok``, or what is wrong now (readiness shows it; what was lost before is in ``load``)."""
        if self._trouble:
            return self._trouble
        if self._task.done():
            return "the ledger is closed" if self._give_up_at is not None else "the ledger's writer died"
        return "ok"

    def load(self) -> LedgerLoad:
        """The writer's state, for metrics."""
        oldest = self._writing[0] if self._writing else self._queue[0] if self._queue else None
        return LedgerLoad(
            queued=len(self._queue) + len(self._writing),
            waiting=len(self._waiting),
            lag_s=self._loop.time() - oldest.since if oldest else 0.0,
            over_limit=self._over_limit,
            lost=self._lost,
            commits=self._commits,
            healthy=not self._trouble,
        )

    # ── the writer ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _is_full(self) -> bool:
        return len(self._queue) >= self._max_queued or self._chars >= MAX_QUEUED_CHARS

    def _push(self, write: Write) -> None:
        self._queue.append(write)
        self._chars += write.weight
        if len(self._queue) >= MAX_BATCH:
            self._go.set()
        elif self._timer is None:
            self._timer = self._loop.call_later(self._flush_s, self._wake)

    def _wake(self) -> None:
        self._timer = None
        self._go.set()

    async def _write_on(self) -> None:
        while self._give_up_at is None or self._queue or self._waiting:
            await self._go.wait()
            self._go.clear()
            while self._queue or self._waiting:
                self._admit()
                batch = [self._queue.popleft() for _ in range(min(MAX_BATCH, len(self._queue)))]
                self._chars -= sum(write.weight for write in batch)
                self._writing = batch
                await self._commit(batch)
                self._writing = ()
                pressing = self._markers or self._waiting or self._give_up_at is not None
                if not pressing and len(self._queue) < MAX_BATCH:
                    break
            if self._queue and self._timer is None:
                self._timer = self._loop.call_later(self._flush_s, self._wake)

    def _admit(self) -> None:
        while self._waiting and not self._is_full():
            write = self._waiting.popleft()
            if isinstance(write, Marker) or not write.future.cancelled():
                self._queue.append(write)
                self._chars += write.weight

    async def _commit(self, batch: Sequence[Write]) -> None:
        delay_s = _FIRST_RETRY_S
        while batch:
            if self._trouble and self._give_up_at is not None and self._loop.time() > self._give_up_at:
                self._settle(batch, dict.fromkeys(range(len(batch)), LedgerUnavailable(self._trouble)))
                return
            self._desk.batch = batch
            try:
                await self._writer.commit()
            except sqlite3.Error as error:
                if not self._trouble:
                    log.error("the ledger cannot be written, trying again: %s", error)
                self._trouble = f"cannot write {self.path}: {error}"
                await asyncio.sleep(delay_s)
                delay_s = min(_LAST_RETRY_S, 2 * delay_s)
                continue
            if self._trouble:
                log.warning("the ledger can be written again")
            self._trouble = ""
            self._commits += 1
            self._settle(batch, self._desk.refused)
            self._desk.batch = ()
            return

    def _settle(self, batch: Sequence[Write], refused: dict[int, Exception]) -> None:
        for place, write in enumerate(batch):
            error = refused.get(place)
            if isinstance(write, Marker):
                self._markers -= 1
            elif error is not None:
                self._lost += 1
                log.error("a write to the ledger was lost: %s", error)
            if isinstance(write, Finished):
                continue
            if error is not None:
                _fail(write.future, error if isinstance(error, LedgerError) else LedgerError(f"cannot store: {error}"))
            elif not write.future.done():
                write.future.set_result(write.value if isinstance(write, Act) else None)

    # ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def requests(self, *, limit: int, before: str | None = None) -> list[dict[str, Json]]:
        """The newest requests first; ``before`` is the id of the last row of the page before."""
        return await queries.newest(self.reader, limit=limit, before=before)

    async def trace(self, request_id: str) -> dict[str, Json] | None:
        """All that is kept of one request; None where it is unknown."""
        return await queries.trace(self.reader, request_id)

    async def totals(self, *, since: float) -> dict[str, Json]:
        """Sums of requests, errors, USD and tokens since Unix time ``since``, in all and by backend."""
        return await queries.totals(self.reader, since=since)

    # ── nodes and keys: rare, so each is a transaction of its own and durable on return ─────────────────────────────────

    async def save_node(self, spec: NodeSpec, state: str) -> None:
        """Keep a desired node. Raises LedgerError when its strategy cannot be encoded or the disk refuses."""
        await desired.save(self._writer, spec, state, at=self._clock(), encode=self._encode)

    async def nodes(self) -> list[tuple[NodeSpec, str]]:
        """The desired nodes with their state, by id. One that cannot be read any more is left out, and logged."""
        return await desired.load(self.reader, self._decode)

    async def save_key(self, row: KeyRow) -> None:
        """Keep a key's digest; the key's id decides, an existing one is replaced. Raises LedgerUnavailable."""
        await keyrows.save(self._writer, row)

    async def list_keys(self) -> list[KeyRow]:
        """Every key, revoked ones included, oldest first."""
        return await keyrows.load(self.reader)

    async def revoke_key(self, key_id: str, *, at: float) -> bool:
        """False where there is no such key or it was revoked before. Raises LedgerUnavailable."""
        return await keyrows.revoke(self._writer, key_id, at=at)

    # ── upkeep ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def enforce_retention(self) -> int:
        """Forget by age, then by size; returns how many requests went. Raises LedgerUnavailable when the disk refuses."""
        try:
            before = self._clock() - self._retention_s
            return await retention.enforce(self._writer, before=before, max_bytes=self.max_bytes)
        except sqlite3.Error as error:
            raise LedgerUnavailable(f"cannot shrink {self.path}: {error}") from error

    async def close(self) -> None:
        """Write what is queued (for at most about 5 s on a disk that refuses), then let go of the file. Idempotent."""
        if self._give_up_at is not None:
            await asyncio.wait([self._task])
            return
        self._give_up_at = self._loop.time() + _CLOSE_S
        if self._timer is not None:
            self._timer.cancel()
        self._go.set()
        try:
            await self._task
        finally:
            await self.reader.close()
            await self._writer.close()
            os.close(self._lock_fd)


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # whoever does not wait for it must not be told of it by the loop
