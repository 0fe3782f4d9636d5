"""The router of one daemon, put together. Called by daemon.py."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from agents.llm.desk import Desk
from agents.llm.pool import Pool
from runtime.cluster import Cluster
from runtime.config import Settings
from runtime.ledger.decisions import DecisionLedger
from runtime.ledger.store import Ledger
from runtime.router.desk import Router


@asynccontextmanager
async def routed(settings: Settings, pool: Pool, desk: Desk, cluster: Cluster, ledger: Ledger) -> AsyncIterator[Router]:
    """A router that has taken up what was learned before, and writes down what it learns until the block ends."""
    router = Router(
        settings=settings,
        backends=lambda: pool.specs,
        health=desk.health,
        nodes=cluster.nodes,
        book=DecisionLedger(ledger),
        folder=settings.data.dir.expanduser() / "routing",
        load=lambda: _load(pool, desk),
    )
    await router.load()
    chore = asyncio.create_task(router.run(), name="router")
    try:
        yield router
    finally:
        chore.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await chore
        await router.close()


def _load(pool: Pool, desk: Desk) -> float:
    """How much of what may be in flight is, over all backends."""
    room = sum(spec.max_concurrency for spec in pool.specs)
    return min(1.0, sum(desk.inflight(spec.name) for spec in pool.specs) / room) if room else 0.0
