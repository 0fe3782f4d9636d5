"""The library's desk, put together of the daemon's parts. Called by daemon.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from agents.llm.pool import Pool
from registry.embedding import Embedder
from runtime.clock import Clock
from runtime.config.settings import Settings
from runtime.ledger.store import Ledger
from runtime.library.desk import LibraryDesk
from runtime.metrics import Metrics
from runtime.open_request import OpenRequest
from runtime.programs.work import RegistryWork
from runtime.records import Answer
from sandbox.runner import Sandbox

Learn = Callable[[OpenRequest, Answer | None], None]


def build_library(
    settings: Settings,
    ledger: Ledger,
    embedder: Embedder | None,
    sandbox: Sandbox,
    metrics: Metrics,
    pool: Pool,
    work: RegistryWork,
    clock: Clock,
) -> LibraryDesk:
    """Nothing is opened yet."""
    return LibraryDesk(
        settings.library,
        registry=work.desk,
        code=work.code,
        ledger=ledger,
        embedder=embedder,
        sandbox=sandbox if settings.sandbox.enabled else None,
        limits=replace(settings.sandbox.setup().limits, wall_s=settings.library.max_run_s),
        metrics=metrics,
        simulated_pool=lambda: all(spec.simulated for spec in pool.specs),
        max_count=settings.requests.max_count,
        keeps_bodies=settings.data.store_bodies,
        wall=clock.wall,
    )


def told(*hearers: Learn) -> Learn:
    """Tells all of them that a request ended."""

    def learn(run: OpenRequest, answer: Answer | None) -> None:
        for hear in hearers:
            hear(run, answer)

    return learn
